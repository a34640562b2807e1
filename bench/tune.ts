/**
 * `bench tune`: which tiles suit this adapter's matrix products, measured on those of MobileFaceNet.
 *
 * The one idea: a candidate is a table with that tile alone, so what is timed is what plans will run. Numbers are small
 * integers, whose products are exact in any order: a candidate that gives another product is refused, however fast.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Value } from '../kernels/lower.ts';
import { type TileRow, type TileTable, tileTables, tilingOf } from '../kernels/tiles.ts';
import type { MatmulAttrs } from '../native/matmul.ts';
import { DeviceError, UsageError } from '../src/core/errors.ts';
import { matmulOp } from '../src/ops/matmul.ts';
import { GpuBench } from './gpu.ts';
import { commitOf, loadNow, type MachineBlock, machineBlock, packageRoot } from './machine.ts';
import { mobileFaceNet } from './peers/net.ts';
import { bestOf } from './sample.ts';
import { columns } from './table.ts';
import { nameOfRow, nameOfTile, replaceTable, type TableName } from './tileText.ts';

/** C [m, n] = A·B, and how often a step has it. */
export interface TuneCase extends MatmulAttrs {
  readonly what: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly times: number;
}

export interface TuneOptions {
  /** Default: 1 and 32; 1 alone where a program plays the GPU. */
  readonly batches?: readonly number[];
  /** Turns of all candidates. Default 5. */
  readonly rounds?: number;
  /** For tests: only products up to this many multiply-adds. Default: all. */
  readonly mostWork?: number;
  /** For tests: candidates at most. Default: all. */
  readonly mostTiles?: number;
  /** Default: kernels/tiles.ts of this repository. */
  readonly out?: string;
  readonly print?: (text: string) => void;
  readonly log?: (line: string) => void;
}

/** A row of the table: the products it is for, and every tile's time of them. */
export interface TunedRow {
  readonly row: string;
  readonly products: number;
  /** Milliseconds of all products, of the tiles that were right, shortest first. */
  readonly times: readonly { readonly tile: string; readonly ms: number }[];
  readonly chosen: string;
}

export interface TuneReport {
  readonly machine: MachineBlock;
  readonly commit: string | null;
  readonly table: TableName;
  readonly rows: readonly TunedRow[];
  readonly busy: { readonly times: readonly { readonly busy: number; readonly ms: number }[]; readonly chosen: number };
  readonly refused: readonly string[];
  readonly written: string;
}

/** Y [rows, outputs] = X [rows, inputs] · W, forward and both gradients. The head's W has the outputs first. */
function passesOf(
  what: string,
  rows: number,
  inputs: number,
  outputs: number,
  transB: boolean,
): Omit<TuneCase, 'times'>[] {
  const [left, right] = transB ? [outputs, inputs] : [inputs, outputs];
  return [
    { what, m: rows, n: outputs, k: inputs, transA: false, transB },
    { what: `${what} dx`, m: rows, n: inputs, k: outputs, transA: false, transB: !transB },
    { what: `${what} dw`, m: left, n: right, k: rows, transA: true, transB: false },
  ];
}

/** Classes that the head takes at a time. */
const headBlock = 2048;

/** The products of the network's 1×1 convolutions and of one block of its head, each once. */
export function tuneCases(batches: readonly number[]): TuneCase[] {
  const found = new Map<string, TuneCase>();
  for (const batch of batches) {
    const layers = mobileFaceNet().filter((l) => l.k === 1);
    for (const c of [
      ...layers.flatMap((l) => passesOf(`b${batch}`, batch * l.size ** 2, l.cin, l.cout, false)),
      ...passesOf(`head b${batch}`, batch, 128, headBlock, true),
    ]) {
      const key = JSON.stringify(c);
      found.set(key, { ...c, times: (found.get(key)?.times ?? 0) + 1 });
    }
  }
  return [...found.values()];
}

const pairs = <T>(xs: readonly T[], ys: readonly T[]) => xs.flatMap((x) => ys.map((y) => [x, y] as const));

/** Tiles that any device of the kind can run: at most 256 invocations and 16 KiB. */
export function candidateTiles(table: TableName): TileRow[] {
  if (table === 'software')
    return pairs([4, 8, 16], [4, 8, 16]).flatMap(([rows, across]) =>
      [
        [1, 16],
        [4, 4],
        [16, 1],
      ].map(([down, right]) => ({
        tileM: rows * down!,
        tileN: across * right!,
        tileK: 4,
        rows,
        columns: across,
      })),
    );
  const sides = [32, 64, 128];
  return pairs(sides, sides).flatMap(([tileM, tileN]) =>
    pairs([4, 8], [4, 8]).flatMap(([rows, across]) =>
      [8, 16, 32]
        .map((tileK) => ({ tileM, tileN, tileK, rows, columns: across }))
        .filter((t) => {
          const invocations = (tileM * tileN) / (rows * across);
          // A staged tile has two vectors to spare in each line.
          const bytes = 16 * t.tileK * (tileM / 4 + tileN / 4 + 4);
          return invocations >= 64 && invocations <= 256 && bytes <= 16384;
        }),
    ),
  );
}

