/**
 * How far published detectors may be from their reference results: the digits of the file, and four times what float32 does
 * to the network's numbers on a face, as the decoding carries it on.
 */

import { mtcnnGraph, mtcnnSides } from '../../src/models/detectors/mtcnn.ts';
import { detectorPreprocessing } from '../../src/models/detectors/recognise.ts';
import { retinaFaceGraph } from '../../src/models/detectors/retinaFace.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import type { FaceNetwork } from '../../src/models/network.ts';
import { stateOf, variablesOf } from '../../src/nn/module.ts';
import { type Bounds, digits, inputOf, roundingOf } from './photos.ts';

const face = 'compreface/009_C.jpg';
/** Left and top of the face there. */
const corner = [140, 110] as const;

/** For RetinaFace's state as imported. */
export async function retinaFaceBounds(imported: FaceNetwork): Promise<Bounds> {
  const tensors = await stateOf(variablesOf(imported));
  const side = 64;
  const network = graphNetwork({ spec: retinaFaceGraph([side, side]).spec, tensors });
  network.preprocessing = { ...detectorPreprocessing.retinaface, inputSize: [side, side] };
  const e = await roundingOf(network, await inputOf(face, corner, network));
  // Of the largest anchor: a tenth of its side by each unit of a place, and a tenth of the box's, twice that, of its side's logarithm.
  const unit = 512 * 0.1 * 3;
  return { score: digits.score + 4 * e.conf!, pixels: digits.pixels + 4 * unit * Math.max(e.loc!, e.lm!) };
}

/** For MTCNN's three networks as imported: O-Net gives the numbers, in units of boxes of at most 512 pixels. */
export async function mtcnnBounds(imported: FaceNetwork): Promise<Bounds> {
  const tensors = new Map(
    [...(await stateOf(variablesOf(imported)))].filter(([name]) => name.startsWith('layers.onet.')),
  );
  const side = mtcnnSides.onet;
  const network = graphNetwork({ spec: mtcnnGraph('onet').spec, tensors });
  network.preprocessing = { ...detectorPreprocessing.mtcnn, inputSize: [side, side] };
  const e = await roundingOf(network, await inputOf(face, corner, network));
  return { score: digits.score + 4 * e.prob!, pixels: digits.pixels + 4 * 512 * Math.max(e.reg!, e.points!) };
}
