/**
 * The catalogue of face data sets: what each holds, in which packs it circulates, under which licence, where it is published.
 *
 * The one idea: facts as data, each number with the source it was read in; where sources differ, all are there. What is not
 * known is left out. Nothing here downloads anything: a set is fetched by whoever may use it.
 */
import { identificationSets } from './catalogueIdentify.ts';
import { trainingSets } from './catalogueTrain.ts';
import { verificationSets } from './catalogueVerify.ts';

export type Purpose = 'train' | 'verify' | 'identify';

/** How much a set holds. What is not known is absent. */
export interface Counts {
  readonly identities?: number;
  readonly images?: number;
  /** Pairs to verify on, and the folds that they are in. */
  readonly pairs?: number;
  readonly folds?: number;
}

export interface SourcedCounts extends Counts {
  /** Where the numbers were read. */
  readonly source: string;
}

/** A form in which a set circulates. */
export interface Variant extends SourcedCounts {
  readonly name: string;
  /** Files of the pack, by the names they come with. */
  readonly files: readonly string[];
  /** Width and height in pixels, where all pictures have one size. */
  readonly size?: readonly [width: number, height: number];
  /** How the faces are cut out. */
  readonly alignment?: string;
  readonly note?: string;
}

export interface Paper {
  readonly authors: string;
  readonly title: string;
  readonly venue: string;
  readonly year: number;
}

/** A licence in a word, for tables: what it is used for, or that its publisher has withdrawn the set. */
export type LicenceWord = 'research' | 'withdrawn' | 'unstated' | 'free';

export interface CatalogueEntry {
  readonly name: string;
  readonly title: string;
  readonly aliases: readonly string[];
  readonly purpose: readonly Purpose[];
  /** As published. */
  readonly counts?: SourcedCounts;
  /** What other sources say. */
  readonly otherCounts: readonly SourcedCounts[];
  /** Pairs that show one person, where known. */
  readonly same?: number;
  /** How it is evaluated on. */
  readonly protocol?: string;
  readonly variants: readonly Variant[];
  /** How labels and names lie in its files. */
  readonly layout: string;
  readonly licence: { readonly word: LicenceWord; readonly note: string };
  readonly paper?: Paper;
  /** Key to cite it by. */
  readonly cite?: string;
  /** Pages it is, or was, published on. */
  readonly published: readonly string[];
  /** What is known to go wrong, and what to look at after fetching it. */
  readonly traps: readonly string[];
  /** Commands that use it. */
  readonly commands: readonly string[];
}

const synthetic: CatalogueEntry = {
  name: 'synthetic',
  title: 'synthetic people',
  aliases: ['synthetic-people', 'demo'],
  purpose: ['train', 'verify'],
  otherCounts: [],
  variants: [],
  layout:
    'Drawn while training, at any size; nothing lies on disk. Person and picture are numbers, so the same command draws the same pixels on every machine. People to evaluate on are never trained on.',
  licence: { word: 'free', note: 'Part of facegrad (MIT). No photograph and no person is behind them.' },
  published: ['facegrad itself'],
  traps: ['They show that training works, not how well a network recognises people.'],
  commands: ['facegrad train demo --out runs/demo', 'facegrad train --identities 100 --imagesPerIdentity 20 --out RUN'],
};

/** All sets: to train on, to verify and identify on, and facegrad's own. Sorted for people, not by name. */
export const catalogue: readonly CatalogueEntry[] = [
  ...trainingSets,
  ...verificationSets,
  ...identificationSets,
  synthetic,
];

const plain = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');

/** The set of a name or alias; case, dashes and underscores do not matter. */
export const catalogueEntry = (name: string): CatalogueEntry | undefined =>
  catalogue.find((e) => [e.name, ...e.aliases].some((n) => plain(n) === plain(name)));

/** The forms of a set that its files can be compared with: variants and what is published, where their counts are known. */
export function formsOf(entry: CatalogueEntry): readonly Variant[] {
  const { counts, otherCounts, variants } = entry;
  const published = counts ? [{ name: 'as published', files: [], ...counts }] : [];
  const others = otherCounts.map((c) => ({ name: `as counted by ${c.source}`, files: [], ...c }));
  const known = (v: Variant) => v.identities !== undefined || v.images !== undefined || v.pairs !== undefined;
  return [...variants, ...published, ...others].filter(known);
}
