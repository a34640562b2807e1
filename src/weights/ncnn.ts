/**
 * ncnn's files: `NAME.param`, the layers as text (or `.param.bin`), and `NAME.bin`, their numbers. Either names both. What
 * reads them is loaded when one comes; it is in ncnn/. ncnn/write.ts writes them.
 */
import type { WeightFormat } from './format.ts';
import { isNcnnBin, isNcnnParam } from './magic.ts';

export const ncnnFormat: WeightFormat = {
  name: 'ncnn',
  means: 'ncnn network: NAME.param with NAME.bin',
  endings: ['.param', '.param.bin', '.bin'],
  looksLike: (head, name) => isNcnnParam(head) || (name.toLowerCase().endsWith('.bin') && isNcnnBin(head)),
  async read(source, options) {
    const { readNcnn } = await import('./ncnn/read.ts');
    return readNcnn(source, options);
  },
};
