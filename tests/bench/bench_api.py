# SPDX-License-Identifier: Apache-2.0
"""The store and the API server over HTTP, beside Debian's etcd on the same disk in the same run.

  bench_api.py store    durable create and update, list, watch fan-out, memory, disk, start, idle
  bench_api.py api      get and server-side apply against a bare libmicrohttpd; a probe while large
                        requests run

Rounds are interleaved, figures are medians, and next to rates stands the server's own CPU time
per request: on a busy machine that is the figure to compare. Writes its tables into
docs/benchmarks.md between the markers of its section, one after the other: what cannot be
measured says why and does not stop the rest. ROUNDS, BENCH_SECONDS, OBJECTS, WATCHERS and
PROBE_ROWS change the effort.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
import ssl

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import rule_load  # noqa: E402

HERE = ROOT / "tests/bench"
BIN = pathlib.Path(os.environ.get("BENCH_BIN", ROOT / "build/bench/bin"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "1"))
CONNECTIONS = [1, 16, 64, 256]
WATCHERS = [int(n) for n in os.environ.get("WATCHERS", "1,100,1000,10000").split(",")]
OBJECTS = int(os.environ.get("OBJECTS", "100000"))
PROBE_ROWS = int(os.environ.get("PROBE_ROWS", str(OBJECTS)))
TICK = os.sysconf("SC_CLK_TCK")
RUNS = "/apis/drover.dev/v1/namespaces/default/runs"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def more_files():
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


RUNNING = []


class Program:
    """A server under test; one process."""
    token, tls = "none", False

    def __init__(self, name, work):
        self.name, self.dir = name, pathlib.Path(work) / name.replace(" ", "-")
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def launch(self, args, ready):
        self.log = open(f"{self.dir}.log", "ab")
        self.process = subprocess.Popen(args, stdout=self.log, stderr=self.log,
                                        preexec_fn=more_files)
        RUNNING.append(self.process)
        end = time.monotonic() + 120
        while not ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{self.name} did not start, see {self.dir}.log")
            time.sleep(0.005)

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def answers(self, path="/readyz"):
        try:
            return self.call("GET", path) is not None
        except OSError:
            return False

    def call(self, method, path, body=None, ctype="application/json"):
        context = ssl._create_unverified_context() if self.tls else None
        headers = {"Content-Type": ctype}
        if self.token != "none":  # etcd refuses a token that it does not know
            headers["Authorization"] = "Bearer " + self.token
        req = urllib.request.Request(self.url + path, body, method=method, headers=headers)
        with urllib.request.urlopen(req, timeout=60, context=context) as r:
            return r.read()

    def cpu_us(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / TICK

    def memory(self):
        """(private dirty, resident) MB"""
        got = {}
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]:
            key, value = line.split(":")
            got[key] = int(value.split()[0]) / 1024
        return got["Private_Dirty"], got["Rss"]

    def switches(self):
        total = 0
        for status in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/status"):
            total += sum(int(line.split()[1]) for line in status.read_text().splitlines()
                         if line.startswith("voluntary_ctxt"))
        return total

    def disk(self):
        return int(subprocess.check_output(["du", "-sm", self.dir]).split()[0])


class Drover(Program):
    def __init__(self, work, tls):
        super().__init__("drover TLS" if tls else "drover plain", work)
        self.tls = tls

    def start(self):
        args = [BIN / "drover-apiserver", "--data-dir", self.dir, "--listen", f"127.0.0.1:{self.port}"]

        def ready():
            token = self.dir / "admin.token"
            if not token.exists():
                return False
            self.token = token.read_text().strip()
            return self.answers(RUNS + "?limit=1")

        self.launch(args + ([] if self.tls else ["--insecure-listen"]), ready)
        return self

    def count(self):
        page = json.loads(self.call("GET", RUNS + "?limit=1"))
        return len(page["items"]) + page["metadata"].get("remainingItemCount", 0)

    def revision(self):
        return json.loads(self.call("GET", RUNS + "?limit=1"))["metadata"]["resourceVersion"]


class Etcd(Program):
    def __init__(self, work):
        super().__init__("etcd", work)
        self.peer = free_port()

    def start(self):
        args = ["etcd", "--data-dir", self.dir, "--listen-client-urls", self.url,
                "--advertise-client-urls", self.url, "--listen-peer-urls",
                f"http://127.0.0.1:{self.peer}", "--initial-advertise-peer-urls",
                f"http://127.0.0.1:{self.peer}", "--initial-cluster",
                f"default=http://127.0.0.1:{self.peer}", "--log-level", "error",
                "--quota-backend-bytes", str(8 << 30)]
        self.launch(args, lambda: self.answers("/health") and self.count() >= 0)
        return self

    def post(self, path, body):
        return json.loads(self.call("POST", path, json.dumps(body).encode()))

    def count(self):
        r = self.post("/v3/kv/range", {"key": "AA==", "range_end": "AA==", "count_only": True})
        return int(r.get("count", 0))

    def list(self, n):
        return self.call("POST", "/v3/kv/range", json.dumps(
            {"key": "AA==", "range_end": "AA==", "limit": n}).encode())


class Bare(Program):
    def __init__(self, work, tls, keys=None):
        super().__init__("libmicrohttpd TLS" if tls else "libmicrohttpd", work)
        self.tls, self.keys = tls, keys

    def start(self):
        args = [BIN / "bare_mhd", str(self.port)]
        if self.tls:
            args += [self.keys / "server.crt", self.keys / "server.key"]
        self.launch(args, lambda: self.answers("/hello"))
        return self


# --- one measurement ------------------------------------------------------------------------

serial = 0


def wrk(server, mode, conns, seconds=SECONDS, prefix=None, limit=0):
    """rate, p50, p99 (ms), server CPU us per request; once more, longer, if nothing was answered"""
    for longer in (seconds, 4 * seconds):
        got = wrk_once(server, mode, conns, longer, prefix, limit)
        if got:
            return got
    raise SystemExit(f"wrk {mode} on {server.name}: nothing was answered in {4 * seconds} s")


def wrk_once(server, mode, conns, seconds, prefix, limit):
    global serial
    serial += 1
    if server.tls:
        seconds += (conns + 64) // 128  # the handshakes are part of what wrk measures
    before = server.cpu_us()
    out = subprocess.run(
        ["wrk", "-t1", f"-c{conns}", f"-d{seconds}", "--timeout", "10", "--latency", "-s", HERE / "http.lua", server.url,
         "--", mode, server.token, prefix or f"b{serial}x", "1000", str(limit)],
        capture_output=True, text=True, timeout=seconds + 60)
    used = server.cpu_us() - before
    line = [x for x in out.stdout.splitlines() if x.startswith("RESULT ")]
    if not line:
        raise SystemExit(f"wrk {mode} on {server.name}: {out.stdout[-500:]} {out.stderr[-500:]}")
    r = json.loads(line[0][7:])
    if r["requests"] == 0:
        return None
    if r["bad"] > 0:
        raise SystemExit(f"wrk {mode} on {server.name}: {r} {out.stderr[-600:]}")
    return {"rate": r["requests"] * 1e6 / r["us"], "p50": r["p50"], "p99": r["p99"],
            "cpu": used / r["requests"]}


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def grpc_put(etcd, conns, work):
    """etcd's own protocol, driven by h2load with one key: the cheapest client there is."""
    key, value = b"bench/grpc", b"v" * 2048
    body = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(value)) + value
    data, log = pathlib.Path(work) / "put.bin", pathlib.Path(work) / "h2load.log"
    data.write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
    log.unlink(missing_ok=True)
    before = etcd.cpu_us()
    subprocess.run(["h2load", "-t1", f"-c{conns}", "-m1", "-D", str(SECONDS),
                    "-d", data, f"--log-file={log}", "-H", "content-type: application/grpc",
                    "-H", "te: trailers", f"{etcd.url}/etcdserverpb.KV/Put"],
                   check=True, capture_output=True, timeout=120)
    used = etcd.cpu_us() - before
    us = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    return {"rate": len(us) / SECONDS, "p50": us[len(us) // 2] / 1000,
            "p99": us[len(us) * 99 // 100] / 1000, "cpu": used / max(1, len(us))}


def interleave(ways):
    """ways: {name: function}; medians of ROUNDS rounds. What fails is left out of them."""
    got = {name: [] for name in ways}
    for i in range(ROUNDS):
        for name, fn in ways.items():
            try:
                got[name].append(fn())
            except (Exception, SystemExit) as e:
                print(f"  round {i + 1} {name}: {e!r}", file=sys.stderr)
                continue
            print(f"  round {i + 1} {name}: " + " ".join(
                f"{k}={v:.2f}" for k, v in got[name][-1].items()), file=sys.stderr, flush=True)
    return {name: {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}
            for name, rounds in got.items() if rounds}


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] +
                     ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]) + "\n\n"


