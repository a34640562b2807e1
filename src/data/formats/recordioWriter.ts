/**
 * Writes image sets in RecordIO as InsightFace does: images by identity, then the records that say which are whose
 * (recordioSet.ts describes the layout). Browser-safe: into `ByteSink`s.
 *
 * The one idea: images are written as they come, and all that depends on their number is written at the end; so nothing is
 * written twice, and an interrupted file is gone on with behind its last whole image.
 *
 * Where people are not known (the first image has label −1) there is no identity to describe: the images alone are written,
 * with keys from 0 on, as im2rec does.
 */
import { DataError, UsageError } from '../../core/errors.ts';
import { pictureFacts } from '../../image/facts.ts';
import { asSource, type ByteSink, type Readable } from '../bytes.ts';
import type { NewImage, SetWriter } from './format.ts';
import { Growing } from './growing.ts';
import { exactFloat, recordContent, scanRecords, writeRecordIO } from './recordio.ts';

export interface RecordIOSinks {
  readonly rec: ByteSink;
  /** Written when the set is finished. */
  readonly idx: ByteSink;
  /** Names, in im2rec's layout: `key label path`. */
  readonly lst?: ByteSink | undefined;
  /** InsightFace's `classes,height,width`, the size of the first image; 112x112 where its header cannot be read. */
  readonly property?: ByteSink | undefined;
}

export interface RecordIOWriterOptions {
  /** 'list' writes [label, 1] for each image, as InsightFace's face2rec2 does. Default 'scalar', which every reader takes. */
  readonly labels?: 'scalar' | 'list' | undefined;
  /** Goes on after these images; the sinks then hold them and nothing more. */
  readonly resume?: RecordIOState | undefined;
}

/** The images of an unfinished file. */
export interface RecordIOState {
  /** Bytes of the `.rec` to keep. */
  readonly end: number;
  readonly offsets: Growing<Float64Array>;
  /** Number of the first image of each identity. */
  readonly starts: Growing<Float64Array>;
  readonly firstKey: number;
  readonly lastLabel: number;
  readonly size: readonly [height: number, width: number];
}

/**
 * What an interrupted call left whole, at most so many images; undefined where that is none.
 * @param most such as the lines in its `.lst`
 */
export async function recordIOState(
  rec: Readable,
  most = Number.POSITIVE_INFINITY,
): Promise<RecordIOState | undefined> {
  const source = asSource(rec, 'rec');
  const state = { end: 0, offsets: numbers(), starts: numbers(), firstKey: 1, lastLabel: -1 };
  const count = () => state.offsets.length;
  try {
    await scanRecords(source, (head) => {
      if (count() === 0) state.firstKey = head.id;
      // Not so a record of the layout: its key is not the next one.
      const own = head.id === state.firstKey + count() && state.firstKey <= 1;
      if (!own || head.end > source.size || count() >= most) return false;
      note(state, head.at, head.label);
      state.end = head.end;
      return true;
    });
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
  }
  if (count() === 0) return undefined;
  return { ...state, size: sizeOf(await recordContent(source, 0, 1 << 14)) };
}

const numbers = () => new Growing(new Float64Array(0));

interface Progress {
  readonly offsets: Growing<Float64Array>;
  readonly starts: Growing<Float64Array>;
  lastLabel: number;
}
function note(state: Progress, at: number, label: number): void {
  if (state.offsets.length === 0 || label !== state.lastLabel) state.starts.push(state.offsets.length);
  state.offsets.push(at);
  state.lastLabel = label;
}

function sizeOf(image: Uint8Array): readonly [number, number] {
  try {
    const { height, width } = pictureFacts(image, 'first image');
    return [height, width];
  } catch {
    return [112, 112];
  }
}

/** So many images are lost at most when a program is killed. */
const imagesBetweenFlushes = 1024;

/**
 * Starts a set, or goes on with one. Images come sorted by label; their names go into the `.lst`. Deterministic.
 * `finish` and `abort` close the sinks.
 * @throws UsageError from `add` where an image is pixels, has no bytes, a label that is no whole number from −1 to 2^24−1 or
 * is below the one before, or a name with control characters; DataError where it has 2^29 bytes or more
 */
