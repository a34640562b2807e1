/** Channels-first sources: meaning stays, memory is channels-last, and numbers move only where the meaning needs it. */
import { describe, expect, it } from 'vitest';
import { compile, type HostTensor, host } from '../../../src/index.ts';
import { GraphBuilder } from '../../../src/models/graph/builder.ts';
import { ChannelsFirst, type Ordered, permuted } from '../../../src/models/graph/channelsFirst.ts';
import { graphNetwork } from '../../../src/models/graph/network.ts';

const counted = (shape: readonly number[], f = (i: number) => Math.sin(3 * i + 1)) =>
  host(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => f(i)),
    shape,
  );

/** What a program makes of an image [C, H, W], in the source's own order, and the operators that it took. */
async function run(image: HostTensor, program: (g: ChannelsFirst, x: Ordered) => Ordered) {
  const g = new ChannelsFirst(new GraphBuilder());
  const y = program(g, g.input('x', image.shape));
  const graph = g.builder.finish({ y: g.plain(y) });
  const [c, h, w] = image.shape as [number, number, number];
  const network = graphNetwork(graph);
  const compiled = compile(({ x }, ctx) => network.call(x!, ctx));
  const { result } = (await compiled({ x: host(permuted(image, [1, 2, 0]).data, [1, h, w, c]) })) as unknown as {
    result: HostTensor;
  };
  return { data: [...result.data], shape: result.shape, ops: graph.spec.nodes.map((n) => n.op) };
}

const image = counted([2, 3, 4]);

describe('channels-first sources', () => {
  it('flatten in their own order, through the rows of a dense weight, without moving the map', async () => {
    const weight = counted([24, 2]);
    const { data, ops } = await run(image, (g, x) => g.linear(g.reshape(x, [1, 24]), { weight }));
    const expected = [0, 1].map((o) => [...image.data].reduce((s, v, i) => s + v * weight.data[2 * i + o]!, 0));
    expect(ops).toEqual(['reshape', 'linear']);
    data.forEach((v, o) => {
      expect(v).toBeCloseTo(expected[o]!, 5);
    });
  });

  it('transpose without an operator where the next asks for what lies there', async () => {
    const { data, shape, ops } = await run(image, (g, x) => g.transpose(x, [0, 2, 3, 1]));
    expect(ops).toEqual([]);
    expect(shape).toEqual([1, 3, 4, 2]);
    expect(data).toEqual([...permuted(image, [1, 2, 0]).data]);
  });

  it('reshape, join, slice, reduce and pad by their own axes', async () => {
    const flat = await run(image, (g, x) => g.reshape(x, [1, 2, 12]));
    expect(flat.data).toEqual([...image.data]);
    const joined = await run(image, (g, x) => g.concat([x, x], 1));
    expect(joined.shape).toEqual([1, 4, 3, 4]);
    expect(joined.data).toEqual([...image.data, ...image.data]);
    const sliced = await run(image, (g, x) => g.along('slice', x, 2, { start: 1, end: 2 }));
    expect(sliced.data).toEqual([...image.data.slice(4, 8), ...image.data.slice(16, 20)]);
    const most = await run(image, (g, x) => g.reduce('max', x, [2], false));
    expect(most.shape).toEqual([1, 2, 4]);
    expect(most.data[0]).toBe(Math.max(image.data[0]!, image.data[4]!, image.data[8]!));
    const padded = await run(image, (g, x) =>
      g.pad(x, [
        [0, 0],
        [1, 0],
        [0, 0],
        [0, 0],
      ]),
    );
    expect(padded.data).toEqual([...Array(12).fill(0), ...image.data]);
  });

  it('broadcast numbers of the file and values by NumPy, in any order', async () => {
    const perChannel = counted([2, 1, 1]);
    const scaled = await run(image, (g, x) => g.binary('mul', g.given(perChannel), x));
    expect(scaled.data[13]).toBe(Math.fround(image.data[13]! * perChannel.data[1]!));
    const perColumn = counted([4]);
    const added = await run(image, (g, x) => g.binary('add', x, g.given(perColumn)));
    expect(added.data[6]).toBe(Math.fround(image.data[6]! + perColumn.data[2]!));
    const alone = await run(image, (g, x) => g.binary('sub', g.given(host(Float32Array.of(1), []), 'one', false), x));
    expect(alone.data[5]).toBe(Math.fround(1 - image.data[5]!));
    expect(alone.ops).toEqual(['sub', 'transpose']);
    const means = await run(image, (g, x) => g.binary('sub', x, g.reduce('mean', x, [2, 3], true)));
    expect(means.data.slice(0, 12).reduce((a, b) => a + b)).toBeCloseTo(0, 5);
  });

  it('take slopes along the channels, or of any other shape', async () => {
    const slopes = counted([2], (i) => 0.25 + i);
    const along = await run(image, (g, x) => g.prelu(x, slopes));
    const each = counted([3, 4], (i) => i / 8);
    const other = await run(image, (g, x) => g.prelu(x, each));
    const expected = (slope: (i: number) => number) =>
      [...image.data].map((v, i) => (v > 0 ? v : Math.fround(v * slope(i)) + 0));
    expect(along.data.map((v) => v + 0)).toEqual(expected((i) => slopes.data[Math.floor(i / 12)]!));
    expect(other.data).toEqual(expected((i) => each.data[i % 12]!));
  });
});
