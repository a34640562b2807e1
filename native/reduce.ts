/**
 * Reductions over the middle axis of [outer, red, inner], of expressions that are computed on the way.
 *
 * The one idea: the reduced axis is cut into blocks whose length depends on the shape alone; each block gives one partial
 * result, and the partial results are reduced in turn. Within a block the order is fixed too, so any number of threads
 * and both vector widths give the same bits, and rounding errors grow with the block length and not with the axis.
 * Columns (inner > 1) add whole rows one after the other to sums that stay in the first-level cache: walking down a few
 * columns at a time would save those loads and stores, but defeats the prefetcher (measured: 8 instead of 21 GB/s).
 * Rows (inner = 1) run 16 lanes that are added at the end.
 */
import { liftConstants } from '../src/expr/liftConstants.ts';
import { type Expr, input, keyOf } from '../src/expr/nodes.ts';
import { prepareExprs } from '../src/expr/printWasm.ts';
import { constantArgs, constantPacks, constantValues } from './constants.ts';
import { byteShift, loadElements } from './elements.ts';
import { type ArgType, defineKernel, type Kernel } from './kernel.ts';
import type { Buffer, Emitter, Value } from './lower.ts';
import type { Pack } from './math.ts';
import { type F32, type Fn, f32x4, type I32, i32, type Local, loadV128, type V128 } from './wasm.ts';

export { type ArgReduceSpec, argReduceWasm } from './argReduce.ts';

export type ReduceOp = 'sum' | 'mean' | 'max' | 'min';

export interface ReduceInput {
  readonly value: Value;
  /** Element strides along outer, red and inner; 0 where the operand is broadcast. */
  readonly strides: readonly [number, number, number];
}

export interface ReduceSpec {
  /** [outer, red, inner]; red is reduced. */
  readonly space: readonly [number, number, number];
  /** What is reduced, and how. Operand i of the expressions is `inputs[i]`. All share one pass. */
  readonly reductions: readonly { readonly op: ReduceOp; readonly expr: Expr }[];
  readonly inputs: readonly ReduceInput[];
  /** One per reduction: f32, outer · inner elements. */
  readonly outputs: readonly Value[];
}

type Merge = 'sum' | 'max' | 'min';
const mergeOf = (op: ReduceOp): Merge => (op === 'mean' ? 'sum' : op);
const identity = { sum: 0, max: Number.NEGATIVE_INFINITY, min: Number.POSITIVE_INFINITY };
const merge = (op: Merge, a: V128, b: V128): V128 => (op === 'sum' ? a.add(b) : op === 'max' ? a.max(b) : a.min(b));
const mergeScalar = (op: Merge, a: F32, b: F32): F32 => (op === 'sum' ? a.add(b) : op === 'max' ? a.max(b) : a.min(b));

/** Along the vectors an operand is contiguous, one value, or neither (then everything goes lane by lane). */
type Access = 'along' | 'same' | 'strided';
const accessOf = (stride: number): Access => (stride === 1 ? 'along' : stride === 0 ? 'same' : 'strided');

interface Layout {
  /** Number of lifted constants: operands after the inputs. */
  readonly constants: number;
  readonly reductions: readonly { readonly op: ReduceOp; readonly expr: Expr }[];
  readonly inputs: readonly { readonly dtype: Value['dtype']; readonly access: Access; readonly fixed: boolean }[];
}
const layoutKey = ({ reductions, inputs }: Layout) =>
  [
    reductions.map((r) => r.op).join(','),
    inputs.map((x) => `${x.dtype}${x.access[0]}${x.access[1]}${x.fixed ? 'f' : ''}`).join(','),
    keyOf(reductions.map((r) => r.expr)),
  ].join('_');

/** Columns of one chunk at most: its partial results stay in the first-level cache. */
const tileColumns = 512;
/** Elements of one chunk, about. */
const chunkElements = 32768;
/** Elements of a block of a long row. */
const rowBlock = 16384;

const intArgs = (names: readonly string[]): Record<string, ArgType> =>
  Object.fromEntries(names.map((n) => [n, 'i32' as const]));

/** Address of an operand's element at the given indices. */
function addressOf(f: Fn, base: I32, dtype: Value['dtype'], terms: readonly (readonly [I32, I32])[]): Local<I32> {
  const element = terms.map(([index, stride]) => index.mul(stride)).reduce((a, b) => a.add(b));
  return f.let(base.add(element.shl(byteShift(dtype))));
}

