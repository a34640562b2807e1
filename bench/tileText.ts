/** Tables of tiles as text: in kernels/tiles.ts as the formatter leaves it, and in short for people. */
import type { Tile, TileRow, TileTable } from '../kernels/tiles.ts';
import { UsageError } from '../src/core/errors.ts';

export type TableName = 'gpu' | 'software';

export const nameOfTile = ({ tileM, tileN, tileK, rows, columns }: Tile): string =>
  `${tileM}x${tileN}x${tileK} by ${rows}x${columns}`;

const power = (n: number) => (n >= 65536 && Number.isInteger(Math.log2(n)) ? `2 ** ${Math.log2(n)}` : String(n));

/** What a row is for. */
export const nameOfRow = ({ maxM, maxN, maxWork }: TileRow): string =>
  Object.entries({ M: maxM, N: maxN, work: maxWork })
    .flatMap(([name, most]) => (most === undefined ? [] : [`${name} <= ${power(most)}`]))
    .join(', ') || 'others';

const tableText = (name: TableName, { rows, ...rest }: TileTable): string =>
  [
    `  ${name}: {`,
    ...Object.entries(rest).map(([key, value]) => `    ${key}: ${value},`),
    '    rows: [',
    ...rows.map((row) => {
      const fields = Object.entries(row).map(([key, value]) => `${key}: ${power(value)}`);
      return `      { ${fields.join(', ')} },`;
    }),
    '    ],',
    '  },\n',
  ].join('\n');

/** The source of the tables with one of them replaced. */
export function replaceTable(source: string, name: TableName, table: TileTable): string {
  const own = new RegExp(`^  ${name}: \\{\\n[^]*?^  \\},\\n`, 'm');
  if (!own.test(source))
    throw new UsageError(
      `bench tune: expected a table '${name}' in kernels/tiles.ts, got none\nRestore the file from the repository.`,
    );
  return source.replace(own, () => tableText(name, table));
}
