# SPDX-License-Identifier: Apache-2.0
"""Two API servers on one etcd serve one truth, and controllers stand by for each other."""
import base64
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from conftest import BIN, ROOT, Server, private_dir, run_object, wait_until

RUNS = "/apis/drover.dev/v1/namespaces/default/runs"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


class Etcd:
    def __init__(self, *args):
        out = subprocess.run([ROOT / "hack/etcd-up", *args], check=True, capture_output=True,
                             text=True).stdout
        self.values = dict(line.split("=", 1) for line in out.splitlines())
        self.dir = self.values["dir"]
        self.endpoints = self.values["endpoints"]

    def node(self, verb, n=0):
        subprocess.run([ROOT / "hack/etcd-up", verb, self.dir, str(n)], check=True)

    def stop(self):
        subprocess.run([ROOT / "hack/etcd-up", "--stop", self.dir], check=True)


class Api:
    """The API of one server, by its kubeconfig's token."""

    def __init__(self, server):
        self.url = f"https://127.0.0.1:{server.port}"
        self.token = (server.dir / "admin.token").read_text().strip()
        self.context = ssl.create_default_context(cafile=server.dir / "keys/ca.crt")

    def open(self, method, path, body=None, kind="application/json", timeout=30):
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind})
        return urllib.request.urlopen(request, context=self.context, timeout=timeout)

    def call(self, method, path, body=None, kind="application/json", timeout=30):
        """(status, document)"""
        try:
            with self.open(method, path, body, kind, timeout) as r:
                return r.status, json.load(r)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def watch(self, path, seen, stop_at):
        """Collects (type, name, resourceVersion) until a name ends the watch."""
        with self.open("GET", f"{path}&watch=true", timeout=60) as r:
            for line in r:
                event = json.loads(line)
                meta = event["object"]["metadata"]
                seen.append((event["type"], meta["name"], meta["resourceVersion"]))
                if meta["name"] == stop_at:
                    return


def config(name, n=0):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "data": {"n": str(n)}}


def start_pair(etcd, directory, *args):
    """Two servers that know each other's keys, as docs/etcd.md says."""
    common = ("--store", "etcd", "--etcd-endpoints", etcd.endpoints, *args)
    a = Server(directory / "a", common).start()
    (directory / "b").mkdir(mode=0o700)
    (directory / "b/keys").mkdir(mode=0o700)
    for key in (a.dir / "keys").iterdir():
        if not key.name.startswith("server."):
            shutil.copy2(key, directory / "b/keys" / key.name)
    shutil.copy2(a.dir / "admin.token", directory / "b/admin.token")
    b = Server(directory / "b", common).start()
    return a, b


@pytest.fixture
def etcd():
    e = Etcd()
    yield e
    e.stop()


@pytest.fixture
def pair(etcd):
    d = private_dir()
    a, b = start_pair(etcd, d, "--no-runner")
    yield a, b
    for s in (a, b):
        s.stop()
    shutil.rmtree(d, ignore_errors=True)