function columnKernel(layout: Layout): Kernel {
  const { reductions, inputs, constants } = layout;
  const exprs = reductions.map((r) => r.expr);
  const lanewise = inputs.some((x) => x.access === 'strided');
  const args = intArgs([
    ...['outer', 'red', 'inner', 'blocks', 'length', 'tiles', 'tile', 'outers', 'group'],
    ...inputs.flatMap((_, j) => [`x${j}`, `so${j}`, `sr${j}`, `si${j}`]),
    ...reductions.map((_, k) => `y${k}`),
  ]);
  args.divisor = 'f32';
  Object.assign(args, constantArgs(constants));
  return defineKernel({
    key: `reduceColumns_${layoutKey(layout)}`,
    args,
    chunk(f, values, chunk) {
      const arg = (name: string) => values[name] as unknown as Local<I32>;
      // Accumulators, in pairs of vectors: as many as stay in registers. It does not change the order of the sums.
      const strip = Math.max(1, (f.mode.wide ? 4 : 2) >> (reductions.length - 1));
      const divisor = f.let((values.divisor as unknown as Local<F32>).splat());
      const run = prepareExprs(f, exprs);
      const numbers = constantPacks(f, values, constants);
      const i0 = f.let(chunk.remU(arg('tiles')).mul(arg('tile')));
      const rest = f.let(chunk.divU(arg('tiles')));
      const block = f.let(rest.remU(arg('blocks')));
      const o0 = f.let(rest.divU(arg('blocks')).mul(arg('outers')));
      const i1 = f.let(i0.add(arg('tile')));
      f.set(i1, i1.minS(arg('inner')));
      const o1 = f.let(o0.add(arg('outers')));
      f.set(o1, o1.minS(arg('outer')));
      const r0 = f.let(block.mul(arg('length')));
      const r1 = f.let(r0.add(arg('length')));
      f.set(r1, r1.minS(arg('red')));
      f.for(o0, o1, 1, (o) => {
        const to = reductions.map((_, k) =>
          f.let(arg(`y${k}`).add(o.mul(arg('blocks')).add(block).mul(arg('inner')).shl(2))),
        );
        reductions.forEach(({ op }, k) => {
          f.for(i0, i1, 1, (i) => f.storeF32(to[k]!.add(i.shl(2)), identity[mergeOf(op)]));
        });
        const group = f.local('i32');
        const groupEnd = f.local('i32');
        const rowAt = inputs.map(({ dtype }, j) =>
          addressOf(f, arg(`x${j}`), dtype, [
            [o, arg(`so${j}`)],
            [r0, arg(`sr${j}`)],
          ]),
        );
        const steps = inputs.map(({ dtype }, j) => f.let(arg(`sr${j}`).shl(byteShift(dtype))));
        // Adds the group's rows to `pairs` pairs of columns from i on, or to the single column i.
        const emit = (i: Local<I32>, pairs: number) => {
          const count = Math.max(1, 2 * pairs);
          const at = to.map((y) => f.let(y.add(i.shl(2))));
          const acc = at.map((y) =>
            pairs ? loadVectors(f, y, pairs) : loadElements(f, 'f32', y, 1).map((x) => x as Local<V128>),
          );
          const from = inputs.map(({ dtype, access }, j) => {
            if (access === 'same') return f.let(rowAt[j]!);
            return f.let(rowAt[j]!.add((access === 'along' ? i : i.mul(arg(`si${j}`))).shl(byteShift(dtype))));
          });
          const load = (j: number, t: number): Pack => {
            const { dtype, access } = inputs[j]!;
            if (pairs && access === 'along') return loadElements(f, dtype, from[j]!, 8, 8 * t);
            const one = loadElements(f, dtype, from[j]!, 1)[0]!;
            return pairs ? [one, one] : [one];
          };
          const turns = Array.from({ length: Math.max(1, pairs) }, (_, t) => t);
          const kept = inputs.map(({ fixed }, j) => (fixed ? turns.map((t) => load(j, t)) : undefined));
          f.for(group, groupEnd, 1, () => {
            for (const t of turns) {
              const packs = inputs.map((_, j) => kept[j]?.[t] ?? load(j, t));
              const width = pairs ? 2 : 1;
              run([...packs, ...numbers(width)], width).forEach((pack, k) => {
                for (let h = 0; h < width; h++) {
                  const a = acc[k]![width * t + h]!;
                  f.set(a, merge(mergeOf(reductions[k]!.op), a, pack[h]!));
                }
              });
            }
            inputs.forEach(({ fixed }, j) => {
              if (!fixed) f.inc(from[j]!, steps[j]!);
            });
          });
          at.forEach((y, k) => {
            if (!pairs) f.storeF32(y, acc[k]![0]!.lane(0));
            else for (let v = 0; v < count; v++) f.storeV128(y, acc[k]![v]!, 16 * v);
          });
        };
        f.set(group, r0);
        f.while(group.ltS(r1), () => {
          f.set(groupEnd, group.add(arg('group')));
          f.set(groupEnd, groupEnd.minS(r1));
          const done = f.let(i0);
          if (!lanewise) {
            if (strip > 1) {
              f.while(done.add(8 * strip).leS(i1), () => {
                emit(done, strip);
                f.inc(done, 8 * strip);
              });
            }
            f.while(done.add(8).leS(i1), () => {
              emit(done, 1);
              f.inc(done, 8);
            });
          }
          f.for(done, i1, 1, (i) => emit(i, 0));
          inputs.forEach(({ fixed }, j) => {
            if (!fixed) f.inc(rowAt[j]!, groupEnd.sub(group).mul(steps[j]!));
          });
          f.set(group, groupEnd);
        });
        reductions.forEach(({ op }, k) => {
          if (op !== 'mean') return;
          f.for(i0, i1, 1, (i) => {
            const at = f.let(to[k]!.add(i.shl(2)));
            f.storeF32(at, loadElements(f, 'f32', at, 1)[0]!.div(divisor).lane(0));
          });
        });
      });
    },
  });
}

