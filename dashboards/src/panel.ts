/** Dashboards as this repository means them: what is asked, and what to think of the answer. */
import type * as units from '@grafana/grafana-foundation-sdk/units';

import type { DashboardUid } from './links';

/** How a number is written: Grafana's names, and words behind it. */
export type Unit =
  | typeof units.Short
  | typeof units.NoUnit
  | typeof units.Seconds
  | typeof units.BytesIEC
  | typeof units.BytesPerSecondSI
  | typeof units.BitsPerSecondSI
  | typeof units.PercentUnit
  | typeof units.Celsius
  | typeof units.Watt
  | typeof units.Decibel
  | typeof units.RequestsPerSecond
  | `suffix:${string}`;

export type Color = 'green' | 'orange' | 'red' | 'blue' | 'text';

/** From which value on which colour; the first has none. */
export type Thresholds = [Color, ...[number, Color][]];

export interface Query {
  expr: string;
  /** A name with `{{label}}`s; in tables the name of a column. */
  legend: string;
}

/** What every panel has to say. */
export interface Said {
  title: string;
  /** What it shows, where the title leaves a doubt. */
  shows?: string;
  /** How it looks when all is well. */
  good: string;
  /** Where to look, or what to do, when it does not look so. */
  otherwise: string;
  /** The dashboard that this sentence names. */
  to?: DashboardUid;
  /** Columns of 24. Default: 8, so that three stand in a row. */
  width?: number;
  height?: number;
}

export interface Measured extends Said {
  unit: Unit;
  queries: Query[];
  decimals?: number;
  thresholds?: Thresholds;
  /** Of series with these names. */
  colors?: Record<string, Color>;
  /** The upper end of the axis. */
  max?: number;
  /** Shown instead of nothing. */
  nothing?: string;
  /** Why a farm that is well may have none of these series. */
  mayBeEmpty?: string;
}

export type Panel =
  | ({ kind: 'number' } & Measured)
  | ({ kind: 'graph'; stacked?: boolean } & Measured)
  /** One row for each value of `by`, one column for each query. */
  | ({ kind: 'table'; by: string; columns?: Column[] } & Measured)
  /** One row for each series, with these labels. */
  | ({ kind: 'list'; labels: string[] } & Measured)
  | ({ kind: 'text'; markdown: string } & Pick<Said, 'title' | 'width' | 'height'>)
  | ({ kind: 'traces'; traceql: string; one: boolean } & Said);

/** How a table shows the query with this legend. */
export interface Column {
  legend: string;
  unit: Unit;
  thresholds?: Thresholds;
  /** What stands instead of a number. */
  words?: Record<string, string>;
}

export interface Row {
  /** A question. */
  title: string;
  panels: Panel[];
  closed?: boolean;
}

export type Variable =
  | { kind: 'label'; name: string; label: string; metric: string; of: string }
  | { kind: 'text'; name: string; label: string; value: string };

export interface Board {
  uid: DashboardUid;
  /** What it is for. */
  purpose: string;
  /** How far it looks back at first. */
  from: string;
  variables: Variable[];
  rows: Row[];
  /** Asks Tempo too. */
  traces?: true;
}

/** Rate of a counter over the window that Grafana finds right for the time that is shown. */
export function rate(selector: string): string {
  return `rate(${selector}[$__rate_interval])`;
}

/** The same for each set of these labels. */
export function rateBy(selector: string, by: string[]): string {
  return `sum by (${by.join(', ')}) (${rate(selector)})`;
}

/** For a minute instead of a second. */
export function perMinute(selector: string, by: string[]): string {
  return `60 * ${rateBy(selector, by)}`;
}

/** How often a counter counts for each count of another. */
export function ratio(selector: string, by: string[], other: string): string {
  return `${rateBy(selector, by)} / scalar(sum(${rate(other)}) > 0)`;
}

/** How often a counter counted in all the time that is shown. */
export function total(selector: string): string {
  return `increase(${selector}[$__range])`;
}

/** Of a histogram: so many of a hundred took no longer. `by`: labels that stay. */
export function percentile(percent: number, histogram: string, by: string[] = []): string {
  return `histogram_quantile(${percent / 100}, ${rateBy(histogram, ['le', ...by])})`;
}

/** The same of a histogram that both programs have. */
export function percentileOfBoth(percent: number, histogram: string, by: string[] = []): string {
  const both = `${rate(`farm_coordinator_${histogram}_bucket`)} or ${rate(`farm_worker_${histogram}_bucket`)}`;
  return `histogram_quantile(${percent / 100}, sum by (${['le', ...by].join(', ')}) (${both}))`;
}

/** A counter that both programs have. */
export function rateOfBoth(counter: string, by: string[]): string {
  return `sum by (${by.join(', ')}) (${rate(`farm_coordinator_${counter}`)} or ${rate(`farm_worker_${counter}`)})`;
}
