// Numbers and times as people read them, and the storyboard's WebVTT.

/** `75.4` → `1:15`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  const pad = (n) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

/** Bits per second → `2.8 Mb/s` or `128 kb/s`. */
export function megabits(bps) {
  if (!bps || !Number.isFinite(bps)) return '–';
  return bps < 1e6 ? `${Math.round(bps / 1e3)} kb/s` : `${(bps / 1e6).toFixed(bps < 1e7 ? 1 : 0)} Mb/s`;
}

/** Bytes → `12.3 MB`. */
export function megabytes(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

const CUE = /([\d:.]+)\s+-->\s+([\d:.]+)[^\n]*\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)/g;
const seconds = (text) => text.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);

/** WebVTT cues with `image#xywh=x,y,w,h` payloads, in order of time. */
export function parseStoryboard(text) {
  return [...text.replaceAll('\r\n', '\n').matchAll(CUE)].map(([, start, end, image, x, y, width, height]) => ({
    start: seconds(start),
    end: seconds(end),
    image,
    x: Number(x),
    y: Number(y),
    width: Number(width),
    height: Number(height),
  }));
}
