/**
 * ONNX files as plain records: the protobuf messages of a model, read and written.
 *
 * The one idea: one table says which fields a message has, by number and kind; reading and writing both go by it. Fields
 * that the table does not name (documentation, training, quantisation notes) are skipped in reading. Tensors' bytes are
 * views of the file. Numbers of 64 bits become JavaScript numbers: exact to 2^53, and beyond that they only stand for "to
 * the end".
 * Source: onnx/onnx.proto of the ONNX standard (IR versions 3 to 13); the wire format is @bufbuild/protobuf's.
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

export interface ModelProto {
  readonly irVersion?: number;
  readonly producerName?: string;
  readonly producerVersion?: string;
  readonly domain?: string;
  readonly modelVersion?: number;
  readonly docString?: string;
  readonly graph?: GraphProto;
  readonly opsetImport?: readonly OperatorSetIdProto[];
  readonly metadataProps?: readonly StringStringEntryProto[];
  readonly functions?: readonly FunctionProto[];
}

export interface OperatorSetIdProto {
  /** Absent or '' is the standard's own domain, as is 'ai.onnx'. */
  readonly domain?: string;
  readonly version?: number;
}

export interface StringStringEntryProto {
  readonly key?: string;
  readonly value?: string;
}

/** Only what says which functions a model brings along. */
export interface FunctionProto {
  readonly name?: string;
  readonly domain?: string;
}

export interface GraphProto {
  readonly node?: readonly NodeProto[];
  readonly name?: string;
  readonly initializer?: readonly TensorProto[];
  readonly docString?: string;
  readonly input?: readonly ValueInfoProto[];
  readonly output?: readonly ValueInfoProto[];
  readonly valueInfo?: readonly ValueInfoProto[];
}

export interface NodeProto {
  /** Names of values; '' is an input that is left out. */
  readonly input?: readonly string[];
  readonly output?: readonly string[];
  readonly name?: string;
  readonly opType?: string;
  readonly attribute?: readonly AttributeProto[];
  readonly docString?: string;
  readonly domain?: string;
}

/** One value, in the field that `type` (attributeTypes) names. */
export interface AttributeProto {
  readonly name?: string;
  readonly f?: number;
  readonly i?: number;
  readonly s?: Uint8Array;
  readonly t?: TensorProto;
  readonly g?: GraphProto;
  readonly floats?: ArrayLike<number>;
  readonly ints?: readonly number[];
  readonly strings?: readonly Uint8Array[];
  readonly type?: number;
}

/** Elements in one of the data fields, or outside (`externalData` where `dataLocation` is 1). */
export interface TensorProto {
  readonly dims?: readonly number[];
  /** dataTypes */
  readonly dataType?: number;
  readonly floatData?: ArrayLike<number>;
  /** Also halves and bfloats (as their bits), bytes and booleans. */
  readonly int32Data?: readonly number[];
  readonly int64Data?: readonly number[];
  readonly name?: string;
  /** Little-endian elements. */
  readonly rawData?: Uint8Array;
  readonly doubleData?: readonly number[];
  readonly uint64Data?: readonly number[];
  /** location (a file beside the model's), offset, length. */
  readonly externalData?: readonly StringStringEntryProto[];
  readonly dataLocation?: number;
}

export interface ValueInfoProto {
  readonly name?: string;
  readonly type?: TypeProto;
}

export interface TypeProto {
  readonly tensorType?: TensorTypeProto;
}

export interface TensorTypeProto {
  /** dataTypes */
  readonly elemType?: number;
  readonly shape?: TensorShapeProto;
}

export interface TensorShapeProto {
  readonly dim?: readonly DimensionProto[];
}

/** A known length, a name for one that is not known, or neither. */
export interface DimensionProto {
  readonly dimValue?: number;
  readonly dimParam?: string;
}

/** The messages by name. */
export interface OnnxMessages {
  ModelProto: ModelProto;
  OperatorSetIdProto: OperatorSetIdProto;
  StringStringEntryProto: StringStringEntryProto;
  FunctionProto: FunctionProto;
  GraphProto: GraphProto;
  NodeProto: NodeProto;
  AttributeProto: AttributeProto;
  TensorProto: TensorProto;
  ValueInfoProto: ValueInfoProto;
  TypeProto: TypeProto;
  TensorTypeProto: TensorTypeProto;
  TensorShapeProto: TensorShapeProto;
  DimensionProto: DimensionProto;
}

