/** 50 SGD steps of IR-SE-50 at 112×112 against PyTorch's, as test/helpers/trainingSteps.ts compares them. */
import { sameTrainingAsPyTorch } from '../helpers/trainingSteps.ts';

sameTrainingAsPyTorch('ir-se-50');
