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
import json
import os
import statistics

from cluster import Cluster, clip, span
from measure import ROOT, WORK

GOAL = 1.90
# With fewer, the last ones decide.
ENOUGH_CHUNKS = 16


def makespan(stack, args, workers, source):
    """Seconds of a job with so many workers, its chunks, and the names of all objects, which hold their contents' hashes."""
    cluster = Cluster(stack, args.programs)
    cluster.coordinator()
    for number, core in enumerate(sorted(os.sched_getaffinity(0))[:workers]):
        cluster.worker(number, "worker.slots = 1\n", ["taskset", "-c", str(core)])
    cluster.wait_until_ready()
    job, target = cluster.make(source, args.rungs)
    names = sorted(os.path.relpath(os.path.join(at, name), target) for at, _, files in os.walk(target) for name in files)
    return span(job), job["progress"]["chunks"], names


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
                seconds, chunks, names = makespan(stack, args, workers, source)
            spans[workers].append(seconds)
            made.append(names)
            print(f"run {turn + 1}, {workers} worker{'s' * (workers > 1)}: {seconds:.2f} s", flush=True)
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
