/**
 * TensorBoard event files of a run (Node): `events.out.tfevents.<seconds>.<host>`, TFRecords of events (eventMessage.ts).
 *
 * The one idea: an event is one append and no file is ever opened again. A kill leaves a file that TensorBoard reads up to
 * the cut; the run that goes on from a checkpoint begins a file of its own with a SessionLog START, at which TensorBoard
 * drops what the killed run wrote past that checkpoint. TensorBoard reads the files of a folder in the order of their names.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '../core/errors.ts';
import { recordBytes } from '../data/formats/tfrecord.ts';
import { encodePng } from '../image/encode.ts';
import { pictureFacts } from '../image/facts.ts';
import type { RgbImage } from '../image/jpeg.ts';
import { ioError } from './checkpointFile.ts';
import { type EventContent, encodeEvent } from './eventMessage.ts';
import { histogramOf } from './histogram.ts';

export interface EventFileOptions {
  /** Steps done by the checkpoint that the run goes on from. Default 0: a new run, which voids all older files. */
  readonly fromStep?: number;
}

/** The event file of a run, on disk after every call. Tags with slashes ('accuracy/lfw') are grouped by TensorBoard. */
export class EventFile {
  readonly path: string;
  private file: number | undefined;
  private readonly scalarTags = new Set<string>();

  private constructor(path: string, file: number) {
    this.path = path;
    this.file = file;
  }

  /**
   * Begins an event file in a folder, which is made where it is missing.
   * @throws DataError where folder or file cannot be written, then and later
   */
  static async open(folder: string, { fromStep = 0 }: EventFileOptions = {}): Promise<EventFile> {
    const fail = (e: unknown): never => {
      throw ioError(`writing events into ${folder}`, e);
    };
    await mkdir(folder, { recursive: true }).catch(fail);
    const older = (await readdir(folder).catch(fail)).map((name) => Number(/\.tfevents\.(\d+)\./.exec(name)?.[1] ?? 0));
    // After all others by its name, also within their second, or where their clock was ahead.
    const seconds = Math.max(Math.floor(Date.now() / 1000), ...older.map((s) => s + 1));
    const path = join(folder, `events.out.tfevents.${String(seconds).padStart(10, '0')}.${hostname()}`);
    let file: number | undefined;
    try {
      file = openSync(path, 'wx');
    } catch (e) {
      fail(e);
    }
    const events = new EventFile(path, file!);
    events.append(0, { type: 'version' });
    // START voids its own step too.
    events.append(fromStep > 0 ? fromStep + 1 : 0, { type: 'start' });
    return events;
  }

  /** A number; one that is not finite is shown as a mark on the curve. */
  scalar(tag: string, value: number, step: number): void {
    this.append(step, { type: 'scalar', tag, value, first: !this.scalarTags.has(tag) });
    this.scalarTags.add(tag);
  }

  /**
   * The distribution of a tensor's values, with their count, sum and sum of squares. Those that are not finite are left out;
   * where none is, nothing is written.
   */
  histogram(tag: string, values: Float32Array, step: number): void {
    const histogram = histogramOf(values);
    if (histogram) this.append(step, { type: 'histogram', tag, histogram });
  }

  /** A picture: pixels, or a PNG or JPEG file's bytes. */
  image(tag: string, image: RgbImage | Uint8Array, step: number): void {
    const file = image instanceof Uint8Array ? image : encodePng(image);
    const { width, height, channels } = pictureFacts(file, `image ${tag}`);
    this.append(step, { type: 'image', tag, image: { width, height, channels, file } });
  }

  /** Ends the file; closing it again does nothing. */
  async close(): Promise<void> {
    if (this.file !== undefined) closeSync(this.file);
    this.file = undefined;
  }

  private append(step: number, content: EventContent): void {
    if (this.file === undefined)
      throw new UsageError(`${this.path}: expected an open event file, got a closed one\nClose it when the run ends.`);
    const record = recordBytes(encodeEvent(Date.now() / 1000, step, content));
    try {
      for (let done = 0; done < record.length; ) done += writeSync(this.file, record, done);
    } catch (e) {
      throw ioError(`writing ${this.path}`, e);
    }
  }
}
