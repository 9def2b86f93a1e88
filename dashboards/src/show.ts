/**
 * Shows dashboards in a terminal: reads the committed JSON, asks a Prometheus, prints what each panel would show.
 *
 *   show [DASHBOARD ...] [--prometheus http://127.0.0.1:9090] [--last 10m] [--window 1m]
 *
 * A dashboard is called as its file: farm (unless another is named), workers, job, control-plane, cost. `--window`: over
 * which rates are taken, four times as long as Prometheus waits between two looks at a program. `!!` stands before what is red,
 * `!` before what is orange.
 */
import { parseArgs } from 'node:util';

import type { Duration } from './clock';
import { Answers, committed } from './look/answers';
import { text } from './look/text';

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      prometheus: { type: 'string', default: 'http://127.0.0.1:9090' },
      last: { type: 'string', default: '10m' },
      window: { type: 'string', default: '1m' },
    },
  });
  const dashboards = committed();
  const answers = Answers.ofLast(values.last as Duration, values.prometheus, values.window as Duration);
  for (const name of positionals.length === 0 ? ['farm'] : positionals) {
    const dashboard = dashboards.get(name);
    if (dashboard === undefined) {
      throw new Error(`${name}: there are ${[...dashboards.keys()].join(', ')}`);
    }
    console.log(await text(dashboard, answers));
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
