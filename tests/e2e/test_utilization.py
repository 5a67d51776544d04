# SPDX-License-Identifier: Apache-2.0
"""spec.utilizationPolicy: a run is ended whose GPU does nothing, and no other.

A Run's window is five minutes or more. The agent goes by the Job's copy of it, in seconds, which
is shortened here as only an administrator can."""
import datetime
import json
import os
import shutil
import signal
import ssl
import time
import urllib.request

import pytest
from conftest import Server, private_dir, run_object, wait_until

POLICY = {"minGpuUtilization": 10, "timeWindow": "5m"}


class Machine:
    """A server whose own machine pretends to have three GPUs."""

    def __init__(self):
        self.home = private_dir()
        self.gpus = self.home / "gpus.json"
        self.busy(a=80, b=50, c=None)
        self.server = Server(self.home / "state", ["--fake-gpus", self.gpus])

    def busy(self, **percent):
        gpus = [{"uuid": uuid, "name": "A100" if uuid != "c" else "T4", "memoryMiB": 16384,
                 **({} if p is None else {"utilization": p})} for uuid, p in percent.items()]
        new = self.home / "gpus.new"
        new.write_text(json.dumps(gpus))
        new.rename(self.gpus)

    def shorten(self, job):
        """The window of the Job becomes a second."""
        s = self.server
        tls = ssl.create_default_context(cafile=s.dir / "keys" / "ca.crt")
        url = f"https://127.0.0.1:{s.port}/apis/drover.dev/v1/namespaces/default/jobs/{job}"
        body = {"spec": {"utilizationPolicy": {"timeWindowSeconds": 1}}}
        request = urllib.request.Request(url, json.dumps(body).encode(), method="PATCH", headers={
            "Content-Type": "application/merge-patch+json",
            "Authorization": "Bearer " + (s.dir / "admin.token").read_text().strip()})
        urllib.request.urlopen(request, context=tls, timeout=30).read()

    def start(self, name, gpu, shorten=True):
        self.server.apply(run_object(name, ["exec sleep 1000"], stopDuration="1s",
                                     resources={"cpu": "0..", "gpu": gpu},
                                     retry={"onEvents": ["error", "interruption"]},
                                     utilizationPolicy=POLICY))
        self.server.wait(f"run/{name}", "phase=Running")
        spec = self.server.get("job", f"{name}-0-0-0")["spec"]
        assert spec["utilizationPolicy"] == {"minGpuUtilization": 10, "timeWindowSeconds": 300}
        if shorten:
            self.shorten(f"{name}-0-0-0")


@pytest.fixture(scope="module")
def machine():
    m = Machine()
    m.server.start()
    yield m
    m.server.stop()
    shutil.rmtree(m.home, ignore_errors=True)


def status(machine, run):
    return machine.server.get("run", run)["status"]


def test_only_what_does_nothing_is_ended(machine):
    s = machine.server
    machine.start("works", "A100:2")
    machine.start("blind", "T4:1")
    # No figure for a whole window: said in words. The other run was sampled as often by then.
    wait_until(lambda: status(machine, "blind").get("reason") == "UtilizationUnknown", 60,
               "words about the GPU that cannot be watched")
    assert "GPU c" in status(machine, "blind")["message"]
    assert status(machine, "works")["phase"] == "Running"

    machine.busy(a=80, b=3, c=None)
    s.wait("run/works", "condition=Finished")
    end = status(machine, "works")
    assert (end["phase"], end["reason"]) == ("Terminated", "UtilizationTooLow"), end
    assert "GPU 1 of " in end["message"] and "at most 3% busy since 20" in end["message"], end
    told = s.get("job", "works-0-0-0")["status"]["agent"]["idleGPU"]
    assert (told["index"], told["uuid"], told["max"]) == (1, "b", 3), told
    assert not [j for j in s.get("jobs") if j["metadata"]["name"] == "works-0-0-1"]
    assert "UtilizationTooLow" in s.drover("events").stdout

    assert status(machine, "blind")["phase"] == "Running"
    machine.busy(a=80, b=3, c=90)
    wait_until(lambda: not status(machine, "blind").get("reason"), 60, "the words to go")
    s.drover("stop", "blind", "--wait")


def test_a_new_agent_begins_the_window_anew(machine):
    s = machine.server
    machine.busy(a=2, b=50, c=None)
    machine.start("again", "A100:1", shorten=False)
    machine.busy(a=2, b=2, c=None)  # idle under the old agent, in a window of 5 min
    old = s.part_pid("runner")
    killed = int(time.time())
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: s.part_pid("runner") not in (None, old), 60, "a new agent")
    assert status(machine, "again")["phase"] in ("Running", "Unknown")
    machine.shorten("again-0-0-0")
    s.wait("run/again", "condition=Finished")
    end = status(machine, "again")
    assert (end["phase"], end["reason"]) == ("Terminated", "UtilizationTooLow"), end
    told = s.get("job", "again-0-0-0")["status"]["agent"]["idleGPU"]
    since = datetime.datetime.fromisoformat(told["since"].replace("Z", "+00:00")).timestamp()
    assert since >= killed, (told, killed)  # what the old one saw does not count


def test_a_run_that_got_no_gpu_is_told_so(machine):
    s = machine.server
    s.apply(run_object("maybe", ["exec sleep 1000"], stopDuration="1s",
                       resources={"cpu": "0..", "gpu": "H100:0..1"}, utilizationPolicy=POLICY))
    s.wait("run/maybe", "phase=Running")
    wait_until(lambda: "the job has got no GPU" in s.drover("events").stdout, 60, "the Event")
    assert status(machine, "maybe")["phase"] == "Running"
    s.drover("stop", "maybe", "--wait")


def test_without_a_gpu_it_is_refused(machine):
    r = machine.server.apply(run_object("none", ["true"], utilizationPolicy=POLICY), check=False)
    assert r.returncode == 2 and "spec.utilizationPolicy" in r.stderr and "no GPU" in r.stderr, r
