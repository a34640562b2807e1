/**
 * A smoke run of the built package as a user has it: plain JavaScript on any Node from 20.19 on, `node --test smoke.mjs`.
 * Every op's samples against the f64 reference, a few training steps, an embedding; every network, loss and optimizer by
 * name; models out to other programs' files and in again, a detector; data sets through the commands. FAST=1 turns the fast kernels on first, SIMD names the mode that must then run.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import * as facegrad from 'facegrad';
import * as data from 'facegrad/data';
import { retinaFaceGraph } from '../../dist/src/models/detectors/retinaFace.js';
import { registry } from '../../dist/src/ops/define.js';
import '../../dist/src/ops/index.js';

const { ArcFace, MobileFaceNet, ReferenceDevice, WasmDevice, compile, expr, grad, host, initialize, sgd } = facegrad;
const ulp = 2 ** -23;
let device;

before(async () => {
  if (process.env.FAST) facegrad.enableFastKernels();
  device = await WasmDevice.create({ threads: 2 });
});
after(() => device.dispose());

test('the mode that this Node must have', () => {
  const { simd, threads } = device.info();
  assert.equal(threads, 2);
  if (process.env.SIMD) assert.equal(simd, process.env.SIMD);
});

const draws = (key, n) => facegrad.uniform(facegrad.fold(facegrad.keyOf(7), key), n);
function draw({ shape, dtype = 'f32', range, values, distinct }, key) {
  const n = shape.reduce((a, b) => a * b, 1);
  const data = dtype === 'f32' ? new Float32Array(n) : dtype === 'i32' ? new Int32Array(n) : new Uint8Array(n);
  const [low, high] = range ?? { f32: [-1, 1], i32: [0, 8], u8: [0, 256], bool: [0, 2] }[dtype];
  const u = draws(key, n);
  const order = distinct ? facegrad.permutation(facegrad.keyOf(3), n) : [];
  for (let i = 0; i < n; i++) {
    if (values) data[i] = values[i];
    else if (distinct) data[i] = ((order[i] - n / 2 + u[i] / 4) * distinct * 4) / 3;
    else data[i] = dtype === 'f32' ? low + (high - low) * u[i] : Math.floor(low + (high - low) * u[i]);
  }
  return host(data, shape, dtype);
}

/** Largest error of float outputs against the truth, as a share of the largest number; other outputs must be equal. */
function errorOf(truth, got, what) {
  let worst = 0;
  for (const [name, { data, dtype }] of Object.entries(truth)) {
    const y = got[name].data;
    if (dtype !== 'f32') {
      assert.deepEqual(y, data, `${what} ${name}`);
      continue;
    }
    const scale = data.reduce((m, x) => Math.max(m, Number.isFinite(x) ? Math.abs(x) : 0), 0) || 1;
    for (let i = 0; i < data.length; i++)
      if (!Object.is(data[i], y[i])) worst = Math.max(worst, Math.abs(data[i] - y[i]) / scale);
  }
  return worst;
}

test('op samples agree with the f64 reference', async () => {
  let samples = 0;
  assert.ok(registry.size > 20, `only ${registry.size} ops`);
  for (const op of registry.values()) {
    let plain = 0;
    let worst = 0;
    for (const [i, sample] of op.samples.entries()) {
      const inputs = Object.fromEntries(sample.inputs.map((s, k) => [`x${k}`, draw(s, `${op.name} ${i} ${k}`)]));
      const build = (x) => Object.fromEntries(op.apply(Object.values(x), sample.attrs).map((y, k) => [`y${k}`, y]));
      const on = async (d) => {
        const run = compile(build, { device: d });
        const out = await run(inputs);
        run.dispose();
        return out;
      };
      const truth = await on(new ReferenceDevice());
      plain = Math.max(plain, errorOf(truth, await on(new ReferenceDevice(Math.fround)), op.name));
      worst = Math.max(worst, errorOf(truth, await on(device), op.name));
      samples++;
    }
    assert.ok(worst <= 4 * plain + ulp, `${op.name}: relative error ${worst}, a plain f32 loop has ${plain}`);
  }
  console.log(`${registry.size} ops, ${samples} samples on ${device.info().simd}`);
});

/** Losses of three steps of a small MobileFaceNet with ArcFace on drawn images. */
async function losses(on) {
  const net = initialize(new MobileFaceNet({ width: 0.125, embeddingSize: 16, inputSize: [32, 32] }), 1);
  const head = initialize(new ArcFace({ classes: 3, embeddingSize: 16, s: 16, m: 0.2 }), 2);
  const parameters = [...facegrad.parametersOf(net), ...facegrad.parametersOf(head)];
  const optimizer = sgd(parameters, { momentum: 0.9, nesterov: true });
  const step = compile(
    ({ images, labels, lr }, ctx) => {
      const { loss } = head.loss(net.call(facegrad.preprocess(images, net.preprocessing), ctx), labels, ctx);
      optimizer.update(grad(loss, parameters), lr, ctx);
      return { loss };
    },
    { device: on, training: true },
  );
  const images = draw({ shape: [6, 32, 32, 3], dtype: 'u8' }, 'images');
  const labels = host(Int32Array.of(0, 1, 2, 0, 1, 2), [6]);
  const out = [];
  for (let i = 0; i < 3; i++) out.push((await step({ images, labels, lr: 0.02 })).loss.data[0]);
  step.dispose();
  return { out, net };
}

