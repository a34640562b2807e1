/**
 * A WebAssembly module builder: typed values as expression trees, statements on a function.
 *
 * The one idea: a kernel reads like the loop it is. `Val` trees are emitted where they are used, so a value that is
 * used twice belongs in a local (`f.let`). Loops are top-tested, because V8 makes bottom-tested ones slower.
 * Encoding follows the WebAssembly core specification, section 5 (binary format).
 */

/** What the emitted code may assume of the engine. Chosen once per device and part of every kernel's cache key. */
export interface Mode {
  /** Relaxed SIMD: `madd` is one fused instruction. Otherwise it is a multiply and an add. */
  readonly relaxed: boolean;
  /** V8 fuses pairs of adjacent f32x4 operations into 256-bit ones. Tile tables depend on it; the code is the same. */
  readonly wide: boolean;
  /** The memory is a SharedArrayBuffer. */
  readonly shared: boolean;
}

export const modeName = (m: Mode) =>
  `${m.wide ? 'wide' : 'narrow'}-${m.relaxed ? 'relaxed' : 'strict'}-${m.shared ? 'shared' : 'single'}`;

export type ValType = 'i32' | 'f32' | 'v128';
const typeCode = { i32: 0x7f, f32: 0x7d, v128: 0x7b } as const;

class Bytes {
  readonly out: number[] = [];
  u8(...b: number[]) {
    for (const x of b) this.out.push(x);
  }
  uleb(n: number) {
    let v = n >>> 0;
    do {
      const b = v & 0x7f;
      v >>>= 7;
      this.out.push(v ? b | 0x80 : b);
    } while (v);
  }
  sleb(n: number) {
    let v = n | 0;
    for (;;) {
      const b = v & 0x7f;
      v >>= 7;
      if ((v === 0 && !(b & 0x40)) || (v === -1 && b & 0x40)) {
        this.out.push(b);
        return;
      }
      this.out.push(b | 0x80);
    }
  }
  f32(x: number) {
    this.u8(...new Uint8Array(new Float32Array([x]).buffer));
  }
  name(s: string) {
    const b = new TextEncoder().encode(s);
    this.uleb(b.length);
    this.u8(...b);
  }
  simd(op: number) {
    this.u8(0xfd);
    this.uleb(op);
  }
  section(id: number, body: Bytes) {
    this.u8(id);
    this.uleb(body.out.length);
    for (const x of body.out) this.out.push(x);
  }
}

type Emit = (o: Bytes) => void;

/** A typed expression tree. `emit` pushes its value on the stack. */
abstract class Val {
  abstract readonly type: ValType;
  readonly emit: Emit;
  constructor(emit: Emit) {
    this.emit = emit;
  }
}

export type IntLike = I32 | number;
export type FloatLike = F32 | number;

