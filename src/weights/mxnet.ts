/**
 * MXNet's checkpoints: `NAME-symbol.json`, the network, and `NAME-0000.params`, its arrays. Either of the two names both.
 * Without its symbol a `.params` file is a state. What reads them is loaded when one comes; it is in mxnet/.
 */
import type { WeightFormat } from './format.ts';
import { isMxnetParams } from './magic.ts';

export const mxnetFormat: WeightFormat = {
  name: 'mxnet',
  means: 'MXNet checkpoint: NAME-symbol.json with NAME-0000.params',
  endings: ['.params', '-symbol.json'],
  looksLike(head, name) {
    if (isMxnetParams(head)) return true;
    if (!name.toLowerCase().endsWith('.json')) return false;
    const text = new TextDecoder().decode(head);
    return /"nodes"\s*:/.test(text) && /"op"\s*:/.test(text);
  },
  async read(source, options) {
    const { readMxnet } = await import('./mxnet/read.ts');
    return readMxnet(source, options);
  },
};
