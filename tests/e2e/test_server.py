# SPDX-License-Identifier: Apache-2.0
"""drover server itself: who holds the directory, taken ports, full disks, Ctrl-C."""
import os
import signal
import socket
import subprocess
import time

import pytest
from conftest import BIN, Server, free_ports, run_object, wait_until


def start_server(*args, **kw):
    return subprocess.run([BIN / "drover", "server", *args], capture_output=True, text=True,
                          timeout=60, **kw)


def test_second_server_says_who(shared_server):
    r = start_server("--data-dir", str(shared_server.dir), "--listen", "127.0.0.1:0")
    assert r.returncode == 6
    assert "in use by another drover server" in r.stderr
    assert f"pid {shared_server.process.pid}" in r.stderr


def test_port_taken(workdir):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        start = time.monotonic()
        r = start_server("--data-dir", str(workdir / "d"), "--listen", f"127.0.0.1:{port}")
        assert r.returncode != 0
        assert str(port) in r.stderr and "taken" in r.stderr
        assert time.monotonic() - start < 30


def test_data_dir_is_a_file(workdir):
    (workdir / "f").write_text("x")
    r = start_server("--data-dir", str(workdir / "f"))
    assert r.returncode != 0
    assert "data directory" in r.stderr


def test_unwritable_dir():
    r = start_server("--data-dir", "/proc/drover-state")
    assert r.returncode != 0
    assert "/proc/drover-state" in r.stderr


def test_bad_flag():
    r = start_server("--no-such")
    assert r.returncode == 2


def test_own_tokens_and_anonymous_reach_the_api(workdir):
    import hashlib
    import json
    import ssl
    import urllib.error
    import urllib.request
    digest = hashlib.blake2b(b"sesame-open-now", digest_size=32).hexdigest()
    tokens = workdir / "users.tokens"
    tokens.write_text(f"{digest} ali ops\n")
    s = Server(workdir / "state", args=["--token-auth-file", str(tokens), "--anonymous-auth"]).start()
    try:
        url = next(line.split()[1] for line in s.kubeconfig.read_text().splitlines()
                   if line.strip().startswith("server:"))
        context = ssl.create_default_context(cafile=str(s.dir / "keys" / "ca.crt"))

        def message(**headers):
            request = urllib.request.Request(url + "/api/v1/namespaces", headers=headers)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, context=context)
            return json.load(refused.value)["message"]
        assert 'User "ali" cannot list' in message(Authorization="Bearer sesame-open-now")
        assert 'User "system:anonymous" cannot list' in message()
        assert "cannot list" not in message(Authorization="Bearer sesame-shut")
    finally:
        s.stop()


def test_ctrl_c_stops_all_parts(workdir):
    s = Server(workdir / "state").start()
    pids = [s.part_pid(p) for p in ("apiserver", "controllers", "streams", "runner")]
    assert all(pids), pids
    s.process.send_signal(signal.SIGINT)
    assert s.process.wait(30) == 0
    for p in pids:
        assert not os.path.exists(f"/proc/{p}")


def test_job_survives_restart(workdir):
    s = Server(workdir / "state").start()
    s.apply(run_object("long", ["echo a", "sleep 4", "echo b"]))
    s.wait("run/long", "phase=Running")
    s.stop()
    s.start()
    try:
        s.wait("run/long", "phase=Done")
        assert s.drover("logs", "long").stdout == "a\nb\n"
        assert s.get("run", "long")["status"].get("attempt", 0) == 0
    finally:
        s.stop()


@pytest.mark.skipif(os.environ.get("DROVER_LONG") != "1", reason="a Lease lasts 15 s")
def test_stopped_controllers_are_seen(workdir):
    """The process is there and does nothing: the supervisor cannot know, people and monitors
    can; the API server stays in the load balancer."""
    s = Server(workdir / "d", ["--no-runner"]).start()
    try:
        def warning():
            return s.drover("queue").stderr
        pid = s.part_pid("controllers")
        wait_until(lambda: not warning(), 30, "the controllers to be at work")
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: "not at work; nothing is placed" in warning(), 60, "a warning")
        # It has lost its Lease, ends, and is started again.
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: not warning(), 60, "the controllers to be at work again")
    finally:
        s.stop()


def test_modes_of_secret_files(shared_server):
    d = shared_server.dir
    assert os.stat(d).st_mode & 0o777 == 0o700
    for f in ("admin.token", "kubeconfig", "run/controllers.token", "keys/ca.key"):
        assert os.stat(d / f).st_mode & 0o077 == 0, f


@pytest.fixture
def small_disk(workdir):
    d = workdir / "small"
    d.mkdir()
    r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", d])
    if r.returncode != 0:
        pytest.skip("cannot mount a tmpfs here")
    yield d
    subprocess.run(["umount", "-l", d])


def test_full_disk(small_disk):
    """A full disk refuses writes with a clear sentence, keeps serving, and goes on when there
    is room again."""
    s = Server(small_disk / "state").start()
    try:
        filler = small_disk / "filler"
        with open(filler, "wb") as f:
            try:
                while True:
                    f.write(b"\0" * 65536)
                    f.flush()
            except OSError:
                pass
        big = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"},
               "stringData": {"a": "y" * 900_000}}
        seen = ""
        for i in range(40):
            big["metadata"]["name"] = f"x{i}"
            r = s.apply(big, check=False)
            if r.returncode != 0:
                seen = r.stderr
                break
        assert "space" in seen.lower(), seen
        assert s.drover("get", "runs").returncode == 0
        os.unlink(filler)
        wait_until(lambda: s.apply(run_object("after", ["true"]), check=False).returncode == 0,
                   60, "writes to work again")
        s.wait("run/after", "phase=Done")
    finally:
        s.stop()


def test_help_of_every_verb():
    out = subprocess.run([BIN / "drover", "--help"], capture_output=True, text=True).stdout
    verbs = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert len(verbs) >= 13
    for v in verbs:
        if v == "version":
            continue
        r = subprocess.run([BIN / "drover", v, "--help"], capture_output=True, text=True)
        assert r.returncode == 0 and r.stdout.startswith(f"usage: drover {v}"), v


def test_completion_is_valid_bash():
    out = subprocess.run([BIN / "drover", "completion", "bash"], capture_output=True, text=True)
    r = subprocess.run(["bash", "-n"], input=out.stdout, text=True)
    assert r.returncode == 0 and "_drover" in out.stdout


def test_second_agent_joins(shared_server, workdir):
    """A machine joins by token over TLS with the CA pinned by its hash."""
    s = shared_server
    out = s.drover("token", "create", "--join", "local").stdout
    argv = out.splitlines()[-1].split()
    argv[0] = str(BIN / "drover-runner")
    argv[argv.index("--dir") + 1] = str(workdir / "agent")
    p = subprocess.Popen([*argv, "--name", "second"], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: s.drover("get", "instance/second", check=False).returncode == 0,
                   30, "the machine to enrol")
        s.wait("instance/second", "phase=Ready")
    finally:
        p.terminate()
        p.wait(20)
    wrong = [a.replace("sha256:", "sha256:00") if a.startswith("sha256:") else a for a in argv]
    wrong[wrong.index("--dir") + 1] = str(workdir / "agent2")
    r = subprocess.run([*wrong, "--name", "third"], capture_output=True, text=True, timeout=30)
    assert r.returncode != 0 and "hash" in r.stderr
    assert free_ports(1)
