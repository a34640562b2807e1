/** A folder with one subfolder of pictures per identity (Node). */
import { readdirSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { DataError } from '../core/errors.ts';
import type { Dataset } from './dataset.ts';

export const isPicture = (name: string): boolean => /\.(jpe?g|png)$/i.test(name);

/** Names in a folder without hidden ones, in code-unit order, so that labels are the same everywhere. */
function namesIn(path: string): string[] {
  let names: string[];
  try {
    names = readdirSync(path);
  } catch (error) {
    throw new DataError(
      `${path}: expected a readable folder, got ${(error as NodeJS.ErrnoException).code}\nCheck the path and its permissions.`,
    );
  }
  return names.filter((n) => !n.startsWith('.')).sort();
}

/** Pictures below a folder, in order of their paths. */
export function picturesIn(path: string): string[] {
  return namesIn(path).flatMap((n) => {
    const full = join(path, n);
    return statSync(full).isDirectory() ? picturesIn(full) : isPicture(n) ? [full] : [];
  });
}

/**
 * The data set of a folder per identity: label = rank of the folder's name, pictures = its .jpg, .jpeg and .png files,
 * also in subfolders. Hidden files and others (such as a landmarks.json) are left alone. Throws DataError where there is
 * no identity folder, or one is empty.
 */
export function folderDataset(path: string): Dataset {
  const identities = namesIn(path).filter((n) => statSync(join(path, n)).isDirectory());
  if (identities.length === 0)
    throw new DataError(
      `${path}: expected one folder of pictures per identity, found none\nPut each person's pictures in a folder of their own.`,
    );
  const paths: string[] = [];
  const labels: number[] = [];
  identities.forEach((name, label) => {
    const pictures = picturesIn(join(path, name));
    if (pictures.length === 0)
      throw new DataError(
        `${join(path, name)}: expected at least one .jpg or .png of this identity, found none\nAdd pictures or remove the folder.`,
      );
    for (const p of pictures) {
      paths.push(p);
      labels.push(label);
    }
  });
  return {
    name: path,
    classes: identities.length,
    length: paths.length,
    label: (i) => labels[i]!,
    identityName: (label) => identities[label]!,
    imageName: (i) => nameIn(path, paths[i]!),
    source: (i) => ({ kind: 'file', path: paths[i]! }),
  };
}

/** A path below a folder, with '/' on every system. */
export const nameIn = (folder: string, path: string): string => relative(folder, path).split(sep).join('/');

/** The pictures in and under a folder whose people are not known. Throws DataError where there are none. */
export function pictureFolder(path: string): Dataset {
  const paths = picturesIn(path);
  if (paths.length === 0)
    throw new DataError(`${path}: expected .jpg or .png pictures in this folder, found none\nCheck the path.`);
  return {
    name: path,
    classes: 0,
    length: paths.length,
    label: () => -1,
    identityName: () => '',
    imageName: (i) => nameIn(path, paths[i]!),
    source: (i) => ({ kind: 'file', path: paths[i]! }),
  };
}
