/**
 * Batches for training, decoded ahead of the step in worker threads (Node).
 *
 * The one idea: what a batch holds is a function of (key, position) alone: the order is a permutation drawn for the
 * epoch, mirroring and augmentation are drawn for the position. So any number of workers gives the same batches, and a run
 * resumes in mid-epoch by `seek`. Decoded pixels are kept in shared memory as far as it reaches: from the second epoch on a
 * set that fits is not decoded again.
 */
import { DataError, UsageError } from '../../core/errors.ts';
import { fold, type Key, uniformAt } from '../../core/random.ts';
import { type AugmentSpec, checkAugment } from '../../image/augment.ts';
import type { Dataset } from '../dataset.ts';
import { createPool } from '../pool.ts';
import type { BadItem, BatchItem, BatchRequest } from './fill.ts';
import { identityBalanced, type PeoplePerBatch, type Sampler, shuffled } from './sampler.ts';

export interface LoaderOptions {
  readonly dataset: Dataset;
  /** Pictures per batch. */
  readonly batch: number;
  /** [height, width]; pictures of another size are resized. */
  readonly size: readonly [number, number];
  /** Mirror each picture with probability one half. Default false. */
  readonly flip?: boolean;
  /** Random changes of each picture (image/augment.ts), after mirroring. Default none. */
  readonly augment?: AugmentSpec;
  /** The random stream of order, mirroring and augmentation. */
  readonly key: Key;
  /** Decoding threads; 0 decodes on the calling thread. Default 1. */
  readonly workers?: number;
  /** Batches prepared before they are asked for; without workers none are. Default 2. */
  readonly ahead?: number;
  /** Replace unreadable pictures by the next ones and report them, instead of stopping. Default false. */
  readonly skipBad?: boolean;
  /** Batches of some people with some pictures each (sampler.ts), whose product is `batch`. Default: every picture once. */
  readonly sampler?: PeoplePerBatch;
  /** Leave out the last, smaller batch of an epoch. Default true. */
  readonly dropLast?: boolean;
  /**
   * Bytes of decoded pixels to keep, 0 for none. Of a larger set the first pictures are kept, of one more than four times as
   * large none: they would hardly help. Default 512 MB.
   */
  readonly cacheBytes?: number;
}

export interface Batch {
  /** uint8 [B, h, w, 3]. */
  readonly images: Uint8Array;
  readonly labels: Int32Array;
  readonly epoch: number;
  /** Number of the batch since the start, over epochs. */
  readonly step: number;
  /** Pictures that could not be read and were replaced. */
  readonly bad: readonly { readonly path: string; readonly reason: string }[];
}

export interface Loader {
  readonly stepsPerEpoch: number;
  /** Milliseconds that `next` has kept its callers waiting. */
  readonly waitedMs: number;
  /** The next batch to give is number `step`. */
  seek(step: number): void;
  next(): Promise<Batch>;
  close(): Promise<void>;
}

const shared = (bytes: number) => new Uint8Array(new SharedArrayBuffer(bytes));

function atLeast(what: string, n: number, least: number): void {
  if (!Number.isInteger(n) || n < least)
    throw new UsageError(`loader: expected ${what} to be a whole number from ${least} on, got ${n}\nCorrect ${what}.`);
}

/**
 * The order of a loader with these options and how many batches make an epoch, without any of its threads or memory.
 * @throws UsageError for a set smaller than a batch, or a sampler that the batch or the set does not fit
 */
export function epochOf({
  dataset,
  batch,
  key,
  sampler: people,
  dropLast = true,
}: Pick<LoaderOptions, 'dataset' | 'batch' | 'key' | 'sampler' | 'dropLast'>): {
  readonly sampler: Sampler;
  readonly stepsPerEpoch: number;
} {
  atLeast('batch', batch, 1);
  if (people && people.people * people.images !== batch)
    throw new UsageError(
      `loader: expected a batch of ${people.people} people with ${people.images} pictures each, got ${batch}\nMake batch their product.`,
    );
  const sampler = people ? identityBalanced(dataset, people, key) : shuffled(dataset, key);
  const stepsPerEpoch = dropLast ? Math.floor(sampler.length / batch) : Math.ceil(sampler.length / batch);
  if (stepsPerEpoch < 1)
    throw new UsageError(
      `loader: expected a batch of at most the ${dataset.length} pictures of ${dataset.name}, got ${batch}\nUse a smaller batch.`,
    );
  return { sampler, stepsPerEpoch };
}

