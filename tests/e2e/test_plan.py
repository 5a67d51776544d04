# SPDX-License-Identifier: Apache-2.0
"""drover apply: the plan before it, what changes in place, what is refused and why, a new
run in the place of an old one, the question on a terminal."""
import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

from conftest import BIN, run_object

ANY = {"cpu": "0..", "memory": "0.."}


@pytest.fixture
def run(shared_server, request):
    """A run of its own name that is deleted afterwards."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-40:].strip("-0123456789")
    yield run_object(name, ["sleep 300"], resources=ANY, stopDuration=1)
    shared_server.drover("delete", f"run/{name}", check=False)


def uid(server, name):
    return server.get("run", name)["metadata"]["uid"]


def apply(server, document, *args, check=True):
    return server.drover("apply", "-f", "-", *args, input=json.dumps(document), check=check)


def test_dry_run_says_what_and_where(shared_server, run):
    name = run["metadata"]["name"]
    out = apply(shared_server, run, "--dry-run").stdout
    assert f"run/{name}: will be created" in out and "has room now" in out, out
    assert out.endswith(f"run/{name} created (dry run)\n")
    assert shared_server.drover("get", f"run/{name}", check=False).returncode == 3
    run["spec"]["resources"] = {"cpu": "0..", "memory": "0..", "gpu": "H100:8"}
    out = apply(shared_server, run, "--dry-run").stdout
    assert re.search(r"needs GPU H100, has no GPU", out), out
    assert "it will wait in the queue" in out
    shared_server.apply({"apiVersion": "drover.dev/v1", "kind": "Quota", "metadata": {"name": "team"},
                         "spec": {"limits": [{"resource": "cpu", "hard": 1000}]}})
    assert re.search(r"Quota +team: ", apply(shared_server, run, "--dry-run").stdout)
    shared_server.drover("delete", "quota/team")
    run["spec"].update(whenNoCapacity="fail", fleets=["elsewhere"], resources=ANY)
    out = apply(shared_server, run, "--dry-run").stdout
    assert "is not one that the run may use" in out and "fail with NoCapacity" in out, out


def test_priority_changes_in_place(shared_server, run):
    name = run["metadata"]["name"]
    apply(shared_server, run)
    shared_server.wait(f"run/{name}", "phase=Running")
    before = uid(shared_server, name)
    run["spec"]["priority"] = 7
    out = apply(shared_server, run, "--dry-run").stdout
    assert "will be changed in place" in out
    assert "\n+spec.priority: 7\n" in out, out
    assert "priority" not in shared_server.get("run", name)["spec"]
    assert apply(shared_server, run).stdout == f"run/{name} configured\n"
    assert apply(shared_server, run).stdout == f"run/{name} unchanged\n"
    assert f"run/{name}: no change" in apply(shared_server, run, "--dry-run").stdout
    assert uid(shared_server, name) == before


def test_a_priority_by_name(shared_server, run):
    """The class comes with the run that names it; afterwards the run is not bound to it."""
    name = run["metadata"]["name"]
    urgent = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
              "metadata": {"name": "urgent"}, "value": 5000, "preemptionPolicy": "Never"}
    run["spec"]["priorityClassName"] = "urgent"
    r = apply(shared_server, run, "--dry-run", check=False)
    assert r.returncode == 2 and 'there is no PriorityClass "urgent"; there is none' in r.stderr, r
    both = json.dumps(urgent) + "\n---\n" + json.dumps(run)
    text = shared_server.drover("apply", "--dry-run", "-f", "-", input=both).stdout
    assert "priorityclass/urgent: will be created" in text, text
    shared_server.drover("apply", "-f", "-", input=both)
    shared_server.wait(f"run/{name}", "phase=Running")
    assert shared_server.get("run", name)["status"]["priorityClass"] == {
        "name": "urgent", "value": 5000, "preemptionPolicy": "Never"}
    other = dict(run, metadata={"name": "another-urgent"})
    text = apply(shared_server, other, "--dry-run").stdout
    assert re.search(r"^  Priority class urgent \(5000\)$", text, re.M), text
    shared_server.drover("delete", "priorityclass/urgent")
    assert shared_server.get("job", f"{name}-0-0-0")["spec"]["priority"] == 5000
    rows = [line.split() for line in shared_server.drover("ps").stdout.splitlines()]
    assert [r for r in rows if r[0] == name and "5000" in r], rows


def test_other_changes_are_refused_or_replace(shared_server, run):
    name = run["metadata"]["name"]
    apply(shared_server, run)
    shared_server.wait(f"run/{name}", "phase=Running")
    before = uid(shared_server, name)
    run["spec"]["commands"] = ["sleep 301"]
    r = apply(shared_server, run, check=False)
    assert r.returncode == 2 and "nothing was changed" in r.stderr
    assert re.search(r"spec\.commands: .*while the run is Running", r.stderr), r.stderr
    r = apply(shared_server, run, "--dry-run", check=False)
    assert r.returncode == 4
    assert "-spec.commands[0]: \"sleep 300\"\n+spec.commands[0]: \"sleep 301\"" in r.stdout
    assert "commands cannot be changed in place" in r.stderr, r.stderr
    assert uid(shared_server, name) == before
    assert apply(shared_server, run, "--replace").stdout == f"run/{name} replaced\n"
    shared_server.wait(f"run/{name}", "phase=Running")
    assert uid(shared_server, name) != before
    assert shared_server.get("run", name)["spec"]["commands"] == ["sleep 301"]


def test_kubectl_like_patches_are_refused_too(shared_server, run):
    """The rule is the API server's, not the command's."""
    name = run["metadata"]["name"]
    run["spec"]["commands"] = ["true"]
    apply(shared_server, run)
    shared_server.wait(f"run/{name}", "phase=Done")
    run["spec"]["env"] = {"A": "b"}
    r = apply(shared_server, run, check=False)
    assert r.returncode == 2 and re.search(r"spec\.env: .*has ended \(Done\)", r.stderr), r.stderr


def test_a_finished_dstack_file_runs_again(shared_server, workdir):
    f = workdir / "x.dstack.yml"
    f.write_text("type: task\nname: again\nenv: [A]\ncommands: ['echo $A']\n"
                 "resources: {cpu: 0.., memory: 0.., disk: 0..}\n")

    def go(value):
        r = shared_server.drover("apply", "-f", str(f), "-e", f"A={value}", "-e", f"MY_TOKEN={value}")
        shared_server.wait("run/again", "phase=Done")
        assert shared_server.drover("logs", "again").stdout == f"{value}\n"
        return r.stdout, uid(shared_server, "again")

    out, first = go("one")
    assert out == "run/again created\n"
    out, second = go("two")
    assert out == "run/again replaced\n" and second != first
    owner, = shared_server.get("secret", "again-env")["metadata"]["ownerReferences"]
    assert owner["uid"] == second

    # What is wrong is found before anything is deleted.
    f.write_text(f.read_text().replace("A]", "A]\nspot_policy: spot"))
    r = shared_server.drover("apply", "-f", str(f), "-e", "A=3", check=False)
    assert r.returncode == 2 and "spot_policy" in r.stderr
    assert uid(shared_server, "again") == second
    shared_server.drover("delete", "run/again")


class Terminal:
    """drover apply with a terminal of its own."""

    def __init__(self, server, *args, cwd=None):
        self.fd, slave = pty.openpty()
        self.process = subprocess.Popen(
            [BIN / "drover", "apply", *args], stdin=slave, stdout=slave, stderr=slave, cwd=cwd,
            start_new_session=True, env=dict(server.env, DROVER_CONFIG=str(server.kubeconfig),
                                             NO_COLOR="1", TERM="dumb"),
            preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540e, 0))  # TIOCSCTTY
        os.close(slave)
        self.text = ""

    def expect(self, pattern, timeout=60):
        end = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.text!r}"
            if not self.read(left):
                raise AssertionError(f"ended without {pattern!r}: {self.text!r}")

    def read(self, timeout):
        if not select.select([self.fd], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            data = b""
        self.text += data.decode(errors="replace")
        return bool(data)

    def send(self, text):
        os.write(self.fd, text.encode())

    def end(self, timeout=60):
        stop = time.monotonic() + timeout
        while time.monotonic() < stop and self.read(stop - time.monotonic()):
            pass
        code = self.process.wait(max(1, stop - time.monotonic()))
        os.close(self.fd)
        return code


def test_the_question_on_a_terminal(shared_server, workdir, run):
    name = run["metadata"]["name"]
    f = workdir / "run.json"
    f.write_text(json.dumps(run))
    t = Terminal(shared_server, "-f", str(f))
    t.expect(r"will be created[\s\S]*Go on\? \[y/N\] ")
    t.send("n\n")
    assert t.end() == 1
    assert "nothing was changed" in t.text
    assert shared_server.drover("get", f"run/{name}", check=False).returncode == 3

    t = Terminal(shared_server, "-f", str(f))
    t.expect(r"Go on\?")
    t.send("y\n")
    t.expect(f"run/{name} created")
    t.process.kill()
    t.end()
    before = uid(shared_server, name)
    shared_server.wait(f"run/{name}", "phase=Running")

    run["spec"]["commands"] = ["sleep 299"]
    f.write_text(json.dumps(run))
    t = Terminal(shared_server, "-f", str(f))
    t.expect(r"is Running, and this takes a new one[\s\S]*Stop what is there")
    t.send("y\n")
    t.expect(f"run/{name} replaced")
    t.process.kill()
    t.end()
    assert uid(shared_server, name) != before


def test_attach_ends_like_the_job(shared_server, run):
    name = run["metadata"]["name"]
    run["spec"]["commands"] = ["echo out", "exit 7"]
    r = apply(shared_server, run, "--attach", check=False)
    assert r.returncode == 7, (r.stdout, r.stderr)
    assert r.stdout == f"run/{name} created\nout\n"
    assert f"run/{name} Failed: Exited\n" in r.stderr


def test_control_c_asks(shared_server, workdir, run):
    name = run["metadata"]["name"]
    run["spec"]["commands"] = ["echo started", "sleep 300"]
    f = workdir / "run.json"
    f.write_text(json.dumps(run))
    t = Terminal(shared_server, "-y", "-f", str(f))
    t.expect("started")
    t.send("\x03")
    t.expect(r"Stop run/.* \(s\)")
    t.send("\n")
    t.expect("going on")
    t.send("\x03")
    t.expect(r"\(s\)[\s\S]*\(s\)")
    t.send("d\n")
    assert t.end() == 0
    assert "goes on without you" in t.text
    shared_server.wait(f"run/{name}", "phase=Running")

    run["spec"]["commands"] = ["echo again", "sleep 300"]
    f.write_text(json.dumps(run))
    t = Terminal(shared_server, "-y", "--replace", "-f", str(f))
    t.expect("again")
    t.send("\x03")
    t.expect(r"\(s\)")
    t.send("s\n")
    code = t.end()
    assert "Terminated" in t.text and code != 0, t.text
