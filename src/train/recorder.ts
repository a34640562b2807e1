/**
 * What a run writes down while it goes: the log, event files for TensorBoard, sample pictures.
 *
 * Tags: `loss`, `accuracy/batch` (without and with margin), `accuracy/<set>`, `terms/<name>`, `learningRate`,
 * `gradientNorm`, `imagesPerSecond`, `waitShare`; with histograms each weight by its name.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Batch } from '../data/load/loader.ts';
import { encodeJpeg } from '../image/encode.ts';
import type { RgbImage } from '../image/jpeg.ts';
import { Parameter } from '../nn/module.ts';
import { writeAtomically } from './checkpointFile.ts';
import { EventFile } from './eventFile.ts';
import type { StepEvent } from './events.ts';
import { type LogRow, RunLog } from './logFile.ts';
import type { Recipe } from './recipe.ts';
import { batchSheet, judgedPairs, nearestPairs, pairSheet, worstPairs } from './samples.ts';
import type { Trainable } from './trainable.ts';
import type { SetResult } from './validation.ts';

export class Recorder {
  private readonly out: string;
  private readonly recipe: Recipe;
  private readonly log: RunLog;
  private readonly events: EventFile | undefined;
  /** Seconds that earlier parts of the run took. */
  private readonly before: number;
  private readonly started = performance.now();
  private line: StepEvent | undefined;

  private constructor(out: string, recipe: Recipe, log: RunLog, events: EventFile | undefined) {
    this.out = out;
    this.recipe = recipe;
    this.log = log;
    this.events = events;
    this.before = log.rows[log.rows.length - 1]?.seconds ?? 0;
  }

  /** @param fromStep steps done by the checkpoint that the run goes on from */
  static async open(out: string, recipe: Recipe, fromStep: number, sets: readonly string[]): Promise<Recorder> {
    const log = await RunLog.open(out, fromStep, sets);
    const events = recipe.tensorBoard ? await EventFile.open(join(out, 'events'), { fromStep }) : undefined;
    if (recipe.samples) await mkdir(join(out, 'samples'), { recursive: true });
    return new Recorder(out, recipe, log, events);
  }

  get rows(): readonly LogRow[] {
    return this.log.rows;
  }

  /** The first batch as the network sees it. */
  async batch(
    { images, labels }: Batch,
    size: readonly [number, number],
    name: (label: number) => string,
  ): Promise<void> {
    if (this.recipe.samples) await this.picture('batch', batchSheet({ images, labels }, size, { name }), 0);
  }

  step(e: StepEvent): void {
    this.line = e;
    const { events } = this;
    if (!events) return;
    events.scalar('loss', e.loss, e.step);
    for (const [name, x] of Object.entries(e.terms)) events.scalar(`terms/${name}`, x, e.step);
    events.scalar('accuracy/batch', e.hitRate, e.step);
    if (e.marginHitRate !== undefined) events.scalar('accuracy/batch with margin', e.marginHitRate, e.step);
    events.scalar('learningRate', e.lr, e.step);
    events.scalar('gradientNorm', e.gradNorm, e.step);
    events.scalar('imagesPerSecond', e.imagesPerSecond, e.step);
    events.scalar('waitShare', e.waitShare, e.step);
  }

  async evaluation(results: readonly SetResult[], step: number, t: Trainable): Promise<void> {
    for (const { set, result } of results) this.events?.scalar(`accuracy/${set}`, result.accuracy, step);
    if (this.recipe.histograms)
      for (const v of t.variables)
        if (v instanceof Parameter) this.events?.histogram(v.name, (await v.read()) as Float32Array, step);
    if (!this.recipe.samples) return;
    for (const { set, evaluator, result } of results) {
      const { left, right, folds } = evaluator.pairs;
      const [height, width] = evaluator.size;
      const picture = (row: number) => ({ width, height, data: evaluator.pictures[row]!.pixels });
      const judged = judgedPairs(result, folds);
      for (const [what, pairs] of [
        ['nearest', nearestPairs(judged)],
        ['worst', worstPairs(judged)],
      ] as const)
        if (pairs.length)
          await this.picture(
            `${set}-${what}`,
            pairSheet(pairs, (p) => [picture(left[p]!), picture(right[p]!)]),
            step,
          );
    }
  }

  /** Writes the row of a step: what `step` was told of it, and its evaluation. */
  row(step: number, results: readonly SetResult[] | undefined): void {
    const e = this.line?.step === step ? this.line : undefined;
    if (!e && !results?.length) return;
    this.log.add({
      step,
      seconds: Math.round(this.before + (performance.now() - this.started) / 1000),
      ...(e && {
        epoch: e.epoch,
        loss: e.loss,
        ...(Number.isFinite(e.hitRate) && { accuracy: e.hitRate }),
        ...(e.marginHitRate !== undefined && { marginAccuracy: e.marginHitRate }),
        lr: e.lr,
        gradNorm: e.gradNorm,
        imagesPerSecond: Number(e.imagesPerSecond.toPrecision(4)),
        waitShare: Number(e.waitShare.toPrecision(3)),
      }),
      ...(results?.length && { validation: Object.fromEntries(results.map((r) => [r.set, r.result.accuracy])) }),
    });
  }

  private async picture(name: string, image: RgbImage, step: number): Promise<void> {
    const jpeg = encodeJpeg(image, 92);
    const safe = name.replaceAll(' ', '_'); // recipes allow no other odd characters
    await writeAtomically(join(this.out, 'samples', `${safe}-${String(step).padStart(7, '0')}.jpg`), jpeg);
    this.events?.image(name, jpeg, step);
  }

  close(): Promise<void> {
    return this.events?.close() ?? Promise.resolve();
  }
}
