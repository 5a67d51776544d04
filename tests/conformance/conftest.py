# SPDX-License-Identifier: Apache-2.0
"""A drover-apiserver of its own for the conformance tests, and the real kubectl binaries."""
import os
import pathlib
import signal
import subprocess
import threading

import pytest

from http_api import Api

LONG = os.environ.get("DROVER_LONG") == "1"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def program(name):
    """The built program: DROVER_BIN, else the newest of the build trees."""
    if "DROVER_BIN" in os.environ:
        return pathlib.Path(os.environ["DROVER_BIN"]) / name
    found = sorted(ROOT.glob(f"build/*/bin/{name}"), key=lambda p: p.stat().st_mtime)
    if not found:
        pytest.exit(f"{name} is not built: run hack/test build", returncode=2)
    return found[-1]


class Server:
    """One API server process; ready when its log says that it serves."""

    def __init__(self, path, *args):
        self.path = path
        self.kubeconfig = path / "data" / "kubeconfig"
        read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            [program("drover-apiserver"), "--data-dir", path / "data",
             "--listen", "127.0.0.1:0", "--unix-socket", path / "api.sock", *args],
            stderr=write_end, stdin=subprocess.DEVNULL)
        os.close(write_end)
        self.serving = threading.Event()
        self.reader = threading.Thread(target=self.read, args=(read_end,))
        self.reader.start()
        if not self.serving.wait(60) or self.process.poll() is not None:
            self.process.kill()
            raise RuntimeError((path / "log").read_text())

    def read(self, stderr):
        """Takes the log to its end: a full pipe would hold the server up."""
        with os.fdopen(stderr, "rb", buffering=0) as lines, open(self.path / "log", "wb") as log:
            for line in iter(lines.readline, b""):
                log.write(line)
                log.flush()
                if b'"serving"' in line:
                    self.serving.set()
        self.serving.set()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        self.reader.join(20)
        return status


@pytest.fixture(scope="session")
def clients():
    """Name -> path; what could not be fetched is missing, its tests are skipped."""
    out = subprocess.run([ROOT / "hack/fetch-clients"], check=True, stdout=subprocess.PIPE,
                         text=True)
    return dict(line.split(None, 1) for line in out.stdout.splitlines())


# What talks plain HTTP runs on both stores.
ON_BOTH_STORES = {"test_verbs", "test_lists_and_watches", "test_apply", "test_builtin_kinds",
                  "test_machinery"}
# So does this with DROVER_LONG=1: nothing in it knows of the store.
ON_BOTH_STORES_LONG = {"test_crd_tables"}


def pytest_generate_tests(metafunc):
    names = ON_BOTH_STORES | (ON_BOTH_STORES_LONG if LONG else set())
    if metafunc.module.__name__ in names and "server" in metafunc.fixturenames:
        metafunc.parametrize("server", ["files", "etcd"], indirect=True, scope="session")


class Etcd:
    def __init__(self):
        out = subprocess.run([ROOT / "hack/etcd-up"], check=True, stdout=subprocess.PIPE, text=True)
        facts = dict(line.split("=", 1) for line in out.stdout.splitlines())
        self.dir, self.endpoints = facts["dir"], facts["endpoints"]

    def stop(self):
        subprocess.run([ROOT / "hack/etcd-up", "--stop", self.dir], check=True)


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """The servers of this run, one per store, started when first asked for."""
    running, etcds = {}, []

    def get(store):
        if store not in running:
            args = []
            if store == "etcd":
                etcds.append(Etcd())
                args = ["--store", "etcd", "--etcd-endpoints", etcds[0].endpoints]
            running[store] = Server(tmp_path_factory.mktemp("apiserver"), *args)
        return running[store]

    yield get
    try:
        stopped = [s.stop() for s in running.values()]
    finally:
        for e in etcds:
            e.stop()
    assert stopped == [0] * len(running)


@pytest.fixture(scope="session")
def server(request, servers):
    return servers(getattr(request, "param", "files"))


class Kubectl:
    """One kubectl version against the server, in a namespace of its own."""

    def __init__(self, path, version, server, home, namespace):
        self.path, self.version, self.namespace = path, version, namespace
        self.home = home
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home),
                    "KUBECONFIG": str(server.kubeconfig)}

    def start(self, *args, **kwargs):
        return subprocess.Popen(
            [self.path, "-n", self.namespace, *args], env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)

    def run(self, *args, text=None, env=None):
        return subprocess.run(
            [self.path, "-n", self.namespace, *args], env={**self.env, **(env or {})}, text=True,
            input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)

    def __call__(self, *args, text=None, env=None):
        r = self.run(*args, text=text, env=env)
        assert r.returncode == 0, f"kubectl {' '.join(map(str, args))}: {r.stdout}"
        return r.stdout

    def fails(self, *args, text=None):
        r = self.run(*args, text=text)
        assert r.returncode != 0, f"kubectl {' '.join(map(str, args))} succeeded: {r.stdout}"
        return r.stdout

    @property
    def is_old(self):
        return self.version == "1.20"


NAMESPACES = iter(range(10000))


VERSIONS = ["1.20", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35"]


@pytest.fixture(params=VERSIONS if LONG else ["1.20", "1.34"])
def kubectl(request, clients, server, tmp_path_factory):
    if request.param not in clients:
        pytest.skip(f"kubectl {request.param} could not be fetched")
    home = tmp_path_factory.mktemp("home")
    k = Kubectl(clients[request.param], request.param, server, home, f"t{next(NAMESPACES)}")
    k("apply", "-f", "-", text=f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {k.namespace}}}
""")
    return k


@pytest.fixture
def api(server):
    """Plain HTTP in a namespace of its own."""
    a = Api(server.kubeconfig, f"t{next(NAMESPACES)}")
    a("POST", "/api/v1/namespaces", want=201, body={"metadata": {"name": a.namespace}})
    return a
