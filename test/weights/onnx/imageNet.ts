/** How foamliu's networks take images: torchvision's normalisation. */
import type { Preprocessing } from '../../../src/models/network.ts';

const means = [0.485, 0.456, 0.406] as const;
const deviations = [0.229, 0.224, 0.225] as const;

export const imageNet: Preprocessing = {
  colourOrder: 'RGB',
  mean: means.map((m) => 255 * m) as unknown as readonly [number, number, number],
  scale: deviations.map((d) => 1 / (255 * d)) as unknown as readonly [number, number, number],
  inputSize: [112, 112],
};
