/** Pairs of images to verify on, as text. Browser-safe; files are readPairs.ts. */

/**
 * The fold of each of `pairs` pairs in order: contiguous folds, of which the first `pairs % folds` are one longer, as
 * scikit-learn's KFold has them. Fewer pairs than folds give a fold each.
 */
export function contiguousFolds(pairs: number, folds = 10): Int32Array {
  const count = Math.max(1, Math.min(folds, pairs));
  const least = Math.floor(pairs / count);
  const longer = pairs % count;
  const fold = new Int32Array(pairs);
  for (let f = 0, at = 0; f < count; f++) {
    const end = at + least + (f < longer ? 1 : 0);
    fold.fill(f, at, end);
    at = end;
  }
  return fold;
}
