/** The benchmark: sampling, shares, tables, what it covers, and the command. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { depthwiseLayers } from '../../bench/convolutions.ts';
import { pointwiseShapes } from '../../bench/gemm.ts';
import { GpuBench } from '../../bench/gpu.ts';
import { flagsOf } from '../../bench/main.ts';
import { peerNetwork } from '../../bench/models.ts';
import { graphOf, opWorks } from '../../bench/ops.ts';
import { faces, mobileFaceNet, multiplications, plainForward } from '../../bench/peers/net.ts';
import { ratios } from '../../bench/peers.ts';
import { bestCalls, countOnce, kernelRows, type PlanProfile, profilePlan, profileTable } from '../../bench/profile.ts';
import { higher } from '../../bench/roofline.ts';
import { bestOf, geometricMean, medianOf, sampleAll } from '../../bench/sample.ts';
import { type Result, resultOf, resultTable } from '../../bench/table.ts';
import { replaceTable } from '../../bench/tileText.ts';
import { chromeTrace } from '../../bench/trace.ts';
import { candidateTiles, runTune, Tuner, tuneCases, tuneTable } from '../../bench/tune.ts';
import { tileTables } from '../../kernels/tiles.ts';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { CallProfile } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { WebGpuDevice } from '../../src/device/webgpu.ts';
import { ancestors } from '../../src/grad.ts';
import { registry } from '../../src/ops/define.ts';
import { add, exp, matmul, sum } from '../../src/ops/index.ts';
import { rootsOf, trace } from '../../src/plan/trace.ts';
import { runGpu } from '../helpers/gpu.ts';

const pause = (ms: number) => new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), ms));

describe('sampling', () => {
  it('times every run and takes turns', async () => {
    const order: string[] = [];
    const work = (name: string, ms: number) => ({
      name,
      run: () => {
        order.push(name);
        return pause(ms);
      },
    });
    const [a, b] = await sampleAll([work('a', 4), work('b', 8)], { seconds: 0.1, rounds: 2 });
    expect(a!.length).toBeGreaterThanOrEqual(6);
    // Timers may fire a fraction of a millisecond early.
    expect(bestOf(a!)).toBeGreaterThan(3);
    expect(bestOf(b!)).toBeGreaterThan(7);
    expect(order.join('')).toMatch(/^a+b+a+b+a+b+$/);
  });

  it('takes the time that a work measures itself', async () => {
    let n = 0;
    const [ms] = await sampleAll([{ name: 'own', run: async () => ++n }], { seconds: 0.02, rounds: 1 });
    expect(bestOf(ms!)).toBeGreaterThan(1);
    expect(ms!.every(Number.isInteger)).toBe(true);
  });

  it('passes a failure on', async () => {
    const start = performance.now();
    const run = async () => {
      // After the runs that warm up, so that it happens inside the harness.
      if (performance.now() - start > 300) throw new Error('the work failed');
      return pause(1);
    };
    await expect(sampleAll([{ name: 'fails', run }], { seconds: 0.6 })).rejects.toThrow('the work failed');
  });

  it('knows best, median and geometric mean', () => {
    expect(bestOf([3, 1, 2])).toBe(1);
    expect(medianOf([3, 1, 2])).toBe(2);
    expect(geometricMean([1, 4])).toBeCloseTo(2, 12);
  });
});

const ceilings = [{ threads: 1, peak: 100, copy: 20 }];

describe('results', () => {
  it('are shares of the ceiling of their mode and threads', () => {
    const amount = { work: 'x', threads: 1, mode: 'wide' as const, flops: 8e9, bytes: 1e9, items: 32 };
    const row = resultOf(amount, [200, 100, 300], ceilings);
    expect(row).toMatchObject({ bestMs: 100, medianMs: 200, perSecond: 320, gflops: 80, peakShare: 0.8 });
    expect(row).toMatchObject({ gbPerSecond: 10, copyShare: 0.5, engine: 'facegrad', runs: 3 });
    expect(resultOf(amount, [200], ceilings).peakShare).toBe(0.4);
    expect(resultOf({ ...amount, threads: 4 }, [200], ceilings).peakShare).toBe(null);
    expect(resultTable([row])).toMatch(/80\.0 +80\.0 % +10\.0 +50\.0 %/);
  });

  it('take the higher of two measurements of a ceiling', () => {
    expect(higher(ceilings, [{ threads: 1, peak: 110, copy: 10 }])).toEqual([{ threads: 1, peak: 110, copy: 20 }]);
    expect(higher(ceilings, [{ threads: 2, peak: 200, copy: 30 }])).toEqual(ceilings);
  });

  it('compare engines with as many threads, and one-threaded ones with all', () => {
    const row = (engine: string, threads: number, bestMs: number): Result => ({
      ...resultOf({ work: 'forward b1', threads, mode: 'narrow', engine }, [bestMs], ceilings),
    });
    const rows = [
      row('facegrad', 1, 10),
      row('facegrad', 2, 5),
      row('ort', 1, 20),
      row('ort', 2, 15),
      row('tf', 1, 30),
    ];
    expect(ratios(rows, 'narrow').map((s) => [s.what, s.value])).toEqual([
      ['forward b1, 1 thread: as fast as ort with 1 thread', 2],
      ['forward b1, 2 threads: as fast as ort with 2 threads', 3],
      ['forward b1, 1 thread: as fast as tf with 1 thread', 3],
      ['forward b1, 2 threads: as fast as tf with 1 thread', 6],
    ]);
  });
});

describe('profiles', () => {
  const call = (label: string, kernel: string, ms: number, rest: Partial<CallProfile> = {}): CallProfile => ({
    label,
    step: 0,
    path: 'a.b',
    kernel,
    shape: '[2]',
    ms,
    flops: 6e6,
    bytes: 1e6,
    ...rest,
  });

  it('count the work of an op once, with its longest call', () => {
    const run = [
      call('conv', 'pack', 1),
      call('conv', 'gemm', 3),
      call('conv', 'pack', 1, { step: 1 }),
      call('conv', 'gemm', 5, { step: 1 }),
    ];
    const slower = run.map((c) => ({ ...c, ms: 2 * c.ms }));
    const rows = kernelRows(countOnce(bestCalls([slower, run]), false));
    expect(rows.map((r) => [r.kernel, r.calls, r.ms, r.share, r.gflops, r.gbPerSecond])).toEqual([
      ['gemm', 2, 8, 0.8, 1.5, 0.25],
      ['pack', 2, 2, 0.2, 0, 0],
    ]);
  });

  it('leave the dispatches of a GPU bytes of their own', () => {
    // A product whose K is cut, and the sum of its slices.
    const run = [
      call('matmul', 'gemm', 3, { flops: 12e6 }),
      call('matmul', 'slices', 1, { flops: 12e6, bytes: 4e6 }),
      call('add', 'pointwise', 1, { step: 1 }),
    ];
    const rows = kernelRows(countOnce(run, true));
    expect(rows.map((r) => [r.kernel, r.gflops, r.gbPerSecond])).toEqual([
      ['gemm', 4, 1e6 / 3 / 1e6],
      ['slices', 0, 4],
      ['pointwise', 6, 1],
    ]);
    // Two dispatches of one kernel belong to one step too.
    expect(countOnce([call('sum', 'reduce', 1), call('sum', 'reduce', 2)], true).map((c) => c.flops)).toEqual([0, 6e6]);
  });

  it('name the module, or what several have in common', () => {
    const rows = (...paths: string[]) => kernelRows(paths.map((path) => call('conv', 'gemm', 1, { path })));
    expect(rows('blocks.1.expand', 'blocks.2.expand').map((r) => r.path)).toEqual(['blocks.*.expand']);
    expect(rows('stem', 'blocks.2.expand').map((r) => r.path)).toEqual(['*']);
  });

  const profile: PlanProfile = {
    mode: 'webgpu',
    plan: 'train b2',
    calls: 2,
    kernels: 1,
    bytesMoved: 2e6,
    submits: 1,
    ms: 3,
    rows: kernelRows([call('conv', 'gemm', 1), call('conv', 'gemm', 2, { shape: '[3]' })]),
  };

  it('are a table with a line about the plan', () => {
    const [line, , first] = profileTable(profile).split('\n');
    expect(line).toBe('train b2: 2 dispatches of 1 kernels, 2.0 MB moved, 1 submit, 3.00 ms in kernels');
    expect(first).toMatch(/^gemm +conv +a\.b +\[3\] +1 +2\.00 +66\.7 % +3\.0 +0\.5$/);
    expect(profileTable(profile, 1)).toMatch(/\n1 more +1 +1\.00 +33\.3 %$/);
  });

  it('are Chrome traces: where a device tells no start, calls follow one another', () => {
    const calls = [call('conv', 'gemm', 1.5), call('add', 'pointwise', 0.25)];
    const timed = calls.map((c, i) => ({ ...c, startMs: 10 * i }));
    const text = chromeTrace([
      { profile: { ...profile, mode: 'wide' }, calls },
      { profile, calls: timed },
    ]);
    const { traceEvents } = JSON.parse(text) as { traceEvents: Record<string, unknown>[] };
    expect(traceEvents.filter((e) => e.ph === 'X').map((e) => [e.pid, e.name, e.ts, e.dur])).toEqual([
      [1, 'conv', 0, 1500],
      [1, 'add', 1500, 250],
      [2, 'conv', 0, 1500],
      [2, 'add', 10_000, 250],
    ]);
    expect(traceEvents.find((e) => e.ph === 'X')!.args).toEqual({
      path: 'a.b',
      kernel: 'gemm',
      shape: '[2]',
      flops: 6e6,
      bytes: 1e6,
    });
    expect(traceEvents.filter((e) => e.ph === 'M').map((e) => [e.pid, e.name, e.args])).toEqual([
      [1, 'process_name', { name: 'train b2, wide' }],
      [1, 'thread_name', { name: 'kernels' }],
      [2, 'process_name', { name: 'train b2, webgpu' }],
      [2, 'thread_name', { name: 'GPU' }],
    ]);
  });

  const graph = () =>
    trace(
      ({ a, b }) => ({ y: add(exp(matmul(a!, b!)), sum(b!)) }),
      {
        a: { shape: [8, 16], dtype: 'f32' },
        b: { shape: [16, 12], dtype: 'f32' },
      },
      false,
    );
  const inputs = new Map([
    ['a', new Float32Array(8 * 16).fill(0.5)],
    ['b', new Float32Array(16 * 12).fill(0.25)],
  ]);

  it('are taken of a plan on WASM', async () => {
    const device = await WasmDevice.create({ threads: 1 });
    const plan = await device.compile(graph());
    const taken = await profilePlan(plan, inputs, { mode: 'wide', device, name: 'small', log: () => {} });
    expect(taken!.profile).toMatchObject({ plan: 'small', calls: plan.calls, kernels: plan.kernels });
    expect(taken!.profile.submits).toBe(undefined);
    expect(taken!.calls.reduce((n, c) => n + c.flops, 0)).toBe(2 * 8 * 16 * 12);
    await device.dispose();
  });

  it.runIf(runGpu)('are taken of a plan on the GPU, by its own clock', async () => {
    const device = await WebGpuDevice.create();
    const plan = await device.compile(graph());
    const log: string[] = [];
    const taken = await profilePlan(plan, inputs, { mode: 'webgpu', device, name: 'small', log: (l) => log.push(l) });
    if (!device.timestamps) {
      expect([taken, log]).toEqual([undefined, [expect.stringContaining('no timestamp queries')]]);
    } else {
      expect(taken!.profile).toMatchObject({ plan: 'small', calls: plan.calls, submits: 1 });
      expect(taken!.profile.bytesMoved).toBeGreaterThan(4 * (8 * 16 + 16 * 12 + 8 * 12));
      expect(taken!.calls.reduce((n, c) => n + c.flops, 0)).toBe(2 * 8 * 16 * 12);
      const starts = taken!.calls.map((c) => c.startMs!);
      expect(starts).toEqual([...starts].sort((x, y) => x - y));
      expect(taken!.calls.every((c) => c.ms > 0)).toBe(true);
    }
    await device.dispose();
  });

  it('say in a line where nothing times a plan', async () => {
    const device = await WasmDevice.create({ threads: 1 });
    const { profile: _none, ...plan } = { ...(await device.compile(graph())) };
    const log: string[] = [];
    const options = { mode: 'narrow' as const, device, name: 'small', log: (l: string) => log.push(l) };
    expect(await profilePlan(plan as never, inputs, options)).toBe(undefined);
    expect(log).toEqual([expect.stringContaining('no profile of its kernels')]);
    await device.dispose();
  });
});

describe('works', () => {
  it('hold every op of the registry', () => {
    const covered = new Set(opWorks.flatMap((w) => ancestors(rootsOf(graphOf(w))).map((n) => n.op.name)));
    for (const name of registry.keys()) expect(covered).toContain(name);
  });

  it("are MobileFaceNet's own shapes", () => {
    expect(multiplications(mobileFaceNet())).toBe(220_965_376);
    expect(pointwiseShapes()).toHaveLength(11);
    expect(pointwiseShapes()).toContainEqual([3136, 64, 128]);
    expect(depthwiseLayers().map((l) => [l.size, l.cout, l.stride])).toEqual([
      [56, 64, 1],
      [56, 128, 2],
      [28, 128, 1],
      [28, 256, 2],
      [14, 256, 1],
      [14, 512, 2],
      [7, 256, 1],
      [7, 512, 1],
    ]);
  });

  it('give every engine one network: ours computes what plain loops do', async () => {
    const device = await WasmDevice.create({ threads: 1 });
    const net = peerNetwork();
    const embed = compile(({ x }, ctx) => net.call(x!, ctx), { device });
    const y = (await embed({ x: host(faces(1), [1, 112, 112, 3]) })).result!.data;
    const truth = plainForward(mobileFaceNet());
    const largest = truth.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    // What the peers are held to.
    truth.forEach((t, i) => {
      expect(Math.abs(y[i]! - t)).toBeLessThan(1e-4 * largest);
    });
    await device.dispose();
  });
});

describe('tiles', () => {
  const source = readFileSync(new URL('../../kernels/tiles.ts', import.meta.url), 'utf8');

  it('are written as the formatter leaves them', () => {
    for (const name of ['gpu', 'software'] as const) {
      expect(replaceTable(source, name, tileTables[name])).toBe(source);
      const changed = replaceTable(source, name, { ...tileTables[name], busy: 12_345 });
      expect(changed.replace('busy: 12345', `busy: ${tileTables[name].busy}`)).toBe(source);
    }
    expect(() => replaceTable('', 'gpu', tileTables.gpu)).toThrow("expected a table 'gpu' in kernels/tiles.ts");
  });

  it('to choose from fit every device, and the products are those of a step', () => {
    for (const t of candidateTiles('gpu')) {
      const invocations = (t.tileM * t.tileN) / (t.rows * t.columns);
      expect(invocations).toBeGreaterThanOrEqual(64);
      expect(invocations).toBeLessThanOrEqual(256);
      expect((t.tileM % t.rows) + (t.tileN % t.columns) + (t.tileK % 4)).toBe(0);
    }
    const cases = tuneCases([32]);
    expect(cases).toContainEqual({ what: 'b32 dw', m: 64, n: 128, k: 32 * 784, transA: true, transB: false, times: 4 });
    expect(cases).toContainEqual({ what: 'head b32', m: 32, n: 2048, k: 128, transA: false, transB: true, times: 1 });
  });

  it('are a table of times relative to the best', () => {
    const times = [
      { tile: 'x', ms: 2 },
      { tile: 'y', ms: 3 },
    ];
    const row = { products: 1, times, chosen: 'x' };
    expect(
      tuneTable([
        { ...row, row: 'M <= 32' },
        { ...row, row: 'none', times: [] },
      ]).split('\n'),
    ).toEqual(['tile  M <= 32', 'x       1.00*', 'y       1.50']);
  });

  it.runIf(runGpu)('that give a wrong product, or none, are refused', async () => {
    const bench = await GpuBench.create();
    const log: string[] = [];
    const tuner = new Tuner(bench, 1, (line) => log.push(line));
    const [row] = candidateTiles('gpu');
    const table = (change: object) => ({ ...tileTables.gpu, rows: [{ ...row!, ...change }] });
    // A step of six elements is taken for one of four; a third of a tile is no tile.
    const tables = new Map([
      ['wrong', table({ tileK: 6 })],
      ['right', table({})],
      ['no tile', table({ rows: 0 })],
    ]);
    const what = { what: 'small', m: 20, n: 8, k: 30, transA: true, transB: false, times: 1 };
    const times = await tuner.times(what, tables);
    expect([...times].map(([name, ms]) => [name, Number.isFinite(ms)])).toEqual([
      ['wrong', false],
      ['right', true],
      ['no tile', false],
    ]);
    expect(log).toEqual([
      'wrong is refused: its product is wrong for small [20, 30] x [30, 8]',
      expect.stringMatching(/^no tile is refused: it does not run/),
    ]);
    await bench.close();
  });

  it.runIf(runGpu)('are measured on the adapter, and written where they are asked for', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'facegrad-tune-'));
    try {
      const out = join(folder, 'tiles.ts');
      const report = await runTune({ out, batches: [1], mostWork: 7e4, mostTiles: 2, rounds: 1 });
      expect(report.refused).toEqual([]);
      const text = readFileSync(out, 'utf8');
      expect(replaceTable(text, report.table, tileTables[report.table])).toBe(source);
      expect(report.rows.map((r) => r.products).reduce((x, y) => x + y, 0)).toBeGreaterThan(0);
      for (const r of report.rows) expect(text).toContain(`tileM: ${r.chosen.split('x')[0]},`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

const root = fileURLToPath(new URL('../..', import.meta.url));
const facegradWith = (env: Readonly<Record<string, string>>, ...args: readonly string[]) =>
  new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(
      process.execPath,
      ['--no-warnings', 'src/cli/main.ts', 'bench', ...args],
      { cwd: root, env: { ...process.env, ...env } },
      (e, stdout, stderr) => resolve({ code: typeof e?.code === 'number' ? e.code : e ? -1 : 0, stdout, stderr }),
    );
  });

const facegrad = (...args: readonly string[]) => facegradWith({}, ...args);

describe('facegrad bench', () => {
  it('says what it expected', async () => {
    for (const [args, text] of [
      [['speed'], /expected one of roofline, gemm, .*, got 'speed'/],
      [['--mode', 'broad'], /--mode: expected narrow or wide/],
      [['--seconds', '0'], /--seconds: expected a number above 0/],
      [['--threads', 'two'], /--threads: expected a whole number/],
      [['--out', '/nowhere/at/all.json'], /--out: expected a file in a folder that exists/],
      [['--trace', '/nowhere/at/all.json'], /--trace: expected a file in a folder that exists/],
      [['gemm', '--trace', 'trace.json'], /--trace: expected forward or train among what is measured, got gemm/],
      [['--device', 'wasm,gpu'], /--device: expected wasm, webgpu or both as wasm,webgpu, got 'wasm,gpu'/],
      [['--device', 'webgpu', '--threads', '2'], /--threads: expected with WASM, got --device webgpu/],
      [['peers', 'gemm', '--device', 'webgpu'], /bench peers: expected alone with --device webgpu/],
      [['peers', '--device', 'webgpu', '--mode', 'wide'], /bench peers --device webgpu: expected --batch/],
      [['peers', '--device', 'webgpu', '--batch', '0'], /--batch: expected a whole number/],
      [['tune', 'gemm'], /bench tune: expected nothing else, got tune, gemm/],
      [['tune', '--profile'], /bench tune: expected --batch, --rounds, --out or --json, got --profile/],
      [['tune', '--device', 'wasm'], /bench tune: expected --device webgpu, got 'wasm'/],
    ] as const) {
      const { code, stderr } = await facegrad(...args);
      expect([code, stderr]).toEqual([2, expect.stringMatching(text)]);
    }
  });

  it('measures the ceilings first and gives shares of them as JSON', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'facegrad-bench-'));
    try {
      const out = join(folder, 'bench.json');
      const options = [
        '--mode',
        'narrow',
        '--threads',
        '1',
        '--batch',
        '1',
        '--seconds',
        '0.03',
        '--json',
        '--profile',
        '--trace',
        join(folder, 'trace.json'),
        '--out',
        out,
      ];
      const { code, stdout, stderr } = await facegrad('forward', ...options);
      expect([code, stderr]).toEqual([0, '']);
      const report = JSON.parse(stdout);
      expect(JSON.parse(readFileSync(out, 'utf8'))).toEqual(report);
      expect(report.machine).toMatchObject({
        cores: expect.any(Number),
        node: process.version,
        modes: ['narrow'],
        flags: { narrow: flagsOf('narrow') },
        load: { before: expect.any(Number), after: expect.any(Number) },
      });
      expect(Object.keys(report)).toEqual(['machine', 'commit', 'results', 'summaries', 'profiles']);
      const { traceEvents, otherData } = JSON.parse(readFileSync(join(folder, 'trace.json'), 'utf8'));
      expect(report.profiles).toMatchObject([{ mode: 'narrow', plan: 'forward b1', calls: traceEvents.length - 2 }]);
      expect(otherData).toMatchObject({ cpu: report.machine.cpu, commit: report.commit });
      expect(report.results[0].work).toBe('multiply-add 128 bit');
      expect(report.results.at(-1)).toMatchObject({
        work: 'forward b1',
        engine: 'facegrad',
        threads: 1,
        mode: 'narrow',
        bestMs: expect.any(Number),
        medianMs: expect.any(Number),
        perSecond: expect.any(Number),
        gflops: expect.any(Number),
        peakShare: expect.any(Number),
      });
      const { peakShare } = report.results.at(-1);
      expect(peakShare).toBeGreaterThan(0);
      expect(peakShare).toBeLessThan(1);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }, 120_000);

  it.runIf(runGpu)(
    'measures the GPU in a process of its own',
    async () => {
      const { code, stdout } = await facegrad('roofline', '--device', 'webgpu', '--seconds', '0.03', '--json');
      expect(code).toBe(0);
      const { machine, results } = JSON.parse(stdout);
      expect(machine).toMatchObject({ modes: ['webgpu'], gpu: expect.any(String) });
      const row = { mode: 'webgpu', threads: 0, bestMs: expect.any(Number) };
      expect(results).toMatchObject([
        { ...row, work: 'multiply-add', peakShare: 1 },
        { ...row, work: 'copy', copyShare: 1 },
      ]);
      expect(results[0].gflops).toBeGreaterThan(0);
      expect(results[1].gbPerSecond).toBeGreaterThan(0);
    },
    120_000,
  );

  it.runIf(process.platform === 'linux')('says where there is no GPU', async () => {
    const none = { VK_DRIVER_FILES: '/nowhere.json', VK_ICD_FILENAMES: '/nowhere.json' };
    const { code, stderr } = await facegradWith(none, 'forward', '--device', 'webgpu');
    expect([code, stderr]).toEqual([1, expect.stringContaining('facegrad: webgpu: ')]);
    expect(stderr).toContain('--device wasm');
  });
});
