# SPDX-License-Identifier: Apache-2.0
"""Controllers and CLI have nothing but a kubeconfig, as against another API server: no socket,
no token of a local part, rights by RBAC only. Recording proxies stand before the API server and
show that what they ask is what any Kubernetes API server answers; what is more is listed here and
in docs/internals/foreign-apiserver.md."""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from conftest import BIN, free_ports, private_dir, run_object, wait_until
from recorder import Recorder

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))
from http_api import Api  # noqa: E402

KINDS = (r"/api/v1(/namespaces/[^/]+)?/(namespaces|secrets|configmaps|events)"
         r"|/apis/scheduling\.k8s\.io/v1/priorityclasses"
         r"|/apis/(drover\.dev/v1|coordination\.k8s\.io/v1)(/namespaces/[^/]+)?/[a-z]+")
CONTRACT = re.compile(rf"({KINDS})(/[^/]+(/status)?)?|/api|/apis|/version|/openapi/v3.*")
OPTIONS = {"watch", "resourceVersion", "resourceVersionMatch", "allowWatchBookmarks",
           "sendInitialEvents", "timeoutSeconds", "limit", "continue", "labelSelector",
           "fieldSelector", "fieldManager", "fieldValidation", "dryRun", "force",
           "propagationPolicy"}
BODIES = {None, "json", "merge", "jsonpatch", "apply"}
# Of custom resources a Kubernetes API server selects these, and what the CRD names.
FIELDS = {"metadata.name", "metadata.namespace"}


def beyond(entries):
    """What no Kubernetes API server with our CRDs would answer, names left out."""
    found = set()
    for e in entries:
        names = {o.partition("=")[0] for o in e.options}
        fields = {re.split("!?=", term)[0] for o in e.options if o.startswith("fieldSelector=")
                  for term in o.partition("=")[2].split(",")}
        if not CONTRACT.fullmatch(e.path) or not names <= OPTIONS or e.type not in BODIES \
                or (e.path.startswith("/apis/drover.dev") and not fields <= FIELDS):
            found.add(re.sub(r"/namespaces/[^/]+|(?<=s)/[a-z0-9-]+(?=/|$)", "", e.path))
    return found


class Parts:
    def __init__(self, directory, stack):
        self.dir, self.stack = directory, stack
        (directory / "run").mkdir(mode=0o700)
        self.port, self.streams_port = free_ports(2)
        secret = "drp_" + os.urandom(16).hex()
        digest = hashlib.blake2b(secret.encode(), digest_size=32).hexdigest()
        self.file("run/streams.token", secret)
        self.file("run/parts.tokens", f"{digest} system:drover:streams system:drover:streams\n")
        d = directory
        self.start("drover-apiserver", "--data-dir", d / "data", "--listen",
                   f"127.0.0.1:{self.port}", "--unix-socket", d / "run/api.sock",
                   "--parts-tokens-file", d / "run/parts.tokens", "--streams-address",
                   f"127.0.0.1:{self.streams_port}", "--streams-socket", d / "run/streams.sock",
                   "--no-mirror")
        wait_until(lambda: '"serving"' in self.log("drover-apiserver"), 30, "the API server")
        self.start("drover-streams", "--data-dir", d / "data", "--listen",
                   f"127.0.0.1:{self.streams_port}", "--unix-socket", d / "run/streams.sock",
                   "--api-socket", d / "run/api.sock", "--token-file", d / "run/streams.token")
        wait_until((d / "run/streams.sock").exists, 30, "the streams program")
        self.api = Api(d / "data/kubeconfig", "default")

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def log(self, name):
        return (self.dir / f"{name}.log").read_text(errors="replace")

    def start(self, name, *args):
        with open(self.dir / f"{name}.log", "ab") as log:
            p = subprocess.Popen([BIN / name, *args], stdout=log, stderr=log, cwd="/",
                                 stdin=subprocess.DEVNULL,
                                 env={"PATH": os.environ["PATH"], "HOME": str(self.dir)})

        def end():
            p.send_signal(signal.SIGTERM)
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

        self.stack.callback(end)
        return p

    def recorder(self):
        keys = self.dir / "data/keys"
        r = Recorder("127.0.0.1", self.port, keys / "server.crt", keys / "server.key",
                     keys / "ca.crt")
        self.stack.callback(r.close)
        return r

    def account(self, name, recorder, binding):
        """A kubeconfig with a ServiceAccount's token, which `binding` gives its only rights."""
        api = self.api
        api("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": name}},
            want=201)
        subject = [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]
        path, role = binding
        api("POST", f"/apis/rbac.authorization.k8s.io/v1/{path}", {
            "metadata": {"name": name}, "subjects": subject, "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}},
            want=201)
        token = api("POST", f"/api/v1/namespaces/default/serviceaccounts/{name}/token",
                    {"spec": {"expirationSeconds": 3600}}, want=201)["status"]["token"]
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "c",
                  "clusters": [{"name": "c", "cluster": {
                      "server": f"https://127.0.0.1:{recorder.port}",
                      "certificate-authority": str(self.dir / "data/keys/ca.crt")}}],
                  "users": [{"name": "u", "user": {"token": token}}],
                  "contexts": [{"name": "c", "context": {
                      "cluster": "c", "user": "u", "namespace": "default"}}]}
        return self.file(f"{name}.kubeconfig", json.dumps(config))


