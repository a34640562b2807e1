/** The operators of the ONNX standard that are read, in one table. */
import { arithmeticOperators } from './arithmetic.ts';
import { layerOperators } from './layers.ts';
import type { OnnxOperator } from './node.ts';
import { resizeOperators } from './resize.ts';
import { shapeOperators } from './shapes.ts';

const inOrder = [...layerOperators, ...resizeOperators, ...arithmeticOperators, ...shapeOperators].toSorted((a, b) =>
  a.name < b.name ? -1 : 1,
);

/** Every operator by name, in alphabetical order. */
export const onnxOperators: ReadonlyMap<string, OnnxOperator> = new Map(inOrder.map((o) => [o.name, o]));
