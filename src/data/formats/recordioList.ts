/**
 * The `.lst` beside a `.rec`: where its images come from, line by line. Two layouts, both separated by tabs:
 *
 *     im2rec        index  label …  path                                      index is the record's key
 *     InsightFace   aligned  path  label  [x1 y1 x2 y2  [5 xs  5 ys]]         the k-th line is the k-th image
 *
 * In InsightFace's, lines that are neither aligned nor have points are skipped, as its own writer does; where it aligned the
 * picture, the points are those of the picture before and are of no use here.
 */
import { DataError } from '../../core/errors.ts';
import type { ByteSource } from '../bytes.ts';
import { plainPath } from '../pathName.ts';
import { ascendingOrder, Growing, lowerBound } from './growing.ts';
import { lineBlocks } from './lines.ts';

export interface RecordList {
  readonly name: string;
  readonly length: number;
  /** The row of an image, given its number and its record's key; −1 where it has none. */
  row(image: number, key: number): number;
  label(row: number): number;
  /** '/' between its parts; of absolute paths, the folders that all share are left out. */
  path(row: number): string;
  landmarks(row: number): readonly number[] | undefined;
  /** Whether rows stand for images one by one, so that there must be as many. */
  readonly byPosition: boolean;
  readonly hasLandmarks: boolean;
}

const isNumber = (text: string | undefined) =>
  text !== undefined && text.trim() !== '' && Number.isFinite(Number(text));
const cleanPath = (path: string) => plainPath(path.trim().replace(/[\\/]{2,}/g, '/'));
const isAbsolute = (path: string) => /^([a-z]:)?\//i.test(path);

/** Up to the folder above the one that a file is in. */
const aboveFolder = (path: string) => path.slice(0, path.lastIndexOf('/', path.lastIndexOf('/') - 1) + 1);
function sharedFolder(a: string, b: string): string {
  let n = 0;
  while (n < a.length && a[n] === b[n]) n++;
  return n === 0 ? '' : a.slice(0, a.lastIndexOf('/', n - 1) + 1);
}

/** Reads a `.lst`. Takes the bytes of its paths and some more a line. Throws DataError naming file and line. */
export async function readRecordList(source: ByteSource): Promise<RecordList> {
  const keys = new Growing(new Float64Array(0));
  const labels = new Growing(new Float64Array(0));
  const paths = new Growing(new Uint8Array(0));
  const ends = new Growing(new Float64Array(0));
  const points = new Growing(new Float32Array(0));
  const pointRows = new Growing(new Int32Array(0));
  const utf8 = new TextEncoder();
  let byKey: boolean | undefined;
  let above: string | undefined;
  let absolute = false;
  let lineNumber = 0;
  for await (const lines of lineBlocks(source))
    for (const line of lines) {
      lineNumber++;
      if (line.trim() === '') continue;
      const fields = line.trim().split('\t');
      byKey ??= isNumber(fields[1]);
      const wrong = (expected: string) =>
        new DataError(
          `${source.name}:${lineNumber}: expected ${expected} separated by tabs, got '${line.slice(0, 80)}'\nCorrect the line, or remove the file: names are then made from labels and keys.`,
        );
      const [label, path] = byKey ? [fields[1], fields.at(-1)] : [fields[2], fields[1]];
      if (fields.length < 3 || !isNumber(fields[0]) || !isNumber(label) || !path)
        throw wrong(byKey ? "'index label path'" : "'aligned path label'");
      if (!byKey) {
        const aligned = Number(fields[0]) !== 0;
        const five = fields.slice(7, 17).map(Number);
        const known = five.length === 10 && five.every((x) => Number.isFinite(Math.fround(x)));
        if (fields.length > 7 && !known) throw wrong('ten numbers as points');
        if (!aligned && !known) continue;
        pointRows.push(aligned && known ? points.length : -1);
        if (aligned && known) for (let k = 0; k < 5; k++) points.append([five[k]!, five[k + 5]!]);
      }
      const clean = cleanPath(path);
      absolute ||= isAbsolute(clean);
      above = above === undefined ? aboveFolder(clean) : sharedFolder(above, aboveFolder(clean));
      keys.push(Number(fields[0]));
      labels.push(Number(label));
      paths.append(utf8.encode(clean));
      ends.push(paths.length);
    }
  const skip = absolute ? utf8.encode(above).length : 0;
  const order = ascendingOrder(keys.values);
  const sorted = order ? Float64Array.from(order, (k) => keys.values[k]!) : keys.values;
  const text = new TextDecoder();
  return {
    name: source.name,
    length: labels.length,
    byPosition: byKey === false,
    hasLandmarks: points.length > 0,
    row(image, key) {
      if (!byKey) return image < labels.length ? image : -1;
      const place = lowerBound(sorted, key);
      if (sorted[place] !== key) return -1;
      return order ? order[place]! : place;
    },
    label: (row) => labels.values[row]!,
    path: (row) => text.decode(paths.values.subarray((row > 0 ? ends.values[row - 1]! : 0) + skip, ends.values[row]!)),
    landmarks(row) {
      const at = pointRows.values[row] ?? -1;
      return at < 0 ? undefined : [...points.values.subarray(at, at + 10)];
    },
  };
}
