# SPDX-License-Identifier: Apache-2.0
"""The agent and its process engine: short jobs per second against a loop of `docker run`
(when DOCKER_HOST is set: hack/with-dockerd), the docker engine's against the Docker Engine's
own, the agent's memory and processor time idle and with many jobs, the size of its program.

  JOBS short jobs are applied at once; the time runs until the last of them is Done.
  With EIGHT as many clients at once: each applies a run and waits for its Done, against
  `xargs -P8 docker run --rm`.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench_run import (IDLE_SECONDS, IMAGE, Api, UnixHTTP, docker_socket,  # noqa: E402
                       process_cost)
from conftest import BIN, Server, private_dir  # noqa: E402

JOBS = int(os.environ.get("JOBS", "300"))
RUNNING = int(os.environ.get("RUNNING", "100"))
CONTAINERS = int(os.environ.get("CONTAINERS", "60"))
AT_ONCE = 4  # as many as the agent starts at once
EIGHT = 8
STANDING = int(os.environ.get("STANDING", "50"))  # containers that run meanwhile


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


def short_jobs(server, api, prefix="s", n=JOBS, **spec):
    objects = [run_object(f"{prefix}{i}", "true", **spec) for i in range(n)]
    t0 = time.monotonic()
    server.apply(*objects)
    ends = [api.wait_done(f"{prefix}{i}", 240) for i in range(n)]
    assert all(phase == "Done" for _, phase in ends)
    return n / (max(t for t, _ in ends) - t0)


def engine_jobs(n):
    """The same through the Engine API alone: create, start, wait, inspect, remove, by as many
    at once as the agent uses; configured as the agent's containers are."""
    def one(i):
        conn = UnixHTTP(docker_socket())

        def call(method, path, payload=None):
            conn.request(method, path, json.dumps(payload) if payload else None,
                         {"Content-Type": "application/json"})
            r = conn.getresponse()
            data = r.read()
            assert r.status < 300, (path, r.status, data)
            return json.loads(data) if data else None

        c = call("POST", "/containers/create", {
            "Image": IMAGE, "Entrypoint": ["true"],
            "HostConfig": {"NetworkMode": "host", "Init": True, "LogConfig": {"Type": "local"}}})
        call("POST", f"/containers/{c['Id']}/start")
        call("POST", f"/containers/{c['Id']}/wait?condition=not-running")
        call("GET", f"/containers/{c['Id']}/json")
        call("DELETE", f"/containers/{c['Id']}?force=1&v=1")
        conn.close()

    t0 = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(n)))
    return n / (time.monotonic() - t0)


def containers(server):
    """Interleaved, so that both meet the same neighbours."""
    ours, theirs = [], []
    for k in range(3):
        ours.append(short_jobs(server, Api(server), f"c{k}-", CONTAINERS, image=IMAGE))
        theirs.append(engine_jobs(CONTAINERS))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"| short jobs in containers, {CONTAINERS} applied at once | {a:.1f}/s |")
    print(f"| the same by the Engine API alone, {AT_ONCE} at once | {b:.1f}/s ({a / b:.2f}x) |",
          flush=True)


def docker_loop(n=20):
    argv = ["docker", "run", "--rm", "--network", "host", IMAGE, "true"]
    subprocess.run(argv, check=True)
    t0 = time.monotonic()
    for _ in range(n):
        subprocess.run(argv, check=True)
    return n / (time.monotonic() - t0)


def docker_run_eight(n):
    argv = ["xargs", "-P", str(EIGHT), "-I{}", "docker", "run", "--rm", "--network", "host",
            IMAGE, "true"]
    t0 = time.monotonic()
    subprocess.run(argv, input="".join(f"{i}\n" for i in range(n)), text=True, check=True)
    return n / (time.monotonic() - t0)


def drover_eight(api, prefix, n):
    def one(i):
        api.apply(run_object(f"{prefix}{i}", "true", image=IMAGE))
        return api.wait_done(f"{prefix}{i}", 240)[1]

    t0 = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(EIGHT) as pool:
        assert set(pool.map(one, range(n))) == {"Done"}
    return n / (time.monotonic() - t0)


def eight_at_once(server):
    """Interleaved, so that both meet the same neighbours."""
    api = Api(server)
    ours, theirs = [], []
    for k in range(3):
        ours.append(drover_eight(api, f"e{k}-", CONTAINERS))
        theirs.append(docker_run_eight(CONTAINERS))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"| short jobs in containers by {EIGHT} clients, each from apply to Done | {a:.1f}/s |")
    print(f"| `docker run --rm` by {EIGHT} at once (xargs) | {b:.1f}/s: drover has {a / b:.2f}x |",
          flush=True)


def idle_cost(pid, what):
    time.sleep(2)  # what the last change left to do
    before = process_cost(pid)
    time.sleep(IDLE_SECONDS)
    private, rss, ticks = process_cost(pid)[:3]
    cpu = (ticks - before[2]) / os.sysconf("SC_CLK_TCK") / IDLE_SECONDS * 100
    print(f"| agent, {what}: private memory / RSS / processor over {IDLE_SECONDS} s | "
          f"{private} KB / {rss} KB / {cpu:.2f} % |", flush=True)


def standing(server, pid):
    """Containers that do nothing: what each costs the agent."""
    idle_cost(pid, "nothing running")
    server.apply(*[run_object(f"w{i}", "sleep 3600", image=IMAGE, stopDuration="0s")
                   for i in range(STANDING)])
    all_of(server, "w", STANDING, "Running")
    idle_cost(pid, f"{STANDING} containers running")
    for i in range(STANDING):
        server.drover("stop", f"w{i}")
    all_of(server, "w", STANDING, "Terminated")


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
            rate.append(short_jobs(server, Api(server), "t"))
            more = docker_loop()
            a, b = statistics.median(rate), statistics.median([loop, more])
            print(f"| the same again, after the loop | {rate[1]:.0f}/s |")
            print(f"| `docker run --rm` in a loop | {b:.1f}/s ({a / b:.1f}x) |")
            containers(server)
            eight_at_once(server)
            standing(server, pid)
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
