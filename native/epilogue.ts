/**
 * Epilogues: what happens to a result while it is still in registers, before the store that would have happened anyway.
 *
 * The one idea: an epilogue is a function from one vector of results (and the operands that belong to it) to the vector
 * that is stored. Kernels walk their output through an `EpilogueCursor`, which knows where each operand's values for
 * the current place lie: bias, PReLU slope, batch-norm scale and shift, residual sums cost no pass over memory.
 */
import type { Buffer } from './lower.ts';
import { type Fn, type I32, type IntLike, i32, type Local, loadSplat, loadV128, type V128 } from './wasm.ts';

/**
 * How an operand meets the output, taken as a matrix of rows (pixels) and columns (channels):
 * `column` has one value per column, `row` one per row, `full` one per element (row-major, without gaps), `scalar` one.
 */
export type OperandKind = 'row' | 'column' | 'full' | 'scalar';

export interface EpilogueOperand {
  readonly buffer: Buffer;
  readonly kind: OperandKind;
}

export interface Epilogue {
  /** Names the code of `apply`; equal keys (with equal operand kinds) mean equal code. */
  readonly key: string;
  readonly operands: readonly EpilogueOperand[];
  /**
   * The vector to store for the accumulated `acc` of four adjacent columns. `operands` holds the matching values, in
   * the order of `Epilogue.operands`. All vectors are locals, so reading one twice costs nothing. Lanes must not mix:
   * in column tails only lane 0 is meaningful. Write it over f32x4 alone, so that pairs fuse in wide mode.
   */
  apply(f: Fn, acc: Local<V128>, operands: readonly Local<V128>[]): V128;
}

/** Adds one value per column: the bias of a convolution or linear layer. */
export const biasEpilogue = (bias: Buffer): Epilogue => ({
  key: 'bias',
  operands: [{ buffer: bias, kind: 'column' }],
  apply: (_, acc, [b]) => acc.add(b as V128),
});

/** The part of a kernel's key that an epilogue adds. */
export const epilogueKey = (ep: Epilogue | undefined): string =>
  ep ? `_${ep.key}(${ep.operands.map((o) => o.kind).join(',')})` : '';

const argName = (i: number) => `epilogue${i}`;

/** Argument words of a kernel for its epilogue's operand addresses; spread after the kernel's own. */
export const epilogueArgs = (ep: Epilogue | undefined): Record<string, 'i32'> =>
  Object.fromEntries((ep?.operands ?? []).map((_, i) => [argName(i), 'i32' as const]));

/** Their values for `Emitter.call`. */
export const epilogueValues = (ep: Epilogue | undefined): Record<string, Buffer> =>
  Object.fromEntries((ep?.operands ?? []).map((o, i) => [argName(i), o.buffer]));

/**
 * Walks an epilogue's operands along with the output. `seek` a row and column, then ask for the `vector` or `single`
 * some columns to the right, and go down with `nextRow`. Without an epilogue it does nothing and costs nothing.
 */
export class EpilogueCursor {
  private readonly f: Fn;
  private readonly ep: Epilogue | undefined;
  private readonly base: I32[];
  private readonly place: Local<I32>[];
  private readonly values: Local<V128>[];
  private readonly acc: Local<V128> | undefined;

  /** `args` are the kernel's arguments, among them those of `epilogueArgs`. */
  constructor(f: Fn, ep: Epilogue | undefined, args: Readonly<Record<string, unknown>>) {
    this.f = f;
    this.ep = ep;
    const operands = ep?.operands ?? [];
    this.base = operands.map((_, i) => args[argName(i)] as I32);
    this.place = operands.map(() => f.local('i32'));
    this.values = operands.map(() => f.local('v128'));
    this.acc = ep ? f.local('v128') : undefined;
  }
  /** Whether any operand needs the cursor's place. */
  get active(): boolean {
    return this.ep !== undefined;
  }
  /** Go to (row, column) of an output whose rows hold `columns` values. Pass locals or constants. */
  seek(row: IntLike, column: IntLike, columns: IntLike): void {
    this.ep?.operands.forEach(({ kind }, i) => {
      const base = this.base[i] as I32;
      const index =
        kind === 'column'
          ? i32(column)
          : kind === 'row'
            ? i32(row)
            : kind === 'full'
              ? i32(row).mul(columns).add(column)
              : i32(0);
      this.f.set(this.place[i] as Local<I32>, kind === 'scalar' ? base : base.add(index.shl(2)));
    });
  }
  /** One row down: `rowBytes` is 4·columns. */
  nextRow(rowBytes: IntLike): void {
    this.ep?.operands.forEach(({ kind }, i) => {
      if (kind === 'row') this.f.inc(this.place[i] as Local<I32>, 4);
      if (kind === 'full') this.f.inc(this.place[i] as Local<I32>, rowBytes);
    });
  }
  /** Some columns to the right: `bytes` is 4·columns. */
  right(bytes: IntLike): void {
    this.ep?.operands.forEach(({ kind }, i) => {
      if (kind === 'column' || kind === 'full') this.f.inc(this.place[i] as Local<I32>, bytes);
    });
  }
  /** The result for the four columns that start a constant `offset` bytes right of the cursor. */
  vector(acc: V128, offset = 0): V128 {
    return this.eval(acc, offset, false);
  }
  /** The result for the one column `offset` bytes right of the cursor, in lane 0; reads nothing beyond it. */
  single(acc: V128, offset = 0): V128 {
    return this.eval(acc, offset, true);
  }
  /** Results for a pair of adjacent vectors (8 columns): both are evaluated side by side, as wide mode wants. */
  pair(a: V128, b: V128, offset = 0): readonly [V128, V128] {
    if (!this.ep) return [a, b];
    // Locals of their own: the second vector must not overwrite what the first, not yet stored, still needs.
    return [this.fresh(a, offset), this.fresh(b, offset + 16)];
  }
  private operand(i: number, offset: number, one: boolean): V128 {
    const kind = (this.ep as Epilogue).operands[i]?.kind;
    const place = this.place[i] as Local<I32>;
    if (kind === 'scalar' || kind === 'row') return loadSplat(place);
    return one ? loadSplat(place, offset) : loadV128(place, offset);
  }
  private eval(acc: V128, offset: number, one: boolean): V128 {
    const { f, ep } = this;
    if (!ep) return acc;
    const a = this.acc as Local<V128>;
    f.set(a, acc);
    this.values.forEach((v, i) => {
      f.set(v, this.operand(i, offset, one));
    });
    return ep.apply(f, a, this.values);
  }
  private fresh(acc: V128, offset: number): V128 {
    const { f } = this;
    const ep = this.ep as Epilogue;
    const a = f.let(acc) as Local<V128>;
    return ep.apply(
      f,
      a,
      this.values.map((_, i) => f.let(this.operand(i, offset, false)) as Local<V128>),
    );
  }
}