def by_connections(title, make, base):
    """One table: systems by connections. make(conns) gives the ways; base: ratios against it."""
    rows = []
    for conns in CONNECTIONS:
        print(f"{title}, {conns} connections", file=sys.stderr)
        ways = make(conns)
        got = interleave(ways)
        for name in ways:
            if (m := got.get(name)) is None:
                rows.append([conns, name, "not measured", "", "", "", ""])
                continue
            ratio = f"{m['rate'] / got[base]['rate']:.2f}" if base in got else ""
            rows.append([conns, name, f"{m['rate']:.0f}", ratio, f"{m['p50']:.2f}",
                         f"{m['p99']:.2f}", f"{m['cpu']:.1f}"])
    return f"**{title}**\n\n" + table(
        ["connections", "system", "per s", f"vs {base}", "p50 ms", "p99 ms", "server CPU us"], rows)


# --- sections -------------------------------------------------------------------------------

def fill(server, mode, n):
    end = time.monotonic() + 180
    while (left := n - server.count()) > 0:
        if time.monotonic() > end:
            raise SystemExit(f"{server.name} took only {n - left} of {n} objects in 180 s")
        # wrk sleeps to its end even when it has stopped before.
        wrk(server, mode, 64, min(10, left // 6000 + 1), limit=left)


def measure_list(plain, tls, etcd, n=10000):
    for s in (plain, tls):
        fill(s, "create", n)
    fill(etcd, "put", n)

    def timed(fn):
        t0 = time.monotonic()
        size = len(fn())
        return {"ms": (time.monotonic() - t0) * 1000, "mb": size / 1e6}

    def curl(s):
        t0 = time.monotonic()
        out = subprocess.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{time_total} %{size_download}",
                              "-H", "Authorization: Bearer " + s.token,
                              f"{s.url}{RUNS}?limit={n}"], check=True, capture_output=True, text=True)
        del t0
        seconds, size = out.stdout.split()
        return {"ms": float(seconds) * 1000, "mb": int(size) / 1e6}

    got = interleave({plain.name: lambda: curl(plain), tls.name: lambda: curl(tls),
                      "etcd gateway": lambda: timed(lambda: etcd.list(n))})
    return f"**List of {n} objects**\n\n" + table(
        ["system", "ms", "MB", "MB/s"],
        [[name, f"{m['ms']:.1f}", f"{m['mb']:.1f}", f"{m['mb'] / m['ms'] * 1000:.0f}"]
         for name, m in got.items()])


