/**
 * Converting data sets: any format to any other, with alignment, selection and repair on the way (Node).
 *
 * The one idea: a conversion is a list of (image, treatment) in a fixed order, each made on a worker thread and written in
 * that order. A journal beside the target says what was asked and how far it came, so the same command goes on where it
 * was cut off, to the same bytes.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DataError, UsageError } from '../../core/errors.ts';
import { fold, type Key, keyOf } from '../../core/random.ts';
import { pictureKind, withEnding } from '../../image/pictureKind.ts';
import { type Dataset, type PairTable, sourceName } from '../dataset.ts';
import { textFile } from '../files.ts';
import { progressFile } from '../formats/folder.ts';
import type { DataFormat, NewImage } from '../formats/format.ts';
import { formats } from '../formats/index.ts';
import { parseLandmarks } from '../landmarks.ts';
import { formatOf } from '../open.ts';
import { partOf } from '../partFile.ts';
import { createPool, type Pool } from '../pool.ts';
import { readBytes } from '../readImage.ts';
import { readPairTable } from '../readPairs.ts';
import { concat, pairsWithin, split } from './combine.ts';
import { claim, journalPath, noteInJournal, startJournal } from './journal.ts';
import { atLeast, atMost, balance, everything, exactly, type Selection } from './select.ts';
import { isInside, targetFormat, validationName } from './target.ts';
import { isCopy, type Transform, type Transformed, type TransformRequest } from './transform.ts';

export interface PrepareOptions {
  /** Data sets of any format; several are joined, people of one behind those of the other. */
  readonly sources: readonly string[];
  readonly out: string;
  /** Name of the target's format. Default: by the ending of `out`, a folder where it has none. */
  readonly to?: string | undefined;
  /** People of equal names in several sources are one. Default false. */
  readonly merge?: boolean | undefined;
  /** Pairs over the images, to be stored with them. */
  readonly pairs?: string | undefined;
  /** Align by five points to the template of `size`: 'known' takes those that the set holds, else a landmarks file. */
  readonly align?: string | undefined;
  /** [height, width] of the images written; with `align` 112x112 by default. */
  readonly size?: readonly [number, number] | undefined;
  readonly fit?: 'scale' | 'crop' | undefined;
  readonly encode?: Transform['encode'] | undefined;
  readonly quality?: number | undefined;
  /** The balancing bands (see select.ts), or a number of images for every identity, or limits. */
  readonly balance?: boolean | undefined;
  readonly exactly?: number | undefined;
  readonly atLeast?: number | undefined;
  readonly atMost?: number | undefined;
  /** A part kept apart for validation, written to `out` with '-validation' before its ending. */
  readonly validation?: number | undefined;
  readonly splitBy?: 'image' | 'identity' | undefined;
  readonly seed?: number | undefined;
  /** Decode every picture, also where it is copied. Default false. */
  readonly check?: boolean | undefined;
  /** Save what can be read of damaged pictures. Default false. */
  readonly repair?: boolean | undefined;
  /** Decode every picture and leave out what cannot be read, instead of stopping. Default false. */
  readonly skipBad?: boolean | undefined;
  /** Threads that decode; not part of what decides the result. Default 1. */
  readonly workers?: number | undefined;
  /** Replace a target that is there (files alone, never a folder with something in it). Default false. */
  readonly overwrite?: boolean | undefined;
  /** Aborting leaves what is written, for the same call to go on with. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: (e: PrepareEvent) => void;
}

export type PrepareEvent =
  | { readonly type: 'scan'; readonly done: number; readonly total: number }
  | {
      readonly type: 'start';
      readonly out: string;
      readonly format: string;
      readonly images: number;
      readonly identities: number;
      readonly pairs: number;
      /** Images that an earlier call has written. */
      readonly from: number;
    }
  | { readonly type: 'progress'; readonly done: number; readonly total: number; readonly bytes: number }
  | { readonly type: 'bad'; readonly reason: string }
  | { readonly type: 'repaired'; readonly name: string; readonly what: string }
  | { readonly type: 'note'; readonly text: string };

export interface Prepared {
  readonly out: string;
  readonly format: string;
  readonly images: number;
  readonly identities: number;
  readonly pairs: number;
  /** Names of pictures that could not be read and were left out. */
  readonly leftOut: readonly string[];
  readonly repaired: number;
  /** False after an abort. */
  readonly finished: boolean;
}

