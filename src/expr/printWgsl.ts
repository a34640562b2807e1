/**
 * Expressions as WGSL, in f32.
 *
 * The one idea: a value that is read twice becomes a `let`, the rest nests. WGSL has no infinity or NaN literals and lets
 * an implementation assume there are none, so infinite constants become the largest finite number, and functions whose
 * built-in misbehaves at the edges (pow, tanh, sigmoid) are spelled so that they stay finite.
 */
import { UsageError } from '../core/errors.ts';
import { type BinaryOp, type Expr, linearise, type Step, typeOf } from './nodes.ts';

const maxFinite = 3.4028234663852886e38;

/** The shortest WGSL f32 literal that rounds to the same number. */
export function wgslNumber(value: number): string {
  if (Number.isNaN(value)) {
    throw new UsageError('printWgsl: WGSL has no NaN literal\nKeep NaN out of constants; select a finite number.');
  }
  const x = Math.fround(Math.min(maxFinite, Math.max(-maxFinite, value)));
  if (Object.is(x, -0)) return '-0.0f';
  // No shorter decimal is inside the range of f32, as WGSL wants it.
  if (Math.abs(x) > 3.4028233e38) return `${x < 0 ? '-' : ''}0x1.fffffep+127f`;
  let text = String(x);
  for (let digits = 1; digits <= 9; digits++) {
    const short = String(Number(x.toPrecision(digits)));
    if (Math.fround(Number(short)) === x) {
      text = short;
      break;
    }
  }
  return `${/[.e]/.test(text) ? text : `${text}.0`}f`;
}

const infix: Partial<Record<BinaryOp, string>> = {
  add: '+',
  sub: '-',
  mul: '*',
  div: '/',
  lt: '<',
  le: '<=',
  gt: '>',
  ge: '>=',
  eq: '==',
  ne: '!=',
  and: '&&',
  or: '||',
};

/** WGSL's pow wants a base of at least 0; the sign of a negative base with an odd exponent is put back. */
function printPow(x: string, y: string, exponent: Expr): string {
  if (exponent.kind === 'const') {
    const n = exponent.value;
    if (n === 0) return '1.0f';
    const power = `pow(abs(${x}), ${y})`;
    if (!Number.isInteger(n)) return `pow(${x}, ${y})`;
    return n % 2 === 0 ? power : `(${power} * sign(${x}))`;
  }
  const odd = `(${x} < 0.0f && fract(${y} * 0.5f) == 0.5f)`;
  const power = `pow(abs(${x}), ${y})`;
  return `select(select(${power}, -${power}, ${odd}), 1.0f, ${y} == 0.0f)`;
}

/**
 * Several expressions as WGSL statements and values.
 *
 * `names[i]` is the text of operand i (f32, or bool for truth values); it may appear several times, so give an identifier
 * or a cheap load. `lets` holds the statements, one a line; `values` one text per expression.
 */
export function printWgslLets(
  exprs: readonly Expr[],
  names: readonly string[],
  prefix = 't',
): { lets: string; values: string[] } {
  const { steps, roots } = linearise(exprs);
  const lets: string[] = [];
  const texts: string[] = [];
  // pow prints its operands several times.
  const repeated = new Set(
    steps.flatMap(({ node, args }) => (node.kind === 'binary' && node.op === 'pow' ? args : [])),
  );
  const print = ({ node, args }: Step): string => {
    const [a = '', b = '', c = ''] = args.map((i) => texts[i]!);
    switch (node.kind) {
      case 'const':
        return wgslNumber(node.value);
      case 'input': {
        const name = names[node.index];
        if (name === undefined) {
          throw new UsageError(
            `printWgsl: expression reads operand ${node.index}, but ${names.length} names are given\nGive one name per operand.`,
          );
        }
        return name;
      }
      case 'where':
        return `select(${c}, ${b}, ${a})`;
      case 'unary':
        switch (node.op) {
          case 'neg':
            return `(-${a})`;
          case 'not':
            return `(!${a})`;
          case 'toNumber':
            return `select(0.0f, 1.0f, ${a})`;
          case 'sigmoid':
            return `(1.0f / (1.0f + exp(-max(${a}, -88.0f))))`;
          case 'tanh':
            return `tanh(clamp(${a}, -10.0f, 10.0f))`;
          default:
            return `${node.op}(${a})`;
        }
      case 'binary': {
        if (node.op === 'pow') return printPow(a, b, node.b);
        const op = infix[node.op];
        return op ? `(${a} ${op} ${b})` : `${node.op}(${a}, ${b})`;
      }
    }
  };
  steps.forEach((step, i) => {
    const text = print(step);
    const leaf = step.node.kind === 'const' || step.node.kind === 'input';
    if (leaf || (step.uses < 2 && !repeated.has(i))) {
      texts.push(text);
      return;
    }
    const name = `${prefix}${lets.length}`;
    lets.push(`let ${name} = ${text};`);
    texts.push(name);
  });
  return { lets: lets.join('\n'), values: roots.map((r) => texts[r]!) };
}

/**
 * The body of a WGSL function that returns the expression: `let`s for shared values, then `return …;`.
 * `names[i]` is the text of operand i. Its type is f32, or bool for a truth value (`wgslType`).
 */
export function printWgsl(expr: Expr, names: readonly string[]): string {
  const { lets, values } = printWgslLets([expr], names);
  return `${lets}${lets && '\n'}return ${values[0]};`;
}

export const wgslType = (expr: Expr): 'f32' | 'bool' => (typeOf(expr) === 'bool' ? 'bool' : 'f32');
