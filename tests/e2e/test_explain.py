# SPDX-License-Identifier: Apache-2.0
"""drover explain, drover queue and the plan of an apply, word for word, on machines that are
made up: what runs wait for, and where the nodes of one would go."""
import datetime
import json
import pathlib
import re
import sys

import pytest
from conftest import Server, wait_until

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))
from http_api import Api  # noqa: E402

GPU = {"vendor": "nvidia", "name": "A100", "memoryMiB": 81920, "healthy": True}


def now(**ago):
    t = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(**ago)
    return t.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Site:
    """A server without an agent: the test says what machines there are, and what they do."""

    def __init__(self, directory):
        self.server = Server(directory, ["--no-runner"]).start()
        self.api = Api(self.server.kubeconfig, "default")
        self.base = "/apis/drover.dev/v1/namespaces/default"

    def create(self, kind, plural, name, spec, **more):
        self.api("POST", f"{self.base}/{plural}", want=201,
                 body={"apiVersion": "drover.dev/v1", "kind": kind,
                       "metadata": {"name": name}, "spec": spec, **more})

    def status(self, plural, name, status):
        self.api("PATCH", f"{self.base}/{plural}/{name}/status", want=200,
                 type="application/merge-patch+json", body={"status": status})

    def machine(self, name, fleet, address, cpus=8, gpus=0):
        self.create("Instance", "instances", name, {"fleetName": fleet})
        o = self.api("GET", f"{self.base}/instances/{name}", want=200)
        self.status("instances", name, {"agent": {
            "journalID": "j", "addresses": [address],
            "engines": [{"name": "process", "available": True}],
            "inventory": {"arch": "x86_64", "cpus": cpus, "memoryMiB": 65536,
                          "diskMiB": 200000, "gpuCount": gpus,
                          "gpus": [dict(GPU, uuid=f"{name}-{i}", index=i)
                                   for i in range(gpus)]}}})
        self.api("POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", want=201,
                 body={"metadata": {"name": name, "labels":
                                    {"drover.dev/instance": o["metadata"]["uid"]}},
                       "spec": {"holderIdentity": "j", "leaseDurationSeconds": 3600,
                                "renewTime": now()}})

    def run(self, name, **spec):
        self.create("Run", "runs", name, {"type": "task", "commands": ["true"], **spec})

    def says(self, *args):
        """What drover prints; uids, times and versions are left out."""
        text = self.server.drover(*args).stdout
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
        return "\n".join(line.rstrip() for line in text.splitlines())

    def explains(self, name, *parts):
        wait_until(lambda: all(p in self.says("explain", f"run/{name}") for p in parts), 30,
                   lambda: f"{parts} in {self.says('explain', f'run/{name}')}")
        return self.says("explain", f"run/{name}")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    s = Site(tmp_path_factory.mktemp("site") / "d")
    try:
        s.create("Fleet", "fleets", "gpu", {})
        for i in range(2):
            s.machine(f"g{i}", "gpu", f"10.0.0.{i + 1}/24", gpus=1)
        s.machine("big", "local", "10.1.0.1/24", cpus=16)
        wait_until(lambda: s.says("get", "instances").count("Ready") == 3, 30, "the machines")
        yield s
    finally:
        s.server.stop()


LACKS_GPU = """\
Job big-gpu-0-0-0: waits
  InsufficientGPU: no instance has enough free GPUs of the kind asked for
  its start is not known: no usable machine is large enough, or there are too few of them
  fleet default/gpu: none of 2 instances has room; nearest is g0: needs 4 GPUs, has 1 free of 1 matching
  fleet default/local: none of 1 instances has room; nearest is big: needs GPU A100, has no GPU
Placement: 0 jobs ahead in the queue; needs cpu=1.. mem=512MB.. gpu=A100:4
  g0: needs 4 GPUs, has 1 free of 1 matching
  g1: needs 4 GPUs, has 1 free of 1 matching
  big: needs GPU A100, has no GPU"""


def test_what_runs_wait_for(site):
    site.run("big-gpu", resources={"gpu": "A100:4"})
    assert site.explains("big-gpu", "fleet default/gpu", "fleet default/local") == LACKS_GPU
    site.run("ring", nodes=3, resources={"gpu": 1})
    site.explains("ring", "InsufficientInstances: not enough instances of one fleet for all nodes",
                  "one of 3 jobs that start together; the first is ring-0-0-0",
                  "fleet default/gpu: 2 of 2 instances have room",
                  "Job ring-0-2-0: waits")
    site.run("holds", resources={"cpu": 16})
    site.explains("holds", "Job holds-0-0-0: Provisioning\n  on instance big")
    site.run("next", resources={"cpu": 12})
    site.explains("next", "InsufficientCPU: no instance has enough free CPU",
                  "nearest is big: needs 12 CPUs, has 0 free of 16", "4 jobs ahead in the queue")
    rows = [line.split() for line in site.says("queue").splitlines()]
    assert [(r[0], r[1], r[5], r[6]) for r in rows[1:]] == [
        ("1", "big-gpu", "InsufficientGPU", "unknown"),
        ("2", "ring", "InsufficientInstances", "unknown"),
        ("3", "ring", "InsufficientInstances", "unknown"),
        ("4", "ring", "InsufficientInstances", "unknown"),
        ("5", "next", "InsufficientCPU", "unknown")]
    site.explains("next", "its start is not known: job holds-0-0-0, which runs, has no maxDuration")


