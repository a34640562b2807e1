/** The part of cli-progress that the progress bar uses; the package brings no types. */
declare module 'cli-progress' {
  export interface Options {
    readonly format?: string;
    readonly clearOnComplete?: boolean;
    readonly hideCursor?: boolean;
    readonly barsize?: number;
    readonly stream?: NodeJS.WritableStream;
  }
  export class SingleBar {
    constructor(options: Options, preset?: object);
    start(total: number, value: number, payload?: object): void;
    update(value: number, payload?: object): void;
    stop(): void;
  }
  export const Presets: { readonly shades_classic: object };
}
