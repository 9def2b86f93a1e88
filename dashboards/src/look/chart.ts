/** Series as lines and areas. */
import type { Named } from './answers';
import type { Span } from './prometheus';
import { spelled } from './unit';

export interface Line extends Named {
  color: string;
}

export interface Looks {
  unit: string;
  max?: number;
  stacked: boolean;
  /** Pixels. */
  width: number;
  height: number;
  /** Where dashed lines are drawn, and in which colour. */
  limits: { value: number; color: string }[];
}

/** Room for what is written beside the axis. */
const LEFT = 62;
const BOTTOM = 16;
const COLORS = ['#7eb26d', '#eab839', '#6ed0e0', '#ef843c', '#e24d42', '#1f78c1', '#ba43a9', '#705da0', '#508642', '#cca300'];

export function color(place: number): string {
  return COLORS[place % COLORS.length] ?? 'grey';
}

/** The drawing, without its legend. */
export function chart(lines: Line[], span: Span, looks: Looks): string {
  const { width, height } = looks;
  const layers = looks.stacked ? stacked(lines) : lines.map(({ points }) => ({ points, base: [] as [number, number][] }));
  const seen = layers.flatMap(({ points }) => points.map(([, value]) => value)).filter(Number.isFinite);
  const near = looks.limits.map(({ value }) => value).filter((value) => value < 3 * Math.max(...seen, 0));
  const most = looks.max ?? (Math.max(...seen, ...near, 0) * 1.1 || 1);
  const x = (at: number): number => LEFT + ((at - span.from) / (span.to - span.from)) * (width - LEFT);
  const y = (value: number): number => (height - BOTTOM) * (1 - Math.min(value, most) / most);
  const place = ([at, value]: [number, number]): string => `${x(at).toFixed(1)},${y(value).toFixed(1)}`;
  const drawn = layers.map(({ points, base }, number) => {
    const of = lines[number]?.color ?? 'grey';
    const stretches = unbroken(points, span.step * 3);
    const area = [...points.map(place), ...base.slice().reverse().map(place)].join(' ');
    const fill = looks.stacked ? `<polygon points="${area}" fill="${of}" fill-opacity="0.4"/>` : '';
    return fill + stretches.map((part) => `<polyline points="${part.map(place).join(' ')}" stroke="${of}"/>`).join('');
  });
  const limits = looks.limits
    .filter(({ value }) => value <= most)
    .map(({ value, color: of }) => `<line x1="${LEFT}" x2="${width}" y1="${y(value)}" y2="${y(value)}" stroke="${of}" stroke-dasharray="6 4"/>`);
  const marks = [0, 0.5, 1].map((part) => {
    const at = y(most * part);
    return (
      `<line x1="${LEFT}" x2="${width}" y1="${at}" y2="${at}" stroke="#333"/>` +
      `<text x="${LEFT - 6}" y="${Math.max(at + 4, 11)}" text-anchor="end">${spelled(most * part, looks.unit)}</text>`
    );
  });
  const times = [0, 0.5, 1].map((part) => {
    const at = span.from + part * (span.to - span.from);
    const anchor = part === 1 ? 'end' : part === 0 ? 'start' : 'middle';
    return `<text x="${x(at)}" y="${height - 3}" text-anchor="${anchor}">${new Date(at * 1000).toISOString().slice(11, 16)}</text>`;
  });
  const parts = [...marks, ...times, ...drawn, ...limits].join('');
  return `<svg viewBox="0 0 ${width} ${height}">${parts}</svg>`;
}

/** Parts of a line between which nothing is known. */
function unbroken(points: [number, number][], longest: number): [number, number][][] {
  const parts: [number, number][][] = [];
  let last: [number, number] | undefined;
  for (const point of points.filter(([, value]) => Number.isFinite(value))) {
    if (last === undefined || point[0] - last[0] > longest) {
      parts.push([]);
    }
    parts.at(-1)?.push(point);
    last = point;
  }
  return parts;
}

/** Each line on top of those before it. */
function stacked(lines: Line[]): { points: [number, number][]; base: [number, number][] }[] {
  const sums = new Map<number, number>();
  return lines.map(({ points }) => {
    const base = points.map(([at]): [number, number] => [at, sums.get(at) ?? 0]);
    points.forEach(([at, value]) => sums.set(at, (sums.get(at) ?? 0) + (Number.isFinite(value) ? value : 0)));
    return { points: points.map(([at]): [number, number] => [at, sums.get(at) ?? 0]), base };
  });
}
