/**
 * Pairs of images to verify on, as text that names them. Browser-safe; files are readPairs.ts.
 *
 * Read are
 * - LFW's pairs.txt (Huang et al. 2007, LFW technical report, section V): a header `folds n`, then per fold n lines `name i j`
 *   (same person: pictures i and j, `name/name_0001.jpg` or `name_0001.jpg`) and n lines `name1 i name2 j`; tabs or spaces;
 * - its pairsDevTrain.txt and pairsDevTest.txt: the header is one number, there is one fold;
 * - the same as CSV, as Kaggle has it;
 * - lists `left.jpg right.jpg 1`, with −1 or 0 for different people; between tabs names may hold spaces. Folds are contiguous,
 *   ten unless a line `# folds k` says otherwise; a fourth column gives the fold of each pair, from 0.
 *
 * The one idea: pairs name images and any set names its images, so a pairs file works with a set of any format.
 */
import { DataError } from '../core/errors.ts';
import { hasEnding, withoutEnding } from '../image/pictureKind.ts';
import type { Dataset, PairTable } from './dataset.ts';
import { checkLine } from './formats/lines.ts';
import { plainPath } from './pathName.ts';

/** What pairs are matched with: the images of a set by name. */
export type NamedImages = Pick<Dataset, 'name' | 'length' | 'imageName'>;

/**
 * The fold of each of `pairs` pairs in order: contiguous folds, of which the first `pairs % folds` are one longer, as
 * scikit-learn's KFold has them. Fewer pairs than folds give a fold each.
 */
export function contiguousFolds(pairs: number, folds = 10): Int32Array {
  const count = Math.max(1, Math.min(folds, pairs));
  const least = Math.floor(pairs / count);
  const longer = pairs % count;
  const fold = new Int32Array(pairs);
  for (let f = 0, at = 0; f < count; f++) {
    const end = at + least + (f < longer ? 1 : 0);
    fold.fill(f, at, end);
    at = end;
  }
  return fold;
}

const whole = (field: string): boolean => /^\d+$/.test(field);

/** Pairs as a file has them: what it calls the images, and where. */
interface Rows {
  /** The names an image may have in the set, best first. */
  readonly names: readonly (readonly string[])[];
  /** Line of the first pair with it. */
  readonly line: readonly number[];
  /** Numbers within `names`. */
  readonly left: readonly number[];
  readonly right: readonly number[];
  readonly same: readonly boolean[];
  readonly folds: number;
  readonly fold: Int32Array;
}

/** Header, number of folds or fold column, to folds. */
function foldsOf(
  name: string,
  pairs: number,
  header: { counts: number[]; list: boolean } | undefined,
  said: { folds: number; line: number } | undefined,
  column: readonly number[],
): { folds: number; fold: Int32Array } {
  const most = (folds: number, where: string) => {
    if (folds < 1 || folds > pairs)
      throw new DataError(
        `${where}: expected 1 to ${pairs} folds of its ${pairs} pairs, got ${folds}\nCorrect the folds.`,
      );
    return folds;
  };
  if (column.length > 0) {
    const used = column.reduce((m, f) => Math.max(m, f), 0) + 1;
    if (said && used > said.folds)
      throw new DataError(
        `${name}:${said.line}: expected folds 0 to ${said.folds - 1}, but a pair is in fold ${used - 1}\nCorrect the number of folds or the column.`,
      );
    return { folds: said ? most(said.folds, `${name}:${said.line}`) : most(used, name), fold: Int32Array.from(column) };
  }
  if (header) {
    const { counts, list } = header;
    const n = counts[counts.length - 1]!;
    const folds = counts.length === 2 ? counts[0]! : 1;
    // In a list one number may also count all pairs.
    if (pairs !== folds * 2 * n && !(list && counts.length === 1 && pairs === n))
      throw new DataError(
        `${name}: its header promises ${folds} folds of ${2 * n} pairs, but it holds ${pairs}\nThe file may be cut off; fetch it again or correct the header.`,
      );
    return { folds, fold: contiguousFolds(pairs, folds) };
  }
  const folds = said ? most(said.folds, `${name}:${said.line}`) : Math.min(10, pairs);
  return { folds, fold: contiguousFolds(pairs, folds) };
}

