// Runs in the browser: the three players behind one small face, and the watching that play.mjs asks about.
//
// A player is {load(url), heights(), settled(), pick(height), bufferAll()}; it is asked to pick only when it has settled. Whatever a
// player or the media element complains about, a stall or a jumped gap included, lands in `complaints`.

const video = document.getElementById("video");
const complaints = [];
const sourceBuffers = [];
const complain = (who, what) => complaints.push(`${who}: ${what}`);

// Players own their source buffers; this is how the test sees audio and video apart.
const addSourceBuffer = MediaSource.prototype.addSourceBuffer;
MediaSource.prototype.addSourceBuffer = function (type) {
  const buffer = addSourceBuffer.call(this, type);
  sourceBuffers.push({ type, buffer });
  return buffer;
};

video.addEventListener("error", () => complain("video", video.error?.message ?? "error"));
addEventListener("error", (event) => complain("page", event.message));
addEventListener("unhandledrejection", (event) => complain("page", String(event.reason)));

function script(path) {
  return new Promise((loaded, failed) => {
    const tag = Object.assign(document.createElement("script"), { src: path, onload: loaded });
    tag.onerror = () => failed(new Error(`${path} does not load`));
    document.head.append(tag);
  });
}

const players = {
  async "hls.js"() {
    await script("/players/hls.js/dist/hls.js");
    const hls = new Hls({ startLevel: 0, maxBufferLength: 3600 });
    hls.on(Hls.Events.ERROR, (_, data) => {
      // A switch gives up the segment that is being loaded, and says so.
      if (data.details === Hls.ErrorDetails.INTERNAL_ABORTED && !data.fatal) return;
      // A flush that a switch asked for may overtake an append. Media that is wrong fails again.
      if (data.details === Hls.ErrorDetails.BUFFER_APPEND_NO_PROGRESS && data.appendsWithoutProgress === 1) return;
      complain("hls.js", `${data.details} ${data.error?.message ?? ""}`);
    });
    return {
      load: (url) =>
        new Promise((parsed) => {
          hls.on(Hls.Events.MANIFEST_PARSED, parsed);
          hls.loadSource(url);
          hls.attachMedia(video);
        }),
      heights: () => hls.levels.map((level) => level.height),
      // A switch flushes what is ahead, sound too. A segment that is being appended meanwhile is lost, and not loaded again.
      settled: () => test.ahead(0.1),
      pick: (height) => (hls.nextLevel = hls.levels.findIndex((level) => level.height === height)),
      bufferAll() {},
    };
  },

  async shaka() {
    await script("/players/shaka-player/dist/shaka-player.compiled.js");
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    await player.attach(video);
    player.configure({ abr: { enabled: false }, streaming: { bufferingGoal: 3600 } });
    player.addEventListener("error", ({ detail }) => complain("shaka", `${detail.code} ${detail.data}`));
    for (const jump of ["gapjumped", "stalldetected"]) player.addEventListener(jump, () => complain("shaka", jump));
    return {
      load: (url) => player.load(url),
      heights: () => [...new Set(player.getVariantTracks().map((track) => track.height))],
      pick: (height) => player.selectVariantTrack(player.getVariantTracks().find((t) => t.height === height), true),
      settled: () => true,
      bufferAll() {},
    };
  },

  async "dash.js"() {
    await script("/players/dashjs/dist/modern/umd/dash.all.min.js");
    const player = dashjs.MediaPlayer().create();
    // It jumps gaps without a word; told not to, it stands still there and the test says so. A switch concerns what is
    // not buffered yet, so little is.
    const ahead = (seconds) => ({ bufferTimeDefault: seconds, bufferTimeAtTopQuality: seconds });
    const streaming = { abr: { autoSwitchBitrate: { video: false } }, gaps: { jumpGaps: false }, buffer: ahead(2) };
    player.updateSettings({ streaming });
    const events = dashjs.MediaPlayer.events;
    player.on(events.ERROR, ({ error }) => complain("dash.js", error?.message ?? error));
    player.on(events.PLAYBACK_ERROR, ({ error }) => complain("dash.js", error?.message ?? error));
    return {
      load: (url) =>
        new Promise((ready) => {
          player.on(events.STREAM_INITIALIZED, ready);
          player.initialize(video, url, false);
        }),
      heights: () => player.getRepresentationsByType("video").map((representation) => representation.height),
      settled: () => true,
      pick(height) {
        const wanted = player.getRepresentationsByType("video").find((r) => r.height === height);
        player.setRepresentationForTypeById("video", wanted.id);
      },
      bufferAll: () => player.updateSettings({ streaming: { buffer: ahead(3600) } }),
    };
  },
};

const ranges = (buffered) => Array.from({ length: buffered.length }, (_, i) => [buffered.start(i), buffered.end(i)]);

// What is buffered of video, and of audio.
const kinds = () =>
  ["video", "audio"].map((kind) => ranges(sourceBuffers.find(({ type }) => type.startsWith(kind)).buffer.buffered));

const happened = (event) => new Promise((done) => video.addEventListener(event, done, { once: true }));

let player;
let widest = 0; // the widest step between frames shown one after another, in media seconds
let last = null;
function watch(_, frame) {
  if (last !== null) widest = Math.max(widest, frame.mediaTime - last);
  last = frame.mediaTime;
  video.requestVideoFrameCallback(watch);
}

window.test = {
  async load(name, url) {
    player = await players[name]();
    await player.load(url);
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) await happened("loadeddata");
    return { heights: player.heights().sort((a, b) => a - b), duration: video.duration };
  },
  settled: () => player.settled(),
  pick: (height) => void player.pick(height),
  bufferAll: () => void player.bufferAll(),
  async play(rate) {
    video.playbackRate = rate;
    video.requestVideoFrameCallback(watch);
    await video.play();
  },
  // Both kinds are buffered in one range, from start to end.
  whole: (slack) =>
    kinds().every(([range, ...more]) => range && more.length === 0 && range[0] < slack && range[1] > video.duration - slack),
  // Both kinds are buffered in one range, from here to the end.
  ahead: (slack) =>
    kinds().every((all) => all.some(([from, to]) => from <= video.currentTime + slack && to > video.duration - slack)),
  height: () => video.videoHeight,
  time: () => video.currentTime,
  ended: () => video.ended,
  // Seeks while paused, so that the frame shown afterwards stays.
  seek(time) {
    video.pause();
    last = null;
    video.currentTime = time;
  },
  // The frame that covers `time` is shown, and no other: the one before ends, the one after begins elsewhere.
  shows: (time, frame) => !video.seeking && last !== null && last < time + 0.002 && time < last + frame + 0.002,
  async goOn() {
    const from = video.currentTime;
    await video.play();
    await Promise.race([happened("timeupdate"), happened("ended")]);
    while (video.currentTime < from + 0.2 && !video.ended) await new Promise(requestAnimationFrame);
  },
  state() {
    const { totalVideoFrames, droppedVideoFrames, corruptedVideoFrames } = video.getVideoPlaybackQuality();
    return {
      time: video.currentTime,
      duration: video.duration,
      decoded: totalVideoFrames,
      dropped: droppedVideoFrames,
      corrupted: corruptedVideoFrames,
      audioBytes: video.webkitAudioDecodedByteCount,
      widest,
      shown: last,
      buffers: sourceBuffers.map(({ type, buffer }) => ({ type, ranges: ranges(buffer.buffered) })),
      complaints,
    };
  },
};
