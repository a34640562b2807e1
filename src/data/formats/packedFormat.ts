/** Packed files on disk: one file, gone on with after an interruption. */
import { existsSync } from 'node:fs';
import type { ByteSource } from '../bytes.ts';
import { fileSink, fileSource } from '../files.ts';
import { finishPart, partOf } from '../partFile.ts';
import type { CreateOptions, DataFormat, OpenOptions, SetWriter } from './format.ts';
import { isPacked, type PackedDamage, type PackedSet, packedDamage, packedDataset } from './packed.ts';
import { type PackedWriterOptions, packedState, packedWriter } from './packedWriter.ts';

async function withFile<T>(path: string, use: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await fileSource(path);
  try {
    return await use(source);
  } finally {
    await source.close();
  }
}

/** Opens a packed file. Throws DataError naming it. */
export const openPacked = (path: string, options: OpenOptions = {}): Promise<PackedSet> =>
  withFile(path, (source) => packedDataset(source, options));

/** The damaged parts of a packed file; none where all is well. Throws DataError where it is no packed file. */
export const verifyPacked = (path: string, options: OpenOptions = {}): Promise<PackedDamage[]> =>
  withFile(path, (source) => packedDamage(source, options));

/** Creates a packed file, or goes on with one. `finish` puts it in the place of what was there before. */
export async function createPacked(
  path: string,
  { resume = false, ...options }: CreateOptions & Omit<PackedWriterOptions, 'resume'> = {},
): Promise<SetWriter> {
  const part = partOf(path);
  const state = resume && existsSync(part) ? await withFile(part, packedState) : undefined;
  const sink = await fileSink(part, state?.end);
  const writer = await packedWriter(sink, { ...options, resume: state }).catch(async (error) => {
    await sink.close();
    throw error;
  });
  return {
    ...writer,
    async finish(set) {
      await writer.finish(set);
      await finishPart(path);
    },
  };
}

export const packedFormat: DataFormat = {
  name: 'packed',
  means: "facegrad's own file of images, labels, names and checksums",
  ending: '.faces',
  holds: { labels: true, names: true, pairs: true, mixed: true, raw: true },
  detect: (_path, folder, head) => !folder && isPacked(head),
  open: openPacked,
  create: createPacked,
};
