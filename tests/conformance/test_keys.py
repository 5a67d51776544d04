# SPDX-License-Identifier: Apache-2.0
"""Exchanging what signs tokens (live) and certificates (between two starts), with clients that do
not know of it."""
import base64
import json
import socket
import ssl
import subprocess
import threading

import pytest
from conftest import Kubectl, Server, program
from http_api import Api

CONTROL = "apiserver.ctl"


@pytest.fixture
def start(tmp_path):
    """Starts servers on one data directory, one after the other."""
    running = []

    def new():
        running.append(Server(tmp_path, "--control-socket", tmp_path / CONTROL))
        return running[-1]

    yield new
    for s in running:
        if s.process.poll() is None:
            assert s.stop() == 0


def control(path, command):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(str(path / CONTROL))
    with s, s.makefile("rw") as f:
        f.write(command + "\n")
        f.flush()
        return f.read()


def part_of(token, n):
    text = token.split(".")[n]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def token_of(api, account="default"):
    r = api("POST", f"/api/v1/namespaces/default/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
             "spec": {"expirationSeconds": 3600}}, want=201)
    return r["status"]["token"]


def works(api, token):
    r = api("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
            headers={"Authorization": f"Bearer {token}"})
    return r.status == 201


def test_token_keys_change_under_their_users(start, tmp_path):
    server = start()
    api = Api(server.kubeconfig, "default")
    tokens, refused, stop = [token_of(api)], [], threading.Event()

    def use():
        while not stop.is_set():
            refused.extend(t for t in list(tokens) if not works(api, t))

    user = threading.Thread(target=use)
    user.start()
    kids = [part_of(tokens[0], 0)["kid"]]
    for _ in range(3):
        kids.append(control(tmp_path, "keys rotate").strip())
        tokens.append(token_of(api))
        assert part_of(tokens[-1], 0)["kid"] == kids[-1]
    stop.set()
    user.join()
    assert len(set(kids)) == 4 and not refused
    jwks = json.loads(api("GET", "/openid/v1/jwks", want=200).body)
    assert {k["kid"] for k in jwks["keys"]} == set(kids)
    listed = control(tmp_path, "keys").splitlines()
    assert listed[0].startswith(kids[-1] + " signs, made 20")
    assert [line.split()[:3] for line in listed[1:]] == [
        [k, "verifies", "until"] for k in reversed(kids[:-1])]
    # They are on the disk, and the file may be put back.
    file = server.path / "data/keys/tokens.key"
    assert file.stat().st_mode & 0o777 == 0o600
    kept = file.read_bytes()
    newest = control(tmp_path, "keys rotate").strip()
    newer_token = token_of(api)
    file.write_bytes(kept)
    assert control(tmp_path, "keys reload").strip() == kids[-1]
    assert newest != kids[-1] and not works(api, newer_token)
    file.write_text("damaged\n")
    assert control(tmp_path, "keys reload").startswith("error: ")
    assert all(works(api, t) for t in tokens)
    file.write_bytes(kept)
    assert server.stop() == 0
    api = Api(start().kubeconfig, "default")
    assert all(works(api, t) for t in tokens)
    assert part_of(token_of(api), 0)["kid"] == kids[-1]


def test_an_unwritable_key_file_changes_nothing(start, tmp_path):
    server = start()
    api = Api(server.kubeconfig, "default")
    before = part_of(token_of(api), 0)["kid"]
    keys = server.path / "data/keys"
    keys.rename(keys.with_name("elsewhere"))
    try:
        assert control(tmp_path, "keys rotate").startswith("error: ")
    finally:
        keys.with_name("elsewhere").rename(keys)
    assert part_of(token_of(api), 0)["kid"] == before


def ca_tool(data, verb):
    return subprocess.run([program("drover-apiserver"), "keys", verb, "--data-dir", data],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)


def trusts(api, ca):
    """Whether who trusts this CA alone reaches the server."""
    context = ssl.create_default_context(cadata=ca)
    try:
        with socket.create_connection((api.host, api.port), timeout=60) as s:
            with context.wrap_socket(s, server_hostname=api.host):
                return True
    except ssl.SSLCertVerificationError:
        return False


def certificates(text):
    end = "-----END CERTIFICATE-----\n"
    return [c + end for c in text.split(end)[:-1]]


def test_ca_is_exchanged(start, clients, tmp_path):
    server = start()
    data = server.path / "data"
    old_ca = (data / "keys/ca.crt").read_text()
    old_kubeconfig = server.kubeconfig.read_text()
    r = ca_tool(data, "rotate-ca")
    assert r.returncode != 0 and "a server runs on" in r.stdout
    assert server.stop() == 0
    r = ca_tool(data, "rotate-ca")
    assert r.returncode == 0, r.stdout
    r = ca_tool(data, "rotate-ca")
    assert r.returncode != 0 and "the last exchange is not over" in r.stdout
    server = start()
    api = Api(server.kubeconfig, "default")
    new_ca, kept = certificates((data / "keys/ca.crt").read_text())
    assert kept == old_ca and new_ca != old_ca
    assert trusts(api, old_ca) and trusts(api, new_ca) and trusts(api, new_ca + old_ca)
    api("GET", "/api/v1/namespaces", want=200)  # by the new kubeconfig
    # Clients with what they had: Go's TLS, and GnuTLS.
    home = tmp_path / "home"
    home.mkdir()
    old = tmp_path / "old.kubeconfig"
    port = old_kubeconfig.split("https://127.0.0.1:")[1].split()[0].strip('"')
    old.write_text(old_kubeconfig.replace(f":{port}", f":{api.port}"))
    version = next((v for v in ("1.34", "1.20") if v in clients), None)
    if version is not None:
        k = Kubectl(clients[version], version, server, home, "default")
        k.env["KUBECONFIG"] = str(old)
        assert "default" in k("get", "namespaces")
    subprocess.run([program("drover"), "get", "runs", "--kubeconfig", old], check=True, timeout=60,
                   stdout=subprocess.DEVNULL)
    # The end of it, done again by a start after a crash in the middle.
    assert server.stop() == 0
    r = ca_tool(data, "retire-ca")
    assert r.returncode == 0, r.stdout
    r = ca_tool(data, "retire-ca")
    assert r.returncode != 0 and "there is no old CA" in r.stdout
    keys = data / "keys"
    parts = [(n, (keys / n).read_bytes()) for n in ("ca.key", "ca.crt")] + [("ca-chain.crt", b"")]
    (keys / "ca.next").write_bytes(b"".join(b"%s %d\n%s" % (n.encode(), len(t), t)
                                            for n, t in parts))
    (keys / "ca.crt").unlink()
    api = Api(start().kubeconfig, "default")
    assert not (keys / "ca.next").exists() and (keys / "ca.crt").read_text() == new_ca
    assert trusts(api, new_ca) and not trusts(api, old_ca)
