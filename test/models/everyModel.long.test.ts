/** The registry's deep networks, held to what everyModel.ts says. */
import { heldToAll, partsOfRegistry } from './everyModel.ts';

heldToAll(partsOfRegistry().deep);
