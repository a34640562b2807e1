/** The catalogue's sets to train on. What the fields mean is in catalogue.ts. */
import type { CatalogueEntry, Variant } from './catalogue.ts';

const zoo = 'https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_';
const configs = 'InsightFace, arcface_torch/configs';
const evolve = 'data zoo of face.evoLVe (README)';
const zooReadme = "InsightFace's data set page (recognition/_datasets_)";
const arcfaceCrop = '112x112 RGB, five points on the ArcFace template';

const bins = ['lfw.bin', 'cfp_ff.bin', 'cfp_fp.bin', 'agedb_30.bin', 'calfw.bin', 'cplfw.bin', 'vgg2_fp.bin'];

/** A pack of InsightFace: RecordIO with its index and a `property`, most with verification sets beside. */
const recordPack = (pack: Omit<Variant, 'files'> & Partial<Variant>): Variant => ({
  files: ['train.rec', 'train.idx', 'property', ...bins],
  size: [112, 112],
  alignment: arcfaceCrop,
  ...pack,
});

const recordLayout =
  'RecordIO: key 0 says where images end, then an image a record with its label, then a record per identity. `property` says CLASSES,112,112. Images are JPEG in RGB once decoded.';
const folderLayout = 'A folder per identity.';

const recordCommands = (folder: string, run: string): string[] => [
  `facegrad inspect ${folder}`,
  `facegrad prepare ${folder} ${run}.faces`,
  `facegrad train mobilefacenet-arcface --data ${folder} --out runs/${run} --evalPairs ${folder}/lfw.bin`,
];

const msCelebLicence = {
  word: 'withdrawn',
  note: 'Cleaned from MS-Celeb-1M, which Microsoft took offline in 2019. It was offered for non-commercial research; InsightFace offers the pack and networks trained on it for non-commercial research only.',
} as const;
const msCelebOverlap =
  'MS-Celeb-1M shares people with the test sets: over 1,000 with LFW (inlmouse/MS-Celeb-1M_WashList). From the first version InsightFace removed 578 identities close to FaceScrub (deepinsight/insightface, issue 119).';

