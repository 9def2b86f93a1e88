/** The committed dashboards as pages and as text, with a Prometheus that answers everything alike. */
import assert from 'node:assert';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';

import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';

import { filled } from '../queries';
import { Answers, committed } from './answers';
import { Renderer } from './page';
import { Prometheus } from './prometheus';
import { text } from './text';
import { spelled } from './unit';

const SPAN = { from: 1000, to: 1060, step: 10 };

/** Answers every query with these curves, of values half a minute apart, or with their last values. */
async function answering(curves: string[][], then: (answers: Answers) => Promise<void>): Promise<void> {
  const server: Server = createServer((asked, answer) => {
    const series = (curve: string[], place: number): object => {
      const metric = { instance: `host-${place}`, alertname: 'FarmNoLeader' };
      const points = curve.map((value, number): [number, string] => [SPAN.from + 30 * number, value]);
      return asked.url?.endsWith('query') ? { metric, value: points.at(-1) } : { metric, values: points };
    };
    answer.end(JSON.stringify({ status: 'success', data: { result: curves.map(series) } }));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  try {
    await then(new Answers(new Prometheus(`http://127.0.0.1:${port}`), SPAN, '1m'));
  } finally {
    server.close();
  }
}

function committedAs(name: string): Dashboard {
  const dashboard = committed().get(name);
  assert.ok(dashboard !== undefined);
  return dashboard;
}

test('every panel is drawn, in the colour of its threshold', async () => {
  await answering([['1', '2', '3'], ['1', '2', '+Inf']], async (answers) => {
    const renderer = new Renderer(answers);
    for (const dashboard of committed().values()) {
      const page = await renderer.page(dashboard);
      for (const { title } of (dashboard.panels ?? []) as Panel[]) {
        assert.ok(page.includes((title ?? '').replace('>', '&gt;')), `${dashboard.title}: ${title}`);
      }
      assert.doesNotMatch(page, /undefined|NaN|\[object/);
    }
    assert.match(await renderer.page(committedAs('farm')), /<h3>Alerts<\/h3>.*background: #b91c1c">3</s);
    assert.deepStrictEqual(renderer.empty, []);
  });
});

test('a panel without an answer says so', async () => {
  await answering([], async (answers) => {
    const renderer = new Renderer(answers);
    for (const dashboard of committed().values()) {
      await renderer.page(dashboard);
    }
    assert.ok(renderer.empty.includes('Farm: Playable in time'));
  });
});

test('as text, a panel has its limits, what good looks like, and its series now and lately', async () => {
  await answering([['1', '2', '3'], ['1', '2', '+Inf']], async (answers) => {
    for (const dashboard of committed().values()) {
      const written = await text(dashboard, answers);
      for (const { title } of dashboard.panels as Panel[]) {
        assert.ok(written.includes(title ?? ''), `${dashboard.title}: ${title}`);
      }
      assert.doesNotMatch(written, /undefined|NaN|\[object|\*\*|\/d\//);
    }
    const farm = await text(committedAs('farm'), answers);
    assert.match(farm, /^Alerts \(green, red from 1\)\n +Good: none\.\n +Otherwise: .*\n +now +lately\n +!! +alerts +3 +1 to 3\n/m);
    assert.match(farm, /^Oldest task \(green, red from 5 min\)\n.*\n.*\n.*\n.*now +lately\n +3 s +1 s to 3 s$/m);
  });
});

test('as text, series that are 0 all the time share a line, and one that has ended is nothing now', async () => {
  await answering([['0', '0', '0'], ['7'], ['0', '0', '0']], async (answers) => {
    const workers = await text(committedAs('workers'), answers);
    assert.match(workers, /^Failed attempts by worker\n.*\n.*\n.*\n +host-1 +– +7 .*\n +0 all the time: host-0, host-2$/m);
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
