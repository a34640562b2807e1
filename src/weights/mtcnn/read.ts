/**
 * MTCNN's weights, which come as three files: `pnet.pt`, `rnet.pt`, `onet.pt` (facenet-pytorch) or `det1.npy`, `det2.npy`, `det3.npy`
 * (davidsandberg/facenet). Any of the three stands for all; the others are read from beside it.
 *
 * The one idea: both sets are the same numbers. The second is a pickled dict of dicts in a NumPy file, under Caffe's names; its
 * kernels have the width first, since they were converted from a column-major program. Browser-safe.
 */
import { DataError } from '../../core/errors.ts';
import { type MtcnnPart, mtcnnGraph, mtcnnGraphs } from '../../models/detectors/mtcnn.ts';
import { detectorPreprocessing } from '../../models/detectors/recognise.ts';
import { permuted } from '../../models/graph/channelsFirst.ts';
import type { GraphFile, WeightSource } from '../format.ts';
import { graphVariables } from '../layouts/detectors.ts';
import { type PickleCall, type PickleContext, pickleKind, readPickle } from '../pickle.ts';
import { hostTensorOf, NumpyArray, numpyGlobals } from '../pickleNumpy.ts';
import type { HostTensor } from '../safetensors.ts';
import { readTorch } from '../torch/read.ts';

const parts: readonly MtcnnPart[] = ['pnet', 'rnet', 'onet'];

// ---- dicts in NumPy files ----

/** numpy's dtype of Python objects. */
class ObjectType extends NumpyArray {
  override setState(): void {}
}
/** An array of numbers, or of Python objects, whose items come as a list. */
class AnyArray extends NumpyArray {
  items: readonly unknown[] | undefined;
  override setState(state: unknown, pickle: PickleContext): void {
    if (!Array.isArray(state) || !(state.at(-3) instanceof ObjectType)) {
      super.setState(state, pickle);
      return;
    }
    const items: unknown = state.at(-1);
    if (!Array.isArray(items)) pickle.refuse(`expected the items of a numpy array, got ${pickleKind(items)}`);
    this.items = items;
  }
}
const numbersType = numpyGlobals['numpy.dtype'] as PickleCall;
const arrays: PickleCall = () => new AnyArray();
const globals = {
  ...numpyGlobals,
  'numpy.dtype': ((args, pickle) =>
    /^\|?O8?$/.test(typeof args[0] === 'string' ? args[0] : '')
      ? new ObjectType()
      : numbersType(args, pickle)) as PickleCall,
  'numpy.core.multiarray._reconstruct': arrays,
  'numpy._core.multiarray._reconstruct': arrays,
};

/**
 * The one dict of a NumPy file of Python objects (`numpy.save(path, {…})`), as layer → weight → array.
 * @throws DataError naming the file, for anything else
 */
export function readNpyDict(bytes: Uint8Array, name: string): Map<string, Map<string, HostTensor>> {
  const fail = (what: string): never => {
    throw new DataError(`${name}: expected a NumPy file of one dict of dicts of arrays, ${what}\nFetch it again.`);
  };
  if (bytes.length < 10 || String.fromCharCode(...bytes.subarray(0, 6)) !== '\x93NUMPY' || bytes[6] !== 1)
    fail('got other bytes');
  const start = 10 + bytes[8]! + 256 * bytes[9]!;
  if (start >= bytes.length) fail('got a file that ends in its header');
  const { value } = readPickle(bytes, { name, globals, at: start, strings: 'text' });
  const layers = value instanceof AnyArray ? value.items?.[0] : undefined;
  if (!(layers instanceof Map)) return fail(`got ${pickleKind(value)}`);
  const out = new Map<string, Map<string, HostTensor>>();
  for (const [layer, weights] of layers) {
    if (typeof layer !== 'string' || !(weights instanceof Map)) return fail('got other keys or values');
    const own = new Map<string, HostTensor>();
    for (const [key, array] of weights) {
      if (typeof key !== 'string' || !(array instanceof NumpyArray) || (array as AnyArray).items)
        return fail(`got no array of numbers in ${layer.slice(0, 80)}`);
      own.set(key, hostTensorOf(array, `${name}: ${layer.slice(0, 80)}`));
    }
    out.set(layer, own);
  }
  return out;
}

/** The layers of that file under PyTorch's names, their axes as this engine's. */
function caffeState(layers: ReadonlyMap<string, ReadonlyMap<string, HostTensor>>): Map<string, HostTensor> {
  const out = new Map<string, HostTensor>();
  for (const [layer, weights] of layers) {
    const dense = weights.get('weights')?.shape.length === 2;
    const name = layer
      .toLowerCase()
      .replaceAll('-', '_')
      .replace(/^conv/, dense ? 'dense' : 'conv');
    for (const [key, tensor] of weights) {
      const end = key === 'biases' ? 'bias' : 'weight';
      out.set(`${name}.${end}`, tensor.shape.length === 4 ? permuted(tensor, [1, 0, 2, 3]) : tensor);
    }
  }
  return out;
}

// ---- the three files ----

/** Throws DataError for files that are damaged, missing, or other networks'. */
export async function readMtcnn(source: WeightSource): Promise<GraphFile> {
  const torch = !/\.npy$/i.test(source.name);
  const ending = /\.[^.]*$/.exec(source.name)![0];
  const names = parts.map((part, i) => (torch ? part : `det${i + 1}`) + ending);
  const given = source.name.replace(/^.*[\\/]/, '');
  const tensors = new Map<string, HostTensor>();
  for (const [i, part] of parts.entries()) {
    const name = names[i]!;
    const bytes = name.toLowerCase() === given.toLowerCase() ? await source.bytes() : await source.beside(name);
    if (!bytes)
      throw new DataError(
        `${source.name}: expected ${names.join(', ')} side by side, got no ${name}\nPut the three files of MTCNN into one folder.`,
      );
    const where = name === given ? source.name : `${name} beside ${source.name}`;
    const state = torch ? (await readTorch(bytes, where)).tensors : caffeState(readNpyDict(bytes, where));
    const { tensors: own } = graphVariables(mtcnnGraph(part).spec, state, {
      title: `MTCNN's ${part}`,
      source: where,
      axes: torch ? 'pytorch' : 'own',
      prefix: `${part}.`,
    });
    for (const [variable, tensor] of own) tensors.set(variable, tensor);
  }
  const { spec } = mtcnnGraphs();
  return {
    kind: 'graph',
    graph: { spec, tensors },
    preprocessing: detectorPreprocessing.mtcnn,
    notes: [`MTCNN's three networks, from ${names.join(', ')}`],
  };
}
