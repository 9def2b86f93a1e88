/**
 * Alerts: few, each with something to do. Every window and every limit stands here.
 *
 * Series may be missing: a coordinator that does not lead has no gauges, a host without a GPU no readings, and a farm at night
 * no jobs. Comparisons with what is missing are empty, which is no alert; only a missing leader is one.
 */
import { Clock, type Duration } from './clock';
import type { Alert, Group, Recording, Sign } from './rules';

/** What is promised to those who wait for jobs. */
export const OBJECTIVES = {
  /** Of the jobs that become playable, this share does so within `seconds` (a bucket of the histogram) of being asked for. */
  playable: { share: 0.95, seconds: 60 },
  /** Of the jobs that succeed or fail through a fault of the farm, this share succeeds. */
  succeeded: { share: 0.99 },
} as const;

/** Over how long jobs are counted for the objectives. */
const WINDOWS = ['5m', '30m', '1h', '6h', '3d'] as const satisfies Duration[];
type Window = (typeof WINDOWS)[number];

/**
 * How fast the budget of 30 days is being used up when somebody is told: `factor` times as fast as it may be, over a long window
 * and still over a short one. 14.4: in 2 days; 6: in 5 days; 1: in 30 days.
 */
const BURNS = [
  { sign: 'burns_fast', severity: 'page', factor: 14.4, long: '1h', short: '5m' },
  { sign: 'burns', severity: 'page', factor: 6, long: '6h', short: '30m' },
  { sign: 'burns_slowly', severity: 'ticket', factor: 1, long: '3d', short: '6h' },
] as const satisfies { sign: string; severity: string; factor: number; long: Window; short: Window }[];

/** Failures, in the window of an alert, that are still nobody's business. */
const FEW = 5;
/** What works in a farm, per program: workers and coordinators count apart. */
const BOTH = ['coordinator', 'worker'] as const;

/** All rules, for this clock. */
export function groups(clock: Clock): Group[] {
  const objectives = WINDOWS.flatMap((window) => counted(window, clock));
  return [
    { name: 'farm objectives', interval: clock.duration('1m'), recordings: objectives, alerts: [playable(), failing()] },
    {
      name: 'farm',
      interval: clock.duration('15s'),
      recordings: services(clock),
      alerts: [
        backlog(clock),
        ...leading(clock),
        ...distrusted(clock),
        ...gpus(clock),
        storage(clock),
        nats(clock),
        etcd(clock),
        scratch(clock),
        certificates(),
        targets(clock),
      ],
    },
  ];
}

/** Jobs of a window, and those of them that count against an objective. Names keep the usual window whatever the clock. */
function counted(window: Window, clock: Clock): Recording[] {
  const counts = (series: string): string => `sum(increase(farm_coordinator_${series}[${clock.duration(window)}]))`;
  // Prometheus 3 writes the bucket as 60.0.
  const onTime = `playable_seconds_bucket{le=~"${OBJECTIVES.playable.seconds}([.]0)?"}`;
  return [
    { record: `farm:jobs_playable:increase${window}`, expr: counts('playable_seconds_count') },
    { record: `farm:jobs_late:increase${window}`, expr: `${counts('playable_seconds_count')} - ${counts(onTime)}` },
    { record: `farm:jobs_ended:increase${window}`, expr: counts('jobs_ended_total{outcome=~"succeeded|failed"}') },
    { record: `farm:jobs_failed:increase${window}`, expr: counts('jobs_ended_total{outcome="failed"}') },
  ];
}

/**
 * The budget of an objective is used up too fast. `least`: so many must have missed it in the long window, so that one job at
 * night wakes nobody.
 */
