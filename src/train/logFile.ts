/**
 * The log of a run (Node): `curve.csv`, a row per logged step, on disk as soon as it is told.
 *
 * The one idea: the columns are fixed when the file is opened, from the validation sets the run evaluates on; a cell that a
 * step does not have is empty. A run that goes on from a checkpoint keeps the rows up to its step: later ones come again.
 */
import { appendFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '../core/errors.ts';
import { ioError, writeAtomically } from './checkpointFile.ts';

/** Columns in their order; then one a validation set, called `accuracy/` and its name, as in the event files. */
const columns = [
  'step',
  'epoch',
  'loss',
  'accuracy',
  'marginAccuracy',
  'lr',
  'gradNorm',
  'imagesPerSecond',
  'waitShare',
  'seconds',
] as const;
const prefix = 'accuracy/';
/** What logs held that knew one validation set, and called its accuracy plainly so. */
const oldHeader = 'step,loss,lr,accuracy';

/** A row: what is known of a step. */
export interface LogRow {
  /** Steps done, from 1. */
  readonly step: number;
  readonly epoch?: number;
  readonly loss?: number;
  /** Share of the batch that the logits without margin put first. */
  readonly accuracy?: number;
  /** The same with the margin. */
  readonly marginAccuracy?: number;
  readonly lr?: number;
  /** Global norm before clipping. */
  readonly gradNorm?: number;
  readonly imagesPerSecond?: number;
  /** Share of the time spent waiting for pictures. */
  readonly waitShare?: number;
  /** Time since the run began. */
  readonly seconds?: number;
  /** Accuracy by the name of the validation set. */
  readonly validation?: Readonly<Record<string, number>>;
}

/** The cells of a line of CSV (RFC 4180): a quoted one may hold commas and, doubled, quotes. */
const cellsOf = (line: string): string[] =>
  [...`,${line}`.matchAll(/,(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((m) => m[1]?.replaceAll('""', '"') ?? m[2]!);
/** A cell of CSV, quoted where it has to be. */
export const csvCell = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** The rows of a log up to a step, and the validation sets it names. Lines that are cut off or damaged are left out. */
function parse(text: string, step: number, validationNames: readonly string[]): { rows: LogRow[]; names: string[] } {
  // A kill may have cut the last line: only lines that end count.
  const [head = '', ...lines] = text.split('\n').slice(0, -1);
  const [first] = validationNames;
  const header = head === oldHeader ? ['step', 'loss', 'lr', first === undefined ? '' : prefix + first] : cellsOf(head);
  const names = header.filter((c) => c.startsWith(prefix)).map((c) => c.slice(prefix.length));
  const rows: LogRow[] = [];
  for (const line of lines) {
    const cells = cellsOf(line);
    const row: Record<string, number> = {};
    const validation: [string, number][] = [];
    header.forEach((column, i) => {
      const value = Number(cells[i] || undefined);
      if (!cells[i] || (Number.isNaN(value) && cells[i] !== 'NaN')) return;
      if (column.startsWith(prefix)) validation.push([column.slice(prefix.length), value]);
      else if ((columns as readonly string[]).includes(column)) row[column] = value;
    });
    if (cells.length !== header.length || row.step === undefined || !(row.step <= step)) continue;
    rows.push({ ...row, step: row.step, ...(validation.length > 0 && { validation: Object.fromEntries(validation) }) });
  }
  return { rows, names };
}

/** The log of a run, whole on disk after every row. */
export class RunLog {
  readonly path: string;
  /** Names of the validation sets that have a column. */
  readonly validationNames: readonly string[];
  private readonly held: LogRow[];

  private constructor(path: string, validationNames: readonly string[], rows: LogRow[]) {
    this.path = path;
    this.validationNames = validationNames;
    this.held = rows;
  }

  /**
   * Opens the log of a run's folder.
   * @param step steps done by the checkpoint that the run goes on from; rows up to it are kept. 0: a new log
   * @param validationNames sets that get a column, after those of the log that is there; the accuracies of a log of an
   * earlier version, which knew one set, are taken for the first one's
   * @throws DataError where the file cannot be written; UsageError for names that are given twice or hold line ends
   */
  static async open(out: string, step: number, validationNames: readonly string[] = []): Promise<RunLog> {
    if (new Set(validationNames).size < validationNames.length || validationNames.some((n) => /[\r\n]/.test(n)))
      throw new UsageError(
        `log of ${out}: expected validation sets of different names of one line, got ${validationNames.map((n) => JSON.stringify(n)).join(', ')}\nRename one of them.`,
      );
    const path = join(out, 'curve.csv');
    const text = step > 0 ? await readFile(path, 'utf8').catch(() => '') : '';
    const { rows, names } = parse(text, step, validationNames);
    const log = new RunLog(path, [...new Set([...names, ...validationNames])], rows);
    const header = [...columns, ...log.validationNames.map((n) => prefix + n)].map(csvCell).join(',');
    const whole = [header, ...rows.map((r) => log.line(r)), ''].join('\n');
    await writeAtomically(path, new TextEncoder().encode(whole));
    return log;
  }

  /** Rows in the order of their steps, those of the runs before included. */
  get rows(): readonly LogRow[] {
    return this.held;
  }

  /**
   * Adds a row.
   * @throws UsageError for a validation set that has no column; DataError where the file cannot be written
   */
  add(row: LogRow): void {
    const unknown = Object.keys(row.validation ?? {}).find((name) => !this.validationNames.includes(name));
    if (unknown !== undefined)
      throw new UsageError(
        `${this.path}: expected one of the validation sets ${this.validationNames.join(', ')}, got ${unknown}\nName it when the log is opened.`,
      );
    this.held.push(row);
    try {
      appendFileSync(this.path, `${this.line(row)}\n`);
    } catch (e) {
      throw ioError(`writing ${this.path}`, e);
    }
  }

  private line(row: LogRow): string {
    const cells = [...columns.map((c) => row[c]), ...this.validationNames.map((name) => row.validation?.[name])];
    return cells.map((value) => value ?? '').join(',');
  }
}