/** TensorProto.DataType */
export const dataTypes = {
  float: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  double: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
} as const;

/** AttributeProto.AttributeType */
export const attributeTypes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
} as const;

type Scalar = 'int' | 'uint' | 'float' | 'double' | 'string' | 'bytes';
type MessageName = keyof OnnxMessages;
/** The field's number, its kind, and whether it is a list. */
type Field = readonly [number: number, kind: Scalar | MessageName, list?: 'list'];

/** The fields of each message. */
const table: { readonly [M in MessageName]: { readonly [K in keyof Required<OnnxMessages[M]>]: Field } } = {
  ModelProto: {
    irVersion: [1, 'int'],
    producerName: [2, 'string'],
    producerVersion: [3, 'string'],
    domain: [4, 'string'],
    modelVersion: [5, 'int'],
    docString: [6, 'string'],
    graph: [7, 'GraphProto'],
    opsetImport: [8, 'OperatorSetIdProto', 'list'],
    metadataProps: [14, 'StringStringEntryProto', 'list'],
    functions: [25, 'FunctionProto', 'list'],
  },
  OperatorSetIdProto: { domain: [1, 'string'], version: [2, 'int'] },
  StringStringEntryProto: { key: [1, 'string'], value: [2, 'string'] },
  FunctionProto: { name: [1, 'string'], domain: [10, 'string'] },
  GraphProto: {
    node: [1, 'NodeProto', 'list'],
    name: [2, 'string'],
    initializer: [5, 'TensorProto', 'list'],
    docString: [10, 'string'],
    input: [11, 'ValueInfoProto', 'list'],
    output: [12, 'ValueInfoProto', 'list'],
    valueInfo: [13, 'ValueInfoProto', 'list'],
  },
  NodeProto: {
    input: [1, 'string', 'list'],
    output: [2, 'string', 'list'],
    name: [3, 'string'],
    opType: [4, 'string'],
    attribute: [5, 'AttributeProto', 'list'],
    docString: [6, 'string'],
    domain: [7, 'string'],
  },
  AttributeProto: {
    name: [1, 'string'],
    f: [2, 'float'],
    i: [3, 'int'],
    s: [4, 'bytes'],
    t: [5, 'TensorProto'],
    g: [6, 'GraphProto'],
    floats: [7, 'float', 'list'],
    ints: [8, 'int', 'list'],
    strings: [9, 'bytes', 'list'],
    type: [20, 'int'],
  },
  TensorProto: {
    dims: [1, 'int', 'list'],
    dataType: [2, 'int'],
    floatData: [4, 'float', 'list'],
    int32Data: [5, 'int', 'list'],
    int64Data: [7, 'int', 'list'],
    name: [8, 'string'],
    rawData: [9, 'bytes'],
    doubleData: [10, 'double', 'list'],
    uint64Data: [11, 'uint', 'list'],
    externalData: [13, 'StringStringEntryProto', 'list'],
    dataLocation: [14, 'int'],
  },
  ValueInfoProto: { name: [1, 'string'], type: [2, 'TypeProto'] },
  TypeProto: { tensorType: [1, 'TensorTypeProto'] },
  TensorTypeProto: { elemType: [1, 'int'], shape: [2, 'TensorShapeProto'] },
  TensorShapeProto: { dim: [1, 'DimensionProto', 'list'] },
  DimensionProto: { dimValue: [1, 'int'], dimParam: [2, 'string'] },
};

/** How a number lies in a file. */
const numbers = {
  int: { wire: WireType.Varint, read: (r: BinaryReader) => Number(r.int64()) },
  uint: { wire: WireType.Varint, read: (r: BinaryReader) => Number(r.uint64()) },
  float: { wire: WireType.Bit32, read: (r: BinaryReader) => r.float() },
  double: { wire: WireType.Bit64, read: (r: BinaryReader) => r.double() },
} as const;
const isNumber = (kind: string): kind is keyof typeof numbers => Object.hasOwn(numbers, kind);

type Loose = Record<string, unknown>;
const fieldsOf = (type: MessageName) => table[type] as Readonly<Record<string, Field>>;
const byNumber = new Map(
  (Object.keys(table) as MessageName[]).map((type) => [
    type,
    new Map(Object.entries(fieldsOf(type)).map(([key, [number, kind, list]]) => [number, { key, kind, list }])),
  ]),
);

