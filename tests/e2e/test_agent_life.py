# SPDX-License-Identifier: Apache-2.0
"""An agent is upgraded under a running job, dies with an interruptible job, leaves its
machine."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from conftest import BIN, Server, private_dir, run_object, wait_until


class Agent:
    """A second machine: a copy of the program, its own directory."""

    def __init__(self, server, name, uid=0):
        self.server, self.name, self.uid = server, name, uid
        self.home = private_dir()
        os.chown(self.home, uid, uid)
        self.program = self.home / "drover-runner"
        self.dir = self.home / "agent"
        shutil.copy2(BIN / "drover-runner", self.program)
        out = server.drover("token", "create", "--join", "local").stdout
        self.argv = out.splitlines()[-1].split()
        self.argv[0] = str(self.program)
        self.argv[self.argv.index("--dir") + 1] = str(self.dir)
        self.argv += ["--name", name]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.argv, stderr=subprocess.STDOUT,
                                        stdout=open(self.home / "log", "ab"), **self.user())
        wait_until(lambda: self.server.drover("get", f"instance/{self.name}",
                                              check=False).returncode == 0, 30, "enrolment")
        self.server.wait(f"instance/{self.name}", "phase=Ready")
        # The lease may be there before the agent has said what its machine is.
        wait_until(lambda: self.server.get("instance", self.name)["status"].get("agent", {})
                   .get("engines"), 30, "the agent's report")

    def user(self):
        ids = {"user": self.uid, "group": self.uid, "extra_groups": []}
        return {**ids, "cwd": "/"} if self.uid else {}

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        subprocess.run([self.program, "--uninstall", "--force", "--dir", self.dir],
                       check=False, capture_output=True, **self.user())
        shutil.rmtree(self.home, ignore_errors=True)

    def uninstall(self, *args):
        return subprocess.run([self.program, "--uninstall", "--dir", self.dir, *args],
                              capture_output=True, text=True, timeout=60, **self.user())


@pytest.fixture(scope="module")
def control():
    """A server without a machine of its own."""
    d = private_dir()
    s = Server(d / "state", ["--no-runner"])
    s.start()
    yield s
    s.stop()
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def agent(control, request):
    a = Agent(control, request.node.name.replace("_", "-")[5:])
    try:
        a.start()
        yield a
    finally:
        a.end()
        control.drover("delete", "instance", a.name, "--wait=false", check=False)


def run_on(agent, name, script, **spec):
    agent.server.apply(run_object(name, [script], shell="bash", resources={"cpu": "0.."}, **spec))
    agent.server.wait(f"run/{name}", "phase=Running")


def supervisors(agent):
    """Pids of supervisors of this agent's jobs."""
    found = []
    for p in pathlib.Path("/proc").iterdir():
        try:
            argv = (p / "cmdline").read_bytes().split(b"\0") if p.name.isdigit() else []
        except OSError:
            continue
        if b"--supervise" in argv and any(os.fsencode(agent.dir) in a for a in argv):
            found.append(int(p.name))
    return found


def test_upgrade(agent):
    """The program file is replaced and SIGHUP sent: same process, new program, same job."""
    run_on(agent, "upgraded", "echo before; while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 3")
    pid = agent.process.pid
    before = supervisors(agent)
    old = os.stat(f"/proc/{pid}/exe").st_ino
    fresh = agent.home / "fresh"
    shutil.copy2(agent.program, fresh)
    os.rename(fresh, agent.program)
    # One that does not run is not taken.
    broken = agent.home / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    good = agent.home / "good"
    os.rename(agent.program, good)
    os.rename(broken, agent.program)
    os.kill(pid, signal.SIGHUP)
    log = agent.home / "log"
    wait_until(lambda: "not upgraded" in log.read_text(), 20, "the refusal")
    assert os.stat(f"/proc/{pid}/exe").st_ino == old
    os.rename(good, agent.program)
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: os.stat(f"/proc/{pid}/exe").st_ino == os.stat(agent.program).st_ino,
               20, "the new program")
    wait_until(lambda: "adopting" in log.read_text(), 20, "the job to be adopted")
    assert supervisors(agent) == before and before
    job = agent.server.get("jobs")
    uid = next(j["metadata"]["uid"] for j in job if j["metadata"]["name"].startswith("upgraded"))
    (agent.dir / "jobs" / uid / "tmp" / "go").touch()
    agent.server.wait("run/upgraded", "condition=Finished")
    r = agent.server.get("run", "upgraded")
    assert r["status"]["phase"] == "Failed" and r["status"]["exitCode"] == 3, r["status"]
    assert agent.server.drover("logs", "upgraded").stdout == "before\n"


