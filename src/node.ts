/** facegrad in Node: everything of index.ts, and what needs a file system or the engine's switches. */
import { readFile } from 'node:fs/promises';
import type { Detector } from './detect/detection.ts';
import { type DetectorOptions, type DetectorUse, openDetector as detectorFrom } from './detect/open.ts';
import { type Embedder, type EmbedderOptions, loadEmbedder as fromBytes } from './evaluate/embedder.ts';
import { ioError } from './train/checkpointFile.ts';
import { fileSource } from './train/modelFile.ts';
import type { WeightSource } from './weights/format.ts';

export { type CatalogueEntry, catalogue, catalogueEntry } from '../datasets/catalogue.ts';
export {
  type SyntheticOptions,
  type SyntheticPairsOptions,
  syntheticFace,
  syntheticPairs,
  syntheticSet,
} from '../datasets/synthetic.ts';
export { type Dataset, type ImageSource, type PairSet, type PairTable, sourceName } from './data/dataset.ts';
export {
  type FeatureFilesOptions,
  featureFiles,
  type MergeOptions,
  mergeFeatureFiles,
  readFeatureFiles,
} from './data/formats/featureFiles.ts';
export {
  type ArrayDescription,
  describeMatrix,
  type MatrixDescription,
  openFeatures,
  readFeature,
  writeFeatures,
} from './data/formats/features.ts';
export { openFolder, openPictures } from './data/formats/folder.ts';
export { openList } from './data/formats/list.ts';
export { openDevkitList } from './data/formats/megafaceFormat.ts';
export type { Metadata, PackedDamage, PackedSet } from './data/formats/packed.ts';
export { createPacked, openPacked, verifyPacked } from './data/formats/packedFormat.ts';
export type { PackedWriterOptions } from './data/formats/packedWriter.ts';
export { createRecordIO, openRecordIO } from './data/formats/recordioFormat.ts';
export type { TfRecordOptions } from './data/formats/tfrecord.ts';
export { createTfRecords, openTfRecords, type TfRecordCreateOptions } from './data/formats/tfrecordFormat.ts';
export { type CatalogueCheck, checkCatalogue } from './data/inspect/catalogueCheck.ts';
export { type InspectOptions, inspect, type MatrixInspection, type SetInspection } from './data/inspect/inspect.ts';
export { type SetSheetOptions, setSheet } from './data/inspect/setSheet.ts';
export { type Batch, createLoader, type Loader, type LoaderOptions } from './data/load/loader.ts';
export type { PeoplePerBatch } from './data/load/sampler.ts';
export { openDataset } from './data/open.ts';
export { pairsOf } from './data/openPairs.ts';
export { type Prepared, type PrepareEvent, type PrepareOptions, prepare } from './data/prepare/prepare.ts';
export { closeContainers, readImage, readPicture } from './data/readImage.ts';
export { readPairs, readPairTable } from './data/readPairs.ts';
export { enableFastKernels } from './device/v8.ts';
export * from './index.ts';
export { readCheckpoint, writeAtomically, writeCheckpoint } from './train/checkpointFile.ts';
export { EventFile, type EventFileOptions } from './train/eventFile.ts';
export type { StepEvent, TrainEvent } from './train/events.ts';
export {
  type FindRateEvent,
  type FindRateOptions,
  findRate,
  type RatePoint,
  type RateRange,
  type RateReading,
} from './train/findRate.ts';
export { fileSource, importFile } from './train/modelFile.ts';
export { parseRecipe, type Recipe, type RecipeChanges, recipeNames, resolveRecipe } from './train/recipe.ts';
export { readRecipe } from './train/recipeFile.ts';
export { recipeDifferences, recipeYaml } from './train/recipeText.ts';
export { type TrainOptions, type TrainResult, train } from './train/run.ts';
export {
  type BatchSheetOptions,
  batchSheet,
  type JudgedPair,
  judgedPairs,
  nearestPairs,
  type PairSheetOptions,
  pairSheet,
  worstPairs,
} from './train/samples.ts';

/**
 * Loads an embedder from a weights file that facegrad wrote: a path, or the bytes of one.
 * @param source what errors call bytes; a path names itself
 * @throws DataError where the file is missing, damaged, of another format, or of an architecture unknown here;
 * DeviceError where the device is missing
 */
export async function loadEmbedder(
  source: string | URL | Uint8Array,
  options: EmbedderOptions & { readonly source?: string } = {},
): Promise<Embedder> {
  if (source instanceof Uint8Array) return fromBytes(source, options);
  const bytes = await readFile(source).catch((error) => {
    throw ioError(`reading weights ${source}`, error);
  });
  return fromBytes(bytes, { ...options, source: `weights ${source}` });
}

/**
 * Opens a face detector: RetinaFace, MTCNN or Ultra-Light, by a path of any format that is imported (files that belong together lie
 * side by side), or by the bytes of a file that facegrad wrote. Throws as `openDetector` of index.ts.
 */
export const openDetector = (
  file: string | Uint8Array | WeightSource,
  options: DetectorOptions & DetectorUse = {},
): Promise<Detector> => detectorFrom(typeof file === 'string' ? fileSource(file) : file, options);
