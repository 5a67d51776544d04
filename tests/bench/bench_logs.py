# SPDX-License-Identifier: Apache-2.0
"""Logs: how fast a job's output is shipped to drover-streams over TLS on loopback, what it
costs of processor time, the agent's memory meanwhile, and how long a line takes from the
job's write to a reader of `drover logs -f`.

  SIZE bytes are written by one job of the process engine, ROUNDS times; the figure is the
  median. The time runs from the job's start until the server has the last byte on its disk.
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from conftest import BIN, Server, private_dir  # noqa: E402

SIZE = int(os.environ.get("SIZE", str(400 << 20)))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
LINES = int(os.environ.get("LINES", "300"))
HERTZ = os.sysconf("SC_CLK_TCK")


def run_object(name, command):
    return {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": name},
            "spec": {"type": "task", "commands": [command],
                     "resources": {"cpu": "0..", "memory": "0.."}}}


def memory(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    kb = {k: int(v.split()[0]) for k, v in
          (line.split(":", 1) for line in text.splitlines()[1:])}
    return kb["Private_Dirty"], kb["Rss"]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


def ship(server, n):
    """(MB/s, agent CPU ms per MB, streams CPU ms per MB, peak private KB, peak RSS KB)"""
    parts = [server.part_pid(p) for p in ("runner", "streams")]
    before = [cpu_seconds(p) for p in parts]
    name = f"ship{n}"
    server.apply(run_object(name, f"head -c {SIZE} /dev/zero | openssl enc -aes-128-ctr -K 0 -iv 0 2>/dev/null"))
    output = None
    peak = [0, 0]
    while output is None:
        status = server.get("run", name).get("status", {})
        if "jobUID" in status:
            output = server.dir / "output/default" / status["jobUID"]
        time.sleep(0.005)
    while not output.exists() or not sum(f.stat().st_size for f in output.glob("*.seg")):
        time.sleep(0.001)
    start = time.monotonic()
    while True:
        stored = sum(f.stat().st_size for f in output.glob("*.seg"))
        peak = [max(a, b) for a, b in zip(peak, memory(parts[0]))]
        if stored >= SIZE:
            break
        time.sleep(0.01)
    took = time.monotonic() - start
    server.wait(f"run/{name}", "phase=Done", "300s")
    cost = [(cpu_seconds(p) - b) * 1000 / (SIZE / 1e6) for p, b in zip(parts, before)]
    server.drover("delete", "run", name)
    return [SIZE / took / 1e6, *cost, *peak]


def follow_delays(server):
    server.apply(run_object("lines", f"i=0; while [ $i -lt {LINES} ]; do date +%s.%N; "
                                     "i=$((i+1)); sleep 0.02; done"))
    reader = subprocess.Popen([BIN / "drover", "logs", "-f", "lines"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, bufsize=0,
                              env=dict(os.environ, DROVER_CONFIG=str(server.kubeconfig)))
    delays, rest = [], b""
    while chunk := os.read(reader.stdout.fileno(), 65536):
        now = time.time()
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        delays += [(now - float(line)) * 1000 for line in lines]
    assert reader.wait() == 0 and len(delays) == LINES
    delays = sorted(delays[10:])  # the first were there before the reader
    return delays[len(delays) // 2], delays[int(len(delays) * 0.99)]


def main():
    d = private_dir()
    server = Server(d / "state").start()
    try:
        print("| what | figure |\n|---|---|")
        rounds = [ship(server, i) for i in range(ROUNDS)]
        rate, agent, streams, private, rss = (statistics.median(x) for x in zip(*rounds))
        print(f"| output of one job, {SIZE >> 20} MiB, to the server's disk | {rate:.0f} MB/s |")
        print(f"| processor time per MB: agent / drover-streams | {agent:.1f} / {streams:.1f} ms |")
        print(f"| agent meanwhile, private / RSS, highest | {private} / {rss} KB |", flush=True)
        p50, p99 = follow_delays(server)
        print(f"| job's write to the reader of `drover logs -f`, p50 / p99 | "
              f"{p50:.1f} / {p99:.1f} ms |")
    finally:
        server.stop()
        subprocess.run([BIN / "drover-runner", "--uninstall", "--force", "--dir",
                        d / "state/agent"], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(d, ignore_errors=True)


if __name__ == "__main__":
    main()
