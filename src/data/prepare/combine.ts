/**
 * Sets made of sets: joined, parts of one, split in two.
 *
 * The one idea: a view keeps typed arrays of image numbers and of labels, and asks the set behind it for names and sources;
 * nothing is read, and millions of images cost a few bytes each.
 */
import { UsageError } from '../../core/errors.ts';
import { type Key, permutation } from '../../core/random.ts';
import type { Dataset, PairTable } from '../dataset.ts';
import { labelsOf, peopleOf } from '../people.ts';

/** The place of set s in a joined one is starts[s] … starts[s + 1] − 1. */
function placeOf(starts: Int32Array, i: number): number {
  let s = 0;
  while (i >= starts[s + 1]!) s++;
  return s;
}
const offsets = (counts: readonly number[]): Int32Array => {
  const starts = new Int32Array(counts.length + 1);
  counts.forEach((n, s) => {
    starts[s + 1] = starts[s]! + n;
  });
  return starts;
};

/** 53 bits of a name; two names that share them are taken for one. */
function hashOf(name: string): number {
  let a = 0x811c9dc5;
  let b = 0x2545f491;
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    a = Math.imul(a ^ c, 0x01000193);
    b = Math.imul(b ^ c, 0x5bd1e995) ^ (b >>> 15);
  }
  return (a >>> 0) * 2 ** 21 + (b >>> 11);
}

/** Whether two sets have a name in common; `nameOf` gives the k-th of the `counts[s]` names of set s. */
function namesClash(counts: readonly number[], nameOf: (s: number, k: number) => string): boolean {
  const all = new Float64Array(counts.reduce((n, c) => n + c, 0));
  let used = 0;
  for (const [s, count] of counts.entries()) {
    const own = Float64Array.from({ length: count }, (_, k) => hashOf(nameOf(s, k))).sort();
    // a name that a set holds twice clashes with no other set
    own.forEach((h, k) => {
      if (k === 0 || h !== own[k - 1]) all[used++] = h;
    });
  }
  const sorted = all.subarray(0, used).sort();
  return sorted.some((h, k) => k > 0 && h === sorted[k - 1]);
}

export interface ConcatOptions {
  /** People of equal name are one person. Default false: each set's people are its own. */
  readonly mergeIdentities?: boolean;
  /** What tells the sets apart where names clash. Default: the last part of each set's own name. */
  readonly names?: readonly string[];
}

