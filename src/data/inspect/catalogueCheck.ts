/**
 * Is it what it should be: an open data set held against its entry in the catalogue (Node).
 *
 * The one idea: a set circulates in several forms, each a handful of counts. The form with the fewest differences is what it
 * is taken for; what differs is looked up among the counts of all other sets, since that is how wrong packs come about.
 */
import { type CatalogueEntry, type Counts, catalogue, formsOf, type Variant } from '../../../datasets/catalogue.ts';
import { UsageError } from '../../core/errors.ts';
import { fold, keyOf, uniformAt } from '../../core/random.ts';
import { pictureFacts } from '../../image/facts.ts';
import { type Dataset, type ImageSource, type PairTable, sourceName } from '../dataset.ts';
import { readBytes } from '../readImage.ts';

export interface CatalogueCheckOptions {
  /** Pairs in place of those that the set holds. */
  readonly pairs?: PairTable;
  /** Name of the file, where it is one: sets of as many pairs are told apart by it alone. */
  readonly file?: string;
  /** Pictures whose size is looked at. Default 64. */
  readonly sample?: number;
}

/** What the set holds. */
export interface FoundCounts {
  readonly identities: number;
  readonly images: number;
  /** Absent where the set holds none. */
  readonly pairs?: number;
  readonly folds?: number;
  /** Pairs that show one person. */
  readonly same?: number;
  /** Sizes in the sample, most frequent first. */
  readonly sizes: readonly { readonly width: number; readonly height: number; readonly images: number }[];
  /** Pictures of the sample that cannot be read. */
  readonly unreadable: number;
}

export interface Difference {
  readonly what: 'identities' | 'images' | 'pairs' | 'folds' | 'same' | 'size' | 'pictures' | 'name';
  readonly expected: number | string;
  readonly found: number | string;
}

export interface CatalogueCheck {
  readonly entry: string;
  /** `whole`: a known form of the set. `part`: whole folds of it. `differs`: neither. */
  readonly state: 'whole' | 'part' | 'differs';
  /** The form it is, or is nearest to. */
  readonly variant: string;
  readonly found: FoundCounts;
  readonly differences: readonly Difference[];
  /** What it is, in a sentence. */
  readonly summary: string;
  /** What the differences may come from, and what to know of this set in this form. */
  readonly remarks: readonly string[];
  /** What is known to go wrong with the set in any form. */
  readonly traps: readonly string[];
}

const count = (n: number): string => n.toLocaleString('en-US');
const size = ([w, h]: readonly [number, number]): string => `${w}x${h}`;

/** Sizes of pictures spread over the set. */
async function sizesOf(set: Dataset, sample: number): Promise<Pick<FoundCounts, 'sizes' | 'unreadable'>> {
  const n = Math.min(sample, set.length);
  const key = fold(keyOf(1), 'catalogue check');
  const sizes = new Map<string, { width: number; height: number; images: number }>();
  let unreadable = 0;
  const sizeOf = async (source: ImageSource) => {
    const { bytes, raw } = await readBytes(source);
    return raw ?? pictureFacts(bytes, sourceName(source));
  };
  for (let k = 0; k < n; k++) {
    const [from, to] = [Math.floor((k * set.length) / n), Math.floor(((k + 1) * set.length) / n)];
    try {
      const { width, height } = await sizeOf(set.source(from + Math.floor(uniformAt(key, k) * (to - from))));
      const seen = sizes.get(size([width, height]));
      if (seen) seen.images++;
      else sizes.set(size([width, height]), { width, height, images: 1 });
    } catch {
      unreadable++;
    }
  }
  return { sizes: [...sizes.values()].sort((a, b) => b.images - a.images), unreadable };
}

