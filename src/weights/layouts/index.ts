/**
 * The registry of layouts, and a state to a network: by the layout whose names it has, by a network that the user names, or
 * in the order of definition where the names are nobody's.
 *
 * The one idea: names decide and shapes confirm. Nothing is guessed silently: what was taken for what is in the report, and
 * without `lenient` every tensor has its place.
 */
import { DataError, UsageError } from '../../core/errors.ts';
import { entryOf } from '../../core/options.ts';
import { graphNetwork } from '../../models/graph/network.ts';
import { architectureOf, create, inferenceState, networkOf } from '../../models/index.ts';
import type { FaceNetwork } from '../../models/network.ts';
import { loadState, variablesOf } from '../../nn/module.ts';
import type { StateFile } from '../format.ts';
import { arcfaceTorchMbf } from './arcfaceTorchMbf.ts';
import { retinaFaceLayout } from './detectors.ts';
import { faceApi } from './faceApi.ts';
import { facePytorchAttention } from './facePytorchAttention.ts';
import { facePytorchMobileFaceNet } from './facePytorchMobileFaceNet.ts';
import { facePytorchResNet, facePytorchSphereNet } from './facePytorchNets.ts';
import { foamliu } from './foamliu.ts';
import { facePytorchCbam, irBody, iresnet } from './irNets.ts';
import { k210 } from './k210.ts';
import type { GraphFit, Layout, NetworkFit, Tensors } from './layout.ts';
import { fitted, type Loaded, listed, load, type Place } from './load.ts';
import { mobileFaceNetTf, slimResNetTf } from './slimNets.ts';
import { treb1enMobileFaceNet } from './treb1enMobileFaceNet.ts';

export const layouts: readonly Layout[] = [
  facePytorchMobileFaceNet,
  treb1enMobileFaceNet,
  arcfaceTorchMbf,
  foamliu,
  irBody,
  facePytorchCbam,
  iresnet,
  facePytorchResNet,
  facePytorchSphereNet,
  facePytorchAttention,
  retinaFaceLayout,
  mobileFaceNetTf,
  slimResNetTf,
  faceApi,
  k210,
];

export interface StateOptions {
  /** Whose names the state has; by default it is told from them. */
  readonly layout?: string | undefined;
  /** The registered network that it is of. */
  readonly architecture?: string | undefined;
  /** Options of the network, over those read off the shapes. */
  readonly options?: Readonly<Record<string, unknown>> | undefined;
  /** Takes what fits and tells the rest. Default false. */
  readonly lenient?: boolean | undefined;
}

export interface StateReport extends Loaded {
  /** Name of the layout; 'facegrad' for our own names, 'in order' where shapes alone were matched. */
  readonly layout: string;
}
export interface NetworkFromState {
  readonly network: FaceNetwork;
  readonly report: StateReport;
}

/** Counters that no inference reads. */
const counters = /(^|\.)num_batches_tracked$/;

/**
 * The network of a state, with its numbers.
 * @param source what errors call the file
 * @throws DataError where no layout has such names, or tensors differ from the network's, each named; UsageError for options
 * that do not fit
 */
export function networkFromState(
  state: Pick<StateFile, 'tensors' | 'convention' | 'metadata'>,
  { layout: layoutName, architecture, options = {}, lenient = false }: StateOptions,
  source: string,
): NetworkFromState {
  if (state.metadata?.format === 'facegrad') return fromOwn(state.tensors, state.metadata, source);
  const tensors: Tensors = new Map([...state.tensors].filter(([name]) => !counters.test(name)));
  if (tensors.size === 0) throw new DataError(`${source}: expected tensors, got none\nFetch the file again.`);
  const family = architecture === undefined ? undefined : architectureOf(architecture).family.name;
  const chosen = layoutName === undefined ? undefined : entryOf('layout', layouts, layoutName);

  for (const layout of chosen ? [chosen] : layouts) {
    if (layout.convention !== state.convention) continue;
    const part = partOf(tensors, layout) ?? (chosen && { tensors, notes: [] });
    if (!part) continue;
    const fit = layout.fit(part.tensors, source);
    if ('graph' in fit) {
      if (family === undefined) return fromGraph(fit, layout, part, lenient, source);
      continue;
    }
    if (family !== undefined && fit.architecture !== family) continue;
    return fromFit(fit, layout, part, { options, lenient }, source);
  }
  if (chosen)
    throw new DataError(
      `${source}: expected a state of ${chosen.convention}'s conventions for the layout ${chosen.name}, got one of ${state.convention}'s\nLeave the layout out.`,
    );
  if (architecture !== undefined) return byArchitecture(architecture, tensors, state, { options, lenient }, source);
  throw noLayout(tensors, state, source);
}

