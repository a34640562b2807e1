/**
 * Networks for the K210 chip: a TFLite file and calibration data for nncase, the compiler that makes its kmodel files.
 *
 * The one idea: nncase 0.2 takes float32 TFLite of few operators and quantises by itself, from example inputs as raw files: one
 * a picture, float32, channels first. The chip's accelerator (KPU) runs 1x1 and 3x3 convolutions with equal zeros all
 * around; what it does not run falls to the slow CPU and is listed. The compiler itself is not run here.
 * Sources: nncase 0.2.0's docs/USAGE.md, docs/FAQ_EN.md, docs/tflite_ops.md and src/data/dataset.cpp, and its issues 99 and
 * 166 (padding), https://github.com/kendryte/nncase.
 */
import { DataError, UsageError } from '../../core/errors.ts';
import type { HostTensor } from '../../core/tensor.ts';
import { folded } from '../../models/graph/fold.ts';
import type { Graph } from '../../models/graph/spec.ts';
import type { Preprocessing } from '../../models/network.ts';
import { lower } from './lower.ts';
import type { Program, ProgramOp } from './program.ts';
import { type BuiltinName, paddings } from './schema.ts';

/** Operators that nncase 0.2 reads, of those that are written here. */
const known: ReadonlySet<BuiltinName> = new Set<BuiltinName>([
  'ABS',
  'ADD',
  'AVERAGE_POOL_2D',
  'CEIL',
  'CONCATENATION',
  'CONV_2D',
  'COS',
  'DEPTHWISE_CONV_2D',
  'DIV',
  'EXP',
  'FLOOR',
  'FULLY_CONNECTED',
  'L2_NORMALIZATION',
  'LEAKY_RELU',
  'LOG',
  'LOGISTIC',
  'MAXIMUM',
  'MAX_POOL_2D',
  'MEAN',
  'MINIMUM',
  'MUL',
  'NEG',
  'PAD',
  'REDUCE_MAX',
  'REDUCE_MIN',
  'RESHAPE',
  'RESIZE_BILINEAR',
  'RESIZE_NEAREST_NEIGHBOR',
  'SIN',
  'SOFTMAX',
  'SQRT',
  'SQUARE',
  'SUB',
  'SUM',
  'TRANSPOSE',
]);

/** Memory of the accelerator, which holds a layer's input and output. */
const kpuBytes = 2 * 2 ** 20;

export interface K210Options {
  /** Of the network. */
  readonly preprocessing: Preprocessing;
  /** Name of the files in the instructions. Default 'model'. */
  readonly name?: string | undefined;
}
export interface K210Export {
  /** TFLite, float32. */
  readonly model: Uint8Array;
  /** Files of the calibration folder by name: prepared pictures, float32, [3, H, W]. */
  readonly calibration: ReadonlyMap<string, Uint8Array>;
  /** How the compiler is called, and what goes into the chip. */
  readonly instructions: string;
  /** What the accelerator does not run. */
  readonly notes: readonly string[];
}

/**
 * A graph as nncase takes it for the K210.
 * @param pictures batches of uint8 RGB pictures [N, H, W, 3]: some hundred like those of use
 * @throws UsageError naming the operators that nncase has not
 */
export function exportK210(
  graph: Graph,
  pictures: readonly HostTensor[],
  { preprocessing, name = 'model' }: K210Options,
): K210Export {
  const program = lower(folded(graph, { rest: 'keep' }), 1);
  const refused = new Map<string, number>();
  for (const { op } of program.ops) if (!known.has(op)) refused.set(op, (refused.get(op) ?? 0) + 1);
  if (refused.size) {
    const list = [...refused].map(([op, n]) => `  ${op} (${n})`).join('\n');
    throw new UsageError(
      `K210: expected operators that nncase 0.2 reads, got\n${list}\nTrain one of the networks made for it: k210-s, k210-m or k210-full.`,
    );
  }
  const notes = program.ops.flatMap((op) => slow(program, op));
  const { calibration, least, most } = rawPictures(pictures, preprocessing);
  return { model: program.write('facegrad'), calibration, instructions: text(name, preprocessing, least, most), notes };
}

