# SPDX-License-Identifier: Apache-2.0
"""Latencies of a run, side by side with the Docker Engine in the same minute, and what the
programs cost when nothing happens. Every process tells a listener on the host when it has
started, so all ways are measured by the same event.

  apply -> process started     drover apply (HTTP request to arrival at the listener)
                               raw Engine API create + start; docker run
  process exit -> Run Done     connection closed by the process -> watch event Done
  die event -> Run Done        the daemon's event of the same container -> watch event Done
  AT_ONCE at once              as many clients, each waiting for its process before the next
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from conftest import Server, private_dir, wait_until  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "30"))
IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", "20"))
AT_ONCE = 8
IMAGE = os.environ.get("BENCH_IMAGE", "drover-test/busybox:1")


class Arrivals:
    """Accepts one connection per started process; knows when it came and when it closed."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]

    def wait(self, timeout=30):
        self.sock.settimeout(timeout)
        c, _ = self.sock.accept()
        return time.monotonic(), c

    @staticmethod
    def closed(c):
        while c.recv(4096):
            pass
        t = time.monotonic()
        c.close()
        return t


class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def docker_socket():
    return os.environ["DOCKER_HOST"].removeprefix("unix://")


def engine_once(conn, n, port):
    body = {"Image": IMAGE, "Entrypoint": [], "Cmd": ["nc", "127.0.0.1", str(port)],
            "HostConfig": {"NetworkMode": "host", "LogConfig": {"Type": "local"}}}

    def call(method, path, payload=None):
        conn.request(method, path, json.dumps(payload) if payload else None,
                     {"Content-Type": "application/json"})
        r = conn.getresponse()
        data = r.read()
        assert r.status < 300, (path, r.status, data)
        return json.loads(data) if data else None

    t0 = time.monotonic()
    cid = call("POST", f"/containers/create?name=bench-{n}", body)["Id"]
    call("POST", f"/containers/{cid}/start")
    return t0, lambda: call("DELETE", f"/containers/{cid}?force=1")


class Deaths:
    """When the daemon said that a container died, by its name."""

    def __init__(self):
        self.at = {}
        self.conn = UnixHTTP(docker_socket())
        self.conn.request("GET", "/events?filters=" + urllib.parse.quote(
            json.dumps({"event": ["die"]})))
        self.lines = self.conn.getresponse()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.lines:
            t = time.monotonic()
            self.at[json.loads(line)["Actor"]["Attributes"]["name"]] = t


class Api:
    """A plain client of the API server with a connection for each thread; the watch runs on
    its own."""

    def __init__(self, server):
        self.server = server
        self.token = (server.dir / "admin.token").read_text().strip()
        self.context = ssl.create_default_context(cafile=str(server.dir / "keys/ca.crt"))
        self.local = threading.local()
        self.done, self.job = {}, {}
        self.event = threading.Condition()
        threading.Thread(target=self.watch, daemon=True).start()

    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", self.server.port, context=self.context)

    def call(self, method, path, body=None, ctype="application/json"):
        if not hasattr(self.local, "conn"):
            self.local.conn = self.connect()
        self.local.conn.request(method, path, body, {"Authorization": f"Bearer {self.token}",
                                                     "Content-Type": ctype})
        r = self.local.conn.getresponse()
        data = r.read()
        assert r.status < 300, (path, r.status, data[:500])
        return json.loads(data)

    def watch(self):
        c = self.connect()
        c.request("GET", "/apis/drover.dev/v1/namespaces/default/runs?watch=true", None,
                  {"Authorization": f"Bearer {self.token}"})
        r = c.getresponse()
        for line in r:
            e = json.loads(line)
            t = time.monotonic()
            o = e["object"]
            if o.get("status", {}).get("phase") in ("Done", "Failed", "Terminated"):
                with self.event:
                    self.job.setdefault(o["metadata"]["name"], o["status"].get("jobUID"))
                    self.done.setdefault(o["metadata"]["name"], (t, o["status"]["phase"]))
                    self.event.notify_all()

    def apply(self, obj):
        name = obj["metadata"]["name"]
        return self.call("PATCH", f"/apis/drover.dev/v1/namespaces/default/runs/{name}"
                                  "?fieldManager=bench", json.dumps(obj),
                         "application/apply-patch+yaml")

    def wait_done(self, name, timeout=30):
        with self.event:
            assert self.event.wait_for(lambda: name in self.done, timeout), name
            return self.done[name]


def run_object(name, port, image):
    spec = {"type": "task", "resources": {"cpu": "0.."}}
    if image:
        spec.update(image=image, entrypoint=f"nc 127.0.0.1 {port}")
    else:
        spec.update(entrypoint=f"busybox nc 127.0.0.1 {port}")
    return {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": name},
            "spec": spec}


def drover_once(api, arrivals, name, image):
    t0 = time.monotonic()
    api.apply(run_object(name, arrivals.port, image))
    t1, c = arrivals.wait()
    c.shutdown(socket.SHUT_WR)
    t2 = arrivals.closed(c)
    t3, phase = api.wait_done(name)
    assert phase == "Done", (name, phase)
    return (t1 - t0) * 1000, (t3 - t2) * 1000


def docker_run_once(arrivals):
    t0 = time.monotonic()
    p = subprocess.Popen(["docker", "run", "--rm", "--network", "host", IMAGE, "nc",
                          "127.0.0.1", str(arrivals.port)], stdout=subprocess.DEVNULL)
    t1, c = arrivals.wait()
    c.close()
    p.wait()
    return (t1 - t0) * 1000


