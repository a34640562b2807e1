/**
 * A folder per identity on disk, with the pairs of a `pairs.txt` in it; a folder of pictures alone is read as a set whose
 * people are not known.
 *
 * Writing: a picture goes to its own name where that begins with its identity, else to `identity/name`. The order of images
 * is that of their names when they are read again. `identities.txt` is written where the order of names would give other labels.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../../core/errors.ts';
import type { Dataset, PairTable } from '../dataset.ts';
import { formatPairs } from '../pairs.ts';
import { writeWhole } from '../partFile.ts';
import { safePath } from '../pathName.ts';
import { readPairTable } from '../readPairs.ts';
import { identitiesFile, openFolder } from './folder.ts';
import type { CreateOptions, DataFormat, NewImage, SetWriter } from './format.ts';
import { pictureWriter } from './pictureWriter.ts';

const pairsFile = 'pairs.txt';

/** The set with the pairs of its `pairs.txt`, read when they are first asked for: training does not need them. */
function withPairs(set: Dataset, path: string): Dataset {
  if (!existsSync(path)) return set;
  let pairs: PairTable | undefined;
  return {
    ...set,
    get pairs() {
      pairs ??= readPairTable(path, set);
      return pairs;
    },
  };
}

async function create(folder: string, options: CreateOptions = {}): Promise<SetWriter> {
  const writer = await pictureWriter(folder, options);
  /** The folder of each label that has pictures, and the other way round. */
  const folderOf = new Map<number, string>();
  const labelOf = new Map<string, number>();
  /** Whether people are known, from the first image on. */
  let known: boolean | undefined;
  let nested = false;
  const personOf = (path: string) => path.slice(0, path.indexOf('/'));
  const check = (path: string, label: number, shown: string) => {
    if (known !== undefined && known !== label >= 0)
      throw new DataError(
        `${folder}: expected ${known ? 'the person of every image' : 'images whose people are not known'} as before, but ${shown} has ${known ? 'none' : 'one'}\nWrite images of known and of unknown people to folders of their own.`,
      );
    if (label < 0) return;
    const person = personOf(path);
    const before = labelOf.get(person) ?? label;
    if (before !== label || (folderOf.get(label) ?? person) !== person)
      throw new DataError(
        before !== label
          ? `${folder}: expected people with names of their own, but '${person}' is label ${before} and label ${label} (${shown})\nRename one.`
          : `${folder}: expected one name for label ${label}, got '${folderOf.get(label)}' and '${person}' (${shown})\nGive each person one name.`,
      );
  };
  const remember = (path: string, label: number) => {
    known = label >= 0;
    nested ||= path.includes('/');
    if (!known) return;
    labelOf.set(personOf(path), label);
    folderOf.set(label, personOf(path));
  };
  for await (const { path, label } of writer.pictures()) remember(path, label);

  function pathOf({ name, label, identity }: NewImage): string {
    const path = safePath(name, folder);
    if (label < 0) return path;
    const person = safePath(identity || String(label), folder);
    if (person.includes('/'))
      throw new DataError(
        `${folder}: expected a person's name that can name a folder, got ${JSON.stringify(identity.slice(0, 200))}\nRename it.`,
      );
    return path.startsWith(`${person}/`) ? path : `${person}/${path}`;
  }
  /** The text of `identities.txt`; undefined where the order of names gives the same labels. */
  function identitiesText(identities: readonly string[]): string | undefined {
    if (!known) return nested ? '' : undefined;
    const classes = [...folderOf.keys()].reduce((m, l) => Math.max(m, l + 1), identities.length);
    const names = Array.from({ length: classes }, (_, l) => folderOf.get(l) ?? (identities[l] || String(l)));
    const seen = new Set<string>();
    for (const n of names) {
      if (seen.has(n) || /[\r\n]|\p{Cs}/u.test(n))
        throw new DataError(
          `${folder}: expected people with names of their own that fit in a line, got ${JSON.stringify(n.slice(0, 200))}\nRename them.`,
        );
      seen.add(n);
    }
    // Rank order needs a folder for every label.
    const ranked = folderOf.size === classes && names.every((n, l) => l === 0 || names[l - 1]! < n);
    if (ranked) return undefined;
    // A mark at the start of a file is not part of a name, unless there is another.
    return (names[0]!.startsWith('\uFEFF') ? '\uFEFF' : '') + names.map((n) => `${n}\n`).join('');
  }
  const writeText = (name: string, text: string) =>
    writeWhole(join(folder, name), (sink) => sink.write(Buffer.from(text)));
  return {
    get written() {
      return writer.written;
    },
    async add(image) {
      const path = pathOf(image);
      check(path, image.label, image.name);
      await writer.add(path, image.label, image.bytes, image.name);
      remember(path, image.label);
    },
    async finish({ identities, pairs }) {
      const labels = identitiesText(identities);
      if (labels !== undefined) await writeText(identitiesFile, labels);
      if (pairs) {
        const names: string[] = [];
        for await (const { path } of writer.pictures()) names.push(path);
        const text = formatPairs(pairs, { name: folder, length: names.length, imageName: (i) => names[i]! });
        await writeText(pairsFile, text);
      }
      await writer.finish();
    },
    abort: () => writer.abort(),
  };
}

export const folderFormat: DataFormat = {
  name: 'folder',
  means: 'a folder of pictures per identity',
  holds: { labels: true, names: true, pairs: true, mixed: false, raw: false },
  detect: (_path, folder) => folder,
  folder: (path) => path,
  open: async (path) => withPairs(openFolder(path), join(path, pairsFile)),
  create,
};
