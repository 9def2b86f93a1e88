"""Containers without an engine: processes with networks, a root, a user and rights of their own, by `ip`, `bwrap` and `setpriv`."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from compose_file import FOLDER, ROOT, image_of

# Where programs are that this machine has for images of others, and ours.
PLACES = [ROOT / "target/servers/bin", *map(Path, os.environ["PATH"].split(":")), Path("/usr/sbin")]
# What a container sees of this machine.
SEEN = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--dir", "/etc", "--dir", "/run"]
LINKS = [(f"usr/{name}", f"/{name}") for name in ("bin", "lib", "lib64", "sbin")]
# Files of /etc that programs look for.
SETTINGS = ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ssl", "/etc/alternatives", "/etc/ld.so.cache"]


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def program(name, ours):
    found = [place / name for place in ([ours] + PLACES) if (place / name).is_file()]
    return found[0] if found else None


class Container:
    """One of a service."""

    def __init__(self, cluster, name, number):
        self.cluster, self.service_name, self.number = cluster, name, number
        self.service = cluster.services[name]
        self.image = image_of(self.service)
        self.name = f"farm-{name}-{number}"
        self.beside = self.service.get("network_mode", "").removeprefix("service:")
        self.addresses = {}
        self.process = None
        self.log = cluster.folder / f"{self.name}.log"
        self.env = {**self.image.environment, **(self.service.get("environment") or {})}

    def names(self):
        return [self.service_name, self.name]

    def space(self):
        return f"farm-{self.beside}-1" if self.beside else self.name

    def join_networks(self):
        if self.beside:
            return
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        for network in self.service["networks"]:
            place, host = self.cluster.networks[network], self.cluster.next_host()
            near, far = f"n{host}", f"c{host}"
            run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
            run("ip", "link", "set", near, "master", f"b{place}", "up")
            self.addresses[network] = f"10.77.{place}.{host}"
            run("ip", "-n", self.name, "address", "add", f"{self.addresses[network]}/24", "dev", far)
            run("ip", "-n", self.name, "link", "set", far, "up")

    def hosts(self):
        """Whom it knows by name: those it shares a network with."""
        lines = ["127.0.0.1 localhost"]
        mine = set(self.addresses)
        for other in self.cluster.containers:
            shared = [other.addresses[network] for network in other.addresses if network in mine]
            lines += [f"{shared[0]} {' '.join(other.names())}"] if shared else []
        file = self.cluster.folder / f"{self.name}.hosts"
        file.write_text("\n".join(lines) + "\n")
        return file

    def mounts(self):
        args, made = [], self.cluster.folder / "volumes"
        user, group = map(int, self.image.user.split(":"))
        listed = [entry.split(":") for entry in self.service.get("volumes", [])]
        given = {parts[-1] if len(parts) == 1 else parts[1] for parts in listed}
        listed += [[place] for place in self.image.volumes if place not in given]
        for parts in listed:
            if len(parts) > 1 and parts[0].startswith("."):
                source = self.cluster.file(parts[0])
                if not source.exists():
                    raise SystemExit(f"{self.name}: {source} is not there")
                # Folders that a mount makes on its way are its owner's alone, unless they are there.
                args += ["--dir", Path(parts[1]).parent]
                args += ["--ro-bind" if parts[2:] == ["ro"] else "--bind", source, parts[1]]
                continue
            named = len(parts) > 1
            if named and parts[0] not in self.cluster.volumes:
                raise SystemExit(f"{self.name}: volume {parts[0]} is not declared")
            source = made / (parts[0] if named else f"{self.name}{parts[0].replace('/', '-')}")
            if not source.exists():
                source.mkdir(parents=True)
                os.chown(source, user, group)
            args += ["--bind", source, parts[-1] if not named else parts[1]]
        for place in self.service.get("tmpfs", []):
            args += ["--tmpfs", place]
        for secret in self.service.get("secrets", []):
            args += ["--ro-bind", self.cluster.file(self.cluster.secrets[secret]["file"]), f"/run/secrets/{secret}"]
        return args

    def command(self, inner):
        """`inner` inside: its network, its root, its user, its rights."""
        args = ["ip", "netns", "exec", self.space(), "bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc"]
        args += ["--unshare-uts", "--hostname", self.name, "--as-pid-1", *SEEN]
        for target, link in LINKS:
            args += ["--symlink", target, link]
        for path in filter(os.path.exists, SETTINGS):
            args += ["--ro-bind", path, path]
        for name in self.image.programs:
            args += ["--ro-bind", self.cluster.program(name), f"/programs/{name}"]
        args += ["--ro-bind", self.hosts(), "/etc/hosts", *self.mounts()]
        args += ["--remount-ro", "/"] if self.service.get("read_only") else []
        args += ["--clearenv", "--setenv", "PATH", "/programs:/usr/bin:/bin"]
        for name, value in self.env.items():
            args += ["--setenv", name, value]
        user, group = self.image.user.split(":")
        keep = "".join(f",+{right.lower()}" for right in self.service.get("cap_add", []))
        rights = ["--bounding-set", f"-all{keep}", "--inh-caps", "-all", "--no-new-privs"]
        if self.service.get("cap_drop") != ["ALL"]:
            raise SystemExit(f"{self.name}: it keeps capabilities")
        inside = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", *rights]
        return [str(part) for part in args + inside + inner]

    def start(self):
        inner = self.service.get("entrypoint", self.image.entrypoint) + self.service.get("command", self.image.command)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(inner), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def healthy(self):
        test = (self.service.get("healthcheck") or {}).get("test")
        inner = test[1:] if test else self.image.health
        return subprocess.run(self.command(inner), capture_output=True, timeout=30).returncode == 0

    def wait_until(self, condition, patience=60):
        """Healthy, or ended well; as `depends_on` says."""
        began = time.monotonic()
        while True:
            ended = self.process.poll()
            if condition == "service_completed_successfully" and ended == 0:
                return
            if ended is not None:
                raise SystemExit(f"{self.name} ended with {ended}:\n{self.said()}")
            if condition == "service_healthy" and self.healthy():
                return
            if time.monotonic() - began > patience:
                raise SystemExit(f"{self.name}: no {condition} in {patience} s:\n{self.said()}")
            time.sleep(0.2)

    def said(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])

    def stop(self):
        """SIGTERM to its first process; how it ended, after how many seconds."""
        began = time.monotonic()
        first = run("pgrep", "--parent", self.process.pid).split()
        run("kill", "-TERM", *first)
        grace = int(self.service.get("stop_grace_period", "10s").removesuffix("s"))
        try:
            return self.process.wait(timeout=grace), time.monotonic() - began
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{self.name} goes on {grace} s after SIGTERM:\n{self.said()}") from None


class Cluster:
    """All services that need no profile, in one network namespace with a bridge for each network."""

    def __init__(self, compose, folder, ours):
        self.folder, self.ours = folder, ours
        self.services, self.volumes, self.secrets = compose["services"], compose["volumes"], compose["secrets"]
        self.internal = {name for name, network in compose["networks"].items() if network.get("internal")}
        self.networks = {name: place for place, name in enumerate(compose["networks"])}
        self.hosts = 1
        self.containers, self.left_out = [], {}
        for name, service in self.services.items():
            if service.get("profiles"):
                continue
            image = image_of(service)
            missing = image and [one for one in image.programs if not program(one, ours)]
            if missing or not image:
                self.left_out[name] = f"{', '.join(missing or ['its program'])} is not here"
                continue
            copies = service.get("deploy", {}).get("replicas", 1)
            self.containers += [Container(self, name, number + 1) for number in range(copies)]

    def next_host(self):
        self.hosts += 1
        return self.hosts

    def program(self, name):
        return program(name, self.ours)

    def file(self, path):
        """Of this folder, but what `make-secrets` makes is where the test has it made."""
        made = self.folder / path
        return made if made.exists() else (FOLDER / path).resolve()

    def of(self, name):
        return [container for container in self.containers if container.service_name == name]

    def start(self):
        for network, place in self.networks.items():
            run("ip", "link", "add", f"b{place}", "type", "bridge")
            if network not in self.internal:
                run("ip", "address", "add", f"10.77.{place}.1/24", "dev", f"b{place}")
            run("ip", "link", "set", f"b{place}", "up")
        for container in self.containers:
            container.join_networks()
        waiting, conditions = list(self.containers), {}
        while waiting:
            ready = [one for one in waiting if not any(other in {w.service_name for w in waiting} for other in needs(one))]
            if not ready:
                raise SystemExit(f"depends_on goes in circles: {[one.name for one in waiting]}")
            for container in ready:
                for name, condition in needs(container).items():
                    for other in self.of(name):
                        if (other.name, condition) not in conditions:
                            conditions[other.name, condition] = other.wait_until(condition)
                container.start()
                waiting.remove(container)
        for container in self.containers:
            if container.service.get("restart") != "no":
                container.wait_until("service_healthy")

    def stop(self):
        for container in self.containers:
            if container.process and container.process.poll() is None:
                container.process.kill()


def needs(container):
    return {name: how["condition"] for name, how in container.service.get("depends_on", {}).items()}


def tools_are_here():
    missing = [name for name in ("ip", "bwrap", "setpriv", "wget", "curl", "pgrep") if not shutil.which(name)]
    if missing:
        raise SystemExit(f"install {', '.join(missing)}")
