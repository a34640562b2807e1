/**
 * Writes pictures as files below a folder, so that a killed program can go on (Node). Under the folder and list formats.
 *
 * The one idea: a hidden file beside them lists the pictures that are whole, a line `path label` each. It says how far an
 * interrupted call came, which names are taken, and what was written, so that none of it is kept in memory.
 */
import { createReadStream, existsSync } from 'node:fs';
import { lstat, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '../../core/errors.ts';
import { pictureKind, withEnding } from '../../image/pictureKind.ts';
import { fileError, fileSink } from '../files.ts';
import { safePath } from '../pathName.ts';
import { progressFile } from './folder.ts';
import type { CreateOptions } from './format.ts';

/** Pictures between two entries of the progress in its file. */
const every = 128;

export interface PictureWriter {
  /** Pictures that are whole, also those of a call before. */
  readonly written: number;
  /**
   * Writes a picture file to a path below the folder, whose ending is corrected to what the bytes are.
   * @param shown what errors call the picture
   */
  add(path: string, label: number, bytes: Uint8Array, shown: string): Promise<void>;
  /** Paths and labels of all pictures so far, in order. */
  pictures(): AsyncGenerator<{ path: string; label: number }>;
  /** Notes that the set is whole. */
  finish(): Promise<void>;
  abort(): Promise<void>;
}

/** The path with the ending of what the bytes are. Throws DataError for neither JPEG nor PNG, or where a reader would not see it. */
function pictureName(path: string, bytes: Uint8Array, folder: string, shown: string): string {
  const kind = pictureKind(bytes);
  if (!kind) {
    const start = [...bytes.subarray(0, 4)].map((v) => v.toString(16).padStart(2, '0')).join(' ');
    throw new DataError(
      `${folder}: expected a JPEG or PNG file for ${shown}, got ${bytes.length} bytes that begin ${start || 'nowhere'}\nIt may be damaged: leave it out or convert it.`,
    );
  }
  const named = safePath(path, folder);
  if (/(^|\/)\./.test(named) || /\p{Cs}/u.test(named))
    throw new DataError(
      `${folder}: expected a name that is not hidden and is whole text for ${shown}, got ${JSON.stringify(named.slice(0, 200))}\nRename it.`,
    );
  return withEnding(named, kind);
}

/** Makes a folder where there is none. Throws DataError where something else is there, such as a link to another place. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const found = await lstat(path).catch(() => undefined);
    if (!found?.isDirectory()) throw fileError(path, 'to make this folder', error);
  }
}

/** The lines of a file that are whole, many at a time. */
async function* linesOf(path: string): AsyncGenerator<string[]> {
  let rest = '';
  try {
    for await (const chunk of createReadStream(path, 'utf8')) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      yield lines;
    }
  } catch (error) {
    throw fileError(path, 'the progress of writing this set', error);
  }
}

const pictureOf = (line: string) => {
  const at = line.lastIndexOf(' ');
  return { path: line.slice(0, at), label: Number(line.slice(at + 1)) };
};

/**
 * Writes pictures below a folder, which is made, and is empty unless an interrupted call is gone on with. What is noted
 * outlives the program's end, not a loss of power.
 * @throws DataError where the folder holds something else
 */
export async function pictureWriter(folder: string, { resume = false }: CreateOptions): Promise<PictureWriter> {
  const journal = join(folder, progressFile);
  const failed = (path: string) => (error: unknown) => {
    throw fileError(path, 'to write this', error);
  };
  await mkdir(folder, { recursive: true }).catch(failed(folder));
  const present = await readdir(folder).catch(failed(folder));
  const interrupted = present.includes(progressFile);
  const other = interrupted ? 'the pictures of an interrupted call' : present.find((name) => !name.startsWith('.'));
  if (other !== undefined && !(interrupted && resume))
    throw new DataError(
      `${folder}: expected an empty folder to write to, got one with ${other}\n${interrupted ? 'Go on with that call' : 'Name another'}, or remove it.`,
    );

  let written = 0;
  /** By its name as the file system compares it: the folders below, as they were named. */
  const folders = new Map<string, string>();
  let keep = 0;
  if (interrupted)
    for await (const lines of linesOf(journal))
      for (const line of lines) {
        const { path } = pictureOf(line);
        for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1))
          folders.set(path.slice(0, at), path.slice(0, at));
        keep += Buffer.byteLength(line) + 1;
        written++;
      }
  for (const name of folders.keys()) await makeFolder(join(folder, name));
  const resumedAt = written;
  const progress = await fileSink(journal, keep);
  // On most Macs and Windows 'a' and 'A' are one file.
  const blind = existsSync(join(folder, progressFile.toUpperCase()));
  const keyOf = (name: string) => (blind ? name.normalize('NFC').toLowerCase() : name);
  if (blind) for (const name of [...folders.keys()]) folders.set(keyOf(name), name);

  async function* pictures() {
    await progress.flush();
    for await (const lines of linesOf(journal)) for (const line of lines) yield pictureOf(line);
  }
  async function makeFolders(path: string, shown: string) {
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
      const name = path.slice(0, at);
      const before = folders.get(keyOf(name));
      if (before === name) continue;
      if (before !== undefined)
        throw new DataError(
          `${folder}: expected names that this file system tells apart, got '${before}' and '${name}' (${shown})\nWrite to one that tells upper from lower case, or rename one.`,
        );
      await makeFolder(join(folder, name));
      folders.set(keyOf(name), name);
    }
  }
  /** Throws the DataError of a name that is taken; a picture that an interrupted call did not note is none. */
  async function checkTaken(path: string, shown: string) {
    await progress.flush();
    const key = keyOf(path);
    let i = 0;
    for await (const lines of linesOf(journal))
      for (const line of lines) {
        const { path: taken } = pictureOf(line);
        if (keyOf(taken) === key)
          throw new DataError(
            `${folder}: expected images with names of their own, but image ${written} (${shown}) and image ${i} are both '${taken}'\nRename one.`,
          );
        i++;
      }
  }

  return {
    get written() {
      return written;
    },
    async add(named, label, bytes, shown) {
      const path = pictureName(named, bytes, folder, shown);
      await makeFolders(path, shown);
      const full = join(folder, path);
      await writeFile(full, bytes, { flag: 'wx' }).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw fileError(full, 'to write this picture', error);
        await checkTaken(path, shown);
        // It can only be left from the interrupted call.
        if (!interrupted || written - resumedAt > every) throw fileError(full, 'no file of this name', error);
        // Not through a link that lies there.
        await rm(full).catch(failed(full));
        await writeFile(full, bytes, { flag: 'wx' }).catch(failed(full));
      });
      await progress.write(Buffer.from(`${path} ${label}\n`));
      written++;
      if (written % every === 0) await progress.flush();
    },
    pictures,
    async finish() {
      await progress.close();
      await rm(journal).catch(failed(journal));
    },
    async abort() {
      await progress.close();
    },
  };
}
