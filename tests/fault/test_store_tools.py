# SPDX-License-Identifier: Apache-2.0
"""drover store check, dump, compact, backup, restore: on the files of a stopped server, and
those that work on a running one."""
import json
import re
import subprocess

import pytest
from conftest import BIN, Server, wait_until
from mirror_tools import Api

REVISIONS = "/apis/history.drover.dev/v1/namespaces/default/revisions"


def store(*args, check=True):
    r = subprocess.run([BIN / "drover", "store", *map(str, args)], capture_output=True,
                       text=True, timeout=60)
    if check:
        assert r.returncode == 0, f"store {args}: {r.returncode}\n{r.stdout}\n{r.stderr}"
    return r


def fleets(s):
    return {f["metadata"]["name"]: (f["metadata"]["uid"], f["metadata"]["resourceVersion"])
            for f in s.get("fleets")}


def fill(s, n, prefix="f"):
    s.apply(*[{"apiVersion": "drover.dev/v1", "kind": "Fleet",
               "metadata": {"name": f"{prefix}{i}"}, "spec": {}} for i in range(n)])
    # until their controller has had its say, their revisions change
    wait_until(lambda: all(f.get("status", {}).get("phase") for f in s.get("fleets")))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A directory that a server has used, with two snapshots' worth of history."""
    d = tmp_path_factory.mktemp("tools") / "s"
    s = Server(d, args=["--no-runner"]).start()
    fill(s, 12)
    s.drover("delete", "fleet/f3")
    have = fleets(s)
    s.stop()
    return d, have


def test_online_backup_and_restore(workdir):
    s = Server(workdir / "state", args=["--no-runner"]).start()
    fill(s, 20)
    have = fleets(s)
    r = store("backup", "--data-dir", s.dir, "--dir", workdir / "b")
    assert "objects at revision" in r.stdout and "keys are not in it" in r.stdout
    # What comes after is not in it; a second backup into the same place is refused.
    fill(s, 5, "later")
    r = store("backup", "--data-dir", s.dir, "--dir", workdir / "b", check=False)
    assert r.returncode == 4 and "exists already" in r.stderr
    last = max(int(v[1]) for v in fleets(s).values())
    # Tools for files refuse while the server has them.
    for verb in (["check"], ["dump"]):
        r = store(*verb, "--data-dir", s.dir, check=False)
        assert r.returncode == 6 and "in use" in r.stderr and "pid" in r.stderr, r.stderr
    assert "compacted" in store("compact", "--data-dir", s.dir).stdout
    r = store("restore", "--data-dir", s.dir, "--dir", workdir / "b", check=False)
    assert r.returncode == 4 and "not empty" in r.stderr
    s.stop()
    store("restore", "--data-dir", workdir / "new", "--dir", workdir / "b")
    store("check", "--data-dir", workdir / "new")
    n = Server(workdir / "new", args=["--no-runner"]).start()
    try:
        assert fleets(n) == have
        fill(n, 1, "after")
        assert int(fleets(n)["after0"][1]) > last, "a revision that was seen is used again"
    finally:
        n.stop()


def test_backup_with_keys(workdir, stopped):
    d, _ = stopped
    store("backup", "--data-dir", d, "--dir", workdir / "b", "--with-keys")
    assert (workdir / "b/keys/ca.key").read_bytes() == (d / "keys/ca.key").read_bytes()
    store("restore", "--data-dir", workdir / "n", "--dir", workdir / "b")
    assert (workdir / "n/keys/ca.key").stat().st_mode & 0o777 == 0o600


