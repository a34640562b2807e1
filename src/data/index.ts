/**
 * `facegrad/data`: the data formats of the field, read and written without a file system; bytes come from Blobs, arrays or
 * any `ByteSource`. Browser-safe and apart from the engine. In Node the package's main entry opens paths (`openDataset`).
 *
 * Names: from bytes `xDataset`, into a sink `xWriter`; by path, in the main entry, `openX` and `createX`.
 */

export { crc32c } from '../core/crc32c.ts';
export { DataError, UsageError } from '../core/errors.ts';
export { type DecodedImage, decodeImage, type RgbImage } from '../image/decode.ts';
export { type PictureFacts, pictureFacts } from '../image/facts.ts';
export {
  describeNpy,
  type MatrixRows,
  type NpyArray,
  type NpyDescription,
  openNpy,
  readNpyArray,
  type TextArray,
  writeNpy,
} from '../weights/npy.ts';
export { type Npz, openNpz, readNpz, writeNpz, writeNpzTo } from '../weights/npz.ts';
export { type ByteSink, type ByteSource, blobSource, memorySink, memorySource, type Readable } from './bytes.ts';
export {
  type Dataset,
  type ImageSource,
  type PairSet,
  type PairTable,
  sourceName,
} from './dataset.ts';
export { type ExampleSchema, encodeExample, imageExample } from './formats/example.ts';
export {
  type ArrayDescription,
  describeMatrix,
  featureHeader,
  type MatrixDescription,
  openFeatures,
  readFeature,
  writeFeatures,
} from './formats/features.ts';
export type { NewImage, SetWriter } from './formats/format.ts';
export { type DevkitList, formatDevkitList, readDevkitList, readNameLines } from './formats/megaface.ts';
export {
  type Metadata,
  type PackedDamage,
  type PackedOptions,
  type PackedSet,
  packedDamage,
  packedDataset,
} from './formats/packed.ts';
export { type PackedState, type PackedWriterOptions, packedState, packedWriter } from './formats/packedWriter.ts';
export { type RecordIOFiles, type RecordIOOptions, recordIODataset } from './formats/recordioSet.ts';
export {
  type RecordIOSinks,
  type RecordIOState,
  type RecordIOWriterOptions,
  recordIOState,
  recordIOWriter,
} from './formats/recordioWriter.ts';
export {
  type RecordOptions,
  readRecords,
  type TfRecord,
  type TfRecordOptions,
  tfRecordDataset,
  writeRecord,
} from './formats/tfrecord.ts';
export {
  type VerificationBinForm,
  type VerificationBinOptions,
  verificationBinDataset,
  writeVerificationBin,
} from './formats/verificationBin.ts';
export { type Checked, type CheckOptions, checkPicture, type Repaired, repairPicture } from './inspect/check.ts';
export { type Landmarks, parseLandmarks } from './landmarks.ts';
export { contiguousFolds, formatPairs, type NamedImages, parsePairs } from './pairs.ts';
export { type ConcatOptions, concat, type SplitOptions, split, subset } from './prepare/combine.ts';
export {
  atLeast,
  atMost,
  type Band,
  balance,
  defaultBands,
  everything,
  exactly,
  type Selection,
} from './prepare/select.ts';
export { chain, type Treatment, treat } from './prepare/treat.ts';
export { imageBytes, openImage } from './source.ts';
