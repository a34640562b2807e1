/** Images of any source in Node, with the files of containers kept open. */
import type { RgbImage } from '../image/decode.ts';
import { resize } from '../image/resize.ts';
import { type ByteSource, memorySource } from './bytes.ts';
import type { ImageSource } from './dataset.ts';
import { fileSource, wholeFile } from './files.ts';
import { type ImageBytes, imageBytes, openImage } from './source.ts';

/** Containers that stay open: a data set has few. */
const mostOpen = 32;
const opened = new Map<string, Promise<ByteSource>>();
/** Those that have made room for others, until no read of theirs can be under way. */
const leaving = new Set<Promise<ByteSource>>();

const close = (file: Promise<ByteSource>) => file.then((f) => f.close()).catch(() => {});

/** A container's file, opened once. */
function container(path: string): Promise<ByteSource> {
  let file = opened.get(path);
  if (!file) {
    file = fileSource(path);
    file.catch(() => opened.delete(path));
    opened.set(path, file);
    const [oldest] = opened.keys();
    if (opened.size > mostOpen && oldest !== undefined) {
      const gone = opened.get(oldest)!;
      opened.delete(oldest);
      // A read that is under way ends first.
      leaving.add(gone);
      setTimeout(() => leaving.delete(gone) && close(gone), 60_000).unref();
    }
  }
  return file;
}

/** A picture file of its own is read whole and not kept open. */
const pictureFile = async (path: string): Promise<ByteSource> =>
  memorySource(await wholeFile(path, 'a readable picture'), path);
const opener = (source: ImageSource) => (source.kind === 'file' ? pictureFile : container);

/** The bytes of an image as its set stores them. Throws DataError naming the file. */
export const readBytes = (source: ImageSource): Promise<ImageBytes> => imageBytes(source, opener(source));

/** Memory for files while they are decoded, so that reading leaves little to collect. */
const scratch: Uint8Array[] = [];
const scratchBytes = 1 << 18;

/** The picture of a source at its own size. Throws DataError naming the file. */
export async function readPicture(source: ImageSource): Promise<RgbImage> {
  if (source.kind === 'file') return openImage(source, pictureFile);
  const memory = scratch.pop() ?? new Uint8Array(scratchBytes);
  let free = true;
  const image = await openImage(source, async (path) => {
    const file = await container(path);
    return {
      ...file,
      read(at, length) {
        const fits = free && length <= scratchBytes;
        free &&= !fits;
        return file.read(at, length, fits ? memory : undefined);
      },
    };
  });
  // Bare pixels are still where they were read.
  const kept = image.data.buffer === memory.buffer ? { ...image, data: image.data.slice() } : image;
  scratch.push(memory);
  return kept;
}

/** RGB pixels [h, w, 3] of a source, resized if its own size differs. */
export async function readImage(source: ImageSource, [height, width]: readonly [number, number]): Promise<Uint8Array> {
  const image = await readPicture(source);
  return image.width === width && image.height === height ? image.data : resize(image, width, height).data;
}

/** Closes the containers that reading has opened, so that they can be moved or deleted on every system. */
export async function closeContainers(): Promise<void> {
  const files = [...opened.values(), ...leaving];
  opened.clear();
  leaving.clear();
  await Promise.all(files.map(close));
}
