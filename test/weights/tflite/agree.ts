/** Running a graph here, and how far two results are apart. */
import { expect } from 'vitest';
import { read, tensor } from '../../../src/index.ts';
import { graphNetwork } from '../../../src/models/graph/network.ts';
import type { Graph } from '../../../src/models/graph/spec.ts';
import { TraceContext } from '../../../src/plan/trace.ts';
import { type LiteRtTensor, type Numbers, runLiteRt } from '../../helpers/litert.ts';

/** Outputs of a graph by name. */
export async function runGraph(graph: Graph, inputs: readonly LiteRtTensor[]): Promise<Record<string, LiteRtTensor>> {
  const given = inputs.map(({ data, shape }) => tensor(Float32Array.from(data), shape));
  const results: Record<string, LiteRtTensor> = {};
  for (const [name, t] of graphNetwork(graph).outputs(given, new TraceContext(false))) {
    const { data, shape } = await read(t);
    results[name] = { data: data as Numbers, shape };
  }
  return results;
}

/** Length of the difference over the length of what was expected. */
export function distance(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(got.length).toBe(expected.length);
  let error = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    error += (got[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}

/** Numbers without a pattern, in −1..1, the same every time. */
export function noise(shape: readonly number[], seed = 1, scale = 1, shift = 0): LiteRtTensor & { data: Float32Array } {
  const n = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: n }, (_, i) => {
    const x = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    return shift + scale * (2 * (x - Math.floor(x)) - 1);
  });
  return { data, shape };
}

/** A file and a graph give the same on the inputs: to 1e-4 of their length, in the same shapes, under the same names. */
export async function expectAgreement(
  file: Uint8Array,
  graph: Graph,
  inputs: readonly LiteRtTensor[],
): Promise<number> {
  const [expected, ours] = [await runLiteRt(file, inputs), await runGraph(graph, inputs)];
  expect(Object.keys(ours).sort()).toEqual(Object.keys(expected).sort());
  let worst = 0;
  for (const [name, { data, shape }] of Object.entries(ours)) {
    expect(shape, name).toEqual(expected[name]!.shape);
    const d = distance(data, expected[name]!.data);
    expect(d, name).toBeLessThan(1e-4);
    worst = Math.max(worst, d);
  }
  return worst;
}
