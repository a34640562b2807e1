/**
 * TFLite files read into graphs.
 *
 * The one idea: operators are read in the order of the file, each by its record of operators.ts, with every tensor either a
 * value of the graph or a constant. What cannot be read is listed, all of it, before anything is refused. Files of 8-bit
 * weights are read as the numbers that they stand for, and those whose activations have 8 bits too as if these were float32.
 */
import { DataError, ShapeError, UsageError } from '../../core/errors.ts';
import { GraphBuilder, type Value } from '../../models/graph/builder.ts';
import type { GraphFile, ReadOptions } from '../format.ts';
import { isValue, type Operand } from './call.ts';
import { TfliteFile, type TfliteNode } from './model.ts';
import { convert, converters } from './operators.ts';
import { type BuiltinName, tensorTypes, typeNames } from './schema.ts';

export interface ReadTfliteOptions extends ReadOptions {
  /**
   * Activations that the file keeps in 8 bits are rounded to its steps, so that results are those of the file to a step here
   * and there. Such a graph is to be looked at, not trained. Default false.
   */
  readonly rounding?: boolean | undefined;
}

/** Types of tensors that operators may compute, as float32. */
const computed: ReadonlySet<number> = new Set([tensorTypes.f32, tensorTypes.f16, tensorTypes.i8, tensorTypes.u8]);

/**
 * The graph of a TFLite file.
 * @param name what errors call it
 * @throws DataError for what is none, is damaged, or holds what is not supported, naming all of that
 */
export function readTflite(bytes: Uint8Array, name: string, options: ReadTfliteOptions = {}): GraphFile {
  try {
    return read(bytes, name, options);
  } catch (error) {
    throw named(error, name);
  }
}

/** What a graph that cannot be throws, as an error of the file. */
function named(error: unknown, name: string): unknown {
  const ours = error instanceof ShapeError || error instanceof UsageError || error instanceof DataError;
  return ours && !error.message.startsWith(name) ? new DataError(`${name}: ${error.message}`) : error;
}

function read(bytes: Uint8Array, name: string, { inputSize, rounding = false }: ReadTfliteOptions): GraphFile {
  const file: TfliteFile = new TfliteFile(bytes, name);
  refuseUnknown(file);
  const builder = new GraphBuilder();
  const values = new Map<number, Operand>();
  const round = (x: Operand, i: number) => (rounding && isValue(x) ? rounded(file, builder, x, i) : x);
  for (const [input, i] of file.inputs) {
    const { type } = file.tensors[i]!;
    if (!computed.has(type))
      file.fail(`input ${input} holds ${typeNames[type] ?? type}`, 'Inputs of FLOAT32, INT8 and UINT8 are read.');
    values.set(i, round(builder.input(input, inputShape(file, i, inputSize)), i));
  }
  const operand = (i: number | undefined): Operand | undefined => {
    if (i === undefined) return undefined;
    const known = values.get(i) ?? file.constant(i);
    if (!known) file.fail(`${file.label(i)} is read before it is made`, 'The file is damaged: fetch it again.');
    values.set(i, known);
    return known;
  };
  for (const node of file.nodes) {
    const made = apply(file, builder, node, node.inputs.map(operand));
    node.outputs.forEach((i, k) => {
      const value = made[k];
      if (value) values.set(i, round(value, i));
    });
  }
  const outputs: Record<string, Value> = {};
  for (const [output, i] of file.outputs) {
    const value = operand(i)!;
    if (!isValue(value)) file.fail(`output ${output} is a constant`, 'The file has nothing to compute.');
    let unique = output;
    for (let n = 1; unique in outputs; n++) unique = `${output}_${n}`;
    outputs[unique] = value;
  }
  return { kind: 'graph', graph: builder.finish(outputs), notes: notesOf(file) };
}