export const trainingSets: readonly CatalogueEntry[] = [
  {
    name: 'casia-webface',
    title: 'CASIA-WebFace',
    aliases: ['casia', 'webface', 'faces_webface_112x112'],
    purpose: ['train'],
    counts: { identities: 10_575, images: 494_414, source: 'Yi et al. 2014' },
    otherCounts: [
      { identities: 10_575, images: 453_580, source: 'Face_Pytorch (README; cleaned)' },
      { identities: 10_571, images: 490_871, source: 'MobileFaceNet-Keras (README)' },
    ],
    variants: [
      recordPack({
        name: 'faces_webface_112x112',
        identities: 10_572,
        images: 490_623,
        source: "the pack's property and key 0, as users print them; num_classes and num_image in published configs",
        note: 'Other counts of the same file: 501,195, which adds the 10,572 records of identities, and 494,149 in some configs, whose origin is not known.',
      }),
      {
        name: 'CASIA-maxpy-clean',
        files: ['CASIA-maxpy-clean.zip'],
        identities: 10_575,
        images: 455_594,
        source: evolve,
        note: 'The zip needs a repair (zip -F) before it unpacks.',
      },
      {
        name: 'CASIA-WebFace-112X96',
        files: [],
        size: [96, 112],
        alignment: '96x112 (width 96), five points, as SphereFace and CosFace have it',
        source: 'yule-li/CosFace, issue 10',
        note: 'Pictures of another size than networks for 112x112 take.',
      },
    ],
    layout: `${folderLayout} The pack of InsightFace: ${recordLayout}`,
    licence: { word: 'research', note: 'Published for research, on request and with an agreement signed.' },
    paper: {
      authors: 'Dong Yi, Zhen Lei, Shengcai Liao, Stan Z. Li',
      title: 'Learning Face Representation from Scratch',
      venue: 'arXiv:1411.7923',
      year: 2014,
    },
    cite: 'yi2014casia',
    published: ['http://www.cbsr.ia.ac.cn/english/CASIA-WebFace-Database.html', zoo],
    traps: [
      'People who are in LFW too: 0166921, 1056413 and 1193098 are left out of lists with 10,572 identities (wy1iu/sphereface, issue 35); others count 16 in all (MuggleWang/CosFace_pytorch, issue 6).',
      'Labels are noisy and people uneven: the original has persons with a few images and with hundreds.',
    ],
    commands: recordCommands('faces_webface_112x112', 'casia'),
  },
  {
    name: 'ms1m-v1',
    title: 'MS1M-V1 (MS1M-IBUG)',
    aliases: ['ms1m-ibug', 'faces_ms1m_112x112', 'refined-ms1m', 'ms1mv1'],
    purpose: ['train'],
    counts: {
      identities: 85_164,
      images: 3_804_846,
      source: "key 0 of the pack (3,804,847 to 3,890,011); InsightFace's page says 85K, 3.8M",
    },
    otherCounts: [],
    variants: [
      recordPack({
        name: 'faces_ms1m_112x112',
        identities: 85_164,
        images: 3_804_846,
        files: ['train.rec', 'train.idx', 'property', 'lfw.bin', 'cfp_ff.bin', 'cfp_fp.bin', 'agedb_30.bin'],
        source: 'key 0 of the pack, as its readers print it',
      }),
    ],
    layout: recordLayout,
    licence: msCelebLicence,
    paper: {
      authors: 'Jiankang Deng, Yuxiang Zhou, Stefanos Zafeiriou',
      title: 'Marginal Loss for Deep Face Recognition',
      venue: 'CVPR Workshops',
      year: 2017,
    },
    cite: 'deng2017marginal',
    published: [zoo],
    traps: ['85,164 classes are of this version alone; MS1M-V2 has 85,742.', msCelebOverlap],
    commands: recordCommands('faces_ms1m_112x112', 'ms1mv1'),
  },
  {
    name: 'ms1m-v2',
    title: 'MS1M-V2 (MS1M-ArcFace)',
    aliases: ['ms1m-arcface', 'faces_emore', 'emore', 'ms1mv2'],
    purpose: ['train'],
    counts: { identities: 85_742, images: 5_822_653, source: `${configs}/ms1mv2_*.py` },
    otherCounts: [],
    variants: [
      recordPack({
        name: 'faces_emore',
        identities: 85_742,
        images: 5_822_653,
        source: `${configs}/ms1mv2_*.py; files: deepinsight/insightface, issue 2208`,
      }),
    ],
    layout: recordLayout,
    licence: msCelebLicence,
    paper: {
      authors: 'Jiankang Deng, Jia Guo, Niannan Xue, Stefanos Zafeiriou',
      title: 'ArcFace: Additive Angular Margin Loss for Deep Face Recognition',
      venue: 'CVPR',
      year: 2019,
    },
    cite: 'deng2019arcface',
    published: [zoo],
    traps: [
      'The class count is 85,742, not the 85,164 of MS1M-V1: a head with fewer classes than labels ended in NaN in programs that take it as a constant (sirius-ai/MobileFaceNet_TF, issues 21 and 30).',
      "InsightFace's training page says 87K identities; its configs and `property` say 85,742.",
      msCelebOverlap,
    ],
    commands: recordCommands('faces_emore', 'emore'),
  },
  {
    name: 'ms1m-v3',
    title: 'MS1M-V3 (MS1M-RetinaFace)',
    aliases: ['ms1m-retinaface', 'ms1m-retinaface-t1', 'ms1mv3'],
    purpose: ['train'],
    counts: { identities: 93_431, images: 5_179_510, source: `${configs}/ms1mv3_*.py` },
    otherCounts: [],
    variants: [
      recordPack({
        name: 'ms1m-retinaface-t1',
        identities: 93_431,
        images: 5_179_510,
        files: ['train.rec', 'train.idx', 'property'],
        source: `${configs}/ms1mv3_*.py; property 93431,112,112 (zhongyy/Face-Transformer, issue 39)`,
        alignment: '112x112 RGB, five points by RetinaFace on the ArcFace template',
      }),
    ],
    layout: `${recordLayout} The label is a pair, of which the first number is the person.`,
    licence: msCelebLicence,
    paper: {
      authors: 'Jiankang Deng, Jia Guo, Debing Zhang, Yafeng Deng, Xiangju Lu, Song Shi',
      title: 'Lightweight Face Recognition Challenge',
      venue: 'ICCV Workshops',
      year: 2019,
    },
    cite: 'deng2019lightweight',
    published: [zoo],
    traps: [msCelebOverlap],
    commands: recordCommands('ms1m-retinaface-t1', 'ms1mv3'),
  },
  {
    name: 'ms-celeb-1m',
    title: 'MS-Celeb-1M',
    aliases: ['msceleb', 'ms1m', 'msra'],
    purpose: ['train'],
    otherCounts: [],
    variants: [
      {
        name: 'clean list of face.evoLVe',
        files: [],
        identities: 100_000,
        images: 5_084_127,
        source: evolve,
      },
      {
        name: 'C-MS-Celeb',
        files: ['clean_list.txt'],
        identities: 94_682,
        images: 6_464_018,
        source: 'Jin et al. 2018, Computational Intelligence and Neuroscience (abstract)',
      },
    ],
    layout: 'Tables of lines with a Freebase id and a picture in base 64; packs made of it are ms1m-v1, -v2, -v3.',
    licence: {
      word: 'withdrawn',
      note: 'Microsoft took the site offline in 2019 (Financial Times, 6 June 2019). It was offered for non-commercial research. About 10 million images of nearly 100,000 people, gathered without asking them.',
    },
    paper: {
      authors: 'Yandong Guo, Lei Zhang, Yuxiao Hu, Xiaodong He, Jianfeng Gao',
      title: 'MS-Celeb-1M: A Dataset and Benchmark for Large-Scale Face Recognition',
      venue: 'ECCV',
      year: 2016,
    },
    cite: 'guo2016msceleb',
    published: ['formerly msceleb.org; now no page of its publisher'],
    traps: ['The original labels are very noisy; train on a cleaned version.', msCelebOverlap],
    commands: ['facegrad train mobilefacenet-arcface --data FOLDER --out RUN'],
  },
  {
    name: 'vggface2',
    title: 'VGGFace2',
    aliases: ['vgg2', 'vgg-face-2', 'faces_vgg_112x112'],
    purpose: ['train'],
    counts: { identities: 9131, source: 'Cao et al. 2018: 3.31 million images of 9,131 people' },
    otherCounts: [],
    variants: [
      {
        name: 'train (VGGFace2)',
        files: ['vggface2_train.tar.gz', 'train_list.txt'],
        identities: 8631,
        images: 3_141_890,
        source: 'train_list.txt of the release, as training programs count it; 8,631 people: ox-vgg/vgg_face2 (README)',
      },
      {
        name: 'clean list of face.evoLVe',
        files: [],
        identities: 8631,
        images: 3_086_894,
        source: evolve,
      },
      {
        name: 'test (VGGFace2)',
        files: ['vggface2_test.tar.gz', 'test_list.txt'],
        identities: 500,
        source: 'ox-vgg/vgg_face2 (README); about 170,000 images',
      },
    ],
    layout: `${folderLayout} Folders n000002 and on, pictures NNNN_NN.jpg, loosely cropped at their own sizes; five points in bb_landmark/loose_landmark_*.csv. InsightFace's pack is RecordIO.`,
    licence: {
      word: 'withdrawn',
      note: 'The page was taken down at the end of 2020 and the authors said that it stays offline (ox-vgg/vgg_face2, issue 50). It was offered for non-commercial research.',
    },
    paper: {
      authors: 'Qiong Cao, Li Shen, Weidi Xie, Omkar M. Parkhi, Andrew Zisserman',
      title: 'VGGFace2: A dataset for recognising faces across pose and age',
      venue: 'FG',
      year: 2018,
    },
    cite: 'cao2018vggface2',
    published: ['formerly https://www.robots.ox.ac.uk/~vgg/data/vgg_face2/', zoo],
    traps: [
      'Train on the 8,631 people of the training part; the other 500 are its test part.',
      'Pictures are not aligned: rewrite the landmarks to lines `path x1 y1 … x5 y5` and align by them before training.',
    ],
    commands: [
      'facegrad prepare train/ vggface2.faces --align points.txt',
      'facegrad train mobilefacenet-arcface --data vggface2.faces --out runs/vggface2',
    ],
  },
  {
    name: 'glint360k',
    title: 'Glint360K',
    aliases: ['glint-360k'],
    purpose: ['train'],
    counts: { identities: 360_232, images: 17_091_657, source: `${configs}/glint360k_*.py; Academic Torrents page` },
    otherCounts: [],
    variants: [
      recordPack({
        name: 'glint360k',
        identities: 360_232,
        images: 17_091_657,
        source: `${configs}/glint360k_*.py; property 360232,112,112`,
        note: 'Comes as glint360k_00 and on: cat glint360k_* | tar -xzvf -',
      }),
    ],
    layout: recordLayout,
    licence: {
      word: 'research',
      note: 'The set, and models trained on it, for non-commercial research only (its page). It is merged from other sets, MS-Celeb-1M among them (An et al. 2020).',
    },
    paper: {
      authors: 'Xiang An, Xuhan Zhu, Yang Xiao, Lan Wu, Ming Zhang, Yuan Gao, Bin Qin, Debing Zhang, Ying Fu',
      title: 'Partial FC: Training 10 Million Identities on a Single Machine',
      venue: 'arXiv:2010.05222',
      year: 2020,
    },
    cite: 'an2020partialfc',
    published: ['https://github.com/deepinsight/insightface/tree/master/recognition/partial_fc', zoo],
    traps: [
      'Over 2^24 = 16,777,216 images: key 0 holds counts as float32, which is not exact there; the index decides.',
      'The .rec is about 130 GB.',
    ],
    commands: recordCommands('glint360k', 'glint360k'),
  },
  {
    name: 'asian-celeb',
    title: 'Asian-Celeb (DeepGlint)',
    aliases: ['asianceleb', 'deepglint-asian'],
    purpose: ['train'],
    counts: {
      identities: 93_979,
      images: 2_830_146,
      source: 'trillionpairs.deepglint.com, as quoted in deepinsight/insightface, issue 256',
    },
    otherCounts: [],
    variants: [],
    layout: `${folderLayout} InsightFace's pack is RecordIO.`,
    licence: {
      word: 'research',
      note: 'Its page names Creative Commons Attribution-NonCommercial 4.0 for the crawled pictures; the site is gone.',
    },
    cite: 'deepglint2018trillionpairs',
    published: ['formerly http://trillionpairs.deepglint.com', zoo],
    traps: ['It has no person of LFW and none of MS-Celeb-1M-v1c (its page).'],
    commands: ['facegrad train mobilefacenet-arcface --data FOLDER --out RUN'],
  },
  {
    name: 'deepglint',
    title: 'DeepGlint (Trillion-Pairs training sets)',
    aliases: ['trillion-pairs', 'trillionpairs', 'ms-celeb-1m-v1c', 'faces_glint'],
    purpose: ['train'],
    counts: {
      identities: 180_855,
      images: 6_753_545,
      source: `${evolve}; the sum of MS-Celeb-1M-v1c and Asian-Celeb`,
    },
    otherCounts: [],
    variants: [
      {
        name: 'MS-Celeb-1M-v1c',
        files: ['train_msra.tar.gz', 'msra_lmk.tar.gz'],
        identities: 86_876,
        images: 3_923_399,
        source: 'trillionpairs.deepglint.com, as quoted in deepinsight/insightface, issue 256',
        note: 'Labels 0 to 86,875; msra_lmk lists path, label and five points of every image; without the label it is a file for --align. Without the people of LFW (its page).',
      },
    ],
    layout: folderLayout,
    licence: msCelebLicence,
    cite: 'deepglint2018trillionpairs',
    published: ['formerly http://trillionpairs.deepglint.com', zoo],
    traps: ['Half of it is MS-Celeb-1M: do not merge it with MS1M by name, the labels do not correspond.'],
    commands: ['facegrad prepare msra/ glint.faces --align points.txt', 'facegrad train --data glint.faces --out RUN'],
  },
  {
    name: 'webface260m',
    title: 'WebFace42M, 12M, 4M (WebFace260M)',
    aliases: ['webface42m', 'webface12m', 'webface4m', 'wf42m', 'wf12m', 'wf4m'],
    purpose: ['train'],
    counts: { identities: 2_059_906, images: 42_474_558, source: 'Zhu et al. 2021 (WebFace42M)' },
    otherCounts: [],
    variants: [
      recordPack({
        name: 'WebFace42M',
        identities: 2_059_906,
        images: 42_474_557,
        files: ['train.rec', 'train.idx'],
        source: `${configs}/wf42m_*.py`,
      }),
      recordPack({
        name: 'WebFace12M',
        identities: 617_970,
        images: 12_720_066,
        files: ['train.rec', 'train.idx'],
        source: `${configs}/wf12m_*.py`,
      }),
      recordPack({
        name: 'WebFace4M',
        identities: 205_990,
        images: 4_235_242,
        files: ['train.rec', 'train.idx'],
        source: `${configs}/wf4m_*.py`,
      }),
    ],
    layout: `${folderLayout} Also made into RecordIO by its users.`,
    licence: {
      word: 'research',
      note: 'Academic research only, after signing an agreement; passing it on is not allowed (its page).',
    },
    paper: {
      authors:
        'Zheng Zhu, Guan Huang, Jiankang Deng, Yun Ye, Junjie Huang, Xinze Chen, Jiagang Zhu, Tian Yang, Jiwen Lu, Dalong Du, Jie Zhou',
      title: 'WebFace260M: A Benchmark Unveiling the Power of Million-Scale Deep Face Recognition',
      venue: 'CVPR',
      year: 2021,
    },
    cite: 'zhu2021webface260m',
    published: ['https://www.face-benchmark.org/download.html'],
    traps: ['The paper counts one image more in WebFace42M than the training configs of InsightFace.'],
    commands: ['facegrad train mobilefacenet-arcface --data WebFace4M/train.rec --out runs/wf4m'],
  },
  {
    name: 'celeba',
    title: 'CelebA',
    aliases: ['celebfaces', 'img_align_celeba'],
    purpose: ['train'],
    counts: { identities: 10_177, images: 202_599, source: `Liu et al. 2015 and its page; ${evolve}` },
    otherCounts: [],
    variants: [
      {
        name: 'img_align_celeba',
        files: ['img_align_celeba.zip', 'identity_CelebA.txt', 'list_landmarks_align_celeba.txt'],
        identities: 10_177,
        images: 202_599,
        size: [178, 218],
        alignment: '178x218, by the eyes; more of the head than ArcFace crops show',
        source: 'its page; size: the files',
      },
    ],
    layout: 'Pictures 000001.jpg and on in one folder; identity_CelebA.txt says `picture person`, counted from 1.',
    licence: { word: 'research', note: 'Non-commercial research only (its agreement).' },
    paper: {
      authors: 'Ziwei Liu, Ping Luo, Xiaogang Wang, Xiaoou Tang',
      title: 'Deep Learning Face Attributes in the Wild',
      venue: 'ICCV',
      year: 2015,
    },
    cite: 'liu2015celeba',
    published: ['https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html'],
    traps: [
      'identity_CelebA.txt counts people from 1; lists here count from 0: subtract one from each.',
      'Align with list_landmarks_align_celeba.txt before training.',
    ],
    commands: [
      'facegrad prepare celeba.txt celeba.faces --align list_landmarks_align_celeba.txt',
      'facegrad train mobilefacenet-arcface --data celeba.faces --out runs/celeba',
    ],
  },
  {
    name: 'umdfaces',
    title: 'UMDFaces',
    aliases: ['umdface', 'umd'],
    purpose: ['train'],
    counts: { identities: 8277, images: 367_888, source: evolve },
    otherCounts: [],
    variants: [],
    layout: `${folderLayout} InsightFace's pack is RecordIO.`,
    licence: {
      word: 'unstated',
      note: 'Its licence was not read for this catalogue: look at its page before using it.',
    },
    paper: {
      authors: 'Ankan Bansal, Anirudh Nanduri, Carlos D. Castillo, Rajeev Ranjan, Rama Chellappa',
      title: 'UMDFaces: An Annotated Face Dataset for Training Deep Networks',
      venue: 'arXiv:1611.01484',
      year: 2016,
    },
    cite: 'bansal2016umdfaces',
    published: [zoo],
    traps: [`${zooReadme} says 8K identities and 0.37M images.`],
    commands: ['facegrad train mobilefacenet-arcface --data FOLDER --out RUN'],
  },
  {
    name: 'digiface-1m',
    title: 'DigiFace-1M',
    aliases: ['digiface', 'digiface1m'],
    purpose: ['train'],
    counts: {
      identities: 109_999,
      images: 1_219_995,
      source: "the sum of its two parts; InsightFace's page says 110K, 1.22M",
    },
    otherCounts: [],
    variants: [
      {
        name: '72 images a person',
        files: ['subjects_0-1999_72_imgs.zip', '… subjects_8000-9999_72_imgs.zip'],
        identities: 10_000,
        images: 720_000,
        source: 'names of its files: people 0 to 9,999, 72 images each',
      },
      {
        name: '5 images a person',
        files: ['subjects_100000-133332_5_imgs.zip', '… subjects_166666-199998_5_imgs.zip'],
        identities: 99_999,
        images: 499_995,
        source: 'names of its files: people 100,000 to 199,998, 5 images each',
      },
    ],
    layout: `${folderLayout} Rendered faces; no person is behind them.`,
    licence: { word: 'research', note: 'Microsoft offers it for non-commercial research (its page).' },
    paper: {
      authors:
        'Gwangbin Bae, Martin de La Gorce, Tadas Baltrusaitis, Charlie Hewitt, Dong Chen, Julien Valentin, Roberto Cipolla, Jingjing Shen',
      title: 'DigiFace-1M: 1 Million Digital Face Images for Face Recognition',
      venue: 'WACV',
      year: 2023,
    },
    cite: 'bae2023digiface',
    published: ['https://github.com/microsoft/DigiFace1M'],
    traps: [
      'It comes in two parts with different numbers of images a person; labels of both begin at their own folder names.',
    ],
    commands: ['facegrad train mobilefacenet-arcface --data subjects/ --out runs/digiface --augment light'],
  },
];
