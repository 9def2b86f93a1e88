/** Dashboards as Grafana reads them: the foundation SDK's types are the schema, the compiler checks it. */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import * as common from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as tempo from '@grafana/grafana-foundation-sdk/tempo';
import * as text from '@grafana/grafana-foundation-sdk/text';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

import { DASHBOARDS, type DashboardUid } from './links';
import type { Board, Column, Measured, Panel, Query, Said, Thresholds, Variable } from './panel';

const METRICS: common.DataSourceRef = { type: 'prometheus', uid: '${datasource}' };
const TRACES: common.DataSourceRef = { type: 'tempo', uid: '${traces}' };
/** What all dashboards of a farm are tagged with; the links at the top find them by it. */
const TAG = 'farm';
const WIDTH = 8;
const NUMBER_HEIGHT = 4;
const GRAPH_HEIGHT = 7;

/** The whole dashboard. */
export function model(board: Board): dashboard.Dashboard {
  const builder = new dashboard.DashboardBuilder(DASHBOARDS[board.uid])
    .uid(board.uid)
    .description(board.purpose)
    .tags([TAG])
    .time({ from: board.from, to: 'now' })
    .timezone('browser')
    .refresh('30s')
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .withVariable(source('datasource', 'Metrics', 'prometheus'));
  for (const uid of Object.keys(DASHBOARDS) as DashboardUid[]) {
    builder.link(link(uid));
  }
  if (board.traces) {
    builder.withVariable(source('traces', 'Traces', 'tempo'));
  }
  board.variables.forEach((one) => builder.withVariable(variable(one)));
  let id = 0;
  for (const row of board.rows) {
    const head = new dashboard.RowBuilder(row.title).id(++id).collapsed(row.closed ?? false);
    const panels = row.panels.map((one) => panel(one, ++id));
    if (row.closed) {
      panels.forEach((one) => head.withPanel(one));
      builder.withRow(head);
    } else {
      builder.withRow(head);
      panels.forEach((one) => builder.withPanel(one));
    }
  }
  return shown(builder.build());
}

/** The SDK puts links into a menu unless told otherwise, and can't be told: they are to be seen at once. */
function shown(built: dashboard.Dashboard): dashboard.Dashboard {
  const panels = (built.panels ?? []).flatMap((one) => ('panels' in one ? one.panels : [one as dashboard.Panel]));
  for (const one of [...(built.links ?? []), ...panels.flatMap(({ links }) => links ?? [])]) {
    delete one.placement;
  }
  return built;
}

function link(to: DashboardUid): dashboard.DashboardLinkBuilder {
  const builder = new dashboard.DashboardLinkBuilder(DASHBOARDS[to]);
  return builder.type(dashboard.DashboardLinkType.Link).url(`/d/${to}`).icon('dashboard').keepTime(true);
}

function source(name: string, label: string, type: string): dashboard.DatasourceVariableBuilder {
  return new dashboard.DatasourceVariableBuilder(name).label(label).type(type);
}

function variable(one: Variable): Builder<dashboard.VariableModel> {
  if (one.kind === 'text') {
    const value = { text: one.value, value: one.value };
    return new dashboard.TextBoxVariableBuilder(one.name).label(one.label).defaultValue(one.value).current(value);
  }
  const all = { text: 'All', value: '$__all' };
  return new dashboard.QueryVariableBuilder(one.name)
    .label(one.label)
    .query(`label_values(${one.metric}, ${one.of})`)
    .datasource(METRICS)
    .multi(true)
    .includeAll(true)
    .allValue('.*')
    .current(all)
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc);
}

/** What all panels of the SDK have in common. */
interface Frame extends Builder<dashboard.Panel> {
  id(id: number): this;
  title(title: string): this;
  description(description: string): this;
  span(columns: number): this;
  height(rows: number): this;
  links(links: Builder<dashboard.DashboardLink>[]): this;
}

function panel(one: Panel, id: number): Frame {
  switch (one.kind) {
    case 'text':
      return new text.PanelBuilder()
        .id(id)
        .title(one.title)
        .span(one.width ?? WIDTH)
        .height(one.height ?? GRAPH_HEIGHT)
        .mode(text.TextMode.Markdown)
        .content(one.markdown);
    case 'number':
      return framed(number(one), one, id, NUMBER_HEIGHT);
    case 'graph':
      return framed(graph(one, one.stacked ?? false), one, id, GRAPH_HEIGHT);
    case 'table':
      return framed(tableOf(one, one.by, one.columns ?? []), one, id, GRAPH_HEIGHT);
    case 'list':
      return framed(listOf(one, one.labels), one, id, GRAPH_HEIGHT);
    case 'traces':
      return framed(one.one ? timeline(one.traceql) : found(one.traceql), one, id, GRAPH_HEIGHT);
  }
}

/** The description of a panel, as people read it. */
export function description({ shows, good, otherwise, to }: Said): string {
  const where = to === undefined ? '' : ` ([${DASHBOARDS[to]}](/d/${to}))`;
  const parts = [...(shows === undefined ? [] : [shows]), `**Good:** ${good}`, `**Otherwise:** ${otherwise}${where}`];
  return parts.join('\n\n');
}

