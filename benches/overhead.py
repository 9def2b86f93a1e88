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
import threading
import urllib.request

from cluster import Cluster, clip, span
from measure import ROOT, WORK

SCRAPE_S = 5
GOAL_PERCENT = 1.0
PARTS = ("coordinator", "worker-0")


def scrape(pages, over):
    while not over.wait(SCRAPE_S):
        for page in pages:
            urllib.request.urlopen(page + "/metrics").read()


def ended(child):
    """CPU seconds of a program and its children, once it was asked to end."""
    child.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{child.args[0]} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure(stack, args, watched, source):
    """CPU seconds of each program for one job, the job's seconds, and the spans that were sent."""
    cluster = Cluster(stack, args.programs, 'log.level = "warn"\n')
    collector = None
    if watched:
        collector = cluster.spawn("collector", [os.path.join(args.programs, "collector")], stdout=subprocess.PIPE)
        endpoint = collector.stdout.readline().decode().strip()
        cluster.settings += f'telemetry.otlp_endpoint = "{endpoint}"\n'
    cluster.coordinator()
    cluster.worker(0)
    cluster.wait_until_ready()
    over = threading.Event()
    scraper = threading.Thread(target=scrape, args=(cluster.pages.values(), over))
    if watched:
        scraper.start()
    job, _ = cluster.make(source, args.rungs)
    over.set()
    if watched:
        scraper.join()
    cpu = {name: ended(cluster.children[name]) for name in reversed(PARTS)}
    spans = 0
    if watched:
        collector.send_signal(signal.SIGTERM)
        spans = int(collector.communicate()[0])
        if not spans:
            raise SystemExit("the collector was sent nothing")
    return cpu, span(job), spans


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
                cpu, seconds, spans = measure(stack, args, watched, source)
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
