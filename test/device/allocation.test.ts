/**
 * After the first step nothing is allocated per op: no typed arrays beyond the step's outputs, no growing heap, no new
 * device memory. The typed-array constructors are wrapped before the engine loads.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

let made: string[] = [];
let counting = false;
const originals = { Float32Array, Int32Array, Uint8Array, Float64Array } as const;
type Name = keyof typeof originals;

beforeAll(() => {
  for (const name of Object.keys(originals) as Name[]) {
    Object.defineProperty(globalThis, name, {
      configurable: true,
      writable: true,
      value: new Proxy(originals[name], {
        construct(target, args, self) {
          if (counting) made.push(`${name}(${typeof args[0] === 'number' ? args[0] : typeof args[0]})`);
          return Reflect.construct(target, args, self === globalThis[name] ? target : self);
        },
      }),
    });
  }
});
afterAll(() => {
  for (const name of Object.keys(originals) as Name[])
    Object.defineProperty(globalThis, name, { configurable: true, writable: true, value: originals[name] });
});

test('200 training steps allocate their outputs and nothing else', { timeout: 120_000 }, async () => {
  const { compile } = await import('../../src/compile.ts');
  const { host } = await import('../../src/core/tensor.ts');
  const { WasmDevice } = await import('../../src/device/wasm.ts');
  const { grad } = await import('../../src/grad.ts');
  const { ArcFace } = await import('../../src/heads/arcFace.ts');
  const { MobileFaceNet } = await import('../../src/models/mobileFaceNet.ts');
  const { preprocess } = await import('../../src/models/network.ts');
  const { initialize, parametersOf } = await import('../../src/nn/module.ts');
  const { sgd } = await import('../../src/optim/sgd.ts');
  const device = await WasmDevice.create({ threads: 2 });
  const net = initialize(new MobileFaceNet({ width: 0.25, inputSize: [32, 32], embeddingSize: 32 }), 1);
  const head = initialize(new ArcFace({ classes: 10, embeddingSize: 32 }), 1);
  const parameters = [...parametersOf(net), ...parametersOf(head)];
  const optimizer = sgd(parameters, { nesterov: true });
  const step = compile(
    ({ images, labels, lr }, ctx) => {
      const { loss } = head.loss(net.call(preprocess(images!, net.preprocessing), ctx), labels!, ctx);
      optimizer.update(grad(loss, parameters), lr!, ctx);
      return { loss };
    },
    { device, training: true },
  );
  const inputs = {
    images: host(
      Uint8Array.from({ length: 4 * 32 * 32 * 3 }, (_, i) => (i * 97) % 256),
      [4, 32, 32, 3],
    ),
    labels: host(Int32Array.of(0, 3, 5, 9), [4]),
    lr: host(Float32Array.of(1e-3), []),
  };
  for (let i = 0; i < 20; i++) await step(inputs);

  const { gc } = globalThis as { gc?: () => void };
  expect(gc, 'the test process runs with --expose-gc').toBeDefined();
  const before = device.stats();
  made = [];
  counting = true;
  await step(inputs);
  counting = false;
  // The loss comes back as one array of one number; activations never pass through JavaScript.
  expect(made).toEqual(['Float32Array(1)']);

  gc!();
  const heap = process.memoryUsage().heapUsed;
  for (let i = 0; i < 200; i++) await step(inputs);
  gc!();
  const grown = process.memoryUsage().heapUsed - heap;
  expect(grown / 200).toBeLessThan(1024);
  expect(device.stats()).toEqual(before);
  await device.dispose();
});
