#!/usr/bin/env python3
"""`farm transcode` against FFmpeg's ways of making the same ladder, side by side on this machine.

    transcode.py --farm target/release/farm [--runs 5] [--seconds 65] [--preset veryfast] [--only NAME ...]

  farm           farm transcode --rungs all, every process of it
  one            one FFmpeg process: decode once, split, scale, encode every rung, CMAF segments in HLS, AAC;
                 with FFmpeg's own choice of threads, and with one thread an encoder
  each           one FFmpeg process for each rung, one after another
  x264           nothing but x264: each rung's raw pictures, from memory, one thread, one after another
  pair of x264   the same with the largest rung beside the others, so that both cores are busy, as the farm keeps them

All use the same x264 settings and key frames. The farm also makes DASH, I-frame playlists, a poster, a storyboard and
checksums. Runs are interleaved, so that whatever else the machine does meets all alike; ratios are taken run by run.
Figures go to target/bench/transcode.json, a table to standard output.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import threading
import time

import measure
from measure import LADDER, SAME_FRAMES, WORK, x264_options

AUDIO = ["-c:a", "aac", "-b:a", "128k", "-ac", "2"]


def out_folder():
    path = os.path.join(WORK, "out")
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def hls(folder, streams):
    return [
        *SAME_FRAMES,
        *["-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4"],
        *["-hls_list_size", "0", "-var_stream_map", streams, "-master_pl_name", "master.m3u8"],
        *["-hls_segment_filename", f"{folder}/%v/%06d.m4s", f"{folder}/%v/playlist.m3u8"],
    ]


def one_process(ffmpeg, source, preset, threads, cascade=False):
    """Decode once; every rung is scaled from the source, or with `cascade` from the next larger one."""
    folder, count = out_folder(), len(LADDER)
    if cascade:
        graph, last = [], "0:v:0"
        for i, (width, height, _) in enumerate(LADDER):
            end = f",split[o{i}][c{i}]" if i + 1 < count else f"[o{i}]"
            graph.append(f"[{last}]scale={width}:{height}:flags=bicubic{end}")
            last = f"c{i}"
    else:
        graph = [f"[0:v:0]split={count}" + "".join(f"[s{i}]" for i in range(count))]
        graph += [f"[s{i}]scale={w}:{h}:flags=bicubic[o{i}]" for i, (w, h, _) in enumerate(LADDER)]
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-i", source, "-filter_complex", ";".join(graph)]
    for i, (_, _, kbps) in enumerate(LADDER):
        command += ["-map", f"[o{i}]"]
        for option in range(0, len(pairs := x264_options(kbps, preset, threads=threads)), 2):
            command += [f"{pairs[option].split(':')[0]}:v:{i}", pairs[option + 1]]
    command += ["-map", "0:a:0", *AUDIO]
    streams = " ".join([f"v:{i},agroup:a" for i in range(count)] + ["a:0,agroup:a"])
    return [command + hls(folder, streams)]


def process_each(ffmpeg, source, preset):
    folder, commands = out_folder(), []
    for i, (width, height, kbps) in enumerate(LADDER):
        audio = ["-map", "0:a:0", *AUDIO] if i == 0 else []
        streams = "v:0,agroup:a a:0,agroup:a" if i == 0 else "v:0"
        os.makedirs(f"{folder}/{height}")
        command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-i", source, "-map", "0:v:0"]
        command += ["-vf", f"scale={width}:{height}:flags=bicubic", *x264_options(kbps, preset), *audio]
        commands.append(command + hls(f"{folder}/{height}", streams))
    return commands


def pure_x264(ffmpeg, source, preset):
    """The raw pictures of one rung at a time lie in memory; making them is not measured."""
    total = measure.Cost()
    raw = "/dev/shm/farm-bench.y4m"
    try:
        for width, height, kbps in LADDER:
            scale = ["-vf", f"scale={width}:{height}:flags=bicubic", "-pix_fmt", "yuv420p"]
            measure.run([ffmpeg, "-nostdin", "-v", "error", "-y", "-i", source, "-map", "0:v:0", *SAME_FRAMES, *scale, raw])
            encode = [ffmpeg, "-nostdin", "-v", "error", "-y", "-threads", "1", "-i", raw]
            encode += [*x264_options(kbps, preset, threads=1), "-f", "null", "-"]
            cost = measure.measure([encode])
            total.cpu_s += cost.cpu_s
            total.wall_s += cost.wall_s
            total.peak_mb = max(total.peak_mb, cost.peak_mb)
    finally:
        if os.path.exists(raw):
            os.remove(raw)
    return total


def pair_of_x264(ffmpeg, source, preset):
    """As `pure_x264`; what shares a core's caches and execution units costs what it costs the farm."""
    raws, encodes = [], []
    try:
        for width, height, kbps in LADDER:
            raws.append(f"/dev/shm/farm-bench-{height}.y4m")
            scale = ["-vf", f"scale={width}:{height}:flags=bicubic", "-pix_fmt", "yuv420p"]
            command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-i", source, "-map", "0:v:0", *SAME_FRAMES, *scale, raws[-1]]
            measure.run(command)
            encode = [ffmpeg, "-nostdin", "-v", "error", "-y", "-threads", "1", "-i", raws[-1]]
            encodes.append(shlex.join([*encode, *x264_options(kbps, preset, threads=1), "-f", "null", "-"]))
        largest, others = encodes[0], " && ".join(encodes[1:])
        return measure.measure([["bash", "-c", f"{largest} & first=$!; {others} && wait $first"]])
    finally:
        for raw in raws:
            if os.path.exists(raw):
                os.remove(raw)


