/** States in safetensors files, whole and in shards, and in NumPy archives. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { StateFile, WeightFormat } from '../../src/weights/format.ts';
import { networkFromState } from '../../src/weights/layouts/index.ts';
import { writeNpz } from '../../src/weights/npz.ts';
import { type HostTensor, writeSafetensors } from '../../src/weights/safetensors.ts';
import { npzFormat, safetensorsFormat } from '../../src/weights/stateFiles.ts';
import { torchFormat } from '../../src/weights/torch.ts';
import { fuzz } from '../helpers/fuzz.ts';
import { sourceOf } from '../helpers/published.ts';
import { drawnState, layoutCases } from './layouts.ts';

const state = drawnState(layoutCases.find((c) => c.layout === 'arcface-torch-iresnet')!);
const read = async (format: WeightFormat, files: Readonly<Record<string, Uint8Array>>, name: string) =>
  (await format.read(sourceOf(files, name), {})) as StateFile;
const code = (text: string) => new TextEncoder().encode(text);
const float = (...values: number[]): HostTensor => ({
  dtype: 'f32',
  shape: [values.length],
  data: Float32Array.from(values),
});
const prefixed = new Map([...state].map(([k, t]) => [`module.${k}`, t]));

describe('one file', () => {
  it("another program's safetensors is a state, and its network is told by the names", async () => {
    const bytes = writeSafetensors(prefixed, { format: 'pt', step: '7' });
    expect(safetensorsFormat.looksLike(bytes.subarray(0, 4096), 'x')).toBe(true);
    expect(torchFormat.looksLike(bytes.subarray(0, 4096), 'x.pth')).toBe(false);
    const file = await read(safetensorsFormat, { 'm.safetensors': bytes }, 'm.safetensors');
    expect(file).toMatchObject({ kind: 'state', convention: 'pytorch' });
    expect(file.notes).toEqual([
      'its metadata: format = pt',
      'its metadata: step = 7',
      "names were prefixed 'module.'",
    ]);
    expect(file.tensors).toEqual(new Map([...file.tensors.keys()].map((k) => [k, state.get(k)])));
    expect(networkFromState(file, {}, 'm').report).toMatchObject({ layout: 'arcface-torch-iresnet', missing: [] });
  });
  it("facegrad's own names its network", async () => {
    const bytes = new Uint8Array(readFileSync(new URL('../fixtures/checkpoint-v1.safetensors', import.meta.url)));
    const file = await read(safetensorsFormat, { m: bytes }, 'm');
    const { network, report } = networkFromState(file, {}, 'm');
    expect(report).toMatchObject({ layout: 'facegrad', missing: [], unexpected: [] });
    expect(network.architecture).toBe('mobilefacenet');
    expect(report.loaded + Number(/\d+/.exec(report.notes[0] ?? '0'))).toBe(file.tensors.size);
  });
  it('an npz archive, stored and deflated', async () => {
    for (const compress of [false, true]) {
      const bytes = await writeNpz([...prefixed, ['module.names', { dtype: 'text', shape: [1], data: ['a'] }]], {
        compress,
      });
      expect(npzFormat.looksLike(bytes.subarray(0, 4096), 'x')).toBe(true);
      expect(torchFormat.looksLike(bytes.subarray(0, 4096), 'x')).toBe(false);
      const { tensors, notes } = await read(npzFormat, { 'm.npz': bytes }, 'm.npz');
      expect(tensors).toEqual(state);
      expect(notes[0]).toBe('left out, since it is text: module.names');
    }
  });
  it('damaged', async () => {
    const small = new Map([
      ['a.weight', float(1, 2)],
      ['b.weight', float(3)],
    ]);
    const options = { cuts: 60, flips: 80, numbers: 80 };
    const of = (format: WeightFormat) => (bytes: Uint8Array) => read(format, { m: bytes }, 'm');
    expect((await fuzz(of(safetensorsFormat), writeSafetensors(small), 'm', options)).refused).toBeGreaterThan(60);
    expect((await fuzz(of(npzFormat), await writeNpz(small), 'm', options)).refused).toBeGreaterThan(60);
  });
});

describe('shards', () => {
  const name = 'model.safetensors.index.json';
  const files = {
    'model-1.safetensors': writeSafetensors(
      new Map([
        ['a', float(1, 2)],
        ['c', float(9)],
      ]),
    ),
    'model-2.safetensors': writeSafetensors(new Map([['b', float(3)]])),
  };
  const index = (map: unknown) => ({
    ...files,
    [name]: code(JSON.stringify({ metadata: { total_size: 12 }, weight_map: map })),
  });
  const good = index({ a: 'model-1.safetensors', b: 'model-2.safetensors', c: 'model-1.safetensors' });

  it('are one state', async () => {
    expect(safetensorsFormat.looksLike(good[name].subarray(0, 4096), name)).toBe(true);
    const { tensors, notes } = await read(safetensorsFormat, good, name);
    expect([...tensors].map(([k, t]) => [k, [...t.data]])).toEqual([
      ['a', [1, 2]],
      ['c', [9]],
      ['b', [3]],
    ]);
    expect(notes).toEqual(['2 shards']);
  });
  it.each<[string, Record<string, Uint8Array>, RegExp]>([
    [
      'a shard is missing',
      index({ a: 'model-3.safetensors' }),
      /expected its shard model-3\.safetensors beside it, got none/,
    ],
    ['a tensor is missing', index({ d: 'model-1.safetensors' }), /expected "d" in model-1\.safetensors, got none/],
    ['a path', index({ a: '../model-1.safetensors' }), /expected the name of a file beside it for "a"/],
    ['a folder', index({ a: '..' }), /expected the name of a file beside it/],
    ['an absolute path', index({ a: '/etc/passwd' }), /expected the name of a file beside it/],
    ['a number', index({ a: 1 }), /expected the name of a file beside it/],
    ['no map', index(undefined), /expected tensors' names and files/],
    ['a list', index([]), /expected tensors' names and files/],
    ['no JSON', { [name]: code('{"a"') }, /expected an index in JSON/],
    ['null', { [name]: code('null') }, /expected tensors' names and files/],
    [
      'a damaged shard',
      { ...good, 'model-2.safetensors': code('no') },
      /model-2\.safetensors: expected a safetensors file/,
    ],
  ])('%s', async (_, given, message) => {
    await expect(read(safetensorsFormat, given, name)).rejects.toThrow(message);
    await expect(read(safetensorsFormat, given, name)).rejects.toThrow(/^model\.safetensors\.index\.json: /);
    await expect(read(safetensorsFormat, given, name)).rejects.toMatchObject({ name: 'DataError' });
  });
});