function rowsOf(text: string, name: string): Rows {
  const csv = /\.csv$/i.test(name) || /^\uFEFF?name,/i.test(text);
  const fieldsOf = (line: string): string[] => {
    if (csv) {
      let end = line.length;
      while (end > 0 && /[,\s]/.test(line[end - 1]!)) end--;
      return line
        .slice(0, end)
        .split(',')
        .map((f) => f.trim());
    }
    const byTab = line.trimEnd().split('\t');
    return byTab.length >= 3 ? byTab : line.trim().split(/\s+/);
  };
  const names: string[][] = [];
  const line: number[] = [];
  const known = new Map<string, number>();
  const imageOf = (called: string[], at: number): number => {
    const key = called[0]!;
    let ref = known.get(key);
    if (ref === undefined) {
      ref = names.length;
      known.set(key, ref);
      names.push(called);
      line.push(at);
    }
    return ref;
  };
  const left: number[] = [];
  const right: number[] = [];
  const same: boolean[] = [];
  const column: number[] = [];
  let counts: number[] | undefined;
  let said: { folds: number; line: number } | undefined;
  let list: boolean | undefined;

  const addLfw = (fields: readonly string[], at: number) => {
    if (fields.length !== 3 && fields.length !== 4)
      throw new DataError(
        `${name}:${at}: expected 3 fields (same person) or 4 (different people), got ${fields.length}\nWrite 'name i j' or 'name1 i name2 j', or 'left.jpg right.jpg 1' with 1 or -1.`,
      );
    const [a, n, b, m] = fields.map((f) => f.trim()) as [string, string, string, string?];
    const one = (person: string, number: string) => {
      if (!whole(number))
        throw new DataError(
          `${name}:${at}: expected a picture number, got '${number.slice(0, 80)}'\nWrite 'name i j' or 'name1 i name2 j'.`,
        );
      const file = `${person}_${number.replace(/^0+/, '').padStart(4, '0')}`;
      return imageOf([`${person}/${file}`, file], at);
    };
    left.push(one(a, n));
    right.push(m === undefined ? one(a, b) : one(b, m));
    same.push(m === undefined);
  };
  const addListed = (fields: readonly string[], at: number) => {
    const [a, b, is, fold] = fields as [string, string, string, string?];
    const truth = is?.trim() ?? '';
    if (fields.length < 3 || fields.length > 4 || !/^([+-]?1|0)$/.test(truth))
      throw new DataError(
        `${name}:${at}: expected two pictures and 1 (same person) or -1, got '${fields.join(' ').slice(0, 80)}'\nWrite 'left.jpg right.jpg 1', with tabs between where names hold spaces.`,
      );
    if (left.length > 0 && (fold !== undefined) !== column.length > 0)
      throw new DataError(
        `${name}:${at}: expected ${column.length > 0 ? 'a' : 'no'} fold in a fourth column as in the lines before\nGive the fold of every pair or of none.`,
      );
    if (fold !== undefined) {
      const f = fold.trim();
      if (!/^\d{1,9}$/.test(f))
        throw new DataError(
          `${name}:${at}: expected a fold counted from 0, got '${f.slice(0, 80)}'\nCorrect the fourth column.`,
        );
      column.push(Number(f));
    }
    const called = (path: string) => {
      const plain = plainPath(path.trim());
      return [...new Set([path, plain, withoutEnding(plain)])];
    };
    left.push(imageOf(called(a), at));
    right.push(imageOf(called(b), at));
    same.push(Number(truth) === 1);
  };

  let first = true;
  text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .forEach((content, i) => {
      checkLine(content, `${name}:${i + 1}`);
      if (!content.trim()) return;
      if (content.startsWith('#')) {
        const folds = /^#\s*folds\s+(\d+)/.exec(content)?.[1];
        if (folds) said = { folds: Number(folds), line: i + 1 };
        return;
      }
      const fields = fieldsOf(content);
      if (first) {
        first = false;
        if (fields.length <= 2 && fields.every(whole)) {
          counts = fields.map(Number);
          return;
        }
        if (csv && !/^[+-]?\d+$/.test(fields[fields.length - 1]!)) return;
      }
      // Pictures of a list have an ending or a folder, or it says so by its folds or a -1; LFW's second field is a number.
      list ??=
        said !== undefined ||
        /[ \t,]-1[ \t]*\r?$/m.test(text) ||
        (/^[01]$/.test(fields[2]?.trim() ?? '') &&
          (hasEnding(fields[1]!.trim()) || /[\\/]/.test(fields[1]!) || (!counts && !whole(fields[1]!.trim()))));
      (list ? addListed : addLfw)(fields, i + 1);
    });
  if (left.length === 0)
    throw new DataError(`${name}: expected pairs, found none\nName LFW's pairs.txt or a file of its format.`);
  const header = counts && { counts, list: list === true };
  return { names, line, left, right, same, ...foldsOf(name, left.length, header, said, column) };
}