function apply(
  file: TfliteFile,
  builder: GraphBuilder,
  node: TfliteNode,
  inputs: readonly (Operand | undefined)[],
): readonly Operand[] {
  const [first] = node.outputs;
  if (first === undefined) return [];
  // Converters join the names of what they have fused.
  const path = file.tensors[first]!.name.split(';')[0] || node.op.toLowerCase();
  const fail = (what: string): never =>
    file.fail(
      `${node.op} that makes ${file.label(first)}: ${what}`,
      'Export the network without it, or convert it to ONNX and import that.',
    );
  try {
    return convert(node.op as BuiltinName, {
      builder,
      inputs,
      options: node.options,
      path,
      count: node.outputs.length,
      fail,
    });
  } catch (error) {
    if (error instanceof ShapeError || error instanceof UsageError) return fail(error.message);
    if (error instanceof DataError && !error.message.startsWith(file.name)) return fail(error.message);
    throw error;
  }
}

/** The nearest of the numbers that a tensor of 8 bits can hold. */
function rounded(file: TfliteFile, builder: GraphBuilder, x: Value, i: number): Value {
  const { type, quantization } = file.tensors[i]!;
  const signed = type === tensorTypes.i8;
  if ((!signed && type !== tensorTypes.u8) || quantization?.scale.length !== 1) return x;
  const scale = quantization.scale[0]!;
  const zero = quantization.zeroPoint[0] ?? 0;
  const least = (signed ? -128 : 0) - zero;
  const steps = builder.apply('round', [builder.apply('div', [x], { value: scale }, 'steps')], {}, 'rounded');
  const inside = builder.apply('clamp', [steps], { min: least, max: least + 255 }, 'inside');
  return builder.apply('mul', [inside], { value: scale }, 'scaled');
}

/** Every operator and type that is not read, in one error. */
function refuseUnknown(file: TfliteFile): void {
  const unknown = new Map<string, number>();
  for (const { op } of file.nodes) if (!Object.hasOwn(converters, op)) unknown.set(op, (unknown.get(op) ?? 0) + 1);
  if (unknown.size === 0) return;
  const list = [...unknown].map(([op, n]) => `  ${op} (${n})`).join('\n');
  const advice = unknown.has('DENSIFY')
    ? 'Its weights are stored sparsely: export the network with dense weights.'
    : 'Export the network without them, or convert it to ONNX and import that.';
  throw new DataError(`${file.name}: expected operators that are read, got\n${list}\n${advice}`);
}

/** Without the batch; sizes that the file leaves open are those that were asked for. */
function inputShape(file: TfliteFile, i: number, inputSize: ReadOptions['inputSize']): number[] {
  const { shape, shapeSignature } = file.tensors[i]!;
  const [, ...rest] = shape;
  const open = (axis: number) => shapeSignature[axis + 1] === -1 || rest[axis]! < 1;
  return rest.map((size, axis) => {
    if (!open(axis)) return size;
    const asked = rest.length === 3 && axis < 2 ? inputSize?.[axis] : undefined;
    // Converters write 1 where a size is open.
    return (
      asked ??
      (size > 1
        ? size
        : file.fail(
            `the input's shape [${shapeSignature.length ? shapeSignature : shape}] is open`,
            'Say which: --input 112x112.',
          ))
    );
  });
}

function notesOf(file: TfliteFile): string[] {
  const notes: string[] = [];
  const eight = (i: number | undefined) =>
    i !== undefined && ([tensorTypes.i8, tensorTypes.u8] as number[]).includes(file.tensors[i]!.type);
  const made = new Set(file.nodes.flatMap((n) => n.outputs));
  if ([...made].some((i) => eight(i)) || file.inputs.some(([, i]) => eight(i)))
    notes.push(
      'activations are quantised to 8 bits in the file: here they are float32, so results differ by that quantisation; inputs and outputs are the numbers that the bytes stand for',
    );
  else if (file.nodes.some((n) => n.inputs.some((i) => eight(i))))
    notes.push('weights are quantised to 8 bits in the file: they are read as the numbers they stand for');
  if (file.nodes.some((n) => n.inputs.some((i) => i !== undefined && file.tensors[i]!.type === tensorTypes.f16)))
    notes.push('weights are half precision in the file');
  return notes;
}
