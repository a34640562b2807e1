/**
 * Property tests draw the same cases in every run, so that a red test is the change's own doing. `FC_SEED=random` draws
 * fresh ones, and FC_SEED=N repeats a run that failed.
 */
import fc from 'fast-check';

const asked = process.env.FC_SEED;
fc.configureGlobal({ seed: asked === 'random' ? Date.now() | 0 : Number(asked ?? 20_260_101) });
