/**
 * The images of each person of a set: a counting sort by label into two typed arrays, so that millions of images cost
 * four bytes each.
 */
import { DataError } from '../core/errors.ts';
import type { Dataset } from './dataset.ts';

/**
 * Most people of a set. Sets keep some bytes for every label up to the highest, so a label that is far from all others must not
 * take memory; the largest sets of faces have four million people.
 */
export const mostClasses = 2 ** 24;

/** Person l has images[starts[l]] … images[starts[l + 1] − 1]. */
export interface People {
  readonly starts: Int32Array;
  readonly images: Int32Array;
}

/** All labels of a set. Throws DataError for one that the set has no person for. */
export function labelsOf(set: Dataset): Int32Array {
  const labels = new Int32Array(set.length);
  for (let i = 0; i < labels.length; i++) {
    const label = set.label(i);
    if (!Number.isInteger(label) || label < -1 || label >= set.classes)
      throw new DataError(
        `${set.name}: expected labels below its ${set.classes} people, or −1, got ${label} of image ${i}\nWrite the set again with labels from 0 on.`,
      );
    labels[i] = label;
  }
  return labels;
}

/**
 * Images grouped by label; those labelled −1 are left out.
 * @param order the images to group, which a person's keep the order of; by default all, by number
 */
export function peopleOf(labels: Int32Array, classes: number, order?: Int32Array): People {
  const starts = new Int32Array(classes + 1);
  const count = order ? order.length : labels.length;
  for (let k = 0; k < count; k++) {
    const label = labels[order ? order[k]! : k]!;
    if (label >= 0) starts[label + 1]!++;
  }
  for (let l = 0; l < classes; l++) starts[l + 1]! += starts[l]!;
  const next = starts.slice();
  const images = new Int32Array(starts[classes]!);
  for (let k = 0; k < count; k++) {
    const image = order ? order[k]! : k;
    const label = labels[image]!;
    if (label >= 0) images[next[label]!++] = image;
  }
  return { starts, images };
}

/** Names of people: the folders of their images, where each has one and no two have the same. */
export function folderNames(labels: Int32Array, imageName: (i: number) => string): Map<number, string> | undefined {
  const names = new Map<number, string>();
  for (let i = 0; i < labels.length; i++) {
    if (labels[i]! < 0) continue;
    const folder = imageName(i).split('/').at(-2);
    const known = names.get(labels[i]!);
    if (folder === undefined || (known !== undefined && known !== folder)) return undefined;
    if (known === undefined) names.set(labels[i]!, folder);
  }
  return new Set(names.values()).size === names.size ? names : undefined;
}