@pytest.fixture
def parts():
    with contextlib.ExitStack() as stack:
        d = private_dir()
        stack.callback(subprocess.run, ["rm", "-rf", d], check=True)
        yield Parts(d, stack)


def test_a_run_is_done(parts):
    for_controllers, for_cli, for_agent = (parts.recorder() for _ in range(3))
    config = parts.account("controllers", for_controllers,
                           ("clusterrolebindings", "system:drover:controllers"))
    cli_config = parts.account("person", for_cli, ("namespaces/default/rolebindings", "admin"))

    def drover(*args, text=None):
        r = subprocess.run([BIN / "drover", *args, "--kubeconfig", cli_config], input=text,
                           text=True, timeout=90, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT,
                           env={"PATH": os.environ["PATH"], "HOME": str(parts.dir)})
        assert r.returncode == 0, f"drover {args}: {r.stdout}"
        return r.stdout

    controllers = parts.start("drover-controllers", "--kubeconfig", config)
    drover("apply", "-f", "-", text=json.dumps({
        "apiVersion": "drover.dev/v1", "kind": "Fleet", "metadata": {"name": "local"},
        "spec": {}}))
    assert beyond(for_cli.take()) == set()

    # A machine joins: the one thing of the CLI, besides logs, that is drover's own.
    token = re.search(r"--token (\S+)", drover("token", "create", "--join", "local"))[1]
    assert beyond(for_cli.take()) == {"/apis/drover.dev/v1/fleets/jointoken"}
    parts.start("drover-runner", "--join", f"https://127.0.0.1:{for_agent.port}", "--token",
                token, "--ca-file", parts.dir / "data/keys/ca.crt", "--dir", parts.dir / "agent",
                "--mask-dir", parts.dir)

    drover("apply", "-f", "-", text=json.dumps(run_object("hello", ["echo from afar"])))
    drover("wait", "run/hello", "--for=phase=Done", "--timeout", "60s")
    shown = drover("ps") + drover("get", "runs,jobs,instances") + drover("describe", "run/hello")
    assert "Done" in shown and "exit code 0" in shown
    drover("events")
    drover("apply", "-f", "-", text=json.dumps(run_object("endless", ["sleep 600"])))
    drover("wait", "run/endless", "--for=phase=Running", "--timeout", "60s")
    drover("stop", "endless")
    drover("wait", "run/endless", "--for=phase=Terminated", "--timeout", "60s")
    drover("delete", "run/endless")
    assert beyond(for_cli.take()) == set()
    assert drover("logs", "hello") == "from afar\n"
    assert {p for p in beyond(for_cli.take()) if not p.startswith("/apis/streams.drover.dev")} \
        == set()

    entries = for_controllers.take()
    assert controllers.poll() is None
    assert len(entries) > 20 and beyond(entries) == set()
    assert {e.status for e in entries if e.status} <= {200, 201, 404, 409}, [
        (e.line([]), e.status) for e in entries if e.status not in (200, 201)]
    # The agent: how it gets its identity, and its logs.
    assert {p for p in beyond(for_agent.take())
            if not p.startswith("/apis/streams.drover.dev")} == {"/enroll"}
