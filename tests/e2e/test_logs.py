# SPDX-License-Identifier: Apache-2.0
"""Logs of running jobs: several readers, resuming after a cut, quota, earlier attempts; a
network cut between agent and server while output flows, and the speed of shipping."""
import hashlib
import os
import signal
import subprocess
import time

import pytest
from conftest import BIN, run_object, wait_until

LONG = os.environ.get("DROVER_LONG") == "1"
BLOCK = 1 << 20


def follow(server, *args):
    return subprocess.Popen([BIN / "drover", "logs", "-f", *args], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE,
                            env=dict(os.environ, DROVER_CONFIG=str(server.kubeconfig)))


def test_several_readers_and_a_restart_of_streams(shared_server, workdir):
    """-f, -f --tail and -f --since go on at the exact byte when drover-streams is killed or
    stopped in between."""
    s = shared_server
    (workdir / "go").mkdir(mode=0o777)
    s.apply(run_object("cut", ["for i in 1 2 3 4 5; do echo before $i; done", "sleep 1",
                               "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); "
                               "sleep 0.01; done"]))
    s.wait("run/cut", "phase=Running")
    wait_until(lambda: "before 5" in s.drover("logs", "cut", check=False).stdout)
    readers = [follow(s, "cut"), follow(s, "cut", "--tail", "2"),
               follow(s, "cut", "--since", "3600"), follow(s, "cut")]
    for sig in (signal.SIGKILL, signal.SIGTERM):
        seen = lambda: "line 20" in s.drover("logs", "cut", check=False).stdout
        wait_until(seen, what="output")
        old = s.part_pid("streams")
        os.kill(old, sig)
        wait_until(lambda: s.part_pid("streams") not in (None, old), what="a new drover-streams")
    outs = [r.communicate(timeout=90) for r in readers]
    assert [r.returncode for r in readers] == [0] * 4, outs
    lines = [f"before {i}" for i in range(1, 6)] + [f"line {i}" for i in range(400)]
    assert outs[0][0].decode().splitlines() == lines
    assert outs[3][0] == outs[0][0] == outs[2][0]
    tail = outs[1][0].decode().splitlines()
    assert tail == lines[-len(tail):] and len(tail) > 350


def test_diagnostics_are_a_log_of_their_own(shared_server):
    s = shared_server
    s.apply(run_object("told", ["echo printed by the job", "exit 1"]))
    s.wait("run/told", "phase=Failed")
    for when in ((), ("--since", "2h"), ("--since", "2020-01-01T00:00:00Z")):
        assert s.drover("logs", "told", *when).stdout == "printed by the job\n"
    assert s.drover("logs", "told", "--since", "2100-01-01T00:00:00Z").stdout == ""
    assert s.drover("logs", "told", "--since", "soon", check=False).returncode == 2
    said = lambda: s.drover("logs", "told", "--diagnose").stdout
    wait_until(lambda: "ended" in said(), 60, "what the agent says")
    said = said()
    assert all(word in said for word in ("claimed", "started", "ended", "reason=Exited")), said
    assert "printed by" not in said and all(line[:2] == "20" for line in said.splitlines())
    assert len(s.drover("logs", "told", "--diagnose", "--tail", "1").stdout.splitlines()) == 1


def test_quota_per_hour(shared_server):
    s = shared_server
    s.apply(run_object("chatty", ["while :; do echo 0123456789012345678901234567890123456789; done"],
                       logQuotaBytes=200000))
    s.wait("run/chatty", "phase=Failed")
    status = s.get("run", "chatty")["status"]
    assert status["reason"] == "LogQuotaExceeded", status
    assert "200000" in status["message"]
    s.apply(run_object("modest", ["echo hello"], logQuotaBytes=200000))
    s.wait("run/modest", "phase=Done")


def test_quota_counts_what_an_earlier_agent_has_shipped(shared_server):
    if time.time() % 3600 > 3480:
        pytest.skip("the hour is about to change")
    s = shared_server
    s.apply(run_object("patient", [f"head -c {10 * BLOCK} /dev/zero",
                                   "while [ ! -e go ]; do sleep 0.05; done",
                                   f"head -c {8 * BLOCK} /dev/zero; sleep 600"],
                       logQuotaBytes=15 * BLOCK, stopDuration="0s"))
    s.wait("run/patient", "phase=Running")
    job = s.dir / "agent/jobs" / s.get("run", "patient")["status"]["jobUID"]
    first = lambda: min((f.name for f in (job / "log").glob("*.seg")), default="0")
    wait_until(lambda: int(first()[:16], 16) > 0, 60, "the beginning to be shipped and trimmed")
    old = s.part_pid("runner")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: s.part_pid("runner") not in (None, old), 60, "a new agent")
    (job / "work/go").touch()
    s.wait("run/patient", "phase=Failed")
    assert s.get("run", "patient")["status"]["reason"] == "LogQuotaExceeded"


