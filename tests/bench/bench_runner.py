# SPDX-License-Identifier: Apache-2.0
"""The agent and its process engine: short jobs per second against a loop of `docker run`
(when DOCKER_HOST is set: hack/with-dockerd), the agent's memory idle and with many jobs, the
size of its program.

  JOBS short jobs are applied at once; the time runs until the last of them is Done.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench_run import Api  # noqa: E402
from conftest import BIN, Server, private_dir  # noqa: E402

JOBS = int(os.environ.get("JOBS", "300"))
RUNNING = int(os.environ.get("RUNNING", "100"))
IMAGE = os.environ.get("BENCH_IMAGE", "drover-test/busybox:1")


def run_object(name, entrypoint, **spec):
    return {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": name},
            "spec": {"type": "task", "entrypoint": entrypoint,
                     "resources": {"cpu": "0..", "memory": "0.."}, **spec}}


def private_kb(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {k: int(v.split()[0]) for k, v in
            (line.split(":", 1) for line in text.splitlines()[1:])}["Private_Dirty"]


def all_of(server, prefix, n, phase):
    for i in range(n):
        server.wait(f"run/{prefix}{i}", f"phase={phase}", "120s")


def short_jobs(server, api):
    objects = [run_object(f"s{i}", "true") for i in range(JOBS)]
    t0 = time.monotonic()
    server.apply(*objects)
    ends = [api.wait_done(f"s{i}", 240) for i in range(JOBS)]
    assert all(phase == "Done" for _, phase in ends)
    return JOBS / (max(t for t, _ in ends) - t0)


def docker_loop(n=20):
    argv = ["docker", "run", "--rm", "--network", "host", IMAGE, "true"]
    subprocess.run(argv, check=True)
    t0 = time.monotonic()
    for _ in range(n):
        subprocess.run(argv, check=True)
    return n / (time.monotonic() - t0)


def binary_size(directory):
    copy = directory / "stripped"
    subprocess.run(["strip", "-o", copy, BIN / "drover-runner"], check=True)
    return copy.stat().st_size


def main():
    d = private_dir()
    server = Server(d / "state").start()
    try:
        pid = server.part_pid("runner")
        print("| what | figure |\n|---|---|")
        print(f"| agent, private memory, fresh | {private_kb(pid)} KB |", flush=True)
        rate = [short_jobs(server, Api(server))]
        print(f"| short jobs, {JOBS} applied at once, to the last Done | {rate[0]:.0f}/s |")
        if "DOCKER_HOST" in os.environ:
            loop = docker_loop()
            print(f"| `docker run --rm` in a loop | {loop:.1f}/s ({rate[0] / loop:.1f}x) |")
        print(f"| agent, private memory, after them | {private_kb(pid)} KB |", flush=True)
        server.apply(*[run_object(f"r{i}", "sleep 600", stopDuration="0s")
                       for i in range(RUNNING)])
        all_of(server, "r", RUNNING, "Running")
        print(f"| agent, private memory, {RUNNING} jobs running | {private_kb(pid)} KB |")
        supervisors = [int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit()
                       and (p / "comm").exists() and
                       (p / "comm").read_text().strip() == "drover-superv"]
        if supervisors:
            each = sum(private_kb(p) for p in supervisors) / len(supervisors)
            print(f"| one supervisor, private memory | {each:.0f} KB |")
        print(f"| drover-runner, stripped | {binary_size(d) / 1024:.0f} KB |")
    finally:
        server.stop()
        subprocess.run([BIN / "drover-runner", "--uninstall", "--force", "--dir",
                        d / "state/agent"], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(d, ignore_errors=True)


if __name__ == "__main__":
    main()