/** Makes a loader. Throws UsageError for impossible options, such as a data set smaller than a batch. */
export function createLoader(options: LoaderOptions): Loader {
  const {
    dataset,
    batch,
    size,
    key,
    flip = false,
    augment: spec = {},
    workers = 1,
    ahead = 2,
    skipBad = false,
    cacheBytes = 512e6,
  } = options;
  atLeast('workers', workers, 0);
  atLeast('ahead', ahead, 0);
  atLeast('height', size[0], 1);
  atLeast('width', size[1], 1);
  const { sampler, stepsPerEpoch } = epochOf(options);
  const augment = checkAugment(spec);
  const augmented = Object.keys(augment).length > 0;
  const bytes = size[0] * size[1] * 3;
  const room = Math.floor(cacheBytes / bytes);
  const kept = 4 * room < dataset.length ? 0 : Math.min(dataset.length, room);
  const cache = kept > 0 ? { pixels: shared(kept * bytes), filled: shared(kept) } : undefined;
  const pool = createPool(workers);

  // Batches are handed out as copies: engines do not count shared memory when they decide to collect garbage.
  const free: Uint8Array[] = [];

  let orderEpoch = -1;
  let order: Int32Array = new Int32Array(0);
  const orderOf = (epoch: number) => {
    if (orderEpoch !== epoch) {
      order = sampler.order(epoch);
      orderEpoch = epoch;
    }
    return order;
  };

  const fillWith = async (request: Omit<BatchRequest, 'items'>, items: readonly BatchItem[]): Promise<BadItem[]> => {
    const share = Math.ceil(items.length / pool.size);
    const parts: Promise<BadItem[]>[] = [];
    for (let i = 0; i < items.length; i += share)
      parts.push(pool.run('fill', { ...request, items: items.slice(i, i + share) }));
    return (await Promise.all(parts)).flat();
  };

  const prepare = async (step: number): Promise<Batch> => {
    const epoch = Math.floor(step / stepsPerEpoch);
    const first = (step % stepsPerEpoch) * batch;
    const rows = Math.min(batch, sampler.length - first);
    const chosen = orderOf(epoch).slice(first, first + rows);
    const flips = fold(fold(key, 'flip'), epoch);
    const draws = fold(fold(key, 'augment'), epoch);
    const buffer = free.pop() ?? shared(batch * bytes);
    const images = buffer.subarray(0, rows * bytes);
    const request = { images, size, augment, cache };
    const itemOf = (row: number): BatchItem => ({
      source: dataset.source(chosen[row]!),
      row,
      mirrored: flip && uniformAt(flips, first + row) < 0.5,
      augmentKey: augmented ? fold(draws, first + row) : undefined,
      slot: chosen[row]!,
    });
    const replaced: { path: string; reason: string }[] = [];
    let todo = Array.from({ length: rows }, (_, row) => row);
    for (let tries = 0; todo.length; tries++) {
      const bad = (await fillWith(request, todo.map(itemOf))).sort((a, b) => a.row - b.row);
      if (bad.length && !skipBad) throw new DataError(bad[0]!.reason);
      if (tries > 100)
        throw new DataError(
          `${dataset.name}: over 100 unreadable pictures in a row, the last ${bad[0]!.path}\nCheck the data set.`,
        );
      for (const b of bad) {
        replaced.push({ path: b.path, reason: b.reason });
        // The next picture of the data set takes its place, whatever the order of the epoch.
        chosen[b.row] = (chosen[b.row]! + 1) % dataset.length;
      }
      todo = bad.map((b) => b.row);
    }
    const labels = Int32Array.from(chosen, (i) => dataset.label(i));
    const prepared = { images: images.slice(), labels, epoch, step, bad: replaced };
    free.push(buffer);
    return prepared;
  };

  let position = 0;
  let waitedMs = 0;
  let closed = false;
  const queue: Promise<Batch>[] = [];
  const fill = (length: number) => {
    while (queue.length < length) {
      const p = prepare(position + queue.length);
      // An error is thrown by the `next` it belongs to.
      p.catch(() => {});
      queue.push(p);
    }
  };
  return {
    stepsPerEpoch,
    get waitedMs() {
      return waitedMs;
    },
    seek(step) {
      atLeast('the step to seek', step, 0);
      queue.length = 0;
      position = step;
    },
    async next() {
      if (closed) throw new UsageError('loader: next was called after close\nMake a new loader.');
      const start = performance.now();
      fill(Math.max(1, workers > 0 ? ahead : 0));
      const taken = queue.shift()!;
      position++;
      if (workers > 0) fill(ahead);
      try {
        return await taken;
      } finally {
        waitedMs += performance.now() - start;
      }
    },
    async close() {
      closed = true;
      queue.length = 0;
      await pool.close();
    },
  };
}