/** Deepest folder that the end of an image's path is compared to. */
const deepest = 16;

/** Of each image of `rows` its number in the set. Throws DataError where there is none, or more than one. */
function numbersIn(images: NamedImages, rows: Rows, name: string): Int32Array {
  // One pass over the set looks up each image among the names wanted, which are few however large the set is.
  const wanted = new Map<string, { rank: number; image: number; other: number }>();
  let depth = 0;
  for (const n of rows.names.flat()) {
    wanted.set(n, { rank: 9, image: -1, other: -1 });
    depth = Math.max(depth, n.split('/').length - 1);
  }
  const offer = (n: string, image: number, rank: number) => {
    const w = wanted.get(n);
    if (!w || rank > w.rank) return;
    if (rank === w.rank) w.other = image;
    else Object.assign(w, { rank, image, other: -1 });
  };
  for (let i = 0; i < images.length; i++) {
    // Best the whole path, then without its ending, then the path's last parts.
    const full = images.imageName(i);
    offer(full, i, 0);
    if (withoutEnding(full) !== full) offer(withoutEnding(full), i, 1);
    for (let at = full.length, parts = 0; parts <= Math.min(depth, deepest); parts++) {
      at = at > 0 ? full.lastIndexOf('/', at - 1) : -1;
      if (at < 0) break;
      const end = full.slice(at + 1);
      offer(end, i, 2);
      if (withoutEnding(end) !== end) offer(withoutEnding(end), i, 3);
    }
  }
  return Int32Array.from(rows.names, (called, k) => {
    for (const n of called) {
      const { image, other } = wanted.get(n)!;
      if (other >= 0)
        throw new DataError(
          `${name}:${rows.line[k]}: expected one picture '${n.slice(0, 200)}' in ${images.name}, found images ${image} (${images.imageName(image)}) and ${other} (${images.imageName(other)})\nWrite its path with folders and ending, or rename one.`,
        );
      if (image >= 0) return image;
    }
    const shown = called.map((n) => `'${n.slice(0, 200)}'`).join(' or ');
    throw new DataError(
      `${name}:${rows.line[k]}: expected a picture ${shown} in ${images.name}, found none\nName the set that holds the pictures (--images), or remove the pair.`,
    );
  });
}

/**
 * Reads pairs from text in any of the forms above. An image is found by its path in the set, by that without its ending,
 * or by the last parts of its path.
 * @param name what errors call the text; an ending of `.csv` means commas
 * @throws DataError with name and line: unreadable, an image that the set lacks, or two images of that name
 */
