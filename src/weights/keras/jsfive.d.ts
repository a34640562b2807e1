/** The part of jsfive that Keras' files need; the package brings no types. What a damaged file holds may be of any type. */
declare module 'jsfive' {
  export class Group {
    readonly attrs: Readonly<Record<string, unknown>>;
    readonly keys: readonly string[];
    get(path: string): unknown;
  }
  export class Dataset {
    readonly shape: readonly number[];
    readonly dtype: unknown;
    readonly value: unknown;
  }
  export class File extends Group {
    constructor(bytes: ArrayBuffer, name?: string);
  }
}
