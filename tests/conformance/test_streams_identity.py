# SPDX-License-Identifier: Apache-2.0
"""Who reads a log: by certificate, by impersonation, through the API port and on the port of
drover-streams itself; and the audit log, which has each read once."""
import hashlib
import http.client
import json
import socket
import ssl
import subprocess

import pytest
from conftest import Server, program
from http_api import Api
from test_auth import make_certificate
from test_operations import wait_until

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:drover:streams"]}
- {level: Metadata, resources: [{group: streams.drover.dev}]}
"""
LOG = "/apis/streams.drover.dev/v1/namespaces/default/jobs/job/log"
FORBIDDEN = 'User "bob" cannot get resource "jobs/log" in API group "streams.drover.dev"'


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class World:
    """An API server and a drover-streams, certificates for ann, who may read logs, and bob."""

    def __init__(self, path):
        self.path, self.port = path, free_port()
        self.ca = make_certificate(path, "ca", "/CN=clients")
        self.users = {name: make_certificate(path, name, f"/CN={name}/O=devs", ca=self.ca)
                      for name in ("ann", "bob")}
        other = make_certificate(path, "other", "/CN=other")
        self.users["eve"] = make_certificate(path, "eve", "/CN=ann", ca=other)
        token = "token-of-streams"
        digest = hashlib.blake2b(token.encode(), digest_size=32).hexdigest()
        (path / "parts").write_text(f"{digest} system:drover:streams system:drover:streams\n")
        (path / "streams.token").write_text(token)
        (path / "policy.yaml").write_text(POLICY)
        self.server = Server(
            path, "--parts-tokens-file", path / "parts", "--streams-socket", path / "streams.sock",
            "--streams-address", f"127.0.0.1:{self.port}", "--client-ca-file", self.ca[1],
            "--audit-policy-file", path / "policy.yaml")
        self.streams = subprocess.Popen(
            [program("drover-streams"), "--data-dir", path / "data", "--listen",
             f"127.0.0.1:{self.port}", "--unix-socket", path / "streams.sock", "--api-socket",
             path / "api.sock", "--token-file", path / "streams.token", "--client-ca-file",
             self.ca[1]], stdin=subprocess.DEVNULL)
        self.api = Api(self.server.kubeconfig, "default")
        wait_until((path / "streams.sock").exists, "drover-streams")

    def stop(self):
        self.streams.terminate()
        assert self.streams.wait(60) == 0
        assert self.server.stop() == 0

    def read(self, port, user=None, **headers):
        context = ssl.create_default_context(cafile=self.path / "data/keys/ca.crt")
        if user is not None:
            context.load_cert_chain(self.users[user][1], self.users[user][0])
        c = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
        try:
            c.request("GET", LOG, headers={k.replace("_", "-"): v for k, v in headers.items()})
            r = c.getresponse()
            text = r.read().decode()
            return r.status, text if r.status == 200 else json.loads(text)["message"]
        finally:
            c.close()

    def audit(self):
        path = self.path / "data/audit/audit.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [e for e in map(json.loads, lines)
                if e["objectRef"].get("resource") == "jobs" and e["stage"] == "ResponseComplete"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("streams"))
    w.api("POST", "/apis/drover.dev/v1/namespaces/default/jobs", want=201, body={
        "apiVersion": "drover.dev/v1", "kind": "Job", "metadata": {"name": "job"},
        "spec": {"runName": "run", "runUID": "00000000-0000-4000-8000-000000000000"}})
    w.api("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", want=201,
          body={"metadata": {"name": "ann"}, "subjects": [
              {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"}],
              "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                          "name": "view"}})
    yield w
    w.stop()


@pytest.mark.parametrize("direct", [False, True], ids=["api", "streams"])
def test_certificates(world, direct):
    port = world.port if direct else world.api.port
    assert world.read(port, "ann") == (200, "")
    status, text = world.read(port, "bob")
    assert status == 403 and FORBIDDEN in text
    # of another authority, whatever its name; and nobody at all
    for user in ("eve", None):
        try:
            assert world.read(port, user)[0] == 401
        except (ssl.SSLError, ConnectionError):
            pass  # or already by TLS
    assert world.read(port, Authorization=f"Bearer {world.api.token}") == (200, "")
    assert world.read(port, Authorization="Bearer drt_" + "a" * 43)[0] == 401


def test_impersonation(world):
    port, admin = world.api.port, f"Bearer {world.api.token}"
    assert world.read(port, Authorization=admin, Impersonate_User="ann") == (200, "")
    status, text = world.read(port, Authorization=admin, Impersonate_User="bob")
    assert status == 403 and FORBIDDEN in text
    status, text = world.read(port, "ann", Impersonate_User="admin")
    assert status == 403 and "cannot impersonate" in text
    # The port of drover-streams does not know of it, so nobody reads as himself by mistake.
    status, text = world.read(world.port, Authorization=admin, Impersonate_User="bob")
    assert status == 403 and "through the API server" in text


def test_each_read_is_audited_once(world):
    before = len(world.audit())
    world.read(world.port, "ann", User_Agent="reader/1")
    world.read(world.port, "bob")
    world.read(world.api.port, "ann")
    world.read(world.api.port, Authorization=f"Bearer {world.api.token}", Impersonate_User="bob")
    # One more, seen last, so that the four are all there are.
    world.read(world.api.port, "bob", User_Agent="last")
    wait_until(lambda: any(e.get("userAgent") == "last" for e in world.audit()), "the last read")
    events = world.audit()[before:]
    assert len(events) == 5, events
    seen = sorted((e["user"]["username"], e.get("impersonatedUser", {}).get("username", ""),
                   e["responseStatus"]["code"], e["requestURI"], e["verb"]) for e in events[:4])
    assert seen == [("admin", "bob", 403, LOG, "get"), ("ann", "", 200, LOG, "get"),
                    ("ann", "", 200, LOG, "get"), ("bob", "", 403, LOG, "get")]
    direct = next(e for e in events if e.get("userAgent") == "reader/1")
    assert direct["sourceIPs"] == ["127.0.0.1"]
    assert direct["user"]["groups"] == ["devs", "system:authenticated"]
    assert direct["objectRef"] == {"resource": "jobs", "subresource": "log", "name": "job",
                                   "namespace": "default", "apiGroup": "streams.drover.dev",
                                   "apiVersion": "v1"}
