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
const [header = [], ...rows] = readFileSync(from, 'utf8')
  .trim()
  .split('\n')
  .map((l) => l.split(','));
/** The rows that have a number in a column. */
const series = (name: string, heading: string, smooth?: number) => {
  const column = header.indexOf(heading);
  const kept = rows.filter((r) => r[column]);
  return {
    name,
    x: kept.map((r) => Number(r[0])),
    y: kept.map((r) => Number(r[column])),
    ...(smooth ? { smooth } : {}),
  };
};
/** A column a set; older logs had one. */
const sets = header.some((h) => h.startsWith('accuracy/'))
  ? header.filter((h) => h.startsWith('accuracy/')).map((h) => series(h.slice('accuracy/'.length), h))
  : [series('verification', 'accuracy')];
const plots = [
  linePlot([series('training loss', 'loss', 9)], { title: 'Loss', xLabel: 'step' }),
  linePlot(sets, { title: 'Accuracy on people never seen', xLabel: 'step', yFormat: 'percent' }),
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
