/** The catalogue's sets to verify and identify on. What the fields mean is in catalogue.ts. */
import type { CatalogueEntry, Paper, Variant } from './catalogue.ts';

const zoo = 'https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_';
const zooReadme = "InsightFace's data set page (recognition/_datasets_)";
const evolve = 'data zoo of face.evoLVe (README)';
const hub = 'face-verification on the Hugging Face hub, which counts the pairs of the .bin';
const arcfaceCrop = '112x112 RGB, five points on the ArcFace template';

/** A verification set of InsightFace: two images a pair, without names. */
const binOf = (file: string, pairs: number, source: string): Variant => ({
  name: `${file} (InsightFace)`,
  files: [file],
  images: 2 * pairs,
  pairs,
  folds: 10,
  size: [112, 112],
  alignment: arcfaceCrop,
  source,
  note: 'Lies in the packs of InsightFace, such as faces_emore. An image stands as often as pairs have it, without its name.',
});

const binLayout =
  'A .bin is a pickle of (images, same): pair k is images 2k and 2k + 1. facegrad reads it without running it.';
const evaluateBin = (file: string): string[] => [
  `facegrad eval --weights W.safetensors --pairs ${file}`,
  `facegrad train mobilefacenet-arcface --data DATA --evalPairs ${file} --out RUN`,
];
const tenFolds = (pairs: number): string =>
  `Ten folds of ${pairs / 10} pairs; the threshold of a fold is chosen on the nine others.`;

const cfpPaper: Paper = {
  authors: 'Soumyadip Sengupta, Jun-Cheng Chen, Carlos Castillo, Vishal M. Patel, Rama Chellappa, David W. Jacobs',
  title: 'Frontal to Profile Face Verification in the Wild',
  venue: 'WACV',
  year: 2016,
};

/** The two protocols of one set. */
const cfp = (kind: 'FP' | 'FF', means: string): CatalogueEntry => {
  const file = `cfp_${kind.toLowerCase()}.bin`;
  return {
    name: `cfp-${kind.toLowerCase()}`,
    title: `CFP-${kind}`,
    aliases: kind === 'FP' ? ['cfp'] : [],
    purpose: ['verify'],
    counts: { identities: 500, images: 7000, pairs: 7000, folds: 10, source: 'Sengupta et al. 2016' },
    otherCounts: [],
    same: 3500,
    protocol: `${means}. ${tenFolds(7000)}`,
    variants: [binOf(file, 7000, hub)],
    layout: `The original: Images/001/frontal/01.jpg to 10.jpg and profile/01.jpg to 04.jpg; pairs are numbers in Protocol/. ${binLayout}`,
    licence: { word: 'research', note: 'Collected from the web for research; its page states the terms.' },
    paper: cfpPaper,
    cite: 'sengupta2016cfp',
    published: ['http://www.cfpw.io', zoo],
    traps: [
      'FP and FF are two protocols over the same 7,000 images: say which a number is of.',
      "A person's folder holds frontal/ and profile/: read as a folder per person it is 500 people only if both are merged.",
    ],
    commands: evaluateBin(file),
  };
};

