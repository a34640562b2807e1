/**
 * The tables of a TFLite file (LiteRT's schema, version 3) as far as they are read and written here.
 *
 * The one idea: a table is a record of fields, each with its slot in the table, its kind and the value it has where the file
 * leaves it out; flat.ts reads and writes any of them, and the types of what it reads follow from these records. Slots,
 * numbers of operators and of option tables are those of `schema.fbs`, by which readers and writers of all versions agree.
 * Format: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
 */

export type ScalarKind = 'bool' | 'i8' | 'u8' | 'i32' | 'u32' | 'i64' | 'u64' | 'f32';
export type ListKind = 'u8' | 'i32' | 'i64' | 'f32';

/** Where a table keeps a value and what kind it is. The type parameter is that of the value. */
export type Field<T> = { readonly slot: number; readonly of?: T } & (
  | { readonly kind: 'scalar'; readonly as: ScalarKind; readonly fallback: number | boolean }
  | { readonly kind: 'text' }
  | { readonly kind: 'list'; readonly as: ListKind }
  | { readonly kind: 'table'; readonly table: Table }
  | { readonly kind: 'tables'; readonly table: Table }
  /** Its number is at `slot`, its table at the next. */
  | { readonly kind: 'union'; readonly tables: Readonly<Record<number, Table>> }
);
// biome-ignore lint/suspicious/noExplicitAny: a field of any type
export type Table = Readonly<Record<string, Field<any>>>;
/** What a table holds. */
export type Row<T extends Table> = { -readonly [K in keyof T]: T[K] extends Field<infer V> ? V : never };

const scalar = (as: ScalarKind) => (slot: number, fallback: number) =>
  ({ slot, kind: 'scalar', as, fallback }) as Field<number>;
const i8 = scalar('i8');
const i32 = scalar('i32');
const u32 = scalar('u32');
const u64 = scalar('u64');
const f32 = scalar('f32');
const bool = (slot: number): Field<boolean> => ({ slot, kind: 'scalar', as: 'bool', fallback: false });
const text = (slot: number): Field<string> => ({ slot, kind: 'text' });
const list = (as: Exclude<ListKind, 'u8'>, slot: number): Field<readonly number[]> => ({ slot, kind: 'list', as });
const bytes = (slot: number): Field<Uint8Array> => ({ slot, kind: 'list', as: 'u8' });
const table = <T extends Table>(slot: number, of: T): Field<Row<T> | undefined> => ({ slot, kind: 'table', table: of });
const tables = <T extends Table>(slot: number, of: T): Field<readonly Row<T>[]> => ({
  slot,
  kind: 'tables',
  table: of,
});

const activation = (slot: number) => i8(slot, 0);
const window = { padding: i8(0, 0), strideW: i32(1, 0), strideH: i32(2, 0) };
const fused = { activation: activation(0) };

