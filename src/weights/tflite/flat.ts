/**
 * Flatbuffers read into plain objects and written from them, by the records of schema.ts.
 *
 * The one idea: nothing of a file is trusted. Every offset is checked to lie in the file before it is followed, and all that
 * is made of a file is counted: tables and lists that share bytes could else unfold to far more than the file.
 * Bytes and their order are the package flatbuffers' matter. Format: https://flatbuffers.dev/internals/
 */
import { Builder, ByteBuffer } from 'flatbuffers';
import { DataError } from '../../core/errors.ts';
import type { Field, ListKind, OperatorOptions, Row, ScalarKind, Table } from './schema.ts';

const sizes: Record<ScalarKind, number> = { bool: 1, i8: 1, u8: 1, i32: 4, u32: 4, i64: 8, u64: 8, f32: 4 };
const none = new Uint8Array(0);

class Reader {
  private readonly buffer: ByteBuffer;
  private readonly bytes: Uint8Array;
  private readonly name: string;
  /** Bytes that what is made may still stand for. */
  private left: number;
  constructor(bytes: Uint8Array, name: string) {
    this.bytes = bytes;
    this.buffer = new ByteBuffer(bytes);
    this.name = name;
    this.left = 2 * bytes.length + 4096;
  }

  fail(what: string): never {
    throw new DataError(
      `${this.name}: expected a TFLite file (a flatbuffer), but ${what}\nThe file is damaged or of another format: fetch it again.`,
    );
  }
  private check(at: number, size: number): number {
    if (!(at >= 0 && at + size <= this.bytes.length))
      this.fail(`it points to byte ${at} of ${this.bytes.length} bytes`);
    return at;
  }
  private take(n: number): void {
    this.left -= n;
    if (this.left < 0) this.fail('its parts refer to each other more often than its size allows');
  }
  scalar(as: ScalarKind, at: number): number | boolean {
    this.check(at, sizes[as]);
    switch (as) {
      case 'bool':
        return this.buffer.readInt8(at) !== 0;
      case 'i8':
        return this.buffer.readInt8(at);
      case 'u8':
        return this.buffer.readUint8(at);
      case 'i32':
        return this.buffer.readInt32(at);
      case 'u32':
        return this.buffer.readUint32(at);
      case 'i64':
        return Number(this.buffer.readInt64(at));
      case 'u64':
        return Number(this.buffer.readUint64(at));
      case 'f32':
        return this.buffer.readFloat32(at);
    }
  }
  private number(as: 'i32' | 'u32', at: number): number {
    return this.scalar(as, at) as number;
  }
  /** Where the offset at a place leads. */
  follow(at: number): number {
    return at + this.number('u32', at);
  }
  /** The place of a field, 0 where the table has none. */
  private place(table: number, slot: number): number {
    const vtable = this.check(table - this.number('i32', table), 4);
    const length = this.buffer.readUint16(vtable);
    const entry = 4 + 2 * slot;
    if (entry + 2 > length) return 0;
    const offset = this.buffer.readUint16(this.check(vtable + entry, 2));
    return offset ? this.check(table + offset, 1) : 0;
  }
  /** Count and first element of a list. */
  private listAt(at: number, size: number): [count: number, first: number] {
    const list = this.follow(at);
    const count = this.number('u32', list);
    this.check(list + 4, count * size);
    return [count, list + 4];
  }
  private list(as: ListKind, at: number): readonly number[] | Uint8Array {
    const size = sizes[as];
    const [count, first] = this.listAt(at, size);
    if (as === 'u8') return this.bytes.subarray(first, first + count);
    this.take(count * size);
    return Array.from({ length: count }, (_, i) => this.scalar(as, first + i * size) as number);
  }
  private text(at: number): string {
    const [count, first] = this.listAt(at, 1);
    this.take(count);
    return new TextDecoder().decode(this.bytes.subarray(first, first + count));
  }
  private field(table: number, field: Field<unknown>): unknown {
    const at = this.place(table, field.slot);
    switch (field.kind) {
      case 'scalar':
        return at ? this.scalar(field.as, at) : field.fallback;
      case 'text':
        return at ? this.text(at) : '';
      case 'list':
        return at ? this.list(field.as, at) : field.as === 'u8' ? none : [];
      case 'table':
        return at ? this.table(this.follow(at), field.table) : undefined;
      case 'tables': {
        if (!at) return [];
        const [count, first] = this.listAt(at, 4);
        this.take(4 * count);
        return Array.from({ length: count }, (_, i) => this.table(this.follow(first + 4 * i), field.table));
      }
      case 'union': {
        const type = at ? (this.scalar('u8', at) as number) : 0;
        const value = this.place(table, field.slot + 1);
        if (!type || !value) return undefined;
        const known = field.tables[type];
        return { type, value: known ? this.table(this.follow(value), known) : {} } satisfies OperatorOptions;
      }
    }
  }
  table<T extends Table>(at: number, table: T): Row<T> {
    this.take(4);
    return Object.fromEntries(Object.entries(table).map(([key, field]) => [key, this.field(at, field)])) as Row<T>;
  }
}

