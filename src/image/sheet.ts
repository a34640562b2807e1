/**
 * Contact sheets: many pictures in one, with short captions, to look through data or results.
 *
 * The one idea: a grid of equal tiles; a picture is scaled to fit its tile, keeping its shape. Captions are drawn in a
 * font of 5 x 7 pixels: a glyph is seven digits of base 32, one for each row of five pixels, highest bit to the left.
 */
import { UsageError } from '../core/errors.ts';
import type { RgbImage } from './jpeg.ts';
import { resize } from './resize.ts';

const glyphs = new Map(
  `Aehhvhhh Buhhuhhu Cehggghe Duhhhhhu Evgguggv Fvgguggg Gehgnhhf Hhhhvhhh Ie44444e J72222ic Khikokih Lggggggv Mhrllhhh
  Nhhpljhh Oehhhhhe Puhhuggg Qehhhlid Ruhhukih Sfgge11u Tv444444 Uhhhhhhe Vhhhhha4 Whhhllla Xhha4ahh Yhhha444 Zv1248gv
  0ehjlphe 14c4444e 2eh1248v 3v2421he 426aiv22 5vgu11he 668guhhe 7v124888 8ehhehhe 9ehhf12c .00000cc -000v000 +044v440
  =00v0v00 _000000v /01248g0 %op248j3 :0cc0cc0 ,0000c48 (2488842 )8422248 @eh1dlle #aavavaa ?eh12404 '4480000`
    .split(/\s+/)
    .map((g): [string, string] => [g[0]!, g.slice(1)]),
);
/** Pixels that a letter takes across, and a line of text down, with the space to the next. */
export const advance = 6;
export const lineHeight = 11;

type Rgb = readonly [number, number, number];

/** Writes text into RGB pixels, its upper left corner at (x, y). Small letters become capitals, unknown ones '?'. */
export function write(image: RgbImage, text: string, x: number, y: number, colour: Rgb): void {
  let left = x;
  for (const letter of text) {
    const rows = glyphs.get(letter) ?? (letter === ' ' ? '' : glyphs.get('?')!);
    for (let v = 0; v < rows.length; v++) {
      const bits = Number.parseInt(rows[v]!, 32);
      for (let u = 0; u < 5; u++) if (bits & (16 >> u)) image.data.set(colour, 3 * ((y + v) * image.width + left + u));
    }
    left += advance;
  }
}

/** What fits into a width, in capitals without accents; what is cut off shows as two dots. */
function fitting(caption: string, width: number): string {
  const letters = [...caption.normalize('NFD').replace(/\p{M}/gu, '').toUpperCase()];
  const most = Math.floor((width + 1) / advance);
  if (letters.length <= most) return letters.join('');
  return [...letters.slice(0, Math.max(0, most - 2)), '.', '.'].slice(0, most).join('');
}

/** How a contact sheet looks; lengths in pixels. */
export interface SheetOptions {
  /** Tiles per row. Default: as many as make the sheet about square. */
  readonly columns?: number;
  /** Side of a tile, or its [height, width]. Default 112. */
  readonly tile?: number | readonly [number, number];
  /** Between tiles, and around them. Default 4. */
  readonly gap?: number;
  /** Default white; captions are black or white, whichever is easier to read on it. */
  readonly background?: Rgb;
  /** Text under each tile, cut off where it is longer than its tile. Letters, digits and some signs; all in capitals. */
  readonly captions?: readonly string[];
}

/**
 * Pictures in rows of tiles, in their order.
 * @throws UsageError for no pictures, options that are not whole and positive, or a sheet above 100 million pixels
 */
export function contactSheet(images: readonly RgbImage[], options: SheetOptions = {}): RgbImage {
  const { columns = Math.ceil(Math.sqrt(images.length)), tile = 112, gap = 4, background = [255, 255, 255] } = options;
  const { captions } = options;
  const [tall, wide] = typeof tile === 'number' ? [tile, tile] : tile;
  const wholeFrom = (least: number, n: number) => Number.isInteger(n) && n >= least;
  if (images.length === 0 || !wholeFrom(1, columns) || !wholeFrom(1, tall) || !wholeFrom(1, wide) || !wholeFrom(0, gap))
    throw new UsageError(
      `contactSheet: expected pictures, and whole numbers of columns and pixels, got ${images.length} pictures, columns ${columns}, tile ${tall}x${wide}, gap ${gap}\nCorrect the options.`,
    );
  const rows = Math.ceil(images.length / columns);
  const pitch = tall + gap + (captions ? lineHeight : 0);
  const width = gap + columns * (wide + gap);
  const height = gap + rows * pitch;
  if (width * height > 100e6)
    throw new UsageError(
      `contactSheet: expected at most 100 million pixels, got ${width}x${height}\nTake fewer pictures or smaller tiles.`,
    );
  const sheet: RgbImage = { width, height, data: new Uint8Array(3 * width * height) };
  for (let i = 0; i < sheet.data.length; i += 3) sheet.data.set(background, i);
  const [r, g, b] = background;
  const ink: Rgb = 299 * r + 587 * g + 114 * b > 127_500 ? [0, 0, 0] : [255, 255, 255];
  images.forEach((image, i) => {
    const left = gap + (i % columns) * (wide + gap);
    const top = gap + Math.floor(i / columns) * pitch;
    const scale = Math.min(tall / image.height, wide / image.width);
    const side = (n: number) => Math.max(1, Math.round(n * scale));
    const { width: w, height: h, data } = resize(image, side(image.width), side(image.height), 'area');
    const x = left + ((wide - w) >> 1);
    const y = top + ((tall - h) >> 1);
    for (let v = 0; v < h; v++) sheet.data.set(data.subarray(3 * v * w, 3 * (v + 1) * w), 3 * ((y + v) * width + x));
    const caption = captions?.[i];
    if (caption) write(sheet, fitting(caption, wide), left, top + tall + 2, ink);
  });
  return sheet;
}
