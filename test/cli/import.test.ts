/** `facegrad import` as a process, and what is then done with the model. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { host } from '../../src/core/tensor.ts';
import { encodePng } from '../../src/image/encode.ts';
import { GraphBuilder } from '../../src/models/graph/builder.ts';
import { stateOf, variablesOf } from '../../src/nn/module.ts';
import { writeOnnx } from '../../src/weights/onnx/write.ts';
import { readSafetensors, writeSafetensors } from '../../src/weights/safetensors.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { tinyNetwork } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-import-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

const own = ['--architecture', 'mobilefacenet', '--set', 'width=0.125', 'embeddingSize=16', 'inputSize=32x32'];

beforeAll(async () => {
  const state = await stateOf(variablesOf(tinyNetwork()));
  // Nobody's metadata: tensors by name, as another program would write them.
  writeFileSync(at('state.safetensors'), writeSafetensors(state, {}));
  const short = new Map(state);
  short.delete('stem.conv.weight');
  short.set('extra.weight', { data: new Float32Array(2), shape: [2], dtype: 'f32' });
  writeFileSync(at('short.safetensors'), writeSafetensors(short, {}));
  writeFileSync(
    at('noise.bin'),
    Uint8Array.from({ length: 500 }, (_, i) => (i * 77) % 251),
  );
  for (const person of ['ann', 'bob', 'eve']) {
    mkdirSync(at(`people/${person}`), { recursive: true });
    for (let i = 0; i < 3; i++)
      writeFileSync(
        at(`people/${person}/${i}.png`),
        encodePng({ width: 32, height: 32, data: syntheticFace(1, person.charCodeAt(0), i, 32) }),
      );
  }
}, 60_000);

describe('a state that a network is named for', () => {
  it('becomes a model with what was said of it, and is used', async () => {
    const out = at('model.safetensors');
    const said = ['--colour', 'bgr', '--mean', '104,117,123', '--std', '64', '--flip', 'sum', '--threshold', '0.4'];
    const { code, stdout, stderr } = await facegrad(['import', at('state.safetensors'), ...own, ...said, '--out', out]);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^safetensors, .*: mobilefacenet, [\d,]+ parameters, embeddings of 16$/m);
    expect(stdout).toContain('input: 32x32 pixels, BGR, (x - [104, 117, 123]) * 0.015625');
    const { metadata, tensors } = readSafetensors(readFileSync(out));
    expect(JSON.parse(metadata.use!)).toEqual({ flip: 'sum', threshold: 0.4 });
    expect(metadata.importedFrom).toContain('state.safetensors (safetensors');
    expect(tensors.get('stem.conv.weight')).toEqual(
      readSafetensors(readFileSync(at('state.safetensors'))).tensors.get('stem.conv.weight'),
    );
    const pictures = [at('people/ann/0.png'), at('people/ann/1.png')];
    const verified = await facegrad(['verify', ...pictures, '--weights', out, '--json']);
    expect(JSON.parse(verified.stdout)).toMatchObject({
      threshold: 0.4,
      flip: 'sum',
      thresholdFrom: 'stated when the model was imported',
    });
    const again = await facegrad(['import', at('state.safetensors'), ...own, '--out', out]);
    expect(again.code).toBe(2);
    expect(again.stderr).toMatch(/expected a new file, but it is there\nPass --overwrite/);
  });

  it('is refused where it differs, every tensor named, and taken as far as it fits where that is wanted', async () => {
    const strict = await facegrad(['import', at('short.safetensors'), ...own, '--out', at('short.model')]);
    expect(strict.code).toBe(1);
    expect(strict.stderr).toContain('stem.conv.weight');
    expect(strict.stderr).toContain('extra.weight');
    expect(existsSync(at('short.model'))).toBe(false);
    const { code, stdout } = await facegrad(['import', at('short.safetensors'), ...own, '--lenient', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      format: 'safetensors',
      architecture: 'mobilefacenet',
      missing: [expect.stringContaining('stem.conv.weight')],
      unexpected: [expect.stringContaining('extra.weight')],
    });
  });

  it('tries preparations on labelled pictures', async () => {
    const words = ['--detect-preprocessing', at('people')];
    const { code, stdout } = await facegrad(['import', at('state.safetensors'), ...own, ...words, '--json']);
    expect(code).toBe(0);
    const { trials, preprocessing } = JSON.parse(stdout);
    expect(trials).toHaveLength(14);
    expect(preprocessing).toEqual(trials[0].preprocessing);
    for (let i = 1; i < trials.length; i++)
      expect(trials[i - 1].separation).toBeGreaterThanOrEqual(trials[i].separation);
    const few = await facegrad(['import', at('state.safetensors'), ...own, '--detect-preprocessing', at('people/ann')]);
    expect(few.code).toBe(2);
    expect(few.stderr).toMatch(/expected aligned pictures in a folder per person/);
  });
});

describe('a graph', () => {
  it('says what its file leaves open, and what it gives', async () => {
    const b = new GraphBuilder();
    const x = b.input('image', [32, 32, 3]);
    const map = b.conv2d(x, { weight: host(new Float32Array(27 * 4).fill(0.1), [3, 3, 3, 4]), stride: 2 });
    writeFileSync(at('map.onnx'), writeOnnx(b.finish({ map, mean: b.apply('reduce', [map], { axes: [1, 2] }) })));
    const open = await facegrad(['import', at('map.onnx')]);
    expect(open.code).toBe(0);
    expect(open.stdout).toMatch(/^onnx: graph of \d+ nodes, \d+ parameters, embeddings of 900$/m);
    expect(open.stdout).toMatch(
      /^note: .*does not say how its pictures are prepared.*: --detect-preprocessing FOLDER/m,
    );
    expect(open.stdout).toContain('note: it gives map [15, 15, 4], mean [4]: the first, as it lies');
    const said = await facegrad(['import', at('map.onnx'), '--mean', '127.5']);
    expect(said.stdout).not.toContain('does not say how its pictures are prepared');
    const told = await facegrad(['info', at('map.onnx')]);
    expect(told.stdout).toMatch(/^graph: 108 parameters/m);
    const used = await facegrad(['embed', '--weights', at('map.onnx'), at('people'), '--out', at('x.npy')]);
    expect(used.code).toBe(1);
    expect(used.stderr).toMatch(/another kind of file\.\n.*facegrad import FILE --out model\.safetensors/);
    const named = await facegrad(['import', at('map.onnx'), '--layout', 'iresnet']);
    expect(named.code).toBe(2);
    expect(named.stderr).toMatch(/expected no layout, got 'iresnet': a onnx file holds its network/);
  });
});

describe('what cannot be imported', () => {
  const refused = async (words: readonly string[], code: number, message: RegExp) => {
    const result = await facegrad(['import', ...words]);
    expect(result.stderr).toMatch(message);
    expect(result.code).toBe(code);
    expect(result.stderr.trim().split('\n').length).toBeGreaterThan(1);
  };
  it('says why and what to do', async () => {
    await refused([at('nothing.onnx')], 1, /nothing\.onnx/);
    await refused([at('noise.bin')], 1, /expected a model of a format that is known here, got 500 bytes/);
    await refused([at('state.safetensors')], 1, /state\.safetensors/);
    await refused([at('state.safetensors'), '--format', 'torhc'], 2, /Did you mean 'torch'/);
    await refused([at('state.safetensors'), '--architecture', 'mobilefacent'], 2, /Did you mean 'mobilefacenet'/);
    await refused([at('state.safetensors'), '--set', 'width=1'], 2, /expected --architecture/);
    await refused([at('state.safetensors'), ...own, '--mean', 'grey'], 2, /--mean: expected a number, or three/);
    await refused([at('state.safetensors'), ...own, '--scale', '1', '--std', '1'], 2, /--scale or --std, got both/);
    await refused([at('state.safetensors'), ...own, '--colour', 'RBG'], 2, /--colour: expected RGB, BGR/);
  });
});