/** Part of a state that a layout is of, under a prefix such as `backbone.`, and what is said of the rest. */
interface Part {
  readonly tensors: Tensors;
  readonly notes: readonly string[];
}

function partOf(tensors: Tensors, { has }: Layout): Part | undefined {
  const [first] = has;
  const prefixes = [...tensors.keys()]
    .filter((n) => n === first || n.endsWith(`.${first}`))
    .map((n) => n.slice(0, n.length - first!.length))
    .filter((prefix) => has.every((n) => tensors.has(prefix + n)))
    .sort((a, b) => a.length - b.length);
  const prefix = prefixes[0];
  if (prefix === undefined) return undefined;
  if (prefix === '') return { tensors, notes: [] };
  const inside = [...tensors].filter(([n]) => n.startsWith(prefix));
  const rest = tensors.size - inside.length;
  return {
    tensors: new Map(inside.map(([n, t]) => [n.slice(prefix.length), t])),
    notes: [
      `its network is under '${prefix}'`,
      ...(rest ? [`left out: ${rest} tensors that are not under '${prefix}'`] : []),
      ...(prefixes.length > 1 ? [`there is another one under '${prefixes[1]}'`] : []),
    ],
  };
}

/** A file of facegrad's own names its network; what training keeps beside that is left out. */
function fromOwn(tensors: Tensors, metadata: Readonly<Record<string, string>>, source: string): NetworkFromState {
  const network = networkOf(metadata, source);
  const variables = variablesOf(network);
  loadState(variables, inferenceState(tensors, metadata), source, { allowExtra: true });
  const rest = tensors.size - variables.length;
  const notes = rest ? [`left out: ${rest} tensors of its training`] : [];
  return { network, report: { layout: 'facegrad', loaded: variables.length, missing: [], unexpected: [], notes } };
}

/** Options read off shapes may be ones that no network has. */
function made(architecture: string, read: object, given: object, source: string): FaceNetwork {
  try {
    return create(architecture, { ...read, ...given });
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof RangeError) || Object.keys(given).length) throw error;
    throw new DataError(
      `${source}: its shapes are those of no ${architecture}: ${error.message.split('\n')[0]}\nIt is another network, or damaged.`,
      { cause: error },
    );
  }
}

function fromFit(
  fit: NetworkFit,
  layout: Layout,
  { tensors, notes }: Part,
  { options, lenient }: Required<Pick<StateOptions, 'options' | 'lenient'>>,
  source: string,
): NetworkFromState {
  const network = made(fit.architecture, fit.options, options ?? {}, source);
  network.preprocessing = { ...network.preprocessing, ...fit.preprocessing };
  const places = variablesOf(network).map(
    (variable): Place => ({
      variable,
      name: fit.nameOf(variable.name),
      map: fit.flattened?.[variable.name],
      absent: fit.absent?.[variable.name],
    }),
  );
  const title = `${layout.name} (${layout.project})`;
  const loaded = load(network, places, tensors, {
    axes: layout.convention,
    ignored: fit.ignored,
    lenient: lenient!,
    title,
    source,
  });
  return {
    network,
    report: { ...loaded, layout: layout.name, notes: [...notes, ...(fit.notes ?? []), ...loaded.notes] },
  };
}

function fromGraph(
  fit: GraphFit,
  layout: Layout,
  { tensors, notes }: Part,
  lenient: boolean,
  source: string,
): NetworkFromState {
  const unexpected = [...tensors.keys()].filter((n) => !fit.used.has(n));
  if (unexpected.length && !lenient)
    throw new DataError(
      `${source}: expected the tensors of ${layout.name} (${layout.project}), but ${unexpected.length} are not its\n${listed(unexpected, 'unexpected ').join('\n')}\nIt is another network, or take what fits (lenient).`,
    );
  const network = graphNetwork(fit.graph, source);
  network.preprocessing = { ...network.preprocessing, ...fit.preprocessing };
  return {
    network,
    report: {
      layout: layout.name,
      loaded: tensors.size - unexpected.length,
      missing: [],
      unexpected,
      notes: [...notes, ...(fit.notes ?? [])],
    },
  };
}

