# SPDX-License-Identifier: Apache-2.0
"""drover history, diff, rollback and restore against a real server."""
import json
import re
import shutil
import socket
import threading

import pytest
from conftest import Server, private_dir, run_object, wait_until
from test_server import small_disk  # noqa: F401


@pytest.fixture(scope="module")
def quiet():
    """A server that runs nothing: only what is declared matters here."""
    d = private_dir()
    s = Server(d / "state", args=["--no-runner", "--history-count", "5"])
    s.start()
    yield s
    s.stop()
    shutil.rmtree(d, ignore_errors=True)


def rows(r):
    return [re.split(r"\s{2,}", line.rstrip()) for line in r.stdout.splitlines()]


def job(name, priority, **more):
    return run_object(name, ["true"], priority=priority, **more)


def test_history_lists_who_and_what(quiet):
    quiet.apply(job("aa", 1))
    quiet.apply(job("aa", 2, ttlAfterFinished="1h"))
    quiet.drover("stop", "aa")
    table = rows(quiet.drover("history", "run/aa"))
    assert table[0] == ["GENERATION", "REVISION", "AGE", "WHO", "CHANGED"]
    assert [row[0] for row in table[1:]] == ["1", "2", "3"]
    assert table[1][-2:] == ["(drover)", "created"]
    assert table[2][-2:] == ["admin (drover)", "spec.priority, spec.ttlAfterFinished"]
    assert table[3][-2:] == ["admin (drover-stop)", "spec.desiredState"]
    live = quiet.get("run", "aa")
    old = json.loads(quiet.drover("history", "run", "aa", "--generation", "1",
                                  "-o", "json").stdout)
    assert old["spec"]["priority"] == 1 and "ttlAfterFinished" not in old["spec"]
    assert "status" not in old and "uid" not in old["metadata"]
    assert old["kind"] == live["kind"]
    assert "priority: 2" in quiet.drover("history", "run/aa", "--generation", "2").stdout
    everything = json.loads(quiet.drover("history", "run/aa", "-o", "json").stdout)
    assert [g["object"]["spec"]["priority"] for g in everything] == [1, 2, 2]
    r = quiet.drover("history", "run/aa", "--generation", "9", check=False)
    assert r.returncode == 3 and "there are 1, 2, 3" in r.stderr
    r = quiet.drover("history", "run/never", check=False)
    assert r.returncode == 3 and "does not exist" in r.stderr


def test_diff_of_generations(quiet):
    for priority in (1, 2, 3):
        quiet.apply(job("bb", priority, ttlAfterFinished=f"{priority}h"))
    r = quiet.drover("diff", "run/bb", check=False)
    assert r.returncode == 1
    assert r.stdout.splitlines()[2:] == ["-spec.priority: 2", "+spec.priority: 3",
                                         '-spec.ttlAfterFinished: "2h"',
                                         '+spec.ttlAfterFinished: "3h"']
    assert "generation 2" in r.stdout.splitlines()[0]
    assert "\033" not in r.stdout
    r = quiet.drover("diff", "run/bb", "--from", "1", "--to", "3", check=False)
    assert r.returncode == 1 and "-spec.priority: 1\n+spec.priority: 3" in r.stdout
    r = quiet.drover("diff", "run/bb", "--from", "3", "--to", "3", check=False)
    assert r.returncode == 0 and r.stdout == ""
    assert quiet.drover("diff", "run/bb", "--to", "x", check=False).returncode == 2
    quiet.apply(job("bc", 1))
    r = quiet.drover("diff", "run/bc", check=False)
    assert r.returncode == 3 and "no generation before 1" in r.stderr


def test_diff_of_files_is_what_apply_would_do(quiet):
    quiet.apply(job("cc", 1, ttlAfterFinished="1h"))
    text = json.dumps(job("cc", 5))
    r = quiet.drover("diff", "-f", "-", input=text, check=False)
    assert r.returncode == 1, r.stderr
    assert r.stdout.splitlines()[2:] == ["-spec.priority: 1", "+spec.priority: 5",
                                         '-spec.ttlAfterFinished: "1h"']
    assert quiet.get("run", "cc")["spec"]["priority"] == 1
    r = quiet.drover("diff", "-f", "-", input=json.dumps(job("cc", 1, ttlAfterFinished="1h")),
                     check=False)
    assert (r.returncode, r.stdout) == (0, "")
    r = quiet.drover("diff", "-f", "-", input=json.dumps(job("cnew", 1)), check=False)
    assert r.returncode == 1 and "(does not exist)" in r.stdout
    assert '+spec: {' in r.stdout
    r = quiet.drover("diff", "-f", "-", input=json.dumps(job("cc", 5000)), check=False)
    assert r.returncode == 2 and "spec.priority" in r.stderr


