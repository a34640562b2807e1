/**
 * A folder with one subfolder of pictures per identity (Node).
 *
 * Of a picture the path below its identity is kept, nothing else, so that millions fit in memory. No file is looked at
 * beyond its folder's listing.
 */
import { type Dirent, existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../../core/errors.ts';
import type { Dataset } from '../dataset.ts';
import { fileError, textFile } from '../files.ts';

/** In a folder while pictures are written to it: a line `path label` for each that is whole. */
export const progressFile = '.facegrad-progress';

export const isPicture = (name: string): boolean => /\.(jpe?g|png)$/i.test(name);

/** Names the identities in the order of their labels, a folder a line. Empty: the people in this folder are not known. */
export const identitiesFile = 'identities.txt';

interface Entry {
  readonly name: string;
  readonly folder: boolean;
  readonly link: boolean;
}

/** What is in a folder without hidden names, links followed, in code-unit order, so that labels are the same everywhere. */
function entriesOf(path: string): Entry[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(path, { withFileTypes: true });
  } catch (error) {
    throw fileError(path, 'a readable folder', error);
  }
  const isFolder = (e: Dirent) => {
    if (!e.isSymbolicLink()) return e.isDirectory();
    try {
      return statSync(join(path, e.name)).isDirectory();
    } catch (error) {
      throw fileError(join(path, e.name), 'a link that leads to a file or folder', error);
    }
  };
  return entries
    .filter((e) => !e.name.startsWith('.'))
    .map((e) => ({ name: e.name, folder: isFolder(e), link: e.isSymbolicLink() }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The entries of a set's own folder. Throws DataError where it is still being written. */
function entriesOfSet(path: string): Entry[] {
  const entries = entriesOf(path);
  if (existsSync(join(path, progressFile)))
    throw new DataError(
      `${path}: expected a whole set, but writing it was interrupted\nGo on with it, or remove ${join(path, progressFile)} to use what is there.`,
    );
  return entries;
}

/** Links to one folder that are followed: a few dozen folders that link to each other twice have more paths than any disk. */
const mostLinks = 64;

/** How often links have led to each real folder. */
type Links = Map<string, number>;

function follow(link: string, links: Links): string {
  const real = realpathSync(link);
  const times = (links.get(real) ?? 0) + 1;
  if (times > mostLinks)
    throw new DataError(
      `${link}: expected at most ${mostLinks} links to ${real}, found more\nRemove those that are not meant as copies of its pictures.`,
    );
  links.set(real, times);
  return real;
}

/** Collects files below a folder, as paths from it. `above`: the real folders that it is in, against circles. */
function collect(
  path: string,
  prefix: string,
  above: readonly string[],
  entries: readonly Entry[],
  out: string[],
  wanted = isPicture,
  links: Links = new Map(),
): void {
  for (const { name, folder, link } of entries) {
    if (!folder) {
      if (wanted(name)) out.push(prefix + name);
      continue;
    }
    const below = join(path, name);
    const real = link ? follow(below, links) : join(above[above.length - 1]!, name);
    if (above.includes(real))
      throw new DataError(`${below}: expected folders that end, but this link leads back to ${real}\nRemove the link.`);
    collect(below, `${prefix}${name}/`, [...above, real], entriesOf(below), out, wanted, links);
  }
}

/** Paths of the files below a folder, from it, with '/' on every system. */
function namesBelow(path: string, entries: readonly Entry[], wanted = isPicture): string[] {
  const out: string[] = [];
  collect(path, '', [realpathSync(path)], entries, out, wanted);
  return out;
}

/** Paths of the files below a folder, from it, that are wanted by their name. Throws DataError where a folder cannot be read. */
export const filesIn = (path: string, wanted: (name: string) => boolean): string[] =>
  namesBelow(path, entriesOf(path), wanted);

/** Pictures below a folder, in order of their paths. Throws DataError where a folder cannot be read. */
export const picturesIn = (path: string): string[] => namesBelow(path, entriesOf(path)).map((n) => join(path, n));

/** The identities that a folder's `identities.txt` gives, in the order of their labels. */
function namedIdentities(path: string): Map<string, number> | undefined {
  const file = join(path, identitiesFile);
  if (!existsSync(file)) return undefined;
  const text = textFile(file, 'a list of identities');
  const labels = new Map<string, number>();
  text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .forEach((name, i) => {
      if (name === '') return;
      if (labels.has(name))
        throw new DataError(
          `${file}:${i + 1}: expected each identity once, got '${name.slice(0, 200)}' again\nRemove the line.`,
        );
      labels.set(name, labels.size);
    });
  return labels;
}

function identityFolders(path: string, entries: readonly Entry[], named: Map<string, number> | undefined): Dataset {
  const folders = entries.filter((e) => e.folder);
  if (folders.length === 0)
    throw new DataError(
      `${path}: expected one folder of pictures per identity, found none\nPut each person's pictures in a folder of their own.`,
    );
  const unnamed = named && folders.find((f) => !named.has(f.name));
  if (unnamed)
    throw new DataError(
      `${join(path, identitiesFile)}: expected the name of every folder, but '${unnamed.name}' is missing\nAdd it, or remove the file: labels are then the ranks of the names.`,
    );
  const identities = named ? [...named.keys()] : folders.map((f) => f.name);
  const byLabel = named ? [...folders].sort((a, b) => named.get(a.name)! - named.get(b.name)!) : folders;
  const root = realpathSync(path);
  const files: string[] = [];
  const labels: number[] = [];
  const links: Links = new Map();
  byLabel.forEach((folder, rank) => {
    const before = files.length;
    const label = named ? named.get(folder.name)! : rank;
    // The folder's name is in `identities` already.
    const below = join(path, folder.name);
    const real = folder.link ? follow(below, links) : join(root, folder.name);
    collect(below, '', [root, real], entriesOf(below), files, isPicture, links);
    if (files.length === before && !named)
      throw new DataError(
        `${below}: expected at least one .jpg or .png of this identity, found none\nAdd pictures or remove the folder.`,
      );
    for (let i = before; i < files.length; i++) labels.push(label);
  });
  if (files.length === 0)
    throw new DataError(`${path}: expected .jpg or .png pictures in its folders, found none\nAdd pictures.`);
  const labelOf = Int32Array.from(labels);
  const nameOf = (i: number) => `${identities[labelOf[i]!]!}/${files[i]!}`;
  return {
    name: path,
    classes: identities.length,
    length: files.length,
    label: (i) => labelOf[i]!,
    identityName: (label) => identities[label]!,
    imageName: nameOf,
    source: (i) => ({ kind: 'file', path: join(path, nameOf(i)) }),
  };
}

/** The pictures in and under a folder whose people are not known. Throws DataError where there are none. */
export const openPictures = (path: string): Dataset => unknownPeople(path, entriesOfSet(path));

function unknownPeople(path: string, entries: readonly Entry[]): Dataset {
  const names = namesBelow(path, entries);
  if (names.length === 0)
    throw new DataError(`${path}: expected .jpg or .png pictures in this folder, found none\nCheck the path.`);
  return {
    name: path,
    classes: 0,
    length: names.length,
    label: () => -1,
    identityName: () => '',
    imageName: (i) => names[i]!,
    source: (i) => ({ kind: 'file', path: join(path, names[i]!) }),
  };
}

/**
 * The data set of a folder per identity: label = rank of the folder's name, pictures = its .jpg, .jpeg and .png files,
 * also in subfolders. Hidden files and others (such as a landmarks.json) are left alone. A file `identities.txt` beside the
 * folders, with the name of one a line, gives the labels instead; it names every folder, and a name without one keeps its
 * label without pictures. Of a folder without folders, or with an empty `identities.txt`, people are not known.
 * @throws DataError where there are no pictures, or none in a folder that is not named there
 */
export function openFolder(path: string): Dataset {
  const entries = entriesOfSet(path);
  const named = namedIdentities(path);
  const labelled = named ? named.size > 0 : entries.some((e) => e.folder);
  return labelled ? identityFolders(path, entries, named) : unknownPeople(path, entries);
}
