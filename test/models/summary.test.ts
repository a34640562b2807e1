/** What the paper says of MobileFaceNet, and the registry. */
import { expect, it } from 'vitest';
import { architectures, create, describeNetwork, networkOf } from '../../src/models/index.ts';
import { summarize } from '../../src/models/summary.ts';
import { parameterCount } from '../../src/nn/module.ts';

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

it('a network comes back from its description', () => {
  for (const name of architectures.keys()) {
    const net = create(name, { embeddingSize: 32 });
    const again = networkOf(describeNetwork(net), 'file');
    expect(again.network.options).toEqual(net.options);
    expect(again.preprocessing).toEqual(net.preprocessing);
  }
});

it('names what it does not know', () => {
  expect(() => create('mobilfacenet')).toThrow(/one of the architectures mobilefacenet, ir, .*, got 'mobilfacenet'/);
  expect(() => networkOf({}, 'a.safetensors')).toThrow(
    /^a\.safetensors: expected weights that name their architecture/,
  );
  expect(() => networkOf({ architecture: 'mobilefacenet', options: '{"width":-1}' }, 'a')).toThrow(
    /options do not fit mobilefacenet: MobileFaceNet: expected a width above 0/,
  );
  expect(() => networkOf({ architecture: 'mobilefacenet', options: '[1]' }, 'a')).toThrow(/'options' is no object/);
});
