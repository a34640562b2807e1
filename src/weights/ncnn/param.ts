/**
 * ncnn's `.param`: a line a layer, or the same in binary (`.param.bin`, where values have numbers for names).
 * Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
 */
import { DataError } from '../../core/errors.ts';
import { Cursor } from '../cursor.ts';
import { isNcnnBinaryParam, ncnnMagic } from '../magic.ts';

/** A value as the file has it: the text's numbers, or 4 bytes each, whose type only the layer knows. */
type Raw = readonly number[] | DataView;

/** A layer's parameters by number. */
export class NcnnParams {
  private readonly values: ReadonlyMap<number, Raw>;
  constructor(values: ReadonlyMap<number, Raw>) {
    this.values = values;
  }
  has(key: number): boolean {
    return this.values.has(key);
  }
  private all(key: number, get: 'getInt32' | 'getFloat32'): readonly number[] {
    const raw = this.values.get(key);
    if (!(raw instanceof DataView)) return raw ?? [];
    return Array.from({ length: raw.byteLength / 4 }, (_, i) => raw[get](4 * i, true));
  }
  whole(key: number, fallback = 0): number {
    return this.all(key, 'getInt32')[0] ?? fallback;
  }
  /** ncnn reads numbers as float32. */
  real(key: number, fallback = 0): number {
    return Math.fround(this.all(key, 'getFloat32')[0] ?? fallback);
  }
  wholes(key: number): readonly number[] {
    return this.all(key, 'getInt32');
  }
  reals(key: number): readonly number[] {
    return this.all(key, 'getFloat32').map(Math.fround);
  }
}

export interface NcnnLayer {
  readonly type: string;
  readonly name: string;
  /** Names of the values it takes and makes. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly params: NcnnParams;
}

/** Keys from here down are arrays: -23300 - key. */
const arrayKey = -23300;
/** Values that a layer may have; ncnn has 32 keys. */
const mostParams = 64;
/** Ends a layer of the binary form. */
const lastKey = -233;

const number = (text: string): number | undefined =>
  /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : undefined;

/**
 * @param name what errors call the file
 * @throws DataError naming file and line
 */
export function readParam(bytes: Uint8Array, name: string): NcnnLayer[] {
  return isNcnnBinaryParam(bytes) ? readBinary(bytes, name) : readText(bytes, name);
}

function readText(bytes: Uint8Array, name: string): NcnnLayer[] {
  const lines = new TextDecoder().decode(bytes).split('\n');
  let at = 0;
  const fail = (message: string): never => {
    throw new DataError(`${name}: line ${at}: ${message}\nIt may be cut off or damaged: fetch it again.`);
  };
  const next = (): string[] => {
    while (at < lines.length) {
      const words = lines[at++]!.trim().split(/\s+/);
      if (words[0]) return words;
    }
    return fail('the file ends before its last layer');
  };
  const first = next()[0];
  if (first !== String(ncnnMagic)) fail(`expected ncnn's ${ncnnMagic}, got '${first}'`);
  const count = number(next()[0]!) ?? 0;
  const layers: NcnnLayer[] = [];
  for (let i = 0; i < count; i++) {
    const [type, layer, ...words] = next();
    const [tops, bottoms] = [Number(words[1]), Number(words[0])];
    const values = words.slice(2, 2 + bottoms + tops);
    if (layer === undefined || !(bottoms >= 0 && tops >= 0) || values.length !== bottoms + tops)
      fail('expected type, name, two counts and as many names of values');
    const params = new Map<number, readonly number[]>();
    for (const word of words.slice(2 + bottoms + tops)) {
      const cut = word.indexOf('=');
      const key = Number(word.slice(0, cut));
      const text = word.slice(cut + 1);
      if (cut < 1 || !Number.isSafeInteger(key)) fail(`expected key=value, got '${word}'`);
      if (key <= arrayKey) {
        const [length, ...items] = text.split(',').map(number);
        if (items.length !== length || items.includes(undefined)) fail(`expected a count and numbers, got '${word}'`);
        params.set(arrayKey - key, items as number[]);
      } else params.set(key, [number(text) ?? fail(`expected a number, got '${word}'`)]);
    }
    layers.push({
      type: type!,
      name: layer!,
      inputs: values.slice(0, bottoms),
      outputs: values.slice(bottoms),
      params: new NcnnParams(params),
    });
  }
  return layers;
}

/** Types by their number in a binary file: the order in ncnn's src/CMakeLists.txt, which only ever grows. */
const types = (
  'AbsVal,ArgMax,BatchNorm,Bias,BNLL,Concat,Convolution,Crop,Deconvolution,Dropout,Eltwise,ELU,Embed,Exp,Flatten,' +
  'InnerProduct,Input,Log,LRN,MemoryData,MVN,Pooling,Power,PReLU,Proposal,Reduction,ReLU,Reshape,ROIPooling,Scale,Sigmoid,' +
  'Slice,Softmax,Split,SPP,TanH,Threshold,Tile,RNN,LSTM,BinaryOp,UnaryOp,ConvolutionDepthWise,Padding,Squeeze,ExpandDims,' +
  'Normalize,Permute,PriorBox,DetectionOutput,Interp,DeconvolutionDepthWise,ShuffleChannel,InstanceNorm,Clip,Reorg,' +
  'YoloDetectionOutput,Quantize,Dequantize,Yolov3DetectionOutput,PSROIPooling,ROIAlign,Packing,Requantize,Cast,HardSigmoid,' +
  'SELU,HardSwish,Noop'
).split(',');

function readBinary(bytes: Uint8Array, name: string): NcnnLayer[] {
  const file = new Cursor(bytes, name);
  const fail = (message: string): never => {
    throw new DataError(`${name}: ${message}\nIt may be damaged; the .param file of the same network is read as well.`);
  };
  file.at = 4;
  const count = file.i32('the number of layers');
  file.i32('the number of values');
  if (count < 0 || count * 16 > file.left) fail(`expected ${count} layers, but it has ${file.left} more bytes`);
  return Array.from({ length: count }, (_, i) => {
    const type = file.i32('a type');
    if (!types[type]) fail(`layer ${i} is of type ${type}, which is not known by number`);
    const [inputs, outputs] = [file.i32('a count'), file.i32('a count')];
    if (inputs < 0 || outputs < 0 || (inputs + outputs) * 4 > file.left)
      fail(`layer ${i} takes ${inputs} values and makes ${outputs}`);
    const values = Array.from({ length: inputs + outputs }, () => String(file.i32('a value')));
    const params = new Map<number, DataView>();
    for (let key = file.i32('a key'); key !== lastKey; key = file.i32('a key')) {
      if (params.size >= mostParams) fail(`layer ${i} has more than ${mostParams} parameters`);
      const length = key > arrayKey ? 1 : file.u32('a count');
      const raw = file.take(4 * length, `parameter ${key} of layer ${i}`);
      params.set(key > arrayKey ? key : arrayKey - key, new DataView(raw.buffer, raw.byteOffset, raw.length));
    }
    return {
      type: types[type]!,
      name: `layer${i}`,
      inputs: values.slice(0, inputs),
      outputs: values.slice(inputs),
      params: new NcnnParams(params),
    };
  });
}
