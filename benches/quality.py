#!/usr/bin/env python3
"""What cutting a video into chunks costs in quality: the farm's chunks against one unbroken x264 run.

    quality.py --farm target/release/farm [--seconds 30] [--preset veryfast]

Both encode 720p with the same settings and the same forced key frames, at four qualities. The table has rate, PSNR, SSIM
and, where an FFmpeg with libvmaf is at hand (`make bench` fetches one), VMAF. BD-rate is the average difference in rate at
equal quality, in percent; positive means that chunks cost rate. The last part looks at the three frames on each side of
every segment edge: a step there would show as a lower PSNR than the unbroken run has in the same place.
Figures go to target/bench/quality.json.
"""

import argparse
import bisect
import glob
import json
import math
import os
import re
import shutil
import statistics

import measure
from measure import SAME_FRAMES, WORK, x264_options

CRFS = [19, 23, 27, 31]
WIDTH, HEIGHT, KBPS = 1280, 720, 2800
EDGE_FRAMES = 3
PROFILE = """\
name = "quality"
poster = false

[video]
codec = "h264"
crf = {crf}
preset = "{preset}"
buffer_seconds = {buffer}.0
closest_pixel_ratio = 1.0

[[video.rungs]]
name = "720p"
width_px = {width}
height_px = {height}
bitrate_kbps = {kbps}
"""


