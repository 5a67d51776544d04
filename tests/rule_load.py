# SPDX-License-Identifier: Apache-2.0
"""The load under which the API loop has to stay quick, all at once and over TLS: a Table of
everything as kubectl asks for it, server-side applies of a large object, and reconnecting
clients. Used by the test of the loop rule and by hack/bench api."""
import contextlib
import http.client
import json
import multiprocessing
import socket
import ssl
import time

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
RUNS = "/apis/drover.dev/v1/namespaces/default/runs"
WIDTH = 125  # the server gives a new connection some seconds to ask for something
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class Target:
    def __init__(self, port, token):
        self.port, self.token = port, token
        self.context = ssl._create_unverified_context()

    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=120, context=self.context)

    def request(self, conn, method, path, body=None, **headers):
        conn.request(method, path, body, {"Authorization": "Bearer " + self.token,
                                          **{k.replace("_", "-"): v for k, v in headers.items()}})
        r = conn.getresponse()
        size = 0
        first = b""
        while piece := r.read(1 << 16):
            size += len(piece)
            first = first or piece
        if r.status >= 300:
            raise AssertionError(f"{method} {path}: {r.status} {first[:300]}")
        return size

    def raw(self, path):
        return (f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                f"{self.token}\r\n\r\n").encode()

    def metrics(self):
        with contextlib.closing(self.connect()) as c:
            c.request("GET", "/metrics", headers={"Authorization": "Bearer " + self.token})
            lines = c.getresponse().read().decode().splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines
                if line.startswith("drover_loop")}


def fill(target, n):
    """n ConfigMaps, by a few connections."""
    def some(first, last):
        with contextlib.closing(target.connect()) as c:
            for i in range(first, last):
                target.request(c, "POST", CONFIGMAPS, json.dumps(
                    {"metadata": {"name": f"row-{i:06}"}, "data": {"k": f"v{i}"}}),
                    Content_Type="application/json")
    together([lambda i=i: some(n * i // 4, n * (i + 1) // 4) for i in range(4)])


def together(functions):
    """Each in a process of its own: they must not wait for each other in the interpreter."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=fn) for fn in functions]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    assert [p.exitcode for p in processes] == [0] * len(processes), "a client failed, see above"


def table(target, times):
    with contextlib.closing(target.connect()) as c:
        for _ in range(times):
            target.request(c, "GET", CONFIGMAPS, Accept=TABLE)


def applies(target, size, times):
    """The object's values change each time; its size is that of the body."""
    with contextlib.closing(target.connect()) as c:
        for i in range(times):
            env = {f"KEY_{k:03}": f"{i:08}" + "x" * (size // 990 - 40) for k in range(990)}
            body = {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": "large"},
                    "spec": {"type": "task", "commands": ["true"], "desiredState": "Stopped", "env": env}}
            target.request(c, "PATCH", RUNS + "/large?fieldManager=load&force=true",
                           json.dumps(body), Content_Type="application/apply-patch+yaml")


class Client:
    """One that comes back: its first words are ready before it connects, so that a crowd
    of them speaks at once."""

    def __init__(self, target):
        self.target, self.got = target, b""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = target.context.wrap_bio(self.incoming, self.outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.target.port), timeout=120)
        # As real clients do; otherwise a request waits 40 ms for a delayed ACK.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say(self):
        self.socket.sendall(self.outgoing.read())

    def shake(self):
        while True:
            try:
                return self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.say()
                self.hear()

    def hear(self):
        more = self.socket.recv(1 << 16)
        assert more, "the server ended the connection"
        self.incoming.write(more)

    def answer(self, request):
        self.tls.write(request)
        self.say()
        while True:
            try:
                return self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self.hear()


def reconnects(target, n):
    """n new connections with a request each, WIDTH at a time."""
    request = target.raw(CONFIGMAPS + "/row-000000")
    while n > 0:
        crowd = [Client(target) for _ in range(min(n, WIDTH))]
        n -= len(crowd)
        for step in (Client.connect, Client.say, Client.shake):
            for c in crowd:
                step(c)
        for c in crowd:
            assert b" 200 " in c.answer(request)
        for c in crowd:
            c.socket.close()


class Probe:
    """A client that asks for one small object every few milliseconds; ms: what it waited, late:
    how much longer than asked for it slept, which is the machine's doing."""

    def __init__(self, target, every=0.005):
        self.target, self.every, self.ms, self.late = target, every, [], []
        fork = multiprocessing.get_context("fork")
        self.ours, theirs = fork.Pipe()
        self.process = fork.Process(target=self.run, args=(theirs,))

    def run(self, pipe):
        request, ms, late = self.target.raw(CONFIGMAPS + "/row-000000"), [], []
        with socket.create_connection(("127.0.0.1", self.target.port)) as plain, \
                self.target.context.wrap_socket(plain) as s:
            while True:
                t0 = time.monotonic()
                if pipe.poll(self.every):
                    break
                late.append((time.monotonic() - t0 - self.every) * 1000)
                t0 = time.monotonic()
                s.sendall(request)
                got = s.recv(1 << 16)
                while not got.rstrip().endswith(b"}"):
                    got += s.recv(1 << 16)
                ms.append((time.monotonic() - t0) * 1000)
        pipe.send((sorted(ms), sorted(late)))

    def __enter__(self):
        self.process.start()
        return self

    def __exit__(self, *_):
        self.ours.send("end")
        self.ms, self.late = self.ours.recv()
        self.process.join()

    def percentile(self, p):
        return self.ms[min(len(self.ms) - 1, int(len(self.ms) * p))]

    def machine(self, p):
        return self.late[min(len(self.late) - 1, int(len(self.late) * p))]


def all_at_once(target, tables, large, apply_times, connections):
    """The load of the loop rule; the probe that ran beside it."""
    with Probe(target) as probe:
        together([lambda: table(target, tables), lambda: applies(target, large, apply_times),
                  lambda: reconnects(target, connections // 2),
                  lambda: reconnects(target, connections - connections // 2)])
    return probe