/** Why the accelerator does not run an operator; nothing where it does. */
function slow({ tensors, ops }: Program, op: ProgramOp): string[] {
  const [x, y] = [tensors[op.inputs[0]!]!, tensors[op.outputs[0]!]!];
  const because = (what: string) => [`${y.name} (${op.op}) runs on the CPU: ${what}`];
  // Zeros before, rectifiers and reshapes behind a layer go with it.
  if (['PAD', 'LEAKY_RELU', 'RESHAPE'].includes(op.op)) return [];
  if (op.op !== 'CONV_2D' && op.op !== 'DEPTHWISE_CONV_2D') return because('it is no convolution');
  const weight = tensors[op.inputs[1]!]!.shape;
  const kernel = [weight[1]!, weight[2]!];
  const { strideH, strideW, padding, dilationH, dilationW } = op.options as Record<string, number>;
  if (kernel[0] !== kernel[1] || ![1, 3].includes(kernel[0]!)) return because(`its kernel is ${kernel.join('x')}`);
  if (strideH !== strideW || strideH! > 2) return because(`its stride is ${strideH}, ${strideW}`);
  if (dilationH !== 1 || dilationW !== 1) return because('it is dilated');
  const [, h, w, c] = x.shape as [number, number, number, number];
  const [, oh, ow, oc] = y.shape as [number, number, number, number];
  if (h > 240 || w > 320 || oh < 4 || ow < 4 || Math.max(c, oc) > 1024)
    return because(`it makes [${oh}, ${ow}, ${oc}] of [${h}, ${w}, ${c}]`);
  if (strideH === 2 && padding === paddings.same && (h % 2 === 0 || w % 2 === 0))
    return because("TensorFlow's SAME pads one side alone; pad all sides by 1 in the network");
  const before = ops.find((o) => o.outputs[0] === op.inputs[0]);
  const pads = before?.op === 'PAD' ? Array.from(tensors[before.inputs[1]!]!.data!) : undefined;
  if (pads?.slice(2, 6).some((p) => p !== 1)) return because(`it is padded by ${pads.slice(2, 6)}`);
  const bytes = memory(x.shape) + memory(y.shape);
  if (bytes > kpuBytes)
    return because(`its maps take ${(bytes / 2 ** 20).toFixed(1)} MB of the accelerator's 2 MB; use smaller images`);
  return [];
}
/** Bytes of a map: rows take 64 bytes, into which two or four channels of narrow maps go together. */
function memory([, h, w, c]: readonly number[]): number {
  const together = w! <= 16 ? 4 : w! <= 32 ? 2 : 1;
  return Math.ceil(c! / together) * h! * 64 * Math.ceil(w! / 64);
}

/** Pictures as the network takes them, channels first; and the range of their numbers. */
function rawPictures(pictures: readonly HostTensor[], { colourOrder, mean, scale, inputSize }: Preprocessing) {
  const [h, w] = inputSize;
  const pixels = h * w;
  const count = pictures.reduce((n, p) => n + (p.shape[0] ?? 0), 0);
  if (count === 0)
    throw new UsageError('K210: expected pictures to calibrate with, got none\nGive some hundred like those of use.');
  const of = (x: Preprocessing['mean'], c: number) => (typeof x === 'number' ? x : x[c]!);
  const prepared = (pixel: number, c: number) => Math.fround((pixel - of(mean, c)) * of(scale, c));
  const digits = Math.max(4, `${count}`.length);
  const calibration = new Map<string, Uint8Array>();
  for (const { data, shape } of pictures) {
    if (shape.length !== 4 || shape[1] !== h || shape[2] !== w || shape[3] !== 3)
      throw new DataError(`K210: expected pictures [N, ${h}, ${w}, 3], got [${shape}]\nResize or crop them.`);
    for (let n = 0; n < shape[0]!; n++) {
      const out = new Float32Array(3 * pixels);
      const first = calibration.size === 0;
      for (let c = 0; c < 3; c++) {
        const from = colourOrder === 'BGR' ? 2 - c : c;
        for (let i = 0; i < pixels; i++) {
          const pixel = data[(n * pixels + i) * 3 + from]!;
          // One black and one white pixel, so that bytes 0 to 255 are what the range is cut into.
          out[c * pixels + i] = prepared(first && i < 2 ? 255 * i : pixel, c);
        }
      }
      calibration.set(`${`${calibration.size}`.padStart(digits, '0')}.bin`, new Uint8Array(out.buffer));
    }
  }
  const ends = [0, 1, 2].flatMap((c) => [prepared(0, c), prepared(255, c)]);
  return { calibration, least: Math.min(...ends), most: Math.max(...ends) };
}

function text(
  name: string,
  { colourOrder, mean, scale, inputSize }: Preprocessing,
  least: number,
  most: number,
): string {
  const same = typeof mean === 'number' && typeof scale === 'number';
  return [
    `For the K210: compile ${name}.tflite with nncase 0.2 (ncc, https://github.com/kendryte/nncase/releases/tag/v0.2.0-beta4):`,
    '',
    `  ncc compile ${name}.tflite ${name}.kmodel -i tflite -t k210 --dataset calibration --dataset-format raw`,
    '',
    `The folder calibration holds pictures as the network takes them: float32, [3, ${inputSize.join(', ')}], ${colourOrder}, (pixel - ${mean}) * ${scale}.`,
    same
      ? `On the chip the input is bytes: their range is ${least} to ${most}, pixels 0 to 255, so ${colourOrder} pixels go in as they are, channels first.`
      : `On the chip the input is bytes over ${least} to ${most}: colours have scales of their own, so compile with --input-type float and prepare pictures there.`,
    'The embedding comes out as float32, not of length 1.',
    'Not checked here: nncase has not been run on these files.',
    '',
  ].join('\n');
}
