/**
 * ncnn's `.bin`: the layers' numbers in the order of the layers. Weights of convolutions and dense layers begin with a tag
 * that says how they are stored; all else is bare float32. Format: ModelBin in ncnn's src/modelbin.cpp.
 */
import { DataError } from '../../core/errors.ts';
import { host } from '../../core/tensor.ts';
import { Cursor } from '../cursor.ts';
import { ncnnFloatTag, ncnnHalfTag } from '../magic.ts';
import { type HostTensor, halfToFloat, hostData } from '../safetensors.ts';

const int8Tag = 0x000d4b38;

export class NcnnWeights {
  private readonly file: Cursor;
  constructor(bytes: Uint8Array, name: string) {
    this.file = new Cursor(bytes, name);
  }
  /** Bytes that no layer has taken. */
  get left(): number {
    return this.file.left;
  }
  private floats(n: number): Float32Array {
    const what = `${n} numbers`;
    return hostData(this.file.take(4 * n, what), n, 4, 'f32', undefined, this.file.name) as Float32Array;
  }
  /** Numbers without a tag. */
  plain(n: number): HostTensor {
    return host(this.floats(count(n)), [n]);
  }
  /** Numbers behind a tag. Throws DataError for int8 and for tables of 256 values. */
  tagged(shape: readonly number[]): HostTensor {
    const n = count(shape.reduce((a, b) => a * b, 1));
    const { file } = this;
    const tag = file.u32('a tag');
    if (tag === 0 || tag === ncnnFloatTag) return host(this.floats(n), shape);
    if (tag === ncnnHalfTag) {
      const bytes = file.take(2 * n + ((2 * n) % 4), `${n} halves`);
      return host(
        hostData(bytes, n, 2, 'f32', (v, at) => halfToFloat(v.getUint16(at, true)), file.name),
        shape,
      );
    }
    throw new DataError(
      `${file.name}: expected weights as float32 or float16 at offset ${file.at - 4}, got ${
        tag === int8Tag ? 'int8' : `the tag 0x${tag.toString(16)}, a table of 256 values or none of ncnn's`
      }\nExport the network without quantisation.`,
    );
  }
}

function count(n: number): number {
  if (Number.isSafeInteger(n) && n >= 0) return n;
  throw new DataError(`expected a number of weights, got ${n}\nThe file is damaged.`);
}