/** Lowers with a table in the place of all. Lowering reads them as it goes, and is synchronous. */
function withTable<T>(table: TileTable, work: () => T): T {
  const tables = tileTables as Record<TableName, TileTable>;
  const before = { ...tables };
  Object.assign(tables, { gpu: table, software: table });
  try {
    return work();
  } finally {
    Object.assign(tables, before);
  }
}

/** Between -4 and 3. */
const integer = (seed: number) => (i: number) => (Math.imul(i + seed, 0x9e3779b1) >>> 29) - 4;

function equal(x: Float32Array, y: Float32Array): boolean {
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}

/** Whether a product is right, at places spread over it. */
function rightInPlaces(c: TuneCase, got: Float32Array): boolean {
  const { m, n, k, transA, transB } = c;
  const [a, b] = [integer(1), integer(2)];
  for (let s = 0; s < 64; s++) {
    const at = Math.floor((s / 63) * (m * n - 1));
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let p = 0; p < k; p++) sum += a(transA ? p * m + i : i * k + p) * b(transB ? j * k + p : p * n + j);
    if (got[at] !== sum) return false;
  }
  return true;
}

const nameOf = ({ what, m, n, k }: TuneCase) => `${what} [${m}, ${k}] x [${k}, ${n}]`;

export class Tuner {
  readonly refused = new Map<string, string>();
  private readonly bench: GpuBench;
  private readonly rounds: number;
  private readonly log: (line: string) => void;
  constructor(bench: GpuBench, rounds: number, log: (line: string) => void) {
    this.bench = bench;
    this.rounds = rounds;
    this.log = log;
  }

  private refuse(name: string, why: string): void {
    if (!this.refused.has(name)) this.log(`${name} is refused: ${why}`);
    this.refused.set(name, why);
  }

  /** Best milliseconds of a product by each table; of those refused, infinity. */
  async times(c: TuneCase, tables: ReadonlyMap<string, TileTable>): Promise<Map<string, number>> {
    const { bench } = this;
    const { m, n, k, transA, transB } = c;
    const a = bench.value(transA ? [k, m] : [m, k], integer(1));
    const b = bench.value(transB ? [n, k] : [k, n], integer(2));
    const y = bench.empty([m, n]);
    const { kernels } = matmulOp;
    if (kernels.kind !== 'kernel' || !kernels.wgsl) throw new DeviceError("webgpu: 'matmul' has no WGSL kernel");
    const { wgsl } = kernels;
    const runs = new Map<string, () => Promise<number>>();
    for (const [name, table] of tables)
      if (!this.refused.has(name))
        runs.set(
          name,
          withTable(table, () => bench.lowering(wgsl, [a, b], [y], { transA, transB })),
        );
    let right: Float32Array | undefined;
    for (const [name, run] of runs) {
      const wrong = await this.wrong(run, y, (got) => {
        if (right) return equal(got, right);
        if (rightInPlaces(c, got)) right = got;
        return right !== undefined;
      });
      if (wrong) this.refuse(name, `${wrong} for ${nameOf(c)}`);
    }
    const best = new Map([...tables.keys()].map((name) => [name, Number.POSITIVE_INFINITY]));
    for (let round = 0; round < this.rounds; round++)
      for (const [name, run] of runs)
        if (!this.refused.has(name)) best.set(name, bestOf([best.get(name)!, await run()]));
    bench.clear();
    return best;
  }

  /** What is wrong with a run, in words. */
  private async wrong(run: () => Promise<number>, y: Value, isRight: (got: Float32Array) => boolean) {
    const { gpu } = this.bench.device;
    const encoder = gpu.createCommandEncoder();
    encoder.clearBuffer(this.bench.bufferOf(y));
    gpu.queue.submit([encoder.finish()]);
    try {
      await run();
    } catch (error) {
      this.bench.device.check();
      return `it does not run (${(error as Error).message.split('\n')[0]})`;
    }
    return isRight(await this.bench.read(y)) ? undefined : 'its product is wrong';
  }

  /** Milliseconds of all cases as often as a step has them, by each table, shortest first. */
  async total(cases: readonly TuneCase[], tables: ReadonlyMap<string, TileTable>): Promise<[string, number][]> {
    const sums = new Map([...tables.keys()].map((name) => [name, 0]));
    for (const c of cases)
      for (const [name, ms] of await this.times(c, tables)) sums.set(name, sums.get(name)! + c.times * ms);
    const found = [...sums].filter(([name, ms]) => !this.refused.has(name) && Number.isFinite(ms));
    if (!found.length) throw new DeviceError('bench tune: no candidate computes rightly here\nNothing is written.');
    return found.sort(([, x], [, y]) => x - y);
  }
}

/** The first, unless what is in use is about as fast: noise is no reason to change a table. */
const choose = (times: readonly (readonly [string, number])[], now: string): string => {
  const own = times.find(([name]) => name === now);
  return own && own[1] < 1.03 * times[0]![1] ? now : times[0]![0];
};

