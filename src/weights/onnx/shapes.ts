/**
 * ONNX operators that move numbers, and those that compute shapes.
 *
 * The one idea: what is known when the graph is made is computed at once, by the same mapping; so the shape arithmetic
 * that exporters write around every reshape leaves nothing behind.
 * Source: the operator definitions of the ONNX standard.
 */
import { type Shape, sizeOf } from '../../core/shape.ts';
import { type Ordered, permuted } from '../../models/graph/channelsFirst.ts';
import type { TensorProto } from './messages.ts';
import { asHost, type Item, isNumbers, latestOpset as latest, type OnnxNode, type OnnxOperator } from './node.ts';
import { cast, joined, mostMade, type Numbers, numbersOf, numberTypeOf, take, typeName } from './numbers.ts';

const range = (n: number, f: (i: number) => number = (i) => i): number[] => Array.from({ length: n }, (_, i) => f(i));

/** The same numbers in another shape. */
function reshaped(node: OnnxNode, item: Item, shape: Shape): Item {
  if (sizeOf(shape) !== sizeOf(item.shape) || shape.some((d) => !Number.isSafeInteger(d) || d < 0))
    node.fail(`${sizeOf(item.shape)} numbers in shape [${shape.join(', ')}], got shape [${item.shape.join(', ')}]`);
  return isNumbers(item) ? { ...item, shape } : node.graph.reshape(item, shape, node.path);
}

function reshape(node: OnnxNode): Item {
  const x = node.item(0);
  const wanted = node.list(1, 'a shape');
  const copies = node.int('allowzero', 0) === 0;
  const shape = wanted.map((d, i) => (d === 0 && copies ? (x.shape[i] ?? node.fail(`an axis ${i} to copy`)) : d));
  const open = shape.indexOf(-1);
  if (open >= 0) shape[open] = sizeOf(x.shape) / shape.reduce((n, d, i) => (i === open ? n : n * d), 1);
  return reshaped(node, x, shape);
}

function flatten(node: OnnxNode): Item {
  const x = node.item(0);
  const axis = node.int('axis', 1);
  const at = axis === x.shape.length ? axis : node.axis(axis, x.shape.length);
  return reshaped(node, x, [sizeOf(x.shape.slice(0, at)), sizeOf(x.shape.slice(at))]);
}

function squeeze(node: OnnxNode): Item {
  const x = node.item(0);
  const named = node.listOf('axes', 1)?.map((a) => node.axis(a, x.shape.length));
  const axes = named ?? range(x.shape.length).filter((i) => x.shape[i] === 1);
  if (axes.some((a) => x.shape[a] !== 1))
    node.fail(`axes of size 1 at [${axes.join(', ')}] of [${x.shape.join(', ')}]`);
  return reshaped(
    node,
    x,
    x.shape.filter((_, i) => !axes.includes(i)),
  );
}

function unsqueeze(node: OnnxNode): Item {
  const x = node.item(0);
  const given = node.listOf('axes', 1) ?? node.fail('axes');
  const rank = x.shape.length + given.length;
  if (rank > 64) node.fail(`at most 64 axes, got ${rank}`);
  const axes = given.map((a) => node.axis(a, rank));
  if (new Set(axes).size !== axes.length) node.fail(`axes that differ, got [${axes.join(', ')}]`);
  const left = [...x.shape];
  return reshaped(
    node,
    x,
    range(rank).map((i) => (axes.includes(i) ? 1 : left.shift()!)),
  );
}

function transpose(node: OnnxNode): Item {
  const x = node.item(0);
  const rank = x.shape.length;
  const perm = node.ints('perm') ?? range(rank).reverse();
  if (perm.toSorted((a, b) => a - b).some((a, i) => a !== i) || perm.length !== rank)
    node.fail(`each of ${rank} axes once, got [${perm.join(', ')}]`);
  if (!isNumbers(x)) return node.graph.transpose(x, perm);
  const moved = permuted(asHost(x), perm);
  return { ...x, shape: moved.shape, data: moved.data as Numbers['data'] };
}