def test_one_truth(pair):
    a, b = (Api(s) for s in pair)
    version = a.call("GET", CONFIGMAPS)[1]["metadata"]["resourceVersion"]
    seen = [[], []]
    threads = [threading.Thread(target=api.watch, daemon=True, args=(
        f"{CONFIGMAPS}?resourceVersion={version}", seen[i], "last")) for i, api in enumerate((a, b))]
    for t in threads:
        t.start()
    # what one acknowledges the other shows to the next consistent read, object and list
    for i in range(30):
        x, y = (a, b) if i % 2 == 0 else (b, a)
        status, made = x.call("POST", CONFIGMAPS, config(f"c{i}", i))
        assert status == 201, made
        status, got = y.call("GET", f"{CONFIGMAPS}/c{i}")
        assert (status, got) == (200, made)
        names = [o["metadata"]["name"] for o in y.call("GET", CONFIGMAPS)[1]["items"]]
        assert f"c{i}" in names
        # patched at once by the other, which has not asked for it before
        status, patched = y.call("PATCH", f"{CONFIGMAPS}/c{i}", {"data": {"p": "1"}},
                                 "application/merge-patch+json")
        assert status == 200, patched
        assert x.call("POST", CONFIGMAPS, config(f"c{i}"))[0] == 409
    for i in range(0, 30, 3):
        assert b.call("DELETE", f"{CONFIGMAPS}/c{i}")[0] == 200
        assert a.call("GET", f"{CONFIGMAPS}/c{i}")[0] == 404
        assert a.call("DELETE", f"{CONFIGMAPS}/c{i}")[0] == 404
    a.call("POST", CONFIGMAPS, config("last"))
    for t in threads:
        t.join(30)
        assert not t.is_alive()
    assert seen[0] == seen[1]
    assert len(seen[0]) == 30 + 30 + 10 + 1
    versions = [int(v) for _, _, v in seen[0]]
    assert versions == sorted(versions) and len(set(versions)) == len(versions)
    # a reader of either's revision is served by the other, or waits until it can be
    newest = a.call("POST", CONFIGMAPS, config("newest"))[1]["metadata"]["resourceVersion"]
    status, listed = b.call("GET", f"{CONFIGMAPS}?resourceVersion={newest}")
    assert status == 200 and any(o["metadata"]["name"] == "newest" for o in listed["items"])
    status, far = b.call("GET", f"{CONFIGMAPS}?resourceVersion={int(newest) + 10**6}")
    assert status == 504 and far["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_no_increment_is_lost(pair):
    apis = [Api(s) for s in pair]
    assert apis[0].call("POST", CONFIGMAPS, config("counter"))[0] == 201
    path, per_worker, conflicts = f"{CONFIGMAPS}/counter", 25, []

    def work(api, optimistic):
        done = 0
        while done < per_worker:
            status, o = api.call("GET", path)
            assert status == 200, o
            body = {"data": {"n": str(int(o["data"]["n"]) + 1)},
                    "metadata": {"resourceVersion": o["metadata"]["resourceVersion"]}}
            if optimistic:
                o["data"]["n"] = body["data"]["n"]
                status, r = api.call("PUT", path, o)
            else:
                status, r = api.call("PATCH", path, body, "application/merge-patch+json")
            assert status in (200, 409), r
            done += status == 200
            conflicts.append(status == 409)

    threads = [threading.Thread(target=work, args=(apis[i % 2], i < 2)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for api in apis:
        assert api.call("GET", path)[1]["data"]["n"] == str(4 * per_worker)
    assert any(conflicts), "the workers never met"


def test_patches_without_version_all_apply(pair):
    """The server's own loop of read, change and compare covers the other server's writes."""
    apis = [Api(s) for s in pair]
    apis[0].call("POST", CONFIGMAPS, config("many"))
    problems = []

    def work(i):
        status, r = apis[i % 2].call("PATCH", f"{CONFIGMAPS}/many", {"data": {f"k{i}": "1"}},
                                     "application/merge-patch+json")
        if status != 200:
            problems.append(r)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems
    data = apis[1].call("GET", f"{CONFIGMAPS}/many")[1]["data"]
    assert sorted(data) == sorted(["n"] + [f"k{i}" for i in range(40)])


def test_etcd_away_and_back(etcd, pair):
    a, b = (Api(s) for s in pair)
    assert a.call("POST", CONFIGMAPS, config("kept"))[0] == 201
    assert b.call("GET", f"{CONFIGMAPS}/kept")[0] == 200
    etcd.node("--kill")
    start = time.monotonic()
    status, r = b.call("GET", f"{CONFIGMAPS}/kept?resourceVersion=0")
    assert status == 200 and time.monotonic() - start < 1
    answers = []

    def ask(method, path, body=None):
        begun = time.monotonic()
        answers.append((*b.call(method, path, body), time.monotonic() - begun))

    threads = [threading.Thread(target=ask, args=args) for args in (
        ("GET", f"{CONFIGMAPS}/kept"), ("GET", CONFIGMAPS), ("POST", CONFIGMAPS, config("new")))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for status, r, took in answers:
        assert status in (503, 504), r
        assert r["kind"] == "Status" and "etcd" in r["message"], r
        assert took < 15
    assert len(answers) == 3
    etcd.node("--start")
    wait_until(lambda: b.call("GET", f"{CONFIGMAPS}/kept")[0] == 200, 30, "etcd to be back")
    assert b.call("POST", CONFIGMAPS, config("after"))[0] == 201
    assert a.call("GET", f"{CONFIGMAPS}/after")[0] == 200


def test_secrets_are_sealed(etcd, pair):
    a, b = (Api(s) for s in pair)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
              "stringData": {"password": "open sesame, please"}}
    assert a.call("POST", "/api/v1/namespaces/default/secrets", secret)[0] == 201
    status, got = b.call("GET", "/api/v1/namespaces/default/secrets/s")
    assert status == 200
    value = got["data"]["password"]
    assert base64.b64decode(value) == b"open sesame, please"
    stored = subprocess.run(["etcdctl", "--endpoints", etcd.endpoints, "get", "--print-value-only",
                             "/drover/_core/secrets/default/s"], check=True, capture_output=True,
                            text=True, env=dict(os.environ, ETCDCTL_API="3")).stdout
    assert "sealed:v1:" in stored and value not in stored


def test_foreign_keys_are_refused(etcd, workdir):
    """A server with keys of its own would give out tokens that the others refuse."""
    common = ("--store", "etcd", "--etcd-endpoints", etcd.endpoints, "--no-runner")
    a = Server(workdir / "a", common).start()
    r = subprocess.run([BIN / "drover-apiserver", "--data-dir", workdir / "b", "--listen",
                        "127.0.0.1:0", *common[:-1]], capture_output=True, text=True, timeout=60)
    a.stop()
    assert r.returncode != 0
    assert "keys" in r.stderr and "tokens.key" in r.stderr


def test_options(workdir):
    def start(*args):
        return subprocess.run([BIN / "drover-apiserver", "--data-dir", workdir / "x", *args],
                              capture_output=True, text=True, timeout=60)

    assert "not files or etcd" in start("--store", "sqlite").stderr
    assert "--etcd-endpoints" in start("--store", "etcd").stderr
    assert "without --store etcd" in start("--etcd-endpoints", "http://127.0.0.1:1").stderr


def test_standby_takes_over(etcd):
    """Two whole servers; the one whose controllers lead is killed, a run still completes."""
    d = private_dir()
    a, b = start_pair(etcd, d, "--no-runner")
    apis = {s: Api(s) for s in (a, b)}

    def leases():
        status, r = apis[b].call("GET", "/apis/coordination.k8s.io/v1/leases")
        return [x["spec"].get("holderIdentity", "") for x in r["items"]
                if "controllers" in x["metadata"]["name"]] if status == 200 else []

    try:
        before = wait_until(lambda: [h for h in leases() if h], 30, "a leader")
        agent = subprocess.Popen(
            [BIN / "drover-runner", "--join", f"https://127.0.0.1:{b.port}", "--ca-file",
             b.dir / "keys/ca.crt", "--token-file", make_join(b), "--dir", d / "agent"],
            stdout=open(d / "agent.log", "ab"), stderr=subprocess.STDOUT)
        wait_until(b.instance_ready, 60, "the agent's instance to be Ready")
        b.apply(run_object("first", ["echo one"]))
        b.wait("run/first", "phase=Done", "60s")
        # a's parts end without a word
        pids = [p for p in (a.part_pid(n) for n in ("apiserver", "controllers", "streams")) if p]
        a.process.kill()
        a.process.wait()
        for p in pids:
            subprocess.run(["kill", "-9", str(p)], check=False)
        a.process = None
        b.apply(run_object("second", ["echo two"]))
        b.wait("run/second", "phase=Done", "90s")
        assert b.drover("logs", "run/second").stdout.strip() == "two"
        assert before and [h for h in leases() if h]
    finally:
        agent.terminate()
        agent.wait()
        for s in (a, b):
            s.stop()
        shutil.rmtree(d, ignore_errors=True)


def make_join(server):
    """A join token for the fleet `local`, in a file."""
    status, r = Api(server).call(
        "POST", "/apis/drover.dev/v1/namespaces/default/fleets/local/jointoken",
        {"ttlSeconds": 3600})
    assert status in (200, 201), r
    path = server.dir.parent / "join.token"
    path.write_text(r["token"])
    return path
