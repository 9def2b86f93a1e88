/** What Prometheus reads: groups of recording rules and alerts. */
import { stringify } from 'yaml';

import type { Duration } from './clock';
import type { DashboardUid } from './links';

/** `page`: somebody should look now, at night too. `ticket`: on the next working day. */
export type Severity = 'page' | 'ticket';

/** One way in which an alert comes about. */
export interface Sign {
  /** Tells the signs of one alert apart; what a label of the series does not say already. */
  sign: string;
  severity: Severity;
  expr: string;
  for?: Duration;
  /** A sentence that fits a notification. */
  summary: string;
  /** What is seen, and what it means for those who wait. */
  description: string;
}

/** What people are told, under a name that the runbook has a section for. */
export interface Alert {
  name: string;
  /** The dashboard that shows it. */
  dashboard: DashboardUid;
  signs: Sign[];
}

/** What alerts and dashboards need often, or over a long time. */
export interface Recording {
  record: string;
  expr: string;
}

export interface Group {
  name: string;
  interval: Duration;
  recordings: Recording[];
  alerts: Alert[];
}

/** The rule file. `runbook`: where the runbook can be read. */
export function ruleFile(groups: Group[], runbook: string): string {
  const rules = groups.map(({ name, interval, recordings, alerts }) => ({
    name,
    interval,
    rules: [...recordings, ...alerts.flatMap((alert) => alert.signs.map((sign) => rule(alert, sign, runbook)))],
  }));
  const head = ' Made by `make dashboards` from dashboards/src/alerts.ts: change that. Tests: alerts.test.yml.\n';
  return `#${head}${stringify({ groups: rules }, { lineWidth: 118, blockQuote: 'literal' })}`;
}

function rule(alert: Alert, { sign, severity, expr, for: lasting, summary, description }: Sign, runbook: string): object {
  return {
    alert: alert.name,
    expr,
    ...(lasting === undefined ? {} : { for: lasting }),
    labels: { severity, sign },
    annotations: {
      summary,
      description,
      dashboard: `/d/${alert.dashboard}`,
      runbook_url: `${runbook}#${alert.name.toLowerCase()}`,
    },
  };
}
