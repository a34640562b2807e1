/** MTCNN's three files, in both forms; and pickled dicts in NumPy files, damaged and hostile ones too. */
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { mtcnnGraph, mtcnnGraphs } from '../../src/models/detectors/mtcnn.ts';
import { readNpyDict } from '../../src/weights/mtcnn/read.ts';
import { mtcnnFormat } from '../../src/weights/mtcnn.ts';
import { fuzz } from '../helpers/fuzz.ts';
import { base64, published, publishedSource, sourceOf } from '../helpers/published.ts';
import golden from '../reference/npyDict.json' with { type: 'json' };

describe('a dict in a NumPy file', () => {
  it.each(['protocol2', 'protocol3'] as const)('%s: every array with its axes', (name) => {
    const read = readNpyDict(base64(golden[name]), 'det.npy');
    const plain = Object.fromEntries(
      [...read].map(([layer, weights]) => [
        layer,
        Object.fromEntries([...weights].map(([key, t]) => [key, { shape: [...t.shape], data: [...t.data] }])),
      ]),
    );
    expect(plain).toEqual(golden.expected);
  });
  it.each([
    ['list', /one dict of dicts of arrays, got an object/],
    ['flat', /got other keys or values/],
    ['objects', /got no array of numbers in a/],
    ['hostile', /builtins\.print/],
  ] as const)('%s: refused, and nothing runs', (name, message) => {
    expect(() => readNpyDict(base64(golden[name]), 'det.npy')).toThrow(DataError);
    expect(() => readNpyDict(base64(golden[name]), 'det.npy')).toThrow(message);
  });
  it('damaged: a value or an error that names the file', async () => {
    const { refused } = await fuzz((bytes) => readNpyDict(bytes, 'det.npy'), base64(golden.protocol2), 'det.npy');
    expect(refused).toBeGreaterThan(300);
  });
});

describe('the graphs', () => {
  it('have the published parameters', () => {
    const count = (tensors: ReadonlyMap<string, { readonly data: ArrayLike<number> }>) =>
      [...tensors.values()].reduce((n, t) => n + t.data.length, 0);
    expect((['pnet', 'rnet', 'onet'] as const).map((p) => count(mtcnnGraph(p).tensors))).toEqual([
      6632, 100178, 389040,
    ]);
    expect(count(mtcnnGraphs().tensors)).toBe(6632 + 100178 + 389040);
  });
});

describe.runIf(published)('the published files', () => {
  it('of both projects are the same numbers', async () => {
    const [torch, caffe] = await Promise.all(
      ['onet.pt', 'det1.npy'].map((name) => mtcnnFormat.read(publishedSource('mtcnn', name), {})),
    );
    if (torch?.kind !== 'graph' || caffe?.kind !== 'graph') throw new Error('expected graphs');
    expect([...caffe.graph.tensors.keys()]).toEqual([...torch.graph.tensors.keys()]);
    for (const [name, { data, shape }] of torch.graph.tensors) {
      const other = caffe.graph.tensors.get(name)!;
      expect(other.shape, name).toEqual(shape);
      expect(
        (data as Float32Array).every((v, i) => v === other.data[i]),
        name,
      ).toBe(true);
    }
  });
  it('are asked for by name where one is missing or another network', async () => {
    const pnet = await publishedSource('mtcnn', 'pnet.pt').bytes();
    const rnet = await publishedSource('mtcnn', 'rnet.pt').bytes();
    await expect(mtcnnFormat.read(sourceOf({ 'pnet.pt': pnet, 'rnet.pt': rnet }, 'pnet.pt'), {})).rejects.toThrow(
      /pnet\.pt, rnet\.pt, onet\.pt side by side, got no onet\.pt/,
    );
    const wrong = sourceOf({ 'pnet.pt': pnet, 'rnet.pt': pnet, 'onet.pt': rnet }, 'pnet.pt');
    await expect(mtcnnFormat.read(wrong, {})).rejects.toThrow(
      /rnet\.pt beside pnet\.pt.*\n[\s\S]*missing dense4\.weight[\s\S]*unexpected conv4_1\.weight/,
    );
  });
});