/** What a form says that is not so. What it does not say, and pairs where the set holds none, is not compared. */
function differencesFrom(
  form: Variant,
  found: FoundCounts,
  pairs: Counts | undefined,
  same: number | undefined,
): Difference[] {
  const list: Difference[] = [];
  const compare = (what: Difference['what'], expected: number | undefined, got: number | undefined) => {
    if (expected !== undefined && got !== undefined && expected !== got) list.push({ what, expected, found: got });
  };
  compare('identities', form.identities, found.identities);
  compare('images', form.images, found.images);
  compare('pairs', pairs?.pairs, found.pairs);
  compare('folds', pairs?.folds, found.folds);
  if (pairs?.pairs === found.pairs) compare('same', same, found.same);
  // A .bin without its pairs is none.
  if (form.pairs !== undefined && form.identities === undefined && found.pairs === undefined)
    list.push({ what: 'pairs', expected: form.pairs, found: 'none' });
  if (form.size) {
    const other = found.sizes.find((s) => s.width !== form.size![0] || s.height !== form.size![1]);
    if (other) list.push({ what: 'size', expected: size(form.size), found: size([other.width, other.height]) });
  }
  return list;
}

/** Whether contiguous blocks of `per` pairs are half of one person, as folds are. */
function wholeFolds(pairs: PairTable, per: number): boolean {
  if (pairs.same.length === 0 || pairs.same.length % per !== 0) return false;
  for (let at = 0; at < pairs.same.length; at += per) {
    let same = 0;
    for (let k = at; k < at + per; k++) same += pairs.same[k]!;
    if (2 * same !== per) return false;
  }
  return true;
}

/** Where counts that differ may come from. */
function reasons(entry: CatalogueEntry, form: Variant, found: FoundCounts): string[] {
  const out: string[] = [];
  const { identities, images } = form;
  if (images !== undefined && identities !== undefined && images !== found.images) {
    const more = found.images - images - identities;
    if (more === 0 || more === 1)
      out.push(
        `${count(found.images)} is the ${count(images)} images and the ${count(identities)} records of identities together: those are no images.`,
      );
    else if (found.images < images)
      out.push(`${count(images - found.images)} images fewer: it may be cut off, unpacked in part, or cleaned.`);
  }
  if (identities !== undefined && found.identities === identities + 1)
    out.push('One person too many: labels may count from 1, so that 0 has no images.');
  for (const other of catalogue) {
    if (other === entry) continue;
    const same = formsOf(other).find(
      (f) =>
        (f.identities !== undefined && f.identities > 1000 && f.identities === found.identities) ||
        (f.images !== undefined && f.images > 10_000 && f.images === found.images),
    );
    const differs = identities !== found.identities || images !== found.images;
    if (same && differs)
      out.push(`Its counts are those of ${other.name} (${same.name}): facegrad datasets ${other.name}`);
  }
  return out;
}

const parts = (f: FoundCounts): string =>
  [
    `${count(f.images)} images`,
    f.identities > 0 ? `${count(f.identities)} people` : 'people not known',
    ...(f.pairs === undefined ? [] : [`${count(f.pairs)} pairs in ${f.folds} folds`]),
  ].join(', ');

/**
 * Compares an open set with a catalogue entry: counts, pairs, and the sizes of some of its pictures.
 * @throws UsageError where the entry has no counts to compare with
 */
