/** `runLowering` with a fence around every output: a kernel that writes outside its output fails. */
import { at, type Lowering } from '../../native/lower.ts';
import { bytesOf, type Data, type DType } from '../../src/core/dtype.ts';
import { type KernelRunner, runLowering } from './kernelRunner.ts';

const fence = 64;

export function runGuarded<Attrs>(
  lower: Lowering<Attrs>,
  inputs: readonly { data: Data; shape: readonly number[]; dtype?: DType }[],
  outputs: readonly { shape: readonly number[]; dtype?: DType }[],
  attrs: Attrs,
  runner: KernelRunner,
): Data[] {
  const bytes = outputs.map((y) => y.shape.reduce((p, n) => p * n, 1) * bytesOf(y.dtype ?? 'f32'));
  const inside: Lowering<Attrs> = (e, ins, outs, a) =>
    lower(
      e,
      ins,
      outputs.map((y, i) => ({ shape: y.shape, dtype: y.dtype ?? 'f32', buffer: at(outs[i]!.buffer, fence) })),
      a,
    );
  const raw = bytes.map((n) => ({ shape: [n + 2 * fence], dtype: 'u8' as const }));
  return runLowering(inside, inputs, raw, attrs, runner).map((data, i) => {
    const n = bytes[i]!;
    const whole = data as Uint8Array;
    for (const edge of [whole.subarray(0, fence), whole.subarray(fence + n)]) {
      // runLowering fills outputs with 0xa5 first.
      if (edge.some((b) => b !== 0xa5)) throw new Error(`output ${i}: written outside its ${n} bytes`);
    }
    const own = whole.slice(fence, fence + n).buffer;
    const dtype = outputs[i]!.dtype ?? 'f32';
    return dtype === 'f32' ? new Float32Array(own) : dtype === 'i32' ? new Int32Array(own) : new Uint8Array(own);
  });
}
