/** How pictures are prepared for a model, where this program wrote its file: texts among the metadata of ONNX files. */
import { type Preprocessing, perColour } from '../../models/network.ts';
import type { ModelProto } from './messages.ts';

const mean = perColour({}, 0, '');
const scale = perColour({ above: 0 }, 1, '');

/** Undefined where another program wrote the file, or the text is not ours. */
export function statedPreprocessing({ producerName, metadataProps }: ModelProto): Partial<Preprocessing> | undefined {
  if (producerName !== 'facegrad') return undefined;
  const text = metadataProps?.find((p) => p.key === 'preprocessing')?.value;
  try {
    const p = JSON.parse(text ?? 'null') as Partial<Preprocessing> | null;
    const known = ['RGB', 'BGR'].includes(p?.colourOrder ?? '') && mean.accepts(p?.mean) && scale.accepts(p?.scale);
    return known ? { colourOrder: p!.colourOrder!, mean: p!.mean!, scale: p!.scale! } : undefined;
  } catch {
    return undefined;
  }
}
