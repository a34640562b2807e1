/** The benchmark: sampling, shares, tables, what it covers, and the command. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { depthwiseLayers } from '../../bench/convolutions.ts';
import { pointwiseShapes } from '../../bench/gemm.ts';
import { flagsOf } from '../../bench/main.ts';
import { peerNetwork } from '../../bench/models.ts';
import { graphOf, opWorks } from '../../bench/ops.ts';
import { faces, mobileFaceNet, multiplications, plainForward } from '../../bench/peers/net.ts';
import { ratios } from '../../bench/peers.ts';
import { higher } from '../../bench/roofline.ts';
import { bestOf, geometricMean, medianOf, sampleAll } from '../../bench/sample.ts';
import { type Result, resultOf, resultTable } from '../../bench/table.ts';
import { kernelRows } from '../../bench/train.ts';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { CallProfile } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { ancestors } from '../../src/grad.ts';
import { registry } from '../../src/ops/define.ts';
import { rootsOf } from '../../src/plan/trace.ts';

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

const ceilings = [{ threads: 1, fma128: 50, fma256: 100, copy: 20 }];

describe('results', () => {
  it('are shares of the ceiling of their mode and threads', () => {
    const amount = { work: 'x', threads: 1, mode: 'wide' as const, flops: 8e9, bytes: 1e9, items: 32 };
    const row = resultOf(amount, [200, 100, 300], ceilings);
    expect(row).toMatchObject({ bestMs: 100, medianMs: 200, perSecond: 320, gflops: 80, peakShare: 0.8 });
    expect(row).toMatchObject({ gbPerSecond: 10, copyShare: 0.5, engine: 'facegrad', runs: 3 });
    expect(resultOf({ ...amount, mode: 'narrow' }, [200], ceilings).peakShare).toBe(0.8);
    expect(resultOf({ ...amount, threads: 4 }, [200], ceilings).peakShare).toBe(null);
    expect(resultTable([row])).toMatch(/80\.0 +80\.0 % +10\.0 +50\.0 %/);
  });

  it('take the higher of two measurements of a ceiling', () => {
    const narrow = { threads: 1, fma128: 60, fma256: null, copy: 10 };
    expect(higher(ceilings, [narrow])).toEqual([{ threads: 1, fma128: 60, fma256: 100, copy: 20 }]);
    expect(higher([narrow], ceilings)).toEqual([{ threads: 1, fma128: 60, fma256: null, copy: 20 }]);
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

  it('of kernels count the work of an op once, with its longest call', () => {
    const call = (label: string, kernel: string, ms: number): CallProfile => ({
      label,
      path: '',
      kernel,
      shape: '[2]',
      ms,
      flops: 6e6,
      bytes: 1e6,
    });
    const run = [call('conv', 'pack', 1), call('conv', 'gemm', 3), call('conv', 'pack', 1), call('conv', 'gemm', 5)];
    const slower = run.map((c) => ({ ...c, ms: 2 * c.ms }));
    const rows = kernelRows([slower, run]);
    expect(rows.map((r) => [r.kernel, r.calls, r.ms, r.share, r.gflops])).toEqual([
      ['gemm', 2, 8, 0.8, 1.5],
      ['pack', 2, 2, 0.2, 0],
    ]);
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

const root = fileURLToPath(new URL('../..', import.meta.url));
const facegrad = (...args: string[]) =>
  new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(
      process.execPath,
      ['--no-warnings', 'src/cli/main.ts', 'bench', ...args],
      { cwd: root },
      (e, stdout, stderr) => resolve({ code: typeof e?.code === 'number' ? e.code : e ? -1 : 0, stdout, stderr }),
    );
  });

describe('facegrad bench', () => {
  it('says what it expected', async () => {
    for (const [args, text] of [
      [['speed'], /expected one of roofline, gemm, .*, got 'speed'/],
      [['--mode', 'broad'], /--mode: expected narrow or wide/],
      [['--seconds', '0'], /--seconds: expected a number above 0/],
      [['--threads', 'two'], /--threads: expected a whole number/],
      [['--out', '/nowhere/at/all.json'], /--out: expected a file in a folder that exists/],
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
      expect(Object.keys(report)).toEqual(['machine', 'commit', 'results', 'summaries']);
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
});
