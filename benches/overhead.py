#!/usr/bin/env python3
"""What being watched costs: CPU of a coordinator and a worker whose metrics are scraped every 5 s and whose traces go to a
collector, against the same unwatched.

    overhead.py [--programs target/release] [--runs 5] [--seconds 120] [--rungs all]

A whole cluster (NATS, etcd, one coordinator, one worker with as many slots as there are cores) makes the same job in turn
watched and unwatched; what comes first changes with every run. CPU is what the kernel charged to the two programs and to the
worker's slots, from their start to their end; that of servers, scraper and collector does not count. Needs nats-server
(`make servers`), etcd, and `cargo build -r -p farm -p coordinator -p worker -p benches --bins`.
Figures go to target/bench/overhead.json, a table to standard output.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import urllib.request

from measure import ROOT, WORK
from scaling import clip, free_port, moment, run, server, wait

SCRAPE_S = 5
GOAL_PERCENT = 1.0
PARTS = ("coordinator", "worker")


class Farm:
    """A cluster in a folder of its own; everything ends with it."""

    def __init__(self, stack, programs, watched):
        self.stack, self.programs, self.watched = stack, programs, watched
        self.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-overhead-"))
        nats, etcd, peer, self.api = (free_port() for _ in range(4))
        self.spawn("nats", [server("nats-server"), "-a", "127.0.0.1", "-p", str(nats), "-js", "-sd", f"{self.folder}/nats-data"])
        url, peers = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        options = {"data-dir": f"{self.folder}/etcd-data", "listen-client-urls": url, "advertise-client-urls": url}
        options |= {"listen-peer-urls": peers, "initial-advertise-peer-urls": peers, "initial-cluster": f"default={peers}"}
        self.spawn("etcd", [server("etcd"), *(f"--{name}={value}" for name, value in options.items())])
        for port in (nats, etcd):
            wait(lambda port=port: urllib.request.socket.create_connection(("127.0.0.1", port)).close())
        both = f'log.level = "warn"\nnats.urls = ["nats://127.0.0.1:{nats}"]\n'
        if watched:
            self.collector = self.spawn("collector", [os.path.join(programs, "collector")], stdout=subprocess.PIPE)
            both += f'telemetry.otlp_endpoint = "{self.collector.stdout.readline().decode().strip()}"\n'
        places = f'api.places.sources = ["file:/"]\napi.places.targets = ["file:{self.folder}/"]\napi.places.work = "file:{self.folder}/work"\n'
        own = {
            "coordinator": f'api.listen = "127.0.0.1:{self.api}"\n{places}etcd.endpoints = ["{url}"]\n',
            "worker": f'worker.scratch = "{self.folder}/scratch"\nname = "w0"\n',
        }
        self.pages, self.parts = {}, {}
        for name in PARTS:
            port, file = free_port(), f"{self.folder}/{name}.toml"
            with open(file, "w") as config:
                config.write(f'http_listen = "127.0.0.1:{port}"\n{own[name]}{both}')
            self.parts[name] = self.spawn(name, [os.path.join(programs, name), "--config", file])
            self.pages[name] = f"http://127.0.0.1:{port}"
        for page in self.pages.values():
            wait(lambda page=page: urllib.request.urlopen(page + "/readyz").read())

    def spawn(self, name, command, stdout=None):
        log = self.stack.enter_context(open(f"{self.folder}/{name}.log", "wb"))
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log, cwd=self.folder)
        self.stack.callback(lambda: (child.poll() is None and child.kill(), child.wait()))
        return child

    def farm(self, *args):
        farm = os.path.join(self.programs, "farm")
        return json.loads(run([farm, *args, "--server", f"http://127.0.0.1:{self.api}", "--json"]).stdout)

    def scrape(self, over):
        while not over.wait(SCRAPE_S):
            for page in self.pages.values():
                urllib.request.urlopen(page + "/metrics").read()

    def make(self, source, rungs):
        """CPU seconds of each program for one job, the job's seconds, and the spans that were sent."""
        over = threading.Event()
        scraper = threading.Thread(target=self.scrape, args=(over,))
        if self.watched:
            scraper.start()
        job = self.farm("job", "submit", source, "--target", f"file:{self.folder}/made", "--profile", "web-3", "--rungs", rungs)
        job = self.farm("job", "get", job["id"], "--wait-for", "succeeded")
        over.set()
        if self.watched:
            scraper.join()
        if job["state"] != "JOB_STATE_SUCCEEDED":
            raise SystemExit(f"the job did not succeed: {job}")
        cpu = {}
        for name in reversed(PARTS):
            self.parts[name].send_signal(signal.SIGTERM)
            _, status, usage = os.wait4(self.parts[name].pid, 0)
            self.parts[name].returncode = os.waitstatus_to_exitcode(status)
            if self.parts[name].returncode:
                raise SystemExit(f"{name} ended with {self.parts[name].returncode}")
            cpu[name] = usage.ru_utime + usage.ru_stime
        spans = 0
        if self.watched:
            self.collector.send_signal(signal.SIGTERM)
            spans = int(self.collector.communicate()[0])
            if not spans:
                raise SystemExit("the collector was sent nothing")
        return cpu, moment(job["end_time"]) - moment(job["create_time"]), spans


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default=os.path.join(ROOT, "target/release"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--rungs", default="all")
    args = parser.parse_args()
    args.programs = os.path.abspath(args.programs)
    source = clip(args.seconds)
    taken = {True: [], False: []}
    for turn in range(args.runs):
        for watched in ((False, True), (True, False))[turn % 2]:
            with contextlib.ExitStack() as stack:
                cpu, seconds, spans = Farm(stack, args.programs, watched).make(source, args.rungs)
            taken[watched].append(cpu)
            told = ", ".join(f"{name} {cpu[name]:.3f}" for name in PARTS)
            print(f"run {turn + 1}, {'watched' if watched else 'unwatched'}: CPU s {told}; {seconds:.1f} s, {spans} spans", flush=True)
    with open(os.path.join(WORK, "overhead.json"), "w") as file:
        json.dump({"seconds": args.seconds, "watched": taken[True], "unwatched": taken[False]}, file, indent=1)
    sums = {watched: [sum(cpu.values()) for cpu in runs] for watched, runs in taken.items()}
    ratios = [(one / other - 1) * 100 for one, other in zip(sums[True], sums[False])]
    print("\n| CPU s | unwatched | watched |\n|---|---|---|")
    for name in PARTS:
        print(f"| {name} | " + " | ".join(f"{statistics.median(cpu[name] for cpu in taken[w]):.3f}" for w in (False, True)) + " |")
    medians = {watched: statistics.median(sums[watched]) for watched in sums}
    print(f"| together | {medians[False]:.3f} | {medians[True]:.3f} |")
    overhead = (medians[True] / medians[False] - 1) * 100
    print(f"\noverhead {overhead:+.2f} % (pairs {min(ratios):+.2f} to {max(ratios):+.2f} %), goal {GOAL_PERCENT:.0f} %: "
          f"{'reached' if overhead <= GOAL_PERCENT else 'MISSED'}")


if __name__ == "__main__":
    main()
