/**
 * A page as a user of the package writes it: trains a small network, and embeds photos with the weights of another. The test
 * calls what it puts on the global object. Plain JavaScript, so that the repository's type check needs no built package.
 */
import {
  ArcFace,
  compile,
  decodeImage,
  fold,
  grad,
  host,
  initialize,
  keyOf,
  loadEmbedder,
  MobileFaceNet,
  parametersOf,
  preprocess,
  sgd,
  uniform,
  unitRows,
  WasmDevice,
  WebGpuDevice,
} from 'facegrad';

const [batch, size, classes, steps] = [8, 32, 4, 20];
const devices = { wasm: (options) => WasmDevice.create(options), webgpu: () => WebGpuDevice.create() };
const aboutOf = ({ name, simd, reason }) => (name === 'wasm' ? simd : reason.split(/ with |,/)[0]);

/** Drawn images whose brightness pattern tells the class, so that there is something to learn. */
function drawBatch() {
  const labels = Int32Array.from({ length: batch }, (_, b) => b % classes);
  const patterns = Array.from({ length: classes }, (_, c) => uniform(fold(keyOf(11), c), 4 * 4 * 3));
  const pixels = uniform(keyOf(7), batch * size * size * 3).map((noise, i) => {
    const [row, column] = [Math.floor(i / 3 / size) % size, Math.floor(i / 3) % size];
    const pattern = patterns[labels[Math.floor(i / 3 / size / size)]];
    return 256 * (0.7 * pattern[((row >> 3) * 4 + (column >> 3)) * 3 + (i % 3)] + 0.3 * noise);
  });
  return { images: host(Uint8Array.from(pixels), [batch, size, size, 3]), labels: host(labels, [batch]) };
}

/** The losses of 20 steps. `nudge` flips the last bit of about half of the initial weights, by a stream of that number. */
async function train(name, { options, nudge } = {}) {
  const device = await devices[name](options);
  const net = initialize(new MobileFaceNet({ width: 0.125, embeddingSize: 32, inputSize: [size, size] }), 1);
  const head = initialize(new ArcFace({ classes, embeddingSize: 32, s: 16, m: 0.2 }), 2);
  const parameters = [...parametersOf(net), ...parametersOf(head)];
  if (nudge !== undefined)
    for (const p of parameters) {
      const u = uniform(fold(fold(keyOf(nudge), 'nudge'), p.name), p.size);
      p.write(p.host.map((x, i) => (u[i] < 0.5 ? x : x * (1 + 2 ** -23))));
    }
  const optimizer = sgd(parameters, { momentum: 0.9, nesterov: true });
  const step = compile(
    ({ images, labels, lr }, ctx) => {
      const { loss } = head.loss(net.call(preprocess(images, net.preprocessing), ctx), labels, ctx);
      optimizer.update(grad(loss, parameters), lr, ctx);
      return { loss };
    },
    { device, training: true },
  );
  const data = drawBatch();
  const losses = [];
  for (let i = 0; i < steps; i++) losses.push((await step({ ...data, lr: 2e-4 })).loss.data[0]);
  await device.dispose();
  return { losses, device: aboutOf(device.info()) };
}

const bytesOf = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
/** By the browser's own decoder: RGBA. */
async function drawn(path) {
  const bitmap = await createImageBitmap(await (await fetch(path)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
  canvas.drawImage(bitmap, 0, 0);
  return canvas.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** Unit embeddings of two photos, one decoded by facegrad and one by the browser. */
async function embed(name) {
  const device = await devices[name]();
  const embedder = await loadEmbedder(await bytesOf('./weights.safetensors'), { device });
  const photos = [decodeImage(await bytesOf('./photos/0.jpg'), 'photo 0'), await drawn('./photos/1.jpg')];
  const rows = unitRows(await embedder.embed(photos), embedder.embeddingSize);
  await embedder.dispose();
  await device.dispose();
  const [first, second] = [rows.subarray(0, embedder.embeddingSize), rows.subarray(embedder.embeddingSize)];
  return { embeddings: [Array.from(first), Array.from(second)], device: aboutOf(device.info()) };
}

Object.assign(globalThis, { train, embed, ready: true });
