import { type Board, perMinute } from '../panel';
import { FAILED, OLDEST_TASK, STORAGE_TIME } from '../questions';

/** How to get at what the farm itself tells of a job. */
const HOW = `
1. \`farm job explain ID\` says in sentences what became of the job and of each of its tasks, why it waits, and who made what.
   It needs no traces. \`farm job get ID\` says how it stands, \`farm job watch ID\` goes on saying so.
2. With traces (\`telemetry.otlp_endpoint\` in the configuration of both programs, a Tempo behind it): write the id into *Job*
   above. The list shows its trace; its id goes into *Trace*, or is had without the list:
   \`printf 'farm\\0ID' | sha256sum | head -c 32\`.
3. Logs name jobs and tasks (\`ID/video-3\`): \`grep ID\` in those of all programs.

No metric has the id of a job: what was slow at the time is seen below, for the farm as a whole.
`.trim();

/** One job: what became of it, and what the farm was like meanwhile. */
export const job: Board = {
  uid: 'farm-job',
  purpose: 'What became of one job, and what the farm was like meanwhile.',
  from: 'now-6h',
  traces: true,
  variables: [
    { kind: 'text', name: 'job', label: 'Job', value: '' },
    { kind: 'text', name: 'trace', label: 'Trace', value: '' },
  ],
  rows: [
    {
      title: 'What became of it?',
      panels: [
        { kind: 'text', title: 'How to ask', width: 10, height: 10, markdown: HOW },
        {
          kind: 'traces',
          one: false,
          title: 'Its traces',
          shows: 'A job has one trace in all its lives; a job under way shows once a task of it has ended.',
          good: 'one.',
          otherwise: 'none: the job is older than the traces are kept, not sampled, or tracing is off: `farm job explain ID`.',
          width: 7,
          height: 10,
          traceql: '{ span.farm.job = "$job" }',
        },
        {
          kind: 'traces',
          one: false,
          title: 'What failed',
          shows: 'Traces of the job with attempts that failed; those attempts are marked in the timeline.',
          good: 'empty.',
          otherwise: '`error.type` is the code that `farm job explain ID` shows, `farm.worker` who it was.',
          to: 'farm-workers',
          width: 7,
          height: 10,
          traceql: '{ span.farm.job = "$job" } >> { name = "attempt" && status = error }',
        },
        {
          kind: 'traces',
          one: true,
          title: 'Its timeline',
          shows: 'job → task → attempt → stage. A task begins when it is handed out, its attempt when a worker takes it.',
          good: 'attempts follow their tasks at once, many beside each other, and none twice.',
          otherwise: 'space between task and attempt: it waited, see the oldest task below. Long `fetch` or `upload`: storage. Long `encode`: the worker.',
          width: 24,
          height: 14,
          traceql: '$trace',
        },
      ],
    },
    {
      title: 'What was the farm like meanwhile?',
      panels: [
        {
          kind: 'graph',
          title: 'Oldest task',
          good: 'under a minute.',
          otherwise: 'the job waited for slots, as others did: Farm says who waits.',
          to: 'farm',
          ...OLDEST_TASK,
        },
        {
          kind: 'graph',
          title: 'Attempts that failed',
          good: 'none besides those of this job.',
          otherwise: 'many: it was not the job\'s fault, see Workers.',
          to: 'farm-workers',
          unit: 'suffix: /min',
          queries: [
            {
              expr: perMinute(`farm_coordinator_attempts_total{${FAILED}}`, ['task', 'outcome']),
              legend: '{{task}} {{outcome}}',
            },
          ],
        },
        {
          kind: 'graph',
          title: 'Time of requests to storage',
          shows: 'Half of each kind.',
          good: 'under 0.5 s.',
          otherwise: 'storage was slow: Control plane.',
          to: 'farm-control-plane',
          ...STORAGE_TIME,
        },
        {
          kind: 'graph',
          title: 'Spans',
          shows: 'What programs sent to the collector of traces, and what they lost because it did not take it.',
          good: 'nothing lost.',
          otherwise: 'traces have gaps: is the collector there? Jobs do not wait for it.',
          unit: 'suffix: /min',
          queries: [
            { expr: perMinute('farm_coordinator_spans_total', ['outcome']), legend: 'coordinator {{outcome}}' },
            { expr: perMinute('farm_worker_spans_total', ['outcome']), legend: 'worker {{outcome}}' },
          ],
        },
      ],
    },
  ],
};
