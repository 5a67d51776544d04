# SPDX-License-Identifier: Apache-2.0
"""desired/: objects as files, both ways, with a real git and editors' ways of saving."""
import base64
import os
import shutil
import subprocess
import sys
import time

import pathlib

import pytest
import yaml
from conftest import BIN, private_dir, wait_until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from mirror_tools import CONFIGMAPS, RUNS, SECRETS, Mirror, git  # noqa: E402


@pytest.fixture(scope="module")
def mirror():
    d = private_dir()
    m = Mirror(d / "state").start()
    yield m
    m.server.stop()
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def own(workdir):
    m = Mirror(workdir / "state").start()
    m.wait_file(m.root / "default/fleets.drover.dev/local.yaml")
    m.settled()
    yield m
    m.server.stop()


def create(m, name, value, **metadata):
    status, reply = m.api.call("POST", CONFIGMAPS, {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, **metadata}, "data": {"k": value}})
    assert status == 201, reply
    return reply


def test_object_becomes_a_file(mirror):
    m = mirror
    create(m, "out", "1", labels={"team": "a"})
    file = m.configmaps / "out.yaml"
    doc = m.wait_file(file)
    assert doc == {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "1"},
                   "metadata": {"name": "out", "namespace": "default", "labels": {"team": "a"}}}
    assert list(doc) == ["apiVersion", "kind", "metadata", "data"]
    assert (m.root.stat().st_mode & 0o777) == 0o700
    m.api.patch(f"{CONFIGMAPS}/out", {"data": {"k": "2"}})
    m.wait_file(file, lambda d: d["data"]["k"] == "2")
    m.api.call("DELETE", f"{CONFIGMAPS}/out")
    wait_until(lambda: not file.exists(), 30, "the file to go")


def test_status_and_owned_objects_stay_out(mirror):
    m = mirror
    run = {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": "run1"},
           "spec": {"type": "task", "commands": ["true"]}}
    assert m.api.call("POST", RUNS, run)[0] == 201
    doc = m.wait_file(m.root / "default/runs.drover.dev/run1.yaml")
    assert "status" not in doc and set(doc["metadata"]) == {"name", "namespace"}
    m.settled()
    assert not (m.root / "default/jobs.drover.dev").exists()
    assert not (m.root / "drover-system").exists()


def test_create_edit_delete(mirror):
    m = mirror
    file = m.configmaps / "in.yaml"
    m.put(file, {"k": "1", "keep": "x"})
    m.wait_value("in", "1")
    fields = m.api.get(f"{CONFIGMAPS}/in")["metadata"]["managedFields"]
    assert [f["manager"] for f in fields] == ["files"]
    text = "# mine\n" + file.read_text().replace("k: '1'", "k: '2'")
    file.write_text(text)
    m.wait_value("in", "2")
    m.settled()
    assert file.read_text() == text, "layout and comments stay"
    assert m.value("in", "keep") == "x"
    file.unlink()
    wait_until(lambda: m.api.get(f"{CONFIGMAPS}/in") is None, 30, "the object to go")


