/**
 * What all commands share: exit codes, how errors are shown, lines for machines.
 *
 * Exit codes: 0 ok · 1 failure (data, files, device) · 2 usage · 3 diverged (not finite) · 130 stopped by Ctrl-C.
 */
import { printable, printableLines } from '../core/printable.ts';

export const exitCodes = { ok: 0, failure: 1, usage: 2, diverged: 3, interrupted: 130 } as const;

const byName: Readonly<Record<string, number>> = {
  UsageError: exitCodes.usage,
  NumericsError: exitCodes.diverged,
};

export const exitCodeOf = (error: unknown): number => byName[(error as Error)?.name] ?? exitCodes.failure;

/** Shows an error as text on standard error and sets the exit code. FACEGRAD_DEBUG adds the stack. */
export function fail(error: unknown): void {
  const e = error instanceof Error ? error : new Error(String(error));
  process.stderr.write(`facegrad: ${printableLines((process.env.FACEGRAD_DEBUG && e.stack) || e.message)}\n`);
  process.exitCode = exitCodeOf(e);
}

/** One line of JSON on standard output. Numbers that are not finite become null, as JSON has none. */
export function printJson(value: unknown): void {
  // JSON leaves out only some of what a terminal obeys.
  process.stdout.write(`${printable(JSON.stringify(value))}\n`);
}

export function print(text: string): void {
  process.stdout.write(`${printableLines(text)}\n`);
}

/** Seconds as 45 s, 3 min 05 s, 2 h 07 min. */
export function showDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const s = Math.round(seconds);
  if (s < 100) return `${s} s`;
  const two = (n: number) => String(n).padStart(2, '0');
  if (s < 5400) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
}

/** A number with its thousands apart. */
export const count = (n: number): string => n.toLocaleString('en-US');

/** 1 image, 1,200 images. */
export const counted = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;

/** Bytes as 12 MB. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes.toFixed(0)} bytes`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let n = bytes / 1000;
  while (n >= 999.5 && units.length > 1) {
    n /= 1000;
    units.shift();
  }
  return `${n.toFixed(n < 10 ? 1 : 0)} ${units[0]}`;
}
