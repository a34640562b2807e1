/**
 * Which detector a graph is.
 *
 * The one idea: by what it gives. The numbers of anchors follow from the input's size, so shapes alone tell RetinaFace and
 * Ultra-Light from all else, whatever their outputs are called; MTCNN's three networks are kept under their names.
 */
import type { Shape } from '../../core/shape.ts';
import { placeholder, TraceContext } from '../../plan/trace.ts';
import { GraphNetwork } from '../graph/network.ts';
import type { GraphSpec } from '../graph/spec.ts';
import type { FaceNetwork, Preprocessing } from '../network.ts';

/** A detector and, by what they are, the names of its outputs. */
export type DetectorGraph =
  | { readonly kind: 'mtcnn' }
  | { readonly kind: 'retinaface'; readonly loc: string; readonly conf: string; readonly lm: string }
  | { readonly kind: 'ultraface'; readonly scores: string; readonly boxes: string };

/** What every detector's pictures become. */
export const detectorPreprocessing: Readonly<Record<DetectorGraph['kind'], Omit<Preprocessing, 'inputSize'>>> = {
  retinaface: { colourOrder: 'BGR', mean: [104, 117, 123], scale: 1 },
  mtcnn: { colourOrder: 'RGB', mean: 127.5, scale: 1 / 128 },
  ultraface: { colourOrder: 'RGB', mean: 127, scale: 1 / 128 },
};

/** Strides of the maps and anchors at each of their places. */
const anchors = {
  retinaface: [
    [8, 2],
    [16, 2],
    [32, 2],
  ],
  ultraface: [
    [8, 3],
    [16, 2],
    [32, 2],
    [64, 3],
  ],
} as const;

/** How many anchors a picture has. */
const anchorCount = (kind: keyof typeof anchors, height: number, width: number): number =>
  anchors[kind].reduce((n, [stride, each]) => n + Math.ceil(height / stride) * Math.ceil(width / stride) * each, 0);

/** The detector that a graph is; undefined where it is none that is known here. */
export function recogniseDetector(network: GraphNetwork): DetectorGraph | undefined {
  const { graph } = network.options;
  const outputs = new Set(graph.outputs.map((o) => o.name));
  if (graph.inputs.length === 3)
    return ['pnet.prob', 'rnet.prob', 'onet.points'].every((name) => outputs.has(name)) ? { kind: 'mtcnn' } : undefined;
  const [height, width, channels] = graph.inputs[0]!.shape;
  if (graph.inputs.length !== 1 || channels !== 3 || outputs.size < 2 || outputs.size > 3) return undefined;
  const shape: Shape = [graph.batch ?? 1, height!, width!, channels];
  const given = network.outputs([placeholder('image', { shape, dtype: 'f32' })], new TraceContext(false));
  const rows = anchorCount(outputs.size === 3 ? 'retinaface' : 'ultraface', height!, width!);
  const named = (numbers: number): string | undefined =>
    [...given].find(([, t]) => t.rank === 3 && t.shape[1] === rows && t.shape[2] === numbers)?.[0];
  const [boxes, scores, points] = [named(4), named(2), named(10)];
  if (boxes === undefined || scores === undefined) return undefined;
  if (outputs.size === 2) return { kind: 'ultraface', scores, boxes };
  return points === undefined ? undefined : { kind: 'retinaface', loc: boxes, conf: scores, lm: points };
}

/** What a model's file says of a detector, and what a user should know; nothing of other networks. */
export function detectorFacts(network: FaceNetwork): {
  readonly preprocessing?: Omit<Preprocessing, 'inputSize'>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly notes: readonly string[];
} {
  const found = network instanceof GraphNetwork ? recogniseDetector(network) : undefined;
  if (!found) return { metadata: {}, notes: [] };
  const names = { retinaface: 'RetinaFace', mtcnn: 'MTCNN', ultraface: 'Ultra-Light' };
  return {
    preprocessing: detectorPreprocessing[found.kind],
    metadata: { detector: found.kind },
    notes: [`a face detector, ${names[found.kind]}: facegrad detect takes it`],
  };
}

/** The operator that makes an output, moves of its axes left out. */
export function madeBy({ nodes, outputs }: GraphSpec, name: string): string | undefined {
  let value = outputs.find((o) => o.name === name)?.value;
  for (;;) {
    const node = nodes.find((n) => n.outputs.includes(value!));
    if (!node) return undefined;
    if (!['reshape', 'transpose', 'concat', 'slice'].includes(node.op)) return node.op;
    value = node.inputs[0];
  }
}
