/** Published networks give their golden embeddings, from every format they come in, on every device. */
import { afterAll, describe, expect, it } from 'vitest';
import { WasmDevice } from '../../src/device/wasm.ts';
import { runGpu } from '../helpers/gpu.ts';
import { bound, gpuGap, imported, present, published, worstGap } from './published.ts';

const wasm = await WasmDevice.create({ threads: 2 });
afterAll(() => wasm.dispose());

describe.skipIf(!present)('published networks', () => {
  for (const p of published)
    it(`${p.file} on wasm`, { timeout: 120_000 }, async () => {
      const network = await imported(p);
      for (const mirrored of [false, true])
        expect(await worstGap(network, wasm, p.name, 32, mirrored), `mirrored ${mirrored}`).toBeLessThan(bound);
    });
  for (const p of published.filter(({ quick }) => quick))
    it.runIf(runGpu)(`${p.file} on webgpu`, { timeout: 240_000 }, async () => {
      expect(await gpuGap(p)).toBeLessThan(bound);
    });
});
