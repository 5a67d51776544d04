# SPDX-License-Identifier: Apache-2.0
"""The store of a real API server, through HTTP: kill -9 at random instants under load, a full
disk, a disk that fails, and (DROVER_LONG) power cuts. Every acknowledged write must be there
with its exact bytes and revision; a watcher that resumes sees each of them once, in order."""
import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest
from conftest import BIN, free_ports, wait_until

LONG = bool(os.environ.get("DROVER_LONG"))
ROUNDS = 200 if LONG else 20
WRITERS = 8
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


class ApiServer:
    """drover-apiserver alone, over plain HTTP on loopback."""

    alive = []  # for those who clean up

    def __init__(self, directory, prefix=()):
        self.dir = pathlib.Path(directory)
        (self.port,) = free_ports(1)
        self.prefix = list(prefix)
        self.log = self.dir.parent / (self.dir.name + ".log")
        self.process = None

    def start(self, timeout=30, **env):
        ApiServer.alive.append(self)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, BIN / "drover-apiserver", "--data-dir", self.dir,
                 "--listen", f"127.0.0.1:{self.port}", "--insecure-listen",
                 "--control-socket", self.dir / "ctl"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env=dict(os.environ, **env))
        wait_until(self.ready, timeout, "the API server to be ready")
        return self

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.call("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self):
        if self in ApiServer.alive:
            ApiServer.alive.remove(self)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # and what runs under strace
        self.process.wait()

    def stop(self):
        if self in ApiServer.alive:
            ApiServer.alive.remove(self)
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(30) == 0, self.log.read_text()[-3000:]

    def connect(self, timeout=20):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def headers(self):
        token = (self.dir / "admin.token")
        return {"Authorization": "Bearer " + token.read_text().strip()} if token.exists() else {}

    def call(self, method, path, body=None, connection=None):
        c = connection or self.connect()
        headers = dict(self.headers(), **{"Content-Type": "application/json"})
        c.request(method, path, None if body is None else json.dumps(body), headers)
        r = c.getresponse()
        data = r.read()
        return r.status, json.loads(data) if data[:1] == b"{" else data

    def put(self, name, value, pad="", connection=None):
        """Creates or replaces; (status, object)."""
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                "data": {"v": value, "pad": pad}}
        status, o = self.call("PUT", f"{CONFIGMAPS}/{name}", body, connection)
        if status == 404:
            return self.call("POST", CONFIGMAPS, body, connection)
        return status, o

    def configmaps(self):
        status, o = self.call("GET", CONFIGMAPS)
        assert status == 200, o
        return {i["metadata"]["name"]: (int(i["metadata"]["resourceVersion"]),
                                        i["data"]["v"], i["data"]["pad"])
                for i in o["items"]}, int(o["metadata"]["resourceVersion"])


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    for s in list(ApiServer.alive):
        s.kill()


class Watcher(threading.Thread):
    """Watches over restarts from where it was; events as (revision, name, value)."""

    def __init__(self, server, since):
        super().__init__(daemon=True)
        self.server, self.since = server, since
        self.events, self.failure, self.resumed = [], None, 0
        self.stopping = False

    def run(self):
        try:
            while not self.stopping:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self.watch_once()
                time.sleep(0.01)
        except Exception as e:  # a thread's exception would go unseen
            self.failure = e

    def watch_once(self):
        c = self.server.connect(timeout=2)
        c.request("GET", f"{CONFIGMAPS}?watch=true&resourceVersion={self.since}",
                  headers=self.server.headers())
        r = c.getresponse()
        if r.status != 200:
            assert r.status in (429, 503), (r.status, r.read())
            return
        self.resumed += 1
        for line in r:
            if not line.endswith(b"\n"):
                return
            e = json.loads(line)
            assert e["type"] in ("ADDED", "MODIFIED", "DELETED"), e
            m = e["object"]["metadata"]
            self.since = int(m["resourceVersion"])
            self.events.append((self.since, m["name"], e["object"].get("data", {}).get("v")))


