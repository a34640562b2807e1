/**
 * Draws a run's curve.csv (loss and accuracy over steps) as one SVG.
 *
 *     npx node bench/plotCurve.ts runs/mine/curve.csv curve.svg
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { linePlot } from '../src/evaluate/plot.ts';

const [from, to] = process.argv.slice(2);
if (!from || !to) {
  console.error('usage: npx node bench/plotCurve.ts CURVE.csv OUT.svg');
  process.exit(2);
}
const rows = readFileSync(from, 'utf8')
  .trim()
  .split('\n')
  .slice(1)
  .map((l) => l.split(','));
/** The rows that have a number in a column: 1 is the loss, 3 the accuracy. */
const series = (name: string, column: number, smooth?: number) => {
  const kept = rows.filter((r) => r[column]);
  return {
    name,
    x: kept.map((r) => Number(r[0])),
    y: kept.map((r) => Number(r[column])),
    ...(smooth ? { smooth } : {}),
  };
};
const plots = [
  linePlot([series('training loss', 1, 9)], { title: 'Loss', xLabel: 'step' }),
  linePlot([series('verification', 3)], { title: 'Accuracy on people never seen', xLabel: 'step', yFormat: 'percent' }),
];
// Each plot is an <svg> of its own: side by side in one.
const [width, height] = [560, 320];
const placed = plots.map((p, i) =>
  p.replace('<svg ', `<svg x="${i * width}" y="0" width="${width}" height="${height}" `),
);
writeFileSync(
  to,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${plots.length * width} ${height}" font-family="sans-serif" color="#333"><rect width="100%" height="100%" fill="#fff"/>${placed.join('')}</svg>\n`,
);
