# SPDX-License-Identifier: Apache-2.0
"""What must hold of the API server's sockets whatever libmicrohttpd does: populations of every
size in lock step are answered, with and without TLS; departed watchers are gone at once; a
handshake that waits does not keep the server busy."""
import contextlib
import json
import os
import pathlib
import re
import select
import socket
import ssl
import subprocess
import time

import pytest

from conftest import BIN, free_ports, wait_until

SIZES = [64, 127, 128, 129, 256, 512, 1000]
WATCHED = SIZES if os.environ.get("DROVER_LONG") == "1" else [127, 128, 256]
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


class Front:
    def __init__(self, directory, tls):
        self.dir, self.tls, self.port = directory, tls, free_ports(1)[0]
        args = [BIN / "drover-apiserver", "--data-dir", directory, "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(args + ([] if tls else ["--insecure-listen"]),
                                        stderr=subprocess.DEVNULL)
        wait_until(self.ready, 60, "the server to be ready")
        self.token = (directory / "admin.token").read_text().strip()

    def ready(self):
        assert self.process.poll() is None
        try:
            return (self.dir / "admin.token").exists() and b"200" in self.get("/readyz")
        except OSError:
            return False

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        if self.tls:
            context = ssl.create_default_context(cafile=self.dir / "keys/ca.crt")
            s = context.wrap_socket(s, server_hostname="127.0.0.1")
        return s

    def request(self, path, token=""):
        return (f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n").encode()

    def get(self, path, token="", end=b"\r\n\r\n"):
        with contextlib.closing(self.connect()) as s:
            s.sendall(self.request(path, token))
            got = s.recv(65536)
            while end not in got and (more := s.recv(65536)):
                got += more
            return got

    def revision(self):
        got = self.get(CONFIGMAPS + "?limit=1", self.token, b"]}")
        return json.loads(got.split(b"\r\n\r\n", 1)[1])["metadata"]["resourceVersion"]

    def create(self, name, value="v", labels=None):
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": value},
                           "metadata": {"name": name, "labels": labels or {}}}).encode()
        with contextlib.closing(self.connect()) as w:
            w.sendall(f"POST {CONFIGMAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\n"
                      f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert b" 201 " in w.recv(65536)

    def metric(self, name):
        with contextlib.closing(self.connect()) as s:
            s.sendall(self.request("/metrics", self.token))
            got = s.recv(1 << 20)
            length = int(re.search(rb"Content-Length: (\d+)", got)[1])
            while len(got.split(b"\r\n\r\n", 1)[1]) < length:
                got += s.recv(1 << 20)
        return float(re.search(rf"^{name} (\S+)$".encode(), got, re.M)[1])

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(params=["plain", "tls"])
def front(request, tmp_path):
    f = Front(tmp_path / "data", request.param == "tls")
    yield f
    f.stop()


def answers(socks, timeout=30, end=b""):
    """Waits until each has said something that ends so; what they said."""
    left, got, until = set(socks), {}, time.monotonic() + timeout
    poll = select.poll()
    by_fd = {s.fileno(): s for s in socks}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    while left:
        ready = poll.poll(max(0, (until - time.monotonic()) * 1000))
        assert ready, f"{len(left)} of {len(socks)} connections were never answered"
        for fd, _ in ready:
            s = by_fd[fd]
            got[s] = s.recv(65536)
            while not got[s].endswith(end):  # the next record is there or under way
                got[s] += s.recv(65536)
            left.discard(s)
    return list(got.values())


@pytest.mark.parametrize("n", SIZES)
def test_populations_in_lock_step(front, n):
    """All connections are ready at the same moment, twice: the way MHD's epoll loop stalls."""
    socks = [front.connect() for _ in range(n)]
    try:
        for _ in range(2):
            front.process.send_signal(19)  # SIGSTOP: what comes meanwhile is ready at once
            for s in socks:
                s.sendall(front.request("/livez"))
            front.process.send_signal(18)
            wrong = [text for text in answers(socks, end=b"ok") if b" 200 " not in text]
            assert wrong == []
        if n not in WATCHED:
            return
        # The same for watches: their requests, an event for all of them, and their end.
        idle = front.metric("drover_http_open_requests")
        rv = front.revision()
        front.process.send_signal(19)
        for s in socks:
            s.sendall(front.request(f"{CONFIGMAPS}?watch=true&resourceVersion={rv}", front.token))
        front.process.send_signal(18)
        assert [text for text in answers(socks) if b" 200 " not in text] == []
        front.create("event")
        assert [text for text in answers(socks, end=b"}\n\r\n") if b'"ADDED"' not in text] == []
        for s in socks:
            s.close()
        wait_until(lambda: front.metric("drover_http_open_requests") <= idle, 30, "the watchers to go")
    finally:
        for s in socks:
            s.close()


def test_departed_watchers_are_gone_at_once(front):
    path = "/api/v1/namespaces?watch=true&resourceVersion=0"
    idle = front.metric("drover_http_open_requests")
    socks = [front.connect() for _ in range(300)]
    for s in socks:
        s.sendall(front.request(path, front.token))
    answers(socks)
    assert front.metric("drover_http_open_requests") >= idle + 300
    for s in socks[:150]:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset
    for s in socks:
        s.close()
    # No event and no heartbeat flows, and idle ones would stay for two minutes: they are noticed.
    wait_until(lambda: front.metric("drover_http_open_requests") <= idle, 20, "the watchers to go")


def test_waiting_handshakes_do_not_spin(tmp_path):
    f = Front(tmp_path / "data", True)
    socks = [socket.create_connection(("127.0.0.1", f.port)) for _ in range(20)]
    try:
        before, start = f.metric("drover_loop_turns_total"), time.monotonic()
        hello = ssl.create_default_context(cafile=f.dir / "keys/ca.crt")
        for s in socks:  # a ClientHello each, and then nothing
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            half = hello.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            with contextlib.suppress(ssl.SSLWantReadError):
                half.do_handshake()
            s.sendall(outgoing.read())
        answers(socks)
        time.sleep(0.5)
        # Waiting costs a look every 2 ms; spinning would be some hundred thousand turns.
        turns, seconds = f.metric("drover_loop_turns_total") - before, time.monotonic() - start
        assert turns < 2000 + 1000 * seconds
    finally:
        for s in socks:
            s.close()
        f.stop()


def test_one_event_is_written_once_and_reaches_all(front):
    """Watchers in several representations and with a label selector: each gets its own."""
    path, rv = CONFIGMAPS + "?watch=true&resourceVersion=", front.revision()
    kinds = [("", b'"kind":"ConfigMap"'), ("&labelSelector=team%3Dred", b'"kind":"ConfigMap"'),
             ("&labelSelector=team%3Dblue", None)]
    socks = [front.connect() for _ in range(60)]
    for i, s in enumerate(socks):
        s.sendall(front.request(path + rv + kinds[i % 3][0], front.token))
    answers(socks)
    front.create("c", labels={"team": "red"})
    wanted = [s for i, s in enumerate(socks) if kinds[i % 3][1] is not None]
    assert all(b'"type":"ADDED"' in text and b'"team":"red"' in text for text in answers(wanted, end=b"}\n\r\n"))
    assert select.select([s for s in socks if s not in wanted], [], [], 0.2)[0] == []
    for s in socks:
        s.close()


def test_lists_have_a_known_length(front):
    """A large list is not chunked: one pass over what is there, in blocks."""
    for i in range(30):
        front.create(f"big-{i}", "x" * 30000)
    got = front.get(CONFIGMAPS, front.token, b"]}")
    head, body = got.split(b"\r\n\r\n", 1)
    assert b"transfer-encoding" not in head.lower()
    assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body) > 900000


def test_no_thread_of_mhd(front):
    """It is run by our loop only; its own threads stall and would need locks."""
    socks = [front.connect() for _ in range(100)]
    for s in socks:
        s.sendall(front.request("/livez"))
    answers(socks, end=b"ok")
    tasks = pathlib.Path(f"/proc/{front.process.pid}/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()]
    assert not [name for name in names if name.lower().startswith("mhd")] and len(names) < 20, names
    for s in socks:
        s.close()