def fan(server, watchers, path, fire, body, events, expect=None):
    args = [BIN / "watch_fan", "--port", str(server.port), "--watchers", str(watchers), "--rounds",
            str(events), "--path", path, "--fire", fire, "--body", body, "--token", server.token,
            "--server-pid", str(server.process.pid)]
    if expect:
        args += ["--expect", str(expect)]
    if server.tls:
        args.append("--tls")
    out = subprocess.run(args, capture_output=True, text=True, timeout=240, preexec_fn=more_files)
    if out.returncode != 0:
        raise SystemExit(f"watch_fan on {server.name}: {out.stderr[-500:]}")
    return json.loads(out.stdout)


def run_manifest(name, n):
    env = {f"SETTING_{i:02}_OF_THE_RUN": f"value number {i:02}, as long as they are" for i in range(n)}
    return json.dumps({"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {
        "name": name, "labels": {"serial": "s0", "node": "n0"}}, "spec": {
            "type": "task", "desiredState": "Stopped", "commands": ["true"], "env": env}}).encode()


def measure_fan(work):
    """A fresh server for each size, so that memory per watcher is that of watchers."""
    patch, text = pathlib.Path(work) / "patch.json", pathlib.Path(work) / "event.txt"
    patch.write_text('{"metadata":{"labels":{"serial":"s@@"}}}')
    keys = pathlib.Path(work) / "keys"
    rows = []
    for n in WATCHERS:
        for tls in (False, True):
            events = 10 if n >= 1000 else 50
            ours = Drover(tempfile.mkdtemp(dir=work), tls).start()
            if tls:
                shutil.copytree(ours.dir / "keys", keys, dirs_exist_ok=True)
            ours.call("POST", RUNS, run_manifest("fan", 26))
            event = len(ours.call("GET", RUNS + "/fan"))
            path = f"{RUNS}?watch=true&resourceVersion={ours.revision()}"
            got = [(ours.name, fan(ours, n, path, f"PATCH {RUNS}/fan", patch, events))]
            if n > 1:
                one = f"{path}&labelSelector=node%3Dn%d"
                got.append((ours.name + ", one of them wants it",
                            fan(ours, n, one, f"PATCH {RUNS}/fan", patch, events, 1)))
            ours.stop()
            text.write_text("x" * event + "}\n")
            bare = Bare(work, tls, keys).start()
            got.append((bare.name, fan(bare, n, "/watch", "POST /fire", text, events)))
            bare.stop()
            for name, m in got:
                print(f"  {n} {name}: {m}", file=sys.stderr)
                rows.append([n, name, f"{m['p50']:.2f}", f"{m['p99']:.2f}",
                             f"{m['p99'] / got[-1][1]['p99']:.2f}", f"{m['cpu_us']:.1f}",
                             f"{m['private_kb']:.1f}" if "wants" not in name else "",
                             f"{m['grown_kb']:.1f}" if "wants" not in name else ""])
    return "**Watch: from the write's request to the event**\n\n" + table(
        ["watchers", "system", "p50 ms", "p99 ms", "p99 vs bare", "server CPU us per event",
         "private KB per watcher", "after events"], rows)


