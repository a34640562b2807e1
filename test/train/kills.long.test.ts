/** Twenty kills at random moments: the final files are those of a run never interrupted. */
import { test } from 'vitest';
import { expectSameAfterKills } from '../helpers/killedRuns.ts';

test('twenty kills and resumes leave the same bytes', { timeout: 600_000 }, () => expectSameAfterKills(20, 80, 20));
