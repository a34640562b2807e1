/**
 * Where `verify` draws the line. A run's evaluation leaves its threshold in the weights file; without one a stated default
 * is used. Everything is turned into the cosine of two embeddings.
 */
import { type Flip, flips, type Protocol } from '../evaluate/verification.ts';

export interface StoredThreshold {
  /** Cosine from which on two embeddings are taken for one person. */
  readonly cosine: number;
  readonly data: string;
  readonly pairs: number;
  readonly protocol: Protocol;
  readonly flip: string;
  readonly accuracy: number;
}

/**
 * Used where the weights tell none. Published ArcFace networks have their best LFW threshold, as a cosine, between 0.2 and
 * 0.35; a network trained on few people needs its own.
 */
export const defaultThreshold = 0.3;

/**
 * The threshold that a checkpoint's evaluation chose. That of the 'cosine' protocol counts from the mean of a data set,
 * which a single pair does not have, so only squared distances of unit vectors are used: cos = 1 - d²/2.
 */
export function storedThreshold(metadata: Readonly<Record<string, string>>): StoredThreshold | undefined {
  try {
    const v = JSON.parse(metadata.verification ?? 'null') as Record<string, unknown> | null;
    if (v?.metric !== 'squaredL2' || typeof v.threshold !== 'number' || !Number.isFinite(v.threshold)) return undefined;
    return {
      cosine: 1 - v.threshold / 2,
      data: String(v.data),
      pairs: Number(v.pairs),
      protocol: v.protocol as Protocol,
      flip: String(v.flip),
      accuracy: Number(v.accuracy),
    };
  } catch {
    return undefined;
  }
}

/** What was said of a model's use when it was imported. */
export interface StatedUse {
  readonly flip?: Flip;
  /** Cosine from which on two embeddings are taken for one person. */
  readonly threshold?: number;
}

export function statedUse(metadata: Readonly<Record<string, string>>): StatedUse {
  try {
    const { flip, threshold } = JSON.parse(metadata.use ?? '{}') as Record<string, unknown>;
    return {
      ...(flips.includes(flip as Flip) && { flip: flip as Flip }),
      ...(typeof threshold === 'number' && threshold >= -1 && threshold <= 1 && { threshold }),
    };
  } catch {
    return {};
  }
}