def chunked(program, source, crf, preset):
    """The farm's rendition as one file, and the frame number of each segment's start."""
    profile, out = f"{WORK}/quality.toml", f"{WORK}/quality"
    shutil.rmtree(out, ignore_errors=True)
    text = PROFILE.format(crf=crf, preset=preset, buffer=measure.BUFFER_SECONDS, width=WIDTH, height=HEIGHT, kbps=KBPS)
    with open(profile, "w") as file:
        file.write(text)
    measure.run([program, "transcode", source, out, "--profile", profile, "--rungs", "all"])
    with open(f"{out}/720p/playlist.m3u8") as file:
        names = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    track, edges, frames = f"{WORK}/quality-{crf}-farm.mp4", [], 0
    with open(track, "wb") as joined:
        with open(glob.glob(f"{out}/720p/init.*.mp4")[0], "rb") as init:
            head = init.read()
        joined.write(head)
        for name in names:
            with open(f"{out}/720p/{name}", "rb") as segment:
                body = segment.read()
            joined.write(body)
            edges.append(frames)
            with open(f"{WORK}/one.mp4", "wb") as one:
                one.write(head + body)
            count = ["ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]
            frames += int(measure.run([*count, f"{WORK}/one.mp4"]).stdout.strip().strip(","))
    return track, edges[1:]


def key_frames(track):
    """Numbers of the frames that are key frames; GOPs are closed, so packets and frames count alike there."""
    flags = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0", track]
    return [number for number, line in enumerate(measure.run(flags).stdout.split()) if line.startswith("K")]


def unbroken(source, crf, preset, keys):
    track = f"{WORK}/quality-{crf}-whole.mp4"
    scale = ["-vf", f"scale={WIDTH}:{HEIGHT}:flags=bicubic"]
    options = x264_options(KBPS, preset, crf, threads=1)
    options[options.index("-force_key_frames") + 1] = "expr:" + "+".join(f"eq(n,{key})" for key in keys)
    measure.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", source, "-map", "0:v:0", *SAME_FRAMES, *scale, *options, track])
    return track


def reference(source, seconds):
    """The pictures both encoders saw, kept as they are, so that only the encoding is compared."""
    path = f"{WORK}/quality-reference-{seconds}.mkv"
    if not os.path.exists(path):
        scale = ["-vf", f"scale={WIDTH}:{HEIGHT}:flags=bicubic"]
        lossless = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0"]
        measure.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", source, "-map", "0:v:0", *SAME_FRAMES, *scale, *lossless, path])
    return path


def judge(ffmpeg, track, source, metrics):
    """Mean of each metric, and the luma PSNR of each frame."""
    log = f"{WORK}/psnr.log"
    same = "settb=1/90000,setpts=N*3000,format=yuv420p"
    graph = f"[0:v]{same}[a];[1:v]{same}[b];"
    found = {}
    for metric, text in metrics.items():
        done = measure.run(
            [ffmpeg, "-nostdin", "-hide_banner", "-i", track, "-i", source, "-lavfi", f"{graph}[a][b]{text.format(log=log)}"]
            + ["-f", "null", "-"]
        )
        pattern = {"psnr": r"PSNR y:(\S+)", "ssim": r"SSIM Y:(\S+)", "vmaf": r"VMAF score: (\S+)"}[metric]
        found[metric] = float(re.search(pattern, done.stderr).group(1))
    with open(log) as file:
        frames = [min(99.0, float(value)) for value in re.findall(r"psnr_y:(\S+)", file.read())]
    return found, frames


def bd_rate(reference, other):
    """Average difference in rate at equal quality, in percent, over the range both cover. Points are (kbit/s, quality);
    the logarithm of the rate is interpolated linearly between them."""

    def curve(points):
        points = sorted((quality, math.log(rate)) for rate, quality in points)
        qualities = [quality for quality, _ in points]

        def at(quality):
            i = min(max(bisect.bisect_right(qualities, quality), 1), len(points) - 1)
            (x0, y0), (x1, y1) = points[i - 1], points[i]
            return y0 + (y1 - y0) * (quality - x0) / (x1 - x0)

        return at, qualities[0], qualities[-1]

    (a, low_a, high_a), (b, low_b, high_b) = curve(reference), curve(other)
    low, high, steps = max(low_a, low_b), min(high_a, high_b), 1000
    marks = [low + (high - low) * (i + 0.5) / steps for i in range(steps)]
    return (math.exp(sum(b(mark) - a(mark) for mark in marks) / steps) - 1) * 100


def edges_compared(edges, farm, whole):
    """Mean PSNR difference, farm minus unbroken, next to segment edges and everywhere else."""
    near = {frame + step for frame in edges for step in range(-EDGE_FRAMES, EDGE_FRAMES)}
    differences = [a - b for a, b in zip(farm, whole)]
    at_edges = [value for frame, value in enumerate(differences) if frame in near]
    elsewhere = [value for frame, value in enumerate(differences) if frame not in near]
    return statistics.mean(at_edges), statistics.mean(elsewhere), min(at_edges)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--farm", default=os.path.join(measure.ROOT, "target/release/farm"))
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--preset", default="veryfast")
    parser.add_argument("--source", help="material to loop instead of the usual")
    args = parser.parse_args()
    source = measure.clip(args.seconds, args.source)
    original = reference(source, f"{os.path.basename(source)}")
    metrics = {"psnr": "psnr=stats_file={log}", "ssim": "ssim"}
    ffmpeg = "ffmpeg"
    for path in measure.ffmpegs().values():
        if "libvmaf" in measure.run([path, "-hide_banner", "-filters"]).stdout:
            ffmpeg, metrics = path, metrics | {"vmaf": "libvmaf=n_threads=2:n_subsample=5"}
    if "vmaf" not in metrics:
        print("SKIPPED VMAF: no FFmpeg with libvmaf is at hand")
    points = {"whole": [], "farm": []}
    print("| crf | encoder | kbit/s | " + " | ".join(metrics) + " | PSNR at edges | elsewhere | lowest at edges |")
    print("|---|---|---|" + "---|" * len(metrics) + "---|---|---|")
    for crf in CRFS:
        farm, edges = chunked(args.farm, source, crf, args.preset)
        whole = unbroken(source, crf, args.preset, key_frames(farm))
        frames = {}
        for name, track in (("whole", whole), ("farm", farm)):
            found, frames[name] = judge(ffmpeg, track, original, metrics)
            payload = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=size", "-of", "csv=p=0"]
            sizes = [int(line.strip(",")) for line in measure.run([*payload, track]).stdout.split()]
            kbps = sum(sizes) * 8 / args.seconds / 1000
            points[name].append({"crf": crf, "kbps": kbps, **found})
            edge = "| | |"
            if name == "farm":
                near, far, lowest = edges_compared(edges, frames["farm"], frames["whole"])
                edge = f"{near:+.2f} dB | {far:+.2f} dB | {lowest:+.2f} dB |"
            cells = " | ".join(f"{found[metric]:.4f}" for metric in metrics)
            print(f"| {crf} | {name} | {kbps:.1f} | {cells} | {edge}", flush=True)
    for metric in metrics:
        whole, farm = ([(point["kbps"], point[metric]) for point in points[name]] for name in ("whole", "farm"))
        print(f"BD-rate by {metric}: {bd_rate(whole, farm):+.2f} %")
    with open(f"{WORK}/quality.json", "w") as file:
        json.dump({"source": os.path.basename(source), "preset": args.preset, "points": points}, file, indent=1)


if __name__ == "__main__":
    main()
