"""A farm to measure: NATS, etcd, one coordinator and workers, each a process, with everything in a folder of its own."""

import datetime
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

from measure import ROOT, WORK, run

SOURCE = os.path.join(ROOT, "farm/tests/media/bunny_720p25.mp4")
PATIENCE_S = 60


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


class Cluster:
    """Everything ends with `stack`. Settings are lines of TOML, for both programs."""

    def __init__(self, stack, programs, settings=""):
        self.stack, self.programs = stack, programs
        self.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-bench-"))
        nats, etcd, peer, self.api = (free_port() for _ in range(4))
        self.spawn("nats", [server("nats-server"), "-a", "127.0.0.1", "-p", str(nats), "-js", "-sd", f"{self.folder}/nats-data"])
        url, peers = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        options = {"data-dir": f"{self.folder}/etcd-data", "listen-client-urls": url, "advertise-client-urls": url}
        options |= {"listen-peer-urls": peers, "initial-advertise-peer-urls": peers, "initial-cluster": f"default={peers}"}
        self.spawn("etcd", [server("etcd"), *(f"--{name}={value}" for name, value in options.items())])
        for port in (nats, etcd):
            wait(lambda port=port: socket.create_connection(("127.0.0.1", port)).close())
        self.settings = f'{settings}nats.urls = ["nats://127.0.0.1:{nats}"]\n'
        self.etcd = url
        # Of each program, where its metrics and health are.
        self.pages, self.children = {}, {}

    def coordinator(self):
        places = f'api.places.sources = ["file:/"]\napi.places.targets = ["file:{self.folder}/"]\n'
        places += f'api.places.work = "file:{self.folder}/work"\n'
        listen = f'api.listen = "127.0.0.1:{self.api}"\netcd.endpoints = ["{self.etcd}"]\n'
        self.program("coordinator", "coordinator", listen + places)

    def worker(self, number, settings="", prefix=()):
        """`prefix`: words before the command, such as those of taskset."""
        scratch = f'worker.scratch = "{self.folder}/scratch-{number}"\nname = "w{number}"\n'
        self.program(f"worker-{number}", "worker", scratch + settings, prefix)

    def program(self, name, program, settings, prefix=()):
        port, file = free_port(), f"{self.folder}/{name}.toml"
        with open(file, "w") as config:
            config.write(f'http_listen = "127.0.0.1:{port}"\n{settings}{self.settings}')
        self.children[name] = self.spawn(name, [*prefix, os.path.join(self.programs, program), "--config", file])
        self.pages[name] = f"http://127.0.0.1:{port}"

    def spawn(self, name, command, stdout=None):
        log = self.stack.enter_context(open(f"{self.folder}/{name}.log", "wb"))
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log, cwd=self.folder)
        self.stack.callback(lambda: (child.poll() is None and child.kill(), child.wait()))
        return child

    def wait_until_ready(self):
        for page in self.pages.values():
            wait(lambda page=page: urllib.request.urlopen(page + "/readyz").read())

    def make(self, source, rungs):
        """A job of `source`, once it has succeeded, and the folder with what was made."""
        target = f"{self.folder}/made"
        job = self.farm("job", "submit", source, "--target", f"file:{target}", "--profile", "web-3", "--rungs", rungs)
        job = self.farm("job", "get", job["id"], "--wait-for", "succeeded")
        if job["state"] != "JOB_STATE_SUCCEEDED":
            raise SystemExit(f"the job did not succeed: {job}")
        return job, target

    def farm(self, *args):
        farm = os.path.join(self.programs, "farm")
        return json.loads(run([farm, *args, "--server", f"http://127.0.0.1:{self.api}", "--json"]).stdout)


def span(job):
    """Seconds from a job's creation to its end, as the farm tells it."""
    return moment(job["end_time"]) - moment(job["create_time"])
