/**
 * Times facegrad's peers on the same work, in the same minutes, on the same machine.
 *
 * Every peer lives in a process of its own and answers in turn, round after round, while the others are stopped: noise
 * falls on all alike, so the ratios hold even where the milliseconds do not. Before anything is timed, every engine's
 * output is compared with plain double-precision loops; an engine that is wrong is not timed.
 *
 * The peers are a package of their own with their own lock file, installed on first use.
 *
 *   npx node bench/peers/run.ts [--rounds=5] [--seconds=1] [--works='forward b1,forward b32'] [--peers=ort,tfjs] [--flags=--experimental-wasm-revectorize] [--install] [--out=file.json]
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createInterface as createPrompt } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import { NumericsError, UsageError } from '../../src/core/errors.ts';
import { packageRoot } from '../machine.ts';
import { mobileFaceNet, multiplications, plainForward, plainMatmul } from './net.ts';

/** In the sources, not the build: the peers are run from here, and installed here. */
const folder = join(packageRoot, 'bench/peers/');

/** One measurement. `perSecond` counts faces (or products) at the best time; `gflops` counts a multiply-add as two. */
export interface Row {
  work: string;
  engine: string;
  threads: number;
  bestMs: number;
  medianMs: number;
  perSecond: number;
  gflops: number;
  runs?: number;
  version?: string;
}

export interface PeerOptions {
  /** Our own rows, called once a round between the peers; rows of equal work, engine and threads are merged. */
  ours?: () => Promise<Row[]>;
  /** Our own embedding of the first face of `faces(1)` with the weights of `mobileFaceNet()`, checked like a peer's. */
  oursForward?: () => Promise<ArrayLike<number>>;
  /** Turns each engine gets. Default 5. */
  rounds?: number;
  /** Seconds of a turn for each work. Default 1. */
  seconds?: number;
  /** Default: forward b1, forward b32, matmul 512. */
  works?: readonly string[];
  /** Parts of the command lines of the peers to run ('ort', '--backend=wasm', ...). Default all but the two slow ones. */
  peers?: readonly string[];
  /** Flags for the peers' node, such as --experimental-wasm-revectorize, to give them what our engine turns on. */
  nodeFlags?: readonly string[];
  /** Install the peers without asking. Default: ask on a terminal, refuse elsewhere. */
  install?: boolean;
  /** Progress lines. Default stderr. */
  log?: (line: string) => void;
}

const commands = [
  'ort.mjs --backend=web --threads=1',
  'ort.mjs --backend=web --threads=2',
  'ort.mjs --backend=node --threads=1',
  'ort.mjs --backend=node --threads=2',
  'tfjs.mjs --backend=wasm',
  'jax.mjs',
  'gpujs.mjs --mode=cpu',
  'gpujs.mjs --mode=webasm --threads=1',
  'gpujs.mjs --mode=webasm --threads=2',
];
/** Seconds a call, so only on request (name one in `peers`). */
const slow = ['tfjs.mjs --backend=cpu'];

const flopOf = (work: string): number =>
  work.startsWith('matmul') ? 2 * Number(work.slice(7)) ** 3 : 2 * multiplications(mobileFaceNet()) * itemsOf(work);
const itemsOf = (work: string): number => (work.startsWith('matmul') ? 1 : Number(/b(\d+)$/.exec(work)?.[1] ?? 1));

/** The row of a list of times of single calls, in milliseconds. */
export function rowOf(work: string, engine: string, threads: number, ms: readonly number[], version?: string): Row {
  const sorted = [...ms].sort((a, b) => a - b);
  const best = sorted[0]!;
  const round = (v: number) => Number(v.toPrecision(5));
  return {
    work,
    engine,
    threads,
    bestMs: round(best),
    medianMs: round(sorted[sorted.length >> 1]!),
    perSecond: round((itemsOf(work) / best) * 1e3),
    gflops: round(flopOf(work) / best / 1e6),
    runs: ms.length,
    ...(version ? { version } : {}),
  };
}

interface Answer {
  id?: number;
  ms?: number[];
  output?: number[];
  error?: string;
}

/** A peer's process. It is stopped except while it answers, so that idle thread pools cost the others nothing. */
class Peer {
  engine = '';
  version = '';
  threads = 1;
  works: string[] = [];
  readonly ms = new Map<string, number[]>();
  readonly command: string;
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;
  private asked = 0;

