/** The WASM device as a whole: plans, state, memory, threads and modes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile, read } from '../../src/compile.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { type HostTensor, host, tensor, Variable } from '../../src/core/tensor.ts';
import { chooseMode } from '../../src/device/mode.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { ThreadPool } from '../../src/device/threads.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { grad } from '../../src/grad.ts';
import {
  add,
  concat,
  div,
  dropout,
  matmul,
  mean,
  mul,
  pad,
  relu,
  reshape,
  square,
  sub,
  sum,
  tanh,
  transpose,
} from '../../src/ops/index.ts';
import { keyData } from '../../src/plan/trace.ts';

let device: WasmDevice;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 2, wide: false });
});
afterAll(() => device.dispose());

const random = (seed: number, ...shape: number[]): HostTensor =>
  host(
    normal(
      keyOf(seed),
      shape.reduce((a, b) => a * b, 1),
    ),
    shape,
  );
const numbers = (...x: number[]) => host(Float32Array.from(x), [x.length]);

describe('compiled functions', () => {
  it('keep numbers as inputs: one plan, no recompilation, no baked value', async () => {
    let traced = 0;
    const f = compile(
      ({ x, lr }) => {
        traced++;
        return mul(x!, lr!);
      },
      { device },
    );
    const kernels: number[] = [];
    for (const lr of [2, 0, -3.5]) {
      expect([...(await f({ x: numbers(1, 2), lr })).result!.data]).toEqual([lr, 2 * lr].map((v) => v + 0));
      kernels.push(device.stats().kernels);
    }
    expect(traced).toBe(1);
    expect(new Set(kernels).size).toBe(1);
    f.dispose();
  });

  it('make one plan per set of shapes', async () => {
    let traced = 0;
    const f = compile(
      ({ x }) => {
        traced++;
        return sum(square(x!));
      },
      { device },
    );
    for (const n of [1, 5, 1, 5, 3]) expect((await f({ x: random(n, n) })).result!.shape).toEqual([]);
    expect(traced).toBe(3);
    f.dispose();
  });

  it('may be called again before they are done', async () => {
    const f = compile(({ x }) => ({ y: tanh(matmul(x!, x!, { transB: true })) }), { device });
    const g = compile(({ x }) => ({ y: sum(mul(x!, x!), 1) }), { device });
    const inputs = Array.from({ length: 8 }, (_, i) => random(i, 40 + i, 30));
    const alone = [];
    for (const x of inputs) alone.push((await f({ x })).y!.data, (await g({ x })).y!.data);
    const at = inputs.flatMap((x) => [f({ x }), g({ x })]);
    const again = (await Promise.all(at)).map((r) => r.y!.data);
    expect(again).toEqual(alone);
    f.dispose();
    g.dispose();
  });

  it('of one shape may be called many times at once', async () => {
    const f = compile(({ x }) => ({ y: mul(x!, 3) }), { device });
    const out = await Promise.all(Array.from({ length: 20 }, (_, i) => f({ x: numbers(i, 2 * i) })));
    out.forEach((r, i) => {
      expect([...r.y!.data]).toEqual([3 * i, 6 * i]);
    });
    f.dispose();
  });

  it('are not disturbed by compiling, reading and disposing meanwhile', async () => {
    const v = new Variable('v', normal(keyOf(1), 64), [64]);
    const f = compile(
      ({ x }, ctx) => {
        ctx.assign(v, add(v.tensor, mul(x!, 0)));
        return matmul(x!, x!, { transB: true });
      },
      { device },
    );
    const x = random(3, 64, 64);
    const small = host(new Float32Array(64), [64]);
    expect(small.shape).toEqual([64]);
    const h = compile(({ x: m }) => matmul(m!, m!, { transB: true }), { device });
    const want = (await h({ x })).result!.data;
    const work: Promise<unknown>[] = [];
    const got: Promise<ArrayLike<number>>[] = [];
    for (let i = 1; i < 10; i++) {
      got.push(h({ x }).then((r) => r.result!.data));
      const other = compile(({ x: m }) => relu(matmul(m!, m!, { transB: true })), { device });
      work.push(other({ x: random(i, 50 * i, 8) }).then(() => other.dispose()));
      work.push(v.read());
    }
    for (const r of await Promise.all(got)) expect(r).toEqual(want);
    await Promise.all(work);
    f.dispose();
    h.dispose();
    v.dispose();
  });

  it('take what they are given, or say what is wrong', async () => {
    const f = compile(({ x }) => mul(x!, 2), { device });
    expect([...(await f({ x: tensor([1, 2]) })).result!.data]).toEqual([2, 4]);
    await expect(f({ x: add(tensor([1, 2]), 1) })).rejects.toThrow(/^compile: input 'x' is an unevaluated tensor\n/);
    const p = compile((async () => tensor(1)) as never, { device });
    await expect(p({})).rejects.toThrow(/a promise/);
    f.dispose();
  });
});

describe('merging', () => {
  it('tells infinities, NaN and zeros of both signs apart', async () => {
    const x = tensor([1]);
    const all = concat([
      pad(x, [[1, 0]], Number.POSITIVE_INFINITY),
      pad(x, [[1, 0]], Number.NEGATIVE_INFINITY),
      pad(x, [[1, 0]], Number.NaN),
      div(x, tensor(0)),
      div(x, tensor(-0)),
    ]);
    for (const d of [device, new ReferenceDevice()])
      expect([...(await read(all, d)).data]).toEqual([
        Number.POSITIVE_INFINITY,
        1,
        Number.NEGATIVE_INFINITY,
        1,
        Number.NaN,
        1,
        Number.POSITIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
      ]);
  });
  it('computes equal nodes once', async () => {
    const f = compile(({ x }) => ({ a: matmul(x!, x!, { transB: true }), b: matmul(x!, x!, { transB: true }) }), {
      device,
    });
    const x = random(1, 9, 5);
    const once = compile(({ x: m }) => ({ a: matmul(m!, m!, { transB: true }) }), { device });
    expect((await f.plan({ x })).calls).toBe((await once.plan({ x })).calls);
    const { a, b } = await f({ x });
    expect(a!.data).toEqual(b!.data);
    f.dispose();
    once.dispose();
  });
});

describe('variables', () => {
  const make = (name: string, ...x: number[]) => new Variable(name, Float32Array.from(x), [x.length]);

  it('make the round trip to the device and back', async () => {
    const v = make('v', 1, 2, 3);
    const f = compile((_, ctx) => ctx.assign(v, mul(v.tensor, 2)) as undefined, { device });
    await f();
    await f();
    expect([...(await v.read())]).toEqual([4, 8, 12]);
    v.write(Float32Array.of(5, 6, 7));
    expect([...(await v.read())]).toEqual([5, 6, 7]);
    await f();
    expect([...(await v.read())]).toEqual([10, 12, 14]);
    f.dispose();
    v.dispose();
  });

  it('give the old value to every reader of the step', async () => {
    const [p, m] = [make('p', 1, 2), make('m', 10, 20)];
    const f = compile(
      ({ g, lr }, ctx) => {
        const next = add(mul(m.tensor, 0.5), g!);
        ctx.assign(m, next);
        ctx.assign(p, sub(p.tensor, mul(lr!, next)));
        return { before: p.tensor, momentum: m.tensor, doubled: mul(p.tensor, 2) };
      },
      { device },
    );
    const out = await f({ g: numbers(1, 1), lr: 0.5 });
    expect([...out.before!.data, ...out.momentum!.data, ...out.doubled!.data]).toEqual([1, 2, 10, 20, 2, 4]);
    expect([...(await m.read()), ...(await p.read())]).toEqual([6, 11, -2, -3.5]);
    f.dispose();
    for (const v of [p, m]) v.dispose();
  });

  it('swap', async () => {
    const [a, b, c] = [make('a', 1, 2), make('b', 3, 4), make('c', 5, 6)];
    const f = compile(
      (_, ctx) => {
        ctx.assign(a, b.tensor);
        ctx.assign(b, c.tensor);
        ctx.assign(c, add(a.tensor, 0.5));
        return undefined;
      },
      { device },
    );
    await f();
    expect([...(await a.read()), ...(await b.read()), ...(await c.read())]).toEqual([3, 4, 5, 6, 1.5, 2.5]);
    await f();
    expect([...(await a.read()), ...(await b.read()), ...(await c.read())]).toEqual([5, 6, 1.5, 2.5, 3.5, 4.5]);
    f.dispose();
    for (const v of [a, b, c]) v.dispose();
  });

  it('transposed onto themselves are not read while written', async () => {
    const w = new Variable(
      'w',
      Float32Array.from({ length: 70 * 70 }, (_, i) => i),
      [70, 70],
    );
    const f = compile((_, ctx) => ctx.assign(w, transpose(w.tensor)) as undefined, { device });
    await f();
    expect([...(await w.read()).slice(0, 3)]).toEqual([0, 70, 140]);
    await f();
    expect([...(await w.read()).slice(0, 3)]).toEqual([0, 1, 2]);
    f.dispose();
    w.dispose();
  });

  it('that are assigned to themselves keep their value', async () => {
    const v = make('v', 1, 2);
    const f = compile((_, ctx) => ctx.assign(v, v.tensor) as undefined, { device });
    await f();
    expect([...(await v.read())]).toEqual([1, 2]);
    f.dispose();
    v.dispose();
  });

  it('cannot be assigned twice, nor another shape', async () => {
    const v = make('v', 1, 2);
    const twice = compile(
      (_, ctx) => {
        ctx.assign(v, v.tensor);
        ctx.assign(v, v.tensor);
        return undefined;
      },
      { device },
    );
    await expect(twice()).rejects.toThrow(/^assign: 'v' is assigned twice in one function\n/);
    const shape = compile((_, ctx) => ctx.assign(v, reshape(v.tensor, [1, 2])) as undefined, { device });
    await expect(shape()).rejects.toThrow(/^assign: expected f32\[2\] for 'v', got f32\[1, 2\]\n/);
  });

  it('redo the prologue when they change, and only then', async () => {
    const w = new Variable('w', normal(keyOf(5), 12), [3, 4]);
    const f = compile(({ x }) => ({ y: matmul(x!, tanh(w.tensor)), s: sum(tanh(w.tensor)) }), { device });
    const x = random(6, 2, 3);
    const expected = async () =>
      (await read(matmul(tensor(x.data, x.shape), tanh(tensor(await w.read(), [3, 4]))), device)).data;
    const first = (await f({ x })).y!.data;
    expect(first).toEqual(await expected());
    expect((await f.plan({ x })).explain()).toMatch(/[1-9]\d* in the prologue/);
    w.write(normal(keyOf(7), 12));
    const second = (await f({ x })).y!.data;
    expect(second).toEqual(await expected());
    expect(second).not.toEqual(first);
    const change = compile((_, ctx) => ctx.assign(w, mul(w.tensor, -1)) as undefined, { device });
    await change();
    expect((await f({ x })).y!.data).toEqual(second.map((v) => -v));
    f.dispose();
    change.dispose();
    w.dispose();
  });

  it('of another device must be read first', async () => {
    const v = make('v', 1, 2);
    const other = await WasmDevice.create({ threads: 1 });
    const f = compile((_, ctx) => ctx.assign(v, mul(v.tensor, 3)) as undefined, { device });
    const g = compile(() => mul(v.tensor, 1), { device: other });
    await f();
    await expect(g()).rejects.toThrow(/^variable 'v' lives on another device\n/);
    await v.read();
    expect([...(await g()).result!.data]).toEqual([3, 6]);
    f.dispose();
    v.dispose();
    await other.dispose();
  });
});

describe('memory', () => {
  const network = (n: number) =>
    compile(
      ({ x }) => {
        const w = tensor(normal(keyOf(n), 20 * 8), [20, 8]);
        const y = relu(matmul(x!, w));
        return { loss: mean(square(y)), dx: grad(mean(square(y)), [x!])[0]! };
      },
      { device },
    );
  it('is flat over fifty plans made, run and disposed', async () => {
    const cycle = async () => {
      const f = network(3);
      await f({ x: random(1, 50, 20) });
      f.dispose();
      await device.idle();
    };
    await cycle();
    const before = device.stats();
    const bytes = device.buffer.byteLength;
    for (let i = 0; i < 50; i++) await cycle();
    expect(device.stats()).toEqual(before);
    expect(device.buffer.byteLength).toBe(bytes);
  });
  it('of the step is one arena as large as the largest plan', async () => {
    const before = device.stats();
    const plans = [10, 400, 100].map((n) => ({ n, f: network(n) }));
    for (const { n, f } of plans) await f({ x: random(n, n, 20) });
    const sizes = await Promise.all(plans.map(async ({ n, f }) => (await f.plan({ x: random(n, n, 20) })).stepBytes));
    expect(device.stats().stepBytes).toBe(Math.max(...sizes, before.stepBytes));
    const first = (await plans[0]!.f({ x: random(10, 10, 20) })).dx!.data;
    plans[1]!.f.dispose();
    await device.idle();
    expect(device.stats().stepBytes).toBe(Math.max(sizes[0]!, sizes[2]!));
    // The arena moved: the plans that are left find it again.
    expect((await plans[0]!.f({ x: random(10, 10, 20) })).dx!.data).toEqual(first);
    for (const { f } of [plans[0]!, plans[2]!]) f.dispose();
    await device.idle();
    expect(device.stats()).toMatchObject({ plans: before.plans, persistentBytes: before.persistentBytes });
  });
  it('of variables is freed by dispose', async () => {
    const before = device.stats().persistentBytes;
    const v = new Variable('v', new Float32Array(100_000), [100_000]);
    const f = compile(() => sum(v.tensor), { device });
    await f();
    expect(device.stats().persistentBytes).toBeGreaterThan(before + 400_000);
    f.dispose();
    const g = compile((_, ctx) => ctx.assign(v, mul(v.tensor, 2)) as undefined, { device });
    await g();
    g.dispose();
    v.dispose();
    await device.idle();
    expect(device.stats().persistentBytes).toBe(before);
  });
  it('that is not there is refused with the figure and advice', async () => {
    const big = compile(({ x }) => ({ y: sum(transpose(matmul(x!, x!, { transB: true }))) }), { device });
    await expect(big.plan({ x: { shape: [40_000, 1], dtype: 'f32' } })).rejects.toThrow(
      /^wasm: expected room for \d+\.\d MB more.*\nUse a smaller batch/,
    );
    // The device lives on.
    expect([...(await read(add(tensor([1]), 1), device)).data]).toEqual([2]);
  });
});

describe('read', () => {
  it('gives the same numbers again and leaves nothing behind', async () => {
    const t = tanh(matmul(tensor(random(1, 9, 9).data, [9, 9]), tensor(random(2, 9, 9).data, [9, 9])));
    const first = await read(t, device);
    const before = device.stats();
    expect((await read(t, device)).data).toEqual(first.data);
    await device.idle();
    expect(device.stats()).toEqual(before);
  });
});

describe('dropout', () => {
  const x = host(new Float32Array(5000).fill(1), [5000]);
  const f = (d: WasmDevice | ReferenceDevice, training: boolean) =>
    compile(
      ({ x: input }, ctx) => {
        const y = dropout(input!, 0.25, ctx, 7);
        return { y, dx: grad(sum(mul(y, 3)), [input!])[0]! };
      },
      { device: d, training },
    );
  it('drops its rate, scales the rest, and gives the gradient of what it kept', async () => {
    const key = (step: number) => host(keyData(keyOf(1), step), [2]);
    const train = f(device, true);
    const { y, dx } = await train({ x, key: key(1) });
    const kept = y!.data.filter((v) => v !== 0).length;
    // Five standard deviations of a binomial draw.
    expect(Math.abs(kept - 3750)).toBeLessThan(5 * Math.sqrt(5000 * 0.25 * 0.75));
    expect(new Set(y!.data)).toEqual(new Set([0, Math.fround(1 / 0.75)]));
    dx!.data.forEach((g, i) => {
      expect(g).toBe(y!.data[i] ? Math.fround(3 * Math.fround(1 / 0.75)) : 0);
    });
    expect((await train({ x, key: key(1) })).y!.data).toEqual(y!.data);
    expect((await train({ x, key: key(2) })).y!.data).not.toEqual(y!.data);
    const reference = f(new ReferenceDevice(), true);
    expect((await reference({ x, key: key(1) })).y!.data).toEqual(y!.data);
    train.dispose();
  });
  it('does nothing outside training, and needs a key in it', async () => {
    const evaluate = f(device, false);
    expect((await evaluate({ x })).y!.data).toEqual(x.data);
    await expect(f(device, true)({ x })).rejects.toThrow(/^dropout: expected a key while training, got none\n/);
    evaluate.dispose();
  });
});

describe('modes', () => {
  it('say what was chosen and why', async () => {
    const unshared = chooseMode({ shared: false })!;
    expect(unshared.mode.shared).toBe(false);
    expect(unshared.reason).toContain('unshared memory as asked');
    expect(chooseMode({ relaxed: false })!.reason).toContain('strict SIMD as asked');
    const d = await WasmDevice.create({ shared: false, threads: 2 });
    expect(d.info()).toMatchObject({ name: 'wasm', available: true, threads: 1 });
    await d.dispose();
    await expect(WasmDevice.create({ threads: 0 })).rejects.toThrow(/^wasm: expected 1 to \d+ threads, got 0\n/);
  });

  it('train to the same bits on one thread, on three, and in unshared memory', async () => {
    const train = async (d: WasmDevice) => {
      const w = [
        new Variable('w0', normal(keyOf(1), 12 * 33), [12, 33]),
        new Variable('w1', normal(keyOf(2), 33 * 5), [33, 5]),
      ];
      const step = compile(
        ({ x, y, lr, key }, ctx) => {
          const h = dropout(relu(matmul(x!, w[0]!.tensor)), 0.2, { training: true, key });
          const loss = mean(square(sub(matmul(h, w[1]!.tensor), y!)));
          grad(loss, w).forEach((g, i) => {
            ctx.assign(w[i]!, sub(w[i]!.tensor, mul(lr!, g)));
          });
          return { loss };
        },
        { device: d, training: true },
      );
      const losses: number[] = [];
      for (let i = 0; i < 20; i++) {
        const key = host(keyData(keyOf(9), i), [2]);
        losses.push((await step({ x: random(i, 300, 12), y: random(100 + i, 300, 5), lr: 0.003, key })).loss!.data[0]!);
      }
      const out = [losses, ...(await Promise.all(w.map((v) => v.read()))).map((a) => [...a])];
      step.dispose();
      for (const v of w) v.dispose();
      return out;
    };
    const want = await train(device);
    expect(want[0]!.at(-1)).toBeLessThan(want[0]![0]! / 2);
    for (const options of [{ threads: 1 }, { threads: 3 }, { shared: false }]) {
      const d = await WasmDevice.create({ wide: false, ...options });
      expect(await train(d)).toEqual(want);
      await d.dispose();
    }
  });
});

describe('failures', () => {
  it('a plan past the 4 GiB of memory is refused, and plans there are go on', async () => {
    const f = compile(({ x }) => tanh(add(matmul(x!, x!), 1)), { device });
    const x = random(3, 64, 64);
    const before = (await f({ x })).result!.data;
    const huge = compile(({ y }) => tanh(matmul(y!, transpose(y!))), { device });
    await expect(huge({ y: host(new Float32Array(40000), [40000, 1]) })).rejects.toThrow(/memory ends at/);
    expect((await f({ x })).result!.data).toEqual(before);
    f.dispose();
    await device.idle();
  });

  it('a kernel that traps on one thread ends the run, also before the other comes to the barrier', async () => {
    // run(block, scratch): unreachable where scratch is 0, else counts to 50 million.
    const bytes =
      '0061736d010000000106016002 7f7f00 03020100 0707010372756e0000 0a1f011d 01017f 2001450440000b 0340 20024101 6a2202 4180e1eb17 49 0d00 0b0b';
    const module = new WebAssembly.Module(
      Uint8Array.from(bytes.replaceAll(' ', '').match(/../g)!, (h) => parseInt(h, 16)),
    );
    const pool = await ThreadPool.start(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }), 2);
    pool.addKernels([{ id: 0, module }]);
    pool.addSchedule(1, Int32Array.of(0, 0, 0, 0, 0, 1));
    pool.setScratch([0, 64]);
    await expect(pool.run(1)).rejects.toThrow(/a kernel failed on thread 0: .*unreachable/);
    await pool.close();
  });
});
