/** The pages of the committed dashboards, drawn with a Prometheus that answers everything alike. */
import assert from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';

import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';

import { filled } from '../queries';
import { Renderer } from './page';
import { Prometheus } from './prometheus';
import { spelled } from './unit';

const SPAN = { from: 1000, to: 1060, step: 30 };
const FOLDER = join(__dirname, '..', '..', 'grafana');

/** Answers every query with series of these values, three points each; tells `then` where it listens. */
async function answering(values: string[], then: (renderer: Renderer) => Promise<void>): Promise<void> {
  const server: Server = createServer((asked, answer) => {
    const points = (value: string): [number, string][] => [[1000, '1'], [1030, '2'], [1060, value]];
    const series = (value: string, place: number): object => {
      const metric = { instance: `host-${place}`, alertname: 'FarmNoLeader' };
      return asked.url?.endsWith('query') ? { metric, value: [1060, value] } : { metric, values: points(value) };
    };
    answer.end(JSON.stringify({ status: 'success', data: { result: values.map(series) } }));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  try {
    await then(new Renderer(new Prometheus(`http://127.0.0.1:${port}`), SPAN, '1m'));
  } finally {
    server.close();
  }
}

function dashboards(): Dashboard[] {
  return readdirSync(FOLDER).map((name) => JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as Dashboard);
}

test('every panel is drawn, in the colour of its threshold', async () => {
  await answering(['3', '+Inf'], async (renderer) => {
    for (const dashboard of dashboards()) {
      const page = await renderer.page(dashboard);
      for (const { title } of (dashboard.panels ?? []) as Panel[]) {
        assert.ok(page.includes((title ?? '').replace('>', '&gt;')), `${dashboard.title}: ${title}`);
      }
      assert.doesNotMatch(page, /undefined|NaN|\[object/);
    }
    const farm = dashboards().find(({ uid }) => uid === 'farm');
    assert.ok(farm !== undefined);
    assert.match(await renderer.page(farm), /<h3>Alerts<\/h3>.*background: #b91c1c">3</s);
    assert.deepStrictEqual(renderer.empty, []);
  });
});

test('a panel without an answer says so', async () => {
  await answering([], async (renderer) => {
    for (const dashboard of dashboards()) {
      await renderer.page(dashboard);
    }
    assert.ok(renderer.empty.includes('Farm: Playable in time'));
  });
});

test('numbers are written with their units', () => {
  const written = [spelled(0.0123, 's'), spelled(5400, 's'), spelled(1536, 'bytes'), spelled(0.125, 'percentunit'), spelled(Infinity, 's')];
  assert.deepStrictEqual(written, ['12.3 ms', '1.5 h', '1.5 KiB', '12.5 %', '∞']);
});

test('a variable that nobody knows is an error', () => {
  assert.strictEqual(filled('rate(a{b=~"$b"}[$__rate_interval])', new Map([['b', '.*']]), '1m'), 'rate(a{b=~".*"}[1m])');
  assert.throws(() => filled('a{b="$c"}', new Map(), '1m'), /\$c/);
});
