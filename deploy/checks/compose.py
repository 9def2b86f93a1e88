#!/usr/bin/env python3
"""Starts what compose.yml says without a container engine, sends a job through it, and looks whether walls are where they
should be. Needs root (namespaces), bubblewrap, iproute2, and the programs: `make compose-check` sees to all.

    compose.py [--programs FOLDER]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import compose_file
from cluster import Cluster, run, tools_are_here

CLIP = compose_file.ROOT / "farm/tests/media/bunny_720p25.mp4"
# Who must not reach whom.
WALLS = [
    ("worker", "etcd", 2379),
    ("worker", "seaweedfs", 8888),
    ("worker", "seaweedfs", 9333),
    ("nats-1", "etcd", 2379),
    ("etcd", "nats-1", 4222),
    ("seaweedfs", "etcd", 2379),
]
# And who must, or the walls would prove nothing.
DOORS = [("worker", "nats-1", 4222), ("worker", "seaweedfs", 8333), ("coordinator-1", "etcd", 2379)]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--programs", type=Path, default=compose_file.ROOT / "target/debug")
    options = arguments.parse_args()
    tools_are_here()
    if os.environ.get("FARM_IN_NAMESPACE") != "1":
        inside = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable]
        os.environ["FARM_IN_NAMESPACE"] = "1"
        os.execvp(inside[0], inside + sys.argv)
    Path("/run/netns").mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    run("ip", "link", "set", "lo", "up")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farm-compose-") as folder:
        folder = Path(folder)
        folder.chmod(0o755)
        run(compose_file.FOLDER / "make-secrets", folder)
        env = compose_file.variables(folder / ".env")
        cluster = Cluster(compose_file.read(env), folder, options.programs.resolve())
        try:
            cluster.start()
            print(f"{len(cluster.containers)} containers run and are well after {time.monotonic() - began:.1f} s")
            for name, why in cluster.left_out.items():
                print(f"SKIPPED: {name}: {why}")
            again(cluster)
            walls(cluster)
            strangers(cluster)
            job(cluster, env, options.programs / "farm")
            scraped(cluster)
            ends(cluster)
        finally:
            cluster.stop()
    print(f"the farm of compose.yml works ({time.monotonic() - began:.1f} s)")


def again(cluster):
    """What runs once and ends does so at every start of the farm."""
    for container in cluster.containers:
        if container.service.get("restart") == "no":
            container.start()
            container.wait_until("service_completed_successfully")


def reaches(cluster, who, whom, port):
    source, target = cluster.of(who)[0], cluster.of(whom)[0]
    answers = []
    for address in target.addresses.values():
        test = ["ip", "netns", "exec", source.space(), "timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}"]
        answers.append(subprocess.run(test, capture_output=True).returncode == 0)
    return any(answers)


def walls(cluster):
    for who, whom, port in DOORS:
        assert reaches(cluster, who, whom, port), f"{who} can't reach {whom}:{port}"
    for who, whom, port in WALLS:
        assert not reaches(cluster, who, whom, port), f"{who} can reach {whom}:{port}"
    for name, service in cluster.services.items():
        outside = set(service.get("networks", [])) - cluster.internal
        assert outside or "ports" not in service, f"{name}: an engine publishes no port of a network that is internal"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name}: open to other hosts"
    print(f"{len(WALLS)} walls hold, {len(DOORS)} doors are open")


# What a server says to join a cluster of brokers.
JOIN = 'CONNECT {"server_id": "NROGUE", "name": "rogue", "cluster": "farm"}\\r\\nPING\\r\\n'


def strangers(cluster):
    """Whoever reaches a broker can't say that it is one."""
    worker, broker = cluster.of("worker")[0], cluster.of("nats-1")[0].addresses["work"]
    talk = f"exec 3<>/dev/tcp/{broker}/6222; printf '{JOIN}' >&3; timeout 3 cat <&3"
    said = subprocess.run(["ip", "netns", "exec", worker.space(), "bash", "-c", talk], capture_output=True, text=True)
    assert "Authorization Violation" in said.stdout, said
    print("a broker that does not know the others' password is turned away")


def filer(cluster, *args):
    """The store's own side, from inside."""
    inside = ["ip", "netns", "exec", cluster.of("seaweedfs")[0].name]
    return run(*inside, "curl", "--silent", "--fail", *args)


def job(cluster, env, farm):
    """By both coordinators: one of them hands it on."""
    filer(cluster, "-T", CLIP, "http://127.0.0.1:8888/buckets/farm/in/clip.mp4")
    ask = {**os.environ, "FARM_KEY": env["FARM_KEY"]}
    made = []
    for coordinator in ("coordinator-1", "coordinator-2"):
        server = f"http://{cluster.of(coordinator)[0].addresses['front']}:7600"
        target = f"s3://farm/out/{coordinator}"
        submit = [farm, "job", "submit", "s3://farm/in/clip.mp4", "--target", target, "--profile", "web-3"]
        done = subprocess.run([*submit, "--watch", "--server", server], env=ask, capture_output=True, text=True)
        if done.returncode != 0:
            logs = "\n\n".join(f"{one.name}:\n{one.said()}" for one in cluster.containers)
            raise SystemExit(f"{done.stdout}{done.stderr}\n{logs}")
        listed = json.loads(filer(cluster, "-H", "Accept: application/json", f"http://127.0.0.1:8888/buckets/farm/out/{coordinator}/"))
        made.append({entry["FullPath"].rsplit("/", 1)[-1] for entry in listed["Entries"]})
    assert made[0] == made[1] and {"master.m3u8", "manifest.mpd"} <= made[0], made
    del ask["FARM_KEY"]
    refused = subprocess.run([farm, "job", "list", "--server", server], env=ask, capture_output=True, text=True)
    assert refused.returncode == 8, refused
    print("a job by each coordinator has its presentation; without a key nobody is let in")


def scraped(cluster):
    """Prometheus reaches everybody whom it is to ask."""
    if not cluster.of("prometheus"):
        return
    address = cluster.of("prometheus")[0].addresses["front"]
    began = time.monotonic()
    while True:
        said = json.loads(run("curl", "--silent", "--fail", f"http://{address}:9090/api/v1/targets?state=active"))
        targets = {target["labels"]["instance"]: target["health"] for target in said["data"]["activeTargets"]}
        if targets and set(targets.values()) == {"up"}:
            break
        assert time.monotonic() - began < 40, targets
        time.sleep(0.5)
    print(f"Prometheus hears {', '.join(sorted(targets))}")


def ends(cluster):
    """SIGTERM ends each in order, well within its time."""
    told = []
    for container in cluster.of("worker") + cluster.of("coordinator-1") + cluster.of("coordinator-2"):
        status, seconds = container.stop()
        assert status == 0, f"{container.name} ended with {status}:\n{container.said()}"
        told.append(f"{container.name} {seconds:.1f} s")
    print(f"ended in order: {', '.join(told)}")


if __name__ == "__main__":
    main()
