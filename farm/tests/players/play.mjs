// Plays a presentation from start to end in headless Chromium, with switches and seeks, in the players people use.
//
//   node play.mjs PRESENTATION_URL [--frame-rate 25] [--only CASE]...
//
// PRESENTATION_URL is the folder that holds master.m3u8 and manifest.mpd, as `farm play` serves it. The page with the
// players comes from another origin, so the CORS headers are tried too. Prints a line for each case: ok, FAILED, or
// skipped if the browser says that it does not play such codecs; exit status 1 if one failed, 2 if it could not run.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const HERE = dirname(fileURLToPath(import.meta.url));
const CASES = [
  { name: "hls-hlsjs", player: "hls.js", manifest: "master.m3u8" },
  { name: "hls-shaka", player: "shaka", manifest: "master.m3u8" },
  { name: "dash-shaka", player: "shaka", manifest: "manifest.mpd" },
  { name: "dash-dashjs", player: "dash.js", manifest: "manifest.mpd" },
];
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  ...["--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required", "--mute-audio"],
];
const CASE_LIMIT_MS = 90_000;
const STEP_LIMIT_MS = 30_000;
// Faster than life to save time, slow enough that two busy cores decode 720p without dropping frames.
const RATE = 2;

/** Serves the test page and the players' own files, nothing else. */
async function servePage() {
  const types = { ".html": "text/html", ".js": "text/javascript" };
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://page").pathname);
    const file = path.startsWith("/players/") ? join(HERE, "node_modules", path.slice(9)) : join(HERE, path);
    try {
      response.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
      response.end(await readFile(file));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

function expect(right, complaint) {
  if (!right) throw new Error(complaint);
}

/** Waits until `question` is answered with true in the page. */
async function until(page, what, question, argument) {
  await page.waitForFunction(question, argument, { timeout: STEP_LIMIT_MS, polling: 50 }).catch(async () => {
    const state = JSON.stringify(await page.evaluate(() => test.state()));
    throw new Error(`${what}: not within ${STEP_LIMIT_MS / 1000} s: ${state}`);
  });
}

async function pick(page, height) {
  await until(page, `settling before ${height}p`, () => test.settled());
  await page.evaluate((height) => test.pick(height), height);
}

/** From start to end, with a switch up and one down while playing. */
async function playThrough(page, duration, heights) {
  const [low, high] = [heights[0], heights.at(-1)];
  await pick(page, low);
  await page.evaluate((rate) => test.play(rate), RATE);
  const switches = heights.length > 1 ? [high, low] : [];
  for (const [index, height] of switches.entries()) {
    await until(page, "playing", (time) => test.time() > time, duration * (0.1 + 0.3 * index));
    await pick(page, height);
    await until(page, `switching to ${height}p`, (height) => test.height() === height, height);
  }
  await until(page, "playing to the end", () => test.ended());
}

function checkPlayed(state, frameRate) {
  const { duration, time, decoded, dropped, corrupted, audioBytes, widest } = state;
  expect(time >= duration - 0.1, `ended at ${time} of ${duration} s`);
  expect(corrupted === 0, `${corrupted} corrupted frames`);
  expect(decoded >= duration * frameRate * 0.9, `${decoded} frames decoded in ${duration} s`);
  expect(dropped <= decoded * 0.2, `${dropped} of ${decoded} frames dropped`);
  expect(audioBytes > 0, "no audio was decoded");
  expect(widest < 0.5, `the picture stood still for ${widest.toFixed(2)} s of media`);
}

/** Buffers the whole presentation again: audio and video without a gap, both from start to end. */
async function bufferAll(page) {
  await page.evaluate(() => {
    test.bufferAll();
    test.seek(0);
  });
  await until(page, "buffering all of it", (slack) => test.whole(slack), 0.1);
}

/** Back and forth; the frame shown after each seek is the one that covers the time asked for. */
async function seekAbout(page, duration, frameRate) {
  for (const part of [0.8, 0.1, 0.55, 0.95, 0]) {
    const time = duration * part;
    await page.evaluate((time) => test.seek(time), time);
    const shows = ([time, frame]) => test.shows(time, frame);
    await until(page, `showing the frame of ${time} s`, shows, [time, 1 / frameRate]);
    await page.evaluate(() => test.goOn());
  }
}

/** The codecs of the multivariant playlist that this browser does not play. */
async function unplayable(browser, presentation) {
  const text = await (await fetch(new URL("master.m3u8", presentation))).text();
  const codecs = new Set([...text.matchAll(/CODECS="([^"]+)"/g)].flatMap(([, list]) => list.split(",")));
  const page = await browser.newPage();
  const plays = (codec) => MediaSource.isTypeSupported(`video/mp4; codecs="${codec}"`);
  const found = [];
  for (const codec of codecs) if (!(await page.evaluate(plays, codec))) found.push(codec);
  await page.close();
  return found;
}

async function runCase(browser, origin, presentation, { player, manifest }, frameRate) {
  const page = await browser.newPage();
  page.setDefaultTimeout(STEP_LIMIT_MS);
  const failures = [];
  page.on("response", (answer) => answer.status() >= 400 && failures.push(`${answer.status()} ${answer.url()}`));
  page.on("pageerror", (error) => failures.push(`page: ${error.message}`));
  try {
    await page.goto(`${origin}/page.html`);
    await page.waitForFunction(() => window.test);
    const url = new URL(manifest, presentation).href;
    const { duration, heights } = await page.evaluate(([player, url]) => test.load(player, url), [player, url]);
    expect(duration > 0, `duration is ${duration}`);
    await playThrough(page, duration, heights);
    const played = await page.evaluate(() => test.state());
    checkPlayed(played, frameRate);
    await bufferAll(page);
    await seekAbout(page, duration, frameRate);
    const { complaints } = await page.evaluate(() => test.state());
    expect(complaints.length + failures.length === 0, [...complaints, ...failures].join("; "));
    const { decoded, dropped } = played;
    return `${duration.toFixed(2)} s, ${heights.join("/")}, ${decoded} frames decoded, ${dropped} dropped`;
  } catch (error) {
    const { complaints } = await page.evaluate(() => test.state()).catch(() => ({ complaints: [] }));
    throw new Error([error.message, ...complaints, ...failures].join("; "));
  } finally {
    await page.close();
  }
}

function limit(promise, milliseconds, what) {
  let timer;
  const late = new Promise((_, failed) => {
    timer = setTimeout(() => failed(new Error(`${what} took over ${milliseconds / 1000} s`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { "frame-rate": { type: "string", default: "25" }, only: { type: "string", multiple: true } },
  });
  if (positionals.length !== 1) throw new Error("usage: play.mjs PRESENTATION_URL [--frame-rate 25] [--only CASE]...");
  const presentation = positionals[0].endsWith("/") ? positionals[0] : `${positionals[0]}/`;
  const cases = CASES.filter(({ name }) => !values.only || values.only.includes(name));
  if (cases.length === 0) throw new Error(`no case is called ${values.only}`);
  const server = await servePage();
  const origin = `http://127.0.0.1:${server.address().port}`;
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const missing = await unplayable(browser, presentation);
  let failed = 0;
  for (const one of cases) {
    if (missing.length > 0) {
      console.log(`skipped ${one.name}: this browser does not play ${missing.join(", ")}`);
      continue;
    }
    try {
      const run = runCase(browser, origin, presentation, one, Number(values["frame-rate"]));
      console.log(`ok      ${one.name}: ${await limit(run, CASE_LIMIT_MS, one.name)}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${one.name}: ${error.message}`);
    }
  }
  await browser.close();
  server.close();
  return failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
