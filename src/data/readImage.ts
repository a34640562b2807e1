/** Images of any source in Node, with the files of containers kept open. */

import { fitCrop } from '../image/align.ts';
import type { RgbImage } from '../image/decode.ts';
import { type ByteSource, memorySource } from './bytes.ts';
import type { ImageSource } from './dataset.ts';
import { fileSource, wholeFile } from './files.ts';
import { type ImageBytes, imageBytes, type OpenPath, openImage } from './source.ts';

/** Containers that stay open; sets with more take turns. */
const mostOpen = 32;

/** An open container. */
interface Container {
  readonly file: Promise<ByteSource>;
  /** Reads under way. */
  users: number;
  /** To be closed when they have ended. */
  leaving: boolean;
}
const opened = new Map<string, Container>();

const close = ({ file }: Container) => file.then((f) => f.close()).catch(() => {});

function leave(path: string, container: Container): Promise<void> | undefined {
  opened.delete(path);
  container.leaving = true;
  return container.users === 0 ? close(container) : undefined;
}

/** Reads from containers, which stay open for the next read. */
async function withContainers<T>(read: (open: OpenPath) => Promise<T>): Promise<T> {
  const used: Container[] = [];
  const open = (path: string): Promise<ByteSource> => {
    const container = opened.get(path) ?? { file: fileSource(path), users: 0, leaving: false };
    // Last in the map: the first is the one that was not asked for longest.
    opened.delete(path);
    opened.set(path, container);
    container.users++;
    used.push(container);
    container.file.catch(() => opened.get(path) === container && opened.delete(path));
    const [oldest] = opened;
    if (opened.size > mostOpen && oldest) leave(...oldest);
    return container.file;
  };
  try {
    return await read(open);
  } finally {
    for (const container of used) if (--container.users === 0 && container.leaving) close(container);
  }
}

/** A picture file of its own is read whole and not kept open. */
const pictureFile = async (path: string): Promise<ByteSource> =>
  memorySource(await wholeFile(path, 'a readable picture'), path);

/** The bytes of an image as its set stores them. Throws DataError naming the file. */
export const readBytes = (source: ImageSource): Promise<ImageBytes> =>
  source.kind === 'file' ? imageBytes(source, pictureFile) : withContainers((open) => imageBytes(source, open));

/** Memory for files while they are decoded, so that reading leaves little to collect. */
const scratch: Uint8Array[] = [];
const scratchBytes = 1 << 18;

/** The picture of a source at its own size. Throws DataError naming the file. */
export async function readPicture(source: ImageSource): Promise<RgbImage> {
  if (source.kind === 'file') return openImage(source, pictureFile);
  const memory = scratch.pop() ?? new Uint8Array(scratchBytes);
  let free = true;
  const image = await withContainers((open) =>
    openImage(source, async (path) => {
      const file = await open(path);
      return {
        ...file,
        read(at, length) {
          const fits = free && length <= scratchBytes;
          free &&= !fits;
          return file.read(at, length, fits ? memory : undefined);
        },
      };
    }),
  );
  // Bare pixels are still where they were read.
  const kept = image.data.buffer === memory.buffer ? { ...image, data: image.data.slice() } : image;
  scratch.push(memory);
  return kept;
}

/** RGB pixels [h, w, 3] of a source, resized if its own size differs. */
export async function readImage(source: ImageSource, [height, width]: readonly [number, number]): Promise<Uint8Array> {
  const image = await readPicture(source);
  return fitCrop(image, [height, width]).data;
}

/** Closes the containers that reading has opened, so that they can be moved or deleted on every system. */
export async function closeContainers(): Promise<void> {
  await Promise.all([...opened].map((entry) => leave(...entry)));
}
