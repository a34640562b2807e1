/**
 * Files that give the five points of many faces, for aligning photographs (`alignFace`): read into one table, looked up by
 * the image's path.
 *
 * The one idea: every format becomes ten numbers by name, x and y of left eye, right eye, nose, left and right corner of
 * the mouth, in pixels of the photograph. Known are
 *
 * - JSON `{"path": points}`, alone or under `images`; points are ten numbers, five pairs, or an object that has them as
 *   `points`, `landmarks` or `kps`. Where the file names its columns in `fields` (leftEyeX, leftEyeY, rightEyeX … rightMouthY
 *   among others), each image is a row of numbers in that order.
 * - CelebA's `list_landmarks_celeba.txt`: a count, a line of column names, then `name x y x y …`; also with commas.
 * - InsightFace's `.lst`: `aligned path label x1 y1 x2 y2` and five x, five y, separated by tabs; lines without points,
 *   or of pictures that are crops already (aligned is 1), are passed over.
 * - lines `path x1 y1 … x5 y5`, separated by spaces, tabs or commas; blank lines and lines that start with # count for nothing.
 */
import { DataError } from '../core/errors.ts';
import { checkLine } from './formats/lines.ts';
import { plainPath } from './pathName.ts';

/** The points of the faces of a file. */
export interface Landmarks {
  /** What errors call the file. */
  readonly name: string;
  /** How many images have points. */
  readonly size: number;
  /** Paths as in the file, with '/' between their parts. */
  readonly paths: Iterable<string>;
  /**
   * The ten numbers of an image, x0, y0 … x4, y4, or undefined. Where the file does not name the path itself, it may name
   * a longer path that ends in it (absolute paths; if just one does), a shorter one that it ends in, or, if it names no folders
   * at all, its last part.
   */
  find(path: string): readonly number[] | undefined;
}

const advice = 'Write one line per image: path x1 y1 … x5 y5 (left eye, right eye, nose, left and right mouth corner).';
const number = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;
/** Most parts of a path that the ends of longer ones are compared to. */
const mostParts = 16;

/** Gathers points by path and answers for them. */
class Table {
  private readonly name: string;
  private readonly rows = new Map<string, number>();
  private values = new Float64Array(80);

  constructor(name: string) {
    this.name = name;
  }

  add(path: string, points: readonly number[], where: string): void {
    const key = plainPath(path);
    if (key === '') throw new DataError(`${where}: expected the image's path, got none\n${advice}`);
    if (this.rows.has(key))
      throw new DataError(
        `${where}: expected each image once, got '${shown(key)}' again\nKeep one face per image: remove the others.`,
      );
    const at = this.rows.size * 10;
    if (at === this.values.length) {
      const wider = new Float64Array(2 * at);
      wider.set(this.values);
      this.values = wider;
    }
    this.values.set(points, at);
    this.rows.set(key, at);
  }

  finish(): Landmarks {
    const { name, rows } = this;
    if (rows.size === 0) throw new DataError(`${name}: expected points of faces, found none\n${advice}`);
    const values = this.values.subarray(0, rows.size * 10);
    this.checkOrder(values);
    const flat = ![...rows.keys()].some((k) => k.includes('/'));
    // By how many last parts of the path are looked for: where it lies, or -1 where several end so.
    const byEnd = new Map<number, Map<string, number>>();
    const endsIn = (path: string): number | undefined => {
      const parts = path.split('/').length;
      if (parts > mostParts) return undefined;
      let ends = byEnd.get(parts);
      if (!ends) {
        ends = new Map();
        for (const [key, at] of rows) {
          const end = lastParts(key, parts);
          if (end !== key) ends.set(end, ends.has(end) ? -1 : at);
        }
        byEnd.set(parts, ends);
      }
      return ends.get(path);
    };
    /** The longest path of the file that this one ends in. */
    const ended = (path: string): number | undefined => {
      for (let from = path.indexOf('/'); from >= 0; from = path.indexOf('/', from + 1)) {
        const at = rows.get(path.slice(from + 1));
        if (at !== undefined) return at;
      }
      return undefined;
    };
    return {
      name,
      size: rows.size,
      paths: { [Symbol.iterator]: () => rows.keys() },
      find: (path) => {
        const key = plainPath(path);
        const at = rows.get(key) ?? (flat ? rows.get(lastParts(key, 1)) : (endsIn(key) ?? ended(key)));
        return at === undefined || at < 0 ? undefined : Array.from(values.subarray(at, at + 10));
      },
    };
  }

