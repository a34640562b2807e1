/** 50 SGD steps of whole networks against PyTorch's, as test/helpers/trainingSteps.ts compares them. */
import { sameTrainingAsPyTorch } from '../helpers/trainingSteps.ts';

for (const name of ['mobilefacenet', 'ir-se-50-small', 'resnet-50-small']) sameTrainingAsPyTorch(name);
