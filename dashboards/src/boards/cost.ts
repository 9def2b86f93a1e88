import { type Board, rate, rateBy, ratio, total } from '../panel';
import { BYTES, NO_GPU, SLOTS, UNTIL_DONE } from '../questions';

const ENCODED = `sum(${total('farm_coordinator_encoded_seconds_total')})`;
const CPU_S = `sum(${total('farm_coordinator_attempt_cpu_seconds_total')})`;
const GPU_S = `sum(${total('farm_coordinator_gpu_seconds_total')})`;
/** Something that is counted, for a minute of presentation. */
const forMinute = (counted: string): string => `60 * ${counted} / (${ENCODED} > 0)`;
/** By rung and encoder. */
const rungs = (counter: string): string => rateBy(`farm_coordinator_${counter}`, ['rung', 'encoder']);
const EACH = '{{rung}} {{encoder}}';

/** What a minute costs, where it goes, and whether there is enough. */
export const cost: Board = {
  uid: 'farm-cost',
  purpose: 'What a minute of presentation costs, what it goes into, and whether there is enough. Choose a day or a week.',
  from: 'now-24h',
  variables: [
    { kind: 'text', name: 'cpu_hour', label: 'Price of a CPU core for an hour', value: '0.04' },
    { kind: 'text', name: 'gpu_hour', label: 'Price of a GPU for an hour', value: '0.60' },
    { kind: 'text', name: 'gigabyte_month', label: 'Price of a gigabyte for a month', value: '0.023' },
  ],
  rows: [
    {
      title: 'What does a minute cost?',
      panels: [
        {
          kind: 'number',
          title: 'Making an hour of presentation',
          shows: 'The price of its CPU and GPU time, all rungs together, in the currency of the prices above.',
          good: 'what was planned; `farm capacity` plans.',
          otherwise: 'below: which of CPU and GPU, and which rung.',
          width: 6,
          unit: 'none',
          decimals: 4,
          nothing: 'nothing encoded',
          queries: [{ expr: `($cpu_hour * ${CPU_S} + $gpu_hour * ${GPU_S}) / (${ENCODED} > 0)`, legend: 'price' }],
        },
        {
          kind: 'number',
          title: 'Storing it for a month',
          shows: 'An hour of presentation, all rungs.',
          good: 'what was planned.',
          otherwise: 'bits of each rung, below: which rung is worth it?',
          width: 6,
          unit: 'none',
          decimals: 4,
          nothing: 'nothing encoded',
          queries: [
            {
              expr: `$gigabyte_month * 3600 * sum(${total('farm_coordinator_output_bytes_total')}) / 1e9 / (${ENCODED} > 0)`,
              legend: 'price',
            },
          ],
        },
        {
          kind: 'number',
          title: 'CPU for a minute',
          good: 'below 120 s in software, below 10 s on GPUs.',
          otherwise: 'on GPU farms: fallbacks on Workers.',
          to: 'farm-workers',
          width: 4,
          unit: 's',
          nothing: 'nothing encoded',
          queries: [{ expr: forMinute(CPU_S), legend: 'CPU' }],
        },
        {
          kind: 'number',
          title: 'GPU for a minute',
          shows: 'Elapsed time of attempts in which a GPU had a part; several share a card.',
          good: 'steady.',
          otherwise: 'engines in use on Workers.',
          to: 'farm-workers',
          width: 4,
          unit: 's',
          nothing: 'nothing encoded',
          queries: [{ expr: forMinute(GPU_S), legend: 'GPU' }],
        },
        {
          kind: 'number',
          title: 'Slots that were busy',
          shows: 'Over the time that is shown.',
          good: '60 to 85 %: bursts find room, and little is idle.',
          otherwise: 'lower: fewer workers would do. Higher: those who ask wait.',
          width: 4,
          unit: 'percentunit',
          decimals: 0,
          nothing: 'no slots',
          queries: [
            {
              expr: 'sum(sum_over_time(farm_coordinator_running_attempts[$__range])) / (sum(sum_over_time(farm_coordinator_slots[$__range])) > 0)',
              legend: 'busy',
            },
          ],
        },
      ],
    },
    {
      title: 'Where does it go?',
      panels: [
        {
          kind: 'graph',
          stacked: true,
          title: 'Presentation made, by rung',
          shows: 'Times real time.',
          good: 'all rungs of a ladder alike.',
          otherwise: 'a rung that nobody plays costs as shown beside: leave it out of the profile.',
          unit: 'suffix:×',
          nothing: 'nothing encoded',
          queries: [{ expr: rungs('rendition_seconds_total'), legend: EACH }],
        },
        {
          kind: 'graph',
          stacked: true,
          title: 'Time of encoders, by rung',
          good: 'the largest rung is more than half of it.',
          otherwise: 'grows for one rung: its preset, or harder sources.',
          unit: 'suffix: cores',
          nothing: 'nothing encoded',
          queries: [{ expr: rungs('rendition_encode_seconds_total'), legend: EACH }],
        },
        {
          kind: 'graph',
          title: 'Bits of each rung',
          shows: 'Rate of the renditions that were made.',
          good: 'below the ceilings of the profile, and far from each other.',
          otherwise: 'two rungs alike: one is enough. At the ceiling: the profile\'s rate is too low for such sources.',
          unit: 'bps',
          nothing: 'nothing encoded',
          queries: [
            { expr: `8 * ${rungs('rendition_bytes_total')} / (${rungs('rendition_seconds_total')} > 0)`, legend: EACH },
          ],
        },
        {
          kind: 'graph',
          stacked: true,
          title: 'CPU by task',
          good: '`video` is nearly all.',
          otherwise: '`index` grows: sources that have to be rewritten, such as MPEG-TS.',
          unit: 'suffix: cores',
          queries: [{ expr: rateBy('farm_coordinator_attempt_cpu_seconds_total', ['task']), legend: '{{task}}' }],
        },
        {
          kind: 'graph',
          title: 'Made in vain',
          shows: 'Attempts that did not end well, of all.',
          good: 'below 2 %.',
          otherwise: 'failed attempts on Farm say why. `cancelled`: jobs that were called off, and rivals that lost.',
          to: 'farm',
          unit: 'percentunit',
          nothing: 'no attempts',
          queries: [
            {
              expr: ratio('farm_coordinator_attempts_total{outcome!="done"}', ['outcome'], 'farm_coordinator_attempts_total'),
              legend: '{{outcome}}',
            },
          ],
        },
        {
          kind: 'graph',
          title: 'GPU time',
          shows: 'Attempts with a GPU that run at once, as their time is counted when they end.',
          good: 'follows what is asked for.',
          otherwise: 'stays up while jobs end: see the time of attempts on Workers.',
          to: 'farm-workers',
          unit: 'short',
          queries: [{ expr: `sum(${rate('farm_coordinator_gpu_seconds_total')})`, legend: 'GPU' }],
        },
      ],
    },
    {
      title: 'Is there enough?',
      panels: [
        {
          kind: 'graph',
          title: 'Slots and what they could do',
          shows: 'Seconds of work that wait, for each slot: when the backlog will be done. A gap in a line: there are none.',
          good: 'falls back to 0 each day.',
          otherwise: 'does not: more workers, or fewer rungs. `farm capacity` says how many.',
          ...UNTIL_DONE,
        },
        {
          kind: 'graph',
          title: 'Presentation that waits',
          shows: 'Not encoded yet.',
          good: 'returns to 0.',
          otherwise: 'grows from day to day: the farm is too small for what is asked.',
          unit: 's',
          queries: [{ expr: 'max by (class) (farm_coordinator_backlog_seconds)', legend: '{{class}}' }],
        },
        {
          kind: 'graph',
          title: 'Slots, busy and there',
          good: '`there` follows `busy` with some room.',
          otherwise: 'idle for hours: scale down, `deploy/SCALING.md`. Busy all day: scale up.',
          ...SLOTS,
        },
        {
          kind: 'number',
          title: 'At this speed',
          shows: 'Hours of presentation that would be made in a day.',
          good: 'more than is asked for.',
          otherwise: 'with busy slots: this is all that they can.',
          height: 7,
          unit: 'suffix: h/day',
          decimals: 0,
          queries: [{ expr: `24 * sum(${rate('farm_coordinator_encoded_seconds_total')})`, legend: 'hours' }],
        },
        {
          kind: 'graph',
          title: 'GPU engines, mean of all cards',
          good: 'while work waits, one of them is near 1.',
          otherwise: 'all low while work waits: the CPU beside the card is the limit; more CPU for each GPU.',
          unit: 'percentunit',
          max: 1,
          ...NO_GPU,
          queries: [{ expr: 'avg by (engine) (farm_worker_gpu_engine_use_ratio)', legend: '{{engine}}' }],
        },
        {
          kind: 'graph',
          title: 'Bytes read and stored',
          shows: 'Sources and segments.',
          good: 'follows jobs.',
          otherwise: 'this is what transfer and requests are paid by.',
          ...BYTES,
        },
      ],
    },
  ],
};