def test_rollback_is_a_new_generation(quiet):
    quiet.apply(job("dd", 1, ttlAfterFinished="1h"))
    quiet.apply(job("dd", 2, jobHistoryLimit=1))
    quiet.apply(job("dd", 3))
    r = quiet.drover("rollback", "run/dd", "--to", "1", "--dry-run")
    assert "spec.priority, spec.ttlAfterFinished" in r.stdout
    assert quiet.get("run", "dd")["metadata"]["generation"] == 3
    r = quiet.drover("rollback", "run/dd", "--to", "1")
    assert r.stdout == "run/dd rolled back to generation 1: spec.priority, spec.ttlAfterFinished\n"
    live = quiet.get("run", "dd")
    assert live["metadata"]["generation"] == 4
    assert live["spec"]["priority"] == 1 and live["spec"]["ttlAfterFinished"] == "1h"
    assert rows(quiet.drover("history", "run/dd"))[-1][-2] == "admin (drover-rollback)"
    r = quiet.drover("rollback", "run/dd", "--to", "1")
    assert "already" in r.stdout
    assert quiet.drover("rollback", "run/dd", "--to", "9", check=False).returncode == 3
    # the one before the last, by default
    quiet.drover("rollback", "run/dd")
    assert quiet.get("run", "dd")["spec"]["priority"] == 3


class Between:
    """Passes a client's bytes on to the API's unix socket; `before` runs when the first PATCH
    goes by, ahead of it."""

    def __init__(self, path, target, before):
        self.target, self.before = str(target), before
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.target)
            threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, False), daemon=True).start()

    def pump(self, a, b, watch):
        while data := a.recv(65536):
            if watch and data.startswith(b"PATCH") and self.before:
                before, self.before = self.before, None
                before()
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)


def rollback_between(s, workdir, before):
    """drover rollback of run/gg while `before` happens between its reading and writing."""
    token = (s.dir / "admin.token").read_text().strip()
    config = workdir / "config"
    config.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"unix://{workdir}/between"}}],
        "users": [{"name": "c", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}))
    between = Between(workdir / "between", s.dir / "run/api.sock", before)
    r = s.drover("rollback", "run/gg", "--to", "1", "--kubeconfig", str(config), check=False)
    assert between.before is None
    between.listener.close()
    return r


def test_rollback_overwrites_nothing_newer(quiet, workdir):
    quiet.apply(job("gg", 1))
    quiet.apply(job("gg", 2))
    r = rollback_between(quiet, workdir, lambda: quiet.apply(job("gg", 3)))
    assert r.returncode == 4, (r.stdout, r.stderr)
    assert "was changed meanwhile" in r.stderr
    assert quiet.get("run", "gg")["spec"]["priority"] == 3


def test_rollback_goes_on_when_nothing_declared_moved(quiet, workdir):
    quiet.apply(job("gg", 1))
    quiet.apply(job("gg", 2))
    labelled = dict(job("gg", 2), metadata={"name": "gg", "finalizers": ["x.dev/y"]})
    r = rollback_between(quiet, workdir, lambda: quiet.apply(labelled))
    assert r.returncode == 0, r.stderr
    assert quiet.get("run", "gg")["spec"]["priority"] == 1
    quiet.apply(dict(job("gg", 1), metadata={"name": "gg"}), check=False)


def test_rollback_of_what_cannot_change_says_why(quiet):
    """Data of an immutable ConfigMap: it was changed before it became immutable."""
    cm = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "im"},
          "data": {"a": "1"}}
    quiet.apply(cm)
    quiet.apply(dict(cm, data={"a": "2"}, immutable=True))
    r = quiet.drover("rollback", "configmap/im", check=False)
    assert r.returncode == 2
    assert "immutable" in r.stderr and "stays as it is" in r.stderr
    assert quiet.get("configmap", "im")["data"] == {"a": "2"}


