/** The registry of losses: what recipes name as head or as a term beside it. */
import { entryOf } from '../core/options.ts';
import { adaCos } from './adaCos.ts';
import { adaFace } from './adaFace.ts';
import { arcFace } from './arcFace.ts';
import { agentCenter, center } from './center.ts';
import { combinedMargin, multiMargin } from './combinedMargin.ts';
import { contrastive } from './contrastive.ts';
import { cosFace } from './cosFace.ts';
import { curricularFace } from './curricularFace.ts';
import type { Loss, LossEntry, LossSize } from './loss.ts';
import { magFace } from './magFace.ts';
import { multiFace } from './multiFace.ts';
import { prelogitsNorm } from './prelogitsNorm.ts';
import { normFace, softmaxEntry } from './softmax.ts';
import { sphereFace } from './sphereFace.ts';
import { subCenterArcFace } from './subCenterArcFace.ts';
import { triplet } from './triplet.ts';

/** Every loss: margin heads, metric losses, terms. */
export const losses: readonly LossEntry[] = [
  softmaxEntry,
  normFace,
  arcFace,
  cosFace,
  sphereFace,
  combinedMargin,
  multiMargin,
  adaCos,
  curricularFace,
  adaFace,
  magFace,
  subCenterArcFace,
  multiFace,
  triplet,
  contrastive,
  center,
  agentCenter,
  prelogitsNorm,
] as unknown as readonly LossEntry[];

/**
 * Makes a loss by name; its parameters are empty until `initialize` or `loadState` fills them.
 * @throws UsageError for an unknown name, naming the nearest, or options it refuses
 */
export const createLoss = (name: string, size: LossSize, options: Readonly<Record<string, unknown>> = {}): Loss =>
  entryOf('loss', losses, name).create(size, options);
