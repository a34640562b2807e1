/** Every family of the registry, and the names of its networks that are not deep, held to what everyModel.ts says. */
import { heldToAll, partsOfRegistry } from './everyModel.ts';

heldToAll(partsOfRegistry().quick);
