# SPDX-License-Identifier: Apache-2.0
"""A busy session at debug level with everything audited: no key and no token is in any log."""
import base64
import http.client
import json
import re
import ssl

import pytest

from conftest import Server, run_object

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: RequestResponse}]
"""


@pytest.fixture
def server(workdir):
    policy = workdir / "policy.yaml"
    policy.write_text(POLICY)
    s = Server(workdir / "state", ["--log-level", "debug", "--audit-policy-file", policy])
    s.start()
    yield s
    s.stop()


def request(server, method, path, body=None, authorization=None):
    context = ssl.create_default_context(cafile=server.dir / "keys/ca.crt")
    c = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=30)
    token = (server.dir / "admin.token").read_text().strip()
    c.request(method, path, body=None if body is None else json.dumps(body), headers={
        "Authorization": authorization or f"Bearer {token}", "Content-Type": "application/json"})
    r = c.getresponse()
    text = r.read().decode()
    c.close()
    return r.status, json.loads(text) if text.startswith("{") else text


def test_no_secret_is_in_any_log(server):
    secrets = {
        "value": "hunter2-plain-value",
        "value, base64": base64.b64encode(b"hunter2-plain-value").decode(),
        "updated value": "swordfish-updated",
        "refused value": "refused-value-sesame",
        "wrong token": "wrong-token-abcdefgh",
        "basic": base64.b64encode(b"root:toor-password").decode(),
    }
    d = server.dir
    for path in [d / "admin.token", *d.glob("run/*.token")]:
        secrets[path.name] = path.read_text().strip()
    for key in [*d.glob("keys/*.key")]:
        text = key.read_bytes()
        if b"PRIVATE KEY" in text:
            secrets[key.name] = max(text.decode().splitlines(), key=len)
    identity = json.loads((d / "agent/identity.json").read_text())
    secrets["agent's token"] = identity["token"]
    base = "/api/v1/namespaces/default"
    assert request(server, "POST", base + "/secrets", {
        "metadata": {"name": "s"}, "stringData": {"K": secrets["value"]}})[0] == 201
    assert request(server, "GET", base + "/secrets")[0] == 200
    assert request(server, "PUT", base + "/secrets/s", {
        "metadata": {"name": "s"}, "stringData": {"K": secrets["updated value"]}})[0] == 200
    # A refusal that may quote what was sent.
    assert request(server, "POST", base + "/secrets", {
        "metadata": {"name": "bad"}, "data": {"K": secrets["refused value"] + "!"}})[0] >= 400
    assert request(server, "GET", base, authorization=f"Bearer {secrets['wrong token']}")[0] == 401
    assert request(server, "GET", base, authorization=f"Basic {secrets['basic']}")[0] == 401
    assert request(server, "POST", base + "/serviceaccounts", {"metadata": {"name": "sa"}})[0] == 201
    status, token = request(server, "POST", base + "/serviceaccounts/sa/token",
                            {"spec": {"expirationSeconds": 600}})
    assert status == 201
    secrets["account's token"] = token["status"]["token"]
    assert request(server, "GET", base, authorization="Bearer " + token["status"]["token"])[0] == 403
    assert request(server, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token["status"]["token"]}})[0] == 201
    out = server.drover("token", "create", "--join", "local").stdout
    secrets["join token"] = re.search(r"drj_[A-Za-z0-9_-]+", out).group(0)
    server.apply(run_object("uses", ['test "${#K}" = 17'],
                            envFrom=[{"secretRef": {"name": "s"}}]))
    server.wait("run/uses", "phase=Done")
    server.drover("logs", "uses")
    server.stop()

    logs = {server.log: server.log.read_text(errors="replace")}
    for path in d.glob("audit/*"):
        logs[path] = path.read_text()
    assert any(p.parent.name == "audit" for p in logs)
    text = "".join(logs.values())
    # It was a session that left traces.
    for trace in ("/secrets", "tokenreviews", "serviceaccounts/sa/token", " debug "):
        assert trace in text, trace
    for what, secret in secrets.items():
        assert len(secret) > 8, what
        for path, content in logs.items():
            at = content.find(secret)
            assert at < 0, f"{what} is in {path}: ...{content[max(0, at - 200):at + 80]}"
