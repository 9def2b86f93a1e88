/**
 * Shows the dashboards without Grafana: reads the committed JSON, asks a Prometheus, writes a page for each.
 *
 *   render --prometheus http://127.0.0.1:9090 --out DIR [--last 30m] [--png]
 *
 * `--png`: a picture of each page too, made by Chromium. At the end it says which panels showed nothing.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';

import type { Duration } from './clock';
import { Answers, committed } from './look/answers';
import { PAGE_PX, Renderer, height } from './look/page';

/** A picture of a page. */
function picture(page: string, dashboard: Dashboard): void {
  const size = `--window-size=${PAGE_PX},${height(dashboard)}`;
  const arguments_ = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', size];
  execFileSync('chromium', [...arguments_, `--screenshot=${page.replace(/html$/, 'png')}`, `file://${resolve(page)}`], { stdio: 'ignore' });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      prometheus: { type: 'string', default: 'http://127.0.0.1:9090' },
      last: { type: 'string', default: '1h' },
      out: { type: 'string', default: 'build/look' },
      png: { type: 'boolean', default: false },
    },
  });
  const renderer = new Renderer(Answers.ofLast(values.last as Duration, values.prometheus));
  mkdirSync(values.out, { recursive: true });
  for (const [name, dashboard] of committed()) {
    const page = join(values.out, `${name}.html`);
    writeFileSync(page, await renderer.page(dashboard));
    if (values.png) {
      picture(page, dashboard);
    }
    console.log(page);
  }
  renderer.empty.forEach((panel) => console.log(`nothing to show: ${panel}`));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
