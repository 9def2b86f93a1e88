/** Numbers as people read them, by Grafana's names of units. */

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const DECIMAL = ['', 'k', 'M', 'G', 'T', 'P'];
const TIMES: [number, string][] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
  [1, 's'],
  [0.001, 'ms'],
];

/** `value` with its unit. */
export function spelled(value: number, unit: string, decimals?: number): string {
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? '–' : '∞';
  }
  if (unit.startsWith('suffix:')) {
    return `${short(value, decimals)}${unit.slice('suffix:'.length)}`;
  }
  switch (unit) {
    case 's':
      return time(value);
    case 'bytes':
      return scaled(value, 1024, BINARY);
    case 'Bps':
      return `${scaled(value, 1000, DECIMAL)}B/s`;
    case 'bps':
      return `${scaled(value, 1000, DECIMAL)}bit/s`;
    case 'percentunit':
      return `${short(value * 100, decimals)} %`;
    case 'celsius':
      return `${short(value, decimals)} °C`;
    case 'watt':
      return `${short(value, decimals)} W`;
    case 'dB':
      return `${short(value, decimals)} dB`;
    case 'reqps':
      return `${short(value, decimals)}/s`;
    default:
      return short(value, decimals);
  }
}

function time(value: number): string {
  const [length, name] = TIMES.find(([length]) => Math.abs(value) >= length) ?? [1, 's'];
  return `${short(value / length)} ${name}`;
}

function scaled(value: number, step: number, names: string[]): string {
  const place = value === 0 ? 0 : Math.floor(Math.log(Math.abs(value)) / Math.log(step));
  const at = Math.min(Math.max(place, 0), names.length - 1);
  return `${short(value / step ** at)} ${names[at] ?? ''}`;
}

/** Three digits, if nobody says how many. */
function short(value: number, decimals?: number): string {
  if (decimals !== undefined) {
    return value.toFixed(decimals);
  }
  return Math.abs(value) >= 10_000 ? scaled(value, 1000, DECIMAL) : String(Number(value.toPrecision(3)));
}
