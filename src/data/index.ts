/**
 * `facegrad/data`: the data formats of the field, read and written without a file system; bytes come from Blobs, arrays or
 * any `ByteSource`. Browser-safe and apart from the engine. In Node the package's main entry opens paths (`openDataset`).
 */
export { DataError, UsageError } from '../core/errors.ts';
export { type DecodedImage, decodeImage, type RgbImage } from '../image/decode.ts';
export { type PictureFacts, pictureFacts } from '../image/facts.ts';
export { type ByteSink, type ByteSource, blobSource, memorySink, memorySource, type Readable } from './bytes.ts';
export { type Checked, type CheckOptions, checkPicture, type Repaired, repairPicture } from './check.ts';
export { type ConcatOptions, concat, type SplitOptions, split, subset } from './combine.ts';
export { crc32c } from './crc32c.ts';
export {
  type Dataset,
  type ImageSource,
  type Pair,
  type PairSet,
  type PairTable,
  pairSetOf,
  sourceName,
} from './dataset.ts';
export { type ExampleSchema, encodeExample, imageExample } from './example.ts';
export {
  type ArrayDescription,
  describeMatrix,
  featureHeader,
  type MatrixDescription,
  openFeatures,
  readFeature,
  writeFeatures,
} from './features.ts';
export type { NewImage, SetWriter } from './format.ts';
export { type Landmarks, parseLandmarks } from './landmarks.ts';
export { type DevkitList, formatDevkitList, readDevkitList, readNameLines } from './megaface.ts';
export {
  type Metadata,
  type OpenPackedOptions,
  openPacked,
  type PackedDamage,
  type PackedSet,
  verifyPacked,
} from './packed.ts';
export { type PackedOptions, type PackedState, packedState, packedWriter } from './packedWriter.ts';
export { contiguousFolds, formatPairs, type NamedImages, parsePairs } from './pairs.ts';
export { type RecordIOFiles, type RecordIOOptions, recordIODataset } from './recordioSet.ts';
export {
  type RecordIOSinks,
  type RecordIOState,
  type RecordIOWriterOptions,
  recordIOState,
  recordIOWriter,
} from './recordioWriter.ts';
export {
  atLeast,
  atMost,
  type Band,
  balance,
  defaultBands,
  everything,
  exactly,
  type Selection,
} from './select.ts';
export { imageBytes, openImage } from './source.ts';
export {
  type RecordOptions,
  readRecords,
  type TfRecord,
  type TfRecordOptions,
  tfRecordDataset,
  writeRecord,
} from './tfrecord.ts';
export { chain, type Treatment, treat } from './treat.ts';
export {
  readVerificationBin,
  type VerificationBinForm,
  type VerificationBinOptions,
  writeVerificationBin,
} from './verificationBin.ts';
