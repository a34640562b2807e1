/**
 * Networks as files that other programs run. Browser-safe.
 *
 * The one idea: one registry. A form of deployable model is a record (exports/), and a line here; the command line, the
 * check of what was written, and the help are made from it.
 */
import { UsageError } from '../core/errors.ts';
import { entryOf } from '../core/options.ts';
import { traced } from '../models/graph/traced.ts';
import type { FaceNetwork } from '../models/network.ts';
import { browserTarget, htmlTarget } from './exports/browser.ts';
import { k210Target } from './exports/k210.ts';
import { ncnnTarget } from './exports/ncnn.ts';
import { onnxTarget } from './exports/onnx.ts';
import { safetensorsTarget } from './exports/safetensors.ts';
import type { ExportContext, Exported, ExportTarget } from './exports/target.ts';
import { tfliteInt8Target, tfliteTarget } from './exports/tflite.ts';

export type { ExportContext, Exported, ExportFile, ExportTarget } from './exports/target.ts';

/** Every form; of those with the same ending the first is chosen by it. */
export const exportTargets: readonly ExportTarget[] = [
  safetensorsTarget,
  onnxTarget,
  tfliteTarget,
  tfliteInt8Target,
  k210Target,
  ncnnTarget,
  browserTarget,
  htmlTarget,
];

/**
 * The target by its name, or by the ending of the file to be written.
 * @throws UsageError naming those there are
 */
export function exportTargetOf(name: string | undefined, file: string): ExportTarget {
  if (name !== undefined) return entryOf('--to', exportTargets, name);
  const found = exportTargets.find((t) => t.endings.some((e) => file.toLowerCase().endsWith(e)));
  if (found) return found;
  const known = exportTargets.map((t) => [t.name, t.endings.join(', ')].filter(Boolean).join(' '));
  throw new UsageError(
    `export: expected --to, or a file whose ending tells it, got '${file}'\nThe targets are: ${known.join('; ')}.`,
  );
}

export type ExportOptions = Partial<Omit<ExportContext, 'network' | 'graph'>> & Pick<ExportContext, 'name'>;

/**
 * Writes a network in a form. Its training head is no part of it.
 * @throws UsageError where the target has no way to say what the network computes
 */
export async function exportNetwork(
  network: FaceNetwork,
  target: ExportTarget,
  options: ExportOptions,
): Promise<Exported & { readonly context: ExportContext }> {
  const { preprocessing = 'leave', half = false } = options;
  if (preprocessing === 'include' && !target.prepares)
    throw new UsageError(
      `${target.name}: expected preprocessing 'leave', got 'include': its files say how pictures are prepared, and facegrad does it\nLeave it out.`,
    );
  if (half && !target.halves)
    throw new UsageError(
      `${target.name}: expected no half precision, which only ${exportTargets
        .filter((t) => t.halves)
        .map((t) => t.name)
        .join(', ')} keep\nLeave it out.`,
    );
  const context: ExportContext = {
    metadata: {},
    threshold: { cosine: 0.3, from: 'the default' },
    engine: () => {
      throw new UsageError(`${target.name}: expected the script of the engine, got none\nPass \`engine\`.`);
    },
    ...options,
    preprocessing,
    half,
    network,
    graph: await traced(network),
  };
  return { ...(await target.write(context)), context };
}