/**
 * The table that a file is.
 * @param name what errors call the file
 * @throws DataError
 */
export function readFlat<T extends Table>(bytes: Uint8Array, table: T, identifier: string, name: string): Row<T> {
  const reader = new Reader(bytes, name);
  const found = bytes.length < 8 ? '' : String.fromCharCode(...bytes.subarray(4, 8));
  if (found !== identifier) reader.fail(`bytes 4 to 7 are '${found}' in place of '${identifier}'`);
  return reader.table(reader.follow(0), table);
}

/** Elements of a list of bytes begin at multiples of this, as TFLite asks of its buffers. */
const alignment = 16;

class Writer {
  readonly builder = new Builder(1 << 16);

  private list(as: ListKind, values: readonly number[] | Uint8Array): number {
    const { builder } = this;
    if (as === 'u8') {
      builder.prep(alignment, values.length);
      return builder.createByteVector(values as Uint8Array);
    }
    builder.startVector(sizes[as], values.length, sizes[as]);
    for (const v of values.toReversed()) {
      if (as === 'i32') builder.addInt32(v);
      else if (as === 'i64') builder.addInt64(BigInt(v));
      else builder.addFloat32(v);
    }
    return builder.endVector();
  }
  private offsets(made: readonly number[]): number {
    this.builder.startVector(4, made.length, 4);
    for (const o of made.toReversed()) this.builder.addOffset(o);
    return this.builder.endVector();
  }
  /** What a field refers to, written before its table. */
  private referred(field: Field<unknown>, value: unknown): number {
    switch (field.kind) {
      case 'text':
        return this.builder.createString(value as string);
      case 'list':
        return this.list(field.as, value as readonly number[]);
      case 'table':
        return this.table(field.table, value as Row<Table>);
      case 'tables':
        return this.offsets((value as readonly Row<Table>[]).map((v) => this.table(field.table, v)));
      case 'union': {
        const { type, value: held } = value as OperatorOptions;
        return this.table(field.tables[type]!, held as Row<Table>);
      }
      default:
        return 0;
    }
  }
  private scalar(as: ScalarKind, slot: number, value: number | boolean, fallback: number | boolean): void {
    const { builder } = this;
    if (as === 'bool' || as === 'i8' || as === 'u8') builder.addFieldInt8(slot, Number(value), Number(fallback));
    else if (as === 'f32') builder.addFieldFloat32(slot, Number(value), Number(fallback));
    else if (as === 'i32' || as === 'u32') builder.addFieldInt32(slot, Number(value), Number(fallback));
    else builder.addFieldInt64(slot, BigInt(value), BigInt(fallback));
  }
  table<T extends Table>(table: T, row: Partial<Row<T>>): number {
    const { builder } = this;
    const fields = Object.entries(table).map(([key, field]) => [field, (row as Record<string, unknown>)[key]] as const);
    const given = fields.filter(([, value]) => value !== undefined);
    const referred = given.map(([field, value]) => this.referred(field, value));
    builder.startObject(Math.max(0, ...fields.map(([f]) => f.slot + (f.kind === 'union' ? 2 : 1))));
    given.forEach(([field, value], i) => {
      if (field.kind === 'scalar') this.scalar(field.as, field.slot, value as number | boolean, field.fallback);
      else if (field.kind === 'union') {
        builder.addFieldInt8(field.slot, (value as OperatorOptions).type, 0);
        builder.addFieldOffset(field.slot + 1, referred[i]!, 0);
      } else builder.addFieldOffset(field.slot, referred[i]!, 0);
    });
    return builder.endObject();
  }
}

/** A row as far as it is to be written: what is left out has its value by default. */
export type Partly<T> = T extends Uint8Array | readonly number[]
  ? T
  : T extends readonly (infer U)[]
    ? readonly Partly<U>[]
    : T extends object
      ? { readonly [K in keyof T]?: Partly<T[K]> | undefined }
      : T;

/** A file of one table. The same rows give the same bytes. */
export function writeFlat<T extends Table>(row: Partly<Row<T>>, table: T, identifier: string): Uint8Array {
  const writer = new Writer();
  writer.builder.finish(writer.table(table, row as Partial<Row<T>>), identifier);
  return writer.builder.asUint8Array().slice();
}
