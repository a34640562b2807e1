/** The registry of losses: what recipes name as head or as a term beside it. */
import { entryOf } from '../core/options.ts';
import { arcFace } from './arcFace.ts';
import type { Loss, LossEntry, LossSize } from './loss.ts';

/** Every loss, margin heads first. */
export const losses: readonly LossEntry[] = [arcFace] as unknown as readonly LossEntry[];

/**
 * Makes a loss by name; its parameters are empty until `initialize` or `loadState` fills them.
 * @throws UsageError for an unknown name, naming the nearest, or options it refuses
 */
export const createLoss = (name: string, size: LossSize, options: Readonly<Record<string, unknown>> = {}): Loss =>
  entryOf('loss', losses, name).create(size, options);
