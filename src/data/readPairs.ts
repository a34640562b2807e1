/** Files of pairs (Node). Their forms are in pairs.ts. */
import type { Dataset, PairSet, PairTable } from './dataset.ts';
import { textFile } from './files.ts';
import { openPictures } from './formats/folder.ts';
import { type NamedImages, parsePairs } from './pairs.ts';

/** Reads a file of pairs of a set's images. Throws DataError with file and line. */
export function readPairTable(path: string, images: NamedImages): PairTable {
  return parsePairs(textFile(path, 'a pairs file'), path, images);
}

/**
 * Reads a file of pairs (LFW's pairs.txt, or `left.jpg right.jpg 1` lines) of the pictures in a folder, or of any set's
 * images. Throws DataError with file and line.
 */
export function readPairs(path: string, images: string | Dataset): PairSet {
  const set = typeof images === 'string' ? openPictures(images) : images;
  return { name: path, images: set, pairs: readPairTable(path, set) };
}