/** Converts data sets. Throws DataError naming the picture or file that is not what it should be, UsageError for options that do not fit. */
export async function prepare(options: PrepareOptions): Promise<Prepared> {
  const { sources, out, onEvent = () => {}, validation, splitBy = 'image', seed = 1 } = options;
  if (sources.length === 0) throw new UsageError('prepare: expected a data set to convert, got none\nName one.');
  if ([...sources, out].includes(''))
    throw new UsageError('prepare: expected paths, got an empty one\nA variable may not be set.');
  if (splitBy === 'identity' && validation === undefined)
    throw new UsageError('prepare: expected a share to keep apart, got none\nAdd it: --validation 0.1.');
  if (options.pairs !== undefined && validation !== undefined)
    throw new UsageError(
      'prepare: expected pairs over one set, got a split that parts them\nLeave out --pairs or --validation.',
    );
  const format = targetFormat(out, options.to);
  if (sources.some((s) => resolve(s) === resolve(out)))
    throw new UsageError(`${out}: expected another place than a source, got the same\nName a new file or folder.`);
  const opened: Dataset[] = [];
  for (const path of sources) {
    const from = await formatOf(path);
    // There it would be part of what is read when the conversion goes on.
    if ((from.name === 'folder' || from === format) && isInside(out, path))
      throw new UsageError(
        `${out}: expected a place outside of the source ${path}, got one in it\nWrite it beside the source.`,
      );
    opened.push(await from.open(path, { onProgress: (done, total) => onEvent({ type: 'scan', done, total }) }));
  }
  for (const { note } of opened) if (note) onEvent({ type: 'note', text: note });
  const all = opened.length === 1 ? opened[0]! : concat(opened, { mergeIdentities: options.merge ?? false });
  const pairs = options.pairs === undefined ? all.pairs : readPairTable(options.pairs, all);
  const key = keyOf(seed);
  const pool = createPool(options.workers ?? 1);
  try {
    if (validation === undefined) return await convert(pairs, select(all, options, key), out, format, options, pool);
    const parts = split(all, { validation, by: splitBy, key: fold(key, 'split') });
    if (pairs) onEvent({ type: 'note', text: 'the pairs are left out: a split parts them' });
    const kept = validationName(out);
    const other = await convert(undefined, everything(parts.validation), kept, format, options, pool, true);
    if (!other.finished) return other;
    const done = await convert(undefined, select(parts.train, options, key), out, format, options, pool);
    // Until here it tells the same command that this part is done.
    if (done.finished) await rm(journalPath(kept), { force: true });
    return done;
  } finally {
    await pool.close();
  }
}

function select(
  set: Dataset,
  { balance: bands, exactly: n, atLeast: least, atMost: most }: PrepareOptions,
  key: Key,
): Selection {
  if ([bands || undefined, n, least ?? most].filter((x) => x !== undefined).length > 1)
    throw new UsageError(
      'prepare: expected one of --balance, --exactly, and --at-least with --at-most\nLeave the others out.',
    );
  if (bands) return balance(set, fold(key, 'balance'));
  if (n !== undefined) return exactly(set, n, fold(key, 'exactly'));
  const chosen = least === undefined ? everything(set) : atLeast(set, least);
  return most === undefined ? chosen : atMost(chosen, most, fold(key, 'atMost'));
}

/** The order in which a selection is written: by label, otherwise as it is. */
function writingOrder({ set, image }: Selection): Int32Array {
  const labels = Int32Array.from(image, (i) => set.label(i));
  const order = Int32Array.from(image, (_, k) => k);
  // Most sets are in order already.
  return labels.every((l, k) => k === 0 || labels[k - 1]! <= l)
    ? order
    : order.sort((a, b) => labels[a]! - labels[b]! || a - b);
}

