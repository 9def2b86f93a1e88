/** Every query of every panel, as a person asks for it or as Prometheus is asked. */
import type { Duration } from './clock';
import type { DashboardUid } from './links';
import type { Board } from './panel';

export interface PanelQuery {
  dashboard: DashboardUid;
  panel: string;
  legend: string;
  expr: string;
  /** Why it may have no result in a farm that is well. */
  mayBeEmpty?: string;
}

/** All queries, with variables as they are when a dashboard is opened, and with this window instead of Grafana's. */
export function queries(boards: Board[], window: Duration): PanelQuery[] {
  return boards.flatMap((board) => {
    const values = new Map(board.variables.map((one) => [one.name, one.kind === 'text' ? one.value : '.*']));
    const panels = board.rows.flatMap((row) => row.panels);
    return panels.flatMap((panel) => {
      if (panel.kind === 'text' || panel.kind === 'traces') {
        return [];
      }
      return panel.queries.map(({ expr, legend }) => ({
        dashboard: board.uid,
        panel: panel.title,
        legend,
        expr: filled(expr, values, window),
        ...(panel.mayBeEmpty === undefined ? {} : { mayBeEmpty: panel.mayBeEmpty }),
      }));
    });
  });
}

/** Puts values for variables; `window` for those that Grafana knows by itself. */
export function filled(expr: string, values: Map<string, string>, window: Duration): string {
  const own = new Map([...values, ['__rate_interval', window], ['__interval', window], ['__range', window]]);
  return expr.replace(/\$(\w+|\{\w+\})/g, (all, name: string) => {
    const value = own.get(name.replace(/[{}]/g, ''));
    if (value === undefined) {
      throw new Error(`${expr}: nobody says what ${all} is`);
    }
    return value;
  });
}

/** Queries as recording rules, which is what promtool can parse. */
export function asRules(asked: PanelQuery[]): object {
  const rules = asked.map(({ expr }, place) => ({ record: `panel:query:${place}`, expr }));
  return { groups: [{ name: 'panels', interval: '15s', rules }] };
}
