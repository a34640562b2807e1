/**
 * Published detectors' states by name: RetinaFace of biubug6/Pytorch_Retinaface, and the networks of MTCNN of facenet-pytorch.
 *
 * The one idea: the graphs' paths are PyTorch's module names, so only axes and the names of running statistics change.
 */
import { detectorPreprocessing } from '../../models/detectors/recognise.ts';
import { retinaFaceGraph } from '../../models/detectors/retinaFace.ts';
import { GraphNetwork } from '../../models/graph/network.ts';
import type { GraphSpec } from '../../models/graph/spec.ts';
import { variablesOf } from '../../nn/module.ts';
import type { HostTensor } from '../safetensors.ts';
import { type Layout, pytorchNames, type Tensors } from './layout.ts';
import { type Axes, load } from './load.ts';

interface GraphState {
  readonly title: string;
  readonly source: string;
  readonly axes: Axes;
  /** What our paths have in front of theirs: 'pnet.'. */
  readonly prefix?: string;
  /** Names of theirs that nobody reads. */
  readonly ignored?: RegExp;
}

/**
 * The variables of a graph from a state whose names are its paths.
 * @throws DataError listing what is missing, left over or has another shape
 */
export function graphVariables(
  spec: GraphSpec,
  state: Tensors,
  { title, source, axes, prefix = '', ignored }: GraphState,
): { tensors: Map<string, HostTensor>; used: Set<string> } {
  const network = new GraphNetwork(spec);
  const variables = variablesOf(network);
  const theirs = pytorchNames((path) => path.slice(`layers.${prefix}`.length));
  const places = variables.map((variable) => ({ variable, name: theirs(variable.name) }));
  load(network, places, state, { axes, ignored, lenient: false, title, source });
  return {
    tensors: new Map(variables.map((v) => [v.name, { data: v.host, shape: v.shape, dtype: v.dtype }])),
    used: new Set(places.map((p) => p.name)),
  };
}

/** The size that the file's graph is written for; the detector builds it for the size of each picture. */
const usualSize = [640, 640] as const;

export const retinaFaceLayout: Layout = {
  name: 'retinaface',
  project: 'biubug6/Pytorch_Retinaface',
  means: 'RetinaFace, a detector, on a MobileNet of a quarter of the width, as a graph',
  convention: 'pytorch',
  has: ['body.stage1.0.0.weight', 'fpn.merge1.0.weight', 'ssh1.conv3X3.0.weight', 'LandmarkHead.0.conv1x1.weight'],
  names: /^(body|fpn|ssh[123]|(Class|Bbox|Landmark)Head)\./,
  fit(state, source) {
    const { spec } = retinaFaceGraph(usualSize);
    // What is left over is judged where the user may have asked to be lenient.
    const { tensors, used } = graphVariables(spec, state, {
      title: this.name,
      source,
      axes: 'pytorch',
      ignored: /^/,
    });
    const preprocessing = { ...detectorPreprocessing.retinaface, inputSize: usualSize };
    return { graph: { spec, tensors }, preprocessing, used };
  },
};
