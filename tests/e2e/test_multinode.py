# SPDX-License-Identifier: Apache-2.0
"""Runs of several nodes on three agents, each in a network namespace of its own: who they are
told to be, how they start and end together, and ssh and MPI between them."""
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import urllib.request

import pytest
from conftest import BIN, Server, free_ports, private_dir, run_object, wait_until

LONG = os.environ.get("DROVER_LONG") == "1"
TAG = f"dmn{os.getpid() % 100000}"
NET = "10.231.79"
NODES = 3
ADDRESSES = [f"{NET}.{10 + i}" for i in range(NODES)]


def ip(*args, check=True):
    return subprocess.run(["ip", *args], check=check, capture_output=True, text=True)


def make_network():
    ip("link", "add", TAG, "type", "bridge")
    ip("addr", "add", f"{NET}.1/24", "dev", TAG)
    ip("link", "set", TAG, "up")
    for i, address in enumerate(ADDRESSES):
        ns, veth = f"{TAG}n{i}", f"{TAG}v{i}"
        ip("netns", "add", ns)
        ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", ns)
        ip("link", "set", veth, "master", TAG, "up")
        ip("-n", ns, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", ns, "link", "set", "eth0", "up")
        ip("-n", ns, "link", "set", "lo", "up")


def drop_network():
    for i in range(NODES):
        ip("netns", "del", f"{TAG}n{i}", check=False)
        ip("link", "del", f"{TAG}v{i}", check=False)
    ip("link", "del", TAG, check=False)


class Cluster:
    """A server without a runner, and an agent in each namespace."""

    def __init__(self, directory):
        api, streams = free_ports(2)
        self.dir, self.api = directory, api
        self.server = Server(directory / "state", args=[
            "--listen", f"{NET}.1:{api}", "--streams-listen", f"{NET}.1:{streams}",
            "--no-runner"])
        self.agents = {}

    def start(self):
        self.server.start()
        for i in range(NODES):
            self.start_agent(i)
        for i in range(NODES):
            wait_until(lambda i=i: self.server.drover("get", f"instance/node-{i}",
                                                      check=False).returncode == 0, 60,
                       "the machine to enrol")
            self.server.wait(f"instance/node-{i}", "phase=Ready")

    def start_agent(self, i, namespace="default", name=None):
        name = name or f"node-{i}"
        join = self.server.drover("token", "create", "--join", "local", "-n", namespace).stdout
        token = next(w for w in join.split() if w.startswith("drj_"))
        with open(self.dir / f"{name}.log", "ab") as log:
            # nsenter, not ip netns exec: that hides the cgroups by a /sys of its own
            self.agents[name] = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{TAG}n{i}", BIN / "drover-runner", "--join",
                 f"https://{NET}.1:{self.api}", "--token", token, "--ca-file",
                 self.server.dir / "keys" / "ca.crt", "--dir", self.dir / name,
                 "--name", name], stdout=log, stderr=log)

    def stop(self):
        for p in self.agents.values():
            p.terminate()
        for p in self.agents.values():
            p.wait(30)
        self.server.stop()

    def jobs(self, run):
        """By attempt and rank."""
        found = [j for j in self.server.get("jobs") if j["spec"]["runName"] == run]
        return {(j["spec"]["attempt"], j["spec"]["node"]): j for j in found}

    def log(self, job):
        """Of one node: until its job is over and all of it is there."""
        token = (self.server.dir / "admin.token").read_text().strip()
        q = urllib.request.Request(
            f"https://{NET}.1:{self.api}/apis/streams.drover.dev/v1/namespaces/default/jobs/"
            f"{job}/log?follow=true", headers={"Authorization": f"Bearer {token}"})
        tls = ssl.create_default_context(cafile=self.server.dir / "keys" / "ca.crt")
        with urllib.request.urlopen(q, context=tls, timeout=60) as r:
            return r.read().decode()


@pytest.fixture(scope="module")
def cluster():
    if ip("netns", "add", f"{TAG}t", check=False).returncode != 0:
        pytest.skip("no right to make network namespaces")
    ip("netns", "del", f"{TAG}t")
    directory = private_dir()
    c = Cluster(directory)
    try:
        make_network()
        c.start()
        yield c
    finally:
        c.stop()
        drop_network()
        shutil.rmtree(directory, ignore_errors=True)


def several(name, commands, nodes=NODES, **spec):
    small = {"cpu": "0..", "memory": "0MB.."}
    return run_object(name, commands, nodes=nodes, resources=small, **spec)