export function recordIOWriter(sinks: RecordIOSinks, options: RecordIOWriterOptions = {}): SetWriter {
  const { rec, idx, lst, property } = sinks;
  const { labels = 'scalar', resume } = options;
  const state: Progress = resume
    ? { offsets: resume.offsets, starts: resume.starts, lastLabel: resume.lastLabel }
    : { offsets: numbers(), starts: numbers(), lastLabel: -1 };
  const { offsets, starts } = state;
  let firstKey = resume?.firstKey ?? 1;
  let size = resume?.size;
  const utf8 = new TextEncoder();
  const each = async (f: (sink: ByteSink) => Promise<void>) => {
    for (const sink of [lst, idx, property, rec]) if (sink) await f(sink);
  };
  const close = () => each((sink) => sink.close());

  function check({ name, label, bytes, raw }: NewImage): void {
    const bad = (expected: string, got: unknown) =>
      new UsageError(
        `${rec.name}: ${name.slice(0, 200)}: expected ${expected}, got ${got}\nCorrect what is passed to add().`,
      );
    if (raw || bytes.length === 0) throw bad('a JPEG or PNG file', raw ? 'pixels' : 'no bytes');
    if (!Number.isInteger(label) || label < -1 || label >= exactFloat)
      throw bad(`a whole label from -1 to ${exactFloat - 1}`, label);
    if (/\p{Cc}/u.test(name)) throw bad('a name without control characters', JSON.stringify(name.slice(0, 200)));
    if (offsets.length > 0 && firstKey === 1 && label < state.lastLabel)
      throw bad(`images sorted by label, after ${state.lastLabel}`, label);
    if (labels === 'list' && offsets.length === 0 && label < 0)
      throw bad("a known person, since without one 'list' labels would pass for a layout", label);
  }

  async function writeLayout(): Promise<[key: number, at: number][]> {
    if (firstKey === 0) return [];
    const count = offsets.length;
    const placed: [number, number][] = [];
    const put = async (key: number, from: number, to: number) => {
      placed.push([key, await writeRecordIO(rec, key, [from, to], new Uint8Array(0))]);
    };
    await put(0, count + 1, count + 1 + starts.length);
    for (let k = 0; k < starts.length; k++)
      await put(count + 1 + k, starts.values[k]! + 1, (starts.values[k + 1] ?? count) + 1);
    return placed;
  }

  return {
    written: offsets.length,
    async add(image) {
      check(image);
      if (offsets.length === 0) {
        firstKey = image.label < 0 ? 0 : 1;
        size = sizeOf(image.bytes);
      }
      const { label } = image;
      const key = firstKey + offsets.length;
      const at = await writeRecordIO(rec, key, labels === 'list' && firstKey === 1 ? [label, 1] : [label], image.bytes);
      note(state, at, label);
      await lst?.write(utf8.encode(`${key}\t${label}\t${image.name}\n`));
      if (offsets.length % imagesBetweenFlushes === 0) {
        await lst?.flush();
        await rec.flush();
      }
    },
    async finish({ identities }) {
      if (offsets.length === 0) throw new UsageError(`${rec.name}: expected images, got none\nAdd some.`);
      const layout = await writeLayout();
      let text = '';
      const line = async (key: number, at: number) => {
        text += `${key}\t${at}\n`;
        if (text.length < 1 << 16) return;
        await idx.write(utf8.encode(text));
        text = '';
      };
      for (let i = 0; i < offsets.length; i++) await line(firstKey + i, offsets.values[i]!);
      for (const [key, at] of layout) await line(key, at);
      await idx.write(utf8.encode(text));
      const classes = firstKey === 0 ? identities.length : Math.max(identities.length, state.lastLabel + 1);
      await property?.write(utf8.encode(`${classes},${size![0]},${size![1]}\n`));
      await each((sink) => sink.flush());
      await close();
    },
    abort: close,
  };
}
