/**
 * Choosing the images that a prepared set has: balancing as the field's preparation scripts do, exact, least and most
 * numbers of images per person.
 *
 * The one idea: a selection is a list of (image, treatment, draw) in typed arrays; who writes or trains on it makes the
 * pixels (treat.ts). What is chosen of a person is drawn from (key, label) alone.
 */
import { UsageError } from '../../core/errors.ts';
import { fold, type Key, permutation } from '../../core/random.ts';
import type { Dataset } from '../dataset.ts';
import { labelsOf, type People, peopleOf } from '../people.ts';
import { withPeople } from './combine.ts';
import type { Treatment } from './treat.ts';

/** Treatments by number, and what the names of treated copies begin with. */
const treatments: readonly Treatment[] = ['keep', 'open', 'gaussian', 'saltPepper', 'chain'];
const prefixes: Readonly<Record<Treatment, string>> = {
  keep: '',
  open: 'Open_',
  gaussian: 'AddGaussian_',
  saltPepper: 'AddSP_',
  chain: 'Chain',
};

/** Images of a set, in order, some with a treatment. */
export interface Selection {
  /** The set, its images numbered as before, labels counted anew from 0 over the people who stay, −1 for the others. */
  readonly set: Dataset;
  readonly length: number;
  /** Number of the image, by place. */
  readonly image: Int32Array;
  /** Which treatment, as an index of keep, open, gaussian, saltPepper, chain. */
  readonly treatment: Uint8Array;
  /** Tells copies of an image with the same treatment apart; 0 for the first. */
  readonly draw: Int32Array;
  /** What is done to the image at a place, with the stream for it; undefined where it stays as it is. */
  treatmentOf(place: number): { readonly kind: Treatment; readonly key: Key } | undefined;
  /** The name of what is at a place: the image's, its file with a prefix for what was done to it. */
  nameOf(place: number, name?: string): string;
}

function selection(set: Dataset, image: Int32Array, treatment: Uint8Array, draw: Int32Array, key: Key): Selection {
  return {
    set,
    length: image.length,
    image,
    treatment,
    draw,
    treatmentOf(place) {
      const kind = treatments[treatment[place]!]!;
      if (kind === 'keep') return undefined;
      return { kind, key: fold(fold(fold(key, kind), image[place]!), draw[place]!) };
    },
    nameOf(place, name = set.imageName(image[place]!)) {
      const kind = treatments[treatment[place]!]!;
      const number = kind === 'chain' ? `${draw[place]! + 1}_` : '';
      const at = name.lastIndexOf('/') + 1;
      return `${name.slice(0, at)}${prefixes[kind]}${number}${name.slice(at)}`;
    },
  };
}

/** Places of a selection that grows. */
class Places {
  private image = new Int32Array(1024);
  private treatment = new Uint8Array(1024);
  private draw = new Int32Array(1024);
  private length = 0;

  add(image: number, kind: Treatment, draw = 0): void {
    if (this.length === this.image.length) {
      const more = <T extends Int32Array | Uint8Array>(from: T, to: T): T => {
        to.set(from);
        return to;
      };
      const size = 2 * this.length;
      this.image = more(this.image, new Int32Array(size));
      this.treatment = more(this.treatment, new Uint8Array(size));
      this.draw = more(this.draw, new Int32Array(size));
    }
    this.image[this.length] = image;
    this.treatment[this.length] = treatments.indexOf(kind);
    this.draw[this.length++] = draw;
  }
  over(set: Dataset, key: Key): Selection {
    const n = this.length;
    return selection(set, this.image.slice(0, n), this.treatment.slice(0, n), this.draw.slice(0, n), key);
  }
}

/** All images as they are, also those of nobody known. */
export function everything(set: Dataset): Selection {
  const n = set.length;
  const image = Int32Array.from({ length: n }, (_, i) => i);
  return selection(set, image, new Uint8Array(n), new Int32Array(n), [0, 0]);
}

function groups(what: string, set: Dataset): { labels: Int32Array; people: People } {
  if (set.classes === 0)
    throw new UsageError(
      `${what}: expected a set whose people are known, but ${set.name} names none\nUse a set with a folder or a label per person.`,
    );
  const labels = labelsOf(set);
  return { labels, people: peopleOf(labels, set.classes) };
}
function checkCount(what: string, n: number): void {
  if (!Number.isInteger(n) || n < 1)
    throw new UsageError(`${what}: expected a whole number of images from 1 on, got ${n}\nCorrect the number.`);
}

/** Marks `most` of the things `from` … `to − 1` at random. */
function mark(taken: Uint8Array, things: Int32Array, from: number, to: number, most: number, key: Key): void {
  if (to - from <= most) for (let k = from; k < to; k++) taken[things[k]!] = 1;
  else for (const k of permutation(key, to - from).subarray(0, most)) taken[things[from + k]!] = 1;
}

/** What happens to people with more than `above` images, and not more than the next band begins at. */
export interface Band {
  readonly above: number;
  /** What each image gives: 'keep' itself, others a treated copy. */
  readonly give: readonly Treatment[];
  /** How many of a person's images are taken, at random. Default: all. */
  readonly most?: number;
}

/**
 * Over 350 images: 350 of them at random; over 200: all; over 90: all, and of each an opened copy; over 30: all, and of
 * each an opened one, one with Gaussian and one with salt-and-pepper noise; people with 30 or fewer are left out.
 */