function framed<F extends Frame>(frame: F, said: Said, id: number, height: number): F {
  frame.id(id).title(said.title).description(description(said)).span(said.width ?? WIDTH).height(said.height ?? height);
  return said.to === undefined ? frame : frame.links([link(said.to)]);
}

function query({ expr, legend }: Query, place: number): DataqueryBuilder {
  return new DataqueryBuilder().refId(letter(place)).datasource(METRICS).expr(expr).legendFormat(legend);
}

function letter(place: number): string {
  return String.fromCharCode('A'.charCodeAt(0) + place);
}

function steps(thresholds: Thresholds): dashboard.ThresholdsConfigBuilder {
  const [first, ...rest] = thresholds;
  const all = [{ value: null, color: first }, ...rest.map(([value, color]) => ({ value, color }))];
  return new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps(all);
}

function number(one: Measured): stat.PanelBuilder {
  const builder = new stat.PanelBuilder()
    .datasource(METRICS)
    .unit(one.unit)
    .colorMode(common.BigValueColorMode.Background)
    .graphMode(common.BigValueGraphMode.Area)
    .noValue(one.nothing ?? 'no data')
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(steps(one.thresholds ?? ['text']));
  if (one.decimals !== undefined) {
    builder.decimals(one.decimals);
  }
  one.queries.forEach((asked, place) => builder.withTarget(query(asked, place)));
  return builder;
}

function graph(one: Measured, stacked: boolean): timeseries.PanelBuilder {
  const builder = new timeseries.PanelBuilder()
    .datasource(METRICS)
    .unit(one.unit)
    .min(0)
    .noValue(one.nothing ?? 'no data')
    .lineWidth(1)
    .fillOpacity(stacked ? 40 : 5)
    .showPoints(common.VisibilityMode.Never)
    .legend(
      new common.VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom),
    )
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending));
  if (one.max !== undefined) {
    builder.max(one.max);
  }
  if (stacked) {
    builder.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal));
  }
  if (one.thresholds !== undefined) {
    const dashed = new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed);
    builder.thresholds(steps(one.thresholds)).thresholdsStyle(dashed);
  }
  for (const [name, fixedColor] of Object.entries(one.colors ?? {})) {
    const mode = dashboard.FieldColorModeId.Fixed;
    builder.overrideByName(name, [{ id: 'color', value: { mode, fixedColor } satisfies dashboard.FieldColor }]);
  }
  one.queries.forEach((asked, place) => builder.withTarget(query(asked, place)));
  return builder;
}

function tableOf(one: Measured, by: string, columns: Column[]): table.PanelBuilder {
  const builder = rows(one);
  const names = one.queries.map(({ legend }, place) => [`Value #${letter(place)}`, legend]);
  builder.withTransformation({ id: 'merge', options: {} }).withTransformation({
    id: 'organize',
    options: {
      excludeByName: { Time: true },
      renameByName: Object.fromEntries(names),
      indexByName: Object.fromEntries([by, ...names.map(([value]) => value)].map((name, place) => [name, place])),
    },
  });
  for (const { legend, unit, thresholds, words } of columns) {
    builder.overrideByName(legend, [
      { id: 'unit', value: unit },
      ...(words === undefined ? [] : [{ id: 'mappings', value: [mapping(words)] }]),
      ...(thresholds === undefined
        ? []
        : [
            { id: 'thresholds', value: steps(thresholds).build() },
            { id: 'custom.cellOptions', value: { type: common.TableCellDisplayMode.ColorText } },
          ]),
    ]);
  }
  return builder;
}

function mapping(words: Record<string, string>): dashboard.ValueMap {
  const options = Object.fromEntries(Object.entries(words).map(([value, word], index) => [value, { text: word, index }]));
  return { type: dashboard.MappingType.ValueToText, options };
}

function listOf(one: Measured, labels: string[]): table.PanelBuilder {
  const indexByName = Object.fromEntries(labels.map((label, place) => [label, place]));
  return rows(one)
    .withTransformation({ id: 'filterFieldsByName', options: { include: { names: labels } } })
    .withTransformation({ id: 'organize', options: { indexByName } });
}

/** A table of what holds now. */
function rows(one: Measured): table.PanelBuilder {
  const builder = new table.PanelBuilder().datasource(METRICS).unit(one.unit).noValue(one.nothing ?? '');
  one.queries.forEach((asked, place) =>
    builder.withTarget(query(asked, place).instant().format(PromQueryFormat.Table)),
  );
  return builder;
}

function traceql(asked: string): tempo.DataqueryBuilder {
  return new tempo.DataqueryBuilder().refId('A').datasource(TRACES).queryType('traceql').query(asked).limit(20);
}

/** Traces that are found, each leading to its timeline. */
function found(asked: string): table.PanelBuilder {
  const toTimeline = { title: 'Timeline', url: '/d/farm-job?var-job=${job}&var-trace=${__value.raw}&${__url_time_range}' };
  return new table.PanelBuilder()
    .datasource(TRACES)
    .withTarget(traceql(asked).tableType(tempo.SearchTableType.Traces))
    .overrideByName('traceID', [{ id: 'links', value: [toTimeline] }]);
}

function timeline(asked: string): dashboard.PanelBuilder {
  return new dashboard.PanelBuilder().type('traces').datasource(TRACES).withTarget(traceql(asked));
}
