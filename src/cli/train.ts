/** `facegrad train`: a recipe, changes to it on the command line, and a run folder. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { type Recipe, recipeNames } from '../train/recipe.ts';
import { isRecipeFile } from '../train/recipeFile.ts';
import { indented } from './columns.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { whole } from './options.ts';
import { exitCodes, print, printJson } from './output.ts';
import { reporterFor } from './progress.ts';
import { keyHelp, recipeChanges, startRecipe } from './recipeWords.ts';

interface TrainFlags extends DeviceChoice {
  readonly out?: string;
  readonly resume?: boolean | string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
  readonly workers?: number;
}

const help = (): string =>
  [
    '',
    'Recipes (facegrad recipes says what they are and prints one):',
    indented(recipeNames.join(', ')),
    '',
    'Keys of a recipe, as --key value, in camelCase or with dashes. facegrad options lists networks, losses,',
    'optimizers and schedules; facegrad options NAME the options of one.',
    '',
    keyHelp(),
    'Exit codes: 0 done, 1 failure, 2 usage, 3 diverged, 130 stopped by Ctrl-C (a checkpoint is saved).',
  ].join('\n');

/** Removes what an earlier run left in a folder; event files void those before them by themselves. */
function removeRun(out: string): void {
  const remove = (folder: string, what: RegExp) => {
    for (const name of existsSync(folder) ? readdirSync(folder) : [])
      if (what.test(name)) rmSync(join(folder, name), { force: true });
  };
  remove(out, /^((last|best|step-\d+)\.safetensors|report\.html|embedding\.npy|embedding\.names\.txt)$/);
  remove(join(out, 'samples'), /-\d{7,}\.jpg$/);
}

async function run(named: string | undefined, flags: TrainFlags, words: readonly string[]): Promise<void> {
  const changes = recipeChanges(words);
  // A run goes on in the folder of its checkpoint.
  const out =
    flags.out ??
    (typeof flags.resume === 'string'
      ? dirname(flags.resume)
      : join('runs', (named ?? 'mobilefacenet-arcface').replace(/^.*[\\/]|\.(json|ya?ml)$/g, '')));
  const last = join(out, 'last.safetensors');
  const source = typeof flags.resume === 'string' ? flags.resume : last;
  const resuming = flags.resume !== undefined && (typeof flags.resume === 'string' || existsSync(last));
  const replaces = !resuming || resolve(dirname(source)) !== resolve(out);
  if (replaces && (!resuming || existsSync(source)) && !flags.overwrite && existsSync(last))
    throw new UsageError(
      `--out ${out}: expected a new folder, but it holds a run already (last.safetensors)\nPass --resume to go on with it, --overwrite to replace it, or another --out.`,
    );

  let recipe: Recipe;
  const { readCheckpoint } = await import('../train/checkpointFile.ts');
  const { resumeRecipe, train } = await import('../train/run.ts');
  if (resuming) {
    // A recipe named beside --resume must be the one of the checkpoint; only what is on the command line changes it.
    const given = named && isRecipeFile(named) ? { ...startRecipe(named, changes) } : { ...changes };
    const { recipe: name, ...rest } = given as Record<string, unknown>;
    ({ recipe } = resumeRecipe(await readCheckpoint(source), source, rest));
    const wanted = (name ?? named) as string | undefined;
    if (wanted !== undefined && wanted !== recipe.recipe)
      throw new UsageError(
        `--resume: expected the recipe '${recipe.recipe}' of ${source}, got '${wanted}'\nLeave the name out, or start a new run with another --out.`,
      );
  } else recipe = startRecipe(named ?? 'mobilefacenet-arcface', changes);

  const { workers } = flags;
  let started = false;
  let device = await openDevice(flags);
  const reporter = reporterFor(flags.json ?? false);
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    stop.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    if (flags.resume !== undefined && !resuming)
      reporter.onEvent({ type: 'note', text: `${last} is not there yet: starting from the beginning` });
    const result = await train(recipe, {
      device,
      async reopen() {
        device = await openDevice(flags);
        return device;
      },
      out,
      signal: stop.signal,
      onEvent(e) {
        // Not before the new run is known to start: what is refused leaves the old one as it was.
        if (e.type === 'start' && flags.overwrite && replaces && !started) removeRun(out);
        if (e.type === 'start') started = true;
        reporter.onEvent(e);
      },
      ...(resuming ? { resumeFrom: source } : {}),
      ...(workers === undefined ? {} : { workers }),
    });
    reporter.stop();
    const summary = { type: 'end', ...result, out };
    if (flags.json) printJson(summary);
    else if (result.finished)
      print(
        `Done: ${result.steps} steps${result.evaluation ? `, verification ${(100 * result.evaluation.accuracy).toFixed(2)} % on ${result.evaluation.data}` : ''}.\nWeights: ${result.checkpoint}\nReport:  ${join(out, 'report.html')}`,
      );
    else
      print(
        `Stopped after step ${result.steps}; saved ${result.checkpoint}. Go on with: facegrad train --out ${out} --resume`,
      );
    if (!result.finished) process.exitCode = exitCodes.interrupted;
  } finally {
    reporter.stop();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    await device.dispose();
  }
}

export function register(program: Command): void {
  const command = program
    .command('train')
    .description('train a face network by a recipe')
    .argument('[recipe]', `a recipe's name or a YAML or JSON file of one`)
    .option(
      '--out <folder>',
      'the run folder: checkpoints, curve, report (default: runs/<recipe>, or that of the checkpoint)',
    )
    .option('--resume [checkpoint]', "go on from the folder's last checkpoint, or from this one")
    .option('--overwrite', 'replace the run that the folder holds')
    .option('--json', 'one line of JSON per event on standard output')
    .option('--workers <n>', 'threads that read pictures', whole('workers', 0, 64))
    .allowUnknownOption(true)
    .allowExcessArguments(true)
    .addHelpText('after', help);
  addDeviceOptions(command).action(async (recipe: string | undefined, flags: TrainFlags, self: Command) => {
    const named = recipe !== undefined && !recipe.startsWith('--');
    await run(named ? recipe : undefined, flags, self.args.slice(named ? 1 : 0));
  });
}