/** The places named by indices along an axis. */
function taken(node: OnnxNode, x: Item, axis: number, indices: readonly number[]): Item {
  const n = x.shape[axis]!;
  const bad = indices.find((i) => !Number.isInteger(i) || i < 0 || i >= n);
  if (bad !== undefined) node.fail(`an index below ${n}, got ${bad}`);
  if (indices.length === n && indices.every((v, i) => v === i)) return x;
  if (isNumbers(x)) return take(x, axis, indices);
  if (indices.length === 0) node.refuse('a result without numbers');
  const step = indices.length > 1 ? indices[1]! - indices[0]! : 1;
  if (step < 1 || indices.some((v, i) => v !== indices[0]! + i * step))
    return node.graph.along('gather', x, axis, { indices: [...indices] }, node.path);
  const bounds = { start: indices[0]!, end: indices[indices.length - 1]! + 1, step };
  return node.graph.along('slice', x, axis, bounds, node.path);
}

function slice(node: OnnxNode): Item {
  let x = node.item(0);
  const starts = node.listOf('starts', 1) ?? node.fail('starts');
  const ends = node.listOf('ends', 2) ?? node.fail('ends');
  const axes = node.listOf('axes', 3) ?? range(starts.length);
  const steps = node.has(4) ? node.list(4, 'steps') : starts.map(() => 1);
  if ([ends, axes, steps].some((l) => l.length !== starts.length))
    node.fail(`as many ends, axes and steps as the ${starts.length} starts`);
  starts.forEach((start, k) => {
    const axis = node.axis(axes[k]!, x.shape.length);
    const step = steps[k]!;
    if (!step) node.fail('steps other than 0');
    const n = x.shape[axis]!;
    const [low, high] = step > 0 ? [0, n] : [-1, n - 1];
    const within = (v: number, least: number) => Math.min(high, Math.max(least, v < 0 ? v + n : v));
    const from = within(start, 0);
    const to = within(ends[k]!, low);
    const count = Math.max(0, Math.ceil((to - from) / step));
    x = taken(
      node,
      x,
      axis,
      range(count, (i) => from + i * step),
    );
  });
  return x;
}

function gather(node: OnnxNode): Item {
  const x = node.item(0);
  const indices = node.numbers(1, 'indices');
  const axis = node.axis(node.int('axis', 0), x.shape.length);
  const n = x.shape[axis]!;
  const flat = taken(
    node,
    x,
    axis,
    Array.from(indices.data, (i) => (i < 0 ? i + n : i)),
  );
  if (indices.shape.length === 1) return flat;
  return reshaped(node, flat, [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)]);
}

function concat(node: OnnxNode): Item {
  const xs = node.all();
  const rank = xs[0]?.shape.length ?? 0;
  if (!node.hasAttribute('axis')) node.fail('an axis');
  const axis = node.axis(node.int('axis', 0), rank);
  if (xs.every(isNumbers)) return joined(xs, axis);
  // Nothing is added by what is empty.
  const some = xs.filter((x) => sizeOf(x.shape) > 0).map((x) => node.asValue(x));
  return some.length === 1 ? some[0]! : node.graph.concat(some, axis, node.path);
}

function split(node: OnnxNode): Item[] {
  const x = node.item(0);
  const axis = node.axis(node.int('axis', 0), x.shape.length);
  const n = x.shape[axis]!;
  const parts = node.int('num_outputs', (node.proto.output ?? []).length);
  const each = Math.ceil(n / parts);
  const sizes = node.listOf('split', 1) ?? range(parts, (i) => Math.max(0, Math.min(each, n - i * each)));
  if (sizes.some((d) => !Number.isSafeInteger(d) || d < 0) || sizes.reduce((a, b) => a + b, 0) !== n)
    node.fail(`parts of together ${n}, got [${sizes.join(', ')}]`);
  let at = 0;
  return sizes.map((d) => {
    at += d;
    return taken(
      node,
      x,
      axis,
      range(d, (i) => at - d + i),
    );
  });
}