def measure_size(plain, etcd):
    empty = plain.memory()
    idle = measure_idle(plain)
    for server, mode in ((plain, "create"), (etcd, "put")):
        fill(server, mode, OBJECTS)
    rows = []
    for server in (plain, etcd):
        n = server.count()
        time.sleep(2)
        private, rss = server.memory()
        times = []
        for _ in range(ROUNDS):
            server.stop(signal.SIGKILL)
            t0 = time.monotonic()
            server.start()
            times.append(time.monotonic() - t0)
        after = server.memory()
        rows.append([server.name, n, f"{private:.0f}", f"{rss:.0f}", f"{after[0]:.0f}",
                     server.disk(), f"{statistics.median(times):.2f}"])
    full = measure_idle(plain)
    return ("**Memory, disk, start after kill -9**\n\n" + table(
        ["system", "objects", "private MB", "RSS MB", "private MB after a start", "disk MB",
         "start s (served)"], rows) +
        f"Empty, drover-apiserver has {empty[0]:.1f} MB private, {empty[1]:.1f} MB RSS. Idle CPU and "
        f"wake-ups: empty {idle}; with {OBJECTS} objects {full}.\n\n")


def measure_idle(server, seconds=10):
    cpu, sw = server.cpu_us(), server.switches()
    time.sleep(seconds)
    return (f"{(server.cpu_us() - cpu) / seconds / 1e4:.2f} % of a core, "
            f"{(server.switches() - sw) / seconds:.1f}/s")


def measure_probe(tls):
    """The loop rule's load against a client that asks for one small object all the time."""
    target = rule_load.Target(tls.port, tls.token)
    rule_load.fill(target, PROBE_ROWS)
    with rule_load.Probe(target) as alone:
        time.sleep(2)
    rows = [["nothing", f"{alone.percentile(.5):.2f}", f"{alone.percentile(.99):.2f}",
             f"{alone.percentile(1):.2f}", f"{alone.machine(.99):.2f}", ""]]
    before = target.metrics()
    for what, load in (
            (f"Table of {PROBE_ROWS} rows", (4, 3 << 20, 0, 0)),
            ("server-side applies of 3 MiB", (0, 3 << 20, 20, 0)),
            ("2 000 reconnects", (0, 3 << 20, 0, 2000)),
            ("all three at once", (4, 3 << 20, 20, 2000))):
        probe = rule_load.all_at_once(target, *load)
        after = target.metrics()
        count = "drover_loop_long_callbacks_total"
        rows.append([what, f"{probe.percentile(.5):.2f}", f"{probe.percentile(.99):.2f}",
                     f"{probe.percentile(1):.2f}", f"{probe.machine(.99):.2f}",
                     f"{after[count] - before[count]:.0f}" if count in after else ""])
        print({k: v for k, v in after.items() if "long_callback" in k}, file=sys.stderr)
        before = after
        print("  probe", rows[-1], file=sys.stderr)
    return ("**A GET of a small object, TLS, while something large runs** (goal: p99 < 20 ms)\n\n" +
            table(["beside", "p50 ms", "p99 ms", "longest", "p99 of a sleeper's delay", "callbacks over 2 ms of CPU"], rows))


