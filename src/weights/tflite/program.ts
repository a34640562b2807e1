/**
 * A TFLite model being made: tensors and operators in lists, as the file will have them, and the file's bytes.
 *
 * The one idea: lowering, quantisation and writing are three steps over this one form, so each knows nothing of the others.
 */
import type { Shape } from '../../core/shape.ts';
import { type Partly, writeFlat } from './flat.ts';
import {
  activations,
  type BuiltinName,
  builtin,
  fileIdentifier,
  modelTable,
  type TfliteModel,
  type TfliteQuantization,
  tensorTypes,
} from './schema.ts';

export type ElementType = 'f32' | 'i32' | 'i8' | 'u8';
export type ProgramData = Float32Array | Int32Array | Int8Array;

export interface ProgramTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly type: ElementType;
  /** Of a constant. */
  readonly data?: ProgramData | undefined;
  /** The value of the graph whose numbers it holds, by which its range is known. */
  readonly value?: string | undefined;
  readonly quantization?: TfliteQuantization | undefined;
}
export interface ProgramOp {
  readonly op: BuiltinName;
  /** Tensors by index; −1 is one left out. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly options: Readonly<Record<string, unknown>>;
}
interface Port {
  readonly name: string;
  readonly tensor: number;
}

export class Program {
  readonly tensors: ProgramTensor[] = [];
  readonly ops: ProgramOp[] = [];
  readonly inputs: Port[] = [];
  readonly outputs: Port[] = [];
  private readonly names = new Set<string>();

  /** Adds a tensor; its name is made unique. */
  tensor(t: ProgramTensor): number {
    let name = t.name;
    for (let i = 1; this.names.has(name); i++) name = `${t.name}_${i}`;
    this.names.add(name);
    this.tensors.push({ ...t, name });
    return this.tensors.length - 1;
  }
  add(
    op: BuiltinName,
    inputs: readonly number[],
    outputs: readonly number[],
    options: Readonly<Record<string, unknown>> = {},
  ): void {
    this.ops.push({ op, inputs, outputs, options });
  }

  /**
   * The bytes of the file. Operators come in versions, by what they can do: readers refuse those that they do not have.
   * @param description one line that readers show
   */
  write(description: string): Uint8Array {
    const codes = new Map<string, number>();
    const operatorCodes: Partly<TfliteModel['operatorCodes'][number]>[] = [];
    const codeOf = (op: ProgramOp): number => {
      const version = versionOf(op, this.tensors);
      const key = `${op.op} ${version}`;
      if (!codes.has(key)) {
        codes.set(key, operatorCodes.length);
        const [code] = builtin[op.op];
        operatorCodes.push({ deprecatedCode: Math.min(code, 127), version, code });
      }
      return codes.get(key)!;
    };
    const operators = this.ops.map((op) => {
      const [, options] = builtin[op.op];
      return {
        opcode: codeOf(op),
        inputs: op.inputs,
        outputs: op.outputs,
        options: options ? { type: options, value: op.options } : undefined,
      };
    });
    // Buffer 0 is that of tensors without data.
    const buffers: { data?: Uint8Array }[] = [{}];
    const tensors = this.tensors.map((t) => {
      if (t.data) {
        const { buffer, byteOffset, byteLength } = t.data;
        buffers.push({ data: new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength) });
      }
      return {
        shape: t.shape,
        type: tensorTypes[t.type],
        buffer: t.data ? buffers.length - 1 : 0,
        name: t.name,
        quantization: t.quantization,
      };
    });
    const ports = (list: readonly Port[]) => list.map(({ name, tensor }) => ({ name, tensor }));
    const model: Partly<TfliteModel> = {
      version: 3,
      operatorCodes,
      subgraphs: [
        {
          tensors,
          inputs: this.inputs.map((p) => p.tensor),
          outputs: this.outputs.map((p) => p.tensor),
          operators,
          name: 'main',
        },
      ],
      description,
      buffers,
      signatures: [{ inputs: ports(this.inputs), outputs: ports(this.outputs), key: 'serving_default', subgraph: 0 }],
    };
    return writeFlat(model, modelTable, fileIdentifier);
  }
}

/** Versions in which operators learned int8. */
const int8Versions: Partial<Record<BuiltinName, number>> = {
  ADD: 2,
  AVERAGE_POOL_2D: 2,
  CONCATENATION: 2,
  CONV_2D: 3,
  DEPTHWISE_CONV_2D: 3,
  DEQUANTIZE: 2,
  FULLY_CONNECTED: 4,
  L2_NORMALIZATION: 2,
  LEAKY_RELU: 2,
  LOGISTIC: 2,
  LOG_SOFTMAX: 2,
  MAXIMUM: 2,
  MAX_POOL_2D: 2,
  MEAN: 2,
  MINIMUM: 2,
  MUL: 2,
  PAD: 2,
  PADV2: 2,
  REDUCE_MAX: 2,
  REDUCE_MIN: 2,
  RELU: 2,
  RELU6: 2,
  RESIZE_BILINEAR: 2,
  RESIZE_NEAREST_NEIGHBOR: 2,
  SLICE: 2,
  SOFTMAX: 2,
  SPLIT: 2,
  SPLIT_V: 2,
  STRIDED_SLICE: 2,
  SUB: 2,
  SUM: 2,
  TANH: 2,
  TRANSPOSE: 2,
};
/** The version that an operator needs, as LiteRT's converter counts them (versioning/op_version.cc). */
function versionOf({ op, inputs, options }: ProgramOp, tensors: readonly ProgramTensor[]): number {
  const small = inputs.some((i) => i >= 0 && tensors[i]!.type === 'i8');
  let version = small ? (int8Versions[op] ?? 1) : 1;
  if (op.startsWith('RESIZE_') && options.halfPixelCenters) version = 3;
  if (op === 'BROADCAST_TO') version = 2;
  if (op === 'FULLY_CONNECTED' && options.keepNumDims) version = Math.max(version, 5);
  return version;
}

/** The number of an activation that an operator has of its own. */
export const fusedActivation = (name: (typeof activations)[number]): number => activations.indexOf(name);
