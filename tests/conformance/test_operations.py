# SPDX-License-Identifier: Apache-2.0
"""Running the API server: certificates, audit log, limits, health, metrics, shutdown."""
import datetime
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import pytest

from conftest import program
from http_api import Api

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: None, nonResourceURLs: [/version]}
- {level: Request, resources: [{group: '', resources: [events]}]}
- {level: RequestResponse, omitManagedFields: true}
"""


def wait_until(check, what, timeout=30):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"timed out waiting for {what}")


class ApiServer:
    """drover-apiserver on a directory of its own, its log in a file."""

    def __init__(self, directory):
        self.dir = directory
        self.data = directory / "data"
        self.log = directory / "log"
        self.port = 0
        self.process = None

    def start(self, *args):
        mark = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [program("drover-apiserver"), "--data-dir", self.data, "--listen",
                 f"127.0.0.1:{self.port}", "--unix-socket", self.dir / "api.sock",
                 "--control-socket", self.dir / "ctl", *args],
                stderr=log, stdin=subprocess.DEVNULL)

        def serving():
            text = self.log.read_bytes()[mark:]
            assert self.process.poll() is None, text.decode(errors="replace")
            return b"serving" in text
        wait_until(serving, "the server")
        self.api = Api(self.data / "kubeconfig", "default")
        self.port = self.api.port
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def audit(self):
        path = self.data / "audit/audit.log"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def user(self, name, groups=""):
        """A token file for one user who may do everything but is not in system:masters."""
        token = f"secret-of-{name}"
        digest = hashlib.blake2b(token.encode(), digest_size=32).hexdigest()
        path = self.dir / "tokens"
        path.write_text(f"{digest} {name} {groups or 'devs'}\n")
        path.chmod(0o600)
        return token, path

    def bind(self, name):
        self.api("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", want=201, body={
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": f"all-{name}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User",
                          "name": name}]})


@pytest.fixture
def server():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="drover-ops-", dir="/tmp"))
    s = ApiServer(directory)
    yield s
    if s.process is not None and s.process.poll() is None:
        assert s.stop() == 0, s.log.read_text()[-4000:]
    shutil.rmtree(directory, ignore_errors=True)


def as_user(token):
    return {"Authorization": f"Bearer {token}"}


# --- health, ids, metrics -----------------------------------------------------------------


def test_health_in_the_fields_words(server):
    api = server.start().api
    nobody = {"Authorization": None}
    for path in ("/livez", "/readyz", "/healthz", "/livez/ping", "/readyz/started"):
        r = api("GET", path, want=200, headers=nobody)
        assert r.body == b"ok" and r.type == "text/plain; charset=utf-8", path
    assert api("GET", "/livez?verbose", want=200).body.decode() == (
        "[+]ping ok\n[+]log ok\n[+]store ok\nlivez check passed\n")
    text = api("GET", "/readyz?verbose&exclude=store&exclude=x", want=200).body.decode()
    assert "[+]store excluded: ok\n" in text and text.endswith("readyz check passed\n")
    assert 'cannot be excluded: no matches for "x"' in text
    api("GET", "/livez/none", want=404)
    api("GET", "/livez/shutdown", want=404)
    api("GET", "/livezz", headers=nobody, want=401)
    for path in ("/readyz/controllers", "/livez/disk"):  # no reason to take a server away
        api("GET", path, want=404)
    version = api("GET", "/version", want=200, headers=nobody).json
    assert {"major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion",
            "compiler", "platform"} <= set(version)


def test_health_of_the_controllers(server):
    """Judged by their Lease, and never by the health of the API server itself."""
    api = server.start().api
    leases = "/apis/coordination.k8s.io/v1/namespaces/drover-system/leases"
    lease = {"metadata": {"name": "drover-controllers-run"}}

    def answer():
        r = api("GET", "/healthz/controllers", headers={"Authorization": None})
        return r.status, r.body.decode()

    def metric():
        text = api("GET", "/metrics", want=200).body.decode()
        return 'kubernetes_healthcheck{name="controllers",type="healthz"} 1' in text

    assert answer() == (500, "internal server error: no controllers have ever been at work\n")
    assert not metric()
    now = datetime.datetime.now(datetime.timezone.utc)
    lease["spec"] = {"holderIdentity": "me", "leaseDurationSeconds": 3600,
                     "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    api("POST", leases, body=lease, want=201)
    assert answer() == (200, "ok") and metric()
    for spec in ({"leaseDurationSeconds": 15, "renewTime": "2020-01-01T00:00:00.000000Z"},
                 {"holderIdentity": ""}):
        api("PATCH", f"{leases}/drover-controllers-run", want=200, body={"spec": spec},
            type="application/merge-patch+json")
        status, text = answer()
        assert status == 500 and '"drover-controllers-run"' in text and "not at work" in text
    assert not metric()
    r = subprocess.run([program("drover"), "queue", "--kubeconfig", server.data / "kubeconfig"],
                       capture_output=True, text=True, timeout=30)
    assert r.returncode == 0 and r.stderr.startswith("warning: the Lease"), r
    for path in ("/livez", "/readyz", "/healthz"):
        api("GET", path, want=200)


def test_request_ids(server):
    api = server.start("--log-level", "http=debug", "--log-format", "json").api
    assert api("GET", "/api", headers={"Audit-ID": "mine-1"}).headers["Audit-Id"] == "mine-1"
    bad = api("GET", "/api", headers={"Audit-ID": 'a" level=err'}).headers["Audit-Id"]
    assert re.fullmatch(r"[0-9a-f-]{36}", bad)
    refused = api("GET", "/api", headers={"Authorization": "Bearer wrong", "Audit-ID": "mine-2"},
                  want=401)
    assert refused.headers["Audit-Id"] == "mine-2"

    def lines():
        found = [json.loads(x) for x in server.log.read_text().splitlines()]
        return {x["id"]: x for x in found if "id" in x}
    wait_until(lambda: "mine-2" in lines(), "the line of the request")
    assert lines()["mine-1"] | {"ts": "", "ms": "", "peer": ""} == {
        "ts": "", "level": "debug", "program": "drover-apiserver", "module": "http",
        "msg": "request", "id": "mine-1", "method": "GET", "path": "/api", "user": "admin",
        "peer": "", "status": "200", "reason": "-", "ms": ""}
    assert lines()["mine-2"]["reason"] == "Unauthorized"


def test_metrics_have_the_fields_names(server):
    api = server.start().api
    api("POST", api.configmaps, want=201, body={"metadata": {"name": "a"}})
    api("PATCH", api.configmaps + "/b", want=201, type="application/apply-patch+yaml",
        body="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n", fieldManager="x")
    watch = api.watch(api.configmaps)
    watch.next()
    text = api("GET", "/metrics", want=200).body.decode()
    api("GET", "/metrics", want=401, headers={"Authorization": "Bearer x"})
    watch.close()
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name not in samples, f"twice: {name}"
            samples[name] = float(value)
    labels = ('dry_run="",group="",version="v1",resource="configmaps",subresource="",'
              'scope="{}",component="apiserver"')
    for verb, scope, code in (("POST", "namespace", 201), ("APPLY", "resource", 201),
                              ("WATCH", "namespace", 200)):
        of = f'verb="{verb}",' + labels.format(scope)
        assert samples[f'apiserver_request_total{{{of},code="{code}"}}'] == 1
        if verb != "WATCH":
            assert samples[f"apiserver_request_duration_seconds_count{{{of}}}"] == 1
            assert samples[f'apiserver_request_duration_seconds_bucket{{{of},le="+Inf"}}'] == 1
    assert samples['apiserver_storage_objects{resource="configmaps"}'] == 2
    assert samples['apiserver_longrunning_requests{verb="WATCH"}'] == 1
    assert samples['apiserver_registered_watchers{group="",version="v1",kind="ConfigMap"}'] == 1
    assert samples['apiserver_current_inflight_requests{request_kind="readOnly"}'] == 1
    assert samples['apiserver_dropped_requests_total{request_kind="mutating"}'] == 0
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                 "process_max_fds", "process_start_time_seconds", "drover_store_revision",
                 "drover_tls_certificate_expiry_seconds", "drover_loop_lag_seconds_count"):
        assert samples[name] > 0, name
    assert abs(samples["process_start_time_seconds"] - time.time()) < 600


# --- certificates -------------------------------------------------------------------------


def presented(port):
    return ssl.get_server_certificate(("127.0.0.1", port))


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def authority(where, name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", f"/CN={name}", "-keyout", where / f"{name}.key",
            "-out", where / f"{name}.crt")


def sign(where, ca, name, subject, extension):
    (where / "ext").write_text(extension)
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
            subject, "-keyout", where / f"{name}.key", "-out", where / f"{name}.csr")
    openssl("x509", "-req", "-in", where / f"{name}.csr", "-CA", where / f"{ca}.crt", "-CAkey",
            where / f"{ca}.key", "-CAcreateserial", "-days", "2", "-extfile", where / "ext",
            "-out", where / f"{name}.crt")


def test_our_certificate_is_renewed_under_open_watches(server):
    api = server.start("--tls-lifetime", "6s", "--tls-san", "api.example.org,10.1.2.3").api
    first = presented(api.port)
    out = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], text=True,
                         input=first, check=True, capture_output=True).stdout
    assert "DNS:api.example.org" in out and "10.1.2.3" in out and "DNS:localhost" in out
    watch = api.watch(api.configmaps)
    wait_until(lambda: presented(api.port) != first, "a new certificate")
    # The kubeconfig of before is still good, and the watch goes on.
    api("POST", api.configmaps, want=201, body={"metadata": {"name": "a"}})
    assert [watch.next()["object"]["metadata"]["name"] for _ in range(1)] == ["a"]
    watch.close()
    assert server.stop() == 0
    # With a new name it is made anew at the start, and the CA is still the same.
    server.start("--tls-san", "other.example.org")
    api("GET", api.configmaps, want=200)


def test_a_certificate_of_ones_own_is_followed(server):
    authority(server.dir, "ca")
    for n in ("one", "two"):
        sign(server.dir, "ca", n, f"/CN={n}", "subjectAltName=IP:127.0.0.1")
    cert, key = server.dir / "tls.crt", server.dir / "tls.key"
    shutil.copy(server.dir / "one.crt", cert)
    shutil.copy(server.dir / "one.key", key)
    api = server.start("--tls-cert-file", cert, "--tls-private-key-file", key, "--tls-ca-file",
                       server.dir / "ca.crt").api
    api("GET", "/api", want=200)  # by the CA in the kubeconfig
    assert presented(api.port) == (server.dir / "one.crt").read_text()
    cert.write_text("nonsense")
    wait_until(lambda: "a changed certificate is not used" in server.log.read_text(), "a warning")
    api("GET", "/api", want=200)
    for ext in ("key", "crt"):
        os.replace(shutil.copy(server.dir / f"two.{ext}", server.dir / "tmp"),
                   server.dir / f"tls.{ext}")
    wait_until(lambda: presented(api.port) == (server.dir / "two.crt").read_text(), "the new one")
    api("GET", "/api", want=200)


def test_the_client_ca_is_followed(server):
    for ca, who in (("ca-a", "anna"), ("ca-b", "bert")):
        authority(server.dir, ca)
        sign(server.dir, ca, who, f"/CN={who}", "extendedKeyUsage=clientAuth")
    shutil.copy(server.dir / "ca-a.crt", server.dir / "clients.crt")
    api = server.start("--client-ca-file", server.dir / "clients.crt").api

    def who(name):
        context = ssl.create_default_context(cafile=server.data / "keys/ca.crt")
        context.load_cert_chain(server.dir / f"{name}.crt", server.dir / f"{name}.key")
        c = http.client.HTTPSConnection("127.0.0.1", api.port, context=context, timeout=20)
        try:
            c.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=json.dumps(
                {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}))
            r = c.getresponse()
            body = json.loads(r.read())
            return body["status"]["userInfo"]["username"] if r.status == 201 else r.status
        except (ssl.SSLError, OSError):
            return "refused"
        finally:
            c.close()
    assert who("anna") == "anna"
    assert who("bert") in (401, "refused")
    os.replace(server.dir / "ca-b.crt", server.dir / "clients.crt")
    wait_until(lambda: who("bert") == "bert", "the new CA")
    assert who("anna") in (401, "refused")


# --- audit --------------------------------------------------------------------------------


def test_audit(server):
    policy = server.dir / "policy.yaml"
    policy.write_text(POLICY)
    token, tokens = server.user("jane")
    api = server.start("--audit-policy-file", policy, "--token-auth-file", tokens).api
    server.bind("jane")
    api("POST", api.configmaps, want=201, body={"metadata": {"name": "a"}, "data": {"k": "v"}},
        headers={"Audit-ID": "create-a", **as_user(token)})
    api("GET", api.configmaps + "/none", want=404, headers={"Audit-ID": "get-none"})
    api("GET", "/api", want=401, headers={"Audit-ID": "who", "Authorization": "Bearer zzz"})
    api("GET", api.configmaps, want=200, headers={"Audit-ID": "as", "Impersonate-User": "bob",
                                                  "Impersonate-Group": "system:masters"})
    api("POST", api.secrets, want=201, headers={"Audit-ID": "secret"}, body={
        "metadata": {"name": "s"}, "stringData": {"k": "hunter2-value"}})
    api("GET", "/version", want=200, headers={"Audit-ID": "version"})
    watch = api.watch(api.configmaps)
    watch.next()
    watch.close()
    mirrored = server.data / "desired/default/configmaps/a.yaml"
    wait_until(mirrored.exists, "the mirror")
    mirrored.write_text(mirrored.read_text().replace("k: v", "k: edited"))
    wait_until(lambda: api("GET", api.configmaps + "/a").json["data"]["k"] == "edited", "the edit")

    def events():
        found = {}
        for e in server.audit():
            found.setdefault(e["auditID"], []).append(e)
        return found
    wait_until(lambda: any(e["verb"] == "watch" and e["stage"] == "ResponseComplete"
                           for e in server.audit()), "the end of the watch")
    by_id = events()
    received, complete = by_id["create-a"]
    assert received["stage"] == "RequestReceived" and "responseStatus" not in received
    assert complete["stage"] == "ResponseComplete" and complete["kind"] == "Event"
    assert complete["apiVersion"] == "audit.k8s.io/v1" and complete["verb"] == "create"
    assert complete["user"] == {"username": "jane", "groups": ["devs", "system:authenticated"]}
    assert complete["sourceIPs"] == ["127.0.0.1"]
    assert complete["objectRef"] == {"resource": "configmaps", "namespace": "default", "name": "a",
                                     "apiVersion": "v1"}
    assert complete["responseStatus"]["code"] == 201
    assert complete["requestObject"]["data"] == {"k": "v"}
    assert complete["responseObject"]["metadata"]["uid"]
    assert "managedFields" not in complete["responseObject"]["metadata"]
    assert complete["requestReceivedTimestamp"] <= complete["stageTimestamp"]
    assert by_id["get-none"][1]["responseStatus"]["code"] == 404
    assert by_id["get-none"][1]["responseStatus"]["reason"] == "NotFound"
    assert by_id["who"][1]["responseStatus"]["code"] == 401
    assert by_id["as"][1]["user"]["username"] == "admin"
    assert by_id["as"][1]["impersonatedUser"]["username"] == "bob"
    assert by_id["secret"][1]["level"] == "Metadata"
    assert "version" not in by_id
    stages = [e["stage"] for e in server.audit() if e["verb"] == "watch"]
    assert stages == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    edit = [e for e in server.audit() if e["user"].get("username") == "system:files"
            and e["stage"] == "ResponseComplete"]
    assert [(e["verb"], e["objectRef"]["name"]) for e in edit] == [("patch", "a")]
    assert any(e["user"].get("username") == "system:apiserver" for e in server.audit())
    policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Everything}]\n")
    wait_until(lambda: "changed audit policy is not used" in server.log.read_text(), "a warning")
    api("GET", api.configmaps, headers={"Audit-ID": "still"})
    policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n")
    wait_until(lambda: "audit policy reloaded" in server.log.read_text(), "the new policy")
    api("GET", api.configmaps, headers={"Audit-ID": "no-more"})
    api("GET", "/metrics", want=200)
    wait_until(lambda: "still" in events(), "the request of before")
    assert "no-more" not in events()
    assert "hunter2" not in (server.data / "audit/audit.log").read_text()


def test_a_bad_policy_does_not_start(server):
    policy = server.dir / "policy.yaml"
    policy.write_text(POLICY.replace("level: Request,", "level: Reques,"))
    r = subprocess.run([program("drover-apiserver"), "--data-dir", server.data, "--listen",
                        "127.0.0.1:0", "--audit-policy-file", policy], capture_output=True,
                       text=True, timeout=60)
    assert r.returncode == 2
    assert "rules[1]: level must be None, Metadata, Request or RequestResponse" in r.stderr


# --- limits -------------------------------------------------------------------------------


def test_one_user_cannot_take_it_all(server):
    token, tokens = server.user("greedy")
    api = server.start("--token-auth-file", tokens, "--user-rate", "1", "--user-burst", "5",
                       "--user-watches", "1").api
    server.bind("greedy")
    watch = api.watch  # of admin, below
    connection = api.connect()
    api.send(connection, "GET", api.configmaps + "?watch=true", headers=as_user(token))
    assert connection.getresponse().status == 200
    second = api("GET", api.configmaps, watch="true", want=429, headers=as_user(token))
    assert second["reason"] == "TooManyRequests" and second["details"]["retryAfterSeconds"] == 5
    replies = [api("GET", api.configmaps, headers=as_user(token)) for _ in range(10)]
    refused = [r for r in replies if r.status == 429]
    assert replies[0].status == 200 and refused
    r = refused[0]
    assert int(r.headers["Retry-After"]) >= 1
    assert (r["kind"], r["reason"], r["code"]) == ("Status", "TooManyRequests", 429)
    assert r["details"]["retryAfterSeconds"] == int(r.headers["Retry-After"])
    text = api("GET", "/metrics", want=200).body.decode()
    of = ('dry_run="",group="",version="v1",resource="configmaps",subresource="",'
          'scope="namespace",component="apiserver",code="429"')
    assert f'apiserver_request_total{{verb="WATCH",{of}}} 1\n' in text
    assert f'apiserver_request_total{{verb="LIST",{of}}} {len(refused)}\n' in text
    assert 'apiserver_dropped_requests_total{request_kind="longRunning"} 1\n' in text
    # Health, administrators and others are not touched.
    api("GET", "/livez", want=200, headers={"Authorization": None})
    for _ in range(20):
        api("GET", api.configmaps, want=200)
    w = watch(api.configmaps)
    assert w.status == 200
    w.close()
    connection.close()
    wait_until(lambda: api("GET", api.configmaps, headers=as_user(token)).status == 200,
               "the bucket to fill")


def test_a_flood_of_watches(server):
    """As many as are allowed stand, all others are told when to come again, and the places
    of those that left are free at once."""
    token, tokens = server.user("flood")
    api = server.start("--token-auth-file", tokens, "--user-watches", "3").api
    server.bind("flood")

    def opened(n):
        connections = [api.connect() for _ in range(n)]
        for c in connections:
            api.send(c, "GET", api.configmaps + "?watch=1", headers=as_user(token))
        return [(c, c.getresponse().status) for c in connections]
    first = opened(40)
    assert sorted(status for _, status in first) == [200] * 3 + [429] * 37
    api("GET", api.configmaps, want=200, headers=as_user(token))
    for c, _ in first:
        c.close()
    wait_until(lambda: 'longrunning_requests{verb="WATCH"} 0\n' in
               api("GET", "/metrics").body.decode(), "the watches to be gone")
    again = opened(3)
    assert [status for _, status in again] == [200] * 3
    for c, _ in again:
        c.close()


def test_connections_of_one_address(server):
    api = server.start("--max-connections-per-address", "3").api
    held = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(3)]
    extra = socket.create_connection(("127.0.0.1", api.port))
    extra.settimeout(20)
    assert extra.recv(1) == b""
    extra.close()
    for s in held:
        s.close()
    wait_until(lambda: is_served(api), "room again")


def is_served(api):
    try:
        return api("GET", "/livez").status == 200
    except OSError:
        return False


def status_of(api, head):
    """The server may have answered and closed before all of it is sent."""
    with socket.create_connection((api.host, api.port), timeout=30) as plain, \
            api.context.wrap_socket(plain, server_hostname=api.host) as s:
        answer = b""
        try:
            s.sendall(head.encode())
        except OSError:
            pass
        try:
            while chunk := s.recv(4096):
                answer += chunk
        except OSError:
            pass
        return int(answer.split()[1])


def test_bounds_of_a_request(server):
    api = server.start().api
    assert api("POST", api.configmaps, body=b"x" * (3 * 1024 * 1024 + 1),
               want=413)["reason"] == "RequestEntityTooLarge"
    assert status_of(api, f"GET /api HTTP/1.1\r\nHost: x\r\nX-Long: {'x' * 40000}\r\n\r\n") == 431
    assert status_of(api, f"GET /api/{'x' * 40000} HTTP/1.1\r\nHost: x\r\n\r\n") == 414
    deep = '{"metadata":{"name":"d"},"data":' + "[" * 5000 + "]" * 5000 + "}"
    assert api("POST", api.configmaps, body=deep).status == 400


# --- shutdown and restart -----------------------------------------------------------------


def test_shutdown_loses_nothing_and_watches_resume(server):
    api = server.start("--shutdown-delay", "2s").api
    first = api("POST", api.configmaps, want=201, body={"metadata": {"name": "first"}})
    watch = api.watch(api.configmaps, resourceVersion=first.rv)
    acknowledged, stop = [], threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            try:
                r = api("POST", api.configmaps, body={"metadata": {"name": f"w{n}"}})
                if r.status == 201:
                    acknowledged.append((f"w{n}", int(r.rv)))
            except (OSError, http.client.HTTPException):
                return
            n += 1
    threads = [threading.Thread(target=write)]
    threads[0].start()
    wait_until(lambda: len(acknowledged) > 5, "writes")
    server.process.send_signal(signal.SIGTERM)
    # Lame duck: not ready, but still serving.
    r = wait_until(lambda: (lambda x: x if x.status == 500 else None)(api("GET", "/readyz")),
                   "readyz to fail")
    assert b"[-]shutdown failed: reason withheld\n" in r.body
    assert r.body.endswith(b"readyz check failed\n")
    api("GET", "/livez", want=200)
    busy = api("GET", api.configmaps, want=200)
    assert busy.headers["Connection"].lower() == "close"
    seen = []
    while (event := watch.next()) is not None:  # IncompleteRead would say that it was cut
        seen.append((event["object"]["metadata"]["name"],
                     int(event["object"]["metadata"]["resourceVersion"])))
    assert server.process.wait(60) == 0
    stop.set()
    threads[0].join()
    last = seen[-1][1]
    server.start()
    assert {n for n, _ in acknowledged} <= set(api("GET", api.configmaps).names)
    # The watch goes on where it ended: no 410, nothing twice, nothing left out.
    api("POST", api.configmaps, want=201, body={"metadata": {"name": "after"}})
    watch = api.watch(api.configmaps, resourceVersion=last)
    resumed = []
    while not resumed or resumed[-1][0] != "after":
        event = watch.next()
        assert event["type"] == "ADDED", event
        resumed.append((event["object"]["metadata"]["name"],
                        int(event["object"]["metadata"]["resourceVersion"])))
    watch.close()
    everything = seen + resumed
    assert [rv for _, rv in everything] == sorted({rv for _, rv in everything})
    assert {n for n, _ in acknowledged} <= {n for n, _ in everything}


def test_informers_resume_without_a_list(server):
    """drover-controllers over a restart: the audit log knows whether it listed again."""
    policy = server.dir / "policy.yaml"
    policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n"
                      "rules: [{level: Metadata}]\n")
    api = server.start("--audit-policy-file", policy).api
    controllers = subprocess.Popen(
        [program("drover-controllers"), "--kubeconfig", server.data / "kubeconfig"],
        stderr=open(server.dir / "controllers.log", "wb"), stdin=subprocess.DEVNULL)

    def of_controllers(events, verb):
        return {e["objectRef"]["resource"] for e in events
                if e["verb"] == verb and "controllers" in e.get("userAgent", "")
                and "objectRef" in e and e.get("responseStatus", {}).get("code") == 200}
    try:
        api.run("one")
        wait_until(lambda: api("GET", api.runs + "/one").json.get("status", {}).get("phase"),
                   "the first run to be seen")
        wait_until(lambda: {"runs", "jobs", "instances"} <=
                   of_controllers(server.audit(), "watch"), "the watches of the first server")
        assert server.stop() == 0
        watched = of_controllers(server.audit(), "watch")
        mark = len(server.audit())
        server.start("--audit-policy-file", policy)
        api.run("two")
        wait_until(lambda: api("GET", api.runs + "/two").json.get("status", {}).get("phase"),
                   "the second run to be seen")
        after = server.audit()[mark:]
        assert "runs" in of_controllers(after, "watch")
        # One that had not begun to watch may well list now, for the first time. Renewals of
        # Leases are not in the log (docs/formats/store.md): their watch has to list again.
        assert of_controllers(after, "list") & watched - {"leases"} == set()
    finally:
        controllers.send_signal(signal.SIGTERM)
        controllers.wait(30)


def test_the_python_client_resumes(server):
    kubernetes = pytest.importorskip("kubernetes", reason="python3-kubernetes is not installed")
    api = server.start().api
    api("POST", api.configmaps, want=201, body={"metadata": {"name": "one"}})
    client = kubernetes.client.CoreV1Api(
        kubernetes.config.new_client_from_config(str(server.data / "kubeconfig")))
    version = client.list_namespaced_config_map("default").metadata.resource_version
    api("POST", api.configmaps, want=201, body={"metadata": {"name": "two"}})
    seen = []
    for event in kubernetes.watch.Watch().stream(client.list_namespaced_config_map, "default",
                                                 resource_version=version):
        seen.append(event["object"].metadata.name)
        version = event["object"].metadata.resource_version
        break
    assert server.stop() == 0
    server.start()
    api("POST", api.configmaps, want=201, body={"metadata": {"name": "three"}})
    for event in kubernetes.watch.Watch().stream(client.list_namespaced_config_map, "default",
                                                 resource_version=version):
        assert event["type"] == "ADDED"
        seen.append(event["object"].metadata.name)
        break
    assert seen == ["two", "three"]


def test_control_socket(server):
    server.start()

    def say(line):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(server.dir / "ctl"))
            s.sendall(line.encode() + b"\n")
            return b"".join(iter(lambda: s.recv(65536), b"")).decode()
    assert "apiserver_request_total" in say("stats")
    assert say("log http=debug") == "ok\n"
    assert "commands:" in say("help")
    server.api("GET", "/api", headers={"Audit-ID": "seen-now"})
    wait_until(lambda: "id=seen-now" in server.log.read_text(), "the debug line")
