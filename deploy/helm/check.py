#!/usr/bin/env python3
"""Holds the Helm chart to what it promises; `make helm-check` runs it with its tools.

  check.py                   everything
  check.py readme            writes the table of values into the chart's README.md
  check.py render FILE       prints what the chart makes of a file of values
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python as helm
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHART = HERE / "farm"
NAMESPACE = "video"
# Of Kubernetes itself: the oldest that Chart.yaml allows, and the newest that the validator knows.
VERSIONS = ["1.27", "1.37"]
TABLE = ("<!-- values -->", "<!-- /values -->")
PROGRAMS = Path(os.environ.get("FARM_PROGRAMS", ROOT / "target" / "debug"))
# What the values of a check refer to and Kubernetes would give.
SECRETS = {"FARM_ETCD_PASSWORD": "x", "FARM_NATS_USER": "x", "FARM_NATS_PASSWORD": "x"}

complaints = []


def expect(holds, complaint):
    if not holds:
        complaints.append(complaint)


def cases():
    """Files of values that the chart is tried with, by name."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "ci").glob("*.yaml"))}


def render(values):
    """The objects that the chart makes."""
    rendered = helm.Chart.load(str(CHART)).render(values, name="farm", namespace=NAMESPACE)
    texts = [text for name, text in sorted(rendered.items()) if name.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def label(one):
    return f"{one['kind']}/{one['metadata']['name']}"


def check_kubernetes(name, objects):
    """Kubernetes's own schemas, strict: a key that is not known is an error."""
    known = [one for one in objects if one["apiVersion"].split("/")[0] not in ("keda.sh", "monitoring.coreos.com")]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(known, file)
        file.flush()
        for version in VERSIONS:
            command = [Path(sys.executable).with_name("kubernetes-validate"), "--strict", "-k", version, file.name]
            ran = subprocess.run(command, capture_output=True, text=True)
            expect(ran.returncode == 0, f"{name}: Kubernetes {version} refuses:\n{ran.stdout}{ran.stderr}")


def check_custom(name, objects):
    """The schemas of KEDA's and the Prometheus operator's resources. Returns the complaints."""
    custom = [one for one in objects if one["apiVersion"].split("/")[0] in ("keda.sh", "monitoring.coreos.com")]
    ran = subprocess.run(["node", "check-custom.mjs"], input=json.dumps(custom), capture_output=True, text=True,
                         cwd=ROOT / "target" / "helm")
    expect(ran.returncode in (0, 1), f"{name}: check-custom.mjs: {ran.stderr}")
    return [f"{name}: {line}" for line in ran.stdout.splitlines()]


def pods(objects):
    return [(one, one["spec"]["template"]["spec"]) for one in objects if one["kind"] in ("Deployment", "StatefulSet")]


def check_promises(name, objects):
    """What no schema knows."""
    maps = {one["metadata"]["name"]: one.get("data", {}) for one in objects if one["kind"] == "ConfigMap"}
    for one, pod in pods(objects):
        place = f"{name}: {label(one)}"
        expect(pod["automountServiceAccountToken"] is False, f"{place} is given a token of Kubernetes")
        security = pod["securityContext"]
        expect(security["runAsNonRoot"] and security["runAsUser"] > 0, f"{place} may be root")
        expect(security["seccompProfile"]["type"] == "RuntimeDefault", f"{place} has no seccomp profile")
        for container in pod["containers"]:
            own = container["securityContext"]
            least = own["capabilities"] == {"drop": ["ALL"]} and not own["allowPrivilegeEscalation"]
            expect(least and own["readOnlyRootFilesystem"], f"{place} may more than it needs")
            kinds = {"startupProbe", "livenessProbe", "readinessProbe"}
            expect(kinds <= container.keys(), f"{place} lacks probes")
            expect(container["resources"].get("requests", {}).get("memory"), f"{place} asks for no memory")
            secrets = [env["name"] for env in container.get("env", []) if "value" in env and "PASS" in env["name"]]
            expect(not secrets, f"{place} has secrets in the open: {secrets}")
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        volumes = {volume["name"] for volume in pod["volumes"]}
        expect(mounted == volumes, f"{place} mounts {mounted} of {volumes}")
        [toml] = maps[label(one).split("/")[1]].values()
        check_settings(place, one, pod, toml)
    secure = any("[api.tls]" in toml for data in maps.values() for toml in data.values())
    spoken = [port.get("appProtocol") for one in objects if one["kind"] == "Service" for port in one["spec"]["ports"]]
    expect(("https" if secure else "kubernetes.io/h2c") in spoken, f"{name}: TLS is {secure}, the service says {spoken}")
    chosen = [json.dumps(one["spec"]["selector"]["matchLabels"], sort_keys=True) for one, _ in pods(objects)]
    expect(len(chosen) == len(set(chosen)), f"{name}: two choose the same pods")
    for one in (one for one in objects if one["kind"] == "ScaledObject"):
        target = [deployment for deployment, _ in pods(objects) if label(deployment) == f"Deployment/{one['spec']['scaleTargetRef']['name']}"]
        expect(len(target) == 1, f"{name}: {label(one)} scales nothing")
        expect("replicas" not in target[0]["spec"], f"{name}: {label(one)} and the Deployment both say how many there are")


def check_settings(place, one, pod, toml):
    """The programs themselves read what was rendered, and say what is in force."""
    program = pod["containers"][0]["command"][0]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(toml)
        file.flush()
        env = {env["name"]: env["value"] for env in pod["containers"][0].get("env", []) if "value" in env}
        ran = subprocess.run([PROGRAMS / program, "--config", file.name, "--print-config"], capture_output=True, text=True,
                             env={**os.environ, **SECRETS, **env})
    expect(ran.returncode == 0, f"{place}: {program} refuses its settings: {ran.stderr}\n{toml}")
    said = dict(line.split(" = ", 1) for line in ran.stdout.splitlines() if " = " in line)
    if program == "worker":
        drain_s = int(said.get("grace_period_ms", 0)) / 1000
        expect(0 < drain_s < pod["terminationGracePeriodSeconds"], f"{place} is killed before its drain of {drain_s} s ends")
        gpus = [key for key in pod["containers"][0]["resources"].get("limits", {}) if key.startswith("nvidia.com/")]
        env = [env["name"] for env in pod["containers"][0].get("env", [])]
        expect(bool(gpus) == ("NVIDIA_DRIVER_CAPABILITIES" in env), f"{place}: GPUs {gpus}, environment {env}")


# Values that must be refused, and by whom a word of the complaint.
WRONG = [
    ({"coordinator": {"replicas": "three"}}, "replicas"),
    ({"coordinator": {"replcias": 3}}, "replcias"),
    ({"workers": {"gpu": {"scratch": {"size": "much"}}}}, "size"),
    ({"workers": {"GPU": {}}}, "GPU"),
    ({"nats": {"urls": ["http://nats:4222"]}}, "urls"),
]


def check_refusals():
    base = cases()["minimal"]
    for wrong, word in WRONG:
        values = merged(base, wrong)
        try:
            render(values)
            complaints.append(f"these values should be refused: {wrong}")
        except Exception as refusal:  # the SDK's own type
            expect(word in str(refusal), f"{wrong} is refused with another word: {refusal}")


def merged(base, other):
    base = copy.deepcopy(base)
    for key, value in other.items():
        base[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return base


def check_validator():
    """A validator that accepts everything would not be one."""
    scaled = next(one for one in render(cases()["gpu"]) if one["kind"] == "ScaledObject")
    scaled["spec"]["pollingInterval"] = "often"
    expect(check_custom("broken", [scaled]), "the validator of KEDA's objects lets everything pass")


def table():
    """Every value, its default and its comment, out of values.yaml."""
    rows, path, comment = [], [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
        elif not text or text.startswith("- "):
            comment = []
        else:
            key, _, value = text.partition(":")
            depth = (len(line) - len(line.lstrip())) // 2
            path = path[:depth] + [key]
            if value.strip() or key == "tolerations":
                rows.append((".".join(path), value.strip(), " ".join(comment)))
            elif comment:
                rows.append((".".join(path), "", " ".join(comment)))
            comment = []
    cell = lambda text: text.replace("|", "\\|")
    lines = [f"| `{name}` | {f'`{cell(value)}`' if value else ''} | {cell(about)} |" for name, value, about in rows]
    return "\n".join(["| value | default | is |", "|---|---|---|", *lines])


def readme(write):
    path = CHART / "README.md"
    text = path.read_text()
    before, rest = text.split(TABLE[0])
    wanted = f"{before}{TABLE[0]}\n{table()}\n{TABLE[1]}{rest.split(TABLE[1])[1]}"
    if write:
        path.write_text(wanted)
    expect(write or text == wanted, "README.md of the chart is not what values.yaml says: deploy/helm/check.py readme")


def main():
    match sys.argv[1:]:
        case ["readme"]:
            return readme(write=True)
        case ["render", file]:
            return print(yaml.safe_dump_all(render(yaml.safe_load(Path(file).read_text()))))
    for name, values in cases().items():
        for version in VERSIONS:
            said = helm.lint(CHART, values, strict=True, namespace=NAMESPACE, kube_version=f"v{version}.0")
            complaints.extend(f"{name}: lint for Kubernetes {version}: {error}" for error in said["errors"])
        objects = render(values)
        expect(len({label(one) for one in objects}) == len(objects), f"{name}: two objects have the same name")
        check_kubernetes(name, objects)
        complaints.extend(check_custom(name, objects))
        check_promises(name, objects)
        print(f"{name}: {len(objects)} objects")
    check_refusals()
    check_validator()
    readme(write=False)
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
