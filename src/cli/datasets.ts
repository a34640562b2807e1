/** `facegrad datasets`: the catalogue of data sets, and whether what was fetched is what it should be. It fetches nothing. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { type CatalogueEntry, type Counts, catalogue, catalogueEntry } from '../../datasets/catalogue.ts';
import { UsageError } from '../core/errors.ts';
import { nearest } from '../core/options.ts';
import { type CatalogueCheck, checkCatalogue } from '../data/inspect/catalogueCheck.ts';
import { openDataset } from '../data/open.ts';
import { closeContainers } from '../data/readImage.ts';
import { readPairTable } from '../data/readPairs.ts';
import { whole } from './options.ts';
import { count, exitCodes, print, printJson } from './output.ts';

interface Flags {
  readonly check?: string;
  readonly pairs?: string;
  readonly sample: number;
  readonly json?: boolean;
}

function entryOf(name: string): CatalogueEntry {
  const entry = catalogueEntry(name);
  if (entry) return entry;
  const names = catalogue.flatMap((e) => [e.name, ...e.aliases]);
  throw new UsageError(
    `datasets: expected a data set of the catalogue, got '${name}'\nDid you mean '${nearest(name, names)}'? All: ${catalogue.map((e) => e.name).join(', ')}.`,
  );
}

const countOrNone = (n: number | undefined): string => (n === undefined ? '' : count(n));

function table(): string {
  const rows = [
    ['name', 'for', 'people', 'images', 'pairs', 'licence'],
    ...catalogue.map((e) => {
      // Where nothing is published of the whole, the first pack stands for it.
      const c: Counts | undefined = e.counts ?? e.variants[0];
      const pairs = e.counts?.pairs ?? e.variants.find((v) => v.pairs !== undefined)?.pairs;
      return [
        e.name,
        e.purpose.join(', '),
        countOrNone(c?.identities),
        countOrNone(c?.images),
        countOrNone(pairs),
        e.licence.word,
      ];
    }),
  ];
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((r) => r[c]!.length)));
  const right = (c: number) => c >= 2 && c <= 4;
  return rows
    .map((r) =>
      r
        .map((cell, c) => (right(c) ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const countsText = ({ identities, images, pairs, folds }: Counts): string =>
  [
    ...(identities === undefined ? [] : [`${count(identities)} people`]),
    ...(images === undefined ? [] : [`${count(images)} images`]),
    ...(pairs === undefined ? [] : [`${count(pairs)} pairs${folds === undefined ? '' : ` in ${folds} folds`}`]),
  ].join(', ') || 'counts not known';

/** Lines of at most 110 characters, all but the first set in. */
function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line && line.length + word.length >= 110 - indent.length) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line].join(`\n${indent}`);
}

function describe(e: CatalogueEntry): string {
  const field = (name: string, text: string) => `${name.padEnd(11)}${wrap(text, ' '.repeat(11))}`;
  const list = (head: string, items: readonly string[]) =>
    items.length ? ['', head, ...items.map((t) => `  - ${wrap(t, '    ')}`)] : [];
  return [
    e.title,
    ...(e.aliases.length ? [field('also', e.aliases.join(', '))] : []),
    field('for', e.purpose.join(', ')),
    ...(e.counts ? [field('holds', `${countsText(e.counts)} (${e.counts.source})`)] : []),
    ...e.otherCounts.map((c) => field('or', `${countsText(c)} (${c.source})`)),
    ...(e.protocol ? [field('protocol', e.protocol)] : []),
    field('layout', e.layout),
    field('licence', `${e.licence.word}: ${e.licence.note}`),
    ...(e.paper
      ? [
          field(
            'paper',
            `${e.paper.authors}. ${e.paper.title}. ${e.paper.venue}, ${e.paper.year}.${e.cite ? ` [${e.cite}]` : ''}`,
          ),
        ]
      : []),
    ...e.published.map((p, k) => field(k === 0 ? 'published' : '', p)),
    ...list(
      'Forms it circulates in:',
      e.variants.map(
        (v) =>
          `${v.name}: ${countsText(v)}${v.alignment ? `; ${v.alignment}` : v.size ? `; ${v.size.join('x')}` : ''}.${v.files.length ? ` Files: ${v.files.join(', ')}.` : ''}${v.note ? ` ${v.note}` : ''} (${v.source})`,
      ),
    ),
    ...list('To look at:', e.traps),
    '',
    'Use:',
    ...e.commands.map((c) => `  ${c}`),
    ...(e.variants.length || e.counts ? [`  facegrad datasets ${e.name} --check PATH`] : []),
  ].join('\n');
}

function report(c: CatalogueCheck): string {
  const word = { whole: 'fits', part: 'part', differs: 'does not fit' }[c.state];
  const value = (v: number | string) => (typeof v === 'number' ? count(v) : v);
  const sizes = c.found.sizes.map((s) => `${s.width}x${s.height} (${s.images})`).join(', ');
  return [
    `${word}: ${c.summary}`,
    ...c.differences.map((d) => `  ${d.what}: expected ${value(d.expected)} (${c.variant}), found ${value(d.found)}`),
    ...(sizes ? [`  pictures looked at: ${sizes}`] : []),
    ...c.remarks.map((r) => `  note: ${wrap(r, '        ')}`),
    ...c.traps.map((t) => `  known: ${wrap(t, '         ')}`),
  ].join('\n');
}

async function run(name: string | undefined, flags: Flags): Promise<void> {
  if (name === undefined) {
    if (flags.check !== undefined || flags.pairs !== undefined)
      throw new UsageError(
        'datasets: expected the name of a set to check against\nExample: facegrad datasets lfw --check lfw/',
      );
    if (flags.json) printJson(catalogue);
    else {
      print(table());
      print('\nNothing is downloaded. facegrad datasets NAME: licence, where it is published, what to look at.');
    }
    return;
  }
  const entry = entryOf(name);
  if (flags.check === undefined) {
    if (flags.pairs !== undefined)
      throw new UsageError(
        'datasets: --pairs goes with --check\nExample: facegrad datasets lfw --check lfw/ --pairs pairs.txt',
      );
    if (flags.json) printJson(entry);
    else print(describe(entry));
    return;
  }
  try {
    const set = await openDataset(flags.check);
    const pairs = flags.pairs === undefined ? undefined : readPairTable(flags.pairs, set);
    const found = await checkCatalogue(set, entry, {
      file: basename(flags.check),
      sample: flags.sample,
      ...(pairs ? { pairs } : {}),
    });
    if (flags.json) printJson({ path: flags.check, ...found });
    else print(`${flags.check}\n${report(found)}`);
    if (found.state === 'differs') process.exitCode = exitCodes.failure;
  } finally {
    await closeContainers();
  }
}

export function register(program: Command): void {
  program
    .command('datasets')
    .description('the catalogue of face data sets: counts, packs, licences, where published; downloads nothing')
    .argument('[name]', 'all about one of them')
    .option('--check <path>', 'compare what lies there with the entry; exit code 1 where it does not fit')
    .option('--pairs <file>', 'with --check: a pairs file over the set')
    .option('--sample <n>', 'with --check: pictures whose size is looked at', whole('sample', 1), 64)
    .option('--json', 'the same as JSON')
    .action(run);
}
