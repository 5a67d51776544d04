# SPDX-License-Identifier: Apache-2.0
"""An agent in a network namespace of its own, whose link to the server is cut while a job
writes: nothing is lost, doubled or out of order, and the agent stays small."""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from conftest import BIN, Server, free_ports, run_object, wait_until  # noqa: E402

LONG = os.environ.get("DROVER_LONG") == "1"
TAG = f"drv{os.getpid() % 100000}"
HOST, PEER = "10.231.77.1", "10.231.77.2"
BLOCK = 1 << 20


def ip(*args, check=True):
    return subprocess.run(["ip", *args], check=check, capture_output=True, text=True)


@pytest.fixture
def namespace():
    if ip("netns", "add", TAG, check=False).returncode != 0:
        pytest.skip("no right to make network namespaces")
    try:
        ip("link", "add", f"{TAG}h", "type", "veth", "peer", "name", f"{TAG}n")
        ip("link", "set", f"{TAG}n", "netns", TAG)
        ip("addr", "add", f"{HOST}/30", "dev", f"{TAG}h")
        ip("link", "set", f"{TAG}h", "up")
        ip("-n", TAG, "addr", "add", f"{PEER}/30", "dev", f"{TAG}n")
        ip("-n", TAG, "link", "set", f"{TAG}n", "up")
        ip("-n", TAG, "link", "set", "lo", "up")
        yield TAG
    finally:
        ip("link", "del", f"{TAG}h", check=False)
        ip("netns", "del", TAG, check=False)


def private_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f
                   if line.startswith(("Private_Dirty", "Private_Clean")))


# Every block is 32 768 lines of 32 bytes that say which they are.
WRITER = "awk 'BEGIN {{ for (i = 0; i < {lines}; i++) printf \"%031d\\n\", i }}'"


@contextlib.contextmanager
def machine(namespace, workdir, *args):
    """A server here, and an agent behind the link: (server, agent's process)."""
    api, streams = free_ports(2)
    s = Server(workdir / "state", args=["--listen", f"{HOST}:{api}", "--streams-listen",
                                        f"{HOST}:{streams}", "--no-runner"])
    s.start()
    agent = None
    try:
        join = s.drover("token", "create", "--join", "local").stdout
        token = next(w for w in join.split() if w.startswith("drj_"))
        log = open(workdir / "agent.log", "wb")
        agent = subprocess.Popen(
            # nsenter, not ip netns exec: that hides the cgroups by a /sys of its own
            ["nsenter", f"--net=/run/netns/{namespace}", BIN / "drover-runner", "--join",
             f"https://{HOST}:{api}", "--token", token, "--ca-file", s.dir / "keys" / "ca.crt",
             "--dir", workdir / "agent", "--name", "cut", *args], stdout=log, stderr=log)
        wait_until(s.instance_ready, 30, "the instance")
        yield s, agent
    finally:
        if agent is not None:
            agent.terminate()
            agent.wait()
        s.stop()


def follow_to_the_end(s, run):
    """-f ends when the whole log is there: (its pipe, the process)."""
    return subprocess.Popen([BIN / "drover", "logs", "-f", run], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE,
                            env=dict(s.env, DROVER_CONFIG=str(s.kubeconfig)))


def test_cut_link_while_output_flows(namespace, workdir):
    with machine(namespace, workdir) as (s, agent):
        mib = 450 if LONG else 100
        lines = mib * BLOCK // 32
        s.apply(run_object("flow", [WRITER.format(lines=lines)]))
        s.wait("run/flow", "phase=Running")
        peak = 0
        for seconds in (2, 20, 60) if LONG else (1, 3):
            ip("link", "set", f"{TAG}h", "down")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                peak = max(peak, private_kib(agent.pid))
                time.sleep(0.05)
            ip("link", "set", f"{TAG}h", "up")
            end = time.monotonic() + 2
            while time.monotonic() < end:
                peak = max(peak, private_kib(agent.pid))
                time.sleep(0.05)
        s.wait("run/flow", "phase=Done", timeout="240s")
        want = hashlib.sha256()
        for at in range(0, lines, 32768):
            want.update(b"".join(b"%031d\n" % i for i in range(at, min(lines, at + 32768))))
        p = follow_to_the_end(s, "flow")
        got, n = hashlib.sha256(), 0
        while chunk := p.stdout.read(BLOCK):
            got.update(chunk)
            n += len(chunk)
        assert p.wait() == 0
        assert n == lines * 32
        assert got.hexdigest() == want.hexdigest()
        print(f"agent peak {peak} KiB, {json.dumps(s.get('run', 'flow')['status']['phase'])}")
        assert peak < 16 * 1024, f"{peak} KiB"


def test_cut_longer_than_the_spool_lasts(namespace, workdir):
    """What does not fit is dropped and the log says how much; the rest is there, in order,
    and the job never waited."""
    spool, lines = 16 * BLOCK, (200 if LONG else 40) * BLOCK // 32
    with machine(namespace, workdir, "--log-spool-bytes", str(spool)) as (s, agent):
        s.apply(run_object("much", ["echo begin", "while [ ! -e go ]; do sleep 0.05; done",
                                    WRITER.format(lines=lines)]))
        s.wait("run/much", "phase=Running")
        wait_until(lambda: "begin" in s.drover("logs", "much").stdout, 30, "the first line")
        ip("link", "set", f"{TAG}h", "down")
        job = next((workdir / "agent/jobs").iterdir())
        (job / "work/go").touch()
        wait_until(lambda: (job / "sup/exit.json").exists(), 60, "the job to end by itself")
        peak = private_kib(agent.pid)
        ip("link", "set", f"{TAG}h", "up")
        s.wait("run/much", "phase=Done", timeout="120s")
        out, err = follow_to_the_end(s, "much").communicate(timeout=120)
        assert out.startswith(b"begin\n")
        dropped = [int(n) for n in re.findall(r"(\d+) bytes dropped", err.decode())]
        assert sum(dropped) > 0 and len(out) - 6 + sum(dropped) == lines * 32, err
        # Pieces of lines are missing at most at the edges of what was dropped.
        whole = [int(x) for x in out[6:].split(b"\n") if len(x) == 31]
        assert whole == sorted(set(whole)) and whole[0] == 0
        assert len(whole) >= len(out) // 32 - 2 * len(dropped) - 1
        assert spool // 2 < len(out) < lines * 32
        assert max(peak, private_kib(agent.pid)) < 16 * 1024