/** What a name's ending says a tensor is; undefined where it says nothing. */
function roleOf(name: string): string | undefined {
  const leaf = name.slice(name.lastIndexOf('.') + 1);
  if (/^(running_?mean|moving_mean)$/i.test(leaf)) return 'mean';
  if (/^(running_?var|moving_var(iance)?)$/i.test(leaf)) return 'variance';
  if (/^(bias|beta)$/.test(leaf)) return 'bias';
  if (/^(weight|gamma|kernel|alpha|weights)$/.test(leaf)) return 'weight';
  return undefined;
}

/** A network that the user names: by our own names where the state has them, else in the order of definition. */
function byArchitecture(
  architecture: string,
  tensors: Tensors,
  { convention }: Pick<StateFile, 'convention'>,
  { options, lenient }: Required<Pick<StateOptions, 'options' | 'lenient'>>,
  source: string,
): NetworkFromState {
  const network = create(architecture, options ?? {});
  const variables = variablesOf(network);
  const own = variables.filter((v) => tensors.has(v.name));
  if (2 * own.length >= variables.length) {
    const places = variables.map((variable): Place => ({ variable, name: variable.name }));
    const loaded = load(network, places, tensors, { axes: 'own', lenient: lenient!, title: architecture, source });
    return { network, report: { ...loaded, layout: 'facegrad' } };
  }
  const entries = [...tensors];
  const advice =
    'Names are unknown, so tensors are matched in order and must agree one to one: name the right options, or import another format, such as ONNX.';
  if (entries.length !== variables.length)
    throw new DataError(
      `${source}: expected the ${variables.length} tensors of ${architecture} in order, got ${entries.length}\n${advice}`,
    );
  const wrong: string[] = [];
  const found = variables.map((variable, i) => {
    const [name, tensor] = entries[i]!;
    const [ours, theirs] = [roleOf(variable.name), roleOf(name)];
    const { output, inputSize } = network.options as { output?: string; inputSize?: readonly [number, number] };
    const flattened = variable.name === 'output.fc.weight' && output === 'E' ? inputSize : undefined;
    const data = fitted(tensor, variable.shape, convention, flattened && [flattened[0] / 16, flattened[1] / 16]);
    if (!data || (ours && theirs && ours !== theirs))
      wrong.push(`${name} [${tensor.shape}]: expected ${variable.name} [${variable.shape}]`);
    return data;
  });
  if (wrong.length)
    throw new DataError(
      `${source}: expected the tensors of ${architecture} in order, but ${wrong.length} are others\n${listed(wrong, '').join('\n')}\n${advice}`,
    );
  for (const [i, variable] of variables.entries()) variable.write(found[i]!);
  return {
    network,
    report: {
      layout: 'in order',
      loaded: variables.length,
      missing: [],
      unexpected: [],
      notes: [
        `names are unknown: tensors were matched to ${architecture} in the order of the file, by kind and shape; check it on pictures`,
      ],
    },
  };
}

/** The error for names that no layout has: the nearest layout, and what of it is there. */
function noLayout(tensors: Tensors, { convention }: Pick<StateFile, 'convention'>, source: string): DataError {
  const names = [...tensors.keys()];
  if (names.some((n) => n.endsWith('.runningMean')))
    return new DataError(
      `${source}: expected weights that say what network they are of, got facegrad's names without that\nName the network (architecture) and its options.`,
    );
  const ranked = layouts
    .filter((l) => l.convention === convention)
    .map((layout) => ({ layout, hits: names.filter((n) => layout.names.test(n)).length }))
    .sort((a, b) => b.hits - a.hits);
  const nearest = ranked[0];
  const known = layouts.map((l) => l.name).join(', ');
  const last =
    convention === 'mxnet'
      ? 'Of MXNet the symbol says what the network is: put NAME-symbol.json beside the file.'
      : `The layouts are ${known}. Name the network (architecture) where its tensors are in order, or import a file that holds the graph, such as ONNX.`;
  if (!nearest?.hits)
    return new DataError(
      `${source}: expected the names of a layout that is known here, got ${names.length} tensors of none\n${listed(
        names.map((n) => `${n} [${tensors.get(n)!.shape}]`),
        '',
        12,
      ).join('\n')}\n${last}`,
    );
  const { layout, hits } = nearest;
  return new DataError(
    `${source}: expected the names of a layout that is known here; nearest is ${layout.name} (${layout.project}), which names ${hits} of its ${names.length} tensors\n${[
      ...listed(
        layout.has.filter((n) => !tensors.has(n)),
        'missing ',
        12,
      ),
      ...listed(
        names.filter((n) => !layout.names.test(n)),
        'unexpected ',
        12,
      ),
    ].join('\n')}\n${last}`,
  );
}
