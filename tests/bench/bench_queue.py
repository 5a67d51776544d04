# SPDX-License-Identifier: Apache-2.0
"""The scheduler end to end: API server, controllers and a fleet of simulated machines
(tests/bench/sim_fleet.c), three programs over the unix socket, the data directory on disk.

  placements   INSTANCES machines of 8 GPUs, JOBS queued one-GPU jobs of ten shapes; the
               controllers start when all are there; from the first bind to the last one
               that fits, as a watcher sees them
  gang         a run of NODES nodes on a ready fleet: submission to the last job running
  steady       STEADY runs on STEADY machines: writes, CPU and memory while nothing happens
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench_api import free_port, more_files  # noqa: E402
from conftest import private_dir  # noqa: E402

BIN = pathlib.Path(os.environ.get("BENCH_BIN", "build/release/bin")).resolve()
SIM = pathlib.Path(os.environ.get("BENCH_SIM", "build/bench/bin/sim_fleet")).resolve()
INSTANCES = int(os.environ.get("INSTANCES", "10000"))
JOBS = int(os.environ.get("JOBS", "100000"))
NODES = int(os.environ.get("NODES", "200"))
STEADY = int(os.environ.get("STEADY", "1000"))
SECONDS = int(os.environ.get("SECONDS_STEADY", "30"))


class World:
    def __init__(self, only=None):
        self.dir = private_dir()
        self.socket = self.dir / "api.sock"
        self.programs = []
        self.only = only
        self.api = self.launch("apiserver", [
            BIN / "drover-apiserver", "--data-dir", self.dir / "data", "--listen",
            f"127.0.0.1:{free_port()}", "--unix-socket", self.socket])
        self.token = self.dir / "data" / "admin.token"
        end = time.monotonic() + 60
        while not (self.socket.exists() and self.token.exists()):
            if self.api.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"no API server, see {self.dir}/apiserver.log")
            time.sleep(0.01)
        self.sim = subprocess.Popen([SIM, self.socket, self.token], text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    preexec_fn=more_files)

    def launch(self, name, args):
        log = open(self.dir / f"{name}.log", "ab")
        p = subprocess.Popen(args, stdout=log, stderr=log, preexec_fn=more_files)
        self.programs.append(p)
        return p

    def controllers(self):
        args = [BIN / "drover-controllers", "--api-socket", self.socket, "--token-file", self.token]
        self.ctl = self.launch("controllers", args + (["--only", self.only] if self.only else []))

    def tell(self, words):
        self.sim.stdin.write(words + "\n")
        self.sim.stdin.flush()
        line = self.sim.stdout.readline()
        if not line:
            raise SystemExit("sim_fleet ended")
        return json.loads(line)

    def revision(self):
        out = subprocess.check_output([
            "curl", "-s", "--unix-socket", self.socket, "-H",
            f"Authorization: Bearer {self.token.read_text().strip()}",
            "http://localhost/apis/drover.dev/v1/runs?limit=1"])
        return int(json.loads(out)["metadata"]["resourceVersion"])

    def close(self):
        self.sim.stdin.close()
        self.sim.wait()
        for p in reversed(self.programs):
            p.send_signal(signal.SIGTERM)
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def private_mb(p):
    for line in pathlib.Path(f"/proc/{p.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1]) / 1024
    return 0


def cpu_s(p):
    f = pathlib.Path(f"/proc/{p.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def placements():
    w = World("job")
    w.tell(f"instances {INSTANCES} 8")
    made = w.tell(f"jobs {JOBS} 10")
    fit = min(JOBS, INSTANCES * 8)
    w.controllers()
    seen = w.tell(f"bound {fit}")
    assert seen["bound"] == fit, seen
    print(f"| {JOBS} Jobs created, 256 under way | {JOBS / made['seconds']:.0f}/s |")
    print(f"| start of the controllers to the last bind | {seen['seconds']:.1f} s |")
    print(f"| placements, end to end ({fit} binds) | {fit / seen['binding']:.0f}/s |")
    print(f"| CPU per bind: API server, controllers | {cpu_s(w.api) * 1e6 / fit:.0f} µs "
          f"(with the creates), {cpu_s(w.ctl) * 1e6 / fit:.0f} µs |")
    print(f"| private memory: API server, controllers | {private_mb(w.api):.0f} MB, "
          f"{private_mb(w.ctl):.0f} MB |", flush=True)
    w.close()


def gang():
    w = World()
    w.tell(f"instances {NODES} 8")
    w.tell("leases")
    w.controllers()
    w.tell("agents")
    w.tell("sleep 2")
    start = time.monotonic()
    w.tell(f"runs 1 {NODES}")
    seen = w.tell(f"running {NODES}")
    assert seen["running"] == NODES, seen
    took = time.monotonic() - start
    print(f"| run of {NODES} nodes on a ready fleet, submission to the last one running | "
          f"{took:.2f} s |", flush=True)
    w.close()


def steady():
    w = World()
    w.tell(f"instances {STEADY} 8")
    w.tell("leases")
    w.controllers()
    w.tell("agents")
    w.tell(f"runs {STEADY}")
    seen = w.tell(f"running {STEADY}")
    assert seen["running"] == STEADY, seen
    w.tell("sleep 10")
    before, cpu = w.revision(), (cpu_s(w.api), cpu_s(w.ctl))
    idle = w.tell(f"sleep {SECONDS}")
    n = w.revision() - before
    print(f"| {STEADY} runs on {STEADY} machines: writes beside Leases | "
          f"{max(0, n - idle['renewals']) / SECONDS:.2f}/s |")
    print(f"| their Leases | {idle['renewals'] / SECONDS:.0f}/s |")
    print(f"| CPU: API server, controllers | {(cpu_s(w.api) - cpu[0]) / SECONDS * 100:.1f} %, "
          f"{(cpu_s(w.ctl) - cpu[1]) / SECONDS * 100:.1f} % of a core |")
    print(f"| private memory: API server, controllers | {private_mb(w.api):.0f} MB, "
          f"{private_mb(w.ctl):.0f} MB |", flush=True)
    w.close()


if __name__ == "__main__":
    print("| what | figure |\n|---|---|", flush=True)
    for part in sys.argv[1:] or ["placements", "gang", "steady"]:
        {"placements": placements, "gang": gang, "steady": steady}[part]()
