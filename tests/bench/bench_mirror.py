# SPDX-License-Identifier: Apache-2.0
"""What the mirror costs and how fast it is.

  git checkout of N files  -> all applied (and back: files deleted, held, confirmed)
  durable creates by 64 connections (wrk, TLS, 2 KB ConfigMaps), mirror on and off in turn,
  and how long the mirror is behind afterwards

FILES=5000 ROUNDS=3 BENCH_SECONDS=3 tests/bench/bench_mirror.py; uses build/release/bin and writes what
it prints into docs/benchmarks.md (BENCH_WRITE=0: only prints).
"""
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from conftest import private_dir  # noqa: E402
from mirror_tools import Mirror, git  # noqa: E402
import bench_api  # noqa: E402

FILES = int(os.environ.get("FILES", "5000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "3"))
TEXT = "x" * 1800

LUA = """
local n = 0
local id = %d
request = function()
  n = n + 1
  local body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"b-"},' ..
    '"data":{"k":"%s"}}'
  return wrk.format("POST", "/api/v1/namespaces/default/configmaps",
    {["Authorization"]="Bearer %s", ["Content-Type"]="application/json"}, body)
end
done = function(s, l)
  io.write(string.format("RESULT %%d %%d %%.3f %%.3f %%d\\n", s.requests, s.duration,
    l:percentile(50) / 1000, l:percentile(99) / 1000, s.errors.status))
end
"""


LINES = []


def say(text):
    print(text, flush=True)
    LINES.append("- " + text + "\n")


def control(m, line):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(m.server.dir / "run/apiserver.ctl"))
        s.sendall(line.encode() + b"\n")
        out = b""
        while data := s.recv(65536):
            out += data
        return out.decode()


def wait_for(m, pattern, limit=300):
    start = time.monotonic()
    while not re.search(pattern, control(m, "mirror status")):
        if time.monotonic() - start > limit:
            raise SystemExit(f"never: {pattern}\n{control(m, 'mirror status')[:2000]}")
        time.sleep(0.01)


def checkout(directory):
    m = Mirror(directory / "state").start()
    m.wait_file(m.root / "default/fleets.drover.dev/local.yaml")
    m.settled()
    git(m.root, "init", "-q", "-b", "main")
    git(m.root, "add", "-A")
    git(m.root, "commit", "-qm", "start")
    work = directory / "clone"
    git(m.root, "worktree", "add", "-q", str(work), "-b", "many")
    d = work / "default/configmaps"
    d.mkdir(parents=True)
    for i in range(FILES):
        (d / f"c{i:05}.yaml").write_text(f"data:\n  n: '{i}'\n  text: {TEXT}\n")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "many")
    start = time.monotonic()
    git(m.root, "merge", "-q", "many")
    took_git = time.monotonic() - start
    wait_for(m, rf"files: {FILES + 2} mirrored, 0 not applied, 0 deletions held, 0 waiting")
    total = time.monotonic() - start
    assert len(m.api.names("/api/v1/namespaces/default/configmaps")) == FILES
    say(f"checkout of {FILES} files of 1.9 KB: git {took_git:.2f} s, all applied "
          f"{total:.2f} s after git began ({total - took_git:.2f} s after it ended, 0.2 s of "
          f"them quiet): {FILES / (total - took_git):.0f} files/s")
    start = time.monotonic()
    git(m.root, "reset", "-q", "--hard", "HEAD~1")
    wait_for(m, rf"{FILES} deletions held, 0 waiting")
    held = time.monotonic() - start
    start = time.monotonic()
    control(m, "mirror confirm")
    wait_for(m, r"files: 2 mirrored.* 0 waiting")
    say(f"and back: {FILES} deletions held after {held:.2f} s, done "
        f"{time.monotonic() - start:.2f} s after the confirmation")
    loops = control(m, "loop")
    worst = re.search(r"longest[^\n]*", loops)
    print("loop:", worst.group(0) if worst else loops.splitlines()[0])
    m.server.stop()


def load(directory, mirror):
    m = Mirror(directory / ("on" if mirror else "off"), args=[] if mirror else ["--no-mirror"])
    m.start()
    lua = directory / "post.lua"
    lua.write_text(LUA % (0, TEXT, m.api.token))
    r = subprocess.run(["wrk", "-t1", "-c64", f"-d{SECONDS}s", "-s", str(lua),
                        f"https://127.0.0.1:{m.server.port}"],
                       capture_output=True, text=True, check=True)
    n, us, p50, p99, bad = re.search(r"RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)",
                                     r.stdout).groups()
    assert bad == "0", r.stdout
    behind = 0.0
    if mirror:
        start = time.monotonic()
        wait_for(m, r"state: following(.|\n)* 0 waiting")
        behind = time.monotonic() - start
    m.server.stop()
    shutil.rmtree(m.server.dir)
    return int(n) / (int(us) / 1e6), float(p50), float(p99), behind


def cost(directory):
    results = {True: [], False: []}
    for _ in range(ROUNDS):
        for mirror in (False, True):
            results[mirror].append(load(directory, mirror))
    for mirror in (False, True):
        rate, p50, p99, behind = (statistics.median(c) for c in zip(*results[mirror]))
        say(f"durable creates, 64 connections, TLS, mirror {'on ' if mirror else 'off'}: "
              f"{rate:.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms"
              + (f", files up to date {behind:.1f} s later" if mirror else ""))
    on, off = (statistics.median(r[0] for r in results[k]) for k in (True, False))
    say(f"ratio on/off: {on / off:.2f}")


if __name__ == "__main__":
    top = private_dir()
    try:
        checkout(top)
        if shutil.which("wrk"):
            cost(top)
        else:
            print("wrk is not installed: the cost on the write path is not measured")
        if os.environ.get("BENCH_WRITE", "1") == "1":
            bench_api.rewrite("mirror", f"{bench_api.machine(SECONDS)}\n\n{''.join(LINES)}")
    finally:
        shutil.rmtree(top, ignore_errors=True)
