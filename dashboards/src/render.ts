/**
 * Shows the dashboards without Grafana: reads the committed JSON, asks a Prometheus, writes a page for each.
 *
 *   render --prometheus http://127.0.0.1:9090 --out DIR [--last 30m] [--png]
 *
 * `--png`: a picture of each page too, made by Chromium. At the end it says which panels showed nothing.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';

import { type Duration, seconds } from './clock';
import { PAGE_PX, Renderer, height } from './look/page';
import { Prometheus } from './look/prometheus';

/** Points of a graph. */
const POINTS = 120;

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
  const to = Math.floor(Date.now() / 1000);
  const length = seconds(values.last as Duration);
  const step = Math.max(1, Math.round(length / POINTS));
  const renderer = new Renderer(new Prometheus(values.prometheus), { from: to - length, to, step }, `${Math.max(4 * step, 60)}s`);
  const folder = join(dirname(__dirname), 'grafana');
  mkdirSync(values.out, { recursive: true });
  for (const name of readdirSync(folder).sort()) {
    const dashboard = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Dashboard;
    const page = join(values.out, name.replace(/json$/, 'html'));
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
