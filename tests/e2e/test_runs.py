# SPDX-License-Identifier: Apache-2.0
"""Runs through the whole system on the process engine: apply to Done, and every other end."""
import json
import re
import time

from conftest import run_object, wait_until


def phase(server, name):
    return server.get("run", name)["status"]


def test_hello_to_done(shared_server):
    s = shared_server
    s.apply(run_object("hello", ["echo one", "echo two"], env={"A": "x"}))
    s.wait("run/hello", "phase=Done")
    assert s.drover("logs", "hello").stdout == "one\ntwo\n"
    assert s.drover("logs", "-f", "hello").stdout == "one\ntwo\n"
    assert s.drover("logs", "hello", "--tail", "1").stdout == "two\n"
    status = phase(s, "hello")
    assert status["exitCode"] == 0
    assert status["startedAt"] <= status["finishedAt"]
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Scheduled"]["status"] == "True"
    assert conditions["Finished"]["status"] == "True"
    assert all(c["lastTransitionTime"] for c in conditions.values())
    text = s.drover("describe", "run", "hello").stdout
    assert "Done" in text and "exit code 0" in text
    reasons = [e["reason"] for e in s.get("events")
               if e["involvedObject"]["name"].startswith("hello")]
    assert len(reasons) >= 3, reasons


def test_log_is_exact(shared_server):
    s = shared_server
    s.apply(run_object("exact", [r"printf 'tab\tnl\n\n\033[31mred\033[0m\377\200 no newline'"]))
    s.wait("run/exact", "phase=Done")
    out = s.drover("logs", "exact", text=False).stdout
    assert out == b"tab\tnl\n\n\x1b[31mred\x1b[0m\xff\x80 no newline"


def test_terminal(shared_server):
    s = shared_server
    s.apply(run_object("term", ["tty", "stty size", "echo err >&2"], tty=True,
                       ttySize={"columns": 132}))
    s.wait("run/term", "phase=Done")
    assert s.drover("logs", "term", text=False).stdout == b"/dev/pts/0\r\n24 132\r\nerr\r\n"


def test_follow_shows_output_while_running(shared_server):
    """The line is there long before the run ends."""
    s = shared_server
    s.apply(run_object("slow", ["echo first", "read x < /dev/null; sleep 3", "echo last"]))
    import subprocess
    from conftest import BIN
    import os
    p = subprocess.Popen([BIN / "drover", "logs", "-f", "slow"], stdout=subprocess.PIPE,
                         env=dict(os.environ, DROVER_CONFIG=str(s.kubeconfig)))
    assert p.stdout.readline() == b"first\n"
    assert phase(s, "slow")["phase"] == "Running"
    assert p.stdout.read() == b"last\n"
    assert p.wait(30) == 0


def test_exit_code(shared_server):
    s = shared_server
    s.apply(run_object("seven", ["echo dying", "exit 7"]))
    s.wait("run/seven", "phase=Failed")
    assert phase(s, "seven")["exitCode"] == 7
    assert phase(s, "seven")["reason"] == "Exited"
    assert "exit code 7" in s.drover("describe", "run/seven").stdout
    r = s.drover("wait", "run/seven", "--for=phase=Done", check=False)
    assert r.returncode == 4 and "Failed" in r.stderr


def test_signal(shared_server):
    s = shared_server
    s.apply(run_object("sig", ["kill -SEGV $$"]))
    s.wait("run/sig", "phase=Failed")
    assert phase(s, "sig")["signal"] == "SIGSEGV"
    assert "SIGSEGV" in s.drover("describe", "run/sig").stdout


def test_out_of_memory(shared_server):
    s = shared_server
    s.apply(run_object("oom", ["head -c 300000000 /dev/zero | tail"],
                       resources={"memory": "64MB", "cpu": "0.."}))
    s.wait("run/oom", "phase=Failed")
    assert phase(s, "oom")["reason"] == "OutOfMemory"
    assert "memory" in s.drover("describe", "run/oom").stdout