async function convert(
  pairs: PairTable | undefined,
  chosen: Selection,
  out: string,
  format: DataFormat,
  options: PrepareOptions,
  pool: Pool,
  keepJournal = false,
): Promise<Prepared> {
  const { set } = chosen;
  const { onEvent = () => {}, signal, skipBad = false, overwrite = false, seed = 1 } = options;
  const how: Transform = {
    size: options.size ?? (options.align === undefined ? undefined : [112, 112]),
    fit: options.fit,
    encode: options.encode ?? 'keep',
    quality: options.quality ?? 95,
    holdsRaw: format.holds.raw,
    check: (options.check ?? false) || skipBad,
    repair: options.repair ?? false,
  };
  const total = chosen.image.length;
  if (total === 0)
    throw new DataError(`${set.name}: expected images to write, but none is left by this selection\nLower its limits.`);
  const order = writingOrder(chosen);
  const unknown = chosen.image.reduce((n, i) => n + (set.label(i) < 0 ? 1 : 0), 0);
  if (unknown > 0 && unknown < total && format.holds.labels && !format.holds.mixed)
    throw new UsageError(
      `${out}: expected images whose people are all known, or none of them, got ${unknown} of unknown people among ${total}: a ${format.name} cannot hold both\nPass --at-least 1 to leave them out, or choose another format: ${formats
        .filter((f) => f.create && f.holds.mixed)
        .map((f) => f.name)
        .join(', ')}.`,
    );
  const pointsOf = await landmarksFor(set, options.align);
  const requestAt = (k: number): TransformRequest => {
    const place = order[k]!;
    const image = chosen.image[place]!;
    const source = set.source(image);
    let points: readonly number[] | undefined;
    if (pointsOf) {
      points = pointsOf(image);
      if (!points && how.fit !== 'crop')
        throw new DataError(
          `${sourceName(source)}: expected five points to align by, found none\nAdd them, pass --skip-bad to leave it out, or --fit crop to take its central part.`,
        );
    }
    return { source, how, points, treatment: chosen.treatmentOf(place) };
  };
  const holdsPairs = format.holds.pairs || format.createFromPairs !== undefined;
  const result = {
    out,
    format: format.name,
    // A set made of pairs has an image for each of their sides.
    images: format.createFromPairs ? 2 * (pairs?.left.length ?? 0) : total,
    identities: format.holds.labels ? set.classes : 0,
    pairs: holdsPairs ? (pairs?.left.length ?? 0) : 0,
  };
  if (pairs && !holdsPairs)
    onEvent({
      type: 'note',
      text: `${format.name} holds no pairs: they are left out; keep the pairs file, or choose packed, folder or verification`,
    });
  if (set.classes > 0 && !format.holds.labels)
    onEvent({ type: 'note', text: `${format.name} holds no labels: who is who is left out` });
  if (options.encode === 'raw' && !format.holds.raw)
    onEvent({ type: 'note', text: `${format.name} holds no bare pixels: they are written as PNG` });

  const asked = {
    sources: options.sources,
    images: [set.name, set.length, set.classes, total],
    to: format.name,
    // What is done about bad pictures may change when one has stopped a conversion.
    how: { ...how, check: null, repair: null },
    ...Object.fromEntries(
      (['merge', 'pairs', 'align', 'balance', 'exactly', 'atLeast', 'atMost', 'validation', 'splitBy'] as const).map(
        (k) => [k, options[k] ?? null],
      ),
    ),
    seed,
  };
  if (format.createFromPairs) {
    if (!pairs)
      throw new UsageError(
        `${out}: expected pairs, since a ${format.name} consists of them, got none\nName a pairs file with --pairs.`,
      );
    await claim(out, asked, overwrite, undefined);
    onEvent({ type: 'start', ...result, from: 0 });
    let done = 0;
    let bytes = 0;
    const stopped = new Error('stopped');
    const read = async (image: number) => {
      if (signal?.aborted) throw stopped;
      const made = await make(pool, {
        source: set.source(image),
        how: { ...how, holdsRaw: false },
        points: pointsOf?.(image),
      });
      bytes += made.bytes.length;
      onEvent({ type: 'progress', done: ++done, total: 2 * pairs.left.length, bytes });
      return made.bytes;
    };
    try {
      await format.createFromPairs(out, pairs, read);
    } catch (error) {
      if (error !== stopped) throw error;
      return { ...result, images: 0, leftOut: [], repaired: 0, finished: false };
    }
    return { ...result, leftOut: [], repaired: 0, finished: true };
  }

  const folder = format.folder?.(out);
  const journal = await claim(out, asked, overwrite, folder);
  const leftOut = new Set(journal?.leftOut);
  const path = journalPath(out);
  const unfinished = folder === undefined ? partOf(out) : join(folder, progressFile);
  if (journal?.finishing && existsSync(out) && !existsSync(unfinished)) {
    // It was cut off, or this part done, between the set's completion and the removal of the journal.
    onEvent({ type: 'start', ...result, from: total });
    if (!keepJournal) await rm(path, { force: true });
    return { ...result, images: total - leftOut.size, leftOut: [], repaired: 0, finished: true };
  }
  await startJournal(path, { asked, leftOut: [...leftOut] });
  const writer = await format.create!(out, { resume: journal !== undefined }).catch(async (error) => {
    if (!journal) await rm(path, { force: true });
    throw error;
  });
  // The writer counts what it holds; the journal knows what was left out between.
  let next = 0;
  for (let held = 0; held < writer.written; next++) if (!leftOut.has(next)) held++;
  onEvent({ type: 'start', ...result, from: next });

  /** The pairs whose pictures were written. Where these are fewer than folds, those without a pair go. */
  const pairsLeft = (all: PairTable): PairTable | undefined => {
    const written = order.filter((_, at) => !leftOut.has(at)).map((place) => chosen.image[place]!);
    const left = pairsWithin(all, written, set.length);
    const n = left.left.length;
    if (n === 0) onEvent({ type: 'note', text: `${set.name}: no pair is left, since its pictures were left out` });
    if (n === 0 || left.folds <= n) return n === 0 ? undefined : left;
    const used = [...new Set(left.fold)].sort((a, b) => a - b);
    return { ...left, folds: used.length, fold: left.fold.map((f) => used.indexOf(f)) };
  };
  const names: string[] = [];
  let repaired = 0;
  let bytes = 0;
  const ahead = 8 * pool.size;
  const underWay: { readonly k: number; readonly made: Promise<Transformed> }[] = [];
  let launched = next;
  try {
    while (next < total) {
      if (signal?.aborted) {
        await writer.abort();
        return { ...result, images: next - leftOut.size, leftOut: names, repaired, finished: false };
      }
      while (underWay.length < ahead && launched < total) {
        const k = launched++;
        const made = (async () => make(pool, requestAt(k)))();
        made.catch(() => {}); // it is looked at in its turn
        underWay.push({ k, made });
      }
      const { k, made } = underWay.shift()!;
      const image = chosen.image[order[k]!]!;
      try {
        const done = await made;
        // Points are of the picture as it was.
        const asItWas = !how.size && !chosen.treatmentOf(order[k]!);
        const points = asItWas ? set.landmarks?.(image) : undefined;
        await writer.add(newImage(set, image, chosen.nameOf(order[k]!), done, points)).catch((error) => {
          if (!(error instanceof UsageError)) throw error;
          // What the target does not take is here the set's fault.
          throw new DataError(`${sourceName(set.source(image))}: ${error.message}`);
        });
        bytes += done.bytes.length;
        if (done.repaired !== undefined) {
          repaired++;
          onEvent({ type: 'repaired', name: set.imageName(image), what: done.repaired });
        }
      } catch (error) {
        if (!(skipBad && error instanceof DataError)) throw error;
        leftOut.add(k);
        names.push(set.imageName(image));
        onEvent({ type: 'bad', reason: error.message });
        await noteInJournal(path, k);
      }
      next++;
      onEvent({ type: 'progress', done: next, total, bytes });
    }
    if (leftOut.size === total)
      throw new DataError(
        `${set.name}: expected pictures that can be read, but all ${total} were left out\nSee why above.`,
      );
    await noteInJournal(path, 'all');
    await writer.finish({
      identities: Array.from({ length: set.classes }, (_, l) => set.identityName(l)),
      ...(pairs && format.holds.pairs && { pairs: pairsLeft(pairs) }),
    });
  } catch (error) {
    await writer.abort().catch(() => {});
    throw error;
  }
  if (!keepJournal) await rm(path, { force: true });
  return { ...result, images: total - leftOut.size, leftOut: names, repaired, finished: true };
}

