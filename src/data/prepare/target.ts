/** Where a conversion (prepare.ts) writes to, and in which format (Node). */
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { UsageError } from '../../core/errors.ts';
import type { DataFormat } from '../formats/format.ts';
import { formats } from '../formats/index.ts';

/** The format that a target's name or `--to` stands for. Throws UsageError listing those that can be written. */
export function targetFormat(out: string, to?: string): DataFormat {
  const writable = formats.filter((f) => f.create ?? f.createFromPairs);
  const found =
    to === undefined
      ? (writable.find((f) => f.ending !== undefined && out.toLowerCase().endsWith(f.ending)) ??
        (/\.\w{1,10}$/.test(out) ? undefined : writable.find((f) => f.name === 'folder')))
      : writable.find((f) => f.name === to);
  if (found) return found;
  const known = writable.map((f) => `${f.name}${f.ending ? ` (${f.ending})` : ''}`).join(', ');
  throw new UsageError(
    to === undefined
      ? `${out}: expected an ending that stands for a format, or none for a folder\nName it with --to: ${known}.`
      : `--to: expected a format that can be written, got '${to}'\nThey are: ${known}.`,
  );
}

/** Where the validation part goes. */
export const validationName = (out: string): string =>
  out.replace(/[/\\]+$/, '').replace(/(\.\w{1,10})?$/, '-validation$1');

/** Whether a path that need not exist yet leads below a folder, or to it. */
export function isInside(path: string, folder: string): boolean {
  let there = resolve(path);
  let rest = '';
  while (!existsSync(there) && dirname(there) !== there) {
    rest = join(basename(there), rest);
    there = dirname(there);
  }
  const real = realpathSync(folder);
  const full = join(realpathSync(there), rest);
  return full === real || full.startsWith(real.endsWith(sep) ? real : real + sep);
}