const loadVectors = (f: Fn, at: Local<I32>, pairs: number): Local<V128>[] =>
  Array.from({ length: pairs }, (_, t) => loadElements(f, 'f32', at, 8, 8 * t)).flat() as Local<V128>[];

function rowKernel(layout: Layout): Kernel {
  const { reductions, inputs, constants } = layout;
  const exprs = reductions.map((r) => r.expr);
  const strip = reductions.length <= 3 ? 2 : 1;
  const args = intArgs([
    ...['outer', 'red', 'blocks', 'length', 'outers'],
    ...inputs.flatMap((_, j) => [`x${j}`, `so${j}`]),
    ...reductions.map((_, k) => `y${k}`),
  ]);
  args.divisor = 'f32';
  Object.assign(args, constantArgs(constants));
  return defineKernel({
    key: `reduceRows_${layoutKey(layout)}`,
    args,
    scratchBytes: 32,
    chunk(f, values, chunk, scratch) {
      const arg = (name: string) => values[name] as unknown as Local<I32>;
      const run = prepareExprs(f, exprs);
      const numbers = constantPacks(f, values, constants);
      const block = f.let(chunk.remU(arg('blocks')));
      const o0 = f.let(chunk.divU(arg('blocks')).mul(arg('outers')));
      const o1 = f.let(o0.add(arg('outers')));
      f.set(o1, o1.minS(arg('outer')));
      const r0 = f.let(block.mul(arg('length')));
      const count = f.let(arg('red').sub(r0));
      f.set(count, count.minS(arg('length')));
      f.for(o0, o1, 1, (o) => {
        const from = inputs.map(({ dtype, access }, j) =>
          addressOf(f, arg(`x${j}`), dtype, [
            [o, arg(`so${j}`)],
            [r0, i32(access === 'along' ? 1 : 0)],
          ]),
        );
        const kept = inputs.map(({ dtype, access }, j) =>
          access === 'same' ? loadElements(f, dtype, from[j]!, 1)[0]! : undefined,
        );
        const acc = reductions.map(({ op }) =>
          Array.from({ length: 2 * strip }, () => f.let(f32x4(identity[mergeOf(op)]))),
        );
        const tail = reductions.map(({ op }) => f.let(f32x4(identity[mergeOf(op)])));
        const emit = (i: Local<I32>, pairs: number) => {
          const place = inputs.map(({ dtype, access }, j) =>
            access === 'same' ? from[j]! : f.let(from[j]!.add(i.shl(byteShift(dtype)))),
          );
          for (let t = 0; t < Math.max(1, pairs); t++) {
            const packs = inputs.map(({ dtype }, j): Pack => {
              const one = kept[j];
              if (one) return pairs ? [one, one] : [one];
              return pairs ? loadElements(f, dtype, place[j]!, 8, 8 * t) : loadElements(f, dtype, place[j]!, 1);
            });
            run([...packs, ...numbers(pairs ? 2 : 1)], pairs ? 2 : 1).forEach((pack, k) => {
              const op = mergeOf(reductions[k]!.op);
              if (!pairs) f.set(tail[k]!, merge(op, tail[k]!, pack[0]!));
              else {
                for (let h = 0; h < 2; h++) {
                  const a = acc[k]![2 * t + h]!;
                  f.set(a, merge(op, a, pack[h]!));
                }
              }
            });
          }
        };
        const wide = f.let(count.and(-8 * strip));
        f.for(0, wide, 8 * strip, (i) => emit(i, strip));
        const body = f.let(count.and(-8));
        if (strip > 1) f.for(wide, body, 8, (i) => emit(i, 1));
        f.for(body, count, 1, (i) => emit(i, 0));
        reductions.forEach(({ op: name }, k) => {
          const op = mergeOf(name);
          // Pairs, then halves, then lanes, then the tail. The pair goes through memory: without an adjacent store at
          // its end V8 does not see a pair, and the whole loop would stay narrow.
          const [a, b, c, d] = acc[k]! as readonly V128[] as [V128, V128, V128?, V128?];
          const pair = [f.let(c ? merge(op, a, c) : a), f.let(d ? merge(op, b, d) : b)] as const;
          f.storeV128(scratch, pair[0]);
          f.storeV128(scratch, pair[1], 16);
          const v = f.let(merge(op, loadV128(scratch), loadV128(scratch, 16)));
          const all = mergeScalar(
            op,
            mergeScalar(op, mergeScalar(op, v.lane(0), v.lane(1)), mergeScalar(op, v.lane(2), v.lane(3))),
            tail[k]!.lane(0),
          );
          const y = arg(`y${k}`).add(o.mul(arg('blocks')).add(block).shl(2));
          f.storeF32(y, name === 'mean' ? all.div(values.divisor as unknown as Local<F32>) : all);
        });
      });
    },
  });
}

