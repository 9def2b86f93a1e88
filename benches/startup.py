#!/usr/bin/env python3
"""How long a worker takes from its start until it is ready, on a host without GPU: looking for one against not looking.

    cargo build -r --locked -p worker --features cluster && benches/startup.py [--runs 9] [--worker target/release/worker]

Needs nats-server. Both ways take turns; the slots' CPU time counts.
"""

import argparse
import http.client
import os
import resource
import signal
import socket
import statistics
import subprocess
import tempfile
import time

from cluster import free_port, server
from measure import ROOT

PATIENCE_S = 120
LOOK_EVERY_S = 0.001


def ready(port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(worker, folder, nats, gpu):
    """Milliseconds until it is ready, and CPU milliseconds until its GPUs are known too."""
    port, settings, log = free_port(), os.path.join(folder, "worker.toml"), os.path.join(folder, "log")
    with open(settings, "w") as file:
        file.write(f'name = "measured"\nhttp_listen = "127.0.0.1:{port}"\n[nats]\nurls = ["nats://127.0.0.1:{nats}"]\n')
        file.write(f'[worker]\nslots = 1\nscratch = "{folder}/scratch"\n[worker.gpu]\nenabled = "{gpu}"\n')
    before, began = cpu_s(), time.monotonic()
    with open(log, "w") as file:
        program = subprocess.Popen([worker, "--config", settings], stderr=file)
    try:
        while not ready(port):
            if time.monotonic() - began > PATIENCE_S or program.poll() is not None:
                raise SystemExit(f"the worker is not ready: see {log}")
            time.sleep(LOOK_EVERY_S)
        took = time.monotonic() - began
        while "no GPU is used" not in open(log).read():
            if time.monotonic() - began > PATIENCE_S:
                raise SystemExit("it says nothing of GPUs: is there one?")
            time.sleep(LOOK_EVERY_S)
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait()
    return took * 1000, (cpu_s() - before) * 1000


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=9)
    arguments.add_argument("--worker", default=os.path.join(ROOT, "target/release/worker"))
    arguments = arguments.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        broker = subprocess.Popen(
            [server("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder], stderr=subprocess.DEVNULL
        )
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.05)
            start(arguments.worker, folder, port, "off")  # so that files are in memory
            runs = {gpu: [] for gpu in ("off", "auto")}
            for _ in range(arguments.runs):
                for gpu, results in runs.items():
                    results.append(start(arguments.worker, folder, port, gpu))
        finally:
            broker.terminate()
            broker.wait()
    for gpu, results in runs.items():
        ms, cpu = zip(*results)
        print(f"enabled = {gpu:4}: ready after {statistics.median(ms):.0f} ms ({min(ms):.0f} to {max(ms):.0f}), "
              f"CPU {statistics.median(cpu):.0f} ms ({min(cpu):.0f} to {max(cpu):.0f})")
    gain = [statistics.median(result[0] for result in runs[gpu]) for gpu in ("auto", "off")]
    print(f"looking for a GPU costs {gain[0] - gain[1]:.0f} ms until ready")


if __name__ == "__main__":
    main()
