import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  escapeHtml,
  histogramPlot,
  linePlot,
  movingMean,
  niceTicks,
  svgFile,
  tickText,
} from '../../src/evaluate/plot.ts';

/** Fails unless all markup is tags that are closed in order. */
function tags(markup: string): void {
  const open: string[] = [];
  for (const [, close, name, self] of markup.matchAll(/<(\/?)([a-z0-9]+)(?:\s+[\w-]+="[^"<>]*")*\s*(\/?)>/g)) {
    if (close) expect(open.pop()).toBe(name);
    else if (!self) open.push(name!);
  }
  expect(open).toEqual([]);
  expect(markup.match(/</g)!.length).toBe(markup.match(/<(\/?)([a-z0-9]+)(?:\s+[\w-]+="[^"<>]*")*\s*(\/?)>/g)!.length);
}
const dataPath = (svg: string) => /<path d="([^"]*)" stroke="var\(--s1/.exec(svg)![1]!;

test('ticks are round and cover the range', () => {
  expect(niceTicks(0, 1)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(niceTicks(-0.35, 0.95)).toEqual([-0.2, 0, 0.2, 0.4, 0.6, 0.8]);
  expect(niceTicks(0, 19999)).toEqual([0, 5000, 10000, 15000]);
  expect(niceTicks(3, 3)).toEqual([3]);
  fc.assert(
    fc.property(
      fc.double({ min: -1e6, max: 1e6, noNaN: true }),
      fc.double({ min: 1e-3, max: 1e6, noNaN: true }),
      (low, span) => {
        const t = niceTicks(low, low + span);
        expect(t.length).toBeGreaterThanOrEqual(3);
        expect(t.length).toBeLessThanOrEqual(9);
        expect(t[0]!).toBeGreaterThanOrEqual(low - span * 1e-6);
        expect(t.at(-1)!).toBeLessThanOrEqual(low + span * (1 + 1e-6));
        const texts = t.map((x) => tickText(x, t[1]! - t[0]!));
        expect(new Set(texts).size).toBe(t.length); // no two ticks read the same
      },
    ),
    { seed: 1 },
  );
  expect([tickText(15000, 5000), tickText(0.25, 0.05), tickText(0.995, 0.005, 'percent')]).toEqual([
    '15k',
    '0.25',
    '99.5 %',
  ]);
});

test('points land where the axes say', () => {
  const svg = linePlot([{ name: 'a', x: [0, 5, 10], y: [0, 1, 0.5] }], { title: 't', xRange: [0, 10], yRange: [0, 1] });
  expect(dataPath(svg)).toBe('M58 274L297 58L536 166');
  const log = linePlot([{ name: 'a', x: [0, 0.01, 1], y: [0, 1, 0.5] }], {
    title: 't',
    xScale: 'log',
    xRange: [1e-4, 1],
    yRange: [0, 1],
  });
  expect(dataPath(log)).toBe('M58 274L297 58L536 166'); // 0 is drawn at the edge
  tags(svg);
});

test('a long series is thinned but keeps its peaks; values that are not finite break the line', () => {
  const y = Float64Array.from({ length: 200_000 }, (_, i) => Math.sin(i));
  y[123_456] = 40;
  y[50] = Number.NaN;
  const svg = linePlot([{ name: 'a', x: y.map((_, i) => i), y }], { title: 't' });
  expect(svg.length).toBeLessThan(40_000);
  const d = dataPath(svg);
  expect(d.match(/M/g)!.length).toBe(2);
  const ys = [...d.matchAll(/[ML][\d.]+ ([\d.]+)/g)].map((m) => Number(m[1]));
  expect(ys.filter((v) => v < 150).length).toBe(1);
});

test('a moving mean, short at the ends and over gaps', () => {
  expect([...movingMean([1, 2, 3, Number.NaN, 9], 3)]).toEqual([1.5, 2, 2.5, 6, 9]);
});

test('a histogram shows shares of each group', () => {
  const svg = histogramPlot(
    [
      { name: 'a', values: [0, 0, 0, 1] },
      { name: 'b', values: [1] },
    ],
    { title: 't', yRange: [0, 1] },
    2,
  );
  expect(/<path d="([^"]*)" fill="var\(--s1/.exec(svg)![1]).toBe('M58 274V112H297V220H536V274');
  expect(/<path d="([^"]*)" fill="var\(--s2/.exec(svg)![1]).toBe('M58 274V274H297V58H536V274');
  tags(svg);
});

test('empty, single and constant data still draw, and text is escaped', () => {
  for (const [x, y] of [
    [[], []],
    [[3], [2]],
    [
      [1, 2],
      [5, 5],
    ],
    [[1], [Number.NaN]],
    [
      [0, 0],
      [0, 0],
    ],
  ] as [number[], number[]][]) {
    for (const xScale of ['linear', 'log'] as const) {
      const svg = linePlot(
        [
          { name: '<a>', x, y },
          { name: '"&', x, y, smooth: 3 },
        ],
        { title: '<&">', xScale, marks: [{ x: 1, label: '<m>' }] },
      );
      expect(svg).not.toMatch(/NaN|Infinity|<a>|<m>/);
      tags(svg);
    }
    tags(histogramPlot([{ name: 'h', values: y }], { title: 'h' }));
  }
  expect(escapeHtml(`<&>"'`)).toBe('&#60;&#38;&#62;&#34;&#39;');
});

test('many series: legend rows push the plot down, strokes differ, every name stays inside', () => {
  const names = Array.from({ length: 17 }, (_, i) => `series number ${i}`);
  const svg = linePlot(
    names.map((name, i) => ({ name, x: [0, 10], y: [i, i + 1] })),
    { title: 't' },
  );
  tags(svg);
  const high = Number(/viewBox="0 0 560 (\d+)"/.exec(svg)![1]);
  expect(high).toBe(320 + 16 * Math.round((high - 320) / 16));
  expect(high).toBeGreaterThan(320 + 16 * 3);
  expect(svg).toContain(`<g transform="translate(0 ${high - 320})">`);
  const placed = [...svg.matchAll(/<text x="([\d.]+)" y="([\d.]+)"[^>]*>series number (\d+)</g)].map((m) =>
    m.slice(1).map(Number),
  );
  expect(placed.map((p) => p[2])).toEqual(names.map((_, i) => i));
  for (const [x, y, i] of placed as [number, number, number][]) {
    expect(x + names[i]!.length * 5.9).toBeLessThan(560);
    expect(y).toBeLessThan(high - 320 + 45);
  }
  const strokes = [
    ...svg.matchAll(/<path d="M58 [^"]*L[^"]*" stroke="([^"]+)" stroke-linejoin="round"( stroke-dasharray="[^"]+")?/g),
  ];
  expect(strokes.length).toBe(17);
  expect(new Set(strokes.map((m) => `${m[1]}${m[2]}`)).size).toBe(17);
  const [one] = [linePlot([{ name: 'a', x: [0, 1], y: [0, 1] }], { title: 't' })];
  expect(one).not.toMatch(/<g |dasharray/);
});

test('ticks can be given', () => {
  const svg = linePlot([{ name: 'a', x: [0, 180], y: [0, 1] }], { title: 't', xRange: [0, 180], xTicks: [0, 90, 180] });
  expect([...svg.matchAll(/text-anchor="middle">(\d+)</g)].map((m) => m[1])).toEqual(['0', '90', '180']);
});

test('a plot as a file has a namespace and a size', () => {
  const file = svgFile(linePlot([{ name: 'a', x: [0, 1], y: [0, 1] }], { title: 't' }));
  expect(file).toMatch(
    /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="1120" height="640" style="[^"]*" viewBox="0 0 560 320"/,
  );
  tags(file);
});