def test_disk_quota(shared_server):
    s = shared_server
    s.apply(run_object("fat", ["trap 'exit 5' TERM", "head -c 30M /dev/zero > file",
                               "while :; do sleep 0.1; done"],
                       resources={"disk": "0..16MB"}))
    s.wait("run/fat", "phase=Failed")
    status = phase(s, "fat")
    assert status["reason"] == "DiskQuotaExceeded", status
    assert "limit of 16 MiB" in status["message"]
    assert status["exitCode"] == 5


def test_command_not_found(shared_server):
    s = shared_server
    obj = run_object("nocmd", [])
    del obj["spec"]["commands"]
    obj["spec"]["entrypoint"] = "/no/such/program --x"
    s.apply(obj)
    s.wait("run/nocmd", "phase=Failed")
    assert phase(s, "nocmd")["reason"] == "StartFailed"
    assert "/no/such/program" in phase(s, "nocmd")["message"]


def test_env_user_and_working_dir(shared_server):
    s = shared_server
    s.apply(run_object("envs", ["echo $A:$N:$DROVER_RUN_NAME", "id -u", "pwd"],
                       env={"A": "a b", "N": 5}, user="1000", workingDir="/tmp"))
    s.wait("run/envs", "phase=Done")
    assert s.drover("logs", "envs").stdout == "a b:5:envs\n1000\n/tmp\n"


def test_secret_by_reference(shared_server):
    s = shared_server
    s.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cred"},
             "stringData": {"TOKEN": "s3cret"}},
            run_object("useit", ["echo ${#TOKEN}"], envFrom=[{"secretRef": {"name": "cred"}}]))
    s.wait("run/useit", "phase=Done")
    assert s.drover("logs", "useit").stdout == "6\n"
    job = s.get("jobs")
    assert "s3cret" not in json.dumps(job)


def test_missing_secret(shared_server):
    s = shared_server
    s.apply(run_object("nosecret", ["true"], envFrom=[{"secretRef": {"name": "absent"}}]))
    s.wait("run/nosecret", "phase=Failed")
    assert phase(s, "nosecret")["reason"] == "SecretMissing"


def test_stop_asks_first(shared_server):
    s = shared_server
    # No child: a shell whose child gets the SIGTERM too says so, before or after the trap.
    s.apply(run_object("polite", ["trap 'echo bye; exit 0' TERM", "echo up",
                                  "while :; do :; done"], resources={"cpu": "0.."}))
    s.wait("run/polite", "phase=Running")
    s.drover("stop", "polite", "--wait")
    st = phase(s, "polite")
    assert (st["phase"], st["reason"]) == ("Terminated", "StoppedByUser")
    assert s.drover("logs", "-f", "polite").stdout == "up\nbye\n"


def test_stop_kills_what_does_not_listen(shared_server):
    s = shared_server
    s.apply(run_object("deaf", ["trap '' TERM", "sleep 1000 &", "sleep 1000"],
                       stopDuration="1s", resources={"cpu": "0.."}))
    s.wait("run/deaf", "phase=Running")
    start = time.monotonic()
    s.drover("stop", "deaf", "--wait")
    assert 0.9 < time.monotonic() - start < 15
    assert phase(s, "deaf")["phase"] == "Terminated"


def test_delete_running(shared_server):
    s = shared_server
    s.apply(run_object("doomed", ["sleep 1000"], resources={"cpu": "0.."}, stopDuration="1s"))
    s.wait("run/doomed", "phase=Running")
    s.drover("delete", "run", "doomed")
    assert s.drover("get", "run/doomed", check=False).returncode == 3
    s.drover("wait", "job/doomed-0-0-0", "--for=delete", "--timeout", "30s")


def test_max_duration(shared_server):
    s = shared_server
    s.apply(run_object("brief", ["sleep 1000"], maxDuration=1, stopDuration="1s",
                       resources={"cpu": "0.."}))
    s.wait("run/brief", "phase=Terminated")
    assert phase(s, "brief")["reason"] == "MaxDurationExceeded"