def save_like_vim(file, text):
    """backupcopy=no with a backup: probe file, swap, rename the old one away, write, clean up."""
    d = file.parent
    (d / f".{file.name}.swp").write_bytes(b"b0VIM 9.0")
    (d / "4913").touch()
    (d / "4913").unlink()
    os.rename(file, str(file) + "~")
    with open(file, "w") as f:
        f.write(text[:len(text) // 2])
        f.flush()
        time.sleep(0.03)
        f.write(text[len(text) // 2:])
        f.flush()
        os.fsync(f.fileno())
    os.unlink(str(file) + "~")
    os.unlink(d / f".{file.name}.swp")


def save_like_emacs(file, text):
    d = file.parent
    os.symlink("me@host.1:1", d / f".#{file.name}")
    (d / f"#{file.name}#").write_text(text)
    shutil.copy(file, str(file) + "~")
    file.write_text(text)
    os.unlink(d / f"#{file.name}#")
    os.unlink(d / f".#{file.name}")


def save_by_rename(suffix):
    def save(file, text):
        temp = pathlib.Path(str(file) + suffix)
        temp.write_text(text)
        os.rename(temp, file)
    return save


@pytest.mark.parametrize("save", [save_like_vim, save_like_emacs, save_by_rename("___jb_tmp___"),
                                  save_by_rename(".kate-swp"), save_by_rename(".tmp")],
                         ids=["vim", "emacs", "jetbrains", "kate", "rename"])
def test_editors(mirror, save):
    m = mirror
    name = f"edit-{save.__name__.replace('_', '-')}-{time.monotonic_ns()}"
    file = m.configmaps / f"{name}.yaml"
    uid = create(m, name, "0")["metadata"]["uid"]
    m.wait_file(file)
    for i in range(1, 4):
        m.settled()
        save(file, file.read_text().replace(f'"{i - 1}"', f'"{i}"'))
        m.wait_value(name, str(i))
    assert m.api.get(f"{CONFIGMAPS}/{name}")["metadata"]["uid"] == uid, "never deleted meanwhile"
    m.settled()
    assert {n for n in m.api.names(CONFIGMAPS) if "edit" in n and name not in n} == \
        {n for n in m.api.names(CONFIGMAPS) if n.startswith("edit-")} - {name}


def test_invalid_file(mirror):
    m = mirror
    file = m.root / "default/runs.drover.dev/bad.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "# mine\nspec:\n  type: tusk\n"
    file.write_text(text)
    assert "spec.type" in m.error(file) and "task" in m.error(file)
    assert file.read_text() == text
    events = m.api.get("/api/v1/namespaces/default/events")["items"]
    assert [e for e in events if e["involvedObject"]["name"] == "bad"
            and e["reason"] == "FileNotApplied" and "spec.type" in e["message"]]
    file.write_text("spec:\n  type: [\n")
    wait_until(lambda: "line" in m.error(file), 30, "the place of the mistake")
    file.write_text("spec: {type: task, comands: [a]}\n")
    wait_until(lambda: "comands" in m.error(file), 30, "the unknown field")
    file.write_text("metadata: {name: other}\nspec: {type: task, commands: [a]}\n")
    wait_until(lambda: "metadata.name" in m.error(file), 30, "the wrong name")
    file.write_text("spec: {type: task, commands: ['true']}\n")
    m.no_error(file)
    assert m.api.get(f"{RUNS}/bad")
    assert "0 not applied" in m.status()


def test_misplaced_and_weird(mirror):
    m = mirror
    create(m, "dir", "1")
    m.wait_file(m.configmaps / "dir.yaml")
    odd = {m.root / "x.yaml": "<namespace>/<plural>.<group>", m.configmaps / "x.yml": ".yaml",
           m.configmaps / "a b.yaml": "cannot be", m.root / "default/run/x.yaml": "no kind"}
    for file, why in odd.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text("data: {}\n")
    for file, why in odd.items():
        assert why in m.error(file)
    (m.configmaps / "README.md").write_text("text")
    os.symlink("/etc/hostname", m.configmaps / "link.yaml")
    os.mkfifo(m.configmaps / "pipe.yaml")
    assert "symbolic link" in m.error(m.configmaps / "link.yaml")
    assert "plain file" in m.error(m.configmaps / "pipe.yaml")
    for file in [*odd, m.configmaps / "link.yaml", m.configmaps / "pipe.yaml"]:
        file.unlink()
        m.no_error(file)
    assert m.value("dir") == "1"


def test_conflict(own):
    m = own
    create(m, "c", "1")
    file = m.configmaps / "c.yaml"
    m.wait_file(file)
    m.settled()
    # both at once: the file changes while the server stands still
    m.server.stop()
    mine = file.read_text().replace('"1"', '"mine"')
    m.server.args.append("--no-mirror")
    m.start()
    assert m.api.patch(f"{CONFIGMAPS}/c", {"data": {"k": "theirs", "other": "x"}})[0] == 200
    m.server.stop()
    m.server.args.remove("--no-mirror")
    file.write_text(mine)
    m.start()
    why = m.error(file)
    assert 'data.k: the file says "mine"' in why and '"1"' in why and '"theirs"' in why
    assert file.read_text() == mine and m.value("c") == "theirs"
    file.write_text(mine.replace('mine', 'theirs'))
    m.no_error(file)
    m.wait_file(file, lambda d: d["data"] == {"k": "theirs", "other": "x"})
    m.settled()
    file.write_text(file.read_text().replace("theirs", "mine"))
    m.wait_value("c", "mine")


def test_discard_one_file(mirror):
    m = mirror
    create(m, "d", "1")
    file = m.configmaps / "d.yaml"
    m.wait_file(file)
    m.settled()
    file.write_text("nonsense: [\n")
    m.error(file)
    m.command("discard", str(file))
    m.wait_file(file, lambda d: d["data"]["k"] == "1")
    m.no_error(file)


def test_rename(mirror):
    m = mirror
    m.put(m.configmaps / "old.yaml", {"k": "moved"})
    m.wait_value("old", "moved")
    os.rename(m.configmaps / "old.yaml", m.configmaps / "new.yaml")
    m.wait_value("new", "moved")
    wait_until(lambda: m.value("old") is None, 30, "the old one to go")
    # with the name inside: nothing is lost until it is changed too
    create(m, "inside", "x")
    m.wait_file(m.configmaps / "inside.yaml")
    m.settled()
    moved = m.configmaps / "outside.yaml"
    os.rename(m.configmaps / "inside.yaml", moved)
    assert "metadata.name" in m.error(moved)
    m.settled()
    assert m.value("inside") == "x"
    moved.write_text(moved.read_text().replace("inside", "outside"))
    m.wait_value("outside", "x")
    wait_until(lambda: m.value("inside") is None, 30, "the old one to go")


def test_secrets_are_sealed(own):
    m = own
    file = m.secrets / "db.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("stringData: {password: hunter2-plain}\n")
    doc = m.wait_file(file, lambda d: "data" in d)
    sealed = doc["data"]["password"]
    assert sealed.startswith("sealed:v1:") and "stringData" not in doc

    def stored(key):
        return base64.b64decode(m.api.get(f"{SECRETS}/db")["data"][key]).decode()

    assert stored("password") == "hunter2-plain"
    doc["metadata"]["labels"] = {"a": "b"}
    doc["data"]["user"] = base64.b64encode(b"root").decode()
    file.write_text(yaml.safe_dump(doc))
    doc = m.wait_file(file, lambda d: d["data"].get("user", "").startswith("sealed:"))
    assert stored("password") == "hunter2-plain" and stored("user") == "root"
    assert doc["data"]["password"] == sealed, "the same value, the same text"
    doc["data"]["user"] = sealed
    file.write_text(yaml.safe_dump(doc))
    assert "another field" in m.error(file)
    m.settled()
    m.server.stop()
    for needle in (b"hunter2-plain", base64.b64encode(b"hunter2-plain")):
        for d in ("desired", "mirror"):
            r = subprocess.run(["grep", "-rlF", needle, str(m.server.dir / d)],
                               capture_output=True)
            assert r.returncode == 1, r.stdout


def test_mass_deletion_is_held(own):
    m = own
    for i in range(20):
        m.put(m.configmaps / f"m{i}.yaml", {"k": str(i)})
    wait_until(lambda: len(m.api.names(CONFIGMAPS)) >= 20, 30, "20 objects")
    m.settled()
    for i in range(2):
        (m.configmaps / f"m{i}.yaml").unlink()
        wait_until(lambda: len(m.api.names(CONFIGMAPS)) == 19 - i, 30, "one deletion")
    shutil.rmtree(m.configmaps)
    wait_until(lambda: "18 deletions held" in m.status(), 30, "18 to be held")
    assert len(m.api.names(CONFIGMAPS)) == 18
    m.server.stop()
    m.start()
    wait_until(lambda: "18 deletions held" in m.status(), 30, "still held")
    m.command("discard")
    wait_until(lambda: len(list(m.configmaps.glob("*.yaml"))) == 18, 30, "the files again")
    m.settled()
    assert "0 deletions held" in m.status()
    shutil.rmtree(m.configmaps)
    wait_until(lambda: "18 deletions held" in m.status(), 30, "18 to be held")
    m.command("confirm")
    wait_until(lambda: not m.api.names(CONFIGMAPS), 30, "all to be deleted")


def test_git_checkout_of_500_files(own):
    m = own
    git(m.root, "init", "-q", "-b", "main")
    git(m.root, "add", "-A")
    git(m.root, "commit", "-qm", "start")
    git(m.root, "checkout", "-qb", "many")
    work = m.server.dir.parent / "clone"
    git(m.root, "worktree", "add", "-q", str(work), "-b", "prepare")
    for i in range(500):
        file = work / f"team/configmaps/g{i:03}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"data:\n  k: '{i}'\n")
    (work / "_cluster/namespaces/team.yaml").write_text("metadata: {labels: {a: b}}\n")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "500")
    git(m.root, "merge", "-q", "prepare")
    path = "/api/v1/namespaces/team/configmaps"
    wait_until(lambda: len(m.api.names(path)) == 500, 60, "500 objects")
    m.settled()
    assert git(m.root, "status", "--porcelain") == "", "git sees no change of ours"
    git(m.root, "checkout", "-q", "main")
    wait_until(lambda: "501 deletions held" in m.status(), 30, "all to be held")
    assert len(m.api.names(path)) == 500
    git(m.root, "checkout", "-q", "many")
    wait_until(lambda: "0 deletions held" in m.status(), 60, "nothing to be held any more")
    assert len(m.api.names(path)) == 500 and "0 not applied" in m.status()


def test_waits_for_git(mirror):
    m = mirror
    (m.root / ".git").mkdir(exist_ok=True)
    lock = m.root / ".git/index.lock"
    lock.touch()
    m.put(m.configmaps / "locked.yaml", {"k": "1"})
    wait_until(lambda: "index.lock" in m.status(), 30, "the status to say it")
    time.sleep(0.5)
    assert m.value("locked") is None
    lock.unlink()
    m.wait_value("locked", "1")
    shutil.rmtree(m.root / ".git")


def test_changes_while_down(own):
    m = own
    for name in ("edit", "gone", "stay"):
        create(m, name, "1")
        m.wait_file(m.configmaps / f"{name}.yaml")
    m.settled()
    m.server.stop()
    file = m.configmaps / "edit.yaml"
    file.write_text(file.read_text().replace('"1"', '"2"'))
    (m.configmaps / "gone.yaml").unlink()
    m.put(m.configmaps / "new.yaml", {"k": "new"})
    m.start()
    m.wait_value("edit", "2")
    m.wait_value("new", "new")
    wait_until(lambda: m.value("gone") is None, 30, "gone to go")
    assert m.value("stay") == "1"


def test_missing_root_deletes_nothing(own):
    m = own
    for i in range(5):
        create(m, f"o{i}", "1")
        m.wait_file(m.configmaps / f"o{i}.yaml")
    m.settled()
    away = m.server.dir / "away"
    os.rename(m.root, away)  # while it runs
    m.api.patch(f"{CONFIGMAPS}/o0", {"data": {"k": "2"}})
    wait_until(lambda: "is missing" in m.status(), 30, "the status to say it")
    assert len(m.api.names(CONFIGMAPS)) == 5 and not m.root.exists()
    m.server.stop()
    m.start()
    wait_until(lambda: "is missing" in m.status(), 30, "the status to say it")
    assert len(m.api.names(CONFIGMAPS)) == 5 and not m.root.exists()
    os.rename(away, m.root)
    m.wait_file(m.configmaps / "o0.yaml", lambda d: d["data"]["k"] == "2")
    m.settled()
    m.server.stop()
    os.rename(m.root, away)
    m.root.mkdir(0o700)  # what an unmounted file system looks like
    m.start()
    wait_until(lambda: "deletions held" in m.status() and " 0 deletions" not in m.status(),
               30, "deletions to be held")
    assert len(m.api.names(CONFIGMAPS)) == 5
    m.server.stop()
    m.root.rmdir()
    os.rename(away, m.root)
    m.start()
    m.settled()
    assert len(m.api.names(CONFIGMAPS)) == 5 and " 0 deletions held" in m.status()


def test_rebuild_from_files_alone(own):
    m = own
    create(m, "cm", "1", labels={"a": "b"})
    m.put(m.root / "team/configmaps/t.yaml", {"k": "t"})
    m.put(m.root / "_cluster/namespaces/team.yaml", {})
    (m.root / "_cluster/namespaces/team.yaml").write_text("metadata: {labels: {x: z}}\n")
    m.secrets.mkdir(parents=True)
    (m.secrets / "s.yaml").write_text("stringData: {p: secret-text}\n")
    m.wait_file(m.secrets / "s.yaml", lambda d: "data" in d)
    wait_until(lambda: m.api.get("/api/v1/namespaces/team/configmaps/t"), 30, "team/t")
    m.wait_file(m.configmaps / "cm.yaml")
    m.settled()
    m.server.stop()
    d = m.server.dir
    r = subprocess.run([BIN / "drover", "store", "rebuild", "--data-dir", d],
                       capture_output=True, text=True)
    assert r.returncode == 4 and "--replace" in r.stderr
    for name in ("log", "snapshot", "mirror"):
        shutil.rmtree(d / name, ignore_errors=True)
    r = subprocess.run([BIN / "drover", "store", "rebuild", "--data-dir", d],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    m.start()
    m.settled()
    assert m.value("cm") == "1"
    assert m.api.get("/api/v1/namespaces/team")["metadata"]["labels"]["x"] == "z"
    assert m.api.get("/api/v1/namespaces/team/configmaps/t")["data"] == {"k": "t"}
    data = m.api.get(f"{SECRETS}/s")["data"]["p"]
    assert base64.b64decode(data) == b"secret-text"
    assert "0 not applied" in m.status()


def test_without_the_mirror(workdir):
    m = Mirror(workdir / "state", args=["--no-mirror"]).start()
    create(m, "x", "1")
    assert not m.root.exists()
    r = m.server.drover("mirror", "status", "--data-dir", str(m.server.dir), check=False)
    assert r.returncode != 0 and "--no-mirror" in r.stderr
    m.server.stop()


def test_kind_of_ones_own_in_one_batch(own):
    """A CRD, a namespace and objects of both appear at once; they come in the right order."""
    m = own
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    assert m.api.call("POST", f"{rbac}/clusterroles", {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "widgets"},
        "rules": [{"apiGroups": ["example.com"], "resources": ["*"], "verbs": ["*"]}]})[0] == 201
    assert m.api.call("POST", f"{rbac}/clusterrolebindings", {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "files-widgets"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "widgets"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User",
                      "name": "system:files"}]})[0] == 201
    crd = {"spec": {"group": "example.com", "scope": "Namespaced",
                    "names": {"plural": "widgets", "kind": "Widget"},
                    "versions": [{"name": "v1", "served": True, "storage": True, "schema": {
                        "openAPIV3Schema": {"type": "object", "properties": {"spec": {
                            "type": "object", "properties": {"size": {"type": "integer"}}}}}}}]}}
    files = {"shop/widgets.example.com/a.yaml": {"spec": {"size": 1}},
             "_cluster/namespaces/shop.yaml": {"metadata": {"labels": {"a": "b"}}},
             "_cluster/customresourcedefinitions.apiextensions.k8s.io/widgets.example.com.yaml": crd}
    for name, doc in files.items():
        (m.root / name).parent.mkdir(parents=True, exist_ok=True)
        (m.root / name).write_text(yaml.safe_dump(doc))
    path = "/apis/example.com/v1/namespaces/shop/widgets/a"
    wait_until(lambda: m.api.get(path), 30, "the widget")
    m.settled()
    assert "0 not applied" in m.status(), m.status()
    m.api.patch(path, {"spec": {"size": 2}})
    m.wait_file(m.root / "shop/widgets.example.com/a.yaml", lambda d: d["spec"]["size"] == 2)
    m.settled()
    # one file, but everything of the kind would go
    (m.root / "_cluster/customresourcedefinitions.apiextensions.k8s.io"
     / "widgets.example.com.yaml").unlink()
    wait_until(lambda: "1 deletions held" in m.status(), 30, "it to be held")
    assert m.api.get(path)