export const verificationSets: readonly CatalogueEntry[] = [
  {
    name: 'lfw',
    title: 'LFW (Labeled Faces in the Wild)',
    aliases: ['labeled-faces-in-the-wild'],
    purpose: ['verify'],
    counts: {
      identities: 5749,
      images: 13_233,
      pairs: 6000,
      folds: 10,
      source: 'Huang et al. 2007 and its page (pairs.txt: 10 folds of 300 same and 300 different)',
    },
    otherCounts: [],
    same: 3000,
    protocol: `${tenFolds(6000)} Folds share no person.`,
    variants: [
      binOf('lfw.bin', 6000, hub),
      {
        name: 'lfw, lfw-funneled, lfw-deepfunneled',
        files: ['lfw.tgz', 'lfw-funneled.tgz', 'lfw-deepfunneled.tgz', 'pairs.txt'],
        identities: 5749,
        images: 13_233,
        size: [250, 250],
        alignment: '250x250, centred by a face detector; funneled ones are aligned',
        source: 'its page',
        note: 'pairs.txt is a file of its own: put it into the folder, or name it with --pairs.',
      },
      {
        name: 'Align_112x112',
        files: [],
        identities: 5749,
        images: 13_233,
        size: [112, 112],
        alignment: '112x112, five points',
        source: evolve,
      },
      {
        name: 'lfw-112X96',
        files: [],
        identities: 5749,
        images: 13_233,
        size: [96, 112],
        alignment: '96x112 (width 96), five points, as SphereFace has it',
        source: 'yule-li/CosFace (README)',
      },
    ],
    layout: `Name/Name_0001.jpg. pairs.txt: \`name i j\` for one person, \`name1 i name2 j\` for two. ${binLayout}`,
    licence: {
      word: 'research',
      note: 'Published for research. Its page warns against conclusions about commercial systems, and says which groups of people it has few of.',
    },
    paper: {
      authors: 'Gary B. Huang, Manu Ramesh, Tamara Berg, Erik Learned-Miller',
      title: 'Labeled Faces in the Wild: A Database for Studying Face Recognition in Unconstrained Environments',
      venue: 'University of Massachusetts, Amherst, Technical Report 07-49',
      year: 2007,
    },
    cite: 'huang2007lfw',
    published: ['http://vis-www.cs.umass.edu/lfw/', zoo],
    traps: [
      'Its page lists pictures with wrong names; the protocol keeps them, so that numbers stay comparable.',
      'Networks are saturated on it (over 99.8 %): differences of a pair or two say nothing. A part of its folds is not its ten-fold number.',
      'Training sets share people with it; see the notes of the set that was trained on.',
    ],
    commands: ['facegrad eval --weights W.safetensors --images lfw112/ --pairs pairs.txt', ...evaluateBin('lfw.bin')],
  },
  {
    name: 'calfw',
    title: 'CALFW (Cross-Age LFW)',
    aliases: ['cross-age-lfw'],
    purpose: ['verify'],
    counts: { identities: 4025, images: 12_174, pairs: 6000, folds: 10, source: `${evolve}; pairs: Zheng et al. 2017` },
    otherCounts: [],
    same: 3000,
    protocol: `People of LFW at other ages; different people of the same gender and race. ${tenFolds(6000)}`,
    variants: [binOf('calfw.bin', 6000, hub)],
    layout: `Pictures Name_0001.jpg in one folder, pairs_CALFW.txt. ${binLayout}`,
    licence: { word: 'research', note: 'Published for research (its page).' },
    paper: {
      authors: 'Tianyue Zheng, Weihong Deng, Jiani Hu',
      title: 'Cross-Age LFW: A Database for Studying Cross-Age Face Recognition in Unconstrained Environments',
      venue: 'arXiv:1708.08197',
      year: 2017,
    },
    cite: 'zheng2017calfw',
    published: ['http://whdeng.cn/CALFW/index.html', zoo],
    traps: [
      `${zooReadme} gives the people and images of LFW for it (5,749 and 13,233).`,
      'The lists of pairs were replaced on 19 September 2018 (its page): numbers with older lists do not compare.',
    ],
    commands: evaluateBin('calfw.bin'),
  },
  {
    name: 'cplfw',
    title: 'CPLFW (Cross-Pose LFW)',
    aliases: ['cross-pose-lfw'],
    purpose: ['verify'],
    counts: { identities: 3884, images: 11_652, pairs: 6000, folds: 10, source: evolve },
    otherCounts: [
      {
        identities: 3929,
        images: 11_648,
        pairs: 6000,
        folds: 10,
        source: 'marcelohaps/cplfw on the Hugging Face hub, by file names; four misnamed files left out',
      },
    ],
    same: 3000,
    protocol: `People of LFW in other poses. ${tenFolds(6000)}`,
    variants: [binOf('cplfw.bin', 6000, hub)],
    layout: `Pictures Name_1.jpg in one folder, pairs_CPLFW.txt. ${binLayout}`,
    licence: { word: 'research', note: 'Published for research (its page).' },
    paper: {
      authors: 'Tianyue Zheng, Weihong Deng',
      title: 'Cross-Pose LFW: A Database for Studying Cross-Pose Face Recognition in Unconstrained Environments',
      venue: 'Beijing University of Posts and Telecommunications, Technical Report',
      year: 2018,
    },
    cite: 'zheng2018cplfw',
    published: ['http://www.whdeng.cn/CPLFW/', zoo],
    traps: [
      `${zooReadme} gives the people and images of LFW for it (5,749 and 13,233).`,
      'Four files are misnamed (Landon_Donovan_3jpg.jpg, Leni_Bjorklund-2.jpg, Leni_Bjorklund-3.jpg, Mike_Montgomery_3.jip.jpg); no pair has them.',
    ],
    commands: evaluateBin('cplfw.bin'),
  },
  {
    name: 'agedb-30',
    title: 'AgeDB-30',
    aliases: ['agedb', 'agedb_30'],
    purpose: ['verify'],
    counts: { identities: 568, images: 16_488, source: 'Moschoglou et al. 2017 (all of AgeDB)' },
    otherCounts: [
      { identities: 570, images: 12_240, pairs: 6000, source: zooReadme },
      { identities: 570, images: 16_488, source: evolve },
    ],
    same: 3000,
    protocol: `The protocol with 30 years between the two pictures of a person. ${tenFolds(6000)}`,
    variants: [binOf('agedb_30.bin', 6000, hub)],
    layout: `Pictures NUMBER_Name_AGE_GENDER.jpg in one folder; pairs in 04_FINAL_protocol_30_years.mat. ${binLayout}`,
    licence: { word: 'research', note: 'Non-commercial research; the password is asked for by mail (its page).' },
    paper: {
      authors:
        'Stylianos Moschoglou, Athanasios Papaioannou, Christos Sagonas, Jiankang Deng, Irene Kotsia, Stefanos Zafeiriou',
      title: 'AgeDB: the first manually collected, in-the-wild age database',
      venue: 'CVPR Workshops',
      year: 2017,
    },
    cite: 'moschoglou2017agedb',
    published: ['https://ibug.doc.ic.ac.uk/resources/agedb/', zoo],
    traps: [
      'The archive of its page may come without the protocol files (JDAI-CV/FaceX-Zoo, issue 49); the .bin holds the pairs.',
    ],
    commands: evaluateBin('agedb_30.bin'),
  },
  cfp('FP', 'A frontal picture with a profile'),
  cfp('FF', 'Two frontal pictures'),
  {
    name: 'vgg2-fp',
    title: 'VGGFace2-FP',
    aliases: ['vgg2_fp', 'vggface2-fp'],
    purpose: ['verify'],
    counts: { pairs: 5000, folds: 10, source: 'vgg2_fp.bin as its users report it' },
    otherCounts: [],
    protocol: `Frontal pictures with profiles, of VGGFace2. ${tenFolds(5000)}`,
    variants: [binOf('vgg2_fp.bin', 5000, 'vgg2_fp.bin as its users report it')],
    layout: binLayout,
    licence: { word: 'withdrawn', note: 'Pictures of VGGFace2, whose page was taken down at the end of 2020.' },
    cite: 'cao2018vggface2',
    published: [zoo],
    traps: [
      'How its pairs were chosen is not published (TreB1eN/InsightFace_Pytorch, issue 133, unanswered).',
      'Whether its people are all of the test part of VGGFace2 is not known: a network trained on VGGFace2 may have seen them.',
    ],
    commands: evaluateBin('vgg2_fp.bin'),
  },
];