  constructor(command: string, nodeFlags: readonly string[]) {
    this.command = command;
    this.child = spawn(process.execPath, ['--no-warnings', ...nodeFlags, ...command.split(' ')], {
      cwd: folder,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stderr!.resume();
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  /** The next line that is JSON (libraries greet on stdout too). */
  private async next(): Promise<Answer & Partial<Peer>> {
    for (;;) {
      const { value, done } = await this.lines.next();
      if (done) return { error: 'the process ended' };
      if (value.startsWith('{')) return JSON.parse(value);
    }
  }

  async start(): Promise<void> {
    const hello = await this.next();
    if (hello.error)
      throw new UsageError(
        message(
          `peer ${this.command}: ${hello.error} before it was ready.`,
          'Run it by hand in bench/peers to see why.',
        ),
      );
    Object.assign(this, { engine: hello.engine, version: hello.version, threads: hello.threads, works: hello.works });
    this.pause();
  }

  private pause(): void {
    if (process.platform !== 'win32') this.child.kill('SIGSTOP');
  }

  async ask(request: { check?: string; work?: string; seconds?: number }): Promise<Answer> {
    if (process.platform !== 'win32') this.child.kill('SIGCONT');
    const id = ++this.asked;
    this.child.stdin!.write(`${JSON.stringify({ id, ...request })}\n`);
    const answer = await this.next();
    this.pause();
    return answer;
  }

  end(): void {
    this.child.kill('SIGKILL');
  }
}

/** First line what happened, last line what to do. */
const message = (what: string, todo: string) => `${what}\n${todo}`;

/** Installs bench/peers/node_modules from its lock file if it is not there. */
export async function ensureInstalled(install: boolean | undefined, log: (line: string) => void): Promise<void> {
  if (!existsSync(`${folder}package-lock.json`))
    throw new UsageError(
      message(
        `bench peers: ${folder} is not there: an installed package has none.`,
        'Run it in a clone of the repository.',
      ),
    );
  // Type stripping: the peers' scripts share a TypeScript file with us.
  if (Number(process.versions.node.split('.')[0]) < 24)
    throw new UsageError(
      message(
        `bench peers: expected Node 24 or newer, got ${process.version}.`,
        'Run it through npm: npm run bench -- peers.',
      ),
    );
  if (existsSync(`${folder}node_modules/onnxruntime-web`) && existsSync(`${folder}node_modules/sharp`)) return;
  const what =
    'bench/peers: onnxruntime-web, onnxruntime-node, TensorFlow.js, jax-js and two JPEG decoders, about 500 MB in bench/peers/node_modules';
  if (!install) {
    const hint = 'Pass --install (install: true), or run npm ci --ignore-scripts in bench/peers.';
    if (!process.stdin.isTTY) throw new UsageError(message(`${what} are not installed.`, hint));
    const prompt = createPrompt({ input: process.stdin, output: process.stderr });
    const answer = await prompt.question(`Install ${what}? [y/N] `);
    prompt.close();
    if (!/^y/i.test(answer)) throw new UsageError(message(`${what} are not installed.`, hint));
  }
  log(`installing ${what}`);
  const npm = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: process.platform === 'win32',
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip', ONNXRUNTIME_NODE_INSTALL_CUDA: 'skip' },
  });
  if (npm.status !== 0)
    throw new UsageError(
      message(
        'npm ci in bench/peers failed.',
        'See its output above; the network or the registry may be out of reach.',
      ),
    );
}

/** Largest error relative to the largest value. */
function distance(output: ArrayLike<number>, truth: Float64Array): number {
  if (output.length !== truth.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < truth.length; i++) {
    const d = Math.abs(output[i]! - truth[i]!);
    if (!(d <= worst)) worst = d;
    scale = Math.max(scale, Math.abs(truth[i]!));
  }
  return worst / scale;
}

const tolerance = 1e-4;

/**
 * Installs the peers if need be, checks every engine's numbers against plain loops (1e-4 of the largest value), then
 * times them in turn. Resolves to one row per work and engine, fastest first within a work.
 *
 * @throws UsageError when the peers are absent and may not be installed; NumericsError when our own embedding is wrong.
 */
export async function runPeers(options: PeerOptions = {}): Promise<Row[]> {
  const { rounds = 5, seconds = 1, works = ['forward b1', 'forward b32', 'matmul 512'] } = options;
  const log = options.log ?? ((line: string) => process.stderr.write(`${line}\n`));
  await ensureInstalled(options.install, log);
  const chosen = options.peers
    ? [...commands, ...slow].filter((c) => options.peers!.some((p) => c.includes(p)))
    : commands;
  const truths = new Map(
    works.map((w) => [w, w.startsWith('matmul') ? plainMatmul(Number(w.slice(7))) : plainForward(mobileFaceNet())]),
  );

  if (options.oursForward) {
    const error = distance(await options.oursForward(), plainForward(mobileFaceNet()));
    log(`facegrad forward: error ${error.toExponential(1)}`);
    if (!(error <= tolerance))
      throw new NumericsError(
        message(
          `peers: our embedding is off by ${error} of its largest value, expected at most ${tolerance}.`,
          'Fix the kernels before timing them.',
        ),
      );
  }

  const peers: Peer[] = [];
  try {
    for (const command of chosen) {
      const peer = new Peer(command, options.nodeFlags ?? []);
      peers.push(peer);
      await peer.start();
      for (const work of works.filter((w) => peer.works.includes(w))) {
        // A batch shares its first face with batch 1, and is checked on that.
        const { output = [], error } = await peer.ask({ check: work });
        const truth = truths.get(work)!;
        const off = error ? Number.POSITIVE_INFINITY : distance(output.slice(0, truth.length), truth);
        log(
          `${peer.engine} ${peer.version}, ${peer.threads} thread(s), ${work}: ${error ?? `error ${off.toExponential(1)}`}`,
        );
        if (off <= tolerance) peer.ms.set(work, []);
        else log(`  not timed: more than ${tolerance} away from plain loops`);
      }
    }
    const own = new Map<string, Row[]>();
    for (let round = 0; round < rounds; round++)
      for (const work of works) {
        for (const peer of peers) {
          const ms = peer.ms.get(work);
          if (!ms) continue;
          const answer = await peer.ask({ work, seconds });
          if (answer.ms) ms.push(...answer.ms);
          else log(`${peer.engine} ${work}: ${answer.error}`);
        }
        if (work !== works[works.length - 1]) continue;
        for (const row of (await options.ours?.()) ?? []) {
          const id = JSON.stringify([row.work, row.engine, row.threads]);
          own.set(id, [...(own.get(id) ?? []), row]);
        }
      }
    const rows = peers.flatMap((p) =>
      [...p.ms].filter(([, ms]) => ms.length).map(([work, ms]) => rowOf(work, p.engine, p.threads, ms, p.version)),
    );
    for (const turns of own.values()) {
      const best = turns.reduce((a, b) => (b.bestMs < a.bestMs ? b : a));
      const medians = turns.map((t) => t.medianMs).sort((a, b) => a - b);
      rows.push({ ...best, medianMs: medians[medians.length >> 1]! });
    }
    return rows.sort((a, b) => works.indexOf(a.work) - works.indexOf(b.work) || a.bestMs - b.bestMs);
  } finally {
    for (const peer of peers) peer.end();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const given = Object.fromEntries(
    process.argv.slice(2).map((a) => /^--(\w+)=?(.*)$/.exec(a)!.slice(1) as [string, string | undefined]),
  );
  const list = (v: string | undefined) => v?.split(',').map((s) => s.trim());
  const works = list(given.works);
  const peers = list(given.peers);
  const nodeFlags = list(given.flags);
  const load = [loadavg()[0]!];
  const rows = await runPeers({
    ...(given.rounds ? { rounds: Number(given.rounds) } : {}),
    ...(given.seconds ? { seconds: Number(given.seconds) } : {}),
    ...(works ? { works } : {}),
    ...(peers ? { peers } : {}),
    ...(nodeFlags ? { nodeFlags } : {}),
    install: 'install' in given,
  });
  for (const row of rows) console.log(JSON.stringify(row));
  load.push(loadavg()[0]!);
  // A one-minute load well above the two-thread rows' own says that the machine was shared and they are not to be trusted.
  const machine = {
    cpu: cpus()[0]?.model.trim(),
    cores: cpus().length,
    node: process.version,
    flags: nodeFlags ?? [],
    load,
  };
  if (given.out)
    writeFileSync(
      given.out,
      `{\n  "machine": ${JSON.stringify(machine)},\n  "rows": [\n${rows.map((r) => `    ${JSON.stringify(r)}`).join(',\n')}\n  ]\n}\n`,
    );
}