def test_when_they_start(site):
    """The first of a shape as the scheduler has booked it, the next ones behind it."""
    site.machine("timed", "timed", "10.2.0.1/24", cpus=4)
    name, start = [{"name": "timed"}], now()[:19]
    site.run("t0", resources={"cpu": 4}, instances=name, maxDuration="1h", stopDuration="30m")
    site.explains("t0", "on instance timed")
    site.status("jobs", "t0-0-0-0", {"agent": {
        "claim": {"journalID": "j", "instanceUID": "i"}, "state": "Running", "startedAt": start + "Z"}})
    for i in (1, 2, 3):
        site.run(f"t{i}", resources={"cpu": 4}, instances=name,
                 **({} if i == 2 else {"maxDuration": "2h", "stopDuration": 60}))
        site.explains(f"t{i}", "Job")
    for run, minutes in (("t1", 90), ("t2", 90 + 121)):
        at = (datetime.datetime.fromisoformat(start) + datetime.timedelta(minutes=minutes)).isoformat()
        said = f"expected to start by {at}Z (maxDuration of what runs and is ahead)"
        wait_until(lambda: said in site.server.drover("explain", f"run/{run}").stdout, 60, said)
    site.explains("t3", "its start is not known: job t2-0-0-0, which is ahead of it, "
                        "has no maxDuration")
    for i in range(4):
        site.server.drover("delete", f"run/t{i}", "--no-wait")


def test_what_is_not_the_scheduler(site):
    site.run("after", dependsOn=[{"run": "none"}])
    site.explains("after", "run after has no job: Submitted\n  WaitingForDependency: "
                  "waits for run none, which does not exist")
    site.run("later", schedule={"cron": ["0 0 1 1 *"]})
    site.explains("later", "run later has no job: Submitted\n  WaitingForSchedule: "
                  "the next start is at TIME")
    site.create("Quota", "quotas", "q", {"limits": [{"resource": "jobs", "hard": 1}]})
    site.run("over", resources={"cpu": 1})
    site.explains("over", "QuotaExceeded")
    site.api("DELETE", f"{site.base}/quotas/q", want=200)


def test_what_runs_and_what_is_over(site):
    site.run("goes", resources={"cpu": 2}, preemptible=True, instances=[{"name": "g1"}])
    site.explains("goes", "Job goes-0-0-0: Provisioning\n  on instance g1")
    claim = {"journalID": "j", "instanceUID": "i"}
    site.status("jobs", "goes-0-0-0", {"agent": {"claim": claim, "state": "Running",
                                                 "startedAt": now()}})
    site.explains("goes", "Job goes-0-0-0: Running\n  on instance g1")
    site.run("first", resources={"cpu": 8}, priority=90, instances=[{"name": "g1"}],
             preemptionPolicy="PreemptLowerPriority")
    wait_until(lambda: "Preempted" in site.says("get", "job/goes-0-0-0", "-o", "json"), 30,
               "the preemption")
    site.status("jobs", "goes-0-0-0", {"agent": {"state": "Exited", "signal": "SIGTERM",
                                                 "finishedAt": now(), "released": True}})
    site.explains("goes", "Preempted")
    site.explains("first", "Job first-0-0-0: Provisioning\n  on instance g1")
    site.status("jobs", "first-0-0-0", {"agent": {"claim": claim, "state": "Exited",
                                                  "exitCode": 0, "startedAt": now(),
                                                  "finishedAt": now(), "released": True}})
    site.explains("first", "Job first-0-0-0: Done\n  Exited\n  on instance g1")


@pytest.mark.parametrize("nodes, verdict", [
    (2, "All 2 nodes have room in fleet gpu now: g0, g1\n"),
    (3, "No fleet has room for all 3 nodes at once now: fleet gpu for 2\n"
        "Fewer machines than nodes have room now: it will wait in the queue.\n")])
def test_where_nodes_would_go(site, nodes, verdict):
    run = {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": "plan"},
           "spec": {"type": "task", "commands": ["true"], "nodes": nodes,
                    "resources": {"gpu": 1}}}
    text = site.server.drover("apply", "--dry-run", "-f", "-", input=json.dumps(run)).stdout
    assert f"{nodes} nodes, all at once; for each:" in text and verdict in text, text