class Parts:
    """The tables of a section; each is written down when it is made."""

    def __init__(self, section, where):
        self.section, self.text, self.failed = section, f"`hack/bench {section}`: {where}\n\n", False

    def add(self, title, fn, *args):
        t0 = time.monotonic()
        print(f"== {title}", file=sys.stderr, flush=True)
        try:
            text = fn(*args)
        except (Exception, SystemExit) as e:
            traceback.print_exc()
            self.failed = True
            text = f"**{title}**: not measured, {str(e).splitlines()[0] if str(e) else repr(e)}\n\n"
        print(f"{text}== {title} took {time.monotonic() - t0:.0f} s\n", flush=True)
        self.text += text
        if os.environ.get("BENCH_WRITE", "1") == "1":
            rewrite(self.section, self.text)


def fresh_size(work):
    plain = Drover(tempfile.mkdtemp(dir=work), False).start()
    etcd = Etcd(tempfile.mkdtemp(dir=work)).start()
    try:
        return measure_size(plain, etcd)
    finally:
        plain.stop()
        etcd.stop()


def section_store(work, parts):
    plain, tls = Drover(work, False).start(), Drover(work, True).start()
    etcd = Etcd(work).start()

    def writes(mode):
        def ways(conns):
            return {plain.name: lambda: wrk(plain, mode, conns),
                    tls.name: lambda: wrk(tls, mode, conns),
                    "etcd gateway": lambda: wrk(etcd, "put", conns,
                                                prefix="upd" if mode == "update" else None),
                    "etcd gRPC": lambda: grpc_put(etcd, conns, work)}
        return ways

    parts.add("List", measure_list, plain, tls, etcd)
    for mode in ("create", "update"):
        title = f"Durable {mode}, 2 KB, validated"
        parts.add(title, by_connections, title, writes(mode), "etcd gRPC")
    for s in (plain, tls, etcd):
        s.stop()
    parts.add("Memory, disk, start", fresh_size, work)
    parts.add("Watch", measure_fan, work)


def section_api(work, parts):
    plain, tls = Drover(work, False).start(), Drover(work, True).start()
    bare, bare_tls = Bare(work, False).start(), Bare(work, True, tls.dir / "keys").start()
    for s in (plain, tls):
        for i in range(1000):
            s.call("POST", RUNS, run_manifest(f"fix-{i}", 26))

    def gets(conns):
        return {s.name: (lambda s=s: wrk(s, "get", conns)) for s in (plain, tls, bare, bare_tls)}

    def applies(conns):
        return {s.name: (lambda s=s: wrk(s, "apply", conns)) for s in (plain, tls)}

    title = "Get, 2 KB (the bare server answers 1 KB of nothing)"
    parts.add(title, by_connections, title, gets, "libmicrohttpd")
    title = "Server-side apply of a changed 2 KB object"
    parts.add(title, by_connections, title, applies, "drover plain")
    for s in (plain, bare, bare_tls):
        s.stop()
    parts.add("A probe while something large runs", measure_probe, tls)
    tls.stop()


def machine(seconds=SECONDS):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "?")
    load = os.getloadavg()
    mem = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    etcd = subprocess.run(["etcd", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    return (f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({cpu}), {mem} GiB, Linux "
            f"{os.uname().release}, load {load[0]:.1f} at the start, {etcd}, client and servers on the "
            f"same machine. {ROUNDS} interleaved rounds of {seconds} s, medians.")


def rewrite(section, text):
    path = ROOT / "docs/benchmarks.md"
    doc = path.read_text()
    begin, end = f"<!-- {section}: begin -->\n", f"<!-- {section}: end -->\n"
    if begin not in doc:
        doc += f"\n{begin}{end}"
    head, rest = doc.split(begin, 1)
    path.write_text(head + begin + text + end + rest.split(end, 1)[1])


def main():
    sections = {"store": section_store, "api": section_api}
    section = sys.argv[1] if len(sys.argv) > 1 else ""
    if section not in sections:
        raise SystemExit("usage: bench_api.py store|api")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and the servers are stopped
    where = machine()
    base = os.environ.get("BENCH_DIR", str(ROOT / "build"))
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=base))
        t0 = time.monotonic()
        stack.callback(lambda: [p.kill() for p in RUNNING if p.poll() is None])
        parts = Parts(section, where)
        sections[section](work, parts)
    print(f"took {time.monotonic() - t0:.0f} s", file=sys.stderr)
    return 1 if parts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
