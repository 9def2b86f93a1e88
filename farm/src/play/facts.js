// What the page says about the presentation: renditions from the playlist, the rest from the certificate.

import { clock, megabits, megabytes } from './text.js';

const at = (id) => document.getElementById(id);

function element(name, text, kind = '') {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function row(cells, now) {
  const made = document.createElement('tr');
  made.classList.toggle('now', now);
  made.append(...cells.map((text, column) => element('td', text, column > 2 ? 'number' : '')));
  return made;
}

/** One row a rendition; those that play now are marked. */
export function showRenditions(hls) {
  const folder = (urls) => decodeURIComponent(String(urls)).split('/').at(-2) ?? '';
  const video = hls.levels.map((level, number) => row([
    folder(level.url?.[0] ?? level.uri),
    level.height ? `${level.width} × ${level.height}${level.frameRate ? `, ${+level.frameRate.toFixed(3)} fps` : ''}` : 'sound only',
    [level.videoCodec, level.audioCodec].filter(Boolean).join(', '),
    megabits(level.averageBitrate),
    megabits(level.maxBitrate),
  ], number === hls.currentLevel)).reverse();
  const audio = hls.audioTracks.filter((track) => track.url).map((track, number) => row([
    folder(track.url),
    [track.name, track.lang, track.channels && `${track.channels} channels`].filter(Boolean).join(', '),
    track.audioCodec ?? '',
    '', '',
  ], number === hls.audioTrack));
  at('renditions').replaceChildren(...video, ...audio);
}

const VERDICTS = {
  STANDARD: ['good', 'nothing unusual'],
  NON_STANDARD: ['warn', 'unusual, handled'],
};

/** The certificate's facts: verdict, source, what was checked, findings. */
export function showCertificate({ source, duration_ms: length, video, audio, chunks, farm }) {
  const [kind, words] = VERDICTS[source.verdict] ?? ['bad', ''];
  const badge = at('state');
  badge.className = `badge ${kind}`;
  badge.textContent = [source.verdict, words].filter(Boolean).join(' – ');
  const picture = source.video;
  const frames = chunks.reduce((sum, chunk) => sum + chunk.frames, 0);
  const lines = [
    ['Length', clock(length / 1000)],
    ['Container', `${source.container}, ${megabytes(source.size_bytes)}`],
    ['Video', picture && `${picture.codec}, ${picture.width_px} × ${picture.height_px}, ${picture.pixel_format}`],
    ...source.audio.map((stream) => ['Audio',
      `${stream.codec}, ${stream.sample_rate_hz} Hz, ${stream.channels} ch, ${stream.language}`]),
    ...source.ignored.map((text) => ['Left out', text]),
    ['Checked', picture && `${frames} frames in ${chunks.length} chunk${chunks.length === 1 ? '' : 's'}`],
    ['Made', `${megabytes([...video, ...audio].reduce((sum, made) => sum + made.track.bytes, 0))} by farm ${farm}`],
  ];
  at('source').replaceChildren(...lines.filter(([, value]) => value)
    .flatMap(([name, value]) => [element('dt', name), element('dd', value)]));
  at('findings').replaceChildren(...source.findings.map((finding) => {
    const made = element('li', `${finding.text} → ${finding.handling} `);
    made.append(element('code', finding.code));
    return made;
  }));
}
