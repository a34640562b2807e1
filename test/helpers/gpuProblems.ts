/** Problems on the GPU against plain loops: many in one plan, since a kernel takes longer to compile than to run. */
import type { Data, DType } from '../../src/core/dtype.ts';
import { hostArray } from '../../src/core/dtype.ts';
import { keyOf, threefry } from '../../src/core/random.ts';
import { sizeOf } from '../../src/core/shape.ts';
import { type HostTensor, host, type Tensor } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { bitDifference, complaints, dataOf, exactly, forwardBatch, type Problem, runOn } from '../ops/harness.ts';

/** Numbers of a dtype's whole range, or integers of so many bits; float32 over several magnitudes. */
export function randomHost(dtype: DType, shape: readonly number[], seed: number, bits = 32): HostTensor {
  const x: Data = hostArray(dtype, sizeOf(shape));
  for (let i = 0; i < x.length; i++) {
    const word = threefry(keyOf(seed), i, 0)[0];
    x[i] =
      dtype === 'f32' ? (word / 2 ** 32 - 0.5) * 10 ** (word % 5) : dtype === 'bool' ? word & 1 : word >> (32 - bits);
  }
  return host(x, shape, dtype);
}

export const problem = (
  name: string,
  inputs: readonly HostTensor[],
  build: (...inputs: Tensor[]) => readonly Tensor[],
): Problem => ({ name, inputs, build: (x) => build(...x) });

/** In which elements a device's results differ from the plain loop (in float32 where the result is) by a bit. */
export async function bitComplaints(device: Device, problems: readonly Problem[]): Promise<string[]> {
  const batch = forwardBatch(problems);
  const run = async (round?: (x: number) => number) =>
    (await exactly(batch.inputs, batch.build, round))(dataOf(batch.inputs));
  const [truth, loop] = [await run(), await run(Math.fround)];
  return complaints(await runOn(device, batch), (r) =>
    bitDifference(r, (r.dtype === 'f32' ? loop : truth).get(r.name)!),
  );
}
