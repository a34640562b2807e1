/** Tensors of a TensorFlow file as a state has them. */
import { DataError } from '../../core/errors.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import type { Constant } from './wire.ts';

/** Whole numbers become i32. Throws DataError where one does not fit. */
export function asHostTensor({ data, shape }: Constant): HostTensor {
  if (data instanceof Float32Array) return host(data, shape);
  const whole = Int32Array.from(data);
  const at = whole.findIndex((n, i) => n !== data[i]);
  if (at >= 0) throw new DataError(`expected numbers of 32 bits, got ${data[at]}\nLeave the tensor out.`);
  return host(whole, shape);
}