class Writers:
    """Threads that each change an object of their own; what was acknowledged is kept."""

    def __init__(self, server, rnd):
        self.server = server
        self.acked = {}    # name -> (revision, value, pad)
        self.trying = {}   # name -> (value, pad)
        self.history = []  # (revision, name, value), all that was acknowledged
        self.lock = threading.Lock()
        self.pads = ["x" * rnd.randrange(3000) for _ in range(64)]
        self.n = 0

    def run(self, seconds=None, stop=None):
        stop = stop or threading.Event()
        ts = [threading.Thread(target=self.write, args=(f"w{i}", stop)) for i in range(WRITERS)]
        for t in ts:
            t.start()
        return stop, ts

    def write(self, name, stop):
        c = self.server.connect()
        while not stop.is_set():
            with self.lock:
                self.n += 1
                value, pad = f"v{self.n}", self.pads[self.n % len(self.pads)]
                self.trying[name] = (value, pad)
            try:
                status, o = self.server.put(name, value, pad, c)
            except (OSError, http.client.HTTPException):
                return
            if status not in (200, 201):
                return
            rv = int(o["metadata"]["resourceVersion"])
            with self.lock:
                self.acked[name] = (rv, value, pad)
                self.history.append((rv, name, value))

    def compare(self):
        have, revision = self.server.configmaps()
        for name, (rv, value, pad) in list(self.acked.items()):
            assert name in have, f"{name} is gone"
            if have[name] != (rv, value, pad):
                assert have[name][1:] == self.trying[name], (name, have[name][:2], rv, value)
                assert have[name][0] > rv
                self.history.append((have[name][0], name, have[name][1]))
                self.acked[name] = have[name]
        if self.history:
            assert revision >= max(h[0] for h in self.history)


def check_watcher(w, history, timeout=30):
    last = max(h[0] for h in history)
    wait_until(lambda: w.failure or (w.events and w.events[-1][0] >= last), timeout,
               "the watcher to catch up")
    assert w.failure is None, w.failure
    revisions = [e[0] for e in w.events]
    assert all(a < b for a, b in zip(revisions, revisions[1:])), "order or a repeated event"
    missing = set(history) - set(w.events)
    assert not missing, sorted(missing)[:3]


def new_random():
    seed = int(os.environ.get("DROVER_SEED", time.time_ns() % 1_000_000))
    print("seed", seed)
    return random.Random(seed)


def test_kill_under_load(workdir):
    rnd = new_random()
    s = ApiServer(workdir / "d").start()
    writers = Writers(s, rnd)
    _, since = s.configmaps()
    watcher = Watcher(s, since)
    watcher.start()
    for _ in range(ROUNDS):
        stop, threads = writers.run()
        time.sleep(rnd.uniform(0.02, 0.3))
        s.kill()
        stop.set()
        for t in threads:
            t.join()
        s.start()
        writers.compare()
    check_watcher(watcher, writers.history)
    watcher.stopping = True
    s.stop()
    assert len(writers.history) > ROUNDS and watcher.resumed > ROUNDS // 2
    assert len({h[0] for h in writers.history}) == len(set(writers.history))
    print(len(writers.history), "acknowledged,", watcher.resumed, "watches")
    r = subprocess.run([BIN / "drover", "store", "check", "--data-dir", s.dir],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr


@contextlib.contextmanager
def mounted(path, *args):
    path.mkdir()
    if subprocess.run(["mount", *args, path], capture_output=True).returncode != 0:
        pytest.skip("no mounts here")
    try:
        yield path
    finally:
        for s in list(ApiServer.alive):
            s.kill()
        subprocess.run(["umount", path], check=True)


def lease(n):
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "l1"},
            "spec": {"holderIdentity": "me", "leaseDurationSeconds": 40,
                     "renewTime": f"2026-01-01T00:00:{n:02d}.000000Z"}}


