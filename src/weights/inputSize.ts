/** The size of images that a file leaves open: the first of the usual ones that fits its dense layers. */
import { DataError } from '../core/errors.ts';

/** [height, width] of face networks, the usual first. */
const usual: readonly (readonly [number, number])[] = [
  [112, 112],
  [112, 96],
  [128, 128],
  [96, 96],
  [160, 160],
  [224, 224],
  [64, 64],
  [48, 48],
  [24, 24],
  [12, 12],
  [32, 32],
];

/**
 * Builds with the size given, else with the usual ones until one fits.
 * @throws what `build` throws: for the size given, or for the first of the usual ones
 */
export function withInputSize<T>(
  given: readonly [number, number] | undefined,
  build: (size: readonly [number, number]) => T,
): { made: T; size: readonly [number, number]; guessed: boolean } {
  if (given) return { made: build(given), size: given, guessed: false };
  let first: unknown;
  for (const size of usual) {
    try {
      return { made: build(size), size, guessed: true };
    } catch (error) {
      // Only shapes may depend on the size; all else is the same with every one.
      const shapes = error instanceof Error && (error.cause as Error | undefined)?.name === 'ShapeError';
      if (!shapes && !(error instanceof DataError && /shape|expected/.test(error.message))) throw error;
      first ??= error;
    }
  }
  throw first;
}

/** What a user is told of a size that was guessed. */
export const sizeNote = ([height, width]: readonly [number, number]): string =>
  `the file does not say the size of images; ${height}x${width} fits; another can be named (--input)`;
