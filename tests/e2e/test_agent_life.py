# SPDX-License-Identifier: Apache-2.0
"""An agent is upgraded under a running job, dies with an interruptible job, leaves its
machine."""
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from conftest import BIN, Server, private_dir, run_object, wait_until


class Agent:
    """A second machine: a copy of the program, its own directory."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.home = private_dir()
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
                                        stdout=open(self.home / "log", "ab"))
        wait_until(lambda: self.server.drover("get", f"instance/{self.name}",
                                              check=False).returncode == 0, 30, "enrolment")
        self.server.wait(f"instance/{self.name}", "phase=Ready")

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        subprocess.run([self.program, "--uninstall", "--force", "--dir", self.dir],
                       check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def uninstall(self, *args):
        return subprocess.run([self.program, "--uninstall", "--dir", self.dir, *args],
                              capture_output=True, text=True, timeout=60)


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


def test_addresses(agent):
    """Every address that the machine has, none of the loopback."""
    got = agent.server.get("instance", agent.name)["status"]["agent"]["addresses"]
    assert not any(a.startswith(("127.", "::1", "169.254.", "fe80")) for a in got)
    out = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    want = [a for a in out if not a.startswith(("172.17.", "fe80"))]
    assert {a.split("/")[0] for a in got} >= set(want[:1])
    assert all("/" in a for a in got)
