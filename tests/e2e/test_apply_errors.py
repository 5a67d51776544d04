# SPDX-License-Identifier: Apache-2.0
"""apply of wrong input: one clear message per problem with file, line and field path; exit
code 2; nothing changed."""
import re

import pytest

HEAD = "apiVersion: drover.dev/v1\nkind: Run\nmetadata:\n  name: bad\nspec:\n  type: task\n"

CASES = {
    "unknown field": (HEAD + "  commands: [true_]\n  bogus: 1\n", r":8: spec\.bogus: "),
    "wrong type": (HEAD + "  commands: [x]\n  priority: high\n", r":8: spec\.priority: .*integer"),
    "too large value": (HEAD + "  commands: [x]\n  priority: 101\n", r":8: spec\.priority: .*100"),
    "bad grammar gpu": (HEAD + "  commands: [x]\n  resources:\n    gpu: A100::2\n",
                        r":9: spec\.resources\.gpu: .*A100"),
    "bad grammar memory": (HEAD + "  commands: [x]\n  resources: {memory: 16XB}\n",
                           r"spec\.resources\.memory: "),
    "bad duration": (HEAD + "  commands: [x]\n  stopDuration: 1h30m\n",
                     r":8: spec\.stopDuration: "),
    "bad enum": (HEAD.replace("task", "tsk") + "  commands: [x]\n", r":6: spec\.type: .*task"),
    "missing commands": (HEAD, r"spec\.commands: Required value"),
    "missing type": (HEAD.replace("  type: task\n", "  commands: [x]\n"),
                     r"spec\.type: Required value"),
    "missing name": (HEAD.replace("  name: bad\n", "  labels: {}\n") + "  commands: [x]\n",
                     r"name is missing"),
    "missing kind": ("apiVersion: drover.dev/v1\nmetadata: {name: x}\n", r"kind is missing"),
    "unknown kind": ("apiVersion: drover.dev/v1\nkind: Runn\nmetadata: {name: x}\n",
                     r":2: kind: \"Runn\""),
    "bad name": (HEAD.replace("bad", "Bad_Name") + "  commands: [x]\n",
                 r":4: metadata\.name: "),
    "relative dir": (HEAD + "  commands: [x]\n  workingDir: a/b\n",
                     r":8: spec\.workingDir: .*absolute"),
    "tabs": (HEAD + "\tcommands: [x]\n", r"line 7"),
    "duplicate key": (HEAD + "  commands: [x]\n  priority: 1\n  priority: 2\n", r"line 9.*priority"),
    "not a mapping": ("- a\n- b\n", r"must be a mapping"),
    "empty": ("# nothing\n", r"no document"),
    "bad yaml": ("a: [1, 2\n", r"line "),
}


@pytest.mark.parametrize("case", CASES)
def test_message(shared_server, workdir, case):
    text, pattern = CASES[case]
    f = workdir / "case.yaml"
    f.write_text(text)
    r = shared_server.drover("apply", "-f", str(f), check=False)
    assert r.returncode == 2, (r.stdout, r.stderr)
    assert re.search(pattern, r.stderr), r.stderr
    assert r.stderr.startswith(str(f)), r.stderr
    assert "nothing was changed" in r.stderr
    assert shared_server.drover("get", "run/bad", check=False).returncode == 3


def test_every_problem_is_named(shared_server, workdir):
    f = workdir / "many.yaml"
    f.write_text(HEAD + "  commands: [x]\n  priority: 500\n  stopDuration: soon\n"
                        "  resources: {memory: lots}\n")
    r = shared_server.drover("apply", "-f", str(f), check=False)
    assert r.returncode == 2
    for path in ("spec.priority", ):
        assert path in r.stderr
    f.write_text(HEAD + "  commands: [x]\n  stopDuration: soon\n  user: 'a:b:c'\n"
                        "  resources: {memory: lots}\n")
    r = shared_server.drover("apply", "-f", str(f), check=False)
    for path in ("spec.stopDuration", "spec.user", "spec.resources.memory"):
        assert path in r.stderr


def test_one_bad_document_changes_nothing(shared_server, workdir):
    good = HEAD.replace("bad", "fine") + "  commands: [x]\n"
    f = workdir / "two.yaml"
    f.write_text(good + "---\n" + HEAD + "  commands: [x]\n  priority: 101\n")
    r = shared_server.drover("apply", "-f", str(f), check=False)
    assert r.returncode == 2
    assert shared_server.drover("get", "run/fine", check=False).returncode == 3


@pytest.mark.parametrize("name,data,pattern", [
    ("big", b"a: " + b"x" * 10_000_000, rb"larger than"),
    ("utf8", HEAD.encode() + b"  commands: [\"\xff\xfe\"]\n", rb"UTF-8|utf-8|invalid"),
    ("deep", b"a: " + b"[" * 5000 + b"]" * 5000, rb"deep|nest"),
    ("bomb", b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9))
        for i in range(9)), rb"alias|nodes|expand"),
])
def test_hostile(shared_server, workdir, name, data, pattern):
    f = workdir / f"{name}.yaml"
    f.write_bytes(data)
    r = shared_server.drover("apply", "-f", str(f), check=False, text=False)
    assert r.returncode == 2
    assert re.search(pattern, r.stderr), r.stderr[:500]


def test_unreachable_server(workdir):
    from conftest import Server
    s = Server(workdir / "state")
    s.start()
    s.stop()
    r = s.drover("get", "runs", check=False)
    assert r.returncode == 6
    assert "127.0.0.1" in r.stderr


def test_examples_are_valid(shared_server):
    from conftest import ROOT
    shared_server.drover("apply", "--dry-run", "-f", str(ROOT / "manifests/examples"))


def test_examples_of_the_guide_are_valid(shared_server, tmp_path):
    from conftest import ROOT
    found = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/runs.md").read_text(), re.M | re.S)
    assert len(found) >= 3
    for i, text in enumerate(found):
        (tmp_path / f"{i}.yaml").write_text(text)
    shared_server.drover("apply", "--dry-run", "-f", str(tmp_path))
