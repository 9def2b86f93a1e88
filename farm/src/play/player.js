// The page of `farm play`: hls.js where the browser has Media Source Extensions, the browser's own HLS elsewhere.

import { clock, megabits, parseStoryboard } from './text.js';
import { showCertificate, showRenditions } from './facts.js';

const { playlist, certificate } = document.body.dataset;
const at = (id) => document.getElementById(id);
const player = at('player');
const video = at('video');
const seek = at('seek');
let hls = null;
let tiles = [];

// ---- what is there -------------------------------------------------------------------------------------------------

const RETRY_MS = 3000;

async function find(path) {
  const answer = await fetch(path, { cache: 'no-cache' }).catch(() => null);
  return answer?.ok ? answer : null;
}

function notice(text) {
  at('notice').textContent = text;
  at('notice').hidden = !text;
}

async function begin() {
  const complete = await readCertificate();
  if (!(await find(playlist))) {
    notice('Nothing to play yet: the first segments are being made.');
    setTimeout(begin, RETRY_MS);
    return;
  }
  notice('');
  attach(complete);
}

/** Shows the certificate once the presentation is complete; until then looks again now and then. */
async function readCertificate() {
  const answer = await find(certificate);
  const badge = at('state');
  badge.hidden = false;
  if (!answer) {
    badge.textContent = 'being made';
    setTimeout(readCertificate, RETRY_MS);
    return false;
  }
  badge.textContent = '';
  const facts = await answer.json();
  showCertificate(facts);
  if (facts.poster) video.poster = facts.poster.key;
  const storyboard = facts.storyboard.length ? await find('storyboard.vtt') : null;
  if (storyboard) tiles = parseStoryboard(await storyboard.text());
  return true;
}

// ---- playing -------------------------------------------------------------------------------------------------------

function attach(complete) {
  if (!window.Hls?.isSupported()) {
    video.src = playlist;
    video.addEventListener('loadedmetadata', nativeMenus, { once: true });
    return;
  }
  hls = new Hls({ startPosition: complete ? -1 : 0, capLevelToPlayerSize: false });
  hls.on(Hls.Events.MANIFEST_PARSED, () => { qualityMenu(); showRenditions(hls); });
  hls.on(Hls.Events.AUDIO_TRACKS_UPDATED, () => { audioMenu(); showRenditions(hls); });
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => {
    showRenditions(hls);
    if (hls.autoLevelEnabled) at('quality').options[0].textContent = `Auto (${levelName(hls.levels[level])})`;
  });
  hls.on(Hls.Events.ERROR, (_, error) => {
    if (!error.fatal) return;
    const recover = error.type === Hls.ErrorTypes.MEDIA_ERROR && !hls.recovered;
    if (recover) { hls.recovered = true; hls.recoverMediaError(); return; }
    notice(`Playing stopped: ${error.details} ${error.error?.message ?? ''}`);
  });
  hls.loadSource(playlist);
  hls.attachMedia(video);
  window.player = { hls, video }; // for looking around in the browser's console
}

function levelName(level) {
  if (!level?.height) return 'sound only';
  const rate = Math.round(level.frameRate || 0);
  return `${Math.min(level.width, level.height)}p${rate > 30 ? rate : ''}`;
}

function qualityMenu() {
  const menu = at('quality');
  player.classList.toggle('sound', !hls.levels.some((level) => level.height));
  const choices = hls.levels
    .map((level, number) => new Option(`${levelName(level)} · ${megabits(level.averageBitrate || level.bitrate)}`, number))
    .reverse();
  menu.replaceChildren(new Option('Auto', -1), ...choices);
  menu.onchange = () => { hls.nextLevel = Number(menu.value); menu.options[0].textContent = 'Auto'; };
  at('quality-menu').hidden = hls.levels.length < 2;
}

function audioMenu() {
  const menu = at('audio');
  menu.replaceChildren(...hls.audioTracks.map((track, number) =>
    new Option(track.name || track.lang || `Track ${number + 1}`, number, false, number === hls.audioTrack)));
  menu.onchange = () => { hls.audioTrack = Number(menu.value); };
  at('audio-menu').hidden = hls.audioTracks.length < 2;
}

function nativeMenus() {
  const tracks = [...(video.audioTracks ?? [])];
  at('audio').replaceChildren(...tracks.map((track, number) => new Option(track.label || track.language, number)));
  at('audio').onchange = () => tracks.forEach((track, number) => { track.enabled = number === Number(at('audio').value); });
  at('audio-menu').hidden = tracks.length < 2;
}