def test_uninstall(agent):
    run_on(agent, "stays", "sleep 600", stopDuration="5s")
    r = agent.uninstall("--force")
    assert r.returncode != 0 and "stop the agent" in r.stderr, r
    agent.process.terminate()
    assert agent.process.wait(20) == 0
    assert supervisors(agent)
    r = agent.uninstall()
    assert r.returncode != 0 and "1 job(s) run here" in r.stderr, r
    assert supervisors(agent) and agent.dir.exists()
    r = agent.uninstall("--force")
    assert r.returncode == 0, r
    assert not supervisors(agent)
    assert not agent.dir.exists()
    left = [p for p in pathlib.Path("/run/drover/ids").iterdir()
            if os.readlink(p).startswith(str(agent.home))]
    assert not left
    r = agent.uninstall("--force")
    assert r.returncode != 0 and "no agent lives" in r.stderr, r
    agent.server.drover("delete", "run", "stays", "--wait=false", check=False)


def test_agent_without_root(control):
    """An agent of an ordinary user: its jobs run, end, are taken over by its next life and
    end with all that they started; nothing is left. What it cannot give is said."""
    a = Agent(control, "ordinary", uid=61236)
    try:
        a.start()
        status = control.get("instance", "ordinary")["status"]["agent"]
        engine = next(e for e in status["engines"] if e["name"] == "process")
        if not engine["available"]:
            pytest.skip(f"this machine forbids it: {engine['message']}")
        assert any(x.startswith(("OneUser: ", "SharedIDs: ")) for x in engine["limitations"])
        assert "engine is limited" in (a.home / "log").read_text()
        (a.home / "one.txt").write_text("a file\n")
        control.apply(run_object("short", ["id -u", "cat one.txt", "mkdir d", "chmod 0 d",
                                           "exit 5"], files=[str(a.home / "one.txt") + ":one.txt"],
                                 resources={"cpu": "0..1", "memory": "0MB..1GB"}))
        control.wait("run/short", "condition=Finished")
        r = control.get("run", "short")["status"]
        assert (r["phase"], r["exitCode"]) == ("Failed", 5), r
        assert control.drover("logs", "short").stdout == "0\na file\n"
        if any(x.startswith("CPULimit: ") for x in engine["limitations"]):
            wait_until(lambda: "LimitNotEnforced" in control.drover("events").stdout, 30, "the event")
        run_on(a, "daemons", "trap 'exit 3' TERM; (setsid sh -c 'trap \"\" TERM HUP; "
               "sleep 61236 & sleep 61236' &) ; echo up; while :; do sleep 0.1; done",
               stopDuration="20s")
        before = supervisors(a)
        a.process.kill()
        a.process.wait()
        a.start()
        wait_until(lambda: (a.home / "log").read_text().count("adopting") > 0, 30, "the adoption")
        assert supervisors(a) == before and before
        control.drover("stop", "daemons", "--wait")
        assert control.get("run", "daemons")["status"]["phase"] == "Terminated"
        out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert "sleep 61236" not in out.splitlines()
        run_on(a, "left", "mkdir d; : > d/x; chmod 0 d; sleep 600", stopDuration="1s")
        a.process.terminate()
        assert a.process.wait(20) == 0
        r = a.uninstall("--force")
        assert r.returncode == 0, r
        assert not supervisors(a) and not a.dir.exists()
    finally:
        a.end()
        control.drover("delete", "run", "--all", "--wait=false", check=False)
        control.drover("delete", "instance", a.name, "--wait=false", check=False)