/** A 32-bit integer or address. Comparison methods give 0 or 1. A number stands for a constant. */
export class I32 extends Val {
  readonly type = 'i32';
  /** Known constant value, used to fold address arithmetic. */
  readonly known: number | undefined;
  constructor(emit: Emit, known?: number) {
    super(emit);
    this.known = known;
  }
  private bin(op: number, b: IntLike) {
    const y = i32(b);
    return new I32((o) => {
      this.emit(o);
      y.emit(o);
      o.u8(op);
    });
  }
  add(b: IntLike): I32 {
    const y = i32(b);
    if (y.known === 0) return this;
    if (this.known === 0) return y;
    if (this.known !== undefined && y.known !== undefined) return i32((this.known + y.known) | 0);
    return this.bin(0x6a, y);
  }
  sub(b: IntLike): I32 {
    return i32(b).known === 0 ? this : this.bin(0x6b, b);
  }
  mul(b: IntLike): I32 {
    const y = i32(b);
    if (y.known === 1) return this;
    if (this.known !== undefined && y.known !== undefined) return i32(Math.imul(this.known, y.known));
    return this.bin(0x6c, y);
  }
  divS(b: IntLike) {
    return this.bin(0x6d, b);
  }
  divU(b: IntLike) {
    return this.bin(0x6e, b);
  }
  remS(b: IntLike) {
    return this.bin(0x6f, b);
  }
  remU(b: IntLike) {
    return this.bin(0x70, b);
  }
  and(b: IntLike) {
    return this.bin(0x71, b);
  }
  or(b: IntLike) {
    return this.bin(0x72, b);
  }
  xor(b: IntLike) {
    return this.bin(0x73, b);
  }
  shl(b: IntLike) {
    return i32(b).known === 0 ? this : this.bin(0x74, b);
  }
  shrS(b: IntLike) {
    return this.bin(0x75, b);
  }
  shrU(b: IntLike) {
    return this.bin(0x76, b);
  }
  rotl(b: IntLike) {
    return this.bin(0x77, b);
  }
  eq(b: IntLike) {
    return this.bin(0x46, b);
  }
  ne(b: IntLike) {
    return this.bin(0x47, b);
  }
  ltS(b: IntLike) {
    return this.bin(0x48, b);
  }
  ltU(b: IntLike) {
    return this.bin(0x49, b);
  }
  gtS(b: IntLike) {
    return this.bin(0x4a, b);
  }
  leS(b: IntLike) {
    return this.bin(0x4c, b);
  }
  leU(b: IntLike) {
    return this.bin(0x4d, b);
  }
  geS(b: IntLike) {
    return this.bin(0x4e, b);
  }
  geU(b: IntLike) {
    return this.bin(0x4f, b);
  }
  eqz() {
    return new I32((o) => {
      this.emit(o);
      o.u8(0x45);
    });
  }
  /** Signed minimum of two values; both operands are evaluated twice, so pass locals or constants. */
  minS(b: IntLike) {
    return select(this.ltS(b), this, i32(b));
  }
  maxS(b: IntLike) {
    return select(this.ltS(b), i32(b), this);
  }
  toF32() {
    return new F32((o) => {
      this.emit(o);
      o.u8(0xb2);
    });
  }
  asF32() {
    return new F32((o) => {
      this.emit(o);
      o.u8(0xbe);
    });
  }
  /** i32x4 with this value in every lane. */
  splat() {
    return new V128((o) => {
      this.emit(o);
      o.simd(0x11);
    });
  }
}

/** A scalar f32. */
export class F32 extends Val {
  readonly type = 'f32';
  private bin(op: number, b: FloatLike) {
    const y = f32(b);
    return new F32((o) => {
      this.emit(o);
      y.emit(o);
      o.u8(op);
    });
  }
  private cmp(op: number, b: FloatLike) {
    const y = f32(b);
    return new I32((o) => {
      this.emit(o);
      y.emit(o);
      o.u8(op);
    });
  }
  private un(op: number) {
    return new F32((o) => {
      this.emit(o);
      o.u8(op);
    });
  }
  add(b: FloatLike) {
    return this.bin(0x92, b);
  }
  sub(b: FloatLike) {
    return this.bin(0x93, b);
  }
  mul(b: FloatLike) {
    return this.bin(0x94, b);
  }
  div(b: FloatLike) {
    return this.bin(0x95, b);
  }
  min(b: FloatLike) {
    return this.bin(0x96, b);
  }
  max(b: FloatLike) {
    return this.bin(0x97, b);
  }
  abs() {
    return this.un(0x8b);
  }
  neg() {
    return this.un(0x8c);
  }
  ceil() {
    return this.un(0x8d);
  }
  floor() {
    return this.un(0x8e);
  }
  nearest() {
    return this.un(0x90);
  }
  sqrt() {
    return this.un(0x91);
  }
  eq(b: FloatLike) {
    return this.cmp(0x5b, b);
  }
  ne(b: FloatLike) {
    return this.cmp(0x5c, b);
  }
  lt(b: FloatLike) {
    return this.cmp(0x5d, b);
  }
  gt(b: FloatLike) {
    return this.cmp(0x5e, b);
  }
  le(b: FloatLike) {
    return this.cmp(0x5f, b);
  }
  ge(b: FloatLike) {
    return this.cmp(0x60, b);
  }
  /** Saturating conversion, rounding toward zero. */
  toI32() {
    return new I32((o) => {
      this.emit(o);
      o.u8(0xfc, 0x00);
    });
  }
  asI32() {
    return new I32((o) => {
      this.emit(o);
      o.u8(0xbc);
    });
  }
  splat() {
    return new V128((o) => {
      this.emit(o);
      o.simd(0x13);
    });
  }
}

