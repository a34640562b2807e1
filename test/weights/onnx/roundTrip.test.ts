/** Networks written as ONNX and read again: every family gives what it gave, for any number of images, without a transpose. */
import { afterAll, expect, it } from 'vitest';
import { WasmDevice } from '../../../src/device/wasm.ts';
import { folded } from '../../../src/models/graph/fold.ts';
import { graphNetwork } from '../../../src/models/graph/network.ts';
import { traced } from '../../../src/models/graph/traced.ts';
import { onnxGraph } from '../../../src/weights/onnx/graph.ts';
import { readOnnx } from '../../../src/weights/onnx/read.ts';
import { writeOnnx } from '../../../src/weights/onnx/write.ts';
import { farthest } from '../../helpers/published.ts';
import { imagesOf, kinds, outputOf, smallNetwork } from '../../models/everyGraph.ts';

const device = await WasmDevice.create({ threads: 1 });
afterAll(() => device.dispose());

it.each(kinds)('%s %j', async (name, options) => {
  const network = smallNetwork(name, options);
  const written = folded(await traced(network), { rest: 'keep' });
  const { graph, notes } = onnxGraph(readOnnx(writeOnnx(written), name), name);
  expect(notes).toEqual([]);
  expect(graph.spec.batch).toBeUndefined();
  const moves = (nodes: readonly { readonly op: string }[]) => nodes.filter((n) => n.op === 'transpose').length;
  expect(moves(graph.spec.nodes)).toBe(moves(written.spec.nodes));
  const images = imagesOf(network, 3);
  const [expected, made] = [
    await outputOf(network, images, device),
    await outputOf(graphNetwork(graph, name), images, device),
  ];
  expect(farthest(made, expected, 8)).toBeLessThan(1e-4);
});