function pad(node: OnnxNode): Item {
  let x = node.item(0);
  const rank = x.shape.length;
  const mode = node.text('mode', 'constant');
  const pads = node.listOf('pads', 1) ?? node.fail('pads');
  const axes = (node.has(3) ? node.list(3, 'axes') : range(rank)).map((a) => node.axis(a, rank));
  if (pads.length !== 2 * axes.length || pads.some((p) => !Number.isSafeInteger(p) || Math.abs(p) > 1 << 20))
    node.fail(`${2 * axes.length} pads, got [${pads.join(', ')}]`);
  const sides = range(rank).map((i): [number, number] => {
    const k = axes.indexOf(i);
    return k < 0 ? [0, 0] : [pads[k]!, pads[k + axes.length]!];
  });
  if (mode === 'constant') {
    const value = node.has(2) ? node.numbers(2, 'a value').data[0]! : node.float('value', 0);
    if (!Number.isFinite(value)) node.refuse(`a value of ${value}`);
    // Negative pads cut.
    sides.forEach(([before, after], i) => {
      const [from, to] = [Math.max(0, -before), x.shape[i]! - Math.max(0, -after)];
      x = taken(
        node,
        x,
        i,
        range(Math.max(0, to - from), (k) => from + k),
      );
    });
    const added = sides.map(([a, b]): [number, number] => [Math.max(0, a), Math.max(0, b)]);
    if (added.every(([a, b]) => a + b === 0)) return x;
    return node.graph.pad(node.asValue(x), added, value, node.path);
  }
  const wrap = (i: number, n: number): number => {
    if (mode === 'edge') return Math.min(n - 1, Math.max(0, i));
    if (mode === 'wrap') return ((i % n) + n) % n;
    if (mode !== 'reflect') return node.refuse(`mode ${mode}`);
    const period = Math.max(1, 2 * (n - 1));
    const within = ((i % period) + period) % period;
    return within < n ? within : period - within;
  };
  sides.forEach(([before, after], i) => {
    const n = x.shape[i]!;
    if (before !== 0 || after !== 0)
      x = taken(
        node,
        x,
        i,
        range(Math.max(0, n + before + after), (k) => wrap(k - before, n)),
      );
  });
  return x;
}

function expand(node: OnnxNode): Item {
  const x = node.item(0);
  const wanted = node.list(1, 'a shape');
  const rank = Math.max(wanted.length, x.shape.length);
  const own = [...range(rank - x.shape.length, () => 1), ...x.shape];
  const asked = [...range(rank - wanted.length, () => 1), ...wanted];
  const shape = own.map((d, i) => (asked[i] === 1 ? d : asked[i]!));
  if (
    rank > 64 ||
    own.some((d, i) => d !== 1 && d !== shape[i]) ||
    shape.some((d) => !Number.isSafeInteger(d) || d < 1)
  )
    node.fail(`a shape that [${x.shape.join(', ')}] broadcasts to, got [${wanted.join(', ')}]`);
  if (!isNumbers(x)) return node.graph.expand(x, shape, node.path);
  return own.reduce<Numbers>(
    (y, d, i) => (d === shape[i] ? y : take(y, i, new Array<number>(checked(node, shape)[i]!).fill(0))),
    { ...x, shape: own },
  );
}
/** A shape of so few numbers that they can be listed. */
function checked(node: OnnxNode, shape: Shape): Shape {
  const n = shape.reduce((a, b) => a * b, 1);
  return n <= mostMade ? shape : node.fail(`at most ${mostMade} numbers, got shape [${shape.join(', ')}]`);
}

function tile(node: OnnxNode): Item {
  const x = node.item(0);
  const times = node.list(1, 'repeats');
  if (times.length !== x.shape.length || times.some((n) => !Number.isSafeInteger(n) || n < 1))
    node.fail(`${x.shape.length} repeats of at least 1, got [${times.join(', ')}]`);
  checked(
    node,
    x.shape.map((d, i) => d * times[i]!),
  );
  return times.reduce(
    (y, n, i) =>
      n === 1
        ? y
        : taken(
            node,
            y,
            i,
            range(n * x.shape[i]!, (k) => k % x.shape[i]!),
          ),
    x,
  );
}

/** Blocks of channels become blocks of places, or back. */
function blocks(node: OnnxNode): Ordered {
  const { graph, path } = node;
  const x = node.value(0);
  const s = node.int('blocksize', 0);
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const deep = node.type === 'DepthToSpace';
  if (x.shape.length !== 4 || s < 1 || (deep ? c % (s * s) : h % s || w % s))
    node.fail(`an image that blocks of ${s} divide, got shape [${x.shape.join(', ')}]`);
  if (!deep) {
    const split = graph.reshape(x, [n, c, h / s, s, w / s, s], path);
    return graph.reshape(graph.transpose(split, [0, 3, 5, 1, 2, 4]), [n, c * s * s, h / s, w / s], path);
  }
  const rows = node.text('mode', 'DCR') === 'CRD';
  const k = c / (s * s);
  const split = graph.reshape(x, rows ? [n, k, s, s, h, w] : [n, s, s, k, h, w], path);
  const moved = graph.transpose(split, rows ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2]);
  return graph.reshape(moved, [n, k, h * s, w * s], path);
}

