/**
 * Python's pickle, protocols 0 to 5, read as data. A pickle is a program for a stack machine that can call any function of
 * Python; here it calls only what the caller lists, so the worst a hostile file can do is to be refused.
 *
 * The one idea: an opcode costs what its bytes can pay for. Lengths are held against the bytes that are left before anything
 * is allocated, values are counted, nothing recurses, and byte strings that lie raw in the file come as views of it.
 * Browser-safe. Format: the opcodes as CPython's pickletools.py documents them; PEP 307, PEP 3154, PEP 574.
 */
import { DataError } from '../core/errors.ts';
import { opcodes } from './pickleOpcodes.ts';

/** What a function of the allow-list or `setState` may use. */
export interface PickleContext {
  /** Throws the DataError of this place in the file; `what` goes on from "pickle at offset n: ". */
  refuse(what: string): never;
  /** Counts what a call makes, values and bytes copied, so that a small file cannot make much. */
  spend(values: number, bytes?: number): void;
}
/** What stands for a Python function or class when the pickle calls it. */
export type PickleCall = (args: readonly unknown[], pickle: PickleContext) => unknown;
/** By `module.name`; null where it may be named, as an argument of others, but not called. */
export type PickleGlobals = Readonly<Record<string, PickleCall | null>>;

/** A global that the pickle names and the allow-list holds. */
export class PickleName {
  /** `module.name` */
  readonly name: string;
  readonly call: PickleCall | null;
  constructor(name: string, call: PickleCall | null) {
    this.name = name;
    this.call = call;
  }
}

/** Made by a function of the allow-list; takes the state that BUILD gives. */
export abstract class PickleObject {
  /** Items, where its class is a kind of dict. */
  readonly dict?: Map<unknown, unknown>;
  /** Items, where its class is a kind of list. */
  readonly list?: unknown[];
  abstract setState(state: unknown, pickle: PickleContext): void;
}

export interface PickleOptions {
  /** What errors call the file. */
  readonly name: string;
  /** All that the pickle may name. Default: nothing. See `plainGlobals`, `numpyGlobals`. */
  readonly globals?: PickleGlobals;
  /**
   * What stands for an instance of a class that `globals` does not hold: its name, arguments and state as data. With this such
   * classes may be named, and instances made without running their code; a call of one is refused still.
   */
  readonly instances?: (className: string, args: readonly unknown[]) => PickleObject;
  /** What stands for a persistent id (PERSID gives a string, BINPERSID any value). Without it they are refused. */
  readonly persistentLoad?: (id: unknown, pickle: PickleContext) => unknown;
  /** Offset of the pickle in the bytes. Default 0. */
  readonly at?: number;
  /** What byte strings of Python 2 become: bytes (default), or text where they are UTF-8. */
  readonly strings?: 'bytes' | 'text';
  /** Most values, up to 16 million. Default 10 million; dicts, sets and byte strings count as 4. */
  readonly most?: number;
}

/**
 * Reads one pickle. None is null, an int a number (a bigint beyond 2^53), a list or tuple an array, a dict a Map, a set a Set,
 * bytes and bytearray a Uint8Array, which is a view of `bytes` unless the file holds them escaped or as text.
 * Shared and circular references stay so; keys that are not primitive are told apart by identity.
 * @returns the value, and the offset behind its STOP
 * @throws DataError with name and offset, for a global that is not allowed too; nothing is ever executed
 */
export function readPickle(bytes: Uint8Array, options: PickleOptions): { value: unknown; end: number } {
  return new Machine(bytes, options).run();
}

/** How an error names a value. */
export function pickleKind(value: unknown): string {
  if (value === null) return 'None';
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof PickleName) return `the global ${value.name}`;
  if (Array.isArray(value)) return `a list or tuple of ${value.length}`;
  if (value instanceof Map) return 'a dict';
  if (value instanceof Set) return 'a set';
  if (typeof value === 'string') return `the text ${quoted(value)}`;
  if (typeof value === 'bigint') return 'a large int';
  return typeof value === 'object' ? 'an object' : `${value}`;
}

/** Text of a file in an error: short, and without characters that a terminal obeys. */
const quoted = (text: string) =>
  `'${text.slice(0, 80).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}'`;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
function decoded(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}
const utf16 = new TextDecoder('utf-16le', { ignoreBOM: true });
/** Through UTF-16, since TextDecoder's latin1 is windows-1252. */
const latin1 = (bytes: Uint8Array) => utf16.decode(new Uint16Array(bytes));

