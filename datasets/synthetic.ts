/**
 * Synthetic people: training sets and verification pairs without photographs.
 *
 * The one idea: an image is named by (seed, identity, image), so a set is arithmetic on numbers; the pictures are drawn
 * by whoever reads them. People for evaluation are numbered from `evaluationIdentities`, apart from all training sets.
 */
import { UsageError } from '../src/core/errors.ts';
import { fold, keyOf, permutation } from '../src/core/random.ts';
import type { Dataset, ImageSource, PairSet } from '../src/data/dataset.ts';
import { Draws } from './syntheticPerson.ts';

export { syntheticFace } from './syntheticFace.ts';

/** Which people and pictures to draw. */
export interface SyntheticOptions {
  /** Default 1. */
  seed?: number;
  identities: number;
  imagesPerIdentity: number;
  /** Side in pixels, default 112. */
  size?: number;
  /** Number of the first person, default 0. */
  firstIdentity?: number;
}

/** People used for evaluation are numbered from here, so no training set reaches them. */
export const evaluationIdentities = 0x4000_0000;

function count(what: string, n: number, least: number): void {
  if (!Number.isInteger(n) || n < least) {
    throw new UsageError(`synthetic faces: ${what} must be a whole number of at least ${least}, got ${n}`);
  }
}

/** A training set of synthetic people; label l is person firstIdentity + l, image i has label floor(i / imagesPerIdentity). */
export function syntheticSet(options: SyntheticOptions): Dataset {
  const { seed = 1, identities, imagesPerIdentity, size = 112, firstIdentity = 0 } = options;
  count('identities', identities, 1);
  count('imagesPerIdentity', imagesPerIdentity, 1);
  count('size', size, 8);
  count('firstIdentity', firstIdentity, 0);
  if (firstIdentity < evaluationIdentities && firstIdentity + identities > evaluationIdentities) {
    throw new UsageError(
      `synthetic faces: people ${firstIdentity} to ${firstIdentity + identities - 1} reach into those kept for evaluation ` +
        `(from ${evaluationIdentities})\nuse fewer identities or a smaller firstIdentity`,
    );
  }
  return {
    name: `synthetic-${identities}x${imagesPerIdentity}-seed${seed}`,
    classes: identities,
    length: identities * imagesPerIdentity,
    label: (i) => Math.floor(i / imagesPerIdentity),
    identityName: (label) => `person${firstIdentity + label}`,
    imageName: (i) => {
      const number = String(i % imagesPerIdentity).padStart(4, '0');
      const person = `person${firstIdentity + Math.floor(i / imagesPerIdentity)}`;
      return `${person}/${person}_${number}.png`;
    },
    source: (i): ImageSource => ({
      kind: 'synthetic',
      seed,
      identity: firstIdentity + Math.floor(i / imagesPerIdentity),
      image: i % imagesPerIdentity,
      size,
    }),
  };
}

/** How many pairs of whom. */
export interface SyntheticPairsOptions {
  /** Default 1: the same family as the training set of that seed, but other people. */
  seed?: number;
  /** Default 10. */
  folds?: number;
  /** Same-person pairs per fold, and as many of different people. Default 60. */
  pairsPerFold?: number;
  /** People per fold; no person is in two folds. Default 20. */
  identitiesPerFold?: number;
  imagesPerIdentity?: number;
  size?: number;
}

/**
 * Verification pairs in the manner of LFW: each fold has as many pairs of the same person as of different people, the
 * same ones first, and no person is in two folds, nor in any `syntheticSet` that starts below `evaluationIdentities`.
 */
export function syntheticPairs(options: SyntheticPairsOptions = {}): PairSet {
  const {
    seed = 1,
    folds = 10,
    pairsPerFold = 60,
    identitiesPerFold = 20,
    imagesPerIdentity = 10,
    size = 112,
  } = options;
  count('folds', folds, 1);
  count('pairsPerFold', pairsPerFold, 1);
  count('identitiesPerFold', identitiesPerFold, 2);
  count('imagesPerIdentity', imagesPerIdentity, 2);
  count('size', size, 8);
  const within = (imagesPerIdentity * (imagesPerIdentity - 1)) / 2;
  if (pairsPerFold > identitiesPerFold * within) {
    throw new UsageError(
      `syntheticPairs: ${identitiesPerFold} people with ${imagesPerIdentity} images make ${identitiesPerFold * within} ` +
        `different same-person pairs a fold, ${pairsPerFold} were asked for\nraise identitiesPerFold or imagesPerIdentity`,
    );
  }
  const images = syntheticSet({
    seed,
    identities: folds * identitiesPerFold,
    imagesPerIdentity,
    size,
    firstIdentity: evaluationIdentities,
  });
  const total = 2 * folds * pairsPerFold;
  const [left, right, foldOf] = [new Int32Array(total), new Int32Array(total), new Int32Array(total)];
  const same = new Uint8Array(total);
  let at = 0;
  for (let k = 0; k < folds; k++) {
    const d = new Draws(fold(fold(keyOf(seed), 'pairs'), k));
    const below = (n: number) => Math.min(n - 1, Math.floor(d.u(0, n)));
    const imageOf = (who: number, image: number) => (k * identitiesPerFold + who) * imagesPerIdentity + image;
    const add = (a: number, b: number, alike: 0 | 1) => {
      left[at] = a;
      right[at] = b;
      same[at] = alike;
      foldOf[at++] = k;
    };
    // people take turns, so that every one is used; pairs of pictures of one person never repeat
    const order = permutation(fold(fold(keyOf(seed), 'turns'), k), identitiesPerFold);
    const taken = new Set<string>();
    for (let i = 0; i < pairsPerFold; ) {
      const who = order[i % identitiesPerFold]!;
      const a = below(imagesPerIdentity);
      const b = (a + 1 + below(imagesPerIdentity - 1)) % imagesPerIdentity;
      const name = `${who} ${Math.min(a, b)} ${Math.max(a, b)}`;
      if (taken.has(name)) continue;
      taken.add(name);
      add(imageOf(who, a), imageOf(who, b), 1);
      i++;
    }
    for (let i = 0; i < pairsPerFold; i++) {
      const who = order[i % identitiesPerFold]!;
      const other = (who + 1 + below(identitiesPerFold - 1)) % identitiesPerFold;
      add(imageOf(who, below(imagesPerIdentity)), imageOf(other, below(imagesPerIdentity)), 0);
    }
  }
  return { name: `synthetic-pairs-seed${seed}`, images, pairs: { folds, left, right, same, fold: foldOf } };
}
