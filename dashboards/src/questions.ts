/** What more than one dashboard asks: the numbers of a panel, of which each dashboard says what they mean there. */
import { type Measured, percentileOfBoth, rate } from './panel';

type Asked = Pick<Measured, 'unit' | 'queries'>;

const WORK = 'max by (class) (farm_coordinator_work_seconds)';
const SLOTS_THERE = 'sum by (class) (farm_coordinator_slots)';

/** By class; without end where work has no slots, 0 where there is no work. */
export const UNTIL_DONE_S = `(${WORK} > 0) / ${SLOTS_THERE} or ${WORK}`;
/** Attempts that failed, among those that ended. */
export const FAILED = 'outcome!~"done|cancelled"';

export const UNTIL_DONE = {
  unit: 's',
  queries: [{ expr: UNTIL_DONE_S, legend: '{{class}}' }],
} satisfies Asked;

export const OLDEST_TASK = {
  unit: 's',
  queries: [{ expr: 'max by (class) (farm_coordinator_queue_age_seconds)', legend: '{{class}}' }],
} satisfies Asked;

export const SLOTS = {
  unit: 'short',
  queries: [
    { expr: SLOTS_THERE, legend: '{{class}} there' },
    { expr: 'sum by (class) (farm_coordinator_running_attempts)', legend: '{{class}} busy' },
  ],
} satisfies Asked;

export const BYTES = {
  unit: 'Bps',
  queries: [
    { expr: `sum(${rate('farm_coordinator_source_bytes_total')})`, legend: 'sources' },
    { expr: `sum(${rate('farm_coordinator_output_bytes_total')})`, legend: 'segments' },
  ],
} satisfies Asked;

export const STORAGE_TIME = {
  unit: 's',
  nothing: 'no requests',
  queries: [{ expr: percentileOfBoth(50, 'storage_seconds', ['call']), legend: '{{call}}' }],
} satisfies Asked & Pick<Measured, 'nothing'>;

export const STORAGE_TIME_BY_PROGRAM = {
  ...STORAGE_TIME,
  queries: [{ expr: percentileOfBoth(50, 'storage_seconds', ['job', 'instance']), legend: '{{instance}}' }],
} satisfies Asked & Pick<Measured, 'nothing'>;

/** For panels that tell of GPUs' readings. */
export const NO_GPU = {
  nothing: 'no GPU',
  mayBeEmpty: 'no worker has a GPU whose driver tells of it',
} satisfies Pick<Measured, 'nothing' | 'mayBeEmpty'>;
