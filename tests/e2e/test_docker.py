# SPDX-License-Identifier: Apache-2.0
"""Runs in real containers on a real dockerd (started by hack/with-dockerd)."""
import json
import os
import signal
import subprocess
import time

import pytest
from conftest import Server, private_dir, run_object, wait_until

IMAGE = "drover-test/busybox:1"

pytestmark = pytest.mark.skipif("DOCKER_HOST" not in os.environ,
                                reason="run by hack/with-dockerd")


def docker(*args):
    return subprocess.run(["docker", *args], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def server():
    import shutil
    d = private_dir()
    s = Server(d / "state").start()
    wait_until(lambda: "docker" in s.get("instances")[0]["status"]["agent"]["engineNames"], 30,
               "the docker engine")
    yield s
    s.stop()
    assert docker("ps", "-aq", "--filter", "label=drover.dev/job-uid").strip() == ""
    shutil.rmtree(d, ignore_errors=True)


def container(name, commands, **spec):
    spec.setdefault("resources", {"cpu": "0.."})
    return run_object(name, commands, image=spec.pop("image", IMAGE), **spec)


def status(s, name):
    return s.get("run", name)["status"]


def test_hello(server):
    server.apply(container("hello", ["echo hi from $DROVER_RUN_NAME", "cat /etc/hostname >/dev/null"]))
    server.wait("run/hello", "phase=Done")
    assert server.drover("logs", "-f", "hello").stdout == "hi from hello\n"
    assert server.get("job", "hello-0-0-0")["spec"]["engine"] == "docker"


def test_env_user_dir(server):
    server.apply(container("env", ["echo $A", "id -u", "pwd"], env={"A": "a b"}, user="1000",
                           workingDir="/tmp"))
    server.wait("run/env", "phase=Done")
    assert server.drover("logs", "-f", "env").stdout == "a b\n1000\n/tmp\n"


def test_exact_bytes(server):
    server.apply(container("exact", [r"printf 'tab\tnl\n\n\033[31mred\377\200 no newline'"]))
    server.wait("run/exact", "phase=Done")
    out = server.drover("logs", "-f", "exact", text=False).stdout
    assert out == b"tab\tnl\n\n\x1b[31mred\xff\x80 no newline"


@pytest.mark.parametrize("name,commands,want", [
    ("seven", ["exit 7"], {"phase": "Failed", "reason": "Exited", "exitCode": 7}),
    ("segv", ["kill -SEGV $$"], {"phase": "Failed", "signal": "SIGSEGV"}),
])
def test_ends(server, name, commands, want):
    server.apply(container(name, commands))
    server.wait(f"run/{name}", "phase=Failed")
    have = status(server, name)
    assert {k: have.get(k) for k in want} == want


def test_out_of_memory(server):
    server.apply(container("oom", ["head -c 300000000 /dev/zero | tail"],
                           resources={"memory": "64MB", "cpu": "0.."}))
    server.wait("run/oom", "phase=Failed")
    assert status(server, "oom")["reason"] == "OutOfMemory"


def test_stop(server):
    server.apply(container("polite", ["trap 'echo bye; exit 0' TERM", "echo up",
                                      "while :; do sleep 0.05; done"]))
    server.wait("run/polite", "phase=Running")
    server.drover("stop", "polite", "--wait")
    assert (status(server, "polite")["phase"], status(server, "polite")["reason"]) == \
        ("Terminated", "StoppedByUser")
    assert "bye" in server.drover("logs", "-f", "polite").stdout
    server.apply(container("deaf", ["trap '' TERM", "sleep 1000"], stopDuration="1s"))
    server.wait("run/deaf", "phase=Running")
    start = time.monotonic()
    server.drover("stop", "deaf", "--wait")
    assert 0.9 < time.monotonic() - start < 15


def test_image_that_cannot_be_pulled(server):
    server.apply(container("noimage", ["true"], image="127.0.0.1:1/no/such:image"))
    server.wait("run/noimage", "phase=Failed")
    st = status(server, "noimage")
    assert st["reason"] == "ImagePullFailed" and "127.0.0.1:1" in st["message"]


def test_wrong_command(server):
    obj = container("nocmd", [])
    del obj["spec"]["commands"]
    obj["spec"]["entrypoint"] = "/no/such/program"
    server.apply(obj)
    server.wait("run/nocmd", "phase=Failed")
    assert status(server, "nocmd")["reason"] in ("StartFailed", "CreateContainerFailed")


def test_agent_killed_while_running(server):
    server.apply(container("long", ["for i in 1 2 3 4 5 6; do echo line $i; sleep 0.4; done"]))
    server.wait("run/long", "phase=Running")
    for _ in range(3):
        pid = server.part_pid("runner")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.part_pid("runner") not in (None, pid), 20, "a new agent")
        time.sleep(0.2)
    server.wait("run/long", "phase=Done")
    assert server.drover("logs", "-f", "long").stdout == \
        "".join(f"line {i}\n" for i in range(1, 7))


def test_container_is_contained(server):
    d = server.dir
    script = (f"[ -e {d} ] && echo REACHED data; "
              f"[ -S {d}/run/api.sock ] && echo REACHED socket; "
              "[ -S /var/run/docker.sock ] && echo REACHED docker; "
              "mount -t tmpfs x /mnt 2>/dev/null && echo REACHED mount; "
              "(echo 1 > /proc/sys/kernel/panic) 2>/dev/null && echo REACHED sysctl; "
              "for p in /proc/[0-9]*; do grep -q drover-apiserver $p/cmdline 2>/dev/null && "
              "[ $p != /proc/$$ ] && [ $p != /proc/1 ] && grep -q -- --data-dir $p/cmdline && "
              "echo REACHED $p; done; "
              f"kill -0 {server.part_pid('runner')} 2>/dev/null && echo REACHED agent; "
              "echo tried")
    server.apply(container("prison", [script]))
    server.wait("run/prison", "condition=Finished")
    out = server.drover("logs", "-f", "prison").stdout
    assert "tried" in out and "REACHED" not in out, out


def test_secret_is_not_in_inspect_of_the_image_or_labels(server):
    server.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cred"},
                  "stringData": {"TOKEN": "s3cretvalue"}},
                 container("secret", ["echo ${#TOKEN}", "sleep 2"],
                           envFrom=[{"secretRef": {"name": "cred"}}]))
    server.wait("run/secret", "phase=Running")
    labels = docker("ps", "--format", "{{json .Labels}}")
    assert "s3cretvalue" not in labels
    server.wait("run/secret", "phase=Done")
    assert server.drover("logs", "-f", "secret").stdout == "11\n"
    assert "s3cretvalue" not in json.dumps(server.get("jobs"))
