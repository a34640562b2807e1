/**
 * A data set as one picture to look at (Node): people in rows, or pairs side by side.
 *
 * The one idea: what is shown is drawn with a seed, over the whole set, so that the first people of the alphabet are not all
 * that anyone ever sees.
 */
import { DataError } from '../../core/errors.ts';
import { fold, type Key, keyOf } from '../../core/random.ts';
import type { RgbImage } from '../../image/decode.ts';
import { resize } from '../../image/resize.ts';
import { contactSheet } from '../../image/sheet.ts';
import type { Dataset, PairTable } from '../dataset.ts';
import { labelsOf, type People, peopleOf } from '../people.ts';
import { readPicture } from '../readImage.ts';
import { numbersWhere, spread } from './setFacts.ts';

export interface SetSheetOptions {
  /** People, or rows of pairs. Default 10. */
  readonly rows?: number;
  /** Images of a person. Default 8. */
  readonly columns?: number;
  /** Side of a picture in pixels. Default 112. */
  readonly tile?: number;
  /** Of the choice. Default 1. */
  readonly seed?: number;
}

interface Tile {
  /** Number of the image; undefined for an empty place. */
  readonly image?: number;
  readonly caption?: string;
}

/** A letter of the sheet's font takes so many pixels. */
const letter = 6;

/** Words over several tiles, as many to each as fit. */
function overTiles(text: string, tiles: number, tile: number): string[] {
  const most = Math.floor((tile + 1) / letter);
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines[lines.length - 1];
    if (last !== undefined && (last.length + 1 + word.length <= most || lines.length === tiles))
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

const shown = (name: string) => name.replaceAll('_', ' ').trim() || '?';

function rowsOfPeople(set: Dataset, people: People, rows: number, columns: number, tile: number, key: Key): Tile[][] {
  const { starts, images } = people;
  const present = numbersWhere(set.classes, (l) => starts[l + 1]! > starts[l]!);
  return Array.from(spread(rows, present.length, key), (k) => {
    const label = present[k]!;
    const from = starts[label]!;
    const count = starts[label + 1]! - from;
    const of = spread(columns, count, fold(key, label));
    const words = overTiles(
      `${shown(set.identityName(label))}: ${count} image${count === 1 ? '' : 's'}`,
      of.length,
      tile,
    );
    return Array.from(of, (j, c) => ({ image: images[from + j]!, caption: words[c] ?? '' }));
  });
}

/** Pairs of the same person to the left, of different ones to the right. */
function rowsOfPairs(pairs: PairTable, rows: number, key: Key): Tile[][] {
  const side = (same: number): Tile[][] => {
    const all = numbersWhere(pairs.same.length, (k) => pairs.same[k] === same);
    return Array.from(spread(rows, all.length, fold(key, same)), (j) => {
      const k = all[j]!;
      return [
        { image: pairs.left[k]!, caption: same ? 'same' : 'different' },
        { image: pairs.right[k]!, caption: `pair ${k + 1} fold ${pairs.fold[k]! + 1}` },
      ];
    });
  };
  const [same, different] = [side(1), side(0)];
  const both = same.length > 0 && different.length > 0;
  return Array.from({ length: Math.max(same.length, different.length) }, (_, k) => {
    if (!both) return same[k] ?? different[k]!;
    return [...(same[k] ?? [{}, {}]), {}, ...(different[k] ?? [{}, {}])];
  });
}

/** Pictures whose people are not known, in rows. */
function rowsOfImages(set: Dataset, rows: number, columns: number, key: Key): Tile[][] {
  const chosen = Array.from(spread(rows * columns, set.length, key), (image) => ({
    image,
    caption: set.imageName(image).split('/').at(-1)!,
  }));
  return Array.from({ length: Math.ceil(chosen.length / columns) }, (_, r) =>
    chosen.slice(r * columns, (r + 1) * columns),
  );
}

/** A picture as large as its tile shows it: photographs of 30 megapixels are not to be held by the dozen. */
function small(image: RgbImage, tile: number): RgbImage {
  const side = (n: number) => Math.max(1, Math.round((n * tile) / Math.max(image.width, image.height)));
  return resize(image, side(image.width), side(image.height), 'area');
}

/**
 * A contact sheet of a set: its pairs where it has some, otherwise its people. A picture that cannot be read is a grey
 * tile.
 * @throws UsageError for options that are not whole and positive
 */
export async function setSheet(set: Dataset, options: SetSheetOptions = {}): Promise<RgbImage> {
  const { rows = 10, columns = 8, tile = 112, seed = 1 } = options;
  const key = fold(keyOf(seed), 'sheet');
  const people = peopleOf(labelsOf(set), set.classes);
  const lines = set.pairs
    ? rowsOfPairs(set.pairs, rows, key)
    : people.images.length > 0
      ? rowsOfPeople(set, people, rows, columns, tile, key)
      : rowsOfImages(set, rows, columns, key);
  const across = Math.max(1, ...lines.map((l) => l.length));
  const plain = (level: number): RgbImage => ({ width: 1, height: 1, data: new Uint8Array(3).fill(level) });
  const images: RgbImage[] = [];
  const captions: string[] = [];
  for (const line of lines)
    for (let c = 0; c < across; c++) {
      const { image, caption = '' } = line[c] ?? {};
      captions.push(caption);
      if (image === undefined) images.push(plain(255));
      else
        try {
          images.push(small(await readPicture(set.source(image)), tile));
        } catch (error) {
          if (!(error instanceof DataError)) throw error;
          images.push(plain(128));
          captions[captions.length - 1] = 'cannot be read';
        }
    }
  return contactSheet(images, { columns: across, tile, captions });
}
