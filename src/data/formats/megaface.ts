/**
 * Lists of the MegaFace challenge: the development kit's JSON lists of paths (and people, for FaceScrub's probes), and the text
 * lists that go with InsightFace's copy (`facescrub_lst`, `megaface_lst`, `facescrub_noises.txt`, `megaface_noises.txt`).
 * Browser-safe.
 */
import { DataError } from '../../core/errors.ts';

/** A development-kit list. */
export interface DevkitList {
  /** Paths of pictures, as `Adam_Brody/Adam_Brody_277.png` or `271/27104265@N00/123456789_0.jpg`. */
  readonly paths: readonly string[];
  /** Who is on each; undefined for distractors, whose people are not known. */
  readonly ids: readonly string[] | undefined;
}

const isList = (x: unknown): x is unknown[] => Array.isArray(x);
/** A value in an error; what is nested is not looked into. */
const shown = (x: unknown) =>
  typeof x === 'object' && x !== null ? (isList(x) ? 'a list' : 'an object') : JSON.stringify(x).slice(0, 80);

/**
 * Reads `{"path": [...], "id": [...]}`, such as `facescrub_features_list.json` and `megaface_features_list.json_1000000_1`.
 * @throws DataError naming the file and the entry that is wrong
 */
export function readDevkitList(text: string, name = 'list'): DevkitList {
  const fail = (what: string): never => {
    throw new DataError(
      `${name}: expected {"path": [...], "id": [...]} as in the MegaFace development kit, got ${what}\nFetch the list again.`,
    );
  };
  let found: unknown;
  try {
    found = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    fail((error as Error).message.slice(0, 200));
  }
  const { path: paths, id: ids } = (found ?? {}) as { path?: unknown; id?: unknown };
  if (!isList(paths) || paths.length === 0) return fail('no list of paths');
  const bad = paths.findIndex((p) => typeof p !== 'string' || p === '' || p.includes('\0'));
  if (bad >= 0) fail(`${shown(paths[bad])} as path ${bad}`);
  if (ids === undefined) return { paths: paths as string[], ids: undefined };
  if (!isList(ids) || ids.length !== paths.length)
    return fail(`${isList(ids) ? ids.length : 'no list of'} ids for ${paths.length} paths`);
  const odd = ids.findIndex((i) => typeof i !== 'string' && !Number.isSafeInteger(i));
  if (odd >= 0) fail(`${shown(ids[odd])} as id ${odd}`);
  return { paths: paths as string[], ids: ids.map(String) };
}

/** The text of a development-kit list, with a path a picture and, where people are known, an id. */
export const formatDevkitList = ({ paths, ids }: DevkitList): string =>
  `${JSON.stringify(ids ? { path: paths, id: ids } : { path: paths })}\n`;

/**
 * The names in a text list, one a line; lines that start with # are comments. Of a line with tabs the second column counts, as in
 * `megaface_noises.txt`. Noise lists name a FaceScrub picture by its file alone and a distractor by `<a>/<b>/<file>`.
 */
export function readNameLines(text: string): string[] {
  const out: string[] = [];
  for (const line of text.replace(/^\uFEFF/, '').split(/\r?\n/)) {
    const name = line.startsWith('#') ? '' : (line.split('\t')[1] ?? line).trim();
    if (name !== '') out.push(name);
  }
  return out;
}
