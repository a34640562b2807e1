/**
 * A WebAssembly module builder: typed values as expression trees, statements on a function.
 *
 * The one idea: a kernel reads like the loop it is. `Val` trees are emitted where they are used, so a value that is
 * used twice belongs in a local (`f.let`). Loops are top-tested, because V8 makes bottom-tested ones slower.
 * Encoding follows the WebAssembly core specification, section 5 (binary format).
 */

import {
  Bytes,
  type Emit,
  F32,
  type FloatLike,
  f32,
  I32,
  type IntLike,
  i32,
  loadI32,
  memarg,
  typeCode,
  V128,
  type Val,
  type ValType,
} from './values.ts';

export * from './values.ts';

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
  /** The lower 16 bits. */
  storeI16(addr: I32, value: IntLike, offset = 0) {
    this.put(addr, i32(value), (o) => o.u8(0x3b), 1, offset);
  }
  storeF32(addr: I32, value: FloatLike, offset = 0) {
    this.put(addr, f32(value), (o) => o.u8(0x38), 2, offset);
  }
  storeV128(addr: I32, value: V128, offset = 0) {
    this.put(addr, value, (o) => o.simd(0x0b), 2, offset);
  }
  /** The lower eight bytes of a vector. */
  storeHalf(addr: I32, value: V128, offset = 0) {
    addr.emit(this.code);
    value.emit(this.code);
    this.code.simd(0x5b);
    memarg(this.code, 0, offset);
    this.code.u8(0);
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