  /** Left and right as the person sees them is a mirror image of what alignment needs, and a frequent mistake. */
  private checkOrder(values: Float64Array): void {
    let mirrored = 0;
    for (let i = 0; i < values.length; i += 10) {
      const p = (k: number) => values[i + k]!;
      const down = [(p(6) + p(8) - p(0) - p(2)) / 2, (p(7) + p(9) - p(1) - p(3)) / 2] as const;
      if ((p(2) - p(0)) * down[1] - (p(3) - p(1)) * down[0] < 0) mirrored++;
    }
    if (mirrored * 20 > values.length)
      throw new DataError(
        `${this.name}: expected left eye, right eye, nose, left and right mouth corner as seen in the picture, but in ${mirrored} of ${values.length / 10} faces they are mirrored\nSwap left and right, if the file gives them as the person sees them.`,
      );
  }
}

const shown = (text: string): string => text.slice(0, 80);
const lastParts = (path: string, count: number): string => path.split('/').slice(-count).join('/');

/**
 * Reads a file of landmarks; the formats are named above and told apart by content.
 * @param text the file. @param name what errors call it, usually its path.
 * @throws DataError naming file and line (in JSON, the image) for what is not as it should be, an image named twice, or
 * points in mirrored order.
 */
export function parseLandmarks(text: string, name: string): Landmarks {
  const table = new Table(name);
  if (/^\uFEFF?\s*[{[]/.test(text.slice(0, 1000))) readJson(text.replace(/^\uFEFF/, ''), name, table);
  else readLines(text, name, table);
  return table.finish();
}

// ---- JSON ----

const fieldNames = ['leftEye', 'rightEye', 'nose', 'leftMouth', 'rightMouth'].flatMap((f) => [`${f}X`, `${f}Y`]);
const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

function readJson(text: string, name: string, table: Table): void {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (error) {
    const at = /position (\d+)/.exec((error as Error).message);
    const line = at ? `:${text.slice(0, Number(at[1])).split('\n').length}` : '';
    throw new DataError(`${name}${line}: not valid JSON: ${shown((error as Error).message)}\nThe file may be cut off.`);
  }
  const images = isObject(root) && isObject(root.images) ? root.images : root;
  if (!isObject(root) || !isObject(images))
    throw new DataError(
      `${name}: expected an object of points by path, got a list\nWrite {"path": [x1, y1, … x5, y5]}.`,
    );
  let columns: number[] | undefined;
  if (images !== root && Array.isArray(root.fields)) {
    const fields: unknown[] = root.fields;
    columns = fieldNames.map((f) => fields.indexOf(f));
    const missing = fieldNames[columns.indexOf(-1)];
    if (missing)
      throw new DataError(
        `${name}: expected a column ${missing} in fields, found none\nName all of ${fieldNames.join(', ')}.`,
      );
  }
  for (const [path, entry] of Object.entries(images)) {
    const where = `${name}: '${shown(path)}'`;
    table.add(path, jsonPoints(entry, columns, where), where);
  }
}

/** A value in an error; what is nested or long is not looked into. */
function shownJson(value: unknown): string {
  if (isObject(value)) return 'an object';
  if (!Array.isArray(value)) return shown(JSON.stringify(value) ?? 'nothing');
  const short = value.length <= 20 && value.every((v) => typeof v !== 'object' || v === null);
  return short ? shown(JSON.stringify(value)) : `a list of ${value.length}`;
}

function jsonPoints(entry: unknown, columns: number[] | undefined, where: string): number[] {
  const value = isObject(entry) ? (entry.points ?? entry.landmarks ?? entry.kps) : entry;
  let list: unknown[] = Array.isArray(value) ? value : [];
  if (columns && value === entry) list = columns.map((c) => list[c]);
  else if (list.length === 5 && list.every((p) => Array.isArray(p) && p.length === 2)) list = list.flat();
  if (list.length !== 10 || !list.every((v) => typeof v === 'number' && Number.isFinite(v)))
    throw new DataError(
      `${where}: expected ten numbers or five pairs, got ${shownJson(value)}\nWrite x and y of left eye, right eye, nose, left and right mouth corner.`,
    );
  return list as number[];
}

// ---- lines ----

function readLines(text: string, name: string, table: Table): void {
  let line = 0;
  let seen = 0;
  let announced: number | undefined;
  let found = 0;
  // Line by line: a list of millions is not held twice.
  for (let from = 0; from <= text.length; line++) {
    const newline = text.indexOf('\n', from);
    const end = newline < 0 ? text.length : newline;
    const raw = text
      .slice(from, end)
      .replace(/^\uFEFF/, '')
      .trimEnd();
    from = end + 1;
    const where = `${name}:${line + 1}`;
    checkLine(raw, where);
    if (raw.trim() === '' || raw.startsWith('#')) continue;
    seen++;
    if (seen === 1 && /^\s*\d+$/.test(raw)) {
      announced = Number(raw);
      continue;
    }
    if (seen <= 2 && found === 0 && /lefteye_x/i.test(raw)) {
      checkHeader(raw, where);
      continue;
    }
    const entry = lstLine(raw, where) ?? plainLine(raw, where);
    if (entry.points) {
      table.add(entry.path, entry.points, where);
      found++;
    }
  }
  if (announced !== undefined && announced !== found)
    throw new DataError(
      `${name}: its first line promises ${announced} images, but it holds ${found}\nThe file may be cut off; fetch it again or correct the count.`,
    );
}

const celebaColumns = ['lefteye', 'righteye', 'nose', 'leftmouth', 'rightmouth'].flatMap((f) => [`${f}_x`, `${f}_y`]);

function checkHeader(raw: string, where: string): void {
  const got = raw
    .toLowerCase()
    .trim()
    .split(/[\s,]+/)
    .slice(-10);
  if (got.join() !== celebaColumns.join())
    throw new DataError(
      `${where}: expected the columns ${celebaColumns.join(' ')}, got ${got.join(' ').slice(0, 200)}\nPut the columns in this order.`,
    );
}

interface Line {
  readonly path: string;
  readonly points?: number[];
}

/** A line of InsightFace's .lst: 3, 7 or 17 fields between tabs, the first 0 or 1. Undefined for any other line. */
function lstLine(raw: string, where: string): Line | undefined {
  const fields = raw.split('\t');
  if (![3, 7, 17].includes(fields.length) || !/^[01]$/.test(fields[0]!)) return undefined;
  const path = fields[1]!;
  const numbers = fields.slice(2).map((f) => toNumber(f, where));
  if (fields.length < 17 || fields[0] === '1') return { path };
  const points = numbers.slice(5);
  return { path, points: Array.from({ length: 10 }, (_, i) => points[(i >> 1) + 5 * (i % 2)]!) };
}

/** The last ten fields are the points; what stands before them, spaces and all, is the path. */
function plainLine(raw: string, where: string): Line {
  const gap = (i: number) => /[\s,]/.test(raw[i]!);
  const fields: string[] = [];
  let end = raw.length;
  while (fields.length < 10) {
    let from = end;
    while (from > 0 && !gap(from - 1)) from--;
    fields.unshift(raw.slice(from, end));
    while (from > 0 && gap(from - 1)) from--;
    end = from;
    if (end === 0)
      throw new DataError(
        `${where}: expected a path and ten numbers, got ${fields.length} fields: '${shown(raw)}'\n${advice}`,
      );
  }
  return { path: raw.slice(0, end).trimStart(), points: fields.map((f) => toNumber(f, where)) };
}

function toNumber(field: string, where: string): number {
  const value = Number(field);
  if (!number.test(field.trim()) || !Number.isFinite(value))
    throw new DataError(`${where}: expected a number, got '${shown(field)}'\n${advice}`);
  return value;
}
