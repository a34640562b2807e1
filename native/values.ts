/**
 * Typed WebAssembly values as expression trees, and the bytes they encode to (WebAssembly core specification, section 5).
 *
 * The one idea: a value knows how to push itself on the stack, so an expression is written as it is read. Constants are
 * known where they are used, which folds address arithmetic away.
 */

export type ValType = 'i32' | 'f32' | 'v128';
export const typeCode = { i32: 0x7f, f32: 0x7d, v128: 0x7b } as const;

/** A growing byte string with the encodings of the format. */
export class Bytes {
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

export type Emit = (o: Bytes) => void;

/** A typed expression tree. `emit` pushes its value on the stack. */
export abstract class Val {
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
  extendLowI16() {
    return this.un(0xa7);
  }
  extendHighI16() {
    return this.un(0xa8);
  }
  /** Eight signed 16-bit lanes of this and b's 32-bit lanes, saturating. */
  narrowI16(b: V128) {
    return this.bin(0x85, b);
  }
  /** Sixteen unsigned bytes of this and b's signed 16-bit lanes, saturating. */
  narrowU8(b: V128) {
    return this.bin(0x66, b);
  }
  /** Four 32-bit sums of two products each: the eight signed 16-bit lanes of this and b in pairs. */
  dotI16(b: V128) {
    return this.bin(0xba, b);
  }
  /** Eight 16-bit lanes, wrapping. */
  subI16(b: V128) {
    return this.bin(0x91, b);
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

export const memarg = (o: Bytes, align: number, offset: number) => {
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
/** Eight unsigned bytes as 16-bit lanes. */
export const loadWideU8 = load(mkV, (o) => o.simd(0x02), 0);
/** One 32-bit word in lane 0, zeros above (four u8 pixels). */
export const loadWord = load(mkV, (o) => o.simd(0x5c), 2);