/** Four lanes. Plain names are f32x4; integer operations carry an `i` in front. Comparisons give lane masks. */
export class V128 extends Val {
  readonly type = 'v128';
  private bin(op: number, b: V128) {
    return new V128((o) => {
      this.emit(o);
      b.emit(o);
      o.simd(op);
    });
  }
  private un(op: number) {
    return new V128((o) => {
      this.emit(o);
      o.simd(op);
    });
  }
  private shift(op: number, n: IntLike) {
    const y = i32(n);
    return new V128((o) => {
      this.emit(o);
      y.emit(o);
      o.simd(op);
    });
  }
  add(b: V128) {
    return this.bin(0xe4, b);
  }
  sub(b: V128) {
    return this.bin(0xe5, b);
  }
  mul(b: V128) {
    return this.bin(0xe6, b);
  }
  div(b: V128) {
    return this.bin(0xe7, b);
  }
  min(b: V128) {
    return this.bin(0xe8, b);
  }
  max(b: V128) {
    return this.bin(0xe9, b);
  }
  /** b < this ? b : this, one instruction; NaN only if this is NaN. */
  pmin(b: V128) {
    return this.bin(0xea, b);
  }
  /** this < b ? b : this, one instruction; NaN only if this is NaN. */
  pmax(b: V128) {
    return this.bin(0xeb, b);
  }
  abs() {
    return this.un(0xe0);
  }
  neg() {
    return this.un(0xe1);
  }
  sqrt() {
    return this.un(0xe3);
  }
  ceil() {
    return this.un(0x67);
  }
  floor() {
    return this.un(0x68);
  }
  trunc() {
    return this.un(0x69);
  }
  nearest() {
    return this.un(0x6a);
  }
  eq(b: V128) {
    return this.bin(0x41, b);
  }
  ne(b: V128) {
    return this.bin(0x42, b);
  }
  lt(b: V128) {
    return this.bin(0x43, b);
  }
  gt(b: V128) {
    return this.bin(0x44, b);
  }
  le(b: V128) {
    return this.bin(0x45, b);
  }
  ge(b: V128) {
    return this.bin(0x46, b);
  }
  and(b: V128) {
    return this.bin(0x4e, b);
  }
  /** this & ~b */
  andnot(b: V128) {
    return this.bin(0x4f, b);
  }
  or(b: V128) {
    return this.bin(0x50, b);
  }
  xor(b: V128) {
    return this.bin(0x51, b);
  }
  not() {
    return this.un(0x4d);
  }
  /** Lanes of this where the mask is set, of b elsewhere. */
  select(b: V128, mask: V128) {
    return new V128((o) => {
      this.emit(o);
      b.emit(o);
      mask.emit(o);
      o.simd(0x52);
    });
  }
  anyTrue() {
    return new I32((o) => {
      this.emit(o);
      o.simd(0x53);
    });
  }
  iadd(b: V128) {
    return this.bin(0xae, b);
  }
  isub(b: V128) {
    return this.bin(0xb1, b);
  }
  imul(b: V128) {
    return this.bin(0xb5, b);
  }
  ishl(n: IntLike) {
    return this.shift(0xab, n);
  }
  ishrS(n: IntLike) {
    return this.shift(0xac, n);
  }
  ishrU(n: IntLike) {
    return this.shift(0xad, n);
  }
  ieq(b: V128) {
    return this.bin(0x37, b);
  }
  igtS(b: V128) {
    return this.bin(0x3b, b);
  }
  /** i32x4 to f32x4 (signed). */
  toFloat() {
    return this.un(0xfa);
  }
  toFloatU() {
    return this.un(0xfb);
  }
  /** f32x4 to i32x4 (signed, saturating, toward zero). */
  toInt() {
    return this.un(0xf8);
  }
  /** Widen the low 8 bytes to 8 unsigned 16-bit lanes, then `extendLowU16`/`extendHighU16` to 32-bit lanes. */
  extendLowU8() {
    return this.un(0x89);
  }
  extendHighU8() {
    return this.un(0x8a);
  }
  extendLowU16() {
    return this.un(0xa9);
  }
  extendHighU16() {
    return this.un(0xaa);
  }
  /** Eight signed 16-bit lanes of this and b's 32-bit lanes, saturating. */
  narrowI16(b: V128) {
    return this.bin(0x85, b);
  }
  /** Sixteen unsigned bytes of this and b's signed 16-bit lanes, saturating. */
  narrowU8(b: V128) {
    return this.bin(0x66, b);
  }
  lane(i: 0 | 1 | 2 | 3) {
    return new F32((o) => {
      this.emit(o);
      o.simd(0x1f);
      o.u8(i);
    });
  }
  ilane(i: 0 | 1 | 2 | 3) {
    return new I32((o) => {
      this.emit(o);
      o.simd(0x1b);
      o.u8(i);
    });
  }
  /** Byte shuffle of (this, b): 16 indices 0..31. */
  shuffle(b: V128, bytes: readonly number[]) {
    return new V128((o) => {
      this.emit(o);
      b.emit(o);
      o.simd(0x0d);
      o.u8(...bytes);
    });
  }
  /** Shuffle of 32-bit lanes of (this, b): 4 indices 0..7. */
  lanes(b: V128, [p, q, r, s]: readonly [number, number, number, number]) {
    return this.shuffle(
      b,
      [p, q, r, s].flatMap((l) => [4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3]),
    );
  }
}

