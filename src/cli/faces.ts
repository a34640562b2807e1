/**
 * Pictures for the commands that use a network: which files are meant, reading them in the network's size, and their
 * embeddings, read ahead of the network.
 */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { DataError } from '../core/errors.ts';
import { type ImageSource, sourceName } from '../data/dataset.ts';
import { textFile } from '../data/files.ts';
import { identitiesFile, isPicture, openFolder, picturesIn } from '../data/formats/folder.ts';
import { parseLandmarks } from '../data/landmarks.ts';
import { openDataset } from '../data/open.ts';
import { readPicture } from '../data/readImage.ts';
import type { Embedder, FaceImage } from '../evaluate/embedder.ts';
import { combineFlip, type Flip } from '../evaluate/verification.ts';
import { cutCrop, hasTemplate } from '../image/align.ts';
import { enoughPictures, looksAligned, looksAlignedSet } from '../image/alignedCheck.ts';
import { resize } from '../image/resize.ts';
import { ioError } from '../train/checkpointFile.ts';
import { errorBar } from './bar.ts';

/** A picture by the name that results show. */
export interface Picture {
  readonly name: string;
  /** Its path within its folder or set, '/' between its parts. */
  readonly path: string;
  /** −1 where the person is not known, or where pictures come from several folders or sets, whose labels would mix. */
  readonly label: number;
  readonly source: ImageSource;
}

/** Labels of pictures in a folder, by their paths in it: those of the folder format; −1 where some are in no folder of a person. */
function labelsIn(folder: string, names: readonly string[]): number[] {
  if (existsSync(join(folder, identitiesFile))) {
    const set = openFolder(folder);
    const labels = new Map(Array.from({ length: set.length }, (_, i) => [set.imageName(i), set.label(i)]));
    return names.map((n) => labels.get(n) ?? -1);
  }
  if (names.some((n) => !n.includes('/'))) return names.map(() => -1);
  const people = new Map<string, number>();
  return names.map((n) => {
    const person = n.slice(0, n.indexOf('/'));
    const label = people.get(person) ?? people.size;
    people.set(person, label);
    return label;
  });
}

/**
 * The pictures that paths name: picture files as they are, folders as the pictures in and under them, data sets as what they
 * hold, in order of their names.
 * @throws DataError for a path that is not there, or holds no pictures
 */
export async function picturesOf(paths: readonly string[]): Promise<Picture[]> {
  const out: Picture[] = [];
  const single = paths.length === 1;
  for (const path of paths) {
    const found = await stat(path).catch((e) => {
      throw ioError(`reading ${path}`, e);
    });
    if (found.isDirectory()) {
      const inside = picturesIn(path);
      if (inside.length > 0) {
        const below = inside.map((p) => relative(path, p).replaceAll(sep, '/'));
        const labels = single ? labelsIn(path, below) : undefined;
        inside.forEach((p, i) => {
          out.push({ name: p, path: below[i]!, label: labels?.[i] ?? -1, source: { kind: 'file', path: p } });
        });
        continue;
      }
    } else if (isPicture(path)) {
      out.push({ name: path, path: basename(path), label: -1, source: { kind: 'file', path } });
      continue;
    }
    const set = await openDataset(path);
    for (let i = 0; i < set.length; i++) {
      const name = set.imageName(i);
      out.push({ name, path: name, label: single ? set.label(i) : -1, source: set.source(i) });
    }
  }
  return out;
}

/** The five points of a picture. Throws DataError where they are not known. */
type PointsOf = (source: ImageSource) => readonly number[];

/** Five points by picture from a landmarks file, found by the picture's path. */
function pointsFrom(file: string): PointsOf {
  const landmarks = parseLandmarks(textFile(file, 'a landmarks file'), file);
  return (source) => {
    const found = landmarks.find(sourceName(source));
    if (found) return found;
    throw new DataError(
      `${file}: expected five points of ${sourceName(source)}, found none\nAdd them, or leave the picture out.`,
    );
  };
}

/** Reads pictures in the network's input size, and says on standard error what is wrong with them. */
interface FaceReader {
  /** A picture of another size is scaled, and the first such one is reported. */
  read(source: ImageSource): Promise<FaceImage>;
  /** Warns if what was read does not look like aligned crops. */
  judge(): void;
}

function faceReader({ preprocessing: { inputSize } }: Embedder, pointsOf?: PointsOf): FaceReader {
  const [height, width] = inputSize;
  let told = false;
  const scores: number[] = [];
  const read = async (source: ImageSource) => {
    const image = await readPicture(source);
    if (pointsOf) return { ...image, points: pointsOf(source) };
    if (scores.length < enoughPictures && source.kind !== 'synthetic' && hasTemplate(inputSize))
      scores.push(looksAligned(image, inputSize).score);
    if (image.width === width && image.height === height) return image;
    const cut = cutCrop(image, inputSize);
    if (cut) return cut;
    if (!told)
      process.stderr.write(
        `warning: ${sourceName(source)} has ${image.width}x${image.height} pixels, the network takes ${width}x${height}: such pictures are scaled; results are only as good as the crops.\n`,
      );
    told = true;
    return resize(image, width, height);
  };
  const judge = () => {
    const { aligned, why } = looksAlignedSet(scores);
    if (!aligned)
      process.stderr.write(
        `warning: ${why}: results are only as good as the crops; 'facegrad prepare --align' makes them from five points.\n`,
      );
  };
  return { read, judge };
}

/**
 * Embeddings of pictures, [n, dim], combined with those of their mirror images by the flip rule.
 * @param landmarks a file of five points a picture, to align them by; without it they are crops already
 */
export async function embedPictures(
  embedder: Embedder,
  pictures: readonly ImageSource[],
  flip: Flip,
  landmarks?: string,
): Promise<{ embeddings: Float32Array; dim: number }> {
  const faces = faceReader(embedder, landmarks === undefined ? undefined : pointsFrom(landmarks));
  const bar = errorBar();
  const chunk = 64;
  const parts: { embeddings: Float32Array; dim: number }[] = [];
  const readFrom = async (at: number) => {
    const images: FaceImage[] = [];
    for (const source of pictures.slice(at, at + chunk)) images.push(await faces.read(source));
    return images;
  };
  try {
    let next = readFrom(0);
    for (let at = 0; at < pictures.length; at += chunk) {
      const images = await next;
      const running = (async () => {
        const upright = await embedder.embed(images);
        const mirrored = flip === 'none' ? upright : await embedder.embed(images, { mirrored: true });
        return combineFlip(upright, mirrored, embedder.embeddingSize, flip);
      })();
      // The next pictures are decoded while the network's threads run on these.
      next = at + chunk < pictures.length ? readFrom(at + chunk) : Promise.resolve([]);
      const [part] = await Promise.all([running, next]);
      parts.push(part);
      const done = Math.min(pictures.length, at + chunk);
      if (pictures.length > 1) bar.show('embedding', done, pictures.length, `${done}/${pictures.length}`);
    }
  } finally {
    bar.stop();
  }
  faces.judge();
  const dim = parts[0]?.dim ?? embedder.embeddingSize;
  const embeddings = new Float32Array(pictures.length * dim);
  let at = 0;
  for (const p of parts) {
    embeddings.set(p.embeddings, at);
    at += p.embeddings.length;
  }
  return { embeddings, dim };
}