def test_previous_attempt_node_and_replica(shared_server):
    s = shared_server
    s.apply(run_object("again", ["echo attempt of $DROVER_JOB_ID", "exit 3"],
                       retry={"onEvents": ["error"], "duration": "20s"}))
    # The second attempt is enough; the run goes on trying meanwhile.
    wait_until(lambda: "again-0-0-1 " in s.drover("get", "jobs").stdout, 60, "another attempt")
    s.wait("job/again-0-0-1", "phase=Failed", timeout="60s")
    now, before = (s.drover("logs", "again", *a).stdout for a in ((), ("--previous",)))
    assert now.startswith("attempt of") and before.startswith("attempt of") and now != before
    assert s.drover("logs", "again", "--node", "0", "--replica", "0").stdout == now
    r = s.drover("logs", "again", "--node", "7", check=False)
    assert r.returncode == 3 and "node 7" in r.stderr
    s.drover("stop", "again")


def private_kib(pid):
    total = 0
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith(("Private_Dirty", "Private_Clean")):
            total += int(line.split()[1])
    return total


WRITER = ("i=0; while [ $i -lt {blocks} ]; do head -c 1048576 /dev/zero | "
          "openssl enc -aes-128-ctr -K 0 -iv $i 2>/dev/null; i=$((i+1)); done")


def expected(blocks):
    h = hashlib.sha256()
    for i in range(blocks):
        h.update(subprocess.run(
            ["sh", "-c", f"head -c 1048576 /dev/zero | openssl enc -aes-128-ctr -K 0 -iv {i} "
             "2>/dev/null"], stdout=subprocess.PIPE, check=True).stdout)
    return h.hexdigest()


def sha_of_log(server, name):
    p = subprocess.Popen([BIN / "drover", "logs", "--raw", name], stdout=subprocess.PIPE,
                         env=dict(os.environ, DROVER_CONFIG=str(server.kubeconfig)))
    h = hashlib.sha256()
    n = 0
    while chunk := p.stdout.read(1 << 20):
        h.update(chunk)
        n += len(chunk)
    assert p.wait() == 0
    return n, h.hexdigest()


def test_cut_while_output_flows(shared_server):
    """drover-streams is stopped (SIGSTOP: connections hang, as in a network cut) again and
    again while a job writes as fast as it can: every byte arrives once, in order; the agent
    stays small. Less than the spool bound is written. Every other time it is killed, and
    what it had written last is not there any more, as after a power cut."""
    s = shared_server
    blocks = 400 if LONG else 120
    cuts = 6 if LONG else 2
    s.apply(run_object("flow", [WRITER.format(blocks=blocks)]))
    s.wait("run/flow", "phase=Running")
    agent, streams = s.part_pid("runner"), s.part_pid("streams")
    peak = 0
    for n in range(cuts):
        os.kill(streams, signal.SIGSTOP)
        end = time.monotonic() + (20 if LONG else 1.5)
        while time.monotonic() < end:
            peak = max(peak, private_kib(agent))
            time.sleep(0.05)
        output = output_of(s, "flow")
        # Only while the agent has more to send is the server's end surely not all it has.
        kept = end_of(s.dir / f"agent/jobs/{output.name}/log")
        if n % 2 == 0 and 0 < end_of(output) < kept - BLOCK:
            newest = max(output.glob("*.seg"))
            os.truncate(newest, max(0, newest.stat().st_size - 300_001))
            os.kill(streams, signal.SIGKILL)
            streams = wait_until(lambda: (p := s.part_pid("streams")) != streams and p,
                                 what="a new drover-streams")
        os.kill(streams, signal.SIGCONT)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            peak = max(peak, private_kib(agent))
            time.sleep(0.05)
    s.wait("run/flow", "phase=Done", timeout="300s")
    n, digest = sha_of_log(s, "flow")  # waits for what the agent still has
    assert n == blocks << 20
    assert digest == expected(blocks)
    assert peak < 16 * 1024, f"{peak} KiB"
    print(f"agent peak {peak} KiB")


def end_of(log):
    """Length of a log by its files; 0 when there is none."""
    files = sorted(log.glob("*.seg"))
    return int(files[-1].stem, 16) + files[-1].stat().st_size if files else 0


def output_of(s, run):
    return s.dir / "output" / "default" / s.get("run", run)["status"]["jobUID"]


def test_speed_of_shipping(shared_server):
    """A floor that a noisy machine holds too; the figure is printed (-s)."""
    s = shared_server
    size = 1 << 30 if LONG else 300 << 20
    s.apply(run_object("fast", [f"head -c {size} /dev/zero"]))
    start = time.monotonic()
    s.wait("run/fast", "phase=Done", timeout="300s")
    done = time.monotonic()
    output = output_of(s, "fast")

    def stored():
        return sum(f.stat().st_size for f in output.glob("*.seg")) >= size

    wait_until(stored, timeout=300, what="the whole log at the server")
    end = time.monotonic()
    rate = size / (end - start) / 1e6
    print(f"shipped {rate:.0f} MB/s, the job itself took {done - start:.1f} s of {end - start:.1f} s")
    assert rate > 20