export async function checkCatalogue(
  set: Dataset,
  entry: CatalogueEntry,
  options: CatalogueCheckOptions = {},
): Promise<CatalogueCheck> {
  const forms = formsOf(entry);
  if (forms.length === 0)
    throw new UsageError(
      `${entry.name}: expected a set with known counts, but ${entry.title} have none\nThere is nothing to compare files with.`,
    );
  const pairs = options.pairs ?? set.pairs;
  const found: FoundCounts = {
    identities: set.classes,
    images: set.length,
    ...(pairs
      ? { pairs: pairs.same.length, folds: pairs.folds, same: pairs.same.reduce((n: number, s) => n + s, 0) }
      : {}),
    ...(await sizesOf(set, options.sample ?? 64)),
  };
  const protocol = [entry.counts, ...entry.variants].find((f) => f?.pairs !== undefined);
  const scored = forms.map((form, k) => {
    const differences = differencesFrom(form, found, protocol, entry.same);
    const far = form.images === undefined ? 1 : Math.abs(Math.log((found.images + 1) / (form.images + 1)));
    return { form, differences, far, k };
  });
  // Where several agree, variants come before what is published, since they say more.
  scored.sort((a, b) => a.differences.length - b.differences.length || a.far - b.far || a.k - b.k);
  const { form, differences } = scored[0]!;
  const remarks: string[] = [];
  const alike = protocol
    ? catalogue.filter(
        (e) => e !== entry && formsOf(e).some((f) => f.pairs === protocol.pairs && f.folds === protocol.folds),
      )
    : [];
  const byCountsAlone = () => {
    if (alike.length > 0)
      remarks.push(
        `${alike.map((e) => e.name).join(', ')} have as many pairs and folds: counts do not tell them apart.`,
      );
  };
  const done = (state: CatalogueCheck['state'], variant: string, summary: string, list: readonly Difference[] = []) => {
    return { entry: entry.name, state, variant, found, differences: list, summary, remarks, traps: entry.traps };
  };

  if (found.unreadable > 0) {
    const looked = found.sizes.reduce((n, s) => n + s.images, found.unreadable);
    remarks.push('facegrad inspect --verify says which pictures cannot be read, and why.');
    const unread: Difference = {
      what: 'pictures',
      expected: 'all readable',
      found: `${found.unreadable} of ${looked} not`,
    };
    return done('differs', form.name, `${entry.title} with pictures that cannot be read: ${parts(found)}`, [
      ...differences,
      unread,
    ]);
  }
  const namesake = alike.find((e) =>
    e.variants.some((v) => options.file !== undefined && v.files.includes(options.file)),
  );
  if (namesake)
    return done('differs', form.name, `Not ${entry.title} by its name, but ${namesake.title}: ${parts(found)}`, [
      ...differences,
      { what: 'name', expected: form.files.join(', ') || form.name, found: options.file! },
    ]);
  if (differences.length === 0) {
    if (form.identities === undefined) byCountsAlone();
    const sized = forms.find((f) => f.size && f.images === form.images && f.identities === form.identities);
    if (!form.size && sized?.size && found.sizes.length > 0)
      remarks.push(
        `Its pictures are ${found.sizes.map((s) => size([s.width, s.height])).join(', ')}; ${sized.name} has ${size(sized.size)}.`,
      );
    if (protocol?.pairs !== undefined && found.pairs === undefined)
      remarks.push(`It holds no pairs; ${entry.title} has ${count(protocol.pairs)}: name their file with --pairs.`);
    if (form.images === undefined)
      remarks.push('Of this form only the number of people is known: the number of images was not compared.');
    if (form.note) remarks.push(form.note);
    return done('whole', form.name, `${entry.title}, ${form.name}: ${parts(found)}`);
  }
  if (pairs && found.pairs !== undefined && protocol?.pairs !== undefined) {
    const per = protocol.pairs / (protocol.folds ?? 10);
    const most = (what: 'identities' | 'images') => Math.max(...forms.map((f) => f[what] ?? 0));
    const within = found.images <= most('images') && found.identities <= most('identities');
    const knownSize = found.sizes.every(({ width, height }) =>
      forms.some((f) => f.size?.[0] === width && f.size[1] === height),
    );
    if (!knownSize && forms.some((f) => f.size))
      remarks.push(
        `Pictures of ${found.sizes.map((s) => size([s.width, s.height])).join(', ')}: a size of no form known here.`,
      );
    if (within && found.pairs === protocol.pairs && (entry.same === undefined || found.same === entry.same)) {
      byCountsAlone();
      return done('whole', 'pairs alone', `${entry.title}, the pictures of its pairs: ${parts(found)}`);
    }
    if (within && found.pairs < protocol.pairs && wholeFolds(pairs, per)) {
      byCountsAlone();
      remarks.push(`A number measured on it is not that of ${entry.title}: say which folds it is of.`);
      if (found.folds !== found.pairs / per)
        remarks.push(`Its pairs lie in ${found.folds} folds of their own: give --folds ${found.pairs / per} to eval.`);
      return done(
        'part',
        'part',
        `Part of ${entry.title}: ${count(found.pairs)} of ${count(protocol.pairs)} pairs, ${found.pairs / per} of ${protocol.folds ?? 10} folds; ${parts(found)}`,
      );
    }
  }
  remarks.push(...reasons(entry, form, found));
  return done('differs', form.name, `Not ${entry.title} as known here: ${parts(found)}`, differences);
}
