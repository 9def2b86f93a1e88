/** Panels of a dashboard as they are committed, and what a Prometheus answers them. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import type { Dashboard, Panel, RowPanel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';

import { type Duration, seconds } from '../clock';
import { filled } from '../queries';
import { Prometheus, type Series, type Span } from './prometheus';
import { spelled } from './unit';

/** Points of a series. */
const POINTS = 120;
const FOLDER = join(__dirname, '..', '..', 'grafana');

/** The committed dashboards, by the names of their files. */
export function committed(): Map<string, Dashboard> {
  const read = (file: string): Dashboard => JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Dashboard;
  return new Map(readdirSync(FOLDER).sort().map((file) => [file.replace(/\.json$/, ''), read(file)]));
}

/** A series as its legend calls it. */
export interface Named extends Series {
  name: string;
}

/** Asks what panels ask, of this span. `window`: over which rates are taken. */
export class Answers {
  constructor(
    private readonly prometheus: Prometheus,
    readonly span: Span,
    private readonly window: Duration,
  ) {}

  /** Of the time that ends now. */
  static ofLast(length: Duration, url: string, window?: Duration): Answers {
    const to = Math.floor(Date.now() / 1000);
    const step = Math.max(1, Math.round(seconds(length) / POINTS));
    return new Answers(new Prometheus(url), { from: to - seconds(length), to, step }, window ?? `${Math.max(4 * step, 60)}s`);
  }

  /** What each query of a panel finds; `undefined`: it asks somebody else than Prometheus. */
  async of(panel: Panel, dashboard: Dashboard): Promise<Named[][] | undefined> {
    const asked = queriesOf(panel);
    if (asked.some(({ expr }) => expr === undefined)) {
      return undefined;
    }
    const values = new Map((dashboard.templating.list ?? []).map(({ name, type, query }) => [name, type === 'textbox' ? `${query}` : '.*']));
    return Promise.all(asked.map((one) => this.answer(one, values)));
  }

  private async answer({ expr, legendFormat, instant }: Dataquery, values: Map<string, string>): Promise<Named[]> {
    const query = filled(expr, values, this.window);
    const found = instant ? await this.prometheus.now(query, this.span.to) : await this.prometheus.range(query, this.span);
    const name = (labels: Record<string, string>): string =>
      (legendFormat ?? '').replace(/\{\{(\w+)\}\}/g, (_, label: string) => labels[label] ?? '');
    return found.map((series) => ({ ...series, name: name(series.labels) }));
  }
}

/** The queries of a panel; `query` is what it asks of Tempo. */
export function queriesOf(panel: Panel): (Dataquery & { query?: string })[] {
  return (panel.targets ?? []) as (Dataquery & { query?: string })[];
}

/** Rows and panels in the order of the page; those of closed rows too. */
export function flat(dashboard: Dashboard): (Panel | RowPanel)[] {
  return (dashboard.panels ?? []).flatMap((panel) => [panel, ...(panel.type === 'row' ? (panel as RowPanel).panels : [])]);
}

/** Which colour thresholds give a number. */
export function colorAt(panel: Panel, value: number): string {
  const steps = panel.fieldConfig?.defaults.thresholds?.steps ?? [];
  return steps.filter((step) => step.value === null || value >= step.value).at(-1)?.color ?? 'text';
}

/** The lines of a table: its head, and one for each set of labels, as Grafana's `merge` makes them, or for each series. */
export function table(panel: Panel, answers: Named[][]): string[][] {
  const listed = panel.transformations?.find(({ id }) => id === 'filterFieldsByName')?.options.include.names as string[] | undefined;
  if (listed !== undefined) {
    return [listed, ...answers.flat().map(({ labels }) => listed.map((name) => labels[name] ?? ''))];
  }
  const columns = queriesOf(panel).map(({ legendFormat }) => legendFormat ?? '');
  const rows = new Map<string, string[]>();
  answers.forEach((lines, place) => {
    for (const { labels, points } of lines) {
      const key = Object.values(labels).join(' ');
      const row = rows.get(key) ?? Array<string>(columns.length).fill('');
      row[place] = cell(panel, columns[place] ?? '', points.at(-1)?.[1] ?? NaN);
      rows.set(key, row);
    }
  });
  return [['', ...columns], ...[...rows].map(([key, row]) => [key, ...row])];
}

function cell(panel: Panel, column: string, value: number): string {
  const override = panel.fieldConfig?.overrides.find(({ matcher }) => matcher.options === column);
  const property = (id: string): any => override?.properties.find((one) => one.id === id)?.value;
  const word = property('mappings')?.[0]?.options[value]?.text as string | undefined;
  return word ?? spelled(value, (property('unit') as string | undefined) ?? panel.fieldConfig?.defaults.unit ?? '');
}
