/** Our engine among its peers: the same work in the same minutes, each in turn, with the ratios. */
import type { ModeName } from './machine.ts';
import { openEngine } from './models.ts';
import { type Row, rowOf, runPeers } from './peers/run.ts';
import { sampleAll } from './sample.ts';
import { type Ceilings, peakOf, type Result, type Summary } from './table.ts';

export interface PeersOptions {
  readonly mode: ModeName;
  readonly seconds: number;
  readonly rounds: number;
  /** V8 flags for the peers' processes. */
  readonly nodeFlags: readonly string[];
  readonly install: boolean;
  readonly works?: readonly string[];
  readonly peers?: readonly string[];
  readonly log: (line: string) => void;
}

/** Row of the peers whose speed is native: their ceiling is not that of narrow WebAssembly. */
const native = new Set(['onnxruntime-node']);

export async function benchPeers(
  o: PeersOptions,
  ceilings: Ceilings,
): Promise<{ results: Result[]; summaries: Summary[] }> {
  const { mode, seconds, rounds, nodeFlags, install, works, peers, log } = o;
  const threads = [1, 2];
  const engines = await Promise.all(threads.map((n) => openEngine(n, mode)));
  const wanted = works ?? ['forward b1', 'forward b32', 'matmul 512'];
  const turnOf = (i: number, work: string): (() => Promise<Float32Array>) => {
    const engine = engines[i]!;
    return work.startsWith('matmul') ? engine.product(Number(work.slice(7))) : engine.forward(Number(work.slice(9)));
  };
  const turns = engines.flatMap((_, i) => wanted.map((work) => ({ work, threads: threads[i]!, run: turnOf(i, work) })));
  const rows: Row[] = await runPeers({
    rounds,
    seconds,
    works: wanted,
    nodeFlags,
    install,
    log,
    ...(peers ? { peers } : {}),
    oursForward: engines[0]!.forward(1),
    async ours() {
      const out: Row[] = [];
      for (const t of turns) {
        const work = { name: t.work, run: () => t.run().then(() => undefined) };
        const [ms] = await sampleAll([work], { seconds, rounds: 1 });
        out.push(rowOf(t.work, 'facegrad', t.threads, ms!));
      }
      return out;
    },
  });
  await Promise.all(engines.map((e) => e.device.dispose()));
  const suffix = nodeFlags.length ? ', with our flags' : '';
  const results = rows.map((r): Result => {
    const peak = native.has(r.engine) && mode === 'narrow' ? null : peakOf(ceilings, r.threads);
    const share = peak ? { peakShare: Number((r.gflops / peak).toPrecision(5)) } : { peakShare: null };
    return { ...r, ...share, mode, engine: r.engine === 'facegrad' ? r.engine : `${r.engine}${suffix}` };
  });
  return { results, summaries: ratios(results, mode) };
}

/** How many times as fast as each peer we are, best against best, with as many threads. */
export function ratios(results: readonly Result[], mode: ModeName): Summary[] {
  const ours = results.filter((r) => r.engine === 'facegrad');
  const text = (n: number) => (n === 1 ? '1 thread' : `${n} threads`);
  return results
    .filter((r) => r.engine !== 'facegrad')
    .flatMap((r) =>
      // A peer that only ever has one thread is compared with both of ours.
      ours
        .filter((x) => x.work === r.work)
        .filter((x) => x.threads === r.threads || !results.some((p) => p.engine === r.engine && p.threads !== 1))
        .map(
          (x): Summary => ({
            what: `${r.work}, ${text(x.threads)}: as fast as ${r.engine} with ${text(r.threads)}`,
            mode,
            value: r.bestMs / x.bestMs,
            unit: 'x',
          }),
        ),
    );
}