export function i32(n: IntLike): I32 {
  if (typeof n !== 'number') return n;
  return new I32((o) => {
    o.u8(0x41);
    o.sleb(n);
  }, n | 0);
}
export function f32(n: FloatLike): F32 {
  if (typeof n !== 'number') return n;
  return new F32((o) => {
    o.u8(0x43);
    o.f32(n);
  });
}
/** f32x4 constant: one number in every lane, or four. */
export function f32x4(a: number, b = a, c = a, d = a): V128 {
  return new V128((o) => {
    o.simd(0x0c);
    for (const x of [a, b, c, d]) o.f32(x);
  });
}
/** i32x4 constant. */
export function i32x4(a: number, b = a, c = a, d = a): V128 {
  return new V128((o) => {
    o.simd(0x0c);
    for (const x of [a, b, c, d]) o.u8(x & 255, (x >>> 8) & 255, (x >>> 16) & 255, x >>> 24);
  });
}
export function select<T extends I32 | F32>(cond: I32, a: T, b: T): T {
  const emit: Emit = (o) => {
    a.emit(o);
    b.emit(o);
    cond.emit(o);
    o.u8(0x1b);
  };
  return (a.type === 'i32' ? new I32(emit) : new F32(emit)) as T;
}

const memarg = (o: Bytes, align: number, offset: number) => {
  o.uleb(align);
  o.uleb(offset);
};
const load = <T>(make: (e: Emit) => T, op: Emit, align: number) => {
  return (addr: I32, offset = 0): T =>
    make((o) => {
      addr.emit(o);
      op(o);
      memarg(o, align, offset);
    });
};
const mkI = (e: Emit) => new I32(e);
const mkF = (e: Emit) => new F32(e);
const mkV = (e: Emit) => new V128(e);
/** Loads take an address and a constant byte offset. None needs its natural alignment, but atomics do. */
export const loadI32 = load(mkI, (o) => o.u8(0x28), 2);
export const loadF32 = load(mkF, (o) => o.u8(0x2a), 2);
export const loadU8 = load(mkI, (o) => o.u8(0x2d), 0);
export const loadV128 = load(mkV, (o) => o.simd(0x00), 2);
/** f32x4 with the float at the address in every lane. */
export const loadSplat = load(mkV, (o) => o.simd(0x09), 2);
/** One 32-bit word in lane 0, zeros above (four u8 pixels). */
export const loadWord = load(mkV, (o) => o.simd(0x5c), 2);
export const loadAtomic = load(mkI, (o) => o.u8(0xfe, 0x10), 2);

/** A mutable local variable. Read it as a value, write it with `f.set`. */
export type Local<T extends I32 | F32 | V128> = T & { readonly index: number };
type ValueOf<T extends ValType> = T extends 'i32' ? I32 : T extends 'f32' ? F32 : V128;

