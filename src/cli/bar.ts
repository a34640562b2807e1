/** Progress bars of the commands. */
import { Presets, SingleBar } from 'cli-progress';

/** A bar in the look that all have; `keep` leaves it on the screen when it ends. */
export const newBar = (format: string, stream: NodeJS.WritableStream, keep = false): SingleBar =>
  new SingleBar({ format, clearOnComplete: !keep, hideCursor: true, barsize: 24, stream }, Presets.shades_classic);

export interface Bar {
  /** Draws how far `what` is, with a text of its own; another `what` begins a new bar. */
  show(what: string, done: number, total: number, text: string): void;
  /** Takes the bar away, so that other text can follow. */
  stop(): void;
}

/** A bar on standard error, so that standard output stays the result's; nothing where that is no terminal. */
export function errorBar(): Bar {
  if (!process.stderr.isTTY) return { show() {}, stop() {} };
  const bar = newBar('{what} {bar} {percentage} % | {text} | {eta_formatted} left', process.stderr);
  let shown: string | undefined;
  return {
    show(what, done, total, text) {
      if (shown === what) bar.update(done, { what, text });
      else {
        bar.stop();
        bar.start(total, done, { what, text });
        shown = what;
      }
    },
    stop() {
      bar.stop();
      shown = undefined;
    },
  };
}
