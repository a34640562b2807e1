/** `facegrad prepare`: any data set to any format, aligned, selected and repaired on the way. */

import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import { UsageError } from '../core/errors.ts';
import { printable, printableLines } from '../core/printable.ts';
import { formats } from '../data/formats/index.ts';
import { type Prepared, type PrepareEvent, type PrepareOptions, prepare } from '../data/prepare/prepare.ts';
import { errorBar } from './bar.ts';
import { whole } from './options.ts';
import { count, counted, exitCodes, print, printJson, showDuration, size } from './output.ts';

type Flags = Omit<PrepareOptions, 'sources' | 'out' | 'align' | 'onEvent' | 'signal'> & {
  readonly align?: string | true;
  readonly json?: boolean;
};

function fraction(text: string): number {
  const x = Number(text);
  if (!(x > 0 && x < 1))
    throw new UsageError(`--validation: expected a share between 0 and 1, got '${text}'\nExample: --validation 0.05.`);
  return x;
}

function side(text: string): readonly [number, number] {
  const found = /^(\d+)(?:x(\d+))?$/.exec(text);
  const height = Number(found?.[1]);
  const width = Number(found?.[2] ?? found?.[1]);
  if (!(height >= 1 && width >= 1 && height <= 4096 && width <= 4096))
    throw new UsageError(`--size: expected HEIGHTxWIDTH in pixels, got '${text}'\nExample: --size 112x112.`);
  return [height, width];
}

/** What a set holds: '262 images of 12 people, 90 pairs'. */
function holding({ images, identities, pairs }: Pick<Prepared, 'images' | 'identities' | 'pairs'>): string {
  const who = identities === 0 ? ', people not known' : ` of ${counted(identities, 'person', 'people')}`;
  return `${counted(images, 'image')}${who}${pairs ? `, ${counted(pairs, 'pair')}` : ''}`;
}

/** Shows events: progress as a bar on a terminal, what happened as lines. */
function reporter(json: boolean): { onEvent(e: PrepareEvent): void; stop(): void } {
  const bar = errorBar();
  let started = 0;
  let from = 0;
  const say = (text: string) => {
    bar.stop();
    process.stderr.write(`${text}\n`);
  };
  return {
    onEvent(e) {
      if (json) {
        // Progress is for people; a program wants what happened.
        if (e.type !== 'progress' && e.type !== 'scan') printJson(e);
        return;
      }
      switch (e.type) {
        case 'scan':
          bar.show('scanning', e.done, e.total, size(e.done));
          break;
        case 'start':
          from = e.from;
          started = performance.now();
          say(`${e.out} (${e.format}): ${holding(e)}${e.from > 0 ? `; going on after ${e.from}` : ''}`);
          break;
        case 'progress': {
          const seconds = (performance.now() - started) / 1000;
          bar.show(
            'writing',
            e.done,
            e.total,
            `${count(e.done)}/${count(e.total)} | ${((e.done - from) / seconds).toFixed(0)} images/s, ${size(e.bytes)}`,
          );
          break;
        }
        case 'bad':
          say(printable(`left out: ${e.reason.split('\n')[0]}`));
          break;
        case 'repaired':
          say(printable(`repaired: ${e.name}: ${e.what}`));
          break;
        case 'note':
          say(printableLines(`note: ${e.text}`));
      }
    },
    stop: () => bar.stop(),
  };
}

async function run(paths: readonly string[], { json = false, align, ...flags }: Flags): Promise<void> {
  if (paths.length < 2)
    throw new UsageError(
      'prepare: expected one or more data sets and where to write, got one path\nExample: facegrad prepare faces/ faces.rec',
    );
  const stop = new AbortController();
  const onInterrupt = () => stop.abort();
  process.once('SIGINT', onInterrupt);
  const show = reporter(json);
  const start = performance.now();
  try {
    const done = await prepare({
      workers: Math.min(8, availableParallelism()),
      ...flags,
      sources: paths.slice(0, -1),
      out: paths[paths.length - 1]!,
      align: align === true ? 'known' : align,
      signal: stop.signal,
      onEvent: (e) => show.onEvent(e),
    });
    show.stop();
    const seconds = (performance.now() - start) / 1000;
    if (json) printJson({ type: 'end', ...done, seconds });
    else if (done.finished)
      print(
        `${done.out}: ${holding(done)} in ${showDuration(seconds)}${done.leftOut.length ? `; ${counted(done.leftOut.length, 'unreadable one')} left out` : ''}${done.repaired ? `; ${done.repaired} repaired` : ''}`,
      );
    else print(`stopped after ${counted(done.images, 'image')}; the same command goes on with what is on disk`);
    if (!done.finished) process.exitCode = exitCodes.interrupted;
  } finally {
    show.stop();
    process.removeListener('SIGINT', onInterrupt);
  }
}

export function register(program: Command): void {
  const known = formats.map((f) => {
    const use = f.create || f.createFromPairs ? '' : ' (read only)';
    return `  ${`${f.name}${f.ending ? ` (${f.ending})` : ''}`.padEnd(26)}${f.means}${use}`;
  });
  program
    .command('prepare')
    .description('convert data sets: any format to any other; align, select, repair')
    .argument('<paths...>', 'one or more data sets, and last where to write')
    .option('--to <format>', "the target's format (default: by its ending, a folder where it has none)")
    .option('--merge', 'people of equal names in several sets are one person')
    .option('--pairs <file>', 'pairs over the images, to be stored with them (packed, folder, verification)')
    .option('--align [landmarks]', 'align by five points: those of a landmarks file, or those that the set holds')
    .option('--size <HxW>', 'size of the images written (with --align: 112x112)', side)
    .addOption(new Option('--fit <how>', 'images without five points').choices(['scale', 'crop']).default('scale'))
    .addOption(
      new Option('--encode <how>', 'keep: bytes as they are where the picture does not change, JPEG otherwise')
        .choices(['keep', 'jpeg', 'png', 'raw'])
        .default('keep'),
    )
    .option('--quality <n>', 'JPEG quality, 1 to 100', whole('quality', 1, 100), 95)
    .option('--balance', 'even out people by the number of their images: at most 350, copies for few, none below 31')
    .option('--exactly <n>', 'exactly n images a person: some of them, or changed copies', whole('exactly', 1))
    .option('--at-least <n>', 'leave out people with fewer images', whole('at-least', 1))
    .option('--at-most <n>', 'keep n images of those with more', whole('at-most', 1))
    .option('--validation <share>', "keep a share apart, written to OUT with '-validation' in its name", fraction)
    .addOption(new Option('--split-by <what>', 'what is kept apart').choices(['image', 'identity']).default('image'))
    .option('--seed <n>', 'of all random choices', whole('seed', 0), 1)
    .option('--check', 'decode every picture, also where its bytes are copied')
    .option('--repair', 'save what can be read of damaged pictures')
    .option('--skip-bad', 'decode every picture, leave out those that cannot be read, and say so')
    .option('--workers <n>', 'threads that decode (default: the cores, at most 8)', whole('workers', 0, 64))
    .option(
      '--overwrite',
      'replace a file that is there, or start an interrupted conversion anew; folders are never replaced',
    )
    .option('--json', 'what happened as JSON lines')
    .addHelpText(
      'after',
      `\nFormats:\n${known.join('\n')}\n\nAn interrupted conversion goes on when the same command is given again.`,
    )
    .action(run);
}
