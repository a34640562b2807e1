/**
 * Runs every mutant: `npm run mutants [word…]` (those whose family, file or kind holds a word).
 *
 * The one idea: a test that cannot fail proves nothing. Each change of list.ts is made in a copy of the repository, and
 * the test named there must turn red: by a failed assertion, not because the file no longer loads or a kernel no longer
 * compiles. The same tests must be green on the unchanged copy first. Two at a time; exit code 1 where a mutant survives or no longer fits.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mutants } from './list.ts';
import type { Mutant } from './mutant.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const parallel = 2;
/** A mutant that loops for ever is stopped, and counts as noticed. */
const limitMs = 120_000;

function copyOfRepository(): string {
  const folder = mkdtempSync(join(tmpdir(), 'facegrad-mutants-'));
  for (const name of ['src', 'native', 'kernels', 'datasets', 'test', 'package.json', 'tsconfig.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  embed(folder);
  return folder;
}

/** What tests run of `.wgsl` files is their text in a module, which is written anew. */
function embed(folder: string): void {
  execFileSync(process.execPath, [join(folder, 'kernels/embed.mjs')]);
}

/** A test file, or the part of it whose names match a pattern. */
type Target = Pick<Mutant, 'test' | 'only'>;
const nameOf = ({ test, only }: Target) => (only ? `${test} -t '${only}'` : test);

interface Outcome {
  readonly state: 'green' | 'red' | 'time limit' | 'did not load';
  readonly seconds: number;
  /** The first test that failed, or the end of the output. */
  readonly detail: string;
}

/** Children that are running, so that an interrupt leaves none behind. */
const running = new Set<ReturnType<typeof spawn>>();

function runTest(folder: string, { test, only }: Target): Promise<Outcome> {
  return new Promise((resolve) => {
    const start = performance.now();
    // A file, since tests print too.
    const reportFile = join(folder, 'report.json');
    rmSync(reportFile, { force: true });
    const child = spawn(
      process.execPath,
      [
        join(root, 'node_modules/vitest/vitest.mjs'),
        'run',
        '--root',
        '.',
        '--config',
        'test/vitest.config.ts',
        test,
        ...(only ? ['-t', only] : []),
        '--bail',
        '1',
        '--reporter',
        'json',
        '--outputFile',
        reportFile,
      ],
      { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], detached: process.platform !== 'win32' },
    );
    running.add(child);
    let out = '';
    let errors = '';
    child.stdout.on('data', (d) => {
      out += d;
    });
    child.stderr.on('data', (d) => {
      errors += d;
    });
    let late = false;
    const stop = setTimeout(() => {
      late = true;
      kill(child);
    }, limitMs);
    child.on('close', (code) => {
      clearTimeout(stop);
      running.delete(child);
      const seconds = (performance.now() - start) / 1e3;
      if (late) return resolve({ state: 'time limit', seconds, detail: '' });
      let report: { numPassedTests: number; testResults: { message: string; assertionResults: Asserted[] }[] };
      try {
        report = JSON.parse(readFileSync(reportFile, 'utf8'));
      } catch {
        return resolve({ state: 'did not load', seconds, detail: (errors || out).trim().slice(-600) });
      }
      const failed = report.testResults.flatMap((r) => r.assertionResults).find((a) => a.status === 'failed');
      if (failed) {
        const words = failed.failureMessages.join(' ');
        return resolve(
          words.includes('does not compile')
            ? { state: 'did not load', seconds, detail: words.slice(0, 600) }
            : { state: 'red', seconds, detail: failed.fullName },
        );
      }
      if (code === 0 && report.numPassedTests > 0) return resolve({ state: 'green', seconds, detail: '' });
      const message = report.testResults.map((r) => r.message).join(' ');
      resolve({ state: 'did not load', seconds, detail: (message || errors).trim().slice(0, 600) || 'no test ran' });
    });
  });
}
interface Asserted {
  readonly status: string;
  readonly fullName: string;
  readonly failureMessages: readonly string[];
}

function kill(child: ReturnType<typeof spawn>): void {
  try {
    // The whole group: vitest has workers of its own.
    if (process.platform !== 'win32' && child.pid) process.kill(-child.pid, 'SIGKILL');
    else child.kill('SIGKILL');
  } catch {}
}

/** Makes the change in the copy and gives what undoes it. */
function apply(folder: string, m: Mutant): () => void {
  const file = join(folder, m.file);
  const source = readFileSync(file, 'utf8');
  const parts = source.split(m.from);
  if (parts.length !== 2)
    throw new Error(`${m.file}: expected the text once, found it ${parts.length - 1} times: ${m.from}`);
  const write = (text: string) => {
    writeFileSync(file, text);
    if (file.endsWith('.wgsl')) embed(folder);
  };
  write(parts.join(m.to));
  return () => write(source);
}

const oneLine = (s: string) => s.trim().replace(/\s+/g, ' ').slice(0, 90);

async function main(words: readonly string[]): Promise<void> {
  const chosen = mutants.filter(
    (m) => !words.length || words.some((w) => `${m.family} ${m.file} ${m.kind}`.includes(w)),
  );
  const started = performance.now();
  const folders = Array.from({ length: parallel }, copyOfRepository);
  const failures: string[] = [];
  const clean = () => {
    for (const child of running) kill(child);
    for (const f of folders) rmSync(f, { recursive: true, force: true });
  };
  process.once('SIGINT', () => {
    clean();
    process.exit(130);
  });
  /** Every item on the next free copy. */
  const onCopies = async <T>(items: readonly T[], work: (folder: string, item: T) => Promise<void>) => {
    const queue = [...items];
    await Promise.all(
      folders.map(async (folder) => {
        for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(folder, item);
      }),
    );
  };
  const say = (mark: string, seconds: number, text: string) =>
    console.log(`${mark}  ${seconds.toFixed(1).padStart(6)} s  ${text}`);
  try {
    const broken = new Set<string>();
    const targets = new Map(chosen.map((m) => [nameOf(m), m] as const));
    await onCopies([...targets], async (folder, [name, target]) => {
      const { state, seconds, detail } = await runTest(folder, target);
      say(state === 'green' ? 'green   ' : 'NO START', seconds, name);
      if (state === 'green') return;
      broken.add(name);
      failures.push(`${name} is not green without a mutant: ${state} ${detail}`);
    });
    let stopped = 0;
    await onCopies(
      chosen.filter((m) => !broken.has(nameOf(m))),
      async (folder, m) => {
        const name = `${m.family} (${m.kind}): ${oneLine(m.from)} → ${oneLine(m.to) || 'nothing'}`;
        try {
          const undo = apply(folder, m);
          const { state, seconds, detail } = await runTest(folder, m).finally(undo);
          const noticed = state === 'red' || state === 'time limit';
          if (state === 'time limit') stopped++;
          say(noticed ? 'noticed ' : state === 'green' ? 'SURVIVED' : 'NO START', seconds, name);
          if (!noticed)
            failures.push(
              `${name}\n    ${m.file}: ${state === 'green' ? `${nameOf(m)} stayed green` : `${state}: ${detail}`}`,
            );
        } catch (error) {
          say('NO FIT  ', 0, name);
          failures.push((error as Error).message);
        }
      },
    );
    const minutes = ((performance.now() - started) / 60e3).toFixed(1);
    console.log(
      `\n${chosen.length} mutants, ${chosen.length - failures.length} noticed${stopped ? ` (${stopped} by the time limit)` : ''}, ${minutes} minutes`,
    );
    for (const f of failures) console.error(`\n${f}`);
    process.exitCode = failures.length ? 1 : 0;
  } finally {
    clean();
  }
}

await main(process.argv.slice(2));
