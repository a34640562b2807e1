/** The catalogue's sets to identify people in, and those judged by templates. What the fields mean is in catalogue.ts. */
import type { CatalogueEntry, Paper } from './catalogue.ts';

const zoo = 'https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_';
const evolve = 'data zoo of face.evoLVe (README)';

const janusLicence = {
  word: 'withdrawn',
  note: 'NIST ended the distribution of IJB-A, IJB-B and IJB-C on 14 March 2023 (nist.gov, Face Challenges). The pictures carry Creative Commons licences.',
} as const;
const janusPages = [
  'formerly https://www.nist.gov/itl/iad/ig/face-challenges',
  'test suite: https://github.com/deepinsight/insightface/tree/master/recognition/_evaluation_/ijb',
];
const janusTraps = [
  'Pairs are of templates (several images and frames of a person), not of images: embeddings are merged by medium, then by template.',
  'The published numbers differ by flip, detector score and norm: say which were used.',
];
const janusCommands = ['facegrad embed --weights W.safetensors loose_crop/ --out ijb.npy --flip sum'];

const megafacePaper: Paper = {
  authors: 'Ira Kemelmacher-Shlizerman, Steven M. Seitz, Daniel Miller, Evan Brossard',
  title: 'The MegaFace Benchmark: 1 Million Faces for Recognition at Scale',
  venue: 'CVPR',
  year: 2016,
};

