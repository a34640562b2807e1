/** TensorFlow Lite (LiteRT) models: which files they are. What reads them is loaded when one comes; it is in tflite/. */
import type { WeightFormat } from './format.ts';

export const tfliteFormat: WeightFormat = {
  name: 'tflite',
  means: 'TensorFlow Lite (LiteRT) model, weights of 32, 16 or 8 bits',
  endings: ['.tflite'],
  looksLike: (head) => head.length >= 8 && String.fromCharCode(...head.subarray(4, 8)) === 'TFL3',
  async read(source, options) {
    const { readTflite } = await import('./tflite/read.ts');
    return readTflite(await source.bytes(), source.name, options);
  },
};