def at_once(rounds, once):
    """once(worker, round) of AT_ONCE workers -> all their milliseconds."""
    def worker(w):
        arrivals = Arrivals()
        return [once(w, i, arrivals) for i in range(rounds)]

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return [ms for part in pool.map(worker, range(AT_ONCE)) for ms in part]


def engine_at_once(prefix, rounds):
    def once(w, i, arrivals):
        conn = UnixHTTP(docker_socket())
        t0, remove = engine_once(conn, f"{prefix}-{w}-{i}", arrivals.port)
        t1, c = arrivals.wait()
        c.close()
        remove()
        conn.close()
        return (t1 - t0) * 1000

    return at_once(rounds, once)


def drover_at_once(api, prefix, rounds):
    return at_once(rounds, lambda w, i, arrivals: drover_once(
        api, arrivals, f"{prefix}-{w}-{i}", IMAGE)[0])


def concurrent_rounds(api):
    """Interleaved, so that both meet the same neighbours."""
    ours, theirs = [], []
    for k in range(ROUNDS // 10):
        theirs += engine_at_once(f"e{k}", 3)
        ours += drover_at_once(api, f"e{k}", 3)
    print(f"\n| from request to process started, {AT_ONCE} at once | p50 ms | p99 ms | max ms | |")
    print("|---|---|---|---|---|")
    row("raw Engine API create + start", theirs)
    row("drover apply, docker engine", ours, summary(theirs)[0])
    print(f"\nratio of the medians, {AT_ONCE} at once: "
          f"{summary(ours)[0] / summary(theirs)[0]:.2f} (goal: at most 1.1)")


def summary(values):
    v = sorted(values)
    return (statistics.median(v), v[min(len(v) - 1, int(len(v) * 0.99))], v[-1])


def row(name, values, base=None):
    p50, p99, worst = summary(values)
    ratio = "" if base is None else f"{p50 - base:+.1f} ms"
    print(f"| {name} | {p50:.1f} | {p99:.1f} | {worst:.1f} | {ratio} |")


def process_cost(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    kb = {l.split(":")[0]: int(l.split()[1]) for l in rollup.splitlines()[1:]}
    io = dict(l.split(": ") for l in
              pathlib.Path(f"/proc/{pid}/io").read_text().splitlines())
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(stat[11]) + int(stat[12])
    return (kb["Private_Dirty"], kb["Rss"], ticks, int(io["syscw"]), int(io["write_bytes"]))


def idle(server):
    pids = {p: server.part_pid(p) for p in ("apiserver", "controllers", "streams", "runner")}
    pids["server"] = server.process.pid
    before = {p: process_cost(pid) for p, pid in pids.items()}
    time.sleep(IDLE_SECONDS)
    print(f"\nIdle over {IDLE_SECONDS} s, one instance:\n")
    print("| program | private KB | RSS KB | CPU % | write calls/s | disk bytes/s |")
    print("|---|---|---|---|---|---|")
    total = [0.0] * 5
    for p, pid in pids.items():
        a, b = before[p], process_cost(pid)
        values = (b[0], b[1], (b[2] - a[2]) / os.sysconf("SC_CLK_TCK") / IDLE_SECONDS * 100,
                  (b[3] - a[3]) / IDLE_SECONDS, (b[4] - a[4]) / IDLE_SECONDS)
        total = [x + y for x, y in zip(total, values)]
        print(f"| {p} | {values[0]} | {values[1]} | {values[2]:.2f} | {values[3]:.1f} | "
              f"{values[4]:.0f} |")
    print(f"| all | {total[0]:.0f} | {total[1]:.0f} | {total[2]:.2f} | {total[3]:.1f} | "
          f"{total[4]:.0f} |")


def main():
    d = private_dir()
    arrivals = Arrivals()
    server = Server(d / "state").start()
    api = Api(server)
    deaths = Deaths()
    wait_until(lambda: any(i.get("status", {}).get("phase") == "Ready"
                           for i in server.get("instances")), 30)
    time.sleep(1)
    conn = UnixHTTP(docker_socket())
    results = {k: [] for k in ("engine", "docker run", "docker", "docker exit", "process",
                               "process exit", "after die")}
    for i in range(ROUNDS):
        t0, remove = engine_once(conn, i, arrivals.port)
        t1, c = arrivals.wait()
        results["engine"].append((t1 - t0) * 1000)
        c.close()
        remove()
        results["docker run"].append(docker_run_once(arrivals))
        a, b = drover_once(api, arrivals, f"d{i}", IMAGE)
        results["docker"].append(a)
        results["docker exit"].append(b)
        died = wait_until(lambda: deaths.at.get(api.job[f"d{i}"]), 10)
        results["after die"].append((api.done[f"d{i}"][0] - died) * 1000)
        a, b = drover_once(api, arrivals, f"p{i}", None)
        results["process"].append(a)
        results["process exit"].append(b)
    base = summary(results["engine"])[0]
    print(f"\nInterleaved rounds: {ROUNDS}\n")
    print("| from request to process started | p50 ms | p99 ms | max ms | vs Engine API |")
    print("|---|---|---|---|---|")
    row("raw Engine API create + start", results["engine"])
    row("docker run", results["docker run"], base)
    row("drover apply, docker engine", results["docker"], base)
    row("drover apply, process engine", results["process"], base)
    print("\n| from process exit to Run Done | p50 ms | p99 ms | max ms | |")
    print("|---|---|---|---|---|")
    row("docker engine", results["docker exit"])
    row("process engine", results["process exit"])
    row("docker engine, from the daemon's die event", results["after die"])
    concurrent_rounds(api)
    idle(server)
    server.stop()
    shutil.rmtree(d, ignore_errors=True)


if __name__ == "__main__":
    main()
