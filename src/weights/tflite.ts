/**
 * TensorFlow Lite (LiteRT) models: which files they are, and the functions that read and write them. What these need is loaded
 * when one is called; it is in tflite/.
 */
import type { WeightFormat } from './format.ts';

type Read = typeof import('./tflite/read.ts');
type Write = typeof import('./tflite/write.ts');
type K210 = typeof import('./tflite/k210.ts');

export type { K210Export, K210Options } from './tflite/k210.ts';
export type { ReadTfliteOptions } from './tflite/read.ts';
export type {
  ExportTfliteInt8Options,
  ExportTfliteOptions,
  TfliteInt8,
  TfliteInt8Options,
  TfliteOptions,
} from './tflite/write.ts';

/**
 * The graph of a TFLite file.
 * @param name what errors call it
 * @throws DataError for what is none, is damaged, or holds what is not supported, naming all of that
 */
export const readTflite = async (...given: Parameters<Read['readTflite']>) =>
  (await import('./tflite/read.ts')).readTflite(...given);
/**
 * The TFLite file of a graph, float32. Fold the graph first (`folded`), or every batch norm stays a layer of its own.
 * @throws UsageError naming all operators that TFLite has not
 */
export const writeTflite = async (...given: Parameters<Write['writeTflite']>) =>
  (await import('./tflite/write.ts')).writeTflite(...given);
/**
 * The TFLite file of a graph in 8-bit integers: weights with a scale per channel, activations by their ranges.
 * @param ranges of this very graph's values, by `calibrate`: fold first, calibrate then
 * @throws UsageError as writeTflite, and where an input or output has no range
 */
export const writeTfliteInt8 = async (...given: Parameters<Write['writeTfliteInt8']>) =>
  (await import('./tflite/write.ts')).writeTfliteInt8(...given);
/**
 * A graph, as `traced` from a network or imported, as a TFLite file of float32: folded, and taking pixels if asked.
 * @throws UsageError as writeTflite
 */
export const exportTflite = async (...given: Parameters<Write['exportTflite']>) =>
  (await import('./tflite/write.ts')).exportTflite(...given);
/**
 * A graph, as `traced` from a network or imported, as a TFLite file of 8-bit integers.
 * @param pictures batches of uint8 RGB pictures [N, H, W, 3] to calibrate with: some hundred like those of use
 * @throws UsageError as writeTflite
 */
export const exportTfliteInt8 = async (...given: Parameters<Write['exportTfliteInt8']>) =>
  (await import('./tflite/write.ts')).exportTfliteInt8(...given);
/**
 * A graph as the K210's compiler nncase takes it, with calibration data and instructions.
 * @param pictures batches of uint8 RGB pictures [N, H, W, 3]: some hundred like those of use
 * @throws UsageError naming the operators that nncase has not
 */
export const exportK210 = async (...given: Parameters<K210['exportK210']>) =>
  (await import('./tflite/k210.ts')).exportK210(...given);

export const tfliteFormat: WeightFormat = {
  name: 'tflite',
  means: 'TensorFlow Lite (LiteRT) model, weights of 32, 16 or 8 bits',
  endings: ['.tflite'],
  looksLike: (head) => head.length >= 8 && String.fromCharCode(...head.subarray(4, 8)) === 'TFL3',
  read: async (source, options) => readTflite(await source.bytes(), source.name, options),
};
