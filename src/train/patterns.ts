/**
 * Which parameters a rule is for: patterns over their dotted names, and kinds that every network has.
 *
 * A pattern is a name in which `*` stands for anything, or a kind: @backbone (the network), @head (the loss and its terms),
 * @norm (batch norm), @prelu, @bias, @conv, @depthwise, @dense (linear layers).
 */
import { UsageError } from '../core/errors.ts';
import { nearest } from '../core/options.ts';
import { BatchNorm, Conv2d, Linear, PReLU } from '../nn/layers.ts';
import { type Module, modulesOf, Parameter } from '../nn/module.ts';

interface Place {
  readonly parameter: Parameter;
  /** The module that it is a property of. */
  readonly owner: Module;
  readonly backbone: boolean;
}

const kinds: Readonly<Record<string, (p: Place) => boolean>> = {
  '@backbone': (p) => p.backbone,
  '@head': (p) => !p.backbone,
  '@norm': (p) => p.owner instanceof BatchNorm,
  '@prelu': (p) => p.owner instanceof PReLU,
  '@bias': (p) => /(^|\.)bias$/.test(p.parameter.name) && !(p.owner instanceof BatchNorm),
  '@conv': (p) => p.owner instanceof Conv2d && p.parameter.name.endsWith('.weight'),
  '@depthwise': (p) => p.owner instanceof Conv2d && p.parameter.shape[2] === 1 && p.parameter.shape[3]! > 1,
  '@dense': (p) => p.owner instanceof Linear,
};

export const patternHelp = `a name with * for anything, or ${Object.keys(kinds).join(', ')}`;

const matches = (pattern: string, place: Place): boolean => {
  const kind = Object.hasOwn(kinds, pattern) ? kinds[pattern] : undefined;
  if (kind) return kind(place);
  const escaped = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('.*')}$`).test(place.parameter.name);
};

export class ParameterSet {
  private readonly places: readonly Place[];
  /** @param losses the head, the terms and whatever else has parameters and is no part of the network */
  constructor(network: Module, losses: readonly Module[]) {
    const placesOf = (root: Module, backbone: boolean): Place[] =>
      modulesOf(root).flatMap((owner) =>
        Object.values(owner)
          .filter((v): v is Parameter => v instanceof Parameter)
          .map((parameter) => ({ parameter, owner, backbone })),
      );
    this.places = [...placesOf(network, true), ...losses.flatMap((l) => placesOf(l, false))];
  }

  /** Parameters that one of the patterns fits. Throws UsageError, in the name of `key`, for a name that fits none. */
  select(key: string, patterns: readonly string[]): ReadonlySet<Parameter> {
    const found = new Set<Parameter>();
    for (const pattern of patterns) {
      const fitting = this.places.filter((p) => matches(pattern, p));
      // A kind need not be in every network.
      if (fitting.length === 0 && !kinds[pattern]) this.refuse(key, pattern);
      for (const p of fitting) found.add(p.parameter);
    }
    if (patterns.length > 0 && found.size === 0) this.refuse(key, patterns.join(','));
    return found;
  }

  /**
   * The factor of each parameter: that of the last pattern that fits, 1 where none does.
   * @param strict throws UsageError for a name that fits none; one set of rules may else be for several networks
   */
  factors(key: string, rules: Readonly<Record<string, number>>, strict = false): (p: Parameter) => number {
    const factors = new Map<Parameter, number>();
    for (const [pattern, factor] of Object.entries(rules)) {
      const fitting = this.places.filter((p) => matches(pattern, p));
      if (pattern.startsWith('@') ? !Object.hasOwn(kinds, pattern) : strict && fitting.length === 0)
        this.refuse(key, pattern);
      for (const { parameter } of fitting) factors.set(parameter, factor);
    }
    return (p) => factors.get(p) ?? 1;
  }

  private refuse(key: string, pattern: string): never {
    const known = pattern.startsWith('@') ? Object.keys(kinds) : this.places.map((p) => p.parameter.name);
    throw new UsageError(
      `${key}: expected a pattern that fits a parameter, got '${pattern}'\nIt may be ${patternHelp}. The nearest is '${nearest(pattern, known)}'.`,
    );
  }
}
