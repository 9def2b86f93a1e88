/** A dashboard as text, for terminals: what each panel says about itself, and each of its series now and lately. */
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';

import { type Answers, type Named, colorAt, flat, table } from './answers';
import { spelled } from './unit';

/** Before a series whose colour says so. */
const MARKS = new Map([['red', '!!'], ['orange', '! ']]);
const NO_MARK = '  ';

/** All panels of a dashboard, under the questions of its rows. */
export async function text(dashboard: Dashboard, answers: Answers): Promise<string> {
  const parts = [`${dashboard.title ?? ''}: ${dashboard.description ?? ''}`];
  for (const panel of flat(dashboard)) {
    if (panel.type === 'row') {
      parts.push(`== ${panel.title ?? ''}`);
    } else {
      parts.push(await shown(panel as Panel, dashboard, answers));
    }
  }
  return `${parts.join('\n\n')}\n`;
}

async function shown(panel: Panel, dashboard: Dashboard, answers: Answers): Promise<string> {
  const head = [`${panel.title ?? ''}${limits(panel)}`, ...said(panel)];
  return [...head, ...(await found(panel, dashboard, answers))].join('\n    ');
}

/** What good looks like, and where to look otherwise. */
function said(panel: Panel): string[] {
  const plain = (panel.description ?? '').replaceAll('**', '').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1');
  return plain.split('\n\n').filter((line) => line !== '');
}

/** The colours of its numbers, and from where on each is. */
function limits({ fieldConfig }: Panel): string {
  const { thresholds, unit, decimals } = fieldConfig?.defaults ?? {};
  const steps = thresholds?.steps ?? [];
  const step = ({ value, color }: { value: number | null; color: string }): string =>
    value === null ? color : `${color} from ${spelled(value, unit ?? '', decimals)}`;
  return steps.length < 2 ? '' : ` (${steps.map(step).join(', ')})`;
}

async function found(panel: Panel, dashboard: Dashboard, answers: Answers): Promise<string[]> {
  if (panel.type === 'text') {
    return (panel.options.content as string).split('\n');
  }
  const found = await answers.of(panel, dashboard);
  if (found === undefined) {
    return ['traces are shown by Grafana alone'];
  }
  const lines = found.flat();
  if (lines.length === 0) {
    return [`${NO_MARK} ${panel.fieldConfig?.defaults.noValue ?? 'no data'}`];
  }
  return panel.type === 'table' ? aligned(table(panel, found)) : series(panel, lines, answers);
}

/** A line for each series: what it is now, and from where to where it went. Those that are 0 all the time share one. */
function series(panel: Panel, lines: Named[], { span }: Answers): string[] {
  const { unit, decimals } = panel.fieldConfig?.defaults ?? {};
  const written = (value: number): string => spelled(value, unit ?? '', decimals);
  const idle = lines.filter(({ points }) => points.every(([, value]) => value === 0) && !marked(panel, 0));
  const rows = lines.filter((line) => !idle.includes(line)).map(({ name, points }) => {
    const values = points.map(([, value]) => value).filter(Number.isFinite);
    const [at, last] = points.at(-1) ?? [0, NaN];
    const now = at < span.to - 3 * span.step ? NaN : last;
    const range = values.length === 0 ? '' : `${written(Math.min(...values))} to ${written(Math.max(...values))}`;
    return [marked(panel, now) ?? NO_MARK, name, written(now), range];
  });
  const rest = idle.length === 0 ? [] : [`${NO_MARK} 0 all the time: ${idle.map(({ name }) => name).join(', ')}`];
  return [...(rows.length === 0 ? [] : aligned([[NO_MARK, '', 'now', 'lately'], ...rows])), ...rest];
}

function marked(panel: Panel, value: number): string | undefined {
  return Number.isNaN(value) ? undefined : MARKS.get(colorAt(panel, value));
}

/** Cells below each other. */
function aligned(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, place) => Math.max(...rows.map((row) => row[place]?.length ?? 0)));
  return rows.map((row) => row.map((cell, place) => cell.padEnd(widths[place] ?? 0)).join('  ').trimEnd());
}
