/** A figure as a file of the ending that was asked for: a picture, a page, a table, or JSON. */
import { writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { UsageError } from '../core/errors.ts';
import { fileError } from '../data/files.ts';
import { svgFile } from '../evaluate/plot.ts';
import { htmlReport } from '../evaluate/report.ts';
import { csvCell } from '../train/logFile.ts';

export interface Figure {
  readonly title: string;
  /** Plots as `linePlot` and `histogramPlot` make them; a picture holds the first. */
  readonly plots: readonly string[];
  /** What a page says beside them, by name. */
  readonly facts: Readonly<Record<string, string>>;
  /** Names of the columns, then a row of each. */
  readonly table: readonly (readonly (string | number)[])[];
  readonly data: Readonly<Record<string, unknown>>;
}

/** Seven digits are more than the numbers are good for; no number is an empty cell. */
const cell = (x: string | number): string =>
  typeof x === 'string' ? csvCell(x) : Number.isFinite(x) ? String(Number(x.toPrecision(7))) : '';

const formats: Readonly<Record<string, (figure: Figure) => string>> = {
  '.svg': ({ plots }) => svgFile(plots[0]!),
  '.html': ({ title, plots, facts }) => htmlReport({ title, plots, facts }),
  '.csv': ({ table }) => table.map((row) => `${row.map(cell).join(',')}\n`).join(''),
  '.json': ({ data }) => `${JSON.stringify(data)}\n`,
};

/** The endings, for help texts. */
export const figureEndings = '.svg, .html, .csv or .json';

/** @throws UsageError unless the path ends in one of `figureEndings`; to be called before the work */
export function checkEnding(path: string, command = 'plot'): void {
  if (!Object.hasOwn(formats, extname(path).toLowerCase()))
    throw new UsageError(
      `${command}: expected --out to end in ${figureEndings}, got '${path}'\nExample: --out curves.svg.`,
    );
}

/** Writes a figure. @throws DataError where that is not possible */
export async function writeFigure(path: string, figure: Figure): Promise<void> {
  await writeFile(path, formats[extname(path).toLowerCase()]!(figure)).catch((error) => {
    throw fileError(path, 'a place to write a file', error);
  });
}