function constant(node: OnnxNode): Numbers {
  const tensor = node.tensor('value');
  if (tensor) return tensor;
  const floats = node.floats('value_floats');
  if (floats) return numbersOf(floats, [floats.length], 'float');
  const ints = node.ints('value_ints');
  if (ints) return numbersOf(ints);
  if (node.hasAttribute('value_float')) return numbersOf([node.float('value_float', 0)], [], 'float');
  if (node.hasAttribute('value_int')) return numbersOf([node.int('value_int', 0)], []);
  return node.refuse('a constant that is no dense tensor of numbers');
}

function constantOfShape(node: OnnxNode): Numbers {
  const value = node.tensor('value') ?? numbersOf([0], [1], 'float');
  const shape = node.list(0, 'a shape');
  if (shape.some((d) => d < 0)) node.fail(`sizes of 0 or more, got [${shape.join(', ')}]`);
  checked(node, shape);
  return numbersOf(new Array<number>(sizeOf(shape)).fill(value.data[0]!), shape, value.type);
}

function rangeOf(node: OnnxNode): Numbers {
  const [start, limit, delta] = [0, 1, 2].map((i) => node.numbers(i, 'a range')) as [Numbers, Numbers, Numbers];
  const [from, to, step] = [start, limit, delta].map((x) => x.data[0] ?? 0) as [number, number, number];
  const n = Math.max(0, Math.ceil((to - from) / step));
  if (!Number.isFinite(n)) node.fail(`a range of finitely many numbers, got ${from} to ${to} by ${step}`);
  checked(node, [n]);
  return numbersOf(
    range(n, (i) => from + i * step),
    [n],
    start.type,
  );
}

function shapeOf(node: OnnxNode): Numbers {
  const shape = node.shape(0);
  const bound = (name: string, fallback: number) => {
    const v = node.int(name, fallback);
    return Math.min(shape.length, Math.max(0, v < 0 ? v + shape.length : v));
  };
  return numbersOf(shape.slice(bound('start', 0), bound('end', shape.length)));
}

function castTo(node: OnnxNode): Item {
  const x = node.item(0);
  const like = node.type === 'CastLike';
  const to = like ? undefined : node.int('to', 0);
  const other = like ? node.item(1) : undefined;
  const type = other ? (isNumbers(other) ? other.type : 'float') : numberTypeOf(to as TensorProto['dataType']);
  if (type === undefined) return node.refuse(`to ${typeName(to)}`);
  if (isNumbers(x)) return cast(x, type);
  return type === 'float' ? x : node.refuse(`values of the graph to ${to === undefined ? type : typeName(to)}`);
}

function dropout(node: OnnxNode): Item {
  if (node.outputs > 1) node.refuse('the mask');
  const rate = node.has(1) ? node.numbers(1, 'a ratio').data[0]! : node.float('ratio', 0.5);
  if (!(rate >= 0 && rate < 1)) return node.refuse(`a ratio of ${rate}`);
  if (rate > 0 && node.has(2) && node.numbers(2, 'training_mode').data[0]) return node.refuse('training_mode');
  return node.graph.unary('dropout', node.value(0), { rate }, node.path);
}

const any = (name: string, map: OnnxOperator['map'], limits = '', from = 7): OnnxOperator => ({
  name,
  opsets: [from, latest],
  limits,
  map,
});

export const shapeOperators: readonly OnnxOperator[] = [
  any('Reshape', reshape, 'the shape must be known'),
  any('Flatten', flatten),
  any('Squeeze', squeeze),
  any('Unsqueeze', unsqueeze),
  any('Transpose', transpose),
  any('Slice', slice, 'starts, ends, axes and steps must be known'),
  any('Gather', gather, 'indices must be known'),
  any('Concat', concat),
  any('Split', split),
  any('Pad', pad, 'pads must be known'),
  any('Expand', expand, 'the shape must be known', 8),
  any('Tile', tile, 'repeats must be known'),
  any('DepthToSpace', blocks),
  any('SpaceToDepth', blocks),
  any('Identity', (node) => node.item(0)),
  any('Dropout', dropout, 'one output; no training_mode'),
  any('Constant', constant, 'dense numbers'),
  any('ConstantOfShape', constantOfShape, '', 9),
  any('Range', rangeOf, 'of known numbers', 11),
  any('Shape', shapeOf),
  any('Size', (node) => numbersOf([sizeOf(node.shape(0))], [])),
  any('Cast', castTo, 'values of the graph to floating point only'),
  any('CastLike', castTo, 'values of the graph to floating point only', 15),
];
