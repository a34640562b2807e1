/**
 * TensorFlow checkpoints of version 2: `NAME.index` and `NAME.data-00000-of-00001` beside it. What reads them is loaded when
 * one comes; it is in bundle.ts.
 */
import type { WeightFormat } from '../format.ts';

export const tensorflowCheckpoint: WeightFormat = {
  name: 'tensorflow-checkpoint',
  means: 'TensorFlow checkpoint of version 2 (.index, with its .data files beside it)',
  endings: ['.index', '.meta'],
  // The first entry of an index has the empty key. A name of one of the other files stands for the checkpoint too.
  looksLike: (head, name) =>
    /\.data-\d{5}-of-\d{5}$/.test(name) ||
    (name.endsWith('.index') && head[0] === 0 && head[1] === 0) ||
    (name.endsWith('.meta') && head[0] === 0x0a) ||
    oldHead(head),
  async read(source) {
    const { readCheckpoint } = await import('./bundle.ts');
    return readCheckpoint(source);
  },
};

/** Checkpoints of version 1 are one sorted table that begins with its list of tensors under the empty key. */
const oldHead = (head: Uint8Array) =>
  head[0] === 0 && head[1] === 0 && head[2]! >= 0x80 && head.subarray(3, 7).includes(0x0a);
