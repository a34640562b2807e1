/**
 * Saves a damaged picture file in place (Node). The original stays beside it as `NAME.bad`; the picture's own name always
 * holds a whole file, the old or the new.
 */
import { constants } from 'node:fs';
import { copyFile, realpath, stat } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { DataError } from '../../core/errors.ts';
import { wholeFile } from '../files.ts';
import { writeWhole } from '../partFile.ts';
import { repairPicture } from './check.ts';

export type RepairOutcome = { readonly original: string } | { readonly notRepaired: string };

/** Whether a real path lies in or under a folder. */
async function within(path: string, folder: string): Promise<boolean> {
  const way = relative(await realpath(folder), path);
  return way !== '' && !/^\.\.([\\/]|$)/.test(way) && !/^([a-z]:|[\\/])/i.test(way);
}

/**
 * Repairs a picture file of the set at `root`, a folder or a list. Files elsewhere, to which a list or a link may lead, are
 * left alone.
 */
export async function repairFile(path: string, root: string): Promise<RepairOutcome> {
  try {
    const file = await realpath(path);
    const folder = (await stat(root)).isDirectory() ? root : dirname(root);
    if (!(await within(file, folder))) return { notRepaired: `it lies outside of ${folder}` };
    const damaged = Buffer.from(await wholeFile(file, 'a picture'));
    const repaired = repairPicture({ bytes: damaged }, path);
    if (!repaired) return { notRepaired: 'too little of it is there' };
    const original = `${file}.bad`;
    await copyFile(file, original, constants.COPYFILE_EXCL).catch(async (error) => {
      // An earlier repair may have been cut off here.
      if (error.code !== 'EEXIST' || !damaged.equals(await wholeFile(original, 'the original of a picture')))
        throw error;
    });
    await writeWhole(file, (sink) => sink.write(repaired.bytes));
    return { original };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof DataError) return { notRepaired: message.split('\n', 1)[0]! };
    return { notRepaired: code === 'EEXIST' ? `${path}.bad is there already` : (code ?? message) };
  }
}