/**
 * Reduces expressions over the middle axis: `outputs[k][o, i] = op_k over r of expr_k(inputs at [o, r, i])`.
 *
 * NaN makes a sum, mean, max or min NaN. Over an empty axis a sum is 0, a mean NaN, a max -Infinity, a min Infinity.
 */
export function reduceWasm(e: Emitter, spec: ReduceSpec): void {
  reduceBlocks(e, spec, spec.space[1]);
}

/** `divisor` is the number of elements behind a mean: the length of the whole axis, also when partial sums are merged. */
function reduceBlocks(e: Emitter, { space, reductions, inputs, outputs }: ReduceSpec, divisor: number): void {
  const [outer, red, inner] = space;
  if (outer * inner === 0) return;
  const rows = inner === 1 && inputs.every((x) => x.strides[1] === 0 || x.strides[1] === 1);
  const tile = Math.min(inner, tileColumns);
  const tiles = Math.ceil(inner / tile);
  // A block of columns is at least 64 rows long, so that its partial results are few beside what it reads.
  const length = rows ? rowBlock : Math.max(64, Math.ceil(chunkElements / tile));
  const blocks = Math.max(1, Math.ceil(red / length));
  const work = Math.max(1, Math.min(red, length)) * tile;
  const outers = blocks * tiles > 1 ? 1 : Math.max(1, Math.floor(chunkElements / work));
  const partial: Value[] = reductions.map((_, k) =>
    blocks === 1
      ? outputs[k]!
      : { buffer: e.temp(4 * outer * blocks * inner), shape: [outer, blocks, inner], dtype: 'f32' },
  );
  const lifted = liftConstants(
    reductions.map((r) => r.expr),
    inputs.length,
  );
  const layout: Layout = {
    reductions: reductions.map(({ op }, k) => ({ op: blocks === 1 ? op : mergeOf(op), expr: lifted.exprs[k]! })),
    constants: lifted.values.length,
    inputs: inputs.map((x) => ({
      dtype: x.value.dtype,
      access: accessOf(rows ? x.strides[1] : x.strides[2]),
      fixed: !rows && x.strides[1] === 0,
    })),
  };
  const args: Record<string, number | Buffer> = {
    outer,
    red,
    blocks,
    length,
    outers,
    divisor,
    ...constantValues(lifted.values),
  };
  if (!rows) {
    // Rows that are walked together, column by column: so few that the memory is read in order all the same.
    const group = tile <= 64 ? Math.floor(256 / tile) : 1;
    Object.assign(args, { inner, tiles, tile, group });
  }
  inputs.forEach(({ value, strides }, j) => {
    args[`x${j}`] = value.buffer;
    args[`so${j}`] = strides[0];
    if (!rows) {
      args[`sr${j}`] = strides[1];
      args[`si${j}`] = strides[2];
    }
  });
  partial.forEach((y, k) => {
    args[`y${k}`] = y.buffer;
  });
  const kernel = rows ? rowKernel(layout) : columnKernel(layout);
  e.call(kernel, args as Record<string, number>, Math.ceil(outer / outers) * blocks * tiles);
  if (blocks > 1) {
    reduceBlocks(
      e,
      {
        space: [outer, blocks, inner],
        reductions: reductions.map(({ op }, k) => ({ op, expr: input(k) })),
        inputs: partial.map((value) => ({ value, strides: [blocks * inner, inner, 1] })),
        outputs,
      },
      divisor,
    );
  }
}
