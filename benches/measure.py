"""What a set of processes costs, and where the tools and the clip come from. Used by transcode.py and quality.py."""

import glob
import os
import resource
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "target", "bench")
# The profile `web`, whose ceilings these are: (width, height, kbit/s), largest first.
LADDER = [(1920, 1080, 5000), (1280, 720, 2800), (854, 480, 1400), (640, 360, 800)]
CRF = 23
BUFFER_SECONDS = 2
GOP_SECONDS = 2
SAMPLE_INTERVAL_S = 0.05
# Every frame of the source once, as the farm has it; FFmpeg's own choice doubles and drops some to even out the rate.
SAME_FRAMES = ["-fps_mode", "passthrough"]


def x264_options(kbps, preset, crf=CRF, threads=None):
    """The farm's x264 settings for FFmpeg's command line: capped CRF, closed GOPs, key frames at even seconds only."""
    params = "keyint=infinite:min-keyint=1:scenecut=0:open-gop=0"
    if threads:
        params += f":threads={threads}"
    return [
        *["-c:v", "libx264", "-preset", preset, "-profile:v", "high", "-crf", str(crf)],
        *["-maxrate", f"{kbps}k", "-bufsize", f"{kbps * BUFFER_SECONDS}k", "-x264-params", params],
        *["-forced-idr", "1", "-force_key_frames", f"expr:gte(t,n_forced*{GOP_SECONDS})"],
    ]


def ffmpegs():
    """FFmpeg of this system, and a newer one if it has been put into target/bench/venv (`make bench` does)."""
    found = ["ffmpeg"]
    found += glob.glob(os.path.join(WORK, "venv/lib/python3*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*"))
    return {version(path): path for path in found}


def version(ffmpeg):
    line = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout
    return "FFmpeg " + line.split()[2].split("-")[0].lstrip("n")


def clip(seconds, source=None):
    """A 1080p clip of `seconds`, made once. Natural material is looped by stream copy; no frame is encoded again."""
    os.makedirs(WORK, exist_ok=True)
    natural = os.path.join(ROOT, "..", "shared", "media", "nat_bbb_1080p25_aac51.ts")
    source = source or os.environ.get("BENCH_SOURCE") or natural
    stem = os.path.splitext(os.path.basename(source))[0] if os.path.exists(source) else "bunny"
    out = os.path.join(WORK, f"{stem}-{seconds}s.mp4")
    if os.path.exists(out):
        return out
    part = out + ".part.mp4"
    if os.path.exists(source):
        loop = ["-stream_loop", "-1", "-i", source, "-map", "0:v:0", "-map", "0:a:0?", "-c", "copy"]
    else:
        small = os.path.join(ROOT, "farm/tests/media/bunny_720p25.mp4")
        loop = ["-stream_loop", "-1", "-i", small, "-vf", "scale=1920:1080:flags=lanczos", "-c:v", "libx264"]
        loop += ["-preset", "fast", "-crf", "16", "-c:a", "copy"]
    run(["ffmpeg", "-nostdin", "-v", "error", "-y", *loop, "-t", str(seconds), "-movflags", "+faststart", part])
    os.rename(part, out)
    return out


def run(command):
    """Runs to the end; a failure ends the bench with what the tool said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done


class Cost:
    """CPU seconds, wall seconds, and peak memory of all processes that `measure` ran."""

    def __init__(self):
        self.cpu_s = self.wall_s = 0.0
        self.peak_mb = 0.0  # all processes together
        self.largest = {}  # command name → peak of the largest process of that name

    def as_dict(self):
        return {"cpu_s": self.cpu_s, "wall_s": self.wall_s, "peak_mb": self.peak_mb, "largest_mb": self.largest}


def measure(commands):
    """Runs the commands one after another. CPU is what the kernel charged to them and all their children."""
    cost = Cost()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    for command in commands:
        with open(os.path.join(WORK, "stderr"), "w+b") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
            stop = threading.Event()
            sampler = threading.Thread(target=sample, args=(child.pid, cost, stop))
            sampler.start()
            code = child.wait()
            stop.set()
            sampler.join()
            if code:
                log.seek(0)
                raise SystemExit(f"{' '.join(command)}: {code}\n{log.read().decode(errors='replace')[-2000:]}")
    cost.wall_s = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cost


def sample(root, cost, stop):
    while not stop.wait(SAMPLE_INTERVAL_S):
        together = 0
        for pid in tree(root):
            memory = status(pid)
            if memory:
                together += memory["VmRSS"]
                role = "root" if pid == root else "child"
                cost.largest[role] = max(cost.largest.get(role, 0), memory["VmHWM"])
        cost.peak_mb = max(cost.peak_mb, together)


def tree(root):
    """The process and all its descendants."""
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                text = file.read()
        except OSError:
            continue  # ended in between
        pid, parent = int(text.split(" ", 1)[0]), int(text.rsplit(")", 1)[1].split()[1])
        children.setdefault(parent, []).append(pid)
    found, open_ = [], [root]
    while open_:
        pid = open_.pop()
        found.append(pid)
        open_ += children.get(pid, [])
    return found


def status(pid):
    """Resident memory in MB, now and at its highest; None for a process that has ended."""
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return {key: int(lines[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM")}
    except (OSError, KeyError):
        return None
