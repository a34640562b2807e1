/**
 * Pictures for the commands that use a network: which files are meant, reading them in the network's size, and their
 * embeddings, read ahead of the network.
 */
import { readFile, stat } from 'node:fs/promises';
import { SingleBar } from 'cli-progress';
import { DataError, UsageError } from '../core/errors.ts';
import { picturesIn } from '../data/folder.ts';
import type { Embedder, FaceImage } from '../evaluate/embedder.ts';
import { combineFlip, type Flip } from '../evaluate/verification.ts';
import { decodeImage } from '../image/decode.ts';
import { resize } from '../image/resize.ts';
import { ioError } from '../train/checkpointFile.ts';

export const flips: readonly Flip[] = ['none', 'sum', 'unitSum', 'concat'];

/** One of a few words. Throws UsageError naming the option. */
export function oneOf<T extends string>(option: string, value: string, words: readonly T[]): T {
  if ((words as readonly string[]).includes(value)) return value as T;
  throw new UsageError(`--${option}: expected ${words.join(', ')}, got '${value}'\nUse one of these.`);
}

/**
 * The pictures that paths name: files as they are, folders as the pictures in and under them, sorted by name; hidden files
 * are left out.
 * @throws DataError for a path that is not there, or a folder without pictures
 */
export async function picturesOf(paths: readonly string[]): Promise<string[]> {
  const out: string[] = [];
  for (const path of paths) {
    const found = await stat(path).catch((e) => {
      throw ioError(`reading ${path}`, e);
    });
    if (!found.isDirectory()) {
      out.push(path);
      continue;
    }
    const inside = picturesIn(path);
    if (inside.length === 0)
      throw new DataError(`${path}: expected JPEG or PNG pictures in this folder, found none\nCheck the path.`);
    out.push(...inside);
  }
  return out;
}

/** Reads pictures in the network's input size. A picture of another size is scaled, and the first such one is reported. */
export function faceReader({ preprocessing: { inputSize } }: Embedder): (path: string) => Promise<FaceImage> {
  const [height, width] = inputSize;
  let told = false;
  return async (path) => {
    const bytes = await readFile(path).catch((e) => {
      throw ioError(`reading ${path}`, e);
    });
    const image = decodeImage(bytes, path);
    if (image.width === width && image.height === height) return image;
    if (!told)
      process.stderr.write(
        `warning: ${path} has ${image.width}x${image.height} pixels, the network takes ${width}x${height}: such pictures are scaled, and not aligned by facegrad: results are only as good as the crops.\n`,
      );
    told = true;
    return resize(image, width, height);
  };
}

/** Progress on standard error, so that standard output stays the result's; nothing where that is no terminal. */
export function progressBar(total: number, what: string): { update(done: number): void; stop(): void } {
  if (!process.stderr.isTTY || total < 2) return { update() {}, stop() {} };
  const bar = new SingleBar({
    format: `${what} {bar} {value}/{total} | {eta_formatted} left`,
    barsize: 30,
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  });
  bar.start(total, 0);
  return { update: (done) => bar.update(done), stop: () => bar.stop() };
}

/** Embeddings of picture files, [n, dim], combined with those of their mirror images by the flip rule. */
export async function embedFiles(
  embedder: Embedder,
  paths: readonly string[],
  flip: Flip,
): Promise<{ embeddings: Float32Array; dim: number }> {
  const read = faceReader(embedder);
  const bar = progressBar(paths.length, 'embedding');
  const chunk = 64;
  const parts: { embeddings: Float32Array; dim: number }[] = [];
  const readFrom = async (at: number) => {
    const images: FaceImage[] = [];
    for (const path of paths.slice(at, at + chunk)) images.push(await read(path));
    return images;
  };
  try {
    let next = readFrom(0);
    for (let at = 0; at < paths.length; at += chunk) {
      const images = await next;
      const running = (async () => {
        const upright = await embedder.embed(images);
        const mirrored = flip === 'none' ? upright : await embedder.embed(images, { mirrored: true });
        return combineFlip(upright, mirrored, embedder.embeddingSize, flip);
      })();
      // The next pictures are decoded while the network's threads run on these.
      next = at + chunk < paths.length ? readFrom(at + chunk) : Promise.resolve([]);
      const [part] = await Promise.all([running, next]);
      parts.push(part);
      bar.update(Math.min(paths.length, at + chunk));
    }
  } finally {
    bar.stop();
  }
  const dim = parts[0]?.dim ?? embedder.embeddingSize;
  const embeddings = new Float32Array(paths.length * dim);
  let at = 0;
  for (const p of parts) {
    embeddings.set(p.embeddings, at);
    at += p.embeddings.length;
  }
  return { embeddings, dim };
}
