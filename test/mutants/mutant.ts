/** What a mutant is: one change of a source, and the test that must notice it. */

/** What is changed: a number, an end of a loop or range, or which element is meant. */
export type Kind = 'constant' | 'bound' | 'index';

export interface Mutant {
  readonly family: string;
  readonly kind: Kind;
  /** From the root of the repository. */
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly from: string;
  readonly to: string;
  /** The test file that must fail. */
  readonly test: string;
  /** A regular expression: the tests of that file that run. Absent: all. */
  readonly only?: string;
}

export type Change = readonly [kind: Kind, from: string, to: string];

export const of = (family: string, file: string, test: string, changes: readonly Change[], only?: string): Mutant[] =>
  changes.map(([kind, from, to]) => ({ family, kind, file, from, to, test, ...(only === undefined ? {} : { only }) }));
