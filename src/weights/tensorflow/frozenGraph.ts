/**
 * Frozen TensorFlow graphs (`.pb`): GraphDef messages with the weights as constants.
 *
 * Source: tensorflow/core/framework/graph.proto; what it holds is read by graphDef.ts and importGraph.ts,
 * which are loaded when one comes.
 */
import type { WeightFormat } from '../format.ts';

export const frozenGraph: WeightFormat = {
  name: 'tensorflow-graph',
  means: 'frozen TensorFlow graph (.pb)',
  endings: ['.pb'],
  // A first field 1 (node) whose own first field is 1 (name); ONNX models begin with a number in field 1.
  // A SavedModel is refused with what to do, which no other format would say.
  looksLike: (head, name) =>
    /(^|[\\/])saved_model\.pb$/i.test(name) ||
    (head[0] === 0x0a &&
      (name.toLowerCase().endsWith('.pb') || nodeFirst(head)) &&
      !/\.(onnx|caffemodel)$/i.test(name)),
  async read(source, options) {
    const { name } = source;
    const [{ readGraphDef }, { importGraph }] = await Promise.all([
      import('./graphDef.ts'),
      import('./importGraph.ts'),
    ]);
    return importGraph(readGraphDef(await source.bytes(), name), { ...options, source: name });
  },
};

/** Whether the first message of field 1 begins with a name and an operator, as a node does. */
function nodeFirst(head: Uint8Array): boolean {
  let at = 1;
  while (at < 6 && (head[at]! & 0x80) !== 0) at++;
  const length = head[at + 2] ?? 0;
  return head[at + 1] === 0x0a && length < 128 && head[at + 3 + length] === 0x12;
}