/** Option tables by their number in the union. */
const optionTables = {
  1: { ...window, activation: activation(3), dilationW: i32(4, 1), dilationH: i32(5, 1) }, // Conv2D
  2: {
    ...window,
    depthMultiplier: i32(3, 0),
    activation: activation(4),
    dilationW: i32(5, 1),
    dilationH: i32(6, 1),
  }, // DepthwiseConv2D
  5: { ...window, filterWidth: i32(3, 0), filterHeight: i32(4, 0), activation: activation(5) }, // Pool2D
  8: { activation: activation(0), weightsFormat: i8(1, 0), keepNumDims: bool(2) }, // FullyConnected
  9: { beta: f32(0, 0) }, // Softmax
  10: { axis: i32(0, 0), activation: activation(1) }, // Concatenation
  11: fused, // Add
  12: fused, // L2Norm
  15: { alignCorners: bool(2), halfPixelCenters: bool(3) }, // ResizeBilinear
  17: { newShape: list('i32', 0) }, // Reshape
  21: fused, // Mul
  22: {}, // Pad
  26: {}, // Transpose
  27: { keepDims: bool(0) }, // Reducer
  28: fused, // Sub
  29: fused, // Div
  30: { squeezeDims: list('i32', 0) }, // Squeeze
  32: {
    beginMask: i32(0, 0),
    endMask: i32(1, 0),
    ellipsisMask: i32(2, 0),
    newAxisMask: i32(3, 0),
    shrinkAxisMask: i32(4, 0),
    offset: bool(5),
  }, // StridedSlice
  33: {}, // Exp
  35: { numSplits: i32(0, 0) }, // Split
  36: {}, // LogSoftmax
  37: { from: i8(0, 0), to: i8(1, 0) }, // Cast
  38: {}, // Dequantize
  39: {}, // MaximumMinimum
  42: {}, // Neg
  43: {}, // PadV2
  48: {}, // Slice
  52: {}, // ExpandDims
  55: { outType: i8(0, 0) }, // Shape
  56: {}, // Pow
  59: { count: i32(0, 0), axis: i32(1, 0) }, // Pack
  66: {}, // Square
  74: { alignCorners: bool(0), halfPixelCenters: bool(1) }, // ResizeNearestNeighbor
  75: { alpha: f32(0, 0) }, // LeakyRelu
  76: {}, // SquaredDifference
  78: {}, // Abs
  79: { numSplits: i32(0, 0) }, // SplitV
  81: {}, // ReverseV2
  84: {}, // Cos
  89: {}, // Quantize
  91: {}, // HardSwish
  94: { blockSize: i32(0, 0) }, // DepthToSpace
  101: { adjX: bool(0), adjY: bool(1) }, // BatchMatMul
  104: {}, // BroadcastTo
} as const;

/** An operator's options: which table, and what it holds. */
export interface OperatorOptions {
  readonly type: number;
  readonly value: Readonly<Record<string, unknown>>;
}
const union = (slot: number): Field<OperatorOptions | undefined> => ({ slot, kind: 'union', tables: optionTables });

const quantization = {
  scale: list('f32', 2),
  zeroPoint: list('i64', 3),
  /** Axis that scales and zero points go along, where there are several. */
  dimension: i32(6, 0),
};
const tensor = {
  shape: list('i32', 0),
  type: i8(1, 0),
  buffer: u32(2, 0),
  name: text(3),
  quantization: table(4, quantization),
  sparsity: table(6, {}),
  /** −1 for sizes that are open. */
  shapeSignature: list('i32', 7),
};
const operator = {
  opcode: u32(0, 0),
  inputs: list('i32', 1),
  outputs: list('i32', 2),
  options: union(3),
};
const subgraph = {
  tensors: tables(0, tensor),
  inputs: list('i32', 1),
  outputs: list('i32', 2),
  operators: tables(3, operator),
  name: text(4),
};
const tensorMap = { name: text(0), tensor: u32(1, 0) };
export const modelTable = {
  version: u32(0, 0),
  operatorCodes: tables(1, {
    /** The number, where it is under 127. */
    deprecatedCode: i8(0, 0),
    customCode: text(1),
    version: i32(2, 1),
    code: i32(3, 0),
  }),
  subgraphs: tables(2, subgraph),
  description: text(3),
  buffers: tables(4, {
    data: bytes(0),
    /** Of the data in the file, where it lies behind the flatbuffer; 0 and 1 mean that it does not. */
    offset: u64(1, 0),
    size: u64(2, 0),
  }),
  signatures: tables(7, {
    inputs: tables(0, tensorMap),
    outputs: tables(1, tensorMap),
    key: text(2),
    subgraph: u32(4, 0),
  }),
};
export type TfliteModel = Row<typeof modelTable>;
export type TfliteTensor = Row<typeof tensor>;
export type TfliteOperator = Row<typeof operator>;
export type TfliteQuantization = Row<typeof quantization>;

/** The four bytes after the first four. */
export const fileIdentifier = 'TFL3';