def test_damaged_backup_is_refused(workdir, stopped):
    d, _ = stopped
    store("backup", "--data-dir", d, "--dir", workdir / "b")
    snap = next((workdir / "b").glob("*.snap"))
    data = bytearray(snap.read_bytes())
    data[len(data) // 2] ^= 1
    snap.write_bytes(data)
    r = store("restore", "--data-dir", workdir / "n", "--dir", workdir / "b", check=False)
    assert r.returncode == 70 and snap.name in r.stderr and "offset" in r.stderr
    assert not (workdir / "n").exists()


def test_dump(stopped):
    d, have = stopped
    out = json.loads(store("dump", "--data-dir", d, "-o", "json",
                           "--resource", "fleets.drover.dev").stdout)
    assert {o["metadata"]["name"]: (o["metadata"]["uid"], o["metadata"]["resourceVersion"])
            for o in out["items"]} == have
    text = store("dump", "--data-dir", d, "--resource", "fleets.drover.dev", "-n", "default",
                 "--name", "f7").stdout
    assert "name: f7" in text and text.count("kind: Fleet") == 1
    changes = [json.loads(x) for x in
               store("dump", "--data-dir", d, "--log", "--name", "f3").stdout.splitlines()]
    assert changes[0]["type"] == "put" and "replaces" not in changes[0]
    assert changes[-1]["type"] == "delete" and changes[-1]["object"]["kind"] == "Fleet"
    for a, b in zip(changes, changes[1:]):
        assert b["replaces"] == a["revision"] < b["revision"]


def test_compact_and_check(workdir, stopped):
    d, have = stopped
    before = store("check", "--data-dir", d).stdout
    assert re.search(r"^log: \d+ segments", before, re.M) and before.endswith("ok\n")
    files = sorted(p.name for p in d.glob("*/*") if p.suffix in (".log", ".snap"))
    assert files == sorted(p.name for p in d.glob("*/*") if p.suffix in (".log", ".snap"))
    store("compact", "--data-dir", d)
    after = store("check", "--data-dir", d).stdout
    assert "log: 1 segments" in after and "snapshot: revision" in after
    out = json.loads(store("dump", "--data-dir", d, "-o", "json",
                           "--resource", "fleets.drover.dev").stdout)
    assert len(out["items"]) == len(have)
    # One flipped bit anywhere: named, exit 70.
    snap = next((d / "snapshot").glob("*.snap"))
    whole = snap.read_bytes()
    try:
        snap.write_bytes(whole[:3000] + bytes([whole[3000] ^ 4]) + whole[3001:])
        r = store("check", "--data-dir", d, check=False)
        assert r.returncode == 70 and snap.name in r.stderr and "offset" in r.stderr
    finally:
        snap.write_bytes(whole)
    store("check", "--data-dir", d)


def plaintext_files(d, *texts):
    return [p for p in d.rglob("*") if p.is_file() and p.parent.name in ("log", "snapshot")
            and any(t in p.read_bytes() for t in texts)]


def test_secrets_are_sealed_and_rekeyed(workdir):
    value = "bm90LWZvci1leWVz"  # base64, as it would stand in the file
    # A file of the mirror would keep the old key, had it been written before the stop.
    s = Server(workdir / "state", args=["--no-runner", "--no-mirror"]).start()
    s.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s1"},
             "data": {"token": value}})
    assert s.get("secret", "s1")["data"] == {"token": value}
    for r in (store("rekey", "--data-dir", s.dir, check=False),):
        assert r.returncode == 6 and "in use" in r.stderr
    s.stop()
    keys = s.dir / "keys/secrets.keys"
    old = keys.read_text()
    assert keys.stat().st_mode & 0o777 == 0o600 and len(old.splitlines()) == 1
    assert not plaintext_files(s.dir, value.encode(), b"not-for-eyes")
    dump = store("dump", "--data-dir", s.dir, "--resource", "secrets").stdout
    assert "sealed:v1:" in dump and value not in dump
    store("rekey", "--data-dir", s.dir)
    assert len(keys.read_text().splitlines()) == 1 and keys.read_text() != old
    assert not plaintext_files(s.dir, value.encode(), old[:8].encode())
    store("check", "--data-dir", s.dir)
    s.start()
    assert s.get("secret", "s1")["data"] == {"token": value}
    s.stop()
    # With the old key alone nothing can be read, and both tool and server say so.
    keys.write_text(old)
    r = store("check", "--data-dir", s.dir, check=False)
    assert r.returncode == 70 and "not in secrets.keys" in r.stderr


def test_rekey_covers_history_and_mirror(workdir):
    """Old keys stay as long as a file of the mirror needs them; an edit meanwhile is one."""
    s = Server(workdir / "state", args=["--no-runner"]).start()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s1"},
              "data": {"a": "b25l", "b": "dHdv"}}
    s.apply(secret)
    secret["data"]["a"] = "dGhyZWU="
    s.apply(secret)
    file = s.dir / "desired/default/secrets/s1.yaml"
    wait_until(lambda: file.exists() and file.read_text().count("sealed:v1:") == 2)
    s.stop()
    keys = s.dir / "keys/secrets.keys"
    assert sorted(p.name for p in keys.parent.glob("*.key*") if "server" not in p.name
                  and "ca" not in p.name) == ["secrets.keys", "tokens.key"]
    before = file.read_text()
    old = keys.read_text()
    r = store("rekey", "--data-dir", s.dir)
    assert "1 files of the mirror need the old keys" in r.stdout
    assert len(keys.read_text().splitlines()) == 2 and file.read_text() == before
    # One value is edited while nobody looks; the other one is just sealed anew.
    lines = before.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("b:"))
    lines[at] = lines[at].split("b:")[0] + "b: Zm91cg=="
    file.write_text("\n".join(lines) + "\n")
    s.start()
    wait_until(lambda: s.get("secret", "s1")["data"] == {"a": "dGhyZWU=", "b": "Zm91cg=="})
    wait_until(lambda: file.read_text().count("sealed:v1:") == 2
             and not any(line in file.read_text() for line in lines if "sealed" in line))
    assert not list(file.parent.glob("*.error"))
    s.stop()
    store("rekey", "--finish", "--data-dir", s.dir)
    assert len(keys.read_text().splitlines()) == 1 and keys.read_text() != old
    store("check", "--data-dir", s.dir)
    s.start()
    revisions = Api(s).get(REVISIONS)["items"]
    mine = [r for r in revisions if r["of"]["name"] == "s1"]
    assert len(mine) == 2
    first = min(mine, key=lambda r: r["generation"])
    kept = Api(s).get(f"{REVISIONS}/{first['metadata']['name']}/object")
    assert kept["data"] == {"a": "b25l", "b": "dHdv"}
    s.stop()


def test_misuse(workdir):
    r = subprocess.run([BIN / "drover-apiserver", "--data-dir", workdir / "x", "--retain-age",
                        "soon"], capture_output=True, text=True, timeout=20)
    assert r.returncode == 2 and "--retain-age" in r.stderr, r.stderr
    assert store("check", "--data-dir", workdir / "none", check=False).returncode == 3
    assert store("nothing", check=False).returncode == 2
    assert store("backup", "--data-dir", workdir, check=False).returncode == 2
    r = store("dump", "--revision", "1", check=False)
    assert r.returncode == 2 and "usage: drover store dump" in r.stderr
    assert "usage: drover store check" in store("check", "--help").stdout
