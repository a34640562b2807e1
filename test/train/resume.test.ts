/** A run killed at random moments ends as one that was not. The twenty-kill form is in kills.long.test.ts. */
import { test } from 'vitest';
import { expectSameAfterKills } from '../helpers/killedRuns.ts';

test('three kills and resumes leave the same bytes', { timeout: 180_000 }, () => expectSameAfterKills(3, 16, 3));
