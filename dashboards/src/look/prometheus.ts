/** What Prometheus answers. */

/** One series: its labels, and what it was when. */
export interface Series {
  labels: Record<string, string>;
  /** Seconds of UNIX time, and values. */
  points: [number, number][];
}

export interface Span {
  /** Seconds of UNIX time. */
  from: number;
  to: number;
  step: number;
}

interface Answer {
  status: string;
  error?: string;
  data: { result: { metric: Record<string, string>; value?: [number, string]; values?: [number, string][] }[] };
}

export class Prometheus {
  constructor(private readonly url: string) {}

  /** What a graph shows. */
  async range(expr: string, { from, to, step }: Span): Promise<Series[]> {
    return this.ask('query_range', { query: expr, start: `${from}`, end: `${to}`, step: `${step}` });
  }

  /** What a table shows. */
  async now(expr: string, at: number): Promise<Series[]> {
    return this.ask('query', { query: expr, time: `${at}` });
  }

  private async ask(what: string, asked: Record<string, string>): Promise<Series[]> {
    const response = await fetch(`${this.url}/api/v1/${what}`, { method: 'POST', body: new URLSearchParams(asked) });
    const answer = (await response.json()) as Answer;
    if (answer.status !== 'success') {
      throw new Error(`${asked['query']}: ${answer.error ?? response.statusText}`);
    }
    return answer.data.result.map(({ metric, value, values }) => ({
      labels: metric,
      points: (values ?? (value === undefined ? [] : [value])).map(([at, text]) => [at, number(text)]),
    }));
  }
}

/** Prometheus writes what has no end in its own way. */
function number(text: string): number {
  return Number(text.replace('Inf', 'Infinity'));
}
