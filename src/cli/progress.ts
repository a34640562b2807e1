/** Showing a training run: a bar on a terminal, plain lines elsewhere, JSON lines for machines. */

import type { TrainEvent } from '../train/events.ts';
import { recipeLines } from '../train/recipeText.ts';
import { newBar } from './bar.ts';
import { print, printJson, showDuration } from './output.ts';

export interface Reporter {
  onEvent(e: TrainEvent): void;
  /** Takes the bar away, so that other text can follow. */
  stop(): void;
}

const percent = (x: number) => `${(100 * x).toFixed(2)} %`;
const short = (x: number) => (x === 0 ? '0' : Number(x.toPrecision(3)).toString());

function jsonReporter(): Reporter {
  return { onEvent: printJson, stop() {} };
}

/** Text of an event that both the bar and the plain reporter print as a line. */
function lineOf(e: TrainEvent): string | undefined {
  switch (e.type) {
    case 'start':
      return [
        'Recipe',
        ...recipeLines(e.recipe).map((l) => `  ${l}`),
        `Data: ${e.data}, ${e.images} pictures of ${e.classes} people`,
        `Network: ${e.parameters} parameters${e.frozen ? `, ${e.frozen} of them frozen` : ''}; a step needs ${e.stepMegabytes} MB`,
        `Device: ${e.device}; compiled in ${e.compileMs} ms`,
        e.fromStep > 0 ? `Going on after step ${e.fromStep} of ${e.steps}` : `${e.steps} steps`,
      ].join('\n');
    case 'evaluation':
      return `step ${e.step}: ${e.set ?? 'verification'} ${percent(e.accuracy)} ± ${percent(e.std)} (${e.data}, ${e.pairs} pairs, ${e.protocol}, flip ${e.flip}), AUC ${e.auc.toFixed(4)}, EER ${percent(e.eer)}`;
    case 'bad':
      return `skipped: ${e.reason.split('\n')[0]}`;
    case 'note':
      return `note: ${e.text}`;
    default:
      return undefined;
  }
}

function plainReporter(): Reporter {
  return {
    onEvent(e) {
      if (e.type === 'step')
        print(
          `step ${e.step}  epoch ${e.epoch}  loss ${e.loss.toFixed(4)}  lr ${short(e.lr)}  grad ${short(e.gradNorm)}  accuracy ${percent(e.hitRate)}${e.marginHitRate === undefined ? '' : ` (${percent(e.marginHitRate)} with margin)`}  ${e.imagesPerSecond.toFixed(1)} images/s  waiting ${(100 * e.waitShare).toFixed(0)} %  ${showDuration(e.etaSeconds)} left`,
        );
      else if (e.type === 'saved') print(`step ${e.step}: saved ${e.path}`);
      else {
        const line = lineOf(e);
        if (line) print(line);
      }
    },
    stop() {},
  };
}

function barReporter(): Reporter {
  const bar = newBar(
    '{bar} {value}/{total} | loss {loss} | accuracy {accuracy} | lr {lr} | {rate} images/s | {left} left',
    process.stdout,
    true,
  );
  const compiling = newBar('{bar} {value}/{total} kernels | {eta} s left', process.stdout);
  let total = 0;
  let at = 0;
  let payload = { loss: '–', accuracy: '–', lr: '–', rate: '–', left: '–' };
  const show = (text: string) => {
    bar.stop();
    print(text);
    bar.start(total, at, payload);
  };
  return {
    onEvent(e) {
      if (e.type === 'compile') {
        if (e.done === 1) compiling.start(e.total, 0);
        compiling.update(e.done);
        if (e.done === e.total) compiling.stop();
      } else if (e.type === 'start') {
        bar.stop();
        print(lineOf(e)!);
        total = e.steps;
        at = e.fromStep;
        bar.start(total, at, payload);
      } else if (e.type === 'step') {
        at = e.step;
        payload = {
          loss: e.loss.toFixed(3),
          accuracy: percent(e.hitRate),
          lr: short(e.lr),
          rate: e.imagesPerSecond.toFixed(1),
          left: showDuration(e.etaSeconds),
        };
        bar.update(at, payload);
      } else {
        const line = lineOf(e);
        if (line) show(line);
      }
    },
    stop() {
      compiling.stop();
      bar.stop();
    },
  };
}

/** JSON when asked for, a bar on a terminal, lines otherwise. */
export const reporterFor = (json: boolean): Reporter =>
  json ? jsonReporter() : process.stdout.isTTY ? barReporter() : plainReporter();
