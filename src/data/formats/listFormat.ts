/**
 * A text file of `path label` lines on disk. Writing `x.txt` puts the pictures under `x/`, in the order given, and lists them
 * when all are there; the label of people who are not known is -1.
 */
import { basename, dirname, join } from 'node:path';
import { UsageError } from '../../core/errors.ts';
import { writeWhole } from '../partFile.ts';
import type { CreateOptions, DataFormat, SetWriter } from './format.ts';
import { openList } from './list.ts';
import { pictureWriter } from './pictureWriter.ts';

const ending = /\.(txt|list)$/i;

/** The folder that the pictures of a list go to. */
const folderOf = (path: string) => join(dirname(path), basename(path).replace(ending, ''));

async function create(path: string, options: CreateOptions = {}): Promise<SetWriter> {
  const folder = basename(path).replace(ending, '');
  if (folder === basename(path) || folder === '' || /[\\\r\n]/.test(folder))
    throw new UsageError(
      `${path}: expected a list file such as people.txt, whose pictures go to people/\nLet its name end in .txt.`,
    );
  const writer = await pictureWriter(folderOf(path), options);
  const labels = new Set<number>();
  for await (const { label } of writer.pictures()) if (label >= 0) labels.add(label);
  return {
    get written() {
      return writer.written;
    },
    async add({ name, label, bytes }) {
      await writer.add(name, label, bytes, name);
      if (label >= 0) labels.add(label);
    },
    async finish({ identities }) {
      // A line that begins with # is a comment.
      const prefix = /^[#\s]/.test(folder) ? `./${folder}` : folder;
      const classes = [...labels].reduce((m, l) => Math.max(m, l + 1), identities.length);
      await writeWhole(path, async (list) => {
        for await (const p of writer.pictures()) await list.write(Buffer.from(`${prefix}/${p.path} ${p.label}\n`));
        if (labels.size < classes) await list.write(Buffer.from(`# classes ${classes}\n`));
      });
      await writer.finish();
    },
    abort: () => writer.abort(),
  };
}

export const listFormat: DataFormat = {
  name: 'list',
  means: "a text file of 'path label' lines",
  ending: '.txt',
  holds: { labels: true, names: true, pairs: false, mixed: true, raw: false },
  detect: (path, folder) => !folder && ending.test(path),
  folder: folderOf,
  open: async (path) => openList(path),
  create,
};