def farm(program, source, preset, options):
    folder = out_folder()
    first = {}
    stop = threading.Event()
    began = time.monotonic()

    def watch():
        while not stop.wait(0.005):
            if "s" not in first and os.path.exists(f"{folder}/farm/master.m3u8"):
                first["s"] = time.monotonic() - began

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = [program, "transcode", source, f"{folder}/farm", "--rungs", "all", "--preset", preset, *options]
    cost = measure.measure([command])
    stop.set()
    watcher.join()
    return cost, first.get("s")


def methods(args, source):
    table = {"farm": lambda: farm(args.farm, source, args.preset, args.farm_option)}
    for version, path in measure.ffmpegs().items():
        table[f"one, {version}, its threads"] = lambda p=path: measure.measure(one_process(p, source, args.preset, None))
        table[f"one, {version}, 1 thread each"] = lambda p=path: measure.measure(one_process(p, source, args.preset, 1))
    cascade = lambda: measure.measure(one_process("ffmpeg", source, args.preset, None, cascade=True))
    table["one, cascade, its threads"] = cascade
    table["each"] = lambda: measure.measure(process_each("ffmpeg", source, args.preset))
    table["x264"] = lambda: pure_x264("ffmpeg", source, args.preset)
    table["pair of x264"] = lambda: pair_of_x264("ffmpeg", source, args.preset)
    if args.only:
        table = {name: do for name, do in table.items() if any(name.startswith(only) for only in args.only)}
    return table


def spread(values):
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


def report(rows, first):
    print("\n| way | CPU s (min / median / max) | wall s | peak MB, all | largest child MB | root MB |")
    print("|---|---|---|---|---|---|")
    for name, costs in rows.items():
        largest = [max((cost["largest_mb"].get(role, 0) for cost in costs), default=0) for role in ("child", "root")]
        cpu, wall = (spread([cost[key] for cost in costs]) for key in ("cpu_s", "wall_s"))
        peak = max(cost["peak_mb"] for cost in costs)
        print(f"| {name} | {cpu} | {wall} | {peak:.0f} | {largest[0]:.0f} | {largest[1]:.0f} |")
    print("\n| farm to | CPU (min / median / max of pairs) | wall |\n|---|---|---|")
    for name, costs in rows.items():
        if name != "farm" and "farm" in rows:
            ratios = [[a[key] / b[key] for a, b in zip(rows["farm"], costs)] for key in ("cpu_s", "wall_s")]
            print(f"| {name} | {spread(ratios[0])} | {spread(ratios[1])} |")
    if first:
        print(f"\nfirst playable: {spread(first)} s after the start")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--farm", default=os.path.join(measure.ROOT, "target/release/farm"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=65)
    parser.add_argument("--preset", default="veryfast")
    parser.add_argument("--source", help="1080p material to loop instead of the usual")
    parser.add_argument("--farm-option", action="append", default=[], help="one more option of farm transcode")
    parser.add_argument("--only", action="append", help="only ways whose name begins so")
    args = parser.parse_args()
    source = measure.clip(args.seconds, args.source)
    load = os.getloadavg()[0]
    print(f"{source}, preset {args.preset}, {os.cpu_count()} cores, load before {load:.2f}", flush=True)
    table = methods(args, source)
    rows, first = {name: [] for name in table}, []
    names = list(table)
    for number in range(args.runs):
        # Nobody always goes first, or always after the same neighbour.
        for name in names[number % len(names):] + names[: number % len(names)]:
            result = table[name]()
            cost, seconds = result if isinstance(result, tuple) else (result, None)
            if seconds is not None:
                first.append(seconds)
            rows[name].append(cost.as_dict())
            print(f"run {number + 1} {name}: {cost.cpu_s:.2f} CPU s, {cost.wall_s:.2f} s, {cost.peak_mb:.0f} MB", flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=measure.ROOT)
    figures = {"source": os.path.basename(source), "preset": args.preset, "cores": os.cpu_count(), "load": load}
    figures |= {"commit": commit.stdout.strip(), "rows": rows, "first_playable_s": first}
    with open(os.path.join(WORK, "transcode.json"), "w") as file:
        json.dump(figures, file, indent=1)
    report(rows, first)


if __name__ == "__main__":
    main()