/** Digits that Python itself converts; more would take long. */
const mostDigits = 4300;
const mostLongBytes = 2048;
/** Text that JavaScript can hold. */
const mostText = 2 ** 28;
const advice = 'The file is damaged or is no pickle of plain data: fetch it again or save it again.';
const nothingRun =
  'A pickle can call any function of Python; here only plain data is read, and nothing was run. If you trust the file, load it in Python and save it in another form.';
const bytesSlack = 1 << 20;
const mostName = 1000;
const noNames = new Map();

/** What an opcode works on. */
export class Machine implements PickleContext {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly options: PickleOptions;
  private readonly stack: unknown[] = [];
  /** Where in the stack each open MARK is. */
  private readonly marks: number[] = [];
  readonly memo = new Map<number, unknown>();
  private at: number;
  /** Offset of the opcode under way. */
  private opAt: number;
  private readonly most: number;
  private valuesLeft: number;
  private bytesLeft: number;

  constructor(bytes: Uint8Array, options: PickleOptions) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.options = options;
    this.at = options.at ?? 0;
    this.opAt = this.at;
    // A Map holds 2^24 entries.
    this.most = Math.min(options.most ?? 10_000_000, 16_000_000);
    this.valuesLeft = this.most;
    this.bytesLeft = 2 * bytes.length + bytesSlack;
  }

  refuse(what: string, last = advice): never {
    throw new DataError(`${this.options.name}: pickle at offset ${this.opAt}: ${what}\n${last}`);
  }
  spend(values: number, bytes = 0): void {
    this.valuesLeft -= values;
    this.bytesLeft -= bytes;
    if (this.valuesLeft < 0)
      this.refuse(`expected at most ${this.most} values, got more`, 'It is hostile, or a pickle of another kind.');
    if (this.bytesLeft < 0)
      this.refuse(`its calls copy more bytes than a file of ${this.bytes.length} bytes has use for`, 'It is hostile.');
  }

  run(): { value: unknown; end: number } {
    for (;;) {
      this.opAt = this.at;
      const code = this.byte();
      if (code === 0x2e /* STOP */) {
        const value = this.pop();
        if (this.stack.length || this.marks.length) this.refuse(`it stops with ${this.stack.length} values left over`);
        return { value, end: this.at };
      }
      const opcode = opcodes[String.fromCharCode(code)];
      if (!opcode) this.refuse(`expected an opcode, got byte 0x${code.toString(16).padStart(2, '0')}`);
      opcode(this);
    }
  }

  // Bytes of the file.
  get left(): number {
    return this.bytes.length - this.at;
  }
  private take(length: number): number {
    if (!(length >= 0 && length <= this.bytes.length - this.at))
      this.refuse(`expected ${length} more bytes at offset ${this.at}, but the file ends at ${this.bytes.length}`);
    const from = this.at;
    this.at += length;
    return from;
  }
  byte = () => this.bytes[this.take(1)]!;
  u16 = () => this.view.getUint16(this.take(2), true);
  u32 = () => this.view.getUint32(this.take(4), true);
  i32 = () => this.view.getInt32(this.take(4), true);
  f64 = () => this.view.getFloat64(this.take(8), false);
  /** Exact as far as a file can be long. */
  u64 = () => Number(this.view.getBigUint64(this.take(8), true));
  raw(length: number): Uint8Array {
    const from = this.take(length);
    return this.bytes.subarray(from, from + length);
  }
  /** To the end of the line, which is passed. */
  line(): Uint8Array {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0) this.refuse(`expected a line, but the file ends at ${this.bytes.length} without a line's end`);
    const line = this.bytes.subarray(this.at, end);
    this.at = end + 1;
    return line;
  }
  shortLine(what: string, most = mostDigits): string {
    const line = this.line();
    if (line.length > most) this.refuse(`expected ${what}, got a line of ${line.length} bytes`);
    return this.text(line);
  }

  // The stack.
  mark(): void {
    this.spend(1);
    this.marks.push(this.stack.length);
  }
  /** POP takes a MARK too. */
  drop(): void {
    if (this.marks.at(-1) === this.stack.length) this.marks.pop();
    else this.pop();
  }
  push(value: unknown, cost = 1): void {
    this.spend(cost);
    this.stack.push(value);
  }
  /** What an open MARK keeps from being taken. */
  private get fence(): number {
    return this.marks.at(-1) ?? 0;
  }
  pop(): unknown {
    if (this.stack.length <= this.fence) this.refuse('expected a value on the stack, got none');
    return this.stack.pop();
  }
  top(): unknown {
    if (this.stack.length <= this.fence) this.refuse('expected a value on the stack, got none');
    return this.stack.at(-1);
  }
  popMark(): unknown[] {
    const from = this.marks.pop();
    if (from === undefined) return this.refuse('expected a MARK on the stack, got none');
    return this.stack.splice(from);
  }
  popMany(n: number): unknown[] {
    if (this.stack.length - n < this.fence) this.refuse(`expected ${n} values on the stack, got fewer`);
    return this.stack.splice(this.stack.length - n);
  }

  // Values.
  text(bytes: Uint8Array): string {
    if (bytes.length > mostText) this.refuse(`expected text of at most ${mostText} bytes, got ${bytes.length}`);
    return decoded(bytes) ?? this.refuse(`expected text in UTF-8, got ${bytes.length} bytes that are none`);
  }
  pushBytes(bytes: Uint8Array): void {
    this.push(bytes, 4);
  }
  /** A byte string of Python 2. */
  pushString(bytes: Uint8Array): void {
    const text = this.options.strings === 'text' && bytes.length <= mostText ? decoded(bytes) : undefined;
    if (text === undefined) this.pushBytes(bytes);
    else this.push(text);
  }
  private int(value: bigint): number | bigint {
    const n = Number(value);
    return Number.isSafeInteger(n) ? n : value;
  }
  decimal(text: string): number | bigint {
    if (!/^\s*[+-]?\d+\s*$/.test(text)) this.refuse(`expected an int, got ${quoted(text)}`);
    return this.int(BigInt(text.trim().replace('+', '')));
  }
  float(text: string): number {
    const special = /^\s*([+-]?)(inf|infinity|nan)\s*$/i.exec(text);
    if (special) {
      if (special[2]!.toLowerCase() === 'nan') return Number.NaN;
      return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
    }
    if (!/^\s*[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\s*$/i.test(text))
      this.refuse(`expected a float, got ${quoted(text)}`);
    return Number(text);
  }
  /** Two's complement, little-endian, any length. */
  long(length: number): number | bigint {
    if (length < 0 || length > mostLongBytes)
      this.refuse(`expected an int of 0 to ${mostLongBytes} bytes, got ${length}`);
    let hex = '';
    for (const b of this.raw(length)) hex = b.toString(16).padStart(2, '0') + hex;
    return hex ? this.int(BigInt.asIntN(8 * length, BigInt(`0x${hex}`))) : 0;
  }
  /** A quoted string of Python 2, as repr writes it. */
  quotedBytes(): Uint8Array {
    let line = this.line();
    while (line.length && line.at(-1)! <= 32) line = line.subarray(0, -1);
    const quote = line[0];
    if (line.length < 2 || (quote !== 34 && quote !== 39) || line.at(-1) !== quote)
      this.refuse(`expected a string in quotes, got ${line.length} bytes without`);
    const inner = line.subarray(1, -1);
    return inner.includes(92) ? this.unescaped(inner) : inner;
  }
  private unescaped(inner: Uint8Array): Uint8Array {
    const out = new Uint8Array(inner.length);
    let n = 0;
    for (let i = 0; i < inner.length; ) {
      const c = inner[i++]!;
      if (c !== 92) {
        out[n++] = c;
        continue;
      }
      const after = latin1(inner.subarray(i, i + 3));
      const number = /^(?:x([0-9a-fA-F]{2})|([0-7]{1,3}))/.exec(after);
      const named = after ? '\\\'"abfnrtv'.indexOf(after[0]!) : -1;
      if (number) {
        out[n++] = number[1] ? Number.parseInt(number[1], 16) : Number.parseInt(number[2]!, 8);
        i += number[0].length;
      } else if (named >= 0) {
        out[n++] = [92, 39, 34, 7, 8, 12, 10, 13, 9, 11][named]!;
        i++;
      } else if (after === '' || after[0] === 'x') {
        this.refuse(`expected a string, got a broken escape at its byte ${i - 1}`);
      } else {
        out[n++] = c;
      }
    }
    return out.subarray(0, n);
  }
  /** Text of protocol 0: a byte per character, others as \u and four digits. */
  escapedText(): string {
    const line = this.line();
    if (line.length > mostText) this.refuse(`expected text of at most ${mostText} bytes, got ${line.length}`);
    const text = latin1(line);
    if (!text.includes('\\')) return text;
    return text.replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.|$))/gs, (all, u, U, other) => {
      if (other !== undefined)
        return /[uU]/.test(other) || !other ? this.refuse('got a broken \\u escape in text') : all;
      const code = Number.parseInt(u ?? U, 16);
      return code > 0x10ffff ? this.refuse(`got the character ${code} in text`) : String.fromCodePoint(code);
    });
  }

  // Containers.
  filled(dict: Map<unknown, unknown>, items: readonly unknown[]): Map<unknown, unknown> {
    if (items.length % 2) this.refuse(`expected keys and values, got ${items.length} of both`);
    this.spend(items.length / 2);
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
    return dict;
  }
  setItems(items: readonly unknown[]): void {
    const target = this.top();
    const dict = target instanceof PickleObject ? target.dict : target;
    if (!(dict instanceof Map)) this.refuse(`expected a dict to add to, got ${pickleKind(target)}`);
    this.filled(dict, items);
  }
  append(items: readonly unknown[]): void {
    const target = this.top();
    const list = target instanceof PickleObject ? target.list : target;
    if (!Array.isArray(list)) this.refuse(`expected a list to add to, got ${pickleKind(target)}`);
    for (const item of items) list.push(item);
  }
  addItems(items: readonly unknown[]): void {
    const set = this.top();
    if (!(set instanceof Set)) this.refuse(`expected a set to add to, got ${pickleKind(set)}`);
    this.spend(items.length);
    for (const item of items) set.add(item);
  }
  remember(index: number): void {
    this.spend(1);
    this.memo.set(index, this.top());
  }
  recall(index: number): void {
    if (!this.memo.has(index)) this.refuse(`expected memo entry ${index} to be set, but it is not`);
    this.push(this.memo.get(index));
  }
  memoIndex(): number {
    const text = this.shortLine('a memo index');
    return /^\d{1,15}\s*$/.test(text) ? Number(text) : this.refuse(`expected a memo index, got ${quoted(text)}`);
  }

  // Globals: the only way out of plain data, and only to what the caller lists.
  find([module, name]: readonly unknown[]): PickleName {
    if (typeof module !== 'string' || typeof name !== 'string')
      return this.refuse(`expected the name of a global, got ${pickleKind(module)} and ${pickleKind(name)}`);
    if (module.length + name.length > 2 * mostName)
      this.refuse('expected the name of a global, got a text too long for one');
    const { globals = {} } = this.options;
    const full = `${module}.${name}`;
    if (Object.hasOwn(globals, full)) return new PickleName(full, globals[full]!);
    if (this.options.instances) return new PickleName(full, null);
    return this.refuse(`it asks for the Python global ${quoted(full)}, which is not one of those allowed`, nothingRun);
  }
  findByLines = () => this.find([this.shortLine('a module', mostName), this.shortLine('a name', mostName)]);
  call([target, args, named = noNames]: readonly unknown[]): void {
    if (!(target instanceof PickleName) || !target.call)
      this.refuse(
        `expected a function that may be called, got ${pickleKind(target)}`,
        target instanceof PickleName ? nothingRun : advice,
      );
    if (!Array.isArray(args)) this.refuse(`expected a tuple of arguments, got ${pickleKind(args)}`);
    if (!(named instanceof Map) || named.size > 0)
      this.refuse(`expected no arguments by name, got ${pickleKind(named)}`);
    this.push(target.call(args, this), 4);
  }
  /** NEWOBJ, which runs no more of a class than `__new__`. */
  instance([target, args]: readonly unknown[]): void {
    const { globals = {}, instances } = this.options;
    if (!instances || !(target instanceof PickleName) || Object.hasOwn(globals, target.name) || !Array.isArray(args))
      this.call([target, args]);
    else this.push(instances(target.name, args), 4);
  }
  build(): void {
    const state = this.pop();
    const target = this.top();
    if (target instanceof PickleObject) target.setState(state, this);
    // Attributes of a dict's subclass, such as `_metadata` of PyTorch's state dicts, say nothing about its items.
    else if (!(target instanceof Map)) this.refuse(`expected an object that takes a state, got ${pickleKind(target)}`);
  }
  persistent(id: unknown): void {
    const { persistentLoad } = this.options;
    if (!persistentLoad) this.refuse('it refers to something outside of itself (a persistent id)');
    this.push(persistentLoad(id, this), 4);
  }
}