export function parsePairs(text: string, name: string, images: NamedImages): PairTable {
  const rows = rowsOf(text, name);
  const numbers = numbersIn(images, rows, name);
  return {
    folds: rows.folds,
    left: Int32Array.from(rows.left, (k) => numbers[k]!),
    right: Int32Array.from(rows.right, (k) => numbers[k]!),
    same: Uint8Array.from(rows.same, Number),
    fold: rows.fold,
  };
}

const equal = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};

/** LFW's pairs.txt of these pairs if it can be; read back, it shows whether it is. Undefined where names have another form. */
function lfwText({ folds, left, right }: PairTable, images: NamedImages): string | undefined {
  const n = left.length / folds / 2;
  if (!Number.isInteger(n)) return undefined;
  const partsOf = (image: number) => {
    const parts = /^([^/\s#][^/\s]*)\/\1_(\d{4,})\.[A-Za-z]+$/.exec(images.imageName(image));
    return parts && { person: parts[1]!, number: Number(parts[2]) };
  };
  const lines = [folds === 1 ? `${n}` : `${folds}\t${n}`];
  for (let k = 0; k < left.length; k++) {
    const a = partsOf(left[k]!);
    const b = partsOf(right[k]!);
    if (!a || !b) return undefined;
    const same = k % (2 * n) < n;
    lines.push(same ? `${a.person}\t${a.number}\t${b.number}` : `${a.person}\t${a.number}\t${b.person}\t${b.number}`);
  }
  return `${lines.join('\n')}\n`;
}

/** The pairs as a list; the fold column only where folds are not contiguous and even. */
function listText({ folds, left, right, same, fold }: PairTable, images: NamedImages): string {
  const even = equal(fold, contiguousFolds(left.length, folds));
  const lines = [`# folds ${folds}${even ? '' : ' (fourth column, from 0)'}`];
  const nameOf = (image: number) => {
    const name = images.imageName(image);
    if (name === '' || /[\t\r\n]|\p{Cs}/u.test(name))
      throw new DataError(
        `${images.name}: expected names that fit in a line of a pairs file, image ${image} is ${JSON.stringify(name.slice(0, 200))}\nRename it.`,
      );
    return name.startsWith('#') ? `./${name}` : name;
  };
  for (let k = 0; k < left.length; k++) {
    const truth = same[k] === 1 ? '1' : '-1';
    lines.push(`${nameOf(left[k]!)}\t${nameOf(right[k]!)}\t${truth}${even ? '' : `\t${fold[k]}`}`);
  }
  return `${lines.join('\n')}\n`;
}

/**
 * Pairs as text: LFW's pairs.txt where names and folds have its form, else a list. `parsePairs` gives the same pairs.
 * @throws DataError where the names in the set are not told apart or do not fit in a line
 */
export function formatPairs(pairs: PairTable, images: NamedImages): string {
  const n = pairs.left.length;
  const wrong = [pairs.left, pairs.right].flatMap((side) => [...side]).find((i) => !(i >= 0 && i < images.length));
  if (wrong !== undefined)
    throw new DataError(
      `${images.name}: expected pairs of its ${images.length} images, got image ${wrong}\nWrite the pairs of this set.`,
    );
  if (n === 0 || pairs.folds > n)
    throw new DataError(
      `${images.name}: expected pairs, at least one a fold, got ${n} in ${pairs.folds} folds\nLeave the pairs out or correct them.`,
    );
  const read = (text: string) => parsePairs(text, `${images.name} (pairs)`, images);
  const isSame = (t: PairTable) =>
    t.folds === pairs.folds &&
    (['left', 'right', 'same', 'fold'] as const).every((field) => equal(t[field], pairs[field]));
  const lfw = lfwText(pairs, images);
  if (lfw) {
    // It is not where folds or their order differ, or the set holds name_0001.png beside name_0001.jpg.
    try {
      if (isSame(read(lfw))) return lfw;
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
    }
  }
  const list = listText(pairs, images);
  if (!isSame(read(list)))
    throw new DataError(
      `${images.name}: expected pairs whose folds count from 0 and whose images have names of their own\nCorrect the pairs or rename images.`,
    );
  return list;
}
