# SPDX-License-Identifier: Apache-2.0
"""kill -9 of every program at random moments while short jobs run: each job starts exactly
once (counted outside, by a listener that writes to disk), every acknowledged write is there,
every log is complete and in order, nothing is left behind."""
import collections
import os
import pathlib
import random
import signal
import socketserver
import subprocess
import threading
import time

import pytest
from conftest import Server, run_object, wait_until

ROUNDS = int(os.environ.get("ROUNDS", "20" if os.environ.get("DROVER_LONG") else "2"))
JOBS = 50
LINES = 20


class Counter:
    """Every start of a job tells its name here; written to disk before it is acknowledged."""

    def __init__(self, path):
        self.path = path
        counter = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                name = self.rfile.readline().decode().strip()
                with counter.lock, open(counter.path, "a") as f:
                    f.write(name + "\n")
                    f.flush()
                    os.fsync(f.fileno())
                self.wfile.write(b"ok\n")

        class Threading(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 256

        self.lock = threading.Lock()
        self.server = Threading(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def counts(self):
        if not self.path.exists():
            return {}
        return collections.Counter(self.path.read_text().split())

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def container_job(name, port):
    return run_object(
        name,
        [f"echo {name} | nc 127.0.0.1 {port} | grep -q ok",
         f"for i in $(seq 1 {LINES}); do echo line $i; sleep 0.0$((i % 4)); done"],
        image="drover-test/busybox:1", resources={"cpu": "0..", "memory": "8MB.."},
        stopDuration="2s")


def process_job(name, port):
    return run_object(
        name,
        [f"exec 3<>/dev/tcp/127.0.0.1/{port}", f"echo {name} >&3", "read answer <&3",
         f"for i in $(seq 1 {LINES}); do echo line $i; sleep 0.0$((RANDOM % 4)); done"],
        shell="bash", resources={"cpu": "0..", "memory": "8MB.."}, stopDuration="2s")


def apply_until_acknowledged(s, obj):
    """The client retries; the write is acknowledged exactly when apply says so."""
    end = time.monotonic() + 60
    while True:
        r = s.apply(obj, check=False)
        if r.returncode == 0:
            return
        assert r.returncode in (4, 6), (r.returncode, r.stderr)
        assert time.monotonic() < end, r.stderr
        time.sleep(0.1)


def leftovers(s):
    """Processes and cgroups that belong to jobs of this server's agent."""
    found = []
    for p in pathlib.Path("/proc").iterdir():
        if not p.name.isdigit():
            continue
        try:
            cmd = (p / "cmdline").read_bytes()
        except OSError:
            continue
        if b"--supervise" in cmd and os.fsencode(s.dir) in cmd:
            found.append(cmd.replace(b"\0", b" "))
    return found


def containers():
    """Containers of any drover agent on this dockerd, running or not."""
    if "DOCKER_HOST" not in os.environ:
        return ""
    return subprocess.run(["docker", "ps", "-aq", "--filter", "label=drover.dev/job-uid"],
                          capture_output=True, text=True, check=True).stdout.strip()


CASES = [("process", process_job, r) for r in range(ROUNDS)]
CASES += [("docker", container_job, r) for r in range(max(1, ROUNDS // 2))]


@pytest.mark.parametrize("engine,job,round_", CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_random_kills(workdir, engine, job, round_):
    if engine == "docker" and "DOCKER_HOST" not in os.environ:
        pytest.skip("run by hack/with-dockerd")
    seed = int(os.environ.get("DROVER_SEED", time.time_ns() % 1_000_000)) + round_
    print("seed", seed)
    rnd = random.Random(seed)
    counter = Counter(workdir / "starts")
    s = Server(workdir / "state").start()
    stop = threading.Event()
    kills = collections.Counter()
    failures = []

    def killer():
        try:
            kill_until_stopped()
        except Exception as e:  # a thread's exception would go unseen
            failures.append(e)

    def kill_until_stopped():
        parts = ["apiserver", "controllers", "runner", "streams", "server"]
        while not stop.wait(rnd.uniform(0.05, 0.8)):
            part = rnd.choice(parts)
            if part == "server":
                s.kill()
                kills[part] += 1
                s.start()
            else:
                pid = s.part_pid(part)
                if pid:
                    try:
                        os.kill(pid, signal.SIGKILL)
                        kills[part] += 1
                    except ProcessLookupError:
                        pass

    names = [f"k{engine[0]}{round_}-{i}" for i in range(JOBS)]
    t = threading.Thread(target=killer)
    t.start()
    try:
        for n in names:
            apply_until_acknowledged(s, job(n, counter.port))
        time.sleep(3)  # the kills go on while the jobs run
    finally:
        stop.set()
        t.join()
    assert not failures, failures
    if s.process is None or s.process.poll() is not None:
        s.start()
    try:
        for n in names:
            s.wait(f"run/{n}", "phase=Done", timeout="120s")
        starts = counter.counts()
        assert {n: starts.get(n, 0) for n in names} == {n: 1 for n in names}
        expected = "".join(f"line {i}\n" for i in range(1, LINES + 1))
        for n in names:
            assert s.drover("logs", "-f", n).stdout == expected, n
        assert sum(kills.values()) >= 3, kills
        wait_until(lambda: not leftovers(s), 30, "nothing to be left behind")
        wait_until(lambda: not any((s.dir / "agent/jobs").iterdir()), 60,
                   "job directories to be removed")
        wait_until(lambda: not containers(), 60, "containers to be removed")
        print(dict(kills))
    finally:
        s.stop()
        counter.close()


def test_acknowledged_writes_survive(workdir):
    """Writers in a row, the API server killed at random: what was acknowledged is there, with
    its exact content."""
    rnd = random.Random(int(os.environ.get("DROVER_SEED", time.time_ns() % 1_000_000)))
    s = Server(workdir / "state").start()
    acknowledged = {}
    total = 0
    try:
        for i in range(150):
            if i % 25 == 10:
                pid = s.part_pid("apiserver")
                threading.Timer(rnd.uniform(0, 0.05), os.kill, (pid, signal.SIGKILL)).start()
            name, value = f"f{i % 10}", f"v{i}-{rnd.random()}"
            r = s.apply({"apiVersion": "drover.dev/v1", "kind": "Fleet",
                         "metadata": {"name": name, "labels": {"v": value}},
                         "spec": {}}, check=False)
            if r.returncode == 0:
                acknowledged[name] = value
                total += 1
            else:
                assert r.returncode == 6, r.stderr
                acknowledged.pop(name, None)  # either value is right
                wait_until(lambda: s.drover("get", "fleets", check=False).returncode == 0, 30)
        wait_until(lambda: s.drover("get", "fleets", check=False).returncode == 0, 30)
        have = {f["metadata"]["name"]: f["metadata"].get("labels", {}).get("v")
                for f in s.get("fleets")}
        assert total >= 100 and len(acknowledged) >= 5
        assert {k: have.get(k) for k in acknowledged} == acknowledged
    finally:
        s.stop()
