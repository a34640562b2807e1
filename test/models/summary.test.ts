/** What the paper says of MobileFaceNet, and the registry. */
import { expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { grad } from '../../src/grad.ts';
import { create, networkOf } from '../../src/models/index.ts';
import { activationBytes, summarize } from '../../src/models/summary.ts';
import { initialize, parameterCount, parametersOf } from '../../src/nn/module.ts';
import { sum } from '../../src/ops/reduce.ts';

it('MobileFaceNet at 112x112: 1,003,136 parameters and 221.0 M multiply-adds', () => {
  const net = create('mobilefacenet');
  const s = summarize(net);
  expect(s.parameters).toBe(1_003_136);
  expect(parameterCount(net)).toBe(1_003_136);
  expect(s.multiplyAdds).toBe(220_965_376);
  // Layers add up to the whole, and are in the order of the forward pass.
  expect(s.layers.reduce((n, l) => n + l.multiplyAdds, 0)).toBe(s.multiplyAdds);
  expect(s.layers[0]).toEqual({
    name: 'stem.conv',
    type: 'Conv2d',
    output: [56, 56, 64],
    parameters: 3 * 3 * 3 * 64,
    multiplyAdds: 56 * 56 * 64 * 27,
  });
  expect(s.layers.at(-2)).toMatchObject({ name: 'embedding.conv', output: [1, 1, 128], multiplyAdds: 512 * 128 });
});

it.each([
  { inputSize: [112, 96], embeddingSize: 128 },
  { inputSize: [96, 96], embeddingSize: 512 },
])('options change the counts where they should: %o', ({ inputSize, embeddingSize }) => {
  const [h, w] = inputSize as [number, number];
  const s = summarize(create('mobilefacenet', { inputSize, embeddingSize }));
  // Only the global depthwise filter and the embedding know the size of the input and of the output.
  const extra = 512 * ((h / 16) * (w / 16) - 49) + (512 + 2) * (embeddingSize - 128);
  expect(s.parameters).toBe(1_003_136 + extra);
  const area = (h * w) / (112 * 112);
  const whole = 220_965_376 - 49 * 512 - 512 * 128;
  expect(s.multiplyAdds).toBe(whole * area + (h / 16) * (w / 16) * 512 + 512 * embeddingSize);
});

it("activation memory is the plan's: as a device allots it", async () => {
  const device = await WasmDevice.create({ threads: 1 });
  const net = initialize(create('mobilefacenet', { width: 0.25, inputSize: [48, 48] }), 1);
  const parameters = parametersOf(net);
  const perImage = async (training: boolean) => {
    const [small, large] = await Promise.all(
      [64, 128].map(async (n) => {
        const f = compile(
          ({ x }, ctx) => {
            const y = net.call(x!, ctx);
            return training ? Object.fromEntries(grad(sum(y), parameters).map((g, i) => [`${i}`, g])) : y;
          },
          { device, training },
        );
        const { stepBytes } = await f.plan({ x: { shape: [n, 48, 48, 3], dtype: 'f32' } });
        f.dispose();
        return stepBytes;
      }),
    );
    return (large! - small!) / 64;
  };
  const found = activationBytes(net);
  // No kernel of this network needs room of its own here.
  expect(found).toEqual({ training: await perImage(true), inference: await perImage(false) });
  // Each kept map of the widest stage: the stem's output and its depthwise output, before and after batch norm in training.
  const map = 4 * 24 * 24 * 16;
  expect(found.training).toBeGreaterThan(4 * map);
  expect(found.inference).toBeGreaterThanOrEqual(2 * map);
  expect(found.inference).toBeLessThan(found.training / 4);
  await device.dispose();
});

it('names what it does not know', () => {
  expect(() => create('mobilfacenet')).toThrow(
    /one of the networks mobilefacenet, .*, got 'mobilfacenet'\nDid you mean 'mobilefacenet'\?/,
  );
  expect(() => networkOf({}, 'a.safetensors')).toThrow(
    /^a\.safetensors: expected weights that name their architecture/,
  );
  expect(() => networkOf({ architecture: 'mobilefacenet', options: '{"width":-1}' }, 'a')).toThrow(
    /options do not fit mobilefacenet: mobilefacenet: width expected a number above 0, got -1/,
  );
  expect(() => networkOf({ architecture: 'mobilefacenet', options: '[1]' }, 'a')).toThrow(/'options' is no object/);
});
