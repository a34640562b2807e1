import { describe, expect, it } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import { printable, printableLines } from '../../src/core/printable.ts';
import { sourceName } from '../../src/data/dataset.ts';

describe('text from files', () => {
  it('shows what a terminal would obey, and what hides or turns round other text', () => {
    expect(printable('a\x1b[2Jb\u009bc\r\n\0\u202egpj.exe\u2066\u2028\ud800')).toBe(
      'a\\u001b[2Jb\\u009bc\\u000d\\u000a\\u0000\\u202egpj.exe\\u2066\\u2028\\ud800',
    );
    expect(printable('Ünï ☃ 😀 名前 ../x')).toBe('Ünï ☃ 😀 名前 ../x');
  });
  it('is the same when it is made printable twice', () => {
    const once = printable('\x1b\u202e');
    expect(printable(once)).toBe(once);
  });
  it('keeps lines and tabs of a message', () => {
    expect(printableLines('a\tb\nc\r\x07')).toBe('a\tb\nc\\u000d\\u0007');
  });
  it('is made so in every error, and in one line where an image is named', () => {
    expect(new DataError('x\x1b[31m: wrong\nDo this.').message).toBe('x\\u001b[31m: wrong\nDo this.');
    expect(new UsageError('x\u202e').message).toBe('x\\u202e');
    expect([new DataError('x').name, new DataError('x') instanceof Error]).toEqual(['DataError', true]);
    expect(sourceName({ kind: 'file', path: 'a\nall is well\x1b' })).toBe('a\\u000aall is well\\u001b');
  });
});
