#!/usr/bin/env python3
"""How much sooner two workers are done than one, with real encodes on a real cluster.

    scaling.py [--programs target/release] [--runs 3] [--seconds 340] [--rungs all]

One worker with one slot has one core (taskset); a second one has another core. Coordinator, NATS and etcd go where they
like. The same job goes to one worker and to two, in turn; time counts from its creation to its end, as the farm tells it.
The presentations must be the same, object by object. Needs nats-server (`make servers`), etcd, and two cores.
Figures go to target/bench/scaling.json, a table to standard output.
"""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

from measure import ROOT, WORK, run

SOURCE = os.path.join(ROOT, "farm/tests/media/bunny_720p25.mp4")
PATIENCE_S = 60
GOAL = 1.90
# With fewer, the last ones decide.
ENOUGH_CHUNKS = 16


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def server(name):
    ours = os.path.join(ROOT, "target/servers/bin", name)
    found = ours if os.path.exists(ours) else shutil.which(name)
    return found or exit(f"{name} is missing: run `make servers`")


def clip(seconds):
    """720p by stream copy, made once."""
    os.makedirs(WORK, exist_ok=True)
    out = os.path.join(WORK, f"scaling-{seconds}s.mp4")
    if not os.path.exists(out):
        part = out + ".part.mp4"
        loop = ["-stream_loop", "-1", "-i", SOURCE, "-map", "0", "-c", "copy", "-t", str(seconds)]
        run(["ffmpeg", "-nostdin", "-v", "error", "-y", *loop, "-movflags", "+faststart", part])
        os.rename(part, out)
    return out


class Farm:
    """A cluster in a folder of its own; everything ends with it."""

    def __init__(self, stack, programs, workers):
        self.stack, self.programs = stack, programs
        self.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-scaling-"))
        nats, etcd, peer, self.api = (free_port() for _ in range(4))
        self.spawn("nats", [server("nats-server"), "-a", "127.0.0.1", "-p", str(nats), "-js", "-sd", f"{self.folder}/nats-data"])
        url = f"http://127.0.0.1:{etcd}"
        peers = f"http://127.0.0.1:{peer}"
        options = {"data-dir": f"{self.folder}/etcd-data", "listen-client-urls": url, "advertise-client-urls": url}
        options |= {"listen-peer-urls": peers, "initial-advertise-peer-urls": peers, "initial-cluster": f"default={peers}"}
        self.spawn("etcd", [server("etcd"), *(f"--{name}={value}" for name, value in options.items())])
        for port in (nats, etcd):
            wait(lambda port=port: socket.create_connection(("127.0.0.1", port)).close())
        broker = f'nats.urls = ["nats://127.0.0.1:{nats}"]\n'
        places = f'api.places.sources = ["file:/"]\napi.places.targets = ["file:{self.folder}/"]\napi.places.work = "file:{self.folder}/work"\n'
        listen = f'api.listen = "127.0.0.1:{self.api}"\n'
        pages = [self.program("coordinator", 0, [], f'{listen}{places}etcd.endpoints = ["{url}"]\n{broker}')]
        cores = sorted(os.sched_getaffinity(0))[:2]
        for number in range(workers):
            scratch = f'worker.slots = 1\nworker.scratch = "{self.folder}/scratch-{number}"\nname = "w{number}"\n'
            pages.append(self.program("worker", number, ["taskset", "-c", str(cores[number])], scratch + broker))
        for port in pages:
            wait(lambda port=port: urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").read())

    def program(self, name, number, prefix, settings):
        port, file = free_port(), f"{self.folder}/{name}-{number}.toml"
        with open(file, "w") as config:
            config.write(f'http_listen = "127.0.0.1:{port}"\n{settings}')
        self.spawn(f"{name}-{number}", [*prefix, os.path.join(self.programs, name), "--config", file])
        return port

    def spawn(self, name, command):
        log = self.stack.enter_context(open(f"{self.folder}/{name}.log", "wb"))
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self.stack.callback(lambda: (child.kill(), child.wait()))

    def farm(self, *args):
        farm = os.path.join(self.programs, "farm")
        return json.loads(run([farm, *args, "--server", f"http://127.0.0.1:{self.api}", "--json"]).stdout)

    def makespan(self, source, rungs):
        """Seconds from creation to end, chunks, and the names of all objects, which hold their contents' hashes."""
        target = f"{self.folder}/made"
        job = self.farm("job", "submit", source, "--target", f"file:{target}", "--profile", "web-3", "--rungs", rungs)
        job = self.farm("job", "get", job["id"], "--wait-for", "succeeded")
        if job["state"] != "JOB_STATE_SUCCEEDED":
            raise SystemExit(f"the job did not succeed: {job}")
        names = sorted(os.path.relpath(os.path.join(at, name), target) for at, _, files in os.walk(target) for name in files)
        return moment(job["end_time"]) - moment(job["create_time"]), job["progress"]["chunks"], names


def wait(ready):
    began = time.monotonic()
    while True:
        try:
            return ready()
        except OSError:
            if time.monotonic() - began > PATIENCE_S:
                raise
            time.sleep(0.05)


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default=os.path.join(ROOT, "target/release"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=340)
    parser.add_argument("--rungs", default="all")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed")
    args.programs = os.path.abspath(args.programs)
    source = clip(args.seconds)
    spans, made = {1: [], 2: []}, []
    for turn in range(args.runs):
        for workers in spans:
            with contextlib.ExitStack() as stack:
                span, chunks, names = Farm(stack, args.programs, workers).makespan(source, args.rungs)
            spans[workers].append(span)
            made.append(names)
            print(f"run {turn + 1}, {workers} worker{'s' * (workers > 1)}: {span:.2f} s", flush=True)
    if any(names != made[0] for names in made):
        raise SystemExit("the presentations differ")
    if chunks < ENOUGH_CHUNKS:
        print(f"{chunks} chunks are too few to tell: give more --seconds")
    ratios = [one / two for one, two in zip(spans[1], spans[2])]
    ratio = statistics.median(ratios)
    with open(os.path.join(WORK, "scaling.json"), "w") as file:
        json.dump({"seconds": args.seconds, "one_s": spans[1], "two_s": spans[2], "ratios": ratios}, file, indent=1)
    print(f"\n| source, chunks | one worker | two workers | ratio (min / median / max) |\n|---|---|---|---|")
    one, two = (statistics.median(spans[workers]) for workers in (1, 2))
    print(f"| {args.seconds} s, {chunks} | {one:.1f} s | {two:.1f} s | {min(ratios):.2f} / {ratio:.2f} / {max(ratios):.2f} |")
    print(f"\ngoal {GOAL:.2f}: {'reached' if ratio >= GOAL else 'MISSED'}")


if __name__ == "__main__":
    main()