test('training steps follow the f64 reference and learn', async () => {
  const { out: truth } = await losses(new ReferenceDevice());
  const { out: plain } = await losses(new ReferenceDevice(Math.fround));
  const { out, net } = await losses(device);
  const gap = (x) => Math.max(...truth.map((t, i) => Math.abs(t - x[i]) / Math.abs(t)));
  assert.ok(gap(out) <= 4 * gap(plain) + ulp, `losses ${out}, reference ${truth}: ${gap(out)} against ${gap(plain)}`);
  assert.ok(out[2] < out[0], `no progress: ${out}`);

  const folder = mkdtempSync(join(tmpdir(), 'facegrad-smoke-'));
  try {
    const path = join(folder, 'net.safetensors');
    const tensors = await facegrad.stateOf(facegrad.variablesOf(net));
    await facegrad.writeCheckpoint(path, { tensors, metadata: facegrad.describeNetwork(net) });
    const embedder = await facegrad.loadEmbedder(path, { device: 'wasm', threads: 2 });
    const image = (key) => ({ width: 32, height: 32, data: draw({ shape: [32 * 32 * 3], dtype: 'u8' }, key).data });
    const [both, one] = [await embedder.embed([image('a'), image('b')]), await embedder.embed([image('b')])];
    assert.equal(both.length, 32);
    assert.ok(both.every(Number.isFinite) && both.some((x) => x !== 0));
    assert.deepEqual(both.slice(16), one);
    await embedder.dispose();
    await assert.rejects(facegrad.loadEmbedder(join(folder, 'none.safetensors')), /none\.safetensors.*no such file/i);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('every network by name, every loss and every optimizer in training', async () => {
  const small = { width: 0.125, embeddingSize: 16, inputSize: [32, 32] };
  for (const name of facegrad.architectures.keys())
    assert.ok(facegrad.parametersOf(facegrad.create(name, small)).length > 10, name);

  const images = draw({ shape: [4, 32, 32, 3], dtype: 'u8' }, 'images');
  const labels = host(Int32Array.of(0, 1, 0, 2), [4]);
  const rules = facegrad.optimizers.map((o) => o.name);
  assert.ok(facegrad.losses.length > rules.length);
  for (const [i, { name, role }] of facegrad.losses.entries()) {
    const net = initialize(facegrad.create('mobilefacenet', { ...small, blocks: [1, 1, 0, 0] }), 1);
    const size = { classes: 5, embeddingSize: 16 };
    // What is only a term stands beside a head.
    const terms = (role === 'term' ? ['softmax', name] : [name]).map((l) =>
      initialize(facegrad.createLoss(l, size), 2),
    );
    const parameters = [net, ...terms].flatMap((m) => facegrad.parametersOf(m));
    const optimizer = facegrad.createOptimizer(rules[i % rules.length], parameters);
    const step = compile(
      (x, ctx) => {
        const embeddings = net.call(facegrad.preprocess(x.images, net.preprocessing), ctx);
        const loss = terms.map((t) => t.loss(embeddings, x.labels, ctx).loss).reduce((a, b) => facegrad.add(a, b));
        optimizer.update(grad(loss, parameters), x.lr, ctx);
        return { loss };
      },
      { device, training: true },
    );
    const out = [];
    for (let k = 0; k < 2; k++) {
      const key = host(facegrad.keyData(facegrad.keyOf(3), k), [2], 'i32');
      out.push((await step({ images, labels, key, lr: 0.01 })).loss.data[0]);
    }
    assert.ok(out.every(Number.isFinite) && out[0] !== out[1], `${name}, ${rules[i % rules.length]}: ${out}`);
    step.dispose();
    for (const v of [...parameters, ...optimizer.state]) v.dispose();
  }
});

test('models of other programs: exported, imported, embedded; a detector', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'facegrad-smoke-'));
  try {
    const net = initialize(new MobileFaceNet({ width: 0.125, embeddingSize: 16, inputSize: [32, 32] }), 1);
    const pictures = [1, 2].map((i) => ({
      width: 32,
      height: 32,
      data: draw({ shape: [32 * 32 * 3], dtype: 'u8' }, `p${i}`).data,
    }));
    const embedded = async (network) => {
      const embedder = facegrad.embedderOf(network, device);
      const rows = await embedder.embed(pictures);
      await embedder.dispose();
      return rows;
    };
    const wanted = await embedded(net);
    for (const name of ['net.onnx', 'net.tflite', 'net.param', 'net.safetensors']) {
      const { files } = await facegrad.exportNetwork(net, facegrad.exportTargetOf(undefined, name), { name });
      for (const file of files) writeFileSync(join(folder, file.name), file.bytes);
      const { network, format } = await facegrad.importFile(join(folder, name), { preprocessing: net.preprocessing });
      const rows = await embedded(network);
      const away = Math.hypot(...rows.map((x, i) => x - wanted[i]));
      assert.ok(away < 1e-4 * Math.hypot(...wanted), `${name} (${format}): ${away}`);
    }
    await assert.rejects(facegrad.importFile(join(folder, 'none.onnx')), /none\.onnx.*no such file/i);

    const drawn = new facegrad.GraphNetwork(retinaFaceGraph([64, 64]).spec);
    drawn.preprocessing = { ...drawn.preprocessing, inputSize: [64, 64] };
    writeFileSync(join(folder, 'detector.safetensors'), await facegrad.modelBytes(initialize(drawn, 1)));
    const detector = await facegrad.openDetector(join(folder, 'detector.safetensors'), { device, score: 0 });
    assert.equal(detector.kind, 'retinaface');
    const found = await detector.detect({ width: 64, height: 48, data: new Uint8Array(64 * 48 * 3).fill(90) });
    assert.ok(found.length > 0 && found.every((f) => [...f.box, ...f.points, f.score].every(Number.isFinite)));
    await detector.dispose();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the parts of a user of the engine alone', async () => {
  const twice = compile(({ x }) => ({ y: facegrad.elementwise('twice', expr.mul(expr.input(0), 2), [x]) }), { device });
  assert.deepEqual([...(await twice({ x: host(Float32Array.of(1, 2, 3), [3]) })).y.data], [2, 4, 6]);
  const y = facegrad.sum(facegrad.mul(facegrad.tensor([1, 2, 3]), 2));
  assert.equal((await facegrad.read(y, device)).data[0], 12);
});

// The commands turn fast kernels on themselves.
test('data sets: prepared, inspected, trained on', { skip: Boolean(process.env.FAST) }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'facegrad-smoke-'));
  const at = (name) => join(folder, name);
  const main = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
  const run = (...args) => execFileSync(process.execPath, [main, ...args], { encoding: 'utf8', stdio: 'pipe' });
  try {
    for (const who of ['Ada', 'Bo', 'Zoë']) {
      mkdirSync(join(folder, 'people', who), { recursive: true });
      for (let i = 1; i <= 4; i++) {
        const image = { width: 32, height: 32, data: draw({ shape: [32 * 32 * 3], dtype: 'u8' }, `${who} ${i}`).data };
        writeFileSync(join(folder, 'people', who, `${who}_000${i}.jpg`), facegrad.encodeJpeg(image, 90));
      }
    }
    /** Names, people and pixels, sorted: formats have their own order. */
    const contents = async (set) => {
      const all = [];
      for (let i = 0; i < set.length; i++) {
        const pixels = Buffer.from((await facegrad.readPicture(set.source(i))).data).toString('base64');
        all.push(`${set.imageName(i)} ${set.identityName(set.label(i))} ${pixels}`);
      }
      return all.sort();
    };
    const wanted = await contents(await facegrad.openDataset(at('people')));
    assert.equal(wanted.length, 12);
    // One after another: each is made of the one before it.
    const sets = ['people', 'a.faces', 'b.rec', 'c.tfrecord'];
    for (let i = 1; i < sets.length; i++) {
      run('prepare', at(sets[i - 1]), at(sets[i]));
      assert.deepEqual(await contents(await facegrad.openDataset(at(sets[i]))), wanted, sets[i]);
      const report = JSON.parse(run('inspect', at(sets[i]), '--verify', '--json'));
      assert.equal(report.verified.bad, 0);
    }
    const file = readFileSync(at('c.tfrecord'));
    const members = [0, 1, 2].map((k) => gzipSync(file.subarray((k * file.length) / 3, ((k + 1) * file.length) / 3)));
    const packed = await data.tfRecordDataset([new Blob(members)]);
    assert.equal(packed.length, 12);
    assert.equal((await data.openImage(packed.source(11))).width, 32);

    run('augment', '--preview', at('a.png'), '--data', at('a.faces'), '--count', '2');
    assert.equal(data.pictureFacts(readFileSync(at('a.png')), 'a.png').format, 'png');
    assert.ok(JSON.parse(run('datasets', '--json')).length > 5);
    for (const set of ['a.faces', 'b.rec']) {
      const sizes = ['--inputSize', '32x32', '--width', '0.125', '--embeddingSize', '16', '--batch', '4'];
      const how = ['--maxSteps', '2', '--augment', 'light', '--device', 'wasm', '--threads', '2', '--workers', '2'];
      run('train', 'mobilefacenet-arcface', '--data', at(set), '--out', at(`${set}.run`), ...sizes, ...how);
      assert.ok(existsSync(join(at(`${set}.run`), 'last.safetensors')));
    }
  } finally {
    await facegrad.closeContainers();
    rmSync(folder, { recursive: true });
  }
});