def test_deleted_objects_come_back(quiet):
    quiet.apply({"apiVersion": "v1", "kind": "ConfigMap",
                 "metadata": {"name": "ff", "labels": {"team": "x"}}, "data": {"k": "1"}})
    first = quiet.get("configmap", "ff")["metadata"]["uid"]
    quiet.drover("delete", "configmap/ff")
    r = quiet.drover("history", "--deleted", "configmap")
    assert rows(r)[0] == ["OBJECT", "GENERATION", "DELETED", "BY", "UID"]
    assert ["configmap/ff", "1"] == rows(r)[1][:2] and rows(r)[1][3:] == ["admin", first]
    assert rows(quiet.drover("history", "configmap/ff"))[1][0] == "1 (deleted)"
    r = quiet.drover("rollback", "configmap/ff", check=False)
    assert r.returncode == 3 and "drover restore" in r.stderr
    # a second one of that name has its own history
    quiet.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ff"},
                 "data": {"k": "2"}})
    r = quiet.drover("restore", "configmap/ff", check=False)
    assert r.returncode == 4 and "exists" in r.stderr
    r = quiet.drover("history", "configmap/ff")
    assert len(rows(r)) == 2 and "1 earlier object had this name" in r.stderr
    assert rows(quiet.drover("history", "configmap/ff", "--uid", first))[1][0] == "1 (deleted)"
    quiet.drover("delete", "configmap/ff")
    # the latest by default, another by uid
    assert "restored from generation 1" in quiet.drover("restore", "configmap/ff",
                                                        "--dry-run").stdout
    assert quiet.drover("get", "configmap/ff", check=False).returncode == 3
    quiet.drover("restore", "configmap/ff")
    assert quiet.get("configmap", "ff")["data"] == {"k": "2"}
    quiet.drover("delete", "configmap/ff")
    quiet.drover("restore", "configmap/ff", "--uid", first)
    back = quiet.get("configmap", "ff")
    assert back["data"] == {"k": "1"} and back["metadata"]["labels"] == {"team": "x"}
    assert back["metadata"]["uid"] != first


def test_values_of_secrets_are_not_printed_unasked(quiet):
    def secret(value):
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ss"},
                "stringData": {"k": value}}
    quiet.apply(secret("oldvalue"))
    quiet.apply(secret("newvalue"))
    r = quiet.drover("diff", "secret/ss", check=False)
    assert r.returncode == 1 and "-data.k: (hidden)" in r.stdout
    r = quiet.drover("diff", "secret/ss", "--show-secrets", check=False)
    assert "b2xkdmFsdWU=" in r.stdout
    assert "data.k" in quiet.drover("history", "secret/ss").stdout


def test_count_is_bounded_by_the_option(quiet):
    for i in range(10):
        quiet.apply(job("ee", i))

    def kept():
        table = rows(quiet.drover("history", "run/ee"))
        return [row[0] for row in table[1:]]
    wait_until(lambda: kept() == ["5", "6", "7", "8", "9", "10"], 20, "the oldest to go")


def test_wrong_options_are_refused(workdir):
    s = Server(workdir / "state", args=["--no-runner", "--history-age", "soon"])
    with pytest.raises(AssertionError, match="history-age"):
        s.start(20)
    if s.process.poll() is None:
        s.stop()


def test_large_objects_have_history_too(quiet):
    """Computed on the pool, not on the loop."""
    def config(char):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"},
                "data": {"k": char * 300_000}}
    quiet.apply(config("a"))
    quiet.apply(config("b"))
    quiet.drover("delete", "configmap/large")
    past = json.loads(quiet.drover("history", "configmap/large", "-o", "json").stdout)
    assert [g["object"]["data"]["k"][0] for g in past] == ["a", "b"]
    assert past[1]["deleted"]


def test_on_a_full_disk_things_can_be_deleted(small_disk):
    s = Server(small_disk / "state", args=["--no-runner"]).start()
    try:
        with open(small_disk / "filler", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"\0" * 65536)
                    f.flush()
            except OSError:
                pass
        n = 0
        while n < 60 and s.apply({"apiVersion": "v1", "kind": "ConfigMap",
                                  "metadata": {"name": f"x{n}"},
                                  "data": {"a": "y" * 900_000}}, check=False).returncode == 0:
            n += 1
        assert 0 < n < 60
        for i in range(n):
            s.drover("delete", f"configmap/x{i}")
            assert s.drover("get", f"configmap/x{i}", check=False).returncode == 3
        assert b"a generation was not kept" in s.log.read_bytes()
    finally:
        s.stop()
