/** TensorFlow Lite (LiteRT) models as a format of weights; what reads them is loaded when a file comes. */
import type { WeightFormat } from '../format.ts';
import { fileIdentifier } from './schema.ts';

export const tfliteFormat: WeightFormat = {
  name: 'tflite',
  means: 'TensorFlow Lite (LiteRT) models, a graph with weights of 32, 16 or 8 bits',
  endings: ['.tflite'],
  looksLike: (head) => head.length >= 8 && String.fromCharCode(...head.subarray(4, 8)) === fileIdentifier,
  async read(source, options) {
    const { readTflite } = await import('./read.ts');
    return readTflite(await source.bytes(), source.name, options);
  },
};
