/** A dashboard as a page: what Grafana would show of the committed JSON, with what each panel says about itself. */
import type { Dashboard, Panel, RowPanel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';

import type { Duration } from '../clock';
import { filled } from '../queries';
import { type Line, type Named, chart, color } from './chart';
import type { Prometheus, Span } from './prometheus';
import { spelled } from './unit';

const ROW_PX = 36;
const GAP_PX = 6;
/** Width of a page. */
export const PAGE_PX = 1600;

const STYLE = `
body { background: #111217; color: #ccccdc; font: 13px sans-serif; margin: 12px; }
h1 { font-size: 20px; margin: 0; } nav { color: #6e9fff; margin: 4px 0 8px; }
main { display: grid; grid-template-columns: repeat(24, 1fr); grid-auto-rows: ${ROW_PX}px; gap: ${GAP_PX}px; }
main > h2 { font-size: 15px; align-self: end; margin: 0; }
section { background: #181b1f; border: 1px solid #2c3235; padding: 5px 8px; overflow: hidden; display: flex; flex-direction: column; }
section > h3 { font-size: 13px; margin: 0; } .said { color: #8e8e9e; font-size: 10px; line-height: 1.2; max-height: 36px; overflow: hidden; }
svg { width: 100%; flex: none; } svg text { fill: #8e8e9e; font-size: 11px; } polyline { fill: none; stroke-width: 1.3; }
.big { font-size: 26px; flex: 1; display: flex; align-items: center; justify-content: center; color: white; }
.none { color: #8e8e9e; flex: 1; display: flex; align-items: center; justify-content: center; }
ul { list-style: none; margin: 0; padding: 0; font-size: 11px; max-height: 32px; overflow: hidden; } li { display: inline; margin-right: 10px; }
table { border-collapse: collapse; font-size: 12px; width: 100%; } td, th { text-align: left; padding: 2px 8px; border-bottom: 1px solid #2c3235; }
pre { white-space: pre-wrap; font: inherit; margin: 0; }`;

/** Pages of all dashboards, and panels that showed nothing. */
export class Renderer {
  readonly empty: string[] = [];

  constructor(
    private readonly prometheus: Prometheus,
    private readonly span: Span,
    private readonly window: Duration,
  ) {}

  async page(dashboard: Dashboard): Promise<string> {
    const values = new Map((dashboard.templating.list ?? []).map(({ name, type, query }) => [name, type === 'textbox' ? `${query}` : '.*']));
    const links = (dashboard.links ?? []).map(({ title }) => escaped(title)).join(' · ');
    const parts = [];
    for (const panel of flat(dashboard)) {
      const { x, y, w, h } = panel.gridPos ?? { x: 0, y: 0, w: 24, h: 1 };
      const place = `grid-column: ${x + 1} / span ${w}; grid-row: ${y + 1} / span ${h}`;
      const title = escaped(panel.title ?? '');
      if (panel.type === 'row') {
        parts.push(`<h2 style="${place}">${title}</h2>`);
        continue;
      }
      const body = await this.body(panel as Panel, values, dashboard.title ?? '');
      const said = escaped((panel as Panel).description ?? '').replaceAll('\n\n', ' ').replace(/\*\*(\w+:)\*\*/g, '<b>$1</b>');
      parts.push(`<section style="${place}"><h3>${title}</h3><div class="said">${said}</div>${body}</section>`);
    }
    return `<!doctype html><meta charset="utf-8"><title>${escaped(dashboard.title ?? '')}</title><style>${STYLE}</style>
<h1>${escaped(dashboard.title ?? '')}</h1><nav>${links}</nav><main>${parts.join('\n')}</main>`;
  }

  private async body(panel: Panel, values: Map<string, string>, board: string): Promise<string> {
    if (panel.type === 'text') {
      return `<pre>${escaped(panel.options.content)}</pre>`;
    }
    const asked = (panel.targets ?? []) as (Dataquery & { query?: string })[];
    if (asked.some(({ expr }) => expr === undefined)) {
      return `<div class="none">traces: ${escaped(asked[0]?.query ?? '')}</div>`;
    }
    const answers = await Promise.all(asked.map((one) => this.answer(one, values)));
    const lines = answers.flat();
    if (lines.length === 0) {
      this.empty.push(`${board}: ${panel.title ?? ''}`);
      return `<div class="none">${escaped(panel.fieldConfig?.defaults.noValue ?? 'no data')}</div>`;
    }
    switch (panel.type) {
      case 'stat':
        return this.number(panel, lines);
      case 'table':
        return table(panel, asked, answers);
      default:
        return this.graph(panel, lines);
    }
  }

  private async answer({ expr, legendFormat, instant }: Dataquery, values: Map<string, string>): Promise<Named[]> {
    const query = filled(expr, values, this.window);
    const found = instant ? await this.prometheus.now(query, this.span.to) : await this.prometheus.range(query, this.span);
    const name = (labels: Record<string, string>): string =>
      (legendFormat ?? '').replace(/\{\{(\w+)\}\}/g, (_, label: string) => labels[label] ?? '');
    return found.map((series) => ({ ...series, name: name(series.labels) }));
  }

  private number(panel: Panel, lines: Named[]): string {
    const { unit, decimals } = panel.fieldConfig?.defaults ?? {};
    const last = lines[0]?.points.at(-1)?.[1] ?? NaN;
    const shade = { green: '#1a7f37', orange: '#b35900', red: '#b91c1c' }[colorAt(panel, last)] ?? 'none';
    return `<div class="big" style="background: ${shade}">${spelled(last, unit ?? '', decimals)}</div>`;
  }

  private graph(panel: Panel, lines: Named[]): string {
    const { unit, max, thresholds, custom } = panel.fieldConfig?.defaults ?? {};
    const limits = (thresholds?.steps ?? []).flatMap(({ value, color: of }) => (value === null ? [] : [{ value, color: of }]));
    const { w, h } = panel.gridPos ?? { w: 8, h: 7 };
    const looks = {
      unit: unit ?? '',
      stacked: custom?.stacking?.mode === 'normal',
      limits: custom?.thresholdsStyle ? limits : [],
      width: (w * PAGE_PX) / 24 - 24,
      height: h * (ROW_PX + GAP_PX) - 106,
      ...(max === undefined ? {} : { max }),
    };
    const fixed = new Map(panel.fieldConfig?.overrides.map(({ matcher, properties }) => [matcher.options, properties[0]?.value?.fixedColor]));
    const colored: Line[] = lines.map((line, place) => ({ ...line, color: fixed.get(line.name) ?? color(place) }));
    const drawing = chart(colored, this.span, looks);
    const legend = colored.map(({ name, points, color: of }) => {
      const last = spelled(points.at(-1)?.[1] ?? NaN, looks.unit);
      return `<li><span style="color: ${of}">■</span> ${escaped(name)} ${last}</li>`;
    });
    return `${drawing}<ul>${legend.join('')}</ul>`;
  }
}

/** The panels in the order of the page; those of closed rows too. */
function flat(dashboard: Dashboard): (Panel | RowPanel)[] {
  return (dashboard.panels ?? []).flatMap((panel) => [panel, ...(panel.type === 'row' ? (panel as RowPanel).panels : [])]);
}

/** Which colour thresholds give a number. */
function colorAt(panel: Panel, value: number): string {
  const steps = panel.fieldConfig?.defaults.thresholds?.steps ?? [];
  return steps.filter((step) => step.value === null || value >= step.value).at(-1)?.color ?? 'text';
}

/** A row for each set of labels, as Grafana's `merge` makes them, or for each series. */
function table(panel: Panel, asked: Dataquery[], answers: Named[][]): string {
  const listed = panel.transformations?.find(({ id }) => id === 'filterFieldsByName')?.options.include.names as string[] | undefined;
  if (listed !== undefined) {
    const rows = answers.flat().map(({ labels }) => listed.map((name) => labels[name] ?? ''));
    return html(listed, rows);
  }
  const rows = new Map<string, string[]>();
  answers.forEach((lines, place) => {
    for (const { labels, points } of lines) {
      const key = Object.values(labels).join(' ');
      const row = rows.get(key) ?? Array<string>(asked.length).fill('');
      row[place] = cell(panel, asked[place]?.legendFormat ?? '', points.at(-1)?.[1] ?? NaN);
      rows.set(key, row);
    }
  });
  return html(['', ...asked.map(({ legendFormat }) => legendFormat ?? '')], [...rows].map(([key, row]) => [key, ...row]));
}

function cell(panel: Panel, column: string, value: number): string {
  const override = panel.fieldConfig?.overrides.find(({ matcher }) => matcher.options === column);
  const property = (id: string): any => override?.properties.find((one) => one.id === id)?.value;
  const word = property('mappings')?.[0]?.options[value]?.text as string | undefined;
  return word ?? spelled(value, (property('unit') as string | undefined) ?? panel.fieldConfig?.defaults.unit ?? '');
}

function html(head: string[], rows: string[][]): string {
  const line = (tag: string, cells: string[]): string => `<tr>${cells.map((one) => `<${tag}>${escaped(one)}</${tag}>`).join('')}</tr>`;
  return `<table>${line('th', head)}${rows.map((row) => line('td', row)).join('')}</table>`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Pixels that a page is high. */
export function height(dashboard: Dashboard): number {
  const rows = Math.max(...flat(dashboard).map(({ gridPos }) => (gridPos?.y ?? 0) + (gridPos?.h ?? 0)));
  return 90 + rows * (ROW_PX + GAP_PX);
}
