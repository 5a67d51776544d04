# SPDX-License-Identifier: Apache-2.0
"""A recording HTTPS proxy: a client talks to it as to the server, and every request is noted as
the line of a trace: method, path, options, status, Accept and Content-Type, without what differs
from run to run. It serves with the server's own certificate, so clients need no other trust."""
import http.client
import http.server
import re
import ssl
import threading
import urllib.parse

KINDS_OF_BODY = {
    "application/json": "json", "application/merge-patch+json": "merge",
    "application/json-patch+json": "jsonpatch", "application/apply-patch+yaml": "apply",
    "application/strategic-merge-patch+json": "SMP",
    "application/vnd.kubernetes.protobuf": "PROTOBUF"}
VARYING = {"timeoutSeconds": "N", "continue": "TOK", "hash": "H"}
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "te", "upgrade"}


def accept_name(value):
    if value is None:
        return "-"
    value = value.replace(" ", "")
    if "as=Table" in value:
        return "T"
    if "APIGroupDiscoveryList" in value:
        return "AGG"
    return {"application/json": "J", "application/json,*/*": "J*",
            "application/vnd.kubernetes.protobuf,application/json": "PJ",
            "application/vnd.kubernetes.protobuf": "P"}.get(value, value)


def option(name, value):
    if name in VARYING:
        value = VARYING[name]
    elif name == "resourceVersion" and value not in ("", "0"):
        value = "RV"
    elif name == "fieldSelector":  # clients write its terms in any order
        value = ",".join(sorted(re.sub(r"uid=[0-9a-f-]{36}", "uid=UID", value).split(",")))
    return f"{name}={value}"


class Entry:
    def __init__(self, method, target, headers):
        self.method, self.status = method, None
        path, _, query = target.partition("?")
        self.path = path
        self.options = sorted(option(*o) for o in urllib.parse.parse_qsl(
            query, keep_blank_values=True))
        self.accept = accept_name(headers.get("Accept"))
        kind = headers.get("Content-Type")
        self.type = KINDS_OF_BODY.get(kind, kind)

    @property
    def is_watch(self):
        return "watch=true" in self.options

    def line(self, short):
        if self.path.startswith("/openapi/"):
            return "[OA3]" if self.path.startswith("/openapi/v3") else "[OA2]"
        if self.path in ("/api", "/apis") and self.method == "GET" or \
                "timeout=32s" in self.options and self.path != "/version":
            return "[DISC]"
        path = self.path
        for long, name in short:
            path = path.replace(long, name)
        options = "?" + "&".join(self.options) if self.options else ""
        body = f" CT={self.type}" if self.type else ""
        return f"{self.method} {path}{options} {self.status} A={self.accept}{body}"


class Recorder:
    """A proxy before one server. Threads of its own; close() ends it."""

    def __init__(self, host, port, certificate, key, ca):
        self.upstream = (host, port, ssl.create_default_context(cafile=str(ca)))
        self.entries, self.changed = [], threading.Condition()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={
            "poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def take(self):
        """The entries since the last call."""
        with self.changed:
            entries, self.entries = self.entries, []
        return entries

    def wait_for(self, check, timeout=30):
        with self.changed:
            return self.changed.wait_for(lambda: any(check(e) for e in self.entries), timeout)

    def handler(recorder):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                host, port, context = recorder.upstream
                self.connection_up = http.client.HTTPSConnection(host, port, context=context)

            def finish(self):
                self.connection_up.close()
                super().finish()

            def log_message(self, *_):
                pass

            def body(self):
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    data = b""
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        data += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return data
                length = int(self.headers.get("Content-Length") or 0)
                return self.rfile.read(length) if length else None

            def serve(self):
                entry = Entry(self.command, self.path, self.headers)
                with recorder.changed:
                    recorder.entries.append(entry)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP
                           and k.lower() not in ("host", "content-length", "accept-encoding")}
                self.connection_up.request(self.command, self.path, body=self.body(),
                                           headers=headers)
                reply = self.connection_up.getresponse()
                with recorder.changed:
                    entry.status = reply.status
                    recorder.changed.notify_all()
                self.relay(reply)

            def relay(self, reply):
                self.send_response_only(reply.status, reply.reason)
                for name, value in reply.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                chunked = reply.chunked
                if chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.flush()
                try:
                    while data := reply.read1(65536):
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
                    if chunked:
                        self.wfile.write(b"0\r\n\r\n")
                    reply.read()  # read1 does not notice the end: the next request needs that
                except OSError:  # the client of a watch has left
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

        class Quiet(Handler):
            def handle(self):
                try:
                    super().handle()
                except (OSError, http.client.HTTPException, ValueError):
                    pass  # either side went away

        return Quiet
