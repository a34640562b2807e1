/** Attributes of a 2-D convolution over NHWC. */
export interface ConvAttrs {
  /** [down, right], at least 1. */
  readonly stride: readonly [number, number];
  /** Zeros around the input: [top, bottom, left, right]. */
  readonly padding: readonly [number, number, number, number];
  /** Distance between taps: [down, right], at least 1. */
  readonly dilation: readonly [number, number];
  readonly groups: number;
}
