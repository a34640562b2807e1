/** Results of other programs, as the scripts in test/reference wrote them: the large ones are zipped. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** What `test/reference/NAME.json.gz` holds. */
export const reference = (name: string): unknown =>
  JSON.parse(gunzipSync(readFileSync(new URL(`../reference/${name}.json.gz`, import.meta.url))).toString());
