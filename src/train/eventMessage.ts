/**
 * TensorBoard's events as bytes: tensorflow.Event messages of scalars, histograms and images.
 *
 * The one idea: values are written in the fields that TensorFlow 1 and PyTorch write (simple_value, histo, image), which
 * TensorBoard, its data server and the programs that export its curves all read; newer forms only some of them do. A field
 * that holds its default is left out, as proto3 has it.
 * Source: tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto; the wire format is @bufbuild/protobuf's.
 *
 *     Event { double wall_time = 1; int64 step = 2; oneof: string file_version = 3, Summary summary = 5,
 *             SessionLog session_log = 7; SourceMetadata source_metadata = 10 }
 *     Summary { repeated Value value = 1 }
 *     Value { string tag = 1; oneof: float simple_value = 2, Image image = 4, HistogramProto histo = 5;
 *             SummaryMetadata metadata = 9 }
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Histogram } from './histogram.ts';

/** A picture file and what it holds; channels are grey, grey and alpha, RGB, RGBA. */
export interface EventImage {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly file: Uint8Array;
}

/** What an event tells. */
export type EventContent =
  /** The first of a file. */
  | { readonly type: 'version' }
  /** What was told before of this step and later ones is void. */
  | { readonly type: 'start' }
  /** `first`: the tag is new in the file; then it says which of TensorBoard's plugins shows it. */
  | { readonly type: 'scalar'; readonly tag: string; readonly value: number; readonly first: boolean }
  | { readonly type: 'histogram'; readonly tag: string; readonly histogram: Histogram }
  | { readonly type: 'image'; readonly tag: string; readonly image: EventImage };

/** Writers of the fields of one message. */
class Message {
  readonly writer = new BinaryWriter();
  // -0 is not the default.
  double(field: number, value: number): void {
    if (!Object.is(value, 0)) this.writer.tag(field, WireType.Bit64).double(value);
  }
  int(field: number, value: number): void {
    if (value !== 0) this.writer.tag(field, WireType.Varint).int64(value);
  }
  text(field: number, value: string): void {
    this.writer.tag(field, WireType.LengthDelimited).string(value);
  }
  bytes(field: number, value: Uint8Array): void {
    this.writer.tag(field, WireType.LengthDelimited).bytes(value);
  }
  doubles(field: number, values: readonly number[]): void {
    this.bytes(field, new Uint8Array(Float64Array.from(values).buffer));
  }
  message(field: number, fill: () => void): void {
    this.writer.tag(field, WireType.LengthDelimited).fork();
    fill();
    this.writer.join();
  }
}

/** SessionLog's START. */
const start = 1;

/**
 * An event's bytes: the data of one TFRecord.
 * @param wallTime seconds since 1970
 * @param step a whole number
 */
export function encodeEvent(wallTime: number, step: number, content: EventContent): Uint8Array {
  const m = new Message();
  m.double(1, wallTime);
  m.int(2, step);
  if (content.type === 'version') {
    m.text(3, 'brain.Event:2');
    m.message(10, () => m.text(1, 'facegrad'));
  } else if (content.type === 'start') m.message(7, () => m.int(1, start));
  else m.message(5, () => m.message(1, () => summaryValue(m, content)));
  return m.writer.finish();
}

function summaryValue(m: Message, content: Extract<EventContent, { readonly tag: string }>): void {
  m.text(1, content.tag);
  if (content.type === 'scalar') {
    // What is beyond float32 is infinite there.
    m.writer.tag(2, WireType.Bit32).float(Math.fround(content.value));
    if (content.first) m.message(9, () => m.message(1, () => m.text(1, 'scalars')));
  } else if (content.type === 'image') {
    const { width, height, channels, file } = content.image;
    m.message(4, () => {
      m.int(1, height);
      m.int(2, width);
      m.int(3, channels);
      m.bytes(4, file);
    });
  } else {
    const { min, max, num, sum, sumSquares, limits, counts } = content.histogram;
    m.message(5, () => {
      [min, max, num, sum, sumSquares].forEach((v, i) => {
        m.double(1 + i, v);
      });
      m.doubles(6, limits);
      m.doubles(7, counts);
    });
  }
}
