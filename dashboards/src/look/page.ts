/** A dashboard as a page: what Grafana would show of the committed JSON, with what each panel says about itself. */
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';

import { type Answers, type Named, colorAt, flat, queriesOf, table } from './answers';
import { type Line, chart, color } from './chart';
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

  constructor(private readonly answers: Answers) {}

  async page(dashboard: Dashboard): Promise<string> {
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
      const body = await this.body(panel as Panel, dashboard);
      const said = escaped((panel as Panel).description ?? '').replaceAll('\n\n', ' ').replace(/\*\*(\w+:)\*\*/g, '<b>$1</b>');
      parts.push(`<section style="${place}"><h3>${title}</h3><div class="said">${said}</div>${body}</section>`);
    }
    return `<!doctype html><meta charset="utf-8"><title>${escaped(dashboard.title ?? '')}</title><style>${STYLE}</style>
<h1>${escaped(dashboard.title ?? '')}</h1><nav>${links}</nav><main>${parts.join('\n')}</main>`;
  }

  private async body(panel: Panel, dashboard: Dashboard): Promise<string> {
    if (panel.type === 'text') {
      return `<pre>${escaped(panel.options.content)}</pre>`;
    }
    const answers = await this.answers.of(panel, dashboard);
    if (answers === undefined) {
      return `<div class="none">traces: ${escaped(queriesOf(panel)[0]?.query ?? '')}</div>`;
    }
    const lines = answers.flat();
    if (lines.length === 0) {
      this.empty.push(`${dashboard.title ?? ''}: ${panel.title ?? ''}`);
      return `<div class="none">${escaped(panel.fieldConfig?.defaults.noValue ?? 'no data')}</div>`;
    }
    switch (panel.type) {
      case 'stat':
        return this.number(panel, lines);
      case 'table':
        return html(table(panel, answers));
      default:
        return this.graph(panel, lines);
    }
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
    const drawing = chart(colored, this.answers.span, looks);
    const legend = colored.map(({ name, points, color: of }) => {
      const last = spelled(points.at(-1)?.[1] ?? NaN, looks.unit);
      return `<li><span style="color: ${of}">■</span> ${escaped(name)} ${last}</li>`;
    });
    return `${drawing}<ul>${legend.join('')}</ul>`;
  }
}

function html([head = [], ...rows]: string[][]): string {
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
