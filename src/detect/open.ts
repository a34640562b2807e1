/**
 * A detector from a file, of whatever family and format.
 *
 * The one idea: what a graph gives tells which detector it is, so a file needs to say nothing of itself. A graph that can be
 * walked with other sizes takes pictures at their own; into one that cannot they are fitted.
 */
import { DataError, ShapeError, UsageError } from '../core/errors.ts';
import type { HostTensor } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import { type DeviceName, openDevice } from '../device/open.ts';
import { networkBy } from '../models/described.ts';
import { graphAt } from '../models/detectors/graphAt.ts';
import { type MtcnnPart, mtcnnGraph } from '../models/detectors/mtcnn.ts';
import { madeBy, recogniseDetector } from '../models/detectors/recognise.ts';
import { GraphNetwork, graphModel, graphNetwork } from '../models/graph/network.ts';
import type { GraphSpec } from '../models/graph/spec.ts';
import { loadState, stateOf, variablesOf } from '../nn/module.ts';
import { parseCheckpoint } from '../weights/checkpoint.ts';
import type { WeightSource } from '../weights/format.ts';
import { importModel } from '../weights/import.ts';
import type { Detector } from './detection.ts';
import { type MtcnnOptions, mtcnn } from './mtcnn.ts';
import { type RetinaFaceOptions, retinaFace } from './retinaFace.ts';
import type { MakeNetwork, Size } from './sizedNetworks.ts';
import { type UltraFaceOptions, ultraFace } from './ultraFace.ts';

/** Of the family that the file turns out to be; the others' are refused. */
export type DetectorOptions = RetinaFaceOptions & MtcnnOptions & UltraFaceOptions;

export interface DetectorUse {
  /** A device, or the name of one to open. Default 'auto'. */
  readonly device?: Device | DeviceName | undefined;
  /** Threads of the device that is opened; default: the machine's cores. */
  readonly threads?: number | undefined;
}

const notDetector = (source: string): DataError =>
  new DataError(
    `${source}: expected a detector, got a network that embeds faces\nGive the weights of RetinaFace, MTCNN or Ultra-Light.`,
  );

/** Part of a state that a network takes. */
function partFor(spec: GraphSpec, tensors: ReadonlyMap<string, HostTensor>): GraphNetwork {
  const network = new GraphNetwork(spec);
  const variables = variablesOf(network);
  loadState(variables, tensors, 'detector', { allowExtra: true });
  return network;
}

/** Networks of a graph for every size; undefined where it is for its own alone. */
function atAnySize(spec: GraphSpec, tensors: ReadonlyMap<string, HostTensor>): MakeNetwork | undefined {
  try {
    // Odd sides, unlike each other: what does not follow the size shows.
    if (recogniseDetector(new GraphNetwork(graphAt(spec, [75, 101])))?.kind !== 'retinaface') return undefined;
  } catch (error) {
    if (error instanceof DataError || error instanceof ShapeError || error instanceof UsageError) return undefined;
    throw error;
  }
  return (size) => graphNetwork({ spec: graphAt(spec, size), tensors });
}

/**
 * The detector that a network is.
 * @param source what errors call it
 * @throws DataError where it is none; UsageError for options that its family has not
 */
export async function detectorOf(
  network: GraphNetwork,
  device: Device,
  options: DetectorOptions = {},
  source = 'detector',
): Promise<Detector> {
  const found = recogniseDetector(network);
  const { graph } = network.options;
  if (!found) {
    const outputs = graph.outputs.map((o) => o.name).join(', ');
    throw new DataError(
      `${source}: expected RetinaFace, MTCNN or Ultra-Light, got a graph that gives ${outputs}\nGive the weights of one of these detectors.`,
    );
  }
  if (found.kind === 'ultraface') {
    if (!graph.nodes.some((n) => n.op === 'exp'))
      throw new DataError(
        `${source}: expected Ultra-Light with its boxes decoded in the graph, got it without\nExport it with its decoding; the published files have it unless their names say otherwise.`,
      );
    return ultraFace(network, device, options, found);
  }
  const tensors = await stateOf(variablesOf(network));
  if (found.kind === 'mtcnn')
    return mtcnn((part: MtcnnPart, size) => partFor(mtcnnGraph(part, size).spec, tensors), device, options);
  const make = atAnySize(graph, tensors);
  return retinaFace(
    {
      make: make ?? (() => network),
      only: make ? undefined : (graph.inputs[0]!.shape.slice(0, 2) as unknown as Size),
      names: found,
      logits: madeBy(graph, found.conf) !== 'softmax',
    },
    device,
    options,
  );
}

/** Whether bytes are a weights file of facegrad's own. */
function isOwn(bytes: Uint8Array): boolean {
  if (bytes.length < 9 || bytes[8] !== 0x7b) return false;
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return /"format"\s*:\s*"facegrad"/.test(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
}

/**
 * Opens a face detector: RetinaFace, MTCNN or Ultra-Light, from a file that facegrad wrote or from any format that is imported
 * (`mobilenet0.25_Final.pth`, `pnet.pt` with its neighbours, `det1.npy` with its neighbours, ONNX).
 * @param file the bytes of a file that facegrad wrote, or a source with the files beside it
 * @throws DataError for a file that is damaged or holds no detector; UsageError for options that do not fit; DeviceError
 */
export async function openDetector(
  file: Uint8Array | WeightSource,
  { device = 'auto', threads, ...options }: DetectorOptions & DetectorUse = {},
): Promise<Detector> {
  const source = file instanceof Uint8Array ? undefined : file;
  const name = source?.name ?? 'detector';
  const bytes = file instanceof Uint8Array ? file : await file.bytes();
  let network: GraphNetwork;
  if (!source || isOwn(bytes)) {
    const { tensors, metadata } = parseCheckpoint(bytes, name);
    if (metadata.architecture !== graphModel.name) throw notDetector(name);
    network = networkBy((options) => graphModel.create(options) as GraphNetwork, metadata, name);
    loadState(variablesOf(network), tensors, name);
  } else {
    const imported = (await importModel(source)).network;
    if (!(imported instanceof GraphNetwork)) throw notDetector(name);
    network = imported;
  }
  const opened = typeof device === 'string' ? await openDevice(device, { threads }) : undefined;
  const on = opened ?? (device as Device);
  try {
    const detector = await detectorOf(network, on, options, name);
    if (!opened) return detector;
    return {
      ...detector,
      dispose: async () => {
        await detector.dispose();
        await opened.dispose();
      },
    };
  } catch (error) {
    await opened?.dispose();
    throw error;
  }
}
