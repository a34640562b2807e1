/**
 * Blocks of channels: eight at a time as a pair of adjacent f32x4 (which V8 fuses in wide mode), then four, then one.
 *
 * The one idea: a single channel is a splat load and a one-lane store, so tails run the same vector code as the body.
 */
import type { EpilogueCursor } from './epilogue.ts';
import { type Fn, type I32, type IntLike, i32, type Local, loadSplat, loadV128, type V128 } from './wasm.ts';

/** How many neighbouring channels a block holds and how they come and go. */
export interface Lanes {
  readonly count: 8 | 4 | 1;
  /** Byte offsets of the block's vectors. */
  readonly vectors: readonly number[];
  /** Loads into fresh locals. */
  load(f: Fn, addr: I32, offset?: number): Local<V128>[];
  store(f: Fn, addr: I32, values: readonly V128[], offset?: number): void;
}

const vectorLanes = (count: 8 | 4): Lanes => {
  const vectors = count === 8 ? [0, 16] : [0];
  return {
    count,
    vectors,
    load: (f, addr, offset = 0) => vectors.map((v) => f.let(loadV128(addr, offset + v))),
    store(f, addr, values, offset = 0) {
      vectors.forEach((v, i) => {
        f.storeV128(addr, values[i] as V128, offset + v);
      });
    },
  };
};

export const pairLanes = vectorLanes(8);
export const quadLanes = vectorLanes(4);
export const singleLane: Lanes = {
  count: 1,
  vectors: [0],
  load: (f, addr, offset = 0) => [f.let(loadSplat(addr, offset))],
  store(f, addr, values, offset = 0) {
    f.storeF32(addr, (values[0] as V128).lane(0), offset);
  },
};

/** Emits `body` for all channels: a loop over pairs, then the tails. `cb` is the block's byte offset in a pixel. */
export function channelBlocks(f: Fn, channels: number, body: (cb: I32, lanes: Lanes) => void): void {
  const pairs = channels & ~7;
  if (pairs === 8) body(i32(0), pairLanes);
  else if (pairs) f.for(0, 4 * pairs, 32, (cb) => body(cb, pairLanes));
  if (channels & 4) body(i32(4 * pairs), quadLanes);
  const rest = channels & ~3;
  if (channels - rest === 1) body(i32(4 * rest), singleLane);
  else if (channels > rest) f.for(4 * rest, 4 * channels, 4, (cb) => body(cb, singleLane));
}

/** The same for a number of channels known at run time: those at the bytes from `from` to `end` of a pixel. */
export function blocksBetween(f: Fn, from: IntLike, end: Local<I32>, body: (cb: I32, lanes: Lanes) => void): void {
  const cb = f.let(i32(from));
  const pairs = f.let(end.sub(31));
  f.while(cb.ltS(pairs), () => {
    body(cb, pairLanes);
    f.inc(cb, 32);
  });
  f.if(cb.ltS(f.let(end.sub(15))), () => {
    body(cb, quadLanes);
    f.inc(cb, 16);
  });
  f.while(cb.ltS(end), () => {
    body(cb, singleLane);
    f.inc(cb, 4);
  });
}

/** A pointer that moves by a step known at run time, forward only; one addition per step. */
export class Stepper {
  readonly at: Local<I32>;
  private readonly f: Fn;
  private readonly step: I32;
  private place = 0;
  /** Starts at `from` and takes `step` bytes at a time. */
  constructor(f: Fn, from: I32, step: I32) {
    this.f = f;
    this.step = step;
    this.at = f.let(from);
  }
  /** The address `n` steps from the start. */
  to(n: number): Local<I32> {
    const by = n - this.place;
    if (by) this.f.inc(this.at, this.step.mul(by));
    this.place = n;
    return this.at;
  }
}

/** Stores a block of results after the epilogue at the cursor's place. */
export function storeResult(
  f: Fn,
  cursor: EpilogueCursor,
  lanes: Lanes,
  addr: I32,
  acc: readonly V128[],
  offset = 0,
): void {
  const [a, b] = acc as [V128, V128];
  const y = lanes.count === 8 ? cursor.pair(a, b) : [lanes.count === 4 ? cursor.vector(a) : cursor.single(a)];
  lanes.store(f, addr, y, offset);
}
