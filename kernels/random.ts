/** Counter-based random numbers: four counters to an invocation, equal to the bit to `threefry` of src/core/random.ts. */
import { ceilDiv, elementsOf, type GpuLowering, wide } from './lower.ts';
import { bitsOf, each } from './movement.ts';

/** key i32 [2] → f32 in [0, 1): element i is the top 24 bits of word 0 of counter (i, stream). */
export const randomUniformWgsl: GpuLowering<{ readonly stream?: number }> = (e, [key], [y], { stream = 0 }) =>
  each(e, ceilDiv(elementsOf(y!), 4), {
    files: ['random'],
    params: { stream: stream >>> 0 },
    inputs: { key: bitsOf(key!, 1) },
    outputs: { y: wide(y!) },
  });
