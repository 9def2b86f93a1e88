/** A duration as Prometheus writes it: a number and one of s, m, h, d. */
export type Duration = `${number}${'s' | 'm' | 'h' | 'd'}`;

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** Seconds of a duration. */
export function seconds(duration: Duration): number {
  const unit = duration.slice(-1) as keyof typeof SECONDS;
  return Number(duration.slice(0, -1)) * SECONDS[unit];
}

/** Time as alerts see it: as it is, or so many times faster, for tests that can't wait. */
export class Clock {
  constructor(private readonly timesFaster = 1) {}

  /** A window or a `for:`; whole seconds, at least one. */
  duration(usual: Duration): Duration {
    return this.timesFaster === 1 ? usual : `${Math.max(1, Math.round(seconds(usual) / this.timesFaster))}s`;
  }

  /** An age that is compared with a metric in seconds. */
  age(usual: Duration): number {
    return seconds(this.duration(usual));
  }
}