/** A hostile file may nest graphs in attributes of graphs without end, or consist of empty messages. */
const mostDepth = 64;
const mostMessages = 2_000_000;

/**
 * Reads a message. Fields that are not in the file are absent; of a field that comes twice the last one counts.
 * @throws Error (of the wire reader, or RangeError) where the bytes are not such a message
 */
export function decodeMessage<M extends MessageName>(type: M, bytes: Uint8Array): OnnxMessages[M] {
  let messages = 0;
  const message = (name: MessageName, held: Uint8Array, depth: number): Loose => {
    if (depth > mostDepth) throw new RangeError(`messages nest deeper than ${mostDepth}`);
    if (++messages > mostMessages) throw new RangeError(`more than ${mostMessages} messages`);
    const known = byNumber.get(name)!;
    const out: Loose = {};
    const reader = new BinaryReader(held);
    while (reader.pos < reader.len) {
      const [number, wire] = reader.tag();
      const field = known.get(number);
      if (!field) {
        reader.skip(wire, number);
        continue;
      }
      const { key, kind, list } = field;
      const expect = isNumber(kind) ? numbers[kind].wire : WireType.LengthDelimited;
      const packed = list !== undefined && isNumber(kind) && wire === WireType.LengthDelimited;
      if (wire !== expect && !packed) throw new Error(`${name}.${key} has wire type ${wire}, expected ${expect}`);
      if (packed) out[key] = unpack(kind, reader.bytes(), out[key] as number[] | undefined);
      else {
        const value = isNumber(kind)
          ? numbers[kind].read(reader)
          : kind === 'string'
            ? reader.string()
            : kind === 'bytes'
              ? reader.bytes()
              : message(kind as MessageName, reader.bytes(), depth + 1);
        if (list === undefined) out[key] = value;
        else if (Array.isArray(out[key])) (out[key] as unknown[]).push(value);
        else out[key] = [...((out[key] as Iterable<number> | undefined) ?? []), value];
      }
    }
    if (reader.pos > reader.len) throw new RangeError('premature EOF');
    return out;
  };
  return message(type, bytes, 0) as OnnxMessages[M];
}

/** A packed list of numbers, after those that came before. Floats, which may be all the weights, stay four bytes each. */
function unpack(kind: keyof typeof numbers, bytes: Uint8Array, before: number[] | Float32Array | undefined) {
  if (kind === 'float' && !before) {
    if (bytes.length % 4) throw new RangeError(`a packed list of floats has ${bytes.length} bytes`);
    return new Float32Array(new Uint8Array(bytes).buffer);
  }
  const out = before === undefined ? [] : Array.isArray(before) ? before : Array.from(before);
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) out.push(numbers[kind].read(reader));
  if (reader.pos > reader.len) throw new RangeError('premature EOF');
  return out;
}

/** Writes a message. Absent fields and empty lists are left out; lists of numbers are packed. */
export function encodeMessage<M extends MessageName>(type: M, value: OnnxMessages[M]): Uint8Array<ArrayBuffer> {
  const w = new BinaryWriter();
  const number = (kind: keyof typeof numbers, v: number) => {
    if (kind === 'int') w.int64(v);
    else if (kind === 'uint') w.uint64(v);
    else if (kind === 'float') w.float(v);
    else w.double(v);
  };
  const message = (name: MessageName, record: Loose) => {
    for (const [key, [field, kind, list]] of Object.entries(fieldsOf(name))) {
      const held = record[key];
      if (held === undefined) continue;
      if (list && isNumber(kind)) {
        const values = held as ArrayLike<number>;
        if (values.length === 0) continue;
        w.tag(field, WireType.LengthDelimited).fork();
        for (let i = 0; i < values.length; i++) number(kind, values[i]!);
        w.join();
        continue;
      }
      for (const one of list ? (held as readonly unknown[]) : [held]) {
        if (isNumber(kind)) {
          w.tag(field, numbers[kind].wire);
          number(kind, one as number);
          continue;
        }
        w.tag(field, WireType.LengthDelimited);
        if (kind === 'string') w.string(one as string);
        else if (kind === 'bytes') w.bytes(one as Uint8Array);
        else {
          w.fork();
          message(kind as MessageName, one as Loose);
          w.join();
        }
      }
    }
  };
  message(type, value as Loose);
  return w.finish();
}
