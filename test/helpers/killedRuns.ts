/** Training runs in child processes that are killed at random moments and resumed until they end. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'vitest';
import { fold, type Key, keyOf, uniformAt } from '../../src/core/random.ts';
import { curveOf } from './curve.ts';

export const cli = resolve(import.meta.dirname, '../../src/cli/main.ts');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command; `onLine` sees each line of standard output as it comes and may kill the process. */
export function facegrad(
  args: readonly string[],
  onLine: (line: string, kill: (signal?: NodeJS.Signals) => void) => void = () => {},
  { killAfterMs, cwd }: { killAfterMs?: number; cwd?: string } = {},
): Promise<Ended> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [cli, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(cwd ? { cwd } : {}),
    });
    const kill = (signal: NodeJS.Signals = 'SIGKILL') => {
      child.kill(signal);
    };
    const timer = killAfterMs === undefined ? undefined : setTimeout(kill, killAfterMs);
    let stdout = '';
    let stderr = '';
    let open = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      const lines = (open + text).split('\n');
      open = lines.pop()!;
      for (const line of lines) onLine(line, kill);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      done({ code, signal, stdout, stderr });
    });
  });
}

/** What has state of its own, or changes in the course of a run. */
const more =
  '--optimizer adam --schedule plateau --schedule.metric loss --schedule.patience 0 --earlyStop.patience 50 --warmupSteps 5 --sampler.people 4 --sampler.images 2 --terms center=0.01 --ema.decay 0.9 --clip.norm 5 --freeze stem.*,blocks.* --freezeEpochs 2 --keepLast 2';
const recipe = (steps: number) =>
  `train --width 0.25 --inputSize 32x32 --embeddingSize 32 --batch 8 --identities 5 --imagesPerIdentity 7 --maxSteps ${steps} --logEverySteps 1 --saveEverySteps 2 --evalEverySteps 10 --evalIdentities 6 --lr 0.02 --augment rotate=10,contrast=0.3,noise=0.05,cutout=8 ${more} --json`.split(
    ' ',
  );

/**
 * A run that is never interrupted against one that is killed `kills` times and resumed, with other numbers of threads
 * and workers each time. Expects the same bytes in every file that a run leaves behind.
 */
export async function expectSameAfterKills(kills: number, steps: number, seed: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'facegrad-kills-'));
  try {
    const [whole, broken] = [join(folder, 'whole'), join(folder, 'broken')];
    const reference = await facegrad([...recipe(steps), '--out', whole, '--threads', '2', '--workers', '2']);
    expect(reference.stderr).toBe('');
    expect(reference.code).toBe(0);

    const key = fold(keyOf(seed), 'kills');
    const chances = (k: Key, i: number) => uniformAt(k, i);
    let midRun = 0;
    for (let k = 0; k < kills; k++) {
      const threads = String(1 + (k % 2));
      const args = [...recipe(steps), '--out', broken, '--resume', '--threads', threads, '--workers', threads];
      // Some die while starting, most a few milliseconds after one of their first steps: mid-step, mid-write.
      const early = k % 5 === 4;
      const lines = 1 + Math.floor(chances(key, 3 * k) * 3);
      const delay = chances(key, 3 * k + 1) * 25;
      let seen = 0;
      const end = await facegrad(
        args,
        (line, kill) => {
          if (!early && line.startsWith('{"type":"step"') && ++seen === lines) setTimeout(kill, delay);
        },
        early ? { killAfterMs: 50 + chances(key, 3 * k + 2) * 900 } : {},
      );
      expect(end.stderr).toBe('');
      expect(end.signal, `run ${k} was to be killed`).toBe('SIGKILL');
      if (seen) midRun++;
    }
    expect(midRun).toBeGreaterThan(kills / 2);
    const last = await facegrad([...recipe(steps), '--out', broken, '--resume', '--threads', '1']);
    expect(last.stderr).toBe('');
    expect(last.code).toBe(0);
    expect(last.stdout).toMatch(/"fromStep":[1-9]/); // or nothing of the killed runs was used
    const kept = (out: string) => readdirSync(out).filter((name) => name.startsWith('step-'));
    expect(kept(whole)).toHaveLength(2);
    expect(kept(broken)).toEqual(kept(whole));
    for (const name of ['last.safetensors', 'best.safetensors', 'embedding.npy', 'recipe.json', ...kept(whole)])
      expect(readFileSync(join(broken, name)).equals(readFileSync(join(whole, name))), name).toBe(true);
    expect(curveOf(join(broken, 'curve.csv'))).toEqual(curveOf(join(whole, 'curve.csv')));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
