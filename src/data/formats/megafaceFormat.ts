/**
 * The MegaFace challenge's pictures, by a list of its development kit (Node). FaceScrub alone is a folder per person, which
 * the folder format reads.
 *
 * The pictures of a list lie in its own folder, or, as the kit and InsightFace's copy have them, in `facescrub_images` or
 * `megaface_images` beside or up to two folders above it.
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DataError } from '../../core/errors.ts';
import type { Dataset } from '../dataset.ts';
import { textFile } from '../files.ts';
import type { DataFormat } from './format.ts';
import { readDevkitList } from './megaface.ts';

const folders = ['', 'facescrub_images', 'megaface_images'];

/** The folder that a list's first picture is in. */
function rootOf(path: string, first: string): string {
  const from = dirname(path);
  const tried = [from, join(from, '..'), join(from, '..', '..')].flatMap((f) => folders.map((name) => join(f, name)));
  const root = tried.find((f) => existsSync(join(f, first)));
  if (root !== undefined) return root;
  throw new DataError(
    `${path}: expected its picture ${first.slice(0, 200)} in ${tried.slice(0, 3).join(' or ')}, found none\nPut the list beside the pictures, or beside a folder facescrub_images or megaface_images of them.`,
  );
}

/**
 * The data set of a development-kit list: labels by the order in which its ids come first, −1 where it has none.
 * @param options `root`: the folder that its paths start from. Default: looked for.
 * @throws DataError naming the list
 */
export function openDevkitList(path: string, options: { readonly root?: string } = {}): Dataset {
  const { paths, ids } = readDevkitList(textFile(path, 'a MegaFace list'), path);
  const root = options.root ?? rootOf(path, paths[0]!);
  const labelOf = new Map<string, number>();
  const labels = Int32Array.from({ length: paths.length }, (_, i) => {
    if (!ids) return -1;
    const id = ids[i]!;
    const label = labelOf.get(id) ?? labelOf.size;
    labelOf.set(id, label);
    return label;
  });
  const identities = [...labelOf.keys()];
  return {
    name: path,
    classes: identities.length,
    length: paths.length,
    label: (i) => labels[i]!,
    identityName: (label) => identities[label] ?? '',
    imageName: (i) => paths[i]!,
    source: (i) => ({ kind: 'file', path: resolve(root, paths[i]!) }),
  };
}

export const megafaceFormat: DataFormat = {
  name: 'megaface',
  means: 'a list of the MegaFace development kit, over its pictures',
  holds: { labels: true, names: true, pairs: false, mixed: false, raw: false },
  detect: (_path, folder, head) =>
    !folder && /^(\xef\xbb\xbf)?\s*\{\s*"(path|id)"\s*:\s*\[/.test(String.fromCharCode(...head)),
  open: async (path) => openDevkitList(path),
};
