/** Options as data: what they take, defaults, texts, and what errors say. */
import { describe, expect, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import {
  entryOf,
  flag,
  imageSize,
  nearest,
  number,
  numbers,
  oneOf,
  optional,
  readOption,
  resolveOptions,
  whole,
} from '../../src/core/options.ts';

const specs = {
  s: number({ above: 0 }, 64, 'scale of the logits'),
  n: whole({ from: 1, to: 4 }, 2, 'number of slices'),
  easy: flag(false, 'switch'),
  mode: oneOf(['hard', 'soft'], 'hard', 'kind'),
  at: numbers({ from: 0, to: 1 }, [0.5], 'shares'),
  size: imageSize(16, [112, 112]),
  rate: optional(number({ from: 0, below: 1 }, 0.4, 'share')),
};

describe('resolveOptions', () => {
  test('fills in defaults, keeps what is given, leaves out what neither says', () => {
    expect(resolveOptions('x', specs, { s: 30 })).toEqual({
      s: 30,
      n: 2,
      easy: false,
      mode: 'hard',
      at: [0.5],
      size: [112, 112],
    });
    expect(resolveOptions('x', specs, { rate: 0 }).rate).toBe(0);
  });
  test.each([
    [{ s: 0 }, /^x: s expected a number above 0, got 0\nIt is the scale of the logits; the default is 64\.$/],
    [{ s: '3' }, /got "3"/],
    [{ s: Number.NaN }, /s expected a number above 0/],
    [{ n: 1.5 }, /n expected a whole number from 1 to 4, got 1\.5/],
    [{ n: 5 }, /n expected/],
    [{ easy: 1 }, /easy expected true or false/],
    [{ mode: 'Hard' }, /mode expected hard or soft, got "Hard"/],
    [{ at: [0.5, 2] }, /at expected numbers from 0 to 1, separated by commas/],
    [{ size: [100, 112] }, /size expected HEIGHTxWIDTH in multiples of 16/],
    [{ size: [112] }, /size expected/],
    [{ rate: 1 }, /rate expected a number .*below 1, got 1/],
    [{ scale: 3 }, /^x: expected options among s, n, .*, got 'scale'\nDid you mean '/],
  ])('%j is refused', (given, message) => {
    expect(() => resolveOptions('x', specs, given)).toThrow(message);
    expect(() => resolveOptions('x', specs, given)).toThrow(UsageError);
  });
  test('without options, any is one too many', () => {
    expect(() => resolveOptions('x', {}, { a: 1 })).toThrow(/^x: expected no options, got 'a'/);
  });
});

test('text is read as what the option takes', () => {
  expect(readOption(specs.s, '3e1')).toBe(30);
  expect(readOption(specs.easy, 'true')).toBe(true);
  expect(readOption(specs.at, '0.25,0.5')).toEqual([0.25, 0.5]);
  expect(readOption(specs.size, '112x96')).toEqual([112, 96]);
  expect(readOption(specs.mode, 'soft')).toBe('soft');
  expect(readOption(specs.s, 'big')).toBe('big'); // refused afterwards, with the text
});

test('the nearest name: one that the word begins, or the fewest edits', () => {
  const names = ['mobilefacenet-arcface', 'mobilefacenet-tf-sgd', 'demo'];
  expect(nearest('mobilefacenet', names)).toBe('mobilefacenet-arcface');
  expect(nearest('mobilfacenet-tf-sgd', names)).toBe('mobilefacenet-tf-sgd');
  expect(nearest('dmeo', names)).toBe('demo');
  const entries = names.map((name) => ({ name }));
  expect(entryOf('recipe', entries, 'DEMO')).toBe(entries[2]);
  expect(() => entryOf('recipe', entries, 'dem')).toThrow(
    /^recipe: expected one of .*, got 'dem'\nDid you mean 'demo'\?/,
  );
});