def test_disk_pressure():
    """Less room than is to be kept: no job goes there, and everybody says why."""
    home = private_dir()
    # Of its own: instances of agents that other tests ended still count as Ready.
    control = Server(home / "state", ["--no-runner"]).start()
    a = Agent(control, "narrow")
    plain = list(a.argv)
    try:
        a.argv += ["--min-free-disk", "2000000000"]
        a.start()
        wait_until(lambda: any(c["type"] == "DiskPressure" and c["status"] == "True" for c in
                               control.get("instance", "narrow")["status"]["conditions"]),
                   30, "the condition")
        assert "DiskPressure" in control.drover("get", "instances").stdout
        assert "kept free of new jobs" in control.drover("describe", "instance", "narrow").stdout
        control.apply(run_object("waits", ["true"], resources={"cpu": "0.."}))
        control.wait("run/waits", "condition=Scheduled=False")
        assert "is short of disk space" in control.drover("describe", "run", "waits").stdout
        a.process.terminate()
        a.process.wait(20)
        a.argv = plain
        a.start()
        control.wait("run/waits", "phase=Done")
        wait_until(lambda: any(c["type"] == "DiskPressure" and c["status"] == "False" for c in
                               control.get("instance", "narrow")["status"]["conditions"]),
                   30, "the end of the condition")
    finally:
        a.end()
        control.stop()
        shutil.rmtree(home, ignore_errors=True)


def test_server_without_root():
    """All of drover as an ordinary user."""
    home = private_dir()
    for p in BIN.glob("drover*"):
        if p.is_file():
            shutil.copy2(p, home / p.name)
    os.chown(home, 61237, 61237)
    s = Server(home / "state", programs=home,
               popen={"user": 61237, "group": 61237, "extra_groups": [], "cwd": "/"})
    try:
        s.start()
        engine = s.get("instances")[0]["status"]["agent"]["engines"]
        process = next(e for e in engine if e["name"] == "process")
        if not process["available"]:
            pytest.skip(f"this machine forbids it: {process['message']}")
        s.apply(run_object("hello", ["echo hello"], resources={"cpu": "0.."}))
        s.wait("run/hello", "phase=Done")
        assert s.drover("logs", "hello").stdout == "hello\n"
    finally:
        s.stop()
        shutil.rmtree(home, ignore_errors=True)


def test_addresses(agent):
    """Every address that the machine has, none of the loopback."""
    got = agent.server.get("instance", agent.name)["status"]["agent"]["addresses"]
    assert not any(a.startswith(("127.", "::1", "169.254.", "fe80")) for a in got)
    out = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    want = [a for a in out if not a.startswith(("172.17.", "fe80"))]
    assert {a.split("/")[0] for a in got} >= set(want[:1])
    assert all("/" in a for a in got)


def test_a_fleet_that_is_deleted_takes_nothing_new(server):
    """Neither a machine with a token that is still good, nor a job."""
    late = Agent(server, "late")
    local = {"apiVersion": "drover.dev/v1", "kind": "Fleet", "metadata": {
        "name": "local", "finalizers": ["example.com/hold"]}, "spec": {}}
    try:
        server.apply(local)
        server.drover("delete", "--no-wait", "fleet/local")
        wait_until(lambda: [i["status"].get("reason") for i in server.get("instances")] ==
                   ["FleetDeleted"], 30, "the word of its end")
        server.apply(run_object("after", ["true"]))
        wait_until(lambda: "NoInstances" in json.dumps(server.get("run", "after")), 30,
                   "the run's reason")
        late.process = subprocess.Popen(late.argv, stderr=subprocess.STDOUT,
                                        stdout=open(late.home / "log", "ab"))
        wait_until(lambda: "is being deleted" in (late.home / "log").read_text(), 30, "the refusal")
        assert len(server.get("instances")) == 1
        local["metadata"]["finalizers"] = []
        server.apply(local, check=False)
        wait_until(lambda: server.drover("get", "fleet/local", check=False).returncode == 3, 30,
                   "the end")
    finally:
        late.end()