// ---- controls ------------------------------------------------------------------------------------------------------

const toggle = () => (video.paused ? video.play() : video.pause());
const full = () => {
  if (document.fullscreenElement) return document.exitFullscreen();
  return player.requestFullscreen ? player.requestFullscreen() : video.webkitEnterFullscreen();
};
const length = () => (Number.isFinite(video.duration) ? video.duration : 0);

function drawPosition() {
  const total = length();
  const ranges = video.buffered;
  const loaded = ranges.length ? ranges.end(ranges.length - 1) : 0;
  const part = (seconds) => `${total ? (100 * seconds) / total : 0}%`;
  seek.max = total;
  if (!seek.matches(':active')) seek.value = video.currentTime;
  seek.style.setProperty('--track',
    `linear-gradient(to right, #8ab0ff ${part(video.currentTime)}, #fffa 0 ${part(loaded)}, #fff4 0)`);
  seek.setAttribute('aria-valuetext', clock(video.currentTime));
  at('now').textContent = clock(video.currentTime);
  at('end').textContent = clock(total);
}

function drawState() {
  player.classList.toggle('playing', !video.paused);
  player.classList.toggle('muted', video.muted || video.volume === 0);
  if (!video.paused || video.currentTime > 0) player.classList.add('begun');
  const volume = video.muted ? 0 : video.volume;
  at('volume').value = volume;
  at('volume').style.setProperty('--track', `linear-gradient(to right, #fff ${volume * 100}%, #fff5 0)`);
}

function drawLive() {
  if (!hls || video.paused) return;
  const level = hls.levels[hls.currentLevel];
  const quality = video.getVideoPlaybackQuality();
  const ahead = video.buffered.length ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0;
  const parts = [
    level?.height ? `${level.width} × ${level.height}` : 'sound only',
    `${Math.max(0, ahead).toFixed(0)} s buffered`,
    `${quality.droppedVideoFrames} of ${quality.totalVideoFrames} frames dropped`,
    `link ${megabits(hls.bandwidthEstimate)}`,
  ];
  at('live').textContent = parts.join('  ·  ');
}

function showPreview(event) {
  const box = seek.getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  const time = share * length();
  const tile = tiles.find((cue) => time < cue.end) ?? tiles.at(-1);
  const preview = at('preview');
  const half = (tile?.width ?? 60) / 2;
  preview.style.left = `${Math.min(box.width - half, Math.max(half, share * box.width))}px`;
  at('preview-time').textContent = clock(time);
  at('tile').hidden = !tile;
  if (tile) {
    Object.assign(at('tile').style, {
      width: `${tile.width}px`,
      height: `${tile.height}px`,
      backgroundImage: `url("${tile.image}")`,
      backgroundPosition: `-${tile.x}px -${tile.y}px`,
    });
  }
  preview.hidden = !length();
}

let idleTimer = 0;
function wake() {
  player.classList.remove('idle');
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => player.classList.toggle('idle', !video.paused), 2500);
}

const keys = {
  ' ': toggle,
  k: toggle,
  f: full,
  m: () => { video.muted = !video.muted; },
  ArrowLeft: () => { video.currentTime = Math.max(0, video.currentTime - 5); },
  ArrowRight: () => { video.currentTime = Math.min(length(), video.currentTime + 5); },
};

document.addEventListener('keydown', (event) => {
  const typing = event.target.closest('select, input, button, a');
  const action = keys[event.key];
  if (!action || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
  wake();
});
for (const id of ['play', 'start', 'video']) at(id).addEventListener('click', toggle);
at('full').addEventListener('click', full);
at('mute').addEventListener('click', keys.m);
at('volume').addEventListener('input', () => { video.muted = false; video.volume = Number(at('volume').value); });
seek.addEventListener('input', () => { video.currentTime = Number(seek.value); });
seek.addEventListener('pointermove', showPreview);
seek.addEventListener('pointerleave', () => { at('preview').hidden = true; });
player.addEventListener('pointermove', wake);
for (const name of ['timeupdate', 'progress', 'durationchange', 'seeking']) video.addEventListener(name, drawPosition);
for (const name of ['play', 'pause', 'volumechange', 'seeked']) video.addEventListener(name, drawState);
video.addEventListener('loadedmetadata', () => {
  if (video.videoWidth) video.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
});
setInterval(drawLive, 500);
drawState();
begin();
