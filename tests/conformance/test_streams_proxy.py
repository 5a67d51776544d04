# SPDX-License-Identifier: Apache-2.0
"""The API port hands requests for streams.drover.dev to the streams program, as they are."""
import http.client
import http.server
import pathlib
import socket
import socketserver
import threading

import pytest
from conftest import Server

LOG = "/apis/streams.drover.dev/v1/namespaces/default/jobs/j/log"
BIG = 64 << 20


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.unix_path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.unix_path)


class Upstream(http.server.BaseHTTPRequestHandler):
    """Stands where drover-streams is."""
    protocol_version = "HTTP/1.1"
    more = threading.Event()
    departed = threading.Event()
    sent = 0

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_GET(self):
        if "missing" in self.path:
            body = b'{"kind":"Status","code":404}'
            self.send_response(404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if "big" in self.path:
            for _ in range(BIG >> 16):
                self.chunk(bytes(1 << 16))
                type(self).sent += 1 << 16
        else:
            self.chunk(f"{self.path} {self.headers['Authorization']}\n".encode())
            try:
                while not self.more.wait(0.05):
                    self.chunk(b".")  # until the other side has gone
            except OSError:
                self.departed.set()
                return
            self.chunk(b"last\n")
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = b"got %d" % len(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        request, _ = super().get_request()
        return request, ("unix", 0)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    path = tmp_path_factory.mktemp("proxy")
    upstream = UnixServer(str(path / "streams.sock"), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    server = Server(path, "--streams-socket", path / "streams.sock")
    yield server
    assert server.stop() == 0
    upstream.shutdown()
    upstream.server_close()


def ask(server, method, path, body=None):
    c = UnixConnection(server.path / "api.sock")
    token = (server.path / "data/admin.token").read_text()
    c.request(method, path, body, {"Authorization": f"Bearer {token}"})
    return c, c.getresponse(), token


def rss(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def test_what_comes_is_passed_on_at_once(proxied):
    c, r, token = ask(proxied, "GET", LOG + "?follow=true&x=%20y")
    assert r.status == 200 and r.getheader("Content-Type") == "text/plain"
    assert r.readline().decode() == f"{LOG}?follow=true&x=%20y Bearer {token}\n"
    Upstream.more.set()
    assert r.read().endswith(b"last\n")
    Upstream.more.clear()
    c.close()


def test_a_client_that_leaves_ends_the_request_upstream(proxied):
    Upstream.departed.clear()
    c, r, _ = ask(proxied, "GET", LOG + "?follow=true")
    assert r.readline()
    r.close()
    c.close()
    assert Upstream.departed.wait(20)


def test_the_upstream_is_read_as_fast_as_the_client_takes(proxied):
    before = rss(proxied)
    c, r, _ = ask(proxied, "GET", LOG + "?big=1")
    first = r.read(1 << 20)
    held = Upstream.sent
    assert rss(proxied) - before < 16 << 20
    assert held < BIG, "all of it was taken from the upstream before the client asked"
    total = len(first)
    while data := r.read(1 << 20):
        total += len(data)
    assert total == BIG
    c.close()


def test_refusals_and_bodies(proxied):
    c, r, _ = ask(proxied, "GET", LOG + "?missing=1")
    assert r.status == 404 and b'"code":404' in r.read()
    c.close()
    c, r, _ = ask(proxied, "POST", LOG, b"x" * 100000)
    assert r.status == 200 and r.read() == b"got 100000"
    c.close()
    c = UnixConnection(proxied.path / "api.sock")
    c.request("GET", LOG)
    assert c.getresponse().status == 401
    c.close()


def test_no_streams_program(server):
    c, r, _ = ask(server, "GET", LOG)
    assert r.status == 404
    c.close()
