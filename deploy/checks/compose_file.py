"""Reads compose.yml and the Dockerfile as an engine would."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/compose"
FILE = FOLDER / "compose.yml"
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"


def variables(path):
    """Of an .env file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def read(env):
    """compose.yml with the values of `env`; what has none is an error."""

    def value(match):
        name = match[1]
        if not env.get(name):
            raise SystemExit(f"compose.yml: {name} has no value: {match[2] or ''}")
        return env[name]

    lines = [line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    return yaml.safe_load(re.sub(r"\$\{([A-Z0-9_]+)(?::\?([^}]*))?\}", value, "\n".join(lines)))


@dataclass
class Image:
    """What an image says about the containers made of it."""

    programs: list
    entrypoint: list = field(default_factory=list)
    command: list = field(default_factory=list)
    user: str = "0:0"
    environment: dict = field(default_factory=dict)
    volumes: list = field(default_factory=list)
    health: list = None


# Images of others, as their documentation has them.
OTHERS = {
    "nats": Image(["nats-server"], ["nats-server"]),
    "quay.io/coreos/etcd": Image(["etcd", "etcdctl"]),
    "chrislusf/seaweedfs": Image(["weed"]),
    "prom/prometheus": Image(["prometheus"], ["prometheus"], user="65534:65534"),
    # There is no package of it to run here.
    "grafana/grafana": None,
}


def instructions():
    """(instruction, rest) of the Dockerfile, continued lines joined, comments left out."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#"))
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, rest = line.split(None, 1)
            yield word.upper(), re.sub(r"\s+", " ", rest.strip())


def stages():
    """Every stage by its name: what it begins with, and its instructions."""
    found = {}
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.split()
            found[name] = (base, [])
            current = found[name][1]
        else:
            current.append((word, rest))
    return found


def built(target):
    """The image that a target of the Dockerfile becomes."""
    every = stages()
    chain, name = [], target
    while name in every:
        chain.insert(0, every[name][1])
        name = every[name][0]
    image = Image([])
    words = lambda rest: yaml.safe_load(rest) if rest.startswith("[") else rest.split()
    for word, rest in (one for stage in chain for one in stage):
        if word == "COPY":
            image.programs = [rest.split()[1].rsplit("/", 1)[-1]]
        elif word == "ENTRYPOINT":
            image.entrypoint = words(rest)
        elif word == "CMD":
            image.command = words(rest)
        elif word == "USER":
            image.user = rest
        elif word == "ENV":
            image.environment.update(pair.split("=", 1) for pair in rest.split())
        elif word == "VOLUME":
            image.volumes += words(rest)
        elif word == "HEALTHCHECK":
            image.health = words(rest.split("CMD", 1)[1].strip())
    return image


def image_of(service):
    """What a service is made of; `None` if it can't be run without its image."""
    if "build" in service:
        return built(service["build"]["target"])
    name = service["image"].rsplit(":", 1)[0]
    if name not in OTHERS:
        raise SystemExit(f"{name}: say in {Path(__file__).name} what this image runs")
    return OTHERS[name]
