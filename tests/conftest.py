# SPDX-License-Identifier: Apache-2.0
"""Starts real servers on free loopback ports, each on its own data directory, and stops them
by pid. Tests wait on conditions (watches, files), not on sleeps."""
import contextlib
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("DROVER_BIN", ROOT / "build/release/bin")).resolve()


# Ports below the range from which the kernel takes those of connections, a part of it for each
# of several pytest workers: a port that was free here is still free when the server binds it.
_PORTS = range(12000, 32000)
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_ports = itertools.cycle(random.Random().sample(_PORTS[_WORKER % 4::4], len(_PORTS) // 4))


def free_ports(n):
    with contextlib.ExitStack() as stack:
        found = []
        while len(found) < n:
            s = stack.enter_context(socket.socket())
            port = next(_ports)
            with contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                found.append(port)
        return found


def wait_until(check, timeout=30, what="condition"):
    """Polls a cheap local check. For the API use `drover wait`, which watches."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"timed out after {timeout} s waiting for {what}")


class Server:
    """One `drover server` with its data directory."""

    def __init__(self, directory, args=(), env=None, programs=None, popen=None):
        """programs: where drover is taken from; popen: further arguments of Popen."""
        self.dir = pathlib.Path(directory)
        self.programs, self.popen = programs or BIN, popen or {}
        self.port, self.streams_port = free_ports(2)
        self.args = list(args)
        self.env = dict(os.environ, **(env or {}))
        self.log = self.dir.parent / (self.dir.name + ".log")
        self.process = None

    @property
    def kubeconfig(self):
        return self.dir / "kubeconfig"

    def start(self, timeout=60):
        mark = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "drover", "server", "--data-dir", self.dir,
                 "--listen", f"127.0.0.1:{self.port}",
                 "--streams-listen", f"127.0.0.1:{self.streams_port}", *self.args],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env, **self.popen)

        def ready():
            text = self.log.read_bytes()[mark:]
            if self.process.poll() is not None:
                raise AssertionError(f"server ended: {text.decode(errors='replace')[-4000:]}")
            return b"drover server is ready" in text

        wait_until(ready, timeout, "the server to be ready")
        if "--no-runner" not in self.args:
            wait_until(self.instance_ready, timeout, "this machine's instance to be Ready")
        return self

    def instance_ready(self):
        r = self.drover("get", "instances", "-o", "json", check=False)
        return r.returncode == 0 and any(
            i.get("status", {}).get("phase") == "Ready" and i["status"].get("agent", {}).get("engines")
            for i in json.loads(r.stdout)["items"])

    def stop(self, timeout=30):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the server did not stop on SIGTERM") from None
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def part_pid(self, name):
        """Pid of drover-<name> that serves this data directory."""
        for p in pathlib.Path("/proc").iterdir():
            if not p.name.isdigit():
                continue
            try:
                argv = (p / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argv[0].endswith(b"drover-" + name.encode()) and b"--supervise" not in argv \
                    and any(os.fsencode(self.dir) in a for a in argv[1:]):
                return int(p.name)
        return None

    def drover(self, *args, check=True, input=None, timeout=120, text=True):
        r = subprocess.run([BIN / "drover", *args], capture_output=True, text=text,
                           input=input, timeout=timeout,
                           env=dict(self.env, DROVER_CONFIG=str(self.kubeconfig)))
        if check:
            assert r.returncode == 0, f"drover {args}: {r.returncode}\n{r.stdout}\n{r.stderr}"
        return r

    def apply(self, *documents, check=True):
        text = "---\n".join(d if isinstance(d, str) else json.dumps(d) + "\n"
                            for d in documents)
        return self.drover("apply", "-f", "-", input=text, check=check)

    def get(self, kind, name=None):
        args = ["get", kind] if name is None else ["get", f"{kind}/{name}"]
        out = json.loads(self.drover(*args, "-o", "json").stdout)
        return out["items"] if name is None else out

    def wait(self, target, what, timeout="60s"):
        return self.drover("wait", target, f"--for={what}", "--timeout", timeout)


def run_object(name, commands, **spec):
    return {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": name},
            "spec": {"type": "task", "commands": commands, **spec}}


def private_dir():
    """Not under pytest's own directories: those are 0700 of a long path; sockets need short
    ones."""
    return pathlib.Path(tempfile.mkdtemp(prefix="drover-t-", dir="/tmp"))


@pytest.fixture
def workdir():
    d = private_dir()
    yield d
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def server(workdir, request):
    s = Server(workdir / "state")
    s.start()
    yield s
    try:
        s.stop()
    finally:
        if getattr(request.node, "rep_call", None) and request.node.rep_call.failed:
            print(s.log.read_text()[-8000:])


@pytest.fixture(scope="module")
def shared_server():
    d = private_dir()
    s = Server(d / "state")
    s.start()
    yield s
    s.stop()
    shutil.rmtree(d, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "rep_" + report.when, report)