/** A function under construction. Statements append to it in order. */
export class Fn {
  private readonly code = new Bytes();
  private readonly locals: ValType[] = [];
  readonly params: Local<I32 | F32 | V128>[];
  readonly mode: Mode;
  private readonly paramTypes: readonly ValType[];
  constructor(mode: Mode, paramTypes: readonly ValType[]) {
    this.mode = mode;
    this.paramTypes = paramTypes;
    this.params = paramTypes.map((t, i) => this.at(t, i));
  }
  private at<T extends ValType>(type: T, index: number): Local<ValueOf<T>> {
    const emit: Emit = (o) => {
      o.u8(0x20);
      o.uleb(index);
    };
    const v = type === 'i32' ? new I32(emit) : type === 'f32' ? new F32(emit) : new V128(emit);
    return Object.assign(v, { index }) as unknown as Local<ValueOf<T>>;
  }
  /** An uninitialised (zero at function entry) local. Inside a loop it keeps its value between iterations. */
  local<T extends ValType>(type: T): Local<ValueOf<T>> {
    this.locals.push(type);
    return this.at(type, this.paramTypes.length + this.locals.length - 1);
  }
  /** A new local holding the value: use it for whatever is read more than once. */
  let<T extends I32 | F32 | V128>(value: T): Local<T> {
    const l = this.local(value.type) as unknown as Local<T>;
    this.set(l, value);
    return l;
  }
  set<T extends I32 | F32 | V128>(local: Local<T>, value: T | (T extends I32 ? number : never)): void {
    const v = (typeof value === 'number' ? i32(value) : value) as Val;
    v.emit(this.code);
    this.code.u8(0x21);
    this.code.uleb(local.index);
  }
  /** local += by */
  inc(local: Local<I32>, by: IntLike): void {
    this.set(local, local.add(by));
  }
  storeI32(addr: I32, value: IntLike, offset = 0) {
    this.put(addr, i32(value), (o) => o.u8(0x36), 2, offset);
  }
  storeU8(addr: I32, value: IntLike, offset = 0) {
    this.put(addr, i32(value), (o) => o.u8(0x3a), 0, offset);
  }
  storeF32(addr: I32, value: FloatLike, offset = 0) {
    this.put(addr, f32(value), (o) => o.u8(0x38), 2, offset);
  }
  storeV128(addr: I32, value: V128, offset = 0) {
    this.put(addr, value, (o) => o.simd(0x0b), 2, offset);
  }
  private put(addr: I32, value: Val, op: Emit, align: number, offset: number) {
    addr.emit(this.code);
    value.emit(this.code);
    op(this.code);
    memarg(this.code, align, offset);
  }
  /** memory.copy */
  copy(dst: I32, src: I32, bytes: IntLike) {
    dst.emit(this.code);
    src.emit(this.code);
    i32(bytes).emit(this.code);
    this.code.u8(0xfc, 10, 0, 0);
  }
  /** memory.fill */
  fill(dst: I32, byte: IntLike, bytes: IntLike) {
    dst.emit(this.code);
    i32(byte).emit(this.code);
    i32(bytes).emit(this.code);
    this.code.u8(0xfc, 11, 0);
  }
  if(cond: I32, then: () => void, otherwise?: () => void) {
    cond.emit(this.code);
    this.code.u8(0x04, 0x40);
    then();
    if (otherwise) {
      this.code.u8(0x05);
      otherwise();
    }
    this.code.u8(0x0b);
  }
  /** Top-tested loop. */
  while(cond: I32, body: () => void) {
    this.code.u8(0x02, 0x40, 0x03, 0x40);
    cond.emit(this.code);
    this.code.u8(0x45, 0x0d, 1);
    body();
    this.code.u8(0x0c, 0, 0x0b, 0x0b);
  }
  /** for (i = start; i < end; i += step), signed. `end` and `step` should be locals or constants. */
  for(start: IntLike, end: IntLike, step: IntLike, body: (i: Local<I32>) => void) {
    const i = this.let(i32(start));
    this.while(i.ltS(end), () => {
      body(i);
      this.inc(i, step);
    });
  }
  /** Evaluate a call or other value for its effect. */
  drop(value: Val) {
    value.emit(this.code);
    this.code.u8(0x1a);
  }
  /** a·b + c per lane: fused in relaxed mode, otherwise two roundings. */
  madd(a: V128, b: V128, c: V128): V128 {
    if (!this.mode.relaxed) return a.mul(b).add(c);
    return new V128((o) => {
      a.emit(o);
      b.emit(o);
      c.emit(o);
      o.simd(0x105);
    });
  }
  /** c − a·b per lane. */
  nmadd(a: V128, b: V128, c: V128): V128 {
    if (!this.mode.relaxed) return c.sub(a.mul(b));
    return new V128((o) => {
      a.emit(o);
      b.emit(o);
      c.emit(o);
      o.simd(0x106);
    });
  }
  /** Call a function of the same module that returns nothing. */
  call(fn: FnRef, ...args: (I32 | F32 | V128)[]) {
    for (const a of args) a.emit(this.code);
    this.code.u8(0x10);
    this.code.uleb(fn.index);
  }
  /** Atomic fetch-and-add on an i32; a plain load and store where memory is not shared. Returns the old value. */
  atomicAdd(addr: Local<I32>, by: IntLike): Local<I32> {
    if (!this.mode.shared) {
      const old = this.let(loadI32(addr));
      this.storeI32(addr, old.add(by));
      return old;
    }
    return this.let(
      new I32((o) => {
        addr.emit(o);
        i32(by).emit(o);
        o.u8(0xfe, 0x1e);
        memarg(o, 2, 0);
      }),
    );
  }
  atomicStore(addr: I32, value: IntLike) {
    this.put(addr, i32(value), (o) => o.u8(0xfe, 0x17), 2, 0);
  }
  /** memory.atomic.wait32 with no timeout, for its effect. Shared memory only. */
  atomicWait(addr: I32, expected: I32) {
    this.drop(
      new I32((o) => {
        addr.emit(o);
        expected.emit(o);
        o.u8(0x42);
        o.sleb(-1);
        o.u8(0xfe, 0x01);
        memarg(o, 2, 0);
      }),
    );
  }
  /** memory.atomic.notify of every waiter. */
  atomicNotify(addr: I32) {
    this.drop(
      new I32((o) => {
        addr.emit(o);
        i32(-1).emit(o);
        o.u8(0xfe, 0x00);
        memarg(o, 2, 0);
      }),
    );
  }
  /** Binary body: local declarations and code. */
  finish(): number[] {
    const body = new Bytes();
    body.uleb(this.locals.length);
    for (const t of this.locals) body.u8(1, typeCode[t]);
    for (const x of this.code.out) body.out.push(x);
    body.u8(0x0b);
    return body.out;
  }
}

