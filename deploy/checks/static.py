#!/usr/bin/env python3
"""What can be said of the files in deploy/ without starting a farm: compose.yml and the schema of its kind, the Dockerfile, the
brokers' configuration, units, shell scripts. `make deploy-check` runs it with the tools that it takes."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import compose_file
from compose_file import ROOT

DEPLOY = ROOT / "deploy"
TOOLS = Path(sys.executable).parent
# Highest exposure that `systemd-analyze security` may find, in tenths of its scale from 0 (none) to 10.
EXPOSURE = {"farm-coordinator.service": 13, "farm-worker.service": 14}
# GPUs: devices, and memory that a driver writes code to.
EXPOSURE_WITH_GPUS = 19

complaints = []


def check(what, *command, env=None, cwd=None):
    """A command that must succeed."""
    done = subprocess.run([str(part) for part in command], env=env, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        complaints.append(f"{what}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def tool(name):
    found = next((place / name for place in (TOOLS, ROOT / "target/servers/bin") if (place / name).is_file()), None)
    return found or shutil.which(name)


def compose():
    example = compose_file.variables(compose_file.FOLDER / ".env.example")
    file = compose_file.read({name: "x" for name in example})
    names = set(re.findall(r"\$\{([A-Z0-9_]+)", compose_file.FILE.read_text()))
    if names - set(example):
        complaints.append(f"compose.yml: not in .env.example: {names - set(example)}")
    for name, service in file["services"].items():
        for part, declared in (("networks", "networks"), ("secrets", "secrets")):
            complaints.extend(
                f"compose.yml: {name}: no {one} among {declared}"
                for one in service.get(part, [])
                if one not in file[declared]
            )
        if name != "buckets" and not (service.get("healthcheck") or compose_file.image_of(service).health):
            complaints.append(f"compose.yml: {name}: nobody would know whether it is well")
        if name != "buckets" and "memory" not in service.get("deploy", {}).get("resources", {}).get("limits", {}):
            complaints.append(f"compose.yml: {name}: no limit of memory")
        wanted = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
        complaints.extend(f"compose.yml: {name}: {key}" for key, value in wanted.items() if service.get(key) != value)
    return file


def schema(file):
    import jsonschema

    place = os.environ.get("COMPOSE_SCHEMA")
    if not place:
        raise SystemExit("COMPOSE_SCHEMA: the file with the schema of compose files, as `make deploy-check` has it")
    validator = jsonschema.Draft7Validator(json.loads(Path(place).read_text()))
    for error in validator.iter_errors(file):
        complaints.append(f"compose.yml: {'.'.join(map(str, error.absolute_path))}: {error.message}")


def grace(file):
    """Whoever stops a program waits longer for it than it waits itself."""
    defaults = {"coordinator": "coordinator.toml", "worker": "worker.toml"}
    services = file["services"]
    for name, sample in defaults.items():
        takes = int(re.search(r"^grace_period_ms = (\d+)", (DEPLOY / sample).read_text(), re.M)[1]) / 1000
        unit = (DEPLOY / f"systemd/farm-{name}.service").read_text()
        waits = {"unit": int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])}
        waits |= {n: int(s["stop_grace_period"].removesuffix("s")) for n, s in services.items() if n.startswith(name)}
        # Work is given back, and last words are said.
        complaints.extend(f"{name}: {who} waits {s} s, it takes {takes} s" for who, s in waits.items() if s < takes + 5)


def broker():
    example = compose_file.variables(compose_file.FOLDER / ".env.example")
    env = {**os.environ, "FARM_NATS_NAME": "nats-1"} | {name: "s1" for name in example}
    env |= {f"FARM_NATS_ROUTE_{number}": f"nats://route:s1@nats-{number}:6222" for number in (1, 2, 3)}
    check("nats.conf", tool("nats-server"), "-t", "-c", DEPLOY / "nats/nats.conf", env=env)


def units():
    if not shutil.which("systemd-analyze"):
        print("SKIPPED: units: systemd-analyze is not here")
        return
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        system = root / "etc/systemd/system"
        shutil.copytree("/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
        shutil.copytree(DEPLOY / "systemd", system, ignore=shutil.ignore_patterns("*.conf"))
        for name in ("coordinator", "worker"):
            program = root / "usr/local/bin" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
        (root / "usr/share/doc/farm").mkdir(parents=True)
        (root / "usr/share/doc/farm/README.md").touch()
        for with_gpus in (False, True):
            if with_gpus:
                shutil.copytree(DEPLOY / "systemd/farm-worker.service.d", system / "farm-worker.service.d", dirs_exist_ok=True)
            for unit, exposure in EXPOSURE.items():
                said = check(unit, "systemd-analyze", f"--root={root}", "--man=no", "--recursive-errors=no", "verify", unit)
                if said.strip():
                    complaints.append(f"{unit}: {said}")
                limit = EXPOSURE_WITH_GPUS if with_gpus and "worker" in unit else exposure
                check(unit, "systemd-analyze", f"--root={root}", "security", "--offline=true", f"--threshold={limit}", unit)
        (root / "etc/farm").mkdir()
        (root / "etc/farm/worker.env").touch(0o644)
        check("sysusers.conf", "systemd-sysusers", f"--root={root}", DEPLOY / "systemd/sysusers.conf")
        check("tmpfiles.conf", "systemd-tmpfiles", f"--root={root}", "--create", DEPLOY / "systemd/tmpfiles.conf")
        if (root / "etc/farm/worker.env").stat().st_mode & 0o777 != 0o600:
            complaints.append("tmpfiles.conf: worker.env is readable by others")


def scripts():
    files = [DEPLOY / "compose/make-secrets", DEPLOY / "etcd/users.sh", *DEPLOY.glob("checks/*.sh")]
    check("scripts", tool("shellcheck"), *files)
    with tempfile.TemporaryDirectory() as folder:
        first = check("make-secrets", DEPLOY / "compose/make-secrets", folder)
        made = (Path(folder) / ".env").read_text()
        check("make-secrets", DEPLOY / "compose/make-secrets", folder)
        if made != (Path(folder) / ".env").read_text() or len(set(made.split())) != len(made.split()):
            complaints.append(f"make-secrets: changes what is there: {first}")
        others = [file for file in (".env", "secrets/s3.json") if (Path(folder) / file).stat().st_mode & 0o77]
        complaints.extend(f"make-secrets: {file} is readable by others" for file in others)


def main():
    file = compose()
    schema(file)
    grace(file)
    broker()
    units()
    scripts()
    check("Dockerfile", tool("hadolint"), "--failure-threshold", "info", compose_file.DOCKERFILE)
    for complaint in complaints:
        print(complaint)
    print(f"deploy: {len(complaints)} complaints")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