async function make(pool: Pool, request: TransformRequest): Promise<Transformed> {
  return isCopy(request) ? readBytes(request.source) : pool.run('transform', request);
}

function newImage(
  set: Dataset,
  image: number,
  name: string,
  { bytes, raw }: Transformed,
  points: readonly number[] | undefined,
): NewImage {
  const label = set.label(image);
  const kind = raw ? undefined : pictureKind(bytes);
  return {
    // JPEG may have become PNG, or the other way round.
    name: kind ? withEnding(name, kind) : name,
    label,
    identity: label < 0 ? '' : set.identityName(label),
    bytes,
    ...(raw && { raw }),
    ...(points && { landmarks: points }),
  };
}

/** Who knows the five points of an image; undefined where nothing is aligned. */
async function landmarksFor(
  set: Dataset,
  align: string | undefined,
): Promise<((image: number) => readonly number[] | undefined) | undefined> {
  if (align === undefined) return undefined;
  if (align === 'known') {
    if (!set.landmarks)
      throw new UsageError(
        `--align known: expected a set that holds five points of its images, but ${set.name} holds none\nName a landmarks file.`,
      );
    return (i) => set.landmarks!(i);
  }
  const table = parseLandmarks(textFile(align, 'a landmarks file'), align);
  return (i) => table.find(set.imageName(i));
}