export const defaultBands: readonly Band[] = [
  { above: 350, give: ['keep'], most: 350 },
  { above: 200, give: ['keep'] },
  { above: 90, give: ['keep', 'open'] },
  { above: 30, give: ['keep', 'open', 'gaussian', 'saltPepper'] },
];

/**
 * Evens out how many images people have: each person is treated as the band says that has the largest `above` below
 * their number; who is in none is left out. Images keep their order, copies follow their image. Images of nobody are
 * left out. Throws UsageError for bands that are not in falling order.
 */
export function balance(set: Dataset, key: Key, bands: readonly Band[] = defaultBands): Selection {
  bands.forEach(({ above, give, most = 1 }, b) => {
    checkCount('balance', most);
    if (!(above >= 0) || (b > 0 && above >= bands[b - 1]!.above) || give.some((t) => !treatments.includes(t)))
      throw new UsageError(
        `balance: expected bands from the largest number of images to the smallest, each with treatments of ${treatments.join(', ')}, got ${JSON.stringify(bands)}\nCorrect band ${b + 1}.`,
      );
  });
  const { labels, people } = groups('balance', set);
  const bandOf = new Int8Array(set.classes).fill(-1);
  const taken = new Uint8Array(set.length);
  for (let l = 0; l < set.classes; l++) {
    const [from, to] = [people.starts[l]!, people.starts[l + 1]!];
    const b = bands.findIndex(({ above }) => to - from > above);
    bandOf[l] = b;
    if (b >= 0) mark(taken, people.images, from, to, bands[b]!.most ?? to - from, fold(fold(key, 'most'), l));
  }
  const places = new Places();
  for (let i = 0; i < labels.length; i++)
    if (taken[i]) for (const kind of bands[bandOf[labels[i]!]!]!.give) places.add(i, kind);
  return places.over(
    withPeople(
      set,
      Uint8Array.from(bandOf, (b) => (b >= 0 ? 1 : 0)),
    ),
    key,
  );
}

/**
 * Exactly n images of each person: n at random of those who have more; for others all, and copies changed by the chain of
 * treatments, as many of each image as of any other but one. People without images, and images of nobody, are left out.
 */
export function exactly(set: Dataset, n: number, key: Key): Selection {
  checkCount('exactly', n);
  const { labels, people } = groups('exactly', set);
  const { starts, images } = people;
  const taken = new Uint8Array(set.length);
  for (let l = 0; l < set.classes; l++) mark(taken, images, starts[l]!, starts[l + 1]!, n, fold(fold(key, 'most'), l));
  const places = new Places();
  const rank = new Int32Array(set.classes);
  for (let i = 0; i < labels.length; i++) {
    if (!taken[i]) continue;
    places.add(i, 'keep');
    const label = labels[i]!;
    const has = starts[label + 1]! - starts[label]!;
    // copies go round the person's images: the first ones have one more
    const k = rank[label]!++;
    for (let copy = 0; has + k + copy * has < n; copy++) places.add(i, 'chain', copy);
  }
  const kept = Uint8Array.from({ length: set.classes }, (_, l) => (starts[l + 1]! > starts[l]! ? 1 : 0));
  return places.over(withPeople(set, kept), key);
}

/** A selection's places by the label of their image. */
function placesOf(what: string, from: Dataset | Selection): { from: Selection; people: People } {
  const chosen = 'treatmentOf' in from ? from : everything(from);
  // a selection may have nobody left
  const labels = chosen === from ? labelsOf(chosen.set) : groups(what, chosen.set).labels;
  const byPlace = chosen.image.map((i) => labels[i]!);
  return { from: chosen, people: peopleOf(byPlace, chosen.set.classes) };
}

/** The places marked, with what was to be done to them. */
function thin(from: Selection, taken: Uint8Array, set: Dataset): Selection {
  const places = Int32Array.from(taken, (_, k) => k).filter((k) => taken[k] === 1);
  const thinned = selection(
    set,
    places.map((k) => from.image[k]!),
    Uint8Array.from(places, (k) => from.treatment[k]!),
    places.map((k) => from.draw[k]!),
    [0, 0],
  );
  return { ...thinned, treatmentOf: (place) => from.treatmentOf(places[place]!) };
}

/** Of a set or selection the people with at least n images. Images of nobody are left out. */
export function atLeast(from: Dataset | Selection, n: number): Selection {
  checkCount('atLeast', n);
  const { from: chosen, people } = placesOf('atLeast', from);
  const { starts, images } = people;
  const taken = new Uint8Array(chosen.length);
  const kept = new Uint8Array(chosen.set.classes);
  for (let l = 0; l < kept.length; l++) {
    if (starts[l + 1]! - starts[l]! < n) continue;
    kept[l] = 1;
    for (let k = starts[l]!; k < starts[l + 1]!; k++) taken[images[k]!] = 1;
  }
  return thin(chosen, taken, withPeople(chosen.set, kept));
}

/** Of a set or selection at most n images of each person, at random. Images of nobody are left out. */
export function atMost(from: Dataset | Selection, n: number, key: Key): Selection {
  checkCount('atMost', n);
  const { from: chosen, people } = placesOf('atMost', from);
  const { starts, images } = people;
  const taken = new Uint8Array(chosen.length);
  const kept = new Uint8Array(chosen.set.classes);
  for (let l = 0; l < kept.length; l++) {
    if (starts[l + 1]! > starts[l]!) kept[l] = 1;
    mark(taken, images, starts[l]!, starts[l + 1]!, n, fold(fold(key, 'most'), l));
  }
  return thin(chosen, taken, withPeople(chosen.set, kept));
}
