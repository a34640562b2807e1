/**
 * The errors users meet. The first line names the op, file or module, what was expected and what came; then the
 * details; the last line says what to do.
 */

/** Operands whose shapes or dtypes do not fit an op. */
export class ShapeError extends Error {
  override name = 'ShapeError';
}
/** A call, option or recipe that asks for something impossible. */
export class UsageError extends Error {
  override name = 'UsageError';
}
/** A file or data set that is not what it should be. */
export class DataError extends Error {
  override name = 'DataError';
}
/** A device that is missing, lost or out of memory. */
export class DeviceError extends Error {
  override name = 'DeviceError';
}
/** Loss, gradients or weights that are no longer finite. */
export class NumericsError extends Error {
  override name = 'NumericsError';
}
