/**
 * Which pictures an epoch takes, in what order.
 *
 * The one idea: an order is a function of (key, epoch) alone, a typed array; so a run resumes anywhere, with any number
 * of threads. Batches of some people with some pictures each are what metric losses want (Hermans et al. 2017, "In
 * defense of the triplet loss", section 2).
 */
import { UsageError } from '../../core/errors.ts';
import { fold, type Key, permutation } from '../../core/random.ts';
import type { Dataset } from '../dataset.ts';
import { labelsOf, peopleOf } from '../people.ts';

export interface Sampler {
  /** Pictures in an epoch. */
  readonly length: number;
  /** Their numbers in the set, in the order of an epoch. */
  order(epoch: number): Int32Array;
}

/** Every picture once an epoch, in random order. */
export function shuffled(set: Dataset, key: Key): Sampler {
  return {
    length: set.length,
    order: (epoch) => permutation(fold(fold(key, 'order'), epoch), set.length),
  };
}

/** What a batch of `identityBalanced` holds. */
export interface PeoplePerBatch {
  /** Different people in a batch. */
  readonly people: number;
  /** Pictures of each, beside one another. */
  readonly images: number;
}

/**
 * Batches of `people` different people with `images` pictures each. An epoch has as many batches as the labelled pictures
 * fill, at least one. People come equally often whatever number of pictures they have: they are shuffled, taken batch by
 * batch, and shuffled again when fewer than a batch's are left. A person's pictures are shuffled once an epoch and taken
 * in turn; who has fewer than `images` comes with repeats. Pictures without a label are left out.
 * @throws UsageError when the set has fewer people with pictures than a batch wants
 */
export function identityBalanced(set: Dataset, { people, images }: PeoplePerBatch, key: Key): Sampler {
  for (const [what, n] of Object.entries({ people, images }))
    if (!Number.isInteger(n) || n < 1)
      throw new UsageError(`sampler: expected ${what} to be a whole number from 1 on, got ${n}\nCorrect ${what}.`);
  const labels = labelsOf(set);
  const { starts } = peopleOf(labels, set.classes);
  const present = Int32Array.from({ length: set.classes }, (_, l) => l).filter((l) => starts[l + 1]! > starts[l]!);
  if (present.length < people)
    throw new UsageError(
      `sampler: expected at most the ${present.length} people with pictures in ${set.name} per batch, got ${people}\nAsk for fewer people per batch.`,
    );
  const batches = Math.max(1, Math.floor(starts[set.classes]! / (people * images)));
  const perRound = Math.floor(present.length / people);
  return {
    length: batches * people * images,
    order(epoch) {
      const stream = fold(fold(key, 'people'), epoch);
      const shuffledImages = permutation(fold(stream, 'images'), set.length);
      const mixed = peopleOf(labels, set.classes, shuffledImages).images;
      /** How many pictures of a person the epoch has taken so far. */
      const taken = new Int32Array(set.classes);
      const order = new Int32Array(batches * people * images);
      let at = 0;
      for (let batch = 0; batch < batches; batch += perRound) {
        const turn = permutation(fold(stream, batch / perRound), present.length);
        const used = Math.min(perRound, batches - batch) * people;
        for (let k = 0; k < used; k++) {
          const label = present[turn[k]!]!;
          const first = starts[label]!;
          const count = starts[label + 1]! - first;
          for (let i = 0; i < images; i++) order[at++] = mixed[first + (taken[label]!++ % count)]!;
        }
      }
      return order;
    },
  };
}