/** Short names of sets, each different, that can begin the name of a file. */
function shortNames(sets: readonly Dataset[], given?: readonly string[]): string[] {
  const seen = new Set<string>();
  return sets.map(({ name }, s) => {
    const last = name.split(/[/\\]/).filter(Boolean).at(-1) ?? '';
    const plain = (given?.[s] ?? last.replace(/(.)\.\w{1,10}$/, '$1')).replace(/[\p{Cc}/\\:*?"<>|]/gu, '_') || 'set';
    let short = plain;
    for (let n = 2; seen.has(short); n++) short = `${plain}${n}`;
    seen.add(short);
    return short;
  });
}

/**
 * Sets joined, the images of one behind those of the other. Labels of each set follow those of the one before; with
 * `mergeIdentities` people of equal name get the label of the first (do not merge sets whose people are merely numbered).
 * Where images or unmerged people of different sets share a name, all names get their set's name in front: of the
 * folder, or with `mergeIdentities` of the file (`b-Ann/1.jpg`, `Ann/b-1.jpg`). Pairs stay only if every set has some;
 * their folds keep their numbers. Throws UsageError for no sets, and for more images than 2³¹ − 1.
 */
export function concat(sets: readonly Dataset[], { mergeIdentities = false, names }: ConcatOptions = {}): Dataset {
  if (sets.length === 0) throw new UsageError('concat: expected data sets to join, got none\nPass at least one.');
  if (names && names.length !== sets.length)
    throw new UsageError(`concat: expected ${sets.length} names, one a set, got ${names.length}\nName every set.`);
  const total = sets.reduce((n, s) => n + s.length, 0);
  if (total > 0x7fffffff)
    throw new UsageError(`concat: expected at most ${0x7fffffff} images in all, got ${total}\nJoin fewer sets.`);
  const starts = offsets(sets.map((s) => s.length));
  const people = offsets(sets.map((s) => s.classes));
  /** New label by people[s] + label, and back: the first who has it. */
  const labels = new Int32Array(people.at(-1)!);
  const holders = new Int32Array(people.at(-1)!);
  let classes = 0;
  const byName = new Map<string, number>();
  for (const [s, set] of sets.entries())
    for (let l = 0; l < set.classes; l++) {
      const at = people[s]! + l;
      const known = mergeIdentities ? byName.get(set.identityName(l)) : undefined;
      labels[at] = known ?? classes;
      if (known !== undefined) continue;
      if (mergeIdentities) byName.set(set.identityName(l), classes);
      holders[classes++] = at;
    }
  const peopleClash =
    !mergeIdentities && namesClash([...sets.map((s) => s.classes)], (s, l) => sets[s]!.identityName(l));
  let clash: boolean | undefined = peopleClash || undefined;
  // asked for by name alone, since it looks at every name
  const prefixed = () => {
    clash ??= namesClash([...sets.map((s) => s.length)], (s, i) => sets[s]!.imageName(i));
    return clash;
  };
  const short = shortNames(sets, names);
  const of =
    <T>(ask: (set: Dataset, i: number, s: number) => T) =>
    (i: number): T => {
      const s = placeOf(starts, i);
      return ask(sets[s]!, i - starts[s]!, s);
    };
  const pairs = joinedPairs(sets, starts);
  const notes = sets.flatMap((s) => s.note ?? []);
  return {
    name: sets.map((s) => s.name).join(' + '),
    classes,
    length: total,
    label: of((set, i, s) => {
      const label = set.label(i);
      return label < 0 ? label : labels[people[s]! + label]!;
    }),
    identityName(label) {
      const s = placeOf(people, holders[label]!);
      const name = sets[s]!.identityName(holders[label]! - people[s]!);
      return !mergeIdentities && prefixed() ? `${short[s]}-${name}` : name;
    },
    imageName: of((set, i, s) => {
      const name = set.imageName(i);
      if (!prefixed()) return name;
      const at = mergeIdentities ? name.lastIndexOf('/') + 1 : 0;
      return `${name.slice(0, at)}${short[s]}-${name.slice(at)}`;
    }),
    source: of((set, i) => set.source(i)),
    ...(pairs && { pairs }),
    ...(sets.some((s) => s.landmarks) && { landmarks: of((set, i) => set.landmarks?.(i)) }),
    ...(notes.length > 0 && { note: notes.join('\n') }),
  };
}

function joinedPairs(sets: readonly Dataset[], starts: Int32Array): PairTable | undefined {
  const tables = sets.flatMap((s) => s.pairs ?? []);
  if (tables.length !== sets.length) return undefined;
  const places = offsets(tables.map((t) => t.left.length));
  const count = places.at(-1)!;
  const out = {
    folds: tables.reduce((most, t) => Math.max(most, t.folds), 0),
    left: new Int32Array(count),
    right: new Int32Array(count),
    same: new Uint8Array(count),
    fold: new Int32Array(count),
  };
  for (const [s, { left, right, same, fold: folds }] of tables.entries()) {
    const shift = (i: number) => i + starts[s]!;
    out.left.set(left.map(shift), places[s]!);
    out.right.set(right.map(shift), places[s]!);
    out.same.set(same, places[s]!);
    out.fold.set(folds, places[s]!);
  }
  return out;
}

/**
 * A set with only the people that `kept` marks by label: its images have the numbers that they had, labels are 0 … people−1
 * in the order that they had, −1 for all others.
 */
export function withPeople(set: Dataset, kept: Uint8Array): Dataset {
  const labels = new Int32Array(set.classes).fill(-1);
  const olds = new Int32Array(kept.reduce((n, k) => n + k, 0));
  let classes = 0;
  for (let l = 0; l < set.classes; l++)
    if (kept[l]) {
      olds[classes] = l;
      labels[l] = classes++;
    }
  if (classes === set.classes) return set;
  return {
    ...set,
    classes,
    label: (i) => {
      const label = set.label(i);
      return label < 0 ? label : labels[label]!;
    },
    identityName: (label) => set.identityName(olds[label]!),
    imageName: (i) => set.imageName(i),
    source: (i) => set.source(i),
    ...(set.landmarks && { landmarks: (i: number) => set.landmarks!(i) }),
  };
}

/** Pairs by the places of their images in `images`; those that are not there are left out. */
export function pairsWithin(
  { folds, left, right, same, fold: of }: PairTable,
  images: Int32Array,
  length: number,
): PairTable {
  const places = new Int32Array(length).fill(-1);
  for (let k = images.length - 1; k >= 0; k--) places[images[k]!] = k;
  const kept = Int32Array.from(left, (_, p) => p).filter((p) => places[left[p]!]! >= 0 && places[right[p]!]! >= 0);
  return {
    folds,
    left: kept.map((p) => places[left[p]!]!),
    right: kept.map((p) => places[right[p]!]!),
    same: Uint8Array.from(kept, (p) => same[p]!),
    fold: kept.map((p) => of[p]!),
  };
}

/**
 * The images of a set by number, in the order given. Labels stay, or with `renumber` become 0 … people−1 without those
 * who have no image here, in the order that they had. Pairs stay where both their images are here. Throws UsageError for
 * numbers that the set does not hold.
 */
export function subset(
  set: Dataset,
  images: Int32Array,
  { renumber = false }: { readonly renumber?: boolean } = {},
): Dataset {
  const wrong = images.find((i) => i < 0 || i >= set.length);
  if (wrong !== undefined)
    throw new UsageError(
      `subset: expected images of ${set.name}, which holds ${set.length}, got ${wrong}\nCount from 0.`,
    );
  const kept = new Uint8Array(set.classes);
  if (renumber)
    for (const i of images) {
      const label = set.label(i);
      if (label >= 0) kept[label] = 1;
    }
  const from = renumber ? withPeople(set, kept) : set;
  const pairs = set.pairs && pairsWithin(set.pairs, images, set.length);
  return {
    name: set.name,
    classes: from.classes,
    length: images.length,
    label: (k) => from.label(images[k]!),
    identityName: (label) => from.identityName(label),
    imageName: (k) => set.imageName(images[k]!),
    source: (k) => set.source(images[k]!),
    ...(pairs && pairs.left.length > 0 && { pairs }),
    ...(set.landmarks && { landmarks: (k: number) => set.landmarks!(images[k]!) }),
    ...(set.note !== undefined && { note: set.note }),
  };
}

export interface SplitOptions {
  /** Share for validation, between 0 and 1: of the images, or of the people. */
  readonly validation: number;
  /**
   * 'image': of everyone with several images some may be kept apart, one at least stays to train on; labels are those of the
   * set in both parts. 'identity': whole people are kept apart; labels of both parts count from 0.
   */
  readonly by: 'image' | 'identity';
  readonly key: Key;
}

/**
 * Splits a set at random, the same way for the same key. The validation part is the share asked for, rounded; by image it is
 * smaller where people have too few images to give. By identity, images of nobody stay to train on. Both parts keep the order
 * of the set. Throws UsageError where a part would be empty.
 */
export function split(
  set: Dataset,
  { validation, by, key }: SplitOptions,
): { readonly train: Dataset; readonly validation: Dataset } {
  if (!(validation > 0 && validation < 1))
    throw new UsageError(`split: expected a share between 0 and 1 for validation, got ${validation}\nTry 0.1.`);
  const labels = labelsOf(set);
  const { starts } = peopleOf(labels, set.classes);
  const apart = new Uint8Array(set.length);
  if (by === 'identity') {
    const present = Int32Array.from({ length: set.classes }, (_, l) => l).filter((l) => starts[l + 1]! > starts[l]!);
    const chosen = new Uint8Array(set.classes);
    const turn = permutation(key, present.length);
    for (const k of turn.subarray(0, Math.round(validation * present.length))) chosen[present[k]!] = 1;
    for (let i = 0; i < labels.length; i++) apart[i] = labels[i]! >= 0 ? chosen[labels[i]!]! : 0;
  } else {
    const left = Int32Array.from({ length: set.classes }, (_, l) => starts[l + 1]! - starts[l]!);
    let wanted = Math.round(validation * set.length);
    for (const i of permutation(key, set.length)) {
      if (wanted === 0) break;
      const label = labels[i]!;
      if (label >= 0 && left[label]! < 2) continue;
      if (label >= 0) left[label]!--;
      apart[i] = 1;
      wanted--;
    }
  }
  const all = Int32Array.from(apart, (_, i) => i);
  const parts = [0, 1].map((part) => all.filter((i) => apart[i] === part));
  if (parts.some((p) => p.length === 0))
    throw new UsageError(
      `split: expected images for both parts, but ${validation} of ${set.name} by ${by} leaves ${parts[0]!.length} and ${parts[1]!.length}\nChange the share.`,
    );
  const [train, rest] = parts.map((p) => subset(set, p, { renumber: by === 'identity' }));
  return { train: train!, validation: rest! };
}
