/** All dashboards, in the order in which they are read. */
import { controlPlane } from './boards/control-plane';
import { cost } from './boards/cost';
import { farm } from './boards/farm';
import { job } from './boards/job';
import { workers } from './boards/workers';
import type { Board } from './panel';

export const BOARDS: Board[] = [farm, workers, job, controlPlane, cost];
