# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the API server while files and objects are written both ways: what was
acknowledged by the API or stands in a file is in both places in the end, no edit is undone
and nothing is deleted."""
import os
import pathlib
import random
import shutil
import signal
import sys
import threading
import time

import pytest
import yaml
from conftest import wait_until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from mirror_tools import CONFIGMAPS, Mirror  # noqa: E402

ROUNDS = 60 if os.environ.get("DROVER_LONG") else 8
OBJECTS = 12


class Writers:
    """One thread writes the key `api` of all objects by the API, one the key `file` by their
    files; each remembers what it is sure of.

    An edit is made from what the file says and put in its place: a mirrored value that came
    between would be edited away, which is no fault of the mirror. So an object is edited by
    its file only when all that the API was asked to write is in it, and during the edit the
    API leaves that one alone."""

    def __init__(self, m, seed):
        self.m, self.random = m, random.Random(seed)
        self.acked = {}
        self.asked = {}
        self.files = {}
        self.edited = {f"o{i}": threading.Lock() for i in range(OBJECTS)}
        self.stop = threading.Event()
        self.errors = []
        self.threads = [threading.Thread(target=self.guard, args=(f,))
                        for f in (self.by_api, self.by_file)]

    def guard(self, fn):
        try:
            fn()
        except Exception as e:  # noqa: BLE001  reported by the test
            self.errors.append(e)

    def by_api(self):
        n = 0
        while not self.stop.is_set():
            n += 1
            name = f"o{n % OBJECTS}"
            if not self.edited[name].acquire(blocking=False):
                time.sleep(0.002)
                continue
            try:
                self.asked[name] = n
                status, _ = self.m.api.patch(f"{CONFIGMAPS}/{name}",
                                             {"data": {"api": str(n)}})
            finally:
                self.edited[name].release()
            if status == 200:
                self.acked[name] = n
            elif status == 0:
                time.sleep(0.02)  # it is being started again

    def by_file(self):
        n = 0
        while not self.stop.is_set():
            n += 1
            name = f"o{self.random.randrange(OBJECTS)}"
            with self.edited[name]:
                self.edit(name, n)
            self.stop.wait(0.25 + self.random.random() / 10)

    def edit(self, name, n):
        file = self.m.configmaps / f"{name}.yaml"
        want = str(self.asked.get(name, 0))
        until = time.monotonic() + 2
        while (doc := yaml.safe_load(file.read_bytes()))["data"]["api"] != want:
            if self.stop.wait(0.01) or time.monotonic() > until:
                return  # the last request was cut off by a kill and never came to be
        doc["data"]["file"] = str(n)
        temp = file.parent / f".{name}.tmp"
        temp.write_text("# edited\n" + yaml.safe_dump(doc))
        os.rename(temp, file)
        self.files[name] = n


def at_least(o, key, want):
    return int(o["data"].get(key, "0")) >= want


@pytest.mark.parametrize("seed", [1])
def test_kill_while_mirroring(workdir, seed):
    rng = random.Random(seed)
    m = Mirror(workdir / "state").start()
    for i in range(OBJECTS):
        m.put(m.configmaps / f"o{i}.yaml", {"file": "0", "api": "0"})
    wait_until(lambda: len(m.api.names(CONFIGMAPS)) == OBJECTS, 30, "all objects")
    uids = {o["metadata"]["name"]: o["metadata"]["uid"] for o in m.api.get(CONFIGMAPS)["items"]}
    w = Writers(m, seed)
    for t in w.threads:
        t.start()
    for _ in range(ROUNDS):
        time.sleep(rng.uniform(0.2, 1.2))
        pid = wait_until(lambda: m.server.part_pid("apiserver"), 30, "the API server")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: m.api.get(CONFIGMAPS), 60, "the API server to be back")
    w.stop.set()
    for t in w.threads:
        t.join()
    assert not w.errors, w.errors
    assert w.acked and w.files, "both have written"
    m.settled()
    objects = {o["metadata"]["name"]: o for o in m.api.get(CONFIGMAPS)["items"]}
    assert {n: o["metadata"]["uid"] for n, o in objects.items()} == uids
    assert "0 deletions held" in m.status()
    for name, o in objects.items():
        doc = yaml.safe_load((m.configmaps / f"{name}.yaml").read_text())
        error = m.configmaps / f"{name}.yaml.error"
        assert not error.exists(), (seed, error.read_text(), doc, o["data"])
        assert at_least(o, "api", w.acked.get(name, 0)), (seed, name, o["data"], w.acked)
        assert doc["data"] == o["data"], (seed, name)
        assert o["data"]["file"] == str(w.files.get(name, 0)), (seed, name, m.status())
    assert not list(m.root.rglob(".drover-*")), "no temporary file is left"
    m.server.stop()
    shutil.rmtree(m.server.dir)