def test_everybody_knows_who_they_are(cluster):
    s = cluster.server
    s.apply(several("ranks", ["env | grep -E '^(DROVER|DSTACK)_' | sort",
                              "cat $DROVER_MPI_HOSTFILE",
                              "echo master ${{ groups[0].nodes[0].IP_ADDRESS }}"]))
    s.wait("run/ranks", "phase=Done")
    jobs = cluster.jobs("ranks")
    assert sorted(jobs) == [(0, 0), (0, 1), (0, 2)]
    assert len({j["spec"]["instanceUID"] for j in jobs.values()}) == NODES
    peers = jobs[0, 0]["spec"]["peers"]
    assert [p["job"] for p in peers] == [f"ranks-0-{i}-0" for i in range(NODES)]
    assert sorted(p["address"] for p in peers) == ADDRESSES
    for rank in range(NODES):
        spec = jobs[0, rank]["spec"]
        assert spec["released"] and spec["peers"] == peers and spec["networkMode"] == "host"
        assert peers[rank]["address"] == f"{NET}.{10 + int(spec['instanceName'][-1])}"
        log = cluster.log(f"ranks-0-{rank}-0")
        for prefix in ("DROVER", "DSTACK"):
            assert f"{prefix}_NODE_RANK={rank}\n" in log
            assert f"{prefix}_NODES_NUM={NODES}\n" in log
            assert f"{prefix}_MASTER_NODE_IP={peers[0]['address']}\n" in log
            assert f"{prefix}_NODES_IPS={peers[0]['address']}\n" in log  # its first line
            assert f"{prefix}_GPUS_NUM=0\n" in log
        assert f"master {peers[0]['address']}\n" in log
        assert "\n".join(p["address"] for p in peers) + "\nmaster" in log
        assert "PROLOGUE" not in log


def test_one_fails_all_end(cluster):
    s = cluster.server
    s.apply(several("fails", ["[ $DROVER_NODE_RANK != 1 ] || exit 3", "sleep 600"],
                    stopDuration="5s"))
    s.wait("run/fails", "phase=Failed")
    status = s.get("run", "fails")["status"]
    assert (status["reason"], status["exitCode"], status["jobName"]) == \
        ("Exited", 3, "fails-0-1-0")
    reasons = {rank: j["status"]["reason"] for (_, rank), j in cluster.jobs("fails").items()}
    assert reasons == {0: "SiblingFailed", 1: "Exited", 2: "SiblingFailed"}


def test_the_master_is_done(cluster):
    s = cluster.server
    s.apply(several("master", ["[ $DROVER_NODE_RANK = 0 ] || sleep 600"],
                    stopCriteria="master-done", stopDuration="5s"))
    s.wait("run/master", "phase=Done")
    ends = {rank: (j["status"]["phase"], j["status"]["reason"])
            for (_, rank), j in cluster.jobs("master").items()}
    assert ends == {0: ("Done", "Exited"), 1: ("Terminated", "MasterDone"),
                    2: ("Terminated", "MasterDone")}


def test_workers_start_first(cluster):
    s = cluster.server
    s.apply(several("order", ["true"], startupOrder="workers-first"))
    s.wait("run/order", "phase=Done")
    started = {rank: j["status"]["startedAt"] for (_, rank), j in cluster.jobs("order").items()}
    assert started[0] > max(started[1], started[2])


def test_groups_and_ssh(cluster):
    """The master of one group asks the nodes of the other for their names, without a password."""
    if not os.path.exists("/usr/sbin/sshd"):
        pytest.skip("there is no sshd to start")
    small = {"cpu": "0..", "memory": "0MB.."}
    ask = ("for ip in ${{ groups[1].nodes[0].IP_ADDRESS }} ${{ groups[1].nodes[1].IP_ADDRESS }}; "
           "do ssh $ip 'cat /tmp/.drover/hostfile; cat /job/rank' || exit 4; done")
    run = several("groups", [], stopCriteria="master-done", startupOrder="workers-first",
                  groups=[{"name": "head", "commands": [ask], "resources": small},
                          {"name": "worker", "nodes": 2, "resources": small,
                           "commands": ["echo rank-$DROVER_NODE_RANK > /job/rank", "sleep 600"]}])
    for key in ("nodes", "commands", "resources"):
        del run["spec"][key]
    # ssh is refused until the sshd of a worker, which may be a moment later than its process,
    # listens: ConnectionAttempts asks once a second
    run["spec"]["groups"][0]["commands"] = [ask.replace("ssh ", "ssh -o ConnectionAttempts=60 ")
                                            .replace("cat /job/rank",
                                                     "until [ -s /job/rank ]; do sleep 0.1; done; "
                                                     "cat /job/rank")]
    s = cluster.server
    s.apply(run)
    s.wait("run/groups", "phase=Done")
    jobs = cluster.jobs("groups")
    assert [jobs[0, i]["spec"]["group"] for i in range(3)] == ["head", "worker", "worker"]
    log = cluster.log("groups-0-0-0")
    assert "rank-1\n" in log and "rank-2\n" in log, log
    secret = json.loads(s.drover("get", "secret/groups-ssh", "-o", "json").stdout)
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "Run"