def test_retry_on_error(shared_server):
    """The second attempt comes after the first back-off of 15 s, so only its plan is waited
    for: a new job with attempt 1."""
    s = shared_server
    s.apply(run_object("again", ["exit 3"], retry={"onEvents": ["error"], "duration": "10m"},
                       resources={"cpu": "0.."}))
    wait_until(lambda: s.drover("get", "job/again-0-0-0", check=False).returncode == 0)
    s.drover("wait", "job/again-0-0-0", "--for=phase=Failed", "--timeout", "30s")
    st = phase(s, "again")
    assert st["phase"] not in ("Failed", "Done"), st
    s.drover("stop", "again", "--wait")


def test_image_needs_docker(workdir):
    """A run that names an image is not placed where there is no docker engine, and says so."""
    from conftest import Server
    s = Server(workdir / "state", env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
    s.start()
    try:
        s.apply(run_object("img", ["true"], image="busybox"))
        s.wait("run/img", "condition=Scheduled=False")
        st = phase(s, "img")
        assert st["reason"] == "NoEngine"
        text = s.drover("describe", "run", "img").stdout
        assert "docker engine" in text
        inst = s.get("instances")[0]
        engines = {e["name"]: e for e in inst["status"]["agent"]["engines"]}
        assert engines["process"]["available"]
        assert not engines["docker"]["available"] and engines["docker"]["reason"]
    finally:
        s.stop()


def test_too_large_says_what_lacks(shared_server):
    s = shared_server
    s.apply(run_object("huge", ["true"], resources={"memory": "900GB.."}))
    s.wait("run/huge", "condition=Scheduled=False")
    wait_until(lambda: phase(s, "huge").get("reason"), what="the scheduler's reason")
    assert phase(s, "huge")["reason"] == "InsufficientMemory"
    text = s.drover("describe", "run", "huge").stdout
    assert "900" in text and re.search(r"has .* free", text)
    queue = s.drover("queue").stdout.splitlines()
    assert queue[0].split()[:3] == ["POSITION", "RUN", "JOB"]
    assert any("huge" in row and "InsufficientMemory" in row and "mem=900GB.." in row
               for row in queue[1:]), queue
    text = s.drover("explain", "run/huge").stdout
    assert "InsufficientMemory" in text and re.search(r"needs 900 GB memory, has .* free", text)
    s.drover("delete", "run", "huge")


def test_get_formats_and_watch(shared_server):
    s = shared_server
    out = s.drover("get", "runs").stdout
    assert out.startswith("NAME") and "PHASE" in out.splitlines()[0]
    assert "IMAGE" in s.drover("get", "runs", "-o", "wide").stdout.splitlines()[0]
    assert "kind: Run" in s.drover("get", "runs", "-o", "yaml").stdout
    assert "run/hello" in s.drover("get", "runs", "-o", "name").stdout
    assert "hello" in s.drover("ps", "--all").stdout
    assert "hello" in s.drover("events").stdout


def test_priority_then_fifo(workdir):
    """200 runs on one machine leave the queue in order of priority, then of submission."""
    from conftest import Server
    s = Server(workdir / "state")
    s.start()
    try:
        cpus = s.get("instances")[0]["status"]["agent"]["inventory"]["cpus"]
        s.apply(run_object("blocker", ["sleep 1000"], resources={"cpu": cpus},
                           stopDuration="0s"))
        s.wait("run/blocker", "phase=Running")
        runs = [run_object(f"r{i:03d}", ["true"], priority=(i * 37) % 5,
                           resources={"cpu": cpus, "memory": "16MB.."}) for i in range(200)]
        s.apply(*runs)
        s.drover("stop", "blocker", "--wait")
        for r in runs:
            s.wait(f"run/{r['metadata']['name']}", "phase=Done", timeout="180s")
        jobs = [j for j in s.get("jobs") if j["spec"]["runName"].startswith("r")]
        assert len(jobs) == 200
        started = sorted(jobs, key=lambda j: (j["spec"]["boundAt"],
                                              int(j["metadata"]["name"][1:4])))
        priorities = [j["spec"].get("priority", 0) for j in started]
        assert priorities == sorted(priorities, reverse=True)
    finally:
        s.stop()
