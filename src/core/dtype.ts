/** Element types. Logical type and storage are the same here: bool is one byte, 0 or 1. */
export type DType = 'f32' | 'i32' | 'u8' | 'bool';
export type Data = Float32Array | Int32Array | Uint8Array;

export const bytesOf = (dtype: DType): number => (dtype === 'f32' || dtype === 'i32' ? 4 : 1);

/** A zeroed host array of a dtype. */
export function hostArray(dtype: DType, n: number): Data {
  return dtype === 'f32' ? new Float32Array(n) : dtype === 'i32' ? new Int32Array(n) : new Uint8Array(n);
}