def test_an_array(cluster):
    """Many jobs of one run, made at once; one fails."""
    s = cluster.server
    small = {"cpu": "0..", "memory": "0MB.."}
    s.apply(run_object("array", ["[ $DROVER_ARRAY_INDEX != 7 ] || exit 4"], array="0-19",
                       resources=small))
    s.wait("run/array", "phase=Failed")
    status = s.get("run", "array")["status"]
    assert status["message"] == "1 of 20 elements failed: 7"
    assert status["replicas"]["done"] == 19 and status["exitCode"] == 4


def pid_of(job, program):
    """Of the job's process as this machine numbers it."""
    for p in pathlib.Path("/proc").iterdir():
        try:
            if p.name.isdigit() and (p / "cmdline").read_bytes().startswith(program) and \
                    b"DROVER_JOB_ID=" + job["metadata"]["uid"].encode() in \
                    (p / "environ").read_bytes():
                return int(p.name)
        except OSError:
            continue
    return None


@pytest.mark.skipif(not LONG, reason="DROVER_LONG=1 only: the delay of a retry is 15 s")
def test_a_killed_node_restarts_all(cluster):
    s = cluster.server
    s.apply(several("again", ["sleep 600"], retry={"onEvents": ["error"]}, stopDuration="5s"))
    s.wait("run/again", "phase=Running")
    first = cluster.jobs("again")[0, 2]
    os.kill(wait_until(lambda: pid_of(first, b"sleep"), 30, "the process"), 9)
    wait_until(lambda: (1, 2) in cluster.jobs("again"), 60, "the second attempt")
    jobs = cluster.jobs("again")
    assert jobs[0, 2]["metadata"]["uid"] == first["metadata"]["uid"]
    assert jobs[0, 2]["status"]["phase"] == "Failed"
    assert sorted(jobs) == [(a, n) for a in (0, 1) for n in range(NODES)]
    s.drover("stop", "again")
    s.wait("run/again", "phase=Terminated")


@pytest.mark.skipif(not LONG or not shutil.which("mpirun"), reason="DROVER_LONG=1 and openmpi")
def test_mpi_hello(cluster):
    s = cluster.server
    s.apply(several("mpi", [
        "[ $DROVER_NODE_RANK = 0 ] || exec sleep 600",
        "mpirun --allow-run-as-root --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 "
        "--hostfile $DROVER_MPI_HOSTFILE -np 3 -N 1 "
        "sh -c 'echo rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE'"],
        stopCriteria="master-done", startupOrder="workers-first", stopDuration="5s"))
    s.wait("run/mpi", "phase=Running")
    log = cluster.log("mpi-0-0-0")
    print(log)
    s.wait("run/mpi", "phase=Done", timeout="120s")
    assert sorted(line for line in log.splitlines() if line.startswith("rank")) == \
        [f"rank {i} of 3" for i in range(3)]


def test_a_gang_takes_its_share_back(cluster):
    """Three of another namespace run where one is its own: two go, and not for less than
    the whole gang."""
    s = cluster.server
    s.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lent"}},
            {"apiVersion": "drover.dev/v1", "kind": "Fleet",
             "metadata": {"name": "local", "namespace": "lent"}, "spec": {}},
            *[{"apiVersion": "drover.dev/v1", "kind": "Quota",
               "metadata": {"name": "q", "namespace": ns},
               "spec": {"cohort": "lab", "limits": [{"resource": "jobs", "hard": hard}]}}
              for ns, hard in (("default", 2), ("lent", 1))])
    cluster.start_agent(0, "lent", "far")
    small = {"cpu": "0..", "memory": "0MB.."}
    for i in range(3):
        run = run_object(f"far{i}", ["trap 'exit 0' TERM; while :; do sleep 0.1; done"],
                         resources=small, stopDuration="20s")
        run["metadata"]["namespace"] = "lent"
        s.apply(run)
    for i in range(3):
        s.drover("wait", f"run/far{i}", "--for=phase=Running", "--timeout", "60s", "-n", "lent")
    s.apply(several("own", ["echo here"], nodes=2))
    s.wait("run/own", "phase=Done")
    jobs = json.loads(s.drover("get", "jobs", "-n", "lent", "-o", "json").stdout)["items"]
    told = [j for j in jobs if j["spec"].get("stopReason") == "Preempted"]
    assert len(told) == 2, [j["metadata"]["name"] for j in told]
    for ns in ("default", "lent"):
        s.drover("delete", "quota/q", "-n", ns)
