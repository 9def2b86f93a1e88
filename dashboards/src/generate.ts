/**
 * Makes what Grafana and Prometheus read.
 *
 *   generate                                       writes dashboards/grafana/*.json and dashboards/alerts.yml
 *   generate check                                 says which of them differ from what would be written, and which names in
 *                                                  dashboards/alertmanager.yml are no alerts
 *   generate alerts [--divide N] [--runbook URL] --out FILE
 *                                                  the alerts with all windows N times shorter, for tests that can't wait
 *   generate queries [--window 1m]                 every query of every panel, one JSON object a line
 *   generate query-rules --out FILE                the same as recording rules: promtool parses those
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

import { stringify } from 'yaml';

import { groups } from './alerts';
import { BOARDS } from './boards';
import { Clock, type Duration } from './clock';
import { model } from './grafana';
import { asRules, queries } from './queries';
import { ruleFile } from './rules';

/** The folder `dashboards`. */
const HERE = dirname(__dirname);
const RUNBOOK = 'deploy/RUNBOOK.md';

/** What is committed, by path. */
function files(): Map<string, string> {
  const boards = BOARDS.map((board): [string, string] => {
    const name = board.uid.replace(/^farm-/, '');
    return [join('grafana', `${name}.json`), `${JSON.stringify(model(board), null, 2)}\n`];
  });
  return new Map([...boards, ['alerts.yml', ruleFile(groups(new Clock()), RUNBOOK)]]);
}

/** Files that are not what they should be. */
function differing(): string[] {
  const wanted = files();
  const there = readdirSync(join(HERE, 'grafana')).map((name) => join('grafana', name));
  const left = there.filter((path) => !wanted.has(path)).map((path) => `${path}: nothing makes it`);
  const changed = [...wanted].filter(([path, text]) => !existsSync(join(HERE, path)) || read(path) !== text);
  return [...left, ...unknown(), ...changed.map(([path]) => `${path}: differs from its source, run \`make dashboards\``)];
}

/** Alerts and signs that the settings of Alertmanager name and nobody lets fire. */
function unknown(): string[] {
  const alerts = groups(new Clock()).flatMap((group) => group.alerts);
  const there = new Set(alerts.flatMap(({ name, signs }) => [name, ...signs.map(({ sign }) => sign)]));
  const settings = 'alertmanager.yml';
  const matchers = [...read(settings).matchAll(/(?:alertname|sign) =~? "?([\w|]+)/g)];
  const named = matchers.flatMap(([, names = '']) => names.split('|'));
  return named.filter((name) => !there.has(name)).map((name) => `${settings}: no alert is or has ${name}`);
}

function read(path: string): string {
  return readFileSync(join(HERE, path), 'utf8');
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      divide: { type: 'string', default: '1' },
      runbook: { type: 'string', default: RUNBOOK },
      window: { type: 'string', default: '5m' },
      out: { type: 'string' },
    },
  });
  const put = (text: string): void => {
    if (values.out === undefined) {
      throw new Error('--out FILE is missing');
    }
    writeFileSync(values.out, text);
  };
  const asked = (): ReturnType<typeof queries> => queries(BOARDS, values.window as Duration);
  switch (positionals[0]) {
    case undefined:
      mkdirSync(join(HERE, 'grafana'), { recursive: true });
      files().forEach((text, path) => writeFileSync(join(HERE, path), text));
      break;
    case 'check': {
      const complaints = differing();
      complaints.forEach((complaint) => console.error(`dashboards/${complaint}`));
      process.exitCode = complaints.length === 0 ? 0 : 1;
      break;
    }
    case 'alerts':
      put(ruleFile(groups(new Clock(Number(values.divide))), values.runbook));
      break;
    case 'queries':
      asked().forEach((one) => console.log(JSON.stringify(one)));
      break;
    case 'query-rules':
      put(stringify(asRules(asked())));
      break;
    default:
      throw new Error(`${positionals[0]}: check, alerts, queries, query-rules or nothing`);
  }
}

main();
