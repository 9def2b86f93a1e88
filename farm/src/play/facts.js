// What the page says about the presentation: renditions from the playlist, the rest from the certificate.

import { clock, megabits } from './text.js';

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

/** The certificate's facts: verdict, source, findings. */
export function showCertificate(facts) {
  const source = facts.source ?? {};
  const verdict = facts.verdict ?? source.verdict;
  const [kind, words] = VERDICTS[verdict] ?? ['bad', ''];
  const badge = at('state');
  badge.className = `badge ${kind}`;
  badge.textContent = verdict ? `${verdict}${words && ` – ${words}`}` : 'complete';
  const duration = facts.duration_seconds ?? source.duration_seconds;
  const lines = [
    ['Verdict', verdict],
    ['Container', source.container],
    ['Length', duration === undefined ? undefined : clock(duration)],
  ];
  at('source').replaceChildren(...lines.filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [element('dt', name), element('dd', value)]));
  const findings = facts.findings ?? source.findings ?? [];
  at('findings').replaceChildren(...findings.map((finding) => {
    const made = element('li', `${finding.text} → ${finding.handling} `);
    made.append(element('code', finding.code));
    return made;
  }));
}
