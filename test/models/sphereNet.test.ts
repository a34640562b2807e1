/** SphereNet: counts of other implementations, initial numbers, and PyTorch's numbers (test/reference/sphereNet.py). */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { SphereNet } from '../../src/models/sphereNet.ts';
import { summarize } from '../../src/models/summary.ts';
import { initialize, parametersOf } from '../../src/nn/module.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

/** Face_Pytorch's SphereNet-20 and -64 at 112×112, counted from its code; the latter has 62 convolutions. */
it.each([
  [20, '24.5', '2.04'],
  [62, '49.8', '6.90'],
])('spherenet-%i has %s M parameters and %s G multiply-adds', (depth, millions, giga) => {
  const { parameters, multiplyAdds } = summarize(create(`spherenet-${depth}`));
  expect([(parameters / 1e6).toFixed(1), (multiplyAdds / 1e9).toFixed(2)]).toEqual([millions, giga]);
});

it('as many convolutions as its depth says', () => {
  for (const depth of [20, 36, 62, 64] as const)
    expect(summarize(new SphereNet({ depth })).layers.filter((l) => l.type === 'Conv2d').length).toBe(depth);
});

it("without batch norm has the original's counts, 22.671 M and 3.504 G operations as OpenVINO's catalogue has them", () => {
  const { parameters, multiplyAdds, layers } = summarize(new SphereNet({ batchNorm: false, inputSize: [112, 96] }));
  // The original keeps biases of its units' convolutions that are 0 and never trained.
  const frozen = layers.filter((l) => /layer[12]\.conv$/.test(l.name)).reduce((n, l) => n + l.output.at(-1)!, 0);
  expect(((parameters + frozen) / 1e6).toFixed(3)).toBe('22.671');
  // Activations and biases make the rest.
  expect((2 * multiplyAdds) / 1e9).toBeCloseTo(3.504, 2);
});

it('begins with N(0, 0.01) in the units and Xavier elsewhere', () => {
  const net = initialize(new SphereNet({ width: 0.25, inputSize: [32, 32] }), 3);
  for (const p of parametersOf(net).filter((q) => q.shape.length > 1)) {
    const values = [...p.host] as number[];
    const deviation = Math.sqrt(values.reduce((s, v) => s + v * v, 0) / values.length);
    const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    // Five deviations of an estimated deviation: at most 1 / sqrt(2 n) for normal numbers, less for uniform ones.
    const close = 5 / Math.sqrt(2 * values.length);
    if (/layer[12]\.conv/.test(p.name)) {
      expect(Math.abs(deviation / 0.01 - 1), p.name).toBeLessThan(close);
      expect(largest, p.name).toBeGreaterThan(0.03);
    } else {
      const [kernel, rows, columns] = [p.shape.length === 4 ? 9 : 1, p.shape.at(-2)!, p.shape.at(-1)!];
      const most = Math.sqrt(6 / (kernel * (rows + columns)));
      expect(Math.abs(deviation / (most / Math.sqrt(3)) - 1), p.name).toBeLessThan(close);
      expect(largest, p.name).toBeLessThanOrEqual(Math.fround(most));
      expect(largest, p.name).toBeGreaterThan(0.99 * most);
    }
  }
});

heldToPytorch('spherenet', readGolden('sphereNet'));