export const tensorTypes = { f32: 0, f16: 1, i32: 2, u8: 3, i64: 4, bool: 6, i8: 9 } as const;
/** Every type by number, as messages name it. */
export const typeNames: readonly string[] =
  'FLOAT32 FLOAT16 INT32 UINT8 INT64 STRING BOOL INT16 COMPLEX64 INT8 FLOAT64 COMPLEX128 UINT64 RESOURCE VARIANT UINT32 UINT16 INT4 BFLOAT16 INT2 UINT4'.split(
    ' ',
  );

/** Activations that a layer may have of its own, by number. */
export const activations = ['none', 'relu', 'reluN1To1', 'relu6', 'tanh'] as const;
export const paddings = { same: 0, valid: 1 } as const;

/** Operators: number, and the table of their options (0: none). */
export const builtin = {
  ADD: [0, 11],
  AVERAGE_POOL_2D: [1, 5],
  CONCATENATION: [2, 10],
  CONV_2D: [3, 1],
  DEPTHWISE_CONV_2D: [4, 2],
  DEPTH_TO_SPACE: [5, 94],
  DEQUANTIZE: [6, 38],
  FLOOR: [8, 0],
  FULLY_CONNECTED: [9, 8],
  L2_NORMALIZATION: [11, 12],
  LOGISTIC: [14, 0],
  MAX_POOL_2D: [17, 5],
  MUL: [18, 21],
  RELU: [19, 0],
  RELU_N1_TO_1: [20, 0],
  RELU6: [21, 0],
  RESHAPE: [22, 17],
  RESIZE_BILINEAR: [23, 15],
  SOFTMAX: [25, 9],
  TANH: [28, 0],
  PAD: [34, 22],
  TRANSPOSE: [39, 26],
  MEAN: [40, 27],
  SUB: [41, 28],
  DIV: [42, 29],
  SQUEEZE: [43, 30],
  STRIDED_SLICE: [45, 32],
  EXP: [47, 33],
  SPLIT: [49, 35],
  LOG_SOFTMAX: [50, 36],
  CAST: [53, 37],
  PRELU: [54, 0],
  MAXIMUM: [55, 39],
  MINIMUM: [57, 39],
  NEG: [59, 42],
  PADV2: [60, 43],
  SLICE: [65, 48],
  SIN: [66, 0],
  EXPAND_DIMS: [70, 52],
  LOG: [73, 0],
  SUM: [74, 27],
  SQRT: [75, 0],
  RSQRT: [76, 0],
  SHAPE: [77, 55],
  POW: [78, 56],
  REDUCE_MAX: [82, 27],
  PACK: [83, 59],
  REDUCE_MIN: [89, 27],
  SQUARE: [92, 66],
  RESIZE_NEAREST_NEIGHBOR: [97, 74],
  LEAKY_RELU: [98, 75],
  SQUARED_DIFFERENCE: [99, 76],
  ABS: [101, 78],
  SPLIT_V: [102, 79],
  CEIL: [104, 0],
  REVERSE_V2: [105, 81],
  COS: [108, 84],
  ELU: [111, 0],
  QUANTIZE: [114, 89],
  ROUND: [116, 0],
  HARD_SWISH: [117, 91],
  BATCH_MATMUL: [126, 101],
  BROADCAST_TO: [130, 104],
  RELU_0_TO_1: [152, 0],
} as const;
export type BuiltinName = keyof typeof builtin;

/** Names of operators that are not read, for messages. */
const others: Readonly<Record<number, string>> = {
  12: 'L2_POOL_2D',
  13: 'LOCAL_RESPONSE_NORMALIZATION',
  26: 'SPACE_TO_DEPTH',
  32: 'CUSTOM',
  36: 'GATHER',
  67: 'TRANSPOSE_CONV',
  88: 'UNPACK',
  100: 'MIRROR_PAD',
  124: 'DENSIFY',
  150: 'GELU',
};
const names = new Map<number, string>([
  ...Object.entries(builtin).map(([name, [code]]) => [code, name] as const),
  ...Object.entries(others).map(([code, name]) => [Number(code), name] as const),
]);
export const operatorName = (code: number): string => names.get(code) ?? `operator ${code}`;
