/** The log of a run: its columns, what a resumed run keeps of it, cut lines, and logs of earlier versions. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import { type LogRow, RunLog } from '../../src/train/logFile.ts';

let out: string;
beforeEach(() => {
  out = mkdtempSync(join(tmpdir(), 'facegrad-log-'));
});
afterEach(() => rmSync(out, { recursive: true, force: true }));
const text = () => readFileSync(join(out, 'curve.csv'), 'utf8');

const full: LogRow = {
  step: 1,
  epoch: 0,
  loss: 0.1 + 0.2,
  accuracy: 0.25,
  marginAccuracy: 0.125,
  lr: 1e-7,
  gradNorm: 1e21,
  imagesPerSecond: 123.456,
  waitShare: 0,
  seconds: 2.5,
  validation: { lfw: 0.9, cfp: 1 },
};
const rows: LogRow[] = [
  full,
  { step: 2, loss: Number.NaN, gradNorm: Number.POSITIVE_INFINITY },
  { step: 3, validation: { cfp: 0.5 } },
  { step: 4, loss: 4 },
];

it('is a CSV file with a column for each number and each validation set', async () => {
  const log = await RunLog.open(out, 0, ['lfw', 'cfp']);
  expect(log.rows).toEqual([]);
  for (const row of rows) log.add(row);
  expect(log.rows).toEqual(rows);
  expect(text()).toBe(
    [
      'step,epoch,loss,accuracy,marginAccuracy,lr,gradNorm,imagesPerSecond,waitShare,seconds,accuracy/lfw,accuracy/cfp',
      '1,0,0.30000000000000004,0.25,0.125,1e-7,1e+21,123.456,0,2.5,0.9,1',
      '2,,NaN,,,,Infinity,,,,,',
      '3,,,,,,,,,,,0.5',
      '4,,4,,,,,,,,,',
      '',
    ].join('\n'),
  );
});

it('keeps of a resumed run’s log the rows up to its step, to the last bit', async () => {
  const before = await RunLog.open(out, 0, ['lfw', 'cfp']);
  for (const row of rows) before.add(row);
  const whole = text();
  const log = await RunLog.open(out, 3, ['lfw', 'cfp']);
  expect(log.rows).toEqual(rows.slice(0, 3));
  log.add(rows[3]!);
  expect(log.rows).toEqual(rows);
  expect(text()).toBe(whole);
  expect((await RunLog.open(out, 0, ['lfw'])).rows).toEqual([]);
  expect(text().split('\n')).toHaveLength(2);
});

it('leaves out a line that a kill cut, wherever it was cut', async () => {
  const before = await RunLog.open(out, 0, ['lfw', 'cfp']);
  before.add(rows[0]!);
  const one = text();
  before.add(rows[3]!);
  const two = text();
  for (let end = 0; end < two.length; end++) {
    writeFileSync(join(out, 'curve.csv'), two.slice(0, end));
    const log = await RunLog.open(out, 9, ['lfw', 'cfp']);
    expect(log.rows, `cut at ${end}`).toEqual(end < one.length ? [] : [rows[0]]);
  }
});

it('leaves out lines that are damaged', async () => {
  const before = await RunLog.open(out, 0);
  before.add({ step: 1, loss: 1 });
  appendFileSync(join(out, 'curve.csv'), ['2,3', 'x,,,,,,,,,', ',,,,,,,,,', ''].join('\n'));
  const log = await RunLog.open(out, 9);
  expect(log.rows).toEqual([{ step: 1, loss: 1 }]);
});

it('keeps the columns of sets that are no longer evaluated, before those of new ones', async () => {
  const before = await RunLog.open(out, 0, ['lfw', 'cfp']);
  before.add(full);
  const log = await RunLog.open(out, 1, ['cfp', 'agedb']);
  expect(log.validationNames).toEqual(['lfw', 'cfp', 'agedb']);
  log.add({ step: 2, validation: { agedb: 0.75 } });
  expect(text().split('\n')[0]).toMatch(/,seconds,accuracy\/lfw,accuracy\/cfp,accuracy\/agedb$/);
  expect((await RunLog.open(out, 2)).rows).toEqual([full, { step: 2, validation: { agedb: 0.75 } }]);
});

it('opens the log of an earlier version, whose accuracy was that of its one validation set', async () => {
  const old = 'step,loss,lr,accuracy\n10,1.5,0.1,\n20,1.25,0.1,0.9\n30,,,0.95\n40,1';
  writeFileSync(join(out, 'curve.csv'), old);
  const log = await RunLog.open(out, 30, ['lfw', 'cfp']);
  expect(log.rows).toEqual([
    { step: 10, loss: 1.5, lr: 0.1 },
    { step: 20, loss: 1.25, lr: 0.1, validation: { lfw: 0.9 } },
    { step: 30, validation: { lfw: 0.95 } },
  ]);
  expect((await RunLog.open(out, 20, ['lfw', 'cfp'])).rows).toEqual(log.rows.slice(0, 2));
  // Without a validation set there is no place for it.
  writeFileSync(join(out, 'curve.csv'), old);
  expect((await RunLog.open(out, 20)).rows[1]).toEqual({ step: 20, loss: 1.25, lr: 0.1 });
});

it('takes sets of any name of one line, also those of other columns and of objects’ own', async () => {
  const names = ['loss', 'a,b', 'say "hi"', '', 'ü /x', '__proto__', '"'];
  const validation = Object.fromEntries(names.map((n, i) => [n, i]));
  const before = await RunLog.open(out, 0, names);
  before.add({ step: 1, loss: 7, validation });
  const log = await RunLog.open(out, 1, names);
  expect(log.validationNames).toEqual(names);
  expect(log.rows).toEqual([{ step: 1, loss: 7, validation }]);
});

it('refuses what makes no log', async () => {
  await expect(RunLog.open(out, 0, ['a', 'a'])).rejects.toThrow(UsageError);
  await expect(RunLog.open(out, 0, ['a\nb'])).rejects.toThrow(UsageError);
  await expect(RunLog.open(join(out, 'none'), 0)).rejects.toThrow(DataError);
  const log = await RunLog.open(out, 0, ['a']);
  expect(() => log.add({ step: 1, validation: { b: 1 } })).toThrow(UsageError);
  expect(log.rows).toEqual([]);
  rmSync(out, { recursive: true });
  expect(() => log.add({ step: 1 })).toThrow(DataError);
});