const most = 20;

/** Every tile's time relative to the best of a row; the chosen one has a star. */
export function tuneTable(rows: readonly TunedRow[]): string {
  const relative = (r: TunedRow, tile: string) => (r.times.find((t) => t.tile === tile)?.ms ?? 0) / r.times[0]!.ms;
  const measured = rows.filter((r) => r.times.length);
  const tiles = [...new Set(measured.flatMap((r) => r.times.map((t) => t.tile)))];
  const nearest = (tile: string) => bestOf(measured.map((r) => relative(r, tile) || Number.POSITIVE_INFINITY));
  const cell = (r: TunedRow, tile: string) => {
    const x = relative(r, tile);
    return x ? `${x.toFixed(2)}${tile === r.chosen ? '*' : ' '}` : '';
  };
  return columns(
    [
      ['tile', ...measured.map((r) => r.row)],
      ...tiles
        .sort((x, y) => nearest(x) - nearest(y))
        .slice(0, most)
        .map((tile) => [tile, ...measured.map((r) => cell(r, tile))]),
      ...(tiles.length > most ? [[`${tiles.length - most} slower`, ...measured.map(() => '')]] : []),
    ],
    1,
  );
}

/**
 * Measures the tiles, prints a table and writes the file of tiles with the best.
 * @throws DeviceError without a GPU that times itself; UsageError outside a clone of the repository
 */
export async function runTune(options: TuneOptions = {}): Promise<TuneReport> {
  const { rounds = 5, mostWork = Number.POSITIVE_INFINITY, mostTiles, log = () => {}, print = () => {} } = options;
  const before = loadNow();
  const source = join(packageRoot, 'kernels/tiles.ts');
  if (!existsSync(source))
    throw new UsageError('bench tune: the source of the tiles is not here\nRun it in a clone of the repository.');
  const bench = await GpuBench.create();
  try {
    const { onCpu, limits } = bench.device;
    const name: TableName = onCpu ? 'software' : 'gpu';
    const gpu = bench.device.info().reason;
    print(`Tiles for ${gpu}: the ${name} table`);
    if (onCpu) log('this adapter computes on the CPU: batch 1 alone, and a table for adapters that do');
    const batches = options.batches ?? (onCpu ? [1] : [1, 32]);
    const cases = tuneCases(batches).filter((c) => c.m * c.n * c.k <= mostWork);
    const table = tileTables[name];
    const tuner = new Tuner(bench, rounds, log);
    const tiles = candidateTiles(name).slice(0, mostTiles);
    const rows: TunedRow[] = [];
    const chosen: TileRow[] = [];
    for (const row of table.rows) {
      const own = cases.filter((c) => tilingOf({ ...c, batch: 1 }, { ...limits, software: onCpu }).tile === row);
      const { maxM: _m, maxN: _n, maxWork: _w, ...now } = row;
      // The tile in use is a candidate too.
      const all = new Map([...tiles, now].map((tile) => [nameOfTile(tile), tile]));
      const tables = new Map([...all].map(([key, tile]) => [key, { ...table, rows: [tile] }]));
      log(`${nameOfRow(row)}: ${own.length} products by ${tables.size} tiles`);
      const times = own.length ? await tuner.total(own, tables) : [];
      const best = own.length ? choose(times, nameOfTile(now)) : nameOfTile(now);
      chosen.push({ ...row, ...all.get(best)! });
      const listed = times.map(([tile, ms]) => ({ tile, ms }));
      rows.push({ row: nameOfRow(row), products: own.length, times: listed, chosen: best });
    }
    print(tuneTable(rows));
    for (const r of rows)
      print(
        `${r.row}: ${r.chosen}${r.products ? ` of ${r.times.length} tiles, ${r.products} products` : ', kept: MobileFaceNet has none'}`,
      );
    const steps = [...new Set([0.25, 0.5, 1, 2, 4].map((f) => Math.max(1, f * table.busy)))];
    const busyTables = new Map(steps.map((n) => [String(n), { ...table, rows: chosen, busy: n }]));
    const busyTimes = await tuner.total(cases, busyTables);
    const busy = Number(choose(busyTimes, String(table.busy)));
    const relative = busyTimes.map(([n, ms]) => `${n}: ${(ms / busyTimes[0]![1]).toFixed(2)}`).join(', ');
    print(`Workgroups that keep it busy: ${busy} (${relative})`);
    const written = options.out ?? source;
    writeFileSync(written, replaceTable(readFileSync(source, 'utf8'), name, { ...table, rows: chosen, busy }));
    print(`Written: ${written}`);
    return {
      machine: machineBlock(['webgpu'], {}, before, gpu),
      commit: commitOf(),
      table: name,
      rows,
      busy: { times: busyTimes.map(([n, ms]) => ({ busy: Number(n), ms })), chosen: busy },
      refused: [...tuner.refused].map(([tile, why]) => `${tile}: ${why}`),
      written,
    };
  } finally {
    await bench.close();
  }
}
