/**
 * Keras' files: `.h5` of weights (a state) or of a whole model (a graph), and the `.keras` archive of Keras 3. What reads them
 * is loaded when one comes; it is in keras/.
 */
import type { WeightFormat } from './format.ts';
import { isHdf5, isZip } from './magic.ts';

export const kerasFormat: WeightFormat = {
  name: 'keras',
  means: 'Keras: .h5 of weights or of a model, .keras of a model',
  endings: ['.h5', '.hdf5', '.keras'],
  looksLike: (head, name) => isHdf5(head) || (isZip(head) && name.toLowerCase().endsWith('.keras')),
  async read(source, options) {
    const { readKeras } = await import('./keras/read.ts');
    return readKeras(source, options);
  },
};
