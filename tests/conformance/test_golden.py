# SPDX-License-Identifier: Apache-2.0
"""Every verb of every kubectl version: exit code, output and the requests that it makes, against
golden files. golden/battery.txt holds the commands; golden/kubectl-1.35.txt what the newest
version does; each older file only where that version differs from the next newer one.

    DROVER_GOLDEN=write pytest tests/conformance/test_golden.py

writes the files anew (read the diff before you commit it). DROVER_LONG=1 runs all versions."""
import concurrent.futures
import os
import pathlib
import re
import shlex
import signal
import subprocess

import pytest

from conftest import LONG, Server
from http_api import Api
from recorder import Recorder

HERE = pathlib.Path(__file__).resolve().parent / "golden"
VERSIONS = ["1.35", "1.34", "1.33", "1.32", "1.31", "1.30", "1.20"]
DEFAULT = ["1.35", "1.32", "1.30", "1.20"]
WRITE = os.environ.get("DROVER_GOLDEN") == "write"

SHORT = [("/apis/example.dev/v1/namespaces/default/widgets", "{W}"),
         ("/api/v1/namespaces/default", "{C}")]
NORMAL = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"(?<=\s)(\d+[smhdy]|\d+[mhdy]\d+[smhd]|<invalid>)(?=\s)", "AGE"),
    (r"(resourceVersion\"?: *\"?|Resource Version: +)\d+", r"\1RV"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", "TIME"),
    (r"\bkubectl-1\.\d+\b", "kubectl"),
    (r"((?:Client|Kustomize) Version: ).*", r"\1ITS"), (r"client \(1\.\d+\)", "client (ITS)"),
    (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN"),
    (r"https://127\.0\.0\.1:\d+", "SERVER"), (r"127\.0\.0\.1:\d+", "HOST"),
    (r"gen-[a-z0-9]{5}\b", "gen-XXXXX"),
    (r"/tmp/(LIVE|MERGED)-\d+", r"/tmp/\1"),
    (r"[IWEF]\d{4} [\d:.]+ +\d+ ", "KLOG "),
    (r"(storageVersionHash\"?: *\")[^\"]+", r"\1HASH"), (r"\?hash=[0-9A-Fa-f]+", "?hash=H"),
    (r"[0-9a-f]{64}", "HEX"),
    (r"v1\.\d+\.\d+\+drover\S*", "SERVERVERSION"),
    # Which kinds drover has is not what is compared.
    (r"(?m)^ *\w+\.drover\.dev +TIME *\n", ""),
]

CRDS = [{
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{plural}.example.dev"},
    "spec": {"group": "example.dev", "scope": scope,
             "names": {"plural": plural, "singular": kind.lower(), "kind": kind,
                       "shortNames": [short], "categories": categories},
             "versions": [{
                 "name": "v1", "served": True, "storage": True,
                 "subresources": {"status": {}, "scale": {
                     "specReplicasPath": ".spec.replicas",
                     "statusReplicasPath": ".status.replicas"}},
                 "additionalPrinterColumns": [
                     {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
                     {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas",
                      "priority": 1}],
                 "schema": {"openAPIV3Schema": {
                     "type": "object", "description": f"A {kind} is for tests.",
                     "properties": {
                         "spec": {"type": "object", "description": "What is wanted.",
                                  "properties": {
                             "color": {"type": "string", "description": "Its colour.",
                                       "enum": ["red", "green", "blue", "pink"]},
                             "replicas": {"type": "integer", "minimum": 0},
                             "parts": {"type": "array", "x-kubernetes-list-type": "map",
                                       "x-kubernetes-list-map-keys": ["name"],
                                       "items": {"type": "object", "required": ["name"],
                                                 "properties": {
                                           "name": {"type": "string",
                                                    "description": "Which part."},
                                           "size": {"type": "integer"}}}}}},
                         "status": {"type": "object",
                                    "x-kubernetes-preserve-unknown-fields": True,
                                    "properties": {"phase": {"type": "string"},
                                                   "replicas": {"type": "integer"}}}}}}}]}}
    for plural, kind, short, scope, categories in (
        ("widgets", "Widget", "wd", "Namespaced", ["all", "dev"]),
        ("gizmos", "Gizmo", "gz", "Cluster", ["dev"]))]


def read_battery():
    """The commands as (marks, words), and the input files."""
    head, *rest = re.split(r"^== (.*)\n", (HERE / "battery.txt").read_text(), flags=re.M)
    commands = [line for line in head.splitlines() if line and not line.startswith("#")]
    return commands, dict(zip(rest[::2], rest[1::2]))


def prepare(api):
    for crd in CRDS:
        api("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd, want=201)
    for crd in CRDS:
        with_watch = api.watch("/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                               fieldSelector=f"metadata.name={crd['metadata']['name']}")
        while not any(c["type"] == "Established" and c["status"] == "True" for c in
                      with_watch.next()["object"].get("status", {}).get("conditions", [])):
            pass
        with_watch.close()
    api("POST", "/api/v1/namespaces", {"metadata": {"name": "team-a"}}, want=201)
    api.configmap("cm0", {"a": "b"})
    widgets = "/apis/example.dev/v1/namespaces/default/widgets"
    head = {"apiVersion": "example.dev/v1"}
    for i in range(6):
        w = api("POST", widgets, {**head, "kind": "Widget", "metadata": {
            "name": f"w{i}", "labels": {"app": f"a{i % 2}"}}, "spec": {
                "color": ["red", "blue"][i % 2], "replicas": 1,
                "parts": [{"name": "left"}]}}, want=201, fieldManager="setup")
    w0 = api("GET", widgets + "/w0", want=200).json
    w0["status"] = {"phase": "New", "replicas": 1, "conditions": [
        {"type": "Ready", "status": "True"}]}
    w = api("PUT", widgets + "/w0/status", w0, want=200, fieldManager="setup")
    api("POST", "/apis/example.dev/v1/gizmos", {**head, "kind": "Gizmo", "metadata": {
        "name": "g0"}, "spec": {"color": "red"}}, want=201, fieldManager="setup")
    api("POST", api.events, {
        "metadata": {"name": "w0.1"}, "reason": "Painted", "message": "it is red",
        "type": "Normal", "count": 1, "source": {"component": "setup"},
        "involvedObject": {"apiVersion": "example.dev/v1", "kind": "Widget", "name": "w0",
                           "namespace": "default", "uid": w["metadata"]["uid"]},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z"}, want=201)


def normal(text):
    for pattern, to in NORMAL:
        text = re.sub(pattern, to, text)
    lines = [re.sub(r"(?<=\S) {2,}", "  ", line.rstrip()) for line in text.splitlines()]
    return [line for line in lines if line]


def requests(entries):
    """Discovery and OpenAPI count once each in a row; a loop of equal requests too."""
    lines = []
    for line in (re.sub(r"\bgen-[a-z0-9]{5}\b", "gen-XXXXX", e.line(SHORT)) for e in entries):
        if not (lines and line == lines[-1]) and not (line[0] == "[" and line in lines):
            lines.append(line)
    return lines


class Battery:
    def __init__(self, version, path, directory):
        self.version, self.path, self.directory = version, path, directory
        self.server = Server(directory)
        keys = directory / "data/keys"
        api = Api(self.server.kubeconfig, "default")
        prepare(api)
        self.recorder = Recorder(api.host, api.port, keys / "server.crt", keys / "server.key",
                                 keys / "ca.crt")
        config = directory / "kubeconfig"
        config.write_text(self.server.kubeconfig.read_text().replace(
            f":{api.port}", f":{self.recorder.port}"))
        self.env = {"PATH": os.environ["PATH"], "HOME": str(directory / "home"), "LC_ALL": "C",
                    "KUBECTL_APPLYSET": "true",
                    "KUBECONFIG": str(config), "EDITOR": "sed -i s/green/blue/;s/v2/v3/"}

    def close(self):
        self.recorder.close()
        assert self.server.stop() == 0

    def one(self, marks, words):
        """The record of one command."""
        process = subprocess.Popen(
            [self.path, *words], env=self.env, text=True, cwd=self.directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if "@" in marks:
            assert self.recorder.wait_for(lambda e: e.is_watch and e.status), words
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
            return ["[watch]", *("> " + r for r in requests(self.recorder.take()))]
        try:
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        trace = requests(self.recorder.take())
        return [f"[{process.returncode}]", *("> " + r for r in trace if "~" not in marks),
                *("  " + line for line in normal(out))]

    def run(self):
        commands, files = read_battery()
        for name, text in files.items():
            (self.directory / name).parent.mkdir(exist_ok=True)
            (self.directory / name).write_text(text)
        records, seen = {}, {}
        for line in commands:
            marks, command = re.fullmatch(r"((?:[~@] |>=1\.\d+ )*)(.*)", line).groups()
            since = re.search(r">=1\.(\d+)", marks)
            if since and int(self.version.split(".")[1]) < int(since[1]):
                continue
            seen[command] = seen.get(command, 0) + 1
            key = command if seen[command] == 1 else f"{command}  #{seen[command]}"
            # ' in a JSON argument is quoting, " is its own
            words = [w for w in re.findall(r"'[^']*'|\S+", command)]
            words = [shlex.split(w)[0] if w[0] == "'" else w for w in words]
            records[key] = self.one(marks, words)
        return records


def parse(text):
    records, record = {}, None
    for line in text.splitlines():
        if line.startswith("$ "):
            record = records.setdefault(line[2:], [])
        elif record is not None and line:
            record.append(line)
    return records


def expected(version):
    """All records of a version: its file over those of the newer ones."""
    records = {}
    for v in VERSIONS[:VERSIONS.index(version) + 1]:
        records.update(parse((HERE / f"kubectl-{v}.txt").read_text()))
    return records


def write(version, records):
    newer = VERSIONS.index(version)
    base = expected(VERSIONS[newer - 1]) if newer else {}
    text = f"# What kubectl {version} does" + (
        f" that {VERSIONS[newer - 1]} does not.\n\n" if newer else ".\n\n")
    text += "".join("$ " + key + "\n" + "".join(line + "\n" for line in record) + "\n"
                   for key, record in records.items() if base.get(key) != record)
    (HERE / f"kubectl-{version}.txt").write_text(text)


def run_battery(version, path, directory):
    battery = Battery(version, path, directory)
    try:
        return battery.run()
    finally:
        battery.close()


@pytest.fixture(scope="module")
def batteries(request, clients, tmp_path_factory):
    """Version -> its records to come. Two run at a time, each on a server of its own."""
    asked = [i.callspec.params["version"] for i in request.session.items
             if "version" in getattr(getattr(i, "callspec", None), "params", {})]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {v: pool.submit(run_battery, v, clients[v], tmp_path_factory.mktemp("golden"))
               for v in asked if v in clients and (v in DEFAULT or LONG or WRITE)}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_verb(version, clients, batteries):
    if version not in clients:
        pytest.skip(f"kubectl {version} could not be fetched")
    if version not in batteries:
        pytest.skip("runs with DROVER_LONG=1")
    records = batteries[version].result()
    if WRITE:
        write(version, records)
        return
    golden = expected(version)
    wrong = {k: (golden.get(k), r) for k, r in records.items() if golden.get(k) != r}
    text = "".join(f"\n$ {k}\n" + "".join(
        f"  {sign} {line}\n" for sign, lines, other in (("-", was or [], now), ("+", now, was or []))
        for line in lines if line not in other) for k, (was, now) in wrong.items())
    assert not wrong, f"kubectl {version} differs from its golden file:{text}"