function burning(missed: string, all: string, share: number, least: number, text: Pick<Sign, 'summary' | 'description'>): Sign[] {
  return BURNS.map(({ sign, severity, factor, long, short }) => {
    const limit = Number((factor * (1 - share)).toFixed(4));
    const over = (window: Window): string => `${missed}:increase${window} > ${limit} * ${all}:increase${window}`;
    const expr = `${over(long)}\n  and ${missed}:increase${long} > ${least - 0.5}\n  and ${over(short)}`;
    const description = `${text.description} {{ $value | printf "%.0f" }} of them in the last ${long}, more than ${percent(limit)} of all.`;
    return { sign, severity, expr, summary: text.summary, description };
  });
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(1))} %`;
}

function playable(): Alert {
  const { share, seconds } = OBJECTIVES.playable;
  const signs = burning('farm:jobs_late', 'farm:jobs_playable', share, 3, {
    summary: 'Jobs become playable too late',
    description: `Jobs took longer than ${seconds} s from being asked for until they could be played.`,
  });
  return { name: 'FarmPlayableSlow', dashboard: 'farm', signs };
}

function failing(): Alert {
  const signs = burning('farm:jobs_failed', 'farm:jobs_ended', OBJECTIVES.succeeded.share, 2, {
    summary: 'Jobs fail that should not',
    description: 'Jobs failed through a fault of the farm, or crash what decodes them; refused sources are not counted.',
  });
  return { name: 'FarmJobsFailing', dashboard: 'farm', signs };
}

function backlog(clock: Clock): Alert {
  return {
    name: 'FarmBacklogOld',
    dashboard: 'farm',
    signs: [
      {
        sign: 'waits',
        severity: 'page',
        expr: `max by (class) (farm_coordinator_queue_age_seconds) > ${clock.age('5m')}`,
        for: clock.duration('10m'),
        summary: 'Work for {{ $labels.class }} waits too long',
        description: 'The oldest task for {{ $labels.class }} has waited {{ $value | humanizeDuration }}: too few take tasks, or nobody, or those who do wait for something.',
      },
    ],
  };
}

function leading(clock: Clock): Alert[] {
  return [
    {
      name: 'FarmNoLeader',
      dashboard: 'farm-control-plane',
      signs: [
        {
          sign: 'none',
          severity: 'page',
          expr: '(sum(farm_coordinator_leader) or vector(0)) < 1',
          for: clock.duration('1m'),
          summary: 'No coordinator leads',
          description: 'Nothing is decided: no job is taken in, none goes on. Workers finish what they have and wait.',
        },
      ],
    },
    {
      name: 'FarmFencedWrites',
      dashboard: 'farm-control-plane',
      signs: [
        {
          sign: 'refused',
          severity: 'ticket',
          expr: `sum by (instance) (increase(farm_coordinator_fenced_writes_total[${clock.duration('15m')}])) > 0`,
          summary: '{{ $labels.instance }} wrote after its term was over',
          description: 'etcd refused the writes, nothing is damaged. The coordinator stood still, or its clock jumped, while another took over.',
        },
      ],
    },
  ];
}

function distrusted(clock: Clock): Alert[] {
  const attempts = (outcome: string): string =>
    `sum by (instance) (increase(farm_worker_attempts_total{${outcome}}[${clock.duration('5m')}]))`;
  return [
    {
      name: 'FarmBlackHoleWorker',
      dashboard: 'farm-workers',
      signs: [
        {
          sign: 'quarantined',
          severity: 'ticket',
          expr: `sum(increase(farm_coordinator_quarantines_total{cause="black_hole"}[${clock.duration('10m')}])) > 0`,
          summary: 'A worker failed task after task within a minute and was quarantined',
          description: 'It gets no tasks until it has proven itself; what it failed is made by others. `farm worker list` names it.',
        },
        {
          sign: 'fails_only',
          severity: 'ticket',
          // Not what storage or a missing ability fails: that is told elsewhere.
          expr: `${attempts('outcome="bug"')} > ${FEW}\n  unless ${attempts('outcome="done"')} > 0`,
          summary: '{{ $labels.instance }} fails all it takes',
          description: '{{ $value | printf "%.0f" }} attempts failed there lately and none ended well. Each of them costs a job time.',
        },
      ],
    },
    {
      name: 'FarmWorkersQuarantined',
      dashboard: 'farm-workers',
      signs: [
        {
          sign: 'held',
          severity: 'ticket',
          expr: 'sum by (standing) (farm_coordinator_workers{standing=~"quarantined|unproven"}) > 0',
          for: clock.duration('15m'),
          summary: '{{ $value }} workers stay {{ $labels.standing }}',
          description: 'They are paid for and do nothing: they fail the test that would let them work. `farm worker show ID` says what fails.',
        },
      ],
    },
  ];
}

function gpus(clock: Clock): Alert[] {
  const on = (series: string): string => `sum by (instance) (increase(farm_worker_${series}[${clock.duration('15m')}]))`;
  const card = 'GPU {{ $labels.gpu }} of {{ $labels.instance }}';
  const xids = 'farm_worker_gpu_xid_errors_total';
  const slots = 'farm_worker_slots{class="gpu"}';
  return [
    {
      name: 'FarmGpuFallbacks',
      dashboard: 'farm-workers',
      signs: [
        {
          sign: 'often',
          severity: 'ticket',
          expr: `${on('gpu_fallbacks_total')} > 0.1 * ${on('chunks_total')}\n  and ${on('gpu_fallbacks_total')} > ${FEW - 0.5}`,
          summary: '{{ $labels.instance }} makes in software what its GPU should',
          description: '{{ $value | printf "%.0f" }} stages of chunks did not run on the GPU, for more than a tenth of its chunks. Jobs are right, but slow and dear.',
        },
      ],
    },
    {
      name: 'FarmGpuFault',
      dashboard: 'farm-workers',
      signs: [
        {
          sign: 'xid',
          severity: 'ticket',
          // A number that was not there before begins with its first count, which increase() does not see.
          expr:
            `sum by (instance, gpu, xid) (increase(${xids}[${clock.duration('10m')}])) > 0\n` +
            `  or sum by (instance, gpu, xid) (${xids} unless ${xids} offset ${clock.duration('10m')}) > 0`,
          summary: `${card} reported Xid {{ $labels.xid }}`,
          description: 'The driver told of an error of the card. 48, 63, 64, 74, 79, 94 and 95 are the hardware; 13, 31 and 43 may be software.',
        },
        {
          sign: 'throttled',
          severity: 'ticket',
          expr: `min_over_time(farm_worker_gpu_throttled{reason=~"temperature|hardware|power_brake"}[${clock.duration('15m')}]) == 1`,
          summary: `${card} is held back by {{ $labels.reason }}`,
          description: 'Its clocks have been low all the time, which is not its power limit: look at cooling and power supply.',
        },
        {
          sign: 'missing',
          severity: 'ticket',
          expr:
            `(max by (instance, gpu) (farm_worker_gpu_memory_bytes offset ${clock.duration('20m')})\n` +
            '  unless max by (instance, gpu) (farm_worker_gpu_memory_bytes))\n  and on (instance) up == 1',
          for: clock.duration('2m'),
          summary: `${card} is gone`,
          description: 'The driver does not show it any more, or does not answer, and the worker is still there.',
        },
        {
          sign: 'resting',
          severity: 'ticket',
          // Cards that only decode have no slots of their own, and so are not told of.
          expr: `${slots} < max_over_time(${slots}[${clock.duration('1h')}])`,
          for: clock.duration('2m'),
          summary: 'A GPU of {{ $labels.instance }} is not used any more',
          description: 'It failed attempts, or its test: `farm worker show ID`, or the worker\'s log, says why. It is tested again after 1, 5 and every 15 minutes; until then others, or software, make its chunks.',
        },
      ],
    },
  ];
}

/** What both programs see of the services that they share, as one series. */
function services(clock: Clock): Recording[] {
  const of = (series: string, window: Duration = '5m'): string =>
    BOTH.map((program) => `increase(farm_${program}_${series}[${clock.duration(window)}])`).join(' or ');
  return [
    { record: 'farm:nats_errors:increase5m', expr: `sum by (job, instance) (${of('nats_errors_total')})` },
    { record: 'farm:nats_seconds_bucket:increase5m', expr: `sum by (le, call) (${of('nats_seconds_bucket')})` },
    { record: 'farm:storage_errors:increase10m', expr: `sum by (job, instance, kind) (${of('storage_errors_total', '10m')})` },
    { record: 'farm:storage_seconds_bucket:increase5m', expr: `sum by (le, call) (${of('storage_seconds_bucket')})` },
  ];
}

/** A service that answers with errors, or late. */
function trouble(name: string, errors: Omit<Sign, 'sign' | 'severity'>, late: Omit<Sign, 'sign' | 'severity'>): Alert {
  return {
    name,
    dashboard: 'farm-control-plane',
    signs: [
      { sign: 'errors', severity: 'page', ...errors },
      { sign: 'late', severity: 'page', ...late },
    ],
  };
}

function storage(clock: Clock): Alert {
  const lasting = clock.duration('2m');
  // Each has been made again for a while. What is missing fails its job alone.
  const failed = (kinds: string): string => `sum by (kind) (farm:storage_errors:increase10m{kind=~"${kinds}"}) > ${FEW}`;
  const alert = trouble(
    'FarmStorageTrouble',
    {
      expr: failed('unavailable|full'),
      for: lasting,
      summary: 'Object storage: {{ $labels.kind }}',
      description: '{{ $value | printf "%.0f" }} requests failed in 10 minutes, with all their retries. Tasks are tried again for some five minutes, then jobs fail.',
    },
    {
      expr: 'histogram_quantile(0.5, sum by (le, call) (farm:storage_seconds_bucket:increase5m)) > 2',
      for: lasting,
      summary: 'Object storage is slow to {{ $labels.call }}',
      description: 'Half of the requests take longer than {{ $value | humanizeDuration }}. Slots wait for bytes instead of encoding: more workers do not help.',
    },
  );
  // One source that nobody may read is its owner's matter, and looks the same: jobs that fail of it are counted elsewhere.
  alert.signs.push({
    sign: 'refused',
    severity: 'ticket',
    expr: failed('denied|credentials|no_bucket|config'),
    for: lasting,
    summary: 'Object storage refuses: {{ $labels.kind }}',
    description: '{{ $value | printf "%.0f" }} requests in 10 minutes. Keys, policies or settings, of the farm or of somebody\'s sources.',
  });
  return alert;
}

function nats(clock: Clock): Alert {
  const lasting = clock.duration('2m');
  return trouble(
    'FarmNatsTrouble',
    {
      expr: `count(farm:nats_errors:increase5m > ${FEW})`,
      for: lasting,
      summary: 'NATS does not take messages',
      description: '{{ $value }} programs do not reach it, or are refused. Tasks are not handed out and results not heard; nothing is lost, what runs goes on.',
    },
    {
      expr: 'histogram_quantile(0.9, sum by (le, call) (farm:nats_seconds_bucket:increase5m)) > 0.5',
      for: lasting,
      summary: 'NATS is slow to take a {{ $labels.call }}',
      description: 'A tenth of them wait longer than {{ $value | humanizeDuration }}. Every task and result waits with them.',
    },
  );
}

function etcd(clock: Clock): Alert {
  const [lasting, window] = [clock.duration('2m'), clock.duration('5m')];
  const alert = trouble(
    'FarmEtcdTrouble',
    {
      expr: `sum(increase(farm_coordinator_etcd_errors_total[${window}])) > ${FEW}`,
      for: lasting,
      summary: 'etcd does not answer',
      description: '{{ $value | printf "%.0f" }} requests failed in 5 minutes. While it is away nothing is decided; a leader that can\'t renew its lease stops leading.',
    },
    {
      expr: `histogram_quantile(0.9, sum by (le) (increase(farm_coordinator_etcd_seconds_bucket[${window}]))) > 0.5`,
      for: lasting,
      summary: 'etcd is slow',
      description: 'A tenth of its answers take longer than {{ $value | humanizeDuration }}. Every step of every job waits for one.',
    },
  );
  alert.signs.push({
    sign: 'leaders_change',
    severity: 'page',
    expr: `sum(increase(farm_coordinator_terms_total[${clock.duration('30m')}])) > 3.5`,
    summary: 'Coordinators follow each other again and again',
    description: '{{ $value | printf "%.0f" }} terms began in half an hour: leases run out. Each change costs seconds in which nothing is decided.',
  });
  return alert;
}

/** What a gauge of the alert's program says when the alert is told. */
function bytes(series: string): string {
  return `{{ with printf "${series}{instance=%q}" $labels.instance | query }}{{ . | first | value | humanize1024 }}B{{ end }}`;
}

function scratch(clock: Clock): Alert {
  return {
    name: 'FarmScratchFull',
    dashboard: 'farm-workers',
    signs: [
      {
        sign: 'full',
        severity: 'ticket',
        expr: 'min by (instance) (farm_worker_scratch_free_bytes / farm_worker_scratch_bytes) < 0.1',
        for: clock.duration('5m'),
        summary: 'Scratch space of {{ $labels.instance }} is nearly full',
        description: `{{ $value | humanizePercentage }} of ${bytes('farm_worker_scratch_bytes')} is free; what the worker itself has there is ${bytes('farm_worker_scratch_used_bytes')}. Attempts that find no room fail as exhausted and are made again elsewhere.`,
      },
    ],
  };
}

/** Days that are left do not go faster in tests. */
function certificates(): Alert {
  const left = BOTH.map((program) => `farm_${program}_certificate_expiry_timestamp_seconds`).join(' or ');
  const sign = (name: string, severity: Sign['severity'], days: number): Sign => ({
    sign: name,
    severity,
    expr: `min by (instance, use) (${left}) - time() < ${days} * 86400`,
    summary: 'The certificate for {{ $labels.use }} of {{ $labels.instance }} expires',
    description: 'In {{ $value | humanizeDuration }}. After that nobody connects with it any more.',
  });
  const signs = [sign('soon', 'ticket', 21), sign('now', 'page', 3)];
  return { name: 'FarmCertificateExpires', dashboard: 'farm-control-plane', signs };
}

function targets(clock: Clock): Alert {
  return {
    name: 'FarmTargetDown',
    dashboard: 'farm',
    signs: [
      {
        sign: 'down',
        severity: 'ticket',
        expr: 'up{job=~"farm-.+"} == 0',
        for: clock.duration('5m'),
        summary: '{{ $labels.instance }} ({{ $labels.job }}) does not answer Prometheus',
        description: 'It has died, hangs or can\'t be reached. Workers: others do its tasks. Coordinators: another leads.',
      },
    ],
  };
}
