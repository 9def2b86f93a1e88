/** The dashboards, by what their addresses in Grafana end with. */
export const DASHBOARDS = {
  farm: 'Farm',
  'farm-workers': 'Workers and GPUs',
  'farm-job': 'Job',
  'farm-control-plane': 'Control plane',
  'farm-cost': 'Cost and capacity',
} as const;

export type DashboardUid = keyof typeof DASHBOARDS;
