/**
 * The errors users meet. The first line names the op, file or module, what was expected and what came; then the
 * details; the last line says what to do.
 *
 * Names from files stand in messages, so every message is made printable here, where all of them pass.
 */
import { printableLines } from './printable.ts';

class PrintableError extends Error {
  constructor(message = '', options?: ErrorOptions) {
    super(printableLines(message), options);
  }
}

/** Operands whose shapes or dtypes do not fit an op. */
export class ShapeError extends PrintableError {
  override name = 'ShapeError';
}
/** A call, option or recipe that asks for something impossible. */
export class UsageError extends PrintableError {
  override name = 'UsageError';
}
/** A file or data set that is not what it should be. */
export class DataError extends PrintableError {
  override name = 'DataError';
}
/** A device that is missing, lost or out of memory. */
export class DeviceError extends PrintableError {
  override name = 'DeviceError';
}
/** Loss, gradients or weights that are no longer finite. */
export class NumericsError extends PrintableError {
  override name = 'NumericsError';
}
