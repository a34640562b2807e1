/** The journal of a conversion (prepare.ts): what lets the same command go on after it was cut off (Node). */
import { existsSync } from 'node:fs';
import { readdir, rename, stat, writeFile } from 'node:fs/promises';
import { DataError, UsageError } from '../../core/errors.ts';
import { fileError, textFile, writing } from '../files.ts';

/** What was asked and how far it came, beside the target. Every part of it decides bytes of the result. */
export interface Journal {
  readonly version: 1;
  readonly asked: Record<string, unknown>;
  /** Places in the list of pictures that were left out so far. */
  readonly leftOut: number[];
}
export const journalPath = (out: string) => `${out.replace(/[/\\]+$/, '')}.prepare.json`;

async function readJournal(path: string): Promise<Journal | undefined> {
  if (!existsSync(path)) return undefined;
  try {
    const journal = JSON.parse(textFile(path, 'the journal of a conversion')) as Journal;
    if (journal.version === 1 && Array.isArray(journal.leftOut) && typeof journal.asked === 'object' && journal.asked)
      return journal;
  } catch {}
  throw new DataError(
    `${path}: expected the journal of an interrupted conversion, got something else\nRemove it, and what was written, to start anew.`,
  );
}

export async function writeJournal(path: string, journal: Journal): Promise<void> {
  try {
    await writeFile(`${path}.new`, JSON.stringify(journal), { flag: writing });
    await rename(`${path}.new`, path);
  } catch (error) {
    throw fileError(path, 'to write this file', error);
  }
}

/** Whether an earlier call is gone on with. Throws where something else is in the way. */
export async function claim(
  out: string,
  asked: Record<string, unknown>,
  overwrite: boolean,
): Promise<Journal | undefined> {
  const path = journalPath(out);
  const before = await readJournal(path);
  if (before && JSON.stringify(before.asked) === JSON.stringify(asked)) return before;
  if (before && !overwrite) {
    const differing = Object.keys({ ...before.asked, ...asked }).find(
      (k) => JSON.stringify(before.asked[k]) !== JSON.stringify(asked[k]),
    )!;
    throw new UsageError(
      `${out}: an interrupted conversion is here, made with another '${differing}': ${JSON.stringify(before.asked[differing])}, now ${JSON.stringify(asked[differing])}\nRun it as before to go on with it, or pass --overwrite to start anew.`,
    );
  }
  const there = await stat(out).catch(() => undefined);
  if (there?.isDirectory() && (await readdir(out)).length > 0)
    throw new UsageError(
      `${out}: expected a new or empty folder, but something is in it\nName another folder, or empty this one.`,
    );
  if (there && !there.isDirectory() && !overwrite)
    throw new UsageError(`${out}: expected a new file, but it is there already\nName another, or pass --overwrite.`);
  return undefined;
}
