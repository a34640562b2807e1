/** The journal of a conversion (prepare.ts): what lets the same command go on after it was cut off (Node). */
import { existsSync } from 'node:fs';
import { appendFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { DataError, UsageError } from '../../core/errors.ts';
import { fileError, textFile, writing } from '../files.ts';

/** What was asked and how far it came, beside the target: a line of JSON, then a line for each picture left out. */
export interface Journal {
  /** Every part of it decides bytes of the result. */
  readonly asked: Record<string, unknown>;
  /** Places in the list of pictures that were left out so far. */
  readonly leftOut: readonly number[];
  /** Every picture is written, and the set is about to be completed: a last line `all`. */
  readonly finishing?: boolean;
}
export const journalPath = (out: string) => `${out.replace(/[/\\]+$/, '')}.prepare.jsonl`;

function readJournal(path: string): Journal | undefined {
  if (!existsSync(path)) return undefined;
  try {
    // What follows the last line break was cut off.
    const [first, ...places] = textFile(path, 'the journal of a conversion').split('\n').slice(0, -1);
    const { version, asked } = JSON.parse(first!);
    const finishing = places.at(-1) === 'all';
    if (finishing) places.pop();
    if (version === 1 && typeof asked === 'object' && asked && places.every((p) => /^\d+$/.test(p)))
      return { asked, leftOut: places.map(Number), finishing };
  } catch {}
  throw new DataError(
    `${path}: expected the journal of an interrupted conversion, got something else\nRemove it, and what was written, to start anew.`,
  );
}

/** Writes the journal as it is now, also over one that was cut off in a line. */
export async function startJournal(path: string, { asked, leftOut }: Journal): Promise<void> {
  try {
    const lines = [JSON.stringify({ version: 1, asked }), ...leftOut];
    await writeFile(`${path}.new`, lines.map((l) => `${l}\n`).join(''), { flag: writing });
    await rename(`${path}.new`, path);
  } catch (error) {
    await rm(`${path}.new`, { force: true }).catch(() => {});
    throw fileError(path, 'to write this file', error);
  }
}

/** Notes that the picture at a place was left out, or that all are written. */
export async function noteInJournal(path: string, place: number | 'all'): Promise<void> {
  await appendFile(path, `${place}\n`).catch((error) => {
    throw fileError(path, 'to write this file', error);
  });
}

/**
 * Whether an earlier call is gone on with. Throws where something else is in the way.
 * @param folder that the pictures go to, where the set is files of their own
 */
export async function claim(
  out: string,
  asked: Record<string, unknown>,
  overwrite: boolean,
  folder: string | undefined,
): Promise<Journal | undefined> {
  const path = journalPath(out);
  const before = readJournal(path);
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
  if (there?.isDirectory() && folder === undefined)
    throw new UsageError(`${out}: expected a file to write, but a folder is there\nName a file, or remove the folder.`);
  if (there && !there.isDirectory() && folder === out)
    throw new UsageError(
      `${out}: expected a folder to write to, but a file is there\nName a folder, or remove the file.`,
    );
  if (folder !== undefined && (await readdir(folder).catch(() => [])).length > 0)
    throw new UsageError(
      `${folder}: expected a new or empty folder for the pictures, but something is in it\nName another ${folder === out ? 'folder' : 'target'}, or remove this folder${overwrite ? ': --overwrite replaces no folders' : ''}.`,
    );
  if (there && !there.isDirectory() && !overwrite)
    throw new UsageError(`${out}: expected a new file, but it is there already\nName another, or pass --overwrite.`);
  return undefined;
}
