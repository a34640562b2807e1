import { expect, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { htmlReport, type Report } from '../../src/evaluate/report.ts';
import { verify } from '../../src/evaluate/verification.ts';
import { syntheticPairs } from './synthetic.ts';

const pixel = 'data:image/png;base64,iVBORw0KGgo=';
const pair = { left: pixel, right: pixel, same: true, score: 0.25, correct: false, caption: '<b>who</b>' };
const full = (): Report => ({
  title: 'Run <7>',
  subtitle: 'a & b',
  facts: { 'batch size': 128, note: '<script>alert(1)</script>', wide: true },
  loss: [
    {
      name: 'training',
      x: Float64Array.from({ length: 900 }, (_, i) => i),
      y: Float64Array.from({ length: 900 }, (_, i) => 9 / (i + 1)),
    },
  ],
  accuracy: [
    { name: 'training', x: [0, 10], y: [0, 0.5] },
    { name: 'synthetic', x: [10], y: [0.7] },
  ],
  verifications: (['insightface', 'cosine'] as const).map((p) => ({
    name: 'synthetic',
    result: verify(syntheticPairs(), p),
  })),
  pairs: [pair, { ...pair, correct: true }],
});

test('the page holds everything itself and says what it was given', () => {
  const html = htmlReport(full());
  expect(html).not.toMatch(/https?:|<script|<link|@import|url\(|<b>who|NaN|undefined/);
  expect([...html.matchAll(/src="([^"]*)"/g)].map((m) => m[1])).toEqual([pixel, pixel, pixel, pixel]);
  expect(html.match(/<svg /g)).toHaveLength(5); // loss, accuracy, ROC, two score histograms
  for (const text of [
    '<h1>Run &#60;7&#62;</h1>',
    '65.82 %',
    '77.64 %',
    '<th>batch size</th><td>128</td>',
    'threshold 0.335',
    'prefers-color-scheme:dark',
  ]) {
    expect(html).toContain(text);
  }
  expect(html.match(/<tr><td>/g)).toHaveLength(22); // ten folds and their mean, twice
  expect(htmlReport(full())).toBe(html);
});

test('sections without data are left out', () => {
  const html = htmlReport({ title: 'empty' });
  expect(html).not.toMatch(/<h2>|<svg|undefined|NaN/);
  expect(htmlReport({ title: 'x', facts: { a: 1 } }).match(/<h2>/g)).toHaveLength(1);
});

test('an image that is no data URI is refused', () => {
  for (const left of [
    'https://example.org/a.jpg',
    'data:text/html;base64,AA==',
    'data:image/png;base64,"onerror="x',
    'a.jpg',
  ]) {
    expect(() => htmlReport({ title: 'x', pairs: [{ ...pair, left }] })).toThrow(UsageError);
  }
});