def test_full_disk(workdir):
    """Reads, watches and renewals go on; writes are refused with 507 and a reason; with space
    all works again, snapshots as well, and nothing that was acknowledged is missing."""
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    with mounted(workdir / "m", "-t", "tmpfs", "-o", "size=60m", "tmpfs") as m:
        s = ApiServer(m / "d").start()
        assert s.call("POST", leases, lease(0))[0] == 201
        acked, refused = {}, 0
        pad = "y" * 200_000
        filler = m / "filler"
        with open(filler, "wb") as f, contextlib.suppress(OSError):
            while True:
                f.write(bytes(65536))
                f.flush()
        _, since = s.configmaps()
        watcher = Watcher(s, since)
        watcher.start()
        history = []
        for i in range(400):
            status, o = s.put(f"c{i % 7}", f"v{i}", pad)
            if status in (200, 201):
                rv = int(o["metadata"]["resourceVersion"])
                acked[f"c{i % 7}"] = (rv, f"v{i}", pad)
                history.append((rv, f"c{i % 7}", f"v{i}"))
                continue
            refused += 1
            assert status == 507 and o["kind"] == "Status", (status, o)
            assert o["reason"] == "InsufficientStorage" and "No space left" in o["message"], o
            if refused == 5:
                break
        assert refused == 5 and acked
        # It serves what it has, and keeps machines alive.
        assert s.configmaps()[0] == acked
        for n in range(1, 6):
            assert s.call("PUT", f"{leases}/l1", lease(n))[0] == 200
        r = subprocess.run([BIN / "drover", "store", "backup", "--data-dir", s.dir, "--dir",
                            workdir / "b", "--control-socket", s.dir / "ctl"],
                           capture_output=True, text=True)
        assert r.returncode != 0 and "No space left" in r.stderr, (r.stdout, r.stderr)
        assert s.ready()
        status, text = s.call("GET", "/healthz/disk")
        assert status == 500 and b"no space left" in text, text
        filler.unlink()
        status, o = s.put("after", "v", pad)
        assert status == 201, o
        assert s.call("GET", "/healthz/disk") == (200, b"ok")
        acked["after"] = (int(o["metadata"]["resourceVersion"]), "v", pad)
        history.append((acked["after"][0], "after", "v"))
        check_watcher(watcher, history)
        watcher.stopping = True
        r = subprocess.run([BIN / "drover", "store", "compact", "--data-dir", s.dir,
                            "--control-socket", s.dir / "ctl"], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        s.kill()
        s.start()
        assert s.configmaps()[0] == acked
        s.stop()


@pytest.mark.parametrize("call", ["fdatasync", "write"])
@pytest.mark.parametrize("nth", [30] if not LONG else range(15, 80, 5))
def test_failing_disk(workdir, call, nth):
    """EIO at the Nth call of the log writer: it says so and exits, nothing acknowledged is
    missing after the next start."""
    if not shutil.which("strace"):
        pytest.skip("no strace")
    s = ApiServer(workdir / "d").start()
    s.stop()
    where = f"{call}:error=EIO:when={nth}+"
    s.prefix = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null",
                "-e", f"trace={call}", "-e", f"inject={where}"]
    if call == "write":
        # Only writes of the log: other descriptors would be hit as well.
        s.prefix = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-P",
                    newest_segment_after_start(s), "-e", "trace=write", "-e",
                    f"inject={where}"]
    try:
        s.start()
    except AssertionError:
        pass  # it failed while starting: as good
    acked = {}
    end = time.monotonic() + 100
    i = 0
    while s.process.poll() is None and time.monotonic() < end:
        i += 1
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, o = s.put(f"k{i % 5}", f"v{i}")
            assert status in (200, 201, 500), o
            if status != 500:
                acked[f"k{i % 5}"] = (int(o["metadata"]["resourceVersion"]), f"v{i}", "")
    assert s.process.wait(10) == 70
    assert "the store has failed" in s.log.read_text() and "Input/output error" in \
        s.log.read_text()
    s.prefix = []
    s.start()
    have, _ = s.configmaps()
    for name, value in acked.items():
        assert have.get(name, (0,))[0] >= value[0], (name, have.get(name), value)
    s.stop()


def newest_segment_after_start(s):
    """The name that the next start gives to its segment: one above the last floor."""
    newest = max((s.dir / "log").glob("*.log"))
    floor = int.from_bytes(newest.read_bytes()[40:48], "little")
    return str(s.dir / "log" / f"{floor + 1:020d}.log")


FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2


@pytest.mark.skipif(not LONG, reason="DROVER_LONG=1: power cuts on a loop file system")
@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_power_cut(workdir, fs):
    """The machine stops between two instructions and loses what was not synced."""
    if not shutil.which(f"mkfs.{fs}"):
        pytest.skip(f"no mkfs.{fs}")
    image = workdir / "disk"
    with open(image, "wb") as f:
        f.truncate(400 << 20)
    subprocess.run([f"mkfs.{fs}", "-q", image], check=True)
    rnd = new_random()
    s = writers = None
    for _ in range(int(os.environ.get("ROUNDS", "50"))):
        with mounted(workdir / f"m{_}", "-o", "loop", image) as m:
            if s is None:
                s = ApiServer(m / "d")
                writers = Writers(s, rnd)
            s.dir = m / "d"
            s.log = workdir / "server.log"
            s.start()
            writers.compare()
            stop, threads = writers.run()
            time.sleep(rnd.uniform(0.05, 0.4))
            s.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: "T" in pathlib.Path(
                f"/proc/{s.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0],
                10, "the server to stop")
            fd = os.open(m, os.O_RDONLY)
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, ctypes.c_uint32(NO_LOG_FLUSH))
            os.close(fd)
            s.kill()
            stop.set()
            for t in threads:
                t.join()
    assert len(writers.history) > 50
