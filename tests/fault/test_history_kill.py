# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the API server while generations are made and objects deleted: whatever was
acknowledged has its history, without a gap."""
import collections
import json
import os
import random
import signal
import threading
import time

from conftest import Server, run_object, wait_until

BASE = 10**6  # a field that changes in place; the run never ends
ROUNDS = int(os.environ.get("ROUNDS", "20" if os.environ.get("DROVER_LONG") else "3"))
WRITERS = 4


class Writer(threading.Thread):
    """Makes generations of its own Run; notes the last acknowledged one."""

    def __init__(self, server, name, stop):
        super().__init__(daemon=True)
        self.server, self.name, self.stop = server, name, stop
        self.acknowledged = {}  # generation -> priority
        self.number = 0

    def run(self):
        while not self.stop.is_set():
            self.number += 1
            body = run_object(self.name, ["true"], priority=self.number % 100,
                              ttlAfterFinished=BASE + self.number)
            r = self.server.apply(body, check=False)
            if r.returncode == 0:
                self.acknowledged[self.number] = True


class Deleter(threading.Thread):
    """Makes and deletes a ConfigMap again and again; notes what it had declared whenever a
    deletion was acknowledged."""

    def __init__(self, server, name, stop):
        super().__init__(daemon=True)
        self.server, self.name, self.stop = server, name, stop
        self.acknowledged = {}
        self.number = 0

    def run(self):
        while not self.stop.is_set():
            self.number += 1
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name},
                    "data": {"N": f"{self.name} {self.number}"}}
            if self.server.apply(body, check=False).returncode != 0:
                continue
            r = self.server.drover("delete", f"configmap/{self.name}", check=False)
            if r.returncode == 0:
                self.acknowledged[f"{self.name} {self.number}"] = True


def test_no_acknowledged_generation_is_lost(workdir):
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print(f"seed {seed}")
    rng = random.Random(seed)
    s = Server(workdir / "state", args=["--no-runner", "--history-count", "10000"])
    s.start()
    try:
        stop = threading.Event()
        writers = [Writer(s, f"run-{i}", stop) for i in range(WRITERS)]
        deleters = [Deleter(s, f"cm-{i}", stop) for i in range(WRITERS // 2)]
        for w in writers + deleters:
            w.start()
        for _ in range(ROUNDS):
            before = sum(len(w.acknowledged) for w in writers)
            wait_until(lambda b=before: sum(len(w.acknowledged) for w in writers) > b + 8, 120,
                       "writes to be acknowledged")
            time.sleep(rng.random() * 0.2)
            pid = s.part_pid("apiserver")
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda p=pid: s.part_pid("apiserver") not in (None, p), 120,
                       "the API server to be started again")
        stop.set()
        wait_until(lambda: s.drover("get", "runs", check=False).returncode == 0, 60,
                   "the API server to answer again")
        for w in writers + deleters:
            w.join(60)
        for w in writers:
            check(s, w)
        check_deleted(s, deleters)
    finally:
        s.stop()


def check(s, w):
    past = json.loads(s.drover("history", f"run/{w.name}", "-o", "json").stdout)
    numbers = [g["generation"] for g in past]
    assert numbers == list(range(1, len(numbers) + 1)), numbers
    seen = {g["object"]["spec"]["ttlAfterFinished"] - BASE for g in past}
    missing = set(w.acknowledged) - seen
    assert not missing, f"{w.name}: acknowledged and lost: {sorted(missing)}"
    assert len(w.acknowledged) > 0
    # each generation says what it changed against the one before it
    for g in past[1:]:
        assert "spec.ttlAfterFinished" in g["changed"], g


def check_deleted(s, deleters):
    gone = json.loads(s.drover("history", "--deleted", "configmap", "-o", "json").stdout)
    kept = collections.Counter(r["object"]["data"]["N"] for r in gone)
    for d in deleters:
        assert d.acknowledged
        missing = [n for n in d.acknowledged if kept[n] != 1]
        assert not missing, f"deleted, acknowledged, and not kept once: {missing}"
    assert len({r["of"]["uid"] for r in gone}) == len(gone)