export const identificationSets: readonly CatalogueEntry[] = [
  {
    name: 'megaface',
    title: 'MegaFace, Challenge 1',
    aliases: ['megaface-distractors', 'mf1'],
    purpose: ['identify', 'verify'],
    counts: {
      identities: 690_572,
      images: 1_027_060,
      source: 'its page, as quoted by foamliu/InsightFace-v2 (README)',
    },
    otherCounts: [],
    protocol:
      'FaceScrub probes (80 people, 3,530 pictures) among a million distractors: rank-1 identification, and verification at a false accept rate of 1e-6.',
    variants: [],
    layout:
      'Nested folders of Flickr users; lists of distractors as JSON in the development kit. Features: one file a picture.',
    licence: {
      word: 'withdrawn',
      note: 'Taken down by the University of Washington in May 2020 (ethicsai.org, February 2021). Flickr pictures under Creative Commons licences.',
    },
    paper: megafacePaper,
    cite: 'kemelmacher2016megaface',
    published: [
      'formerly http://megaface.cs.washington.edu',
      'test suite: https://github.com/deepinsight/insightface/tree/master/recognition/_evaluation_/megaface',
    ],
    traps: [
      'Numbers marked R are refined: InsightFace lists 605 noisy FaceScrub pictures and 707 or 719 distractors (the paper and its list differ; deepinsight/insightface, issue 49). Both lists are needed, and results with and without do not compare.',
      'Of the 80 probe people 54 were found in MS-Celeb-1M by name (deepinsight/insightface, issue 24).',
      'The kit compares by L2 distance: features must be of length 1.',
    ],
    commands: [
      'facegrad embed --weights W.safetensors facescrub/ --out facescrub.npy --unit',
      'facegrad embed --weights W.safetensors megaface/ --out megaface.npy --unit',
    ],
  },
  {
    name: 'megaface2',
    title: 'MegaFace 2 (training set of Challenge 2)',
    aliases: ['mf2', 'megaface-train'],
    purpose: ['train'],
    counts: { identities: 672_057, images: 4_753_320, source: 'Nech and Kemelmacher-Shlizerman 2017' },
    otherCounts: [],
    variants: [],
    layout: 'A folder per identity, tight and loose crops.',
    licence: {
      word: 'withdrawn',
      note: 'Taken down with MegaFace in 2020. 69 % of its 3,311,471 photographs forbid commercial use (megapixels.cc). It shows children.',
    },
    paper: {
      authors: 'Aaron Nech, Ira Kemelmacher-Shlizerman',
      title: 'Level Playing Field for Million Scale Face Recognition',
      venue: 'CVPR',
      year: 2017,
    },
    cite: 'nech2017megaface2',
    published: ['formerly http://megaface.cs.washington.edu', zoo],
    traps: ['Identities were found by clustering, at least three pictures each: one person may be several.'],
    commands: ['facegrad train mobilefacenet-arcface --data FOLDER --out RUN'],
  },
  {
    name: 'facescrub',
    title: 'FaceScrub',
    aliases: [],
    purpose: ['identify', 'train'],
    counts: {
      identities: 530,
      images: 106_863,
      source: 'its page (vintage.winklerbros.net/facescrub.html), as quoted',
    },
    otherCounts: [{ identities: 695, images: 141_130, source: 'exposing.ai' }],
    protocol: 'MegaFace takes 80 people and 3,530 pictures of it as probes.',
    variants: [
      {
        name: 'probes of MegaFace',
        files: ['facescrub_uncropped_features_list.json'],
        identities: 80,
        images: 3530,
        source: 'MegaFace development kit; some of its logs say 3,526 were loaded (Face_Pytorch)',
      },
    ],
    layout: 'Published as lists of addresses with boxes; circulates as a folder per person.',
    licence: {
      word: 'research',
      note: 'Lists of addresses for research; the pictures belong to their sites, and many addresses are gone.',
    },
    paper: {
      authors: 'Hong-Wei Ng, Stefan Winkler',
      title: 'A data-driven approach to cleaning large face datasets',
      venue: 'ICIP',
      year: 2014,
    },
    cite: 'ng2014facescrub',
    published: ['http://vintage.winklerbros.net/facescrub.html'],
    traps: [
      'What is downloaded from its addresses now is less than what was published, and differs from copy to copy.',
      'Two more noisy pictures than the list of 605: Christian_Bale_12006.png, Pamela_Anderson_2474.png (deepinsight/insightface, issue 175).',
    ],
    commands: ['facegrad embed --weights W.safetensors facescrub/ --out facescrub.npy --unit'],
  },
  {
    name: 'ijb-a',
    title: 'IJB-A (IARPA Janus Benchmark A)',
    aliases: ['ijba'],
    purpose: ['verify', 'identify'],
    counts: { identities: 500, source: 'Klare et al. 2015' },
    otherCounts: [
      { identities: 500, images: 5396, source: `${evolve}: 5,396 images, 20,369 frames, 2,085 videos after cleaning` },
    ],
    protocol: 'Ten splits, verification and identification of templates.',
    variants: [],
    layout: 'Pictures and frames with tables of templates.',
    licence: janusLicence,
    paper: {
      authors:
        'Brendan F. Klare, Ben Klein, Emma Taborsky, Austin Blanton, Jordan Cheney, Kristen Allen, Patrick Grother, Alan Mah, Anil K. Jain',
      title: 'Pushing the Frontiers of Unconstrained Face Detection and Recognition: IARPA Janus Benchmark A',
      venue: 'CVPR',
      year: 2015,
    },
    cite: 'klare2015ijba',
    published: janusPages,
    traps: janusTraps,
    commands: janusCommands,
  },
  {
    name: 'ijb-b',
    title: 'IJB-B (IARPA Janus Benchmark B)',
    aliases: ['ijbb'],
    purpose: ['verify', 'identify'],
    counts: {
      identities: 1845,
      images: 76_824,
      source: 'Whitelam et al. 2017: 21,798 stills and 55,026 frames of 7,011 videos',
    },
    otherCounts: [],
    protocol:
      '1:1: 12,115 templates, 8,010,270 pairs of templates, 10,270 of them of one person (ijbb_template_pair_label.txt, as counted in Keras_insightface).',
    variants: [],
    layout:
      'InsightFace: loose_crop/N.jpg, meta/ijbb_face_tid_mid.txt, ijbb_name_5pts_score.txt, ijbb_template_pair_label.txt.',
    licence: janusLicence,
    paper: {
      authors:
        'Cameron Whitelam, Emma Taborsky, Austin Blanton, Brianna Maze, Jocelyn Adams, Tim Miller, Nathan Kalka, Anil K. Jain, James A. Duncan, Kristen Allen, Jordan Cheney, Patrick Grother',
      title: 'IARPA Janus Benchmark-B Face Dataset',
      venue: 'CVPR Workshops',
      year: 2017,
    },
    cite: 'whitelam2017ijbb',
    published: janusPages,
    traps: janusTraps,
    commands: janusCommands,
  },
  {
    name: 'ijb-c',
    title: 'IJB-C (IARPA Janus Benchmark C)',
    aliases: ['ijbc', 'ijb'],
    purpose: ['verify', 'identify'],
    counts: {
      identities: 3531,
      images: 148_876,
      source: 'Maze et al. 2018: 31,334 stills and 117,542 frames',
    },
    otherCounts: [],
    protocol:
      '1:1: 15,658,489 pairs of templates, 19,557 of them of one person (ijbc_template_pair_label.txt, as its users count it).',
    variants: [
      {
        name: 'IJBC/loose_crop (InsightFace test suite)',
        files: [
          'loose_crop',
          'meta/ijbc_face_tid_mid.txt',
          'meta/ijbc_name_5pts_score.txt',
          'meta/ijbc_template_pair_label.txt',
        ],
        images: 469_375,
        source: 'lines of ijbc_face_tid_mid.txt, as its users count them',
        note: 'Faces cut out of stills and frames, loosely: align them by the five points of ijbc_name_5pts_score.txt.',
      },
    ],
    layout:
      'InsightFace: loose_crop/N.jpg, meta/ijbc_face_tid_mid.txt, ijbc_name_5pts_score.txt, ijbc_template_pair_label.txt.',
    licence: janusLicence,
    paper: {
      authors:
        'Brianna Maze, Jocelyn Adams, James A. Duncan, Nathan Kalka, Tim Miller, Charles Otto, Anil K. Jain and others',
      title: 'IARPA Janus Benchmark-C: Face Dataset and Protocol',
      venue: 'ICB',
      year: 2018,
    },
    cite: 'maze2018ijbc',
    published: janusPages,
    traps: janusTraps,
    commands: janusCommands,
  },
  {
    name: 'orl',
    title: 'AT&T Database of Faces (ORL)',
    aliases: ['att-faces', 'olivetti', 'att'],
    purpose: ['train', 'identify'],
    counts: { identities: 40, images: 400, source: 'its description: ten pictures of each of 40 people' },
    otherCounts: [],
    variants: [
      {
        name: 'att_faces',
        files: ['att_faces.zip'],
        identities: 40,
        images: 400,
        size: [92, 112],
        alignment: '92x112 (width 92), grey, frontal',
        source: 'its description',
      },
    ],
    layout: 'Folders s1 to s40 with 1.pgm to 10.pgm.',
    licence: {
      word: 'research',
      note: 'Taken at AT&T Laboratories Cambridge; free to use with credit given to them (its page).',
    },
    paper: {
      authors: 'Ferdinando S. Samaria, Andy C. Harter',
      title: 'Parameterisation of a stochastic model for human face identification',
      venue: 'IEEE Workshop on Applications of Computer Vision',
      year: 1994,
    },
    cite: 'samaria1994orl',
    published: ['https://cam-orl.co.uk/facedatabase.html'],
    traps: [
      'PGM pictures are not read here: convert them to PNG first.',
      'Far too small and easy to measure a network by.',
    ],
    commands: ['facegrad inspect att_faces/'],
  },
];