export interface FnRef {
  readonly index: number;
}

/** A module with one imported memory (`env.memory`). Functions are numbered in the order they are added. */
export class Module {
  private readonly fns: { params: readonly ValType[]; body: number[]; name: string | undefined }[] = [];
  readonly mode: Mode;
  constructor(mode: Mode) {
    this.mode = mode;
  }
  /** Adds a function without result. `name` exports it. */
  func(params: readonly ValType[], build: (f: Fn) => void, name?: string): FnRef {
    const f = new Fn(this.mode, params);
    build(f);
    this.fns.push({ params, body: f.finish(), name });
    return { index: this.fns.length - 1 };
  }
  encode(): Uint8Array<ArrayBuffer> {
    const out = new Bytes();
    out.u8(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
    const types = new Bytes();
    types.uleb(this.fns.length);
    for (const f of this.fns) {
      types.u8(0x60);
      types.uleb(f.params.length);
      for (const p of f.params) types.u8(typeCode[p]);
      types.u8(0);
    }
    out.section(1, types);
    const imports = new Bytes();
    imports.u8(1);
    imports.name('env');
    imports.name('memory');
    imports.u8(2, this.mode.shared ? 3 : 1);
    imports.uleb(0);
    imports.uleb(65536);
    out.section(2, imports);
    const decl = new Bytes();
    decl.uleb(this.fns.length);
    for (let i = 0; i < this.fns.length; i++) decl.uleb(i);
    out.section(3, decl);
    const exports = new Bytes();
    const named = this.fns.flatMap((f, i) => (f.name ? [{ name: f.name, i }] : []));
    exports.uleb(named.length);
    for (const { name, i } of named) {
      exports.name(name);
      exports.u8(0);
      exports.uleb(i);
    }
    out.section(7, exports);
    const code = new Bytes();
    code.uleb(this.fns.length);
    for (const f of this.fns) {
      code.uleb(f.body.length);
      for (const x of f.body) code.out.push(x);
    }
    out.section(10, code);
    // V8 caches compiled code by its bytes: the mode makes a wide module differ from a narrow one.
    const custom = new Bytes();
    custom.name(`facegrad.${modeName(this.mode)}`);
    out.section(0, custom);
    return new Uint8Array(out.out);
  }
}
