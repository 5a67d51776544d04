# SPDX-License-Identifier: Apache-2.0
"""Files and code in: local paths and checkouts through drover apply into a job's directory,
with real git servers (git daemon; http-backend behind basic auth)."""
import base64
import hashlib
import http.server
import io
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request

import pytest

from conftest import free_ports, run_object, wait_until

GIT_ENV = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1",
               GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@example.com",
               GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@example.com")


def git(cwd, *args):
    return subprocess.run(["git", *args], cwd=cwd, env=GIT_ENV, check=True,
                          capture_output=True, text=True).stdout.strip()


def apply_file(server, directory, run):
    path = pathlib.Path(directory) / f"{run['metadata']['name']}.yaml"
    path.write_text(json.dumps(run))
    return server.drover("apply", "-f", str(path), check=False)


def finish(server, name, phase="Done"):
    r = server.drover("wait", f"run/{name}", f"--for=phase={phase}", "--timeout", "60s",
                      check=False)
    out = server.drover("logs", name, check=False).stdout
    assert r.returncode == 0, (server.get("run", name)["status"].get("message"), out)
    return out


@pytest.fixture
def upstream(workdir):
    """A bare repository with two branches and a submodule, behind git daemon."""
    base = workdir / "git"
    base.mkdir()
    git(base, "init", "-q", "--bare", "sub.git")
    git(base, "init", "-q", "--bare", "-b", "main", "app.git")
    port = free_ports(1)[0]
    daemon = subprocess.Popen(
        ["git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1",
         f"--port={port}", f"--base-path={base}", str(base)], env=GIT_ENV,
        stderr=subprocess.DEVNULL)
    url = f"git://127.0.0.1:{port}"
    try:
        wait_until(lambda: subprocess.run(["git", "ls-remote", f"{url}/sub.git"], env=GIT_ENV,
                                          capture_output=True).returncode == 0,
                   what="git daemon")
        sub = workdir / "sub"
        git(workdir, "clone", "-q", str(base / "sub.git"), str(sub))
        (sub / "lib.txt").write_text("from the submodule\n")
        git(sub, "add", ".")
        git(sub, "commit", "-qm", "sub")
        git(sub, "push", "-q", "origin", "HEAD")
        work = workdir / "app"
        git(workdir, "clone", "-q", str(base / "app.git"), str(work))
        git(work, "checkout", "-q", "-B", "main")
        (work / "main.txt").write_text("one\ntwo\nthree\n")
        (work / "gone.txt").write_text("to be deleted\n")
        (work / "run.sh").write_text("#!/bin/sh\necho ran\n")
        (work / "run.sh").chmod(0o755)
        (work / "link").symlink_to("/etc/hostname")
        git(work, "-c", "protocol.file.allow=always", "submodule", "add", "-q",
            f"{url}/sub.git", "sub")
        git(work, "add", ".")
        git(work, "commit", "-qm", "first")
        git(work, "push", "-q", "-u", "origin", "main")
        git(work, "checkout", "-q", "-b", "other")
        (work / "main.txt").write_text("other branch\n")
        git(work, "commit", "-qam", "other")
        git(work, "push", "-q", "-u", "origin", "other")
        git(work, "checkout", "-q", "main")
        git(work, "remote", "set-url", "origin", f"{url}/app.git")
        yield url, work, base
    finally:
        daemon.terminate()
        daemon.wait()


def test_files_arrive(shared_server, workdir):
    s = shared_server
    (workdir / "data" / "deep").mkdir(parents=True)
    (workdir / "data" / "empty").mkdir()
    (workdir / "data" / "deep" / "a.bin").write_bytes(bytes(range(256)) * 5000)
    (workdir / "data" / "tool").write_text("#!/bin/sh\necho tool\n")
    (workdir / "data" / "tool").chmod(0o700)
    (workdir / "data" / "to-a").symlink_to("deep/a.bin")
    (workdir / "data" / ("n" * 120)).write_text("long name\n")
    (workdir / "one.txt").write_text("one file\n")
    digest = hashlib.sha256(bytes(range(256)) * 5000).hexdigest()
    r = apply_file(s, workdir, run_object(
        "files", ["cat conf/renamed.txt", "sha256sum < data/to-a", "./data/tool",
                  "ls -d data/empty", "cat data/nnn*", "stat -c %u:%g data/deep/a.bin data/to-a",
                  "cat /tmp/t/one.txt"],
        files=["data", "one.txt:conf/renamed.txt",
               {"localPath": "one.txt", "path": "/tmp/t/one.txt"}]))
    assert r.returncode == 0, r.stderr
    assert finish(s, "files") == (f"one file\n{digest}  -\ntool\ndata/empty\nlong name\n"
                                  "0:0\n0:0\none file\n")
    spec = s.get("run", "files")["spec"]["files"]
    assert spec[1]["blob"] == spec[2]["blob"]
    again = apply_file(s, workdir, run_object(
        "files", s.get("run", "files")["spec"]["commands"],
        files=["data", "one.txt:conf/renamed.txt",
               {"localPath": "one.txt", "path": "/tmp/t/one.txt"}]))
    assert "unchanged" in again.stdout, again.stdout + again.stderr


def test_owner_is_the_jobs_user(shared_server, workdir):
    (workdir / "f").write_text("x")
    r = apply_file(shared_server, workdir, run_object(
        "owner", ["stat -c %U f", "touch f"], user="daemon", files=["f"]))
    assert r.returncode == 0, r.stderr
    assert finish(shared_server, "owner") == "daemon\n"


def test_root_file_system(shared_server, workdir, upstream):
    """A directory of the machine as the job's root, where the fleet allows it; files and code at any place in it."""
    s = shared_server
    root = workdir / "root"
    for d in ("bin", "etc", "home/alice"):
        (root / d).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    for name in ("sh", "cat", "ls", "id", "stat"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("alice:x:1000:1000::/home/alice:/bin/sh\n")
    (workdir / "f").write_text("brought\n")

    def run(name):
        return run_object(name, ["cat /opt/app/f j/f", "id -u", "stat -c %u /opt/app/f",
                                 "echo $HOME", "ls -d /usr || true", "echo x > /tmp/x",
                                 "stat -c %u /src/run.sh"],
                          rootfs={"path": str(root)}, user="alice",
                          repos=[{"url": f"{upstream[0]}/app.git", "path": "/src"}],
                          files=["f:/opt/app/f", "f:/job/j/f"])

    apply_file(s, workdir, run("root-no"))
    s.wait("run/root-no", "phase=Failed")
    assert s.get("run", "root-no")["status"]["reason"] == "SecurityDenied"
    fleet = s.get("fleet", "local")
    fleet["spec"]["security"] = {"hostPaths": True}
    s.apply({k: fleet[k] for k in ("apiVersion", "kind", "spec")}
            | {"metadata": {"name": "local", "namespace": "default"}})
    try:
        apply_file(s, workdir, run("root-yes"))
        assert finish(s, "root-yes").replace("ls: /usr: No such file or directory\n", "") == (
            "brought\nbrought\n1000\n1000\n/home/alice\n1000\n")
        assert sorted(p.name for p in root.iterdir()) == ["bin", "etc", "home"]
        r = apply_file(s, workdir, run_object("root-lost", ["true"],
                                              rootfs={"path": str(root / "lost")}))
        s.wait("run/root-lost", "phase=Failed")
        status = s.get("run", "root-lost")["status"]
        assert (status["reason"], "No such file" in status["message"]) == ("CreateFailed", True), r
    finally:
        fleet["spec"]["security"] = {"hostPaths": False}
        s.apply({k: fleet[k] for k in ("apiVersion", "kind", "spec")}
                | {"metadata": {"name": "local", "namespace": "default"}})


def busybox_archive(path, marker, big=0):
    """A root file system around the machine's busybox, with what only an archive can hold."""
    with tarfile.open(path, "w:gz", compresslevel=1) as t:
        def add(name, kind=tarfile.REGTYPE, data=b"", **fields):
            i = tarfile.TarInfo(name)
            i.type, i.size = kind, len(data)
            for key, value in fields.items():
                setattr(i, key, value)
            t.addfile(i, io.BytesIO(data))
        add("./", tarfile.DIRTYPE, mode=0o755)
        add("./bin/busybox", data=pathlib.Path(shutil.which("busybox")).read_bytes(), mode=0o4755)
        for name in ("sh", "cat", "ls", "id", "stat", "sleep", "rm"):
            add(f"./bin/{name}", tarfile.SYMTYPE, linkname="busybox")
        add("./dev/null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
        add("./home/alice/", tarfile.DIRTYPE, mode=0o750, uid=1000, gid=300)
        add("./etc/passwd", data=b"alice:x:1000:300::/home/alice:/bin/sh\n", mode=0o644)
        add("./marker", data=marker, mode=0o644)
        add("./same", tarfile.LNKTYPE, linkname="./marker")
        if big > 0:
            i = tarfile.TarInfo("./big")
            i.size = big
            with open("/dev/zero", "rb") as zeros:
                t.addfile(i, zeros)


def agent_roots(s):
    """Of the machine: names of the root file systems that it keeps unpacked."""
    d = s.dir / "agent/roots"
    return sorted(p.name for p in d.iterdir() if p.is_dir()) if d.exists() else []


def test_root_file_system_of_an_archive(shared_server, workdir, upstream):
    """Uploaded once, unpacked once, shared by jobs at once, with files and a repository in it."""
    s = shared_server
    url = upstream[0]
    busybox_archive(workdir / "root.tar.gz", b"of the archive\n")
    (workdir / "f").write_text("brought\n")
    digest = hashlib.sha256((workdir / "root.tar.gz").read_bytes()).hexdigest()
    commands = ["cat /marker /same", "stat -c %u:%g:%a /home/alice /marker", "id -un",
                "cat /opt/app/f", "[ ! -d /src ] || stat -c %u /src/run.sh", "ls -d /usr || true",
                "[ -c /dev/null ] && echo device", "echo more > ~/x && rm ~/x && echo fine"]
    runs = ["arc-1", "arc-2"]
    for name in runs:
        code = [{"url": f"{url}/app.git", "path": "/src"}] if name == "arc-1" else []
        r = apply_file(s, workdir, run_object(
            name, commands + ["touch /job/here", "while [ ! -e /tmp/go ]; do sleep 0.05; done"],
            rootfs={"archive": "root.tar.gz"}, user="alice", files=["f:/opt/app/f"],
            repos=code))
        assert r.returncode == 0, r.stderr
    spec = s.get("run", "arc-1")["spec"]["rootfs"]
    assert (spec["blob"], spec["archive"]) == (f"sha256:{digest}", "root.tar.gz")
    for name in runs:  # both at once
        s.wait(f"run/{name}", "phase=Running")
    jobs = {j["metadata"]["labels"]["drover.dev/run"]: j["metadata"]["uid"]
            for j in s.get("jobs") if j["metadata"]["labels"]["drover.dev/run"] in runs}
    assert agent_roots(s) == [digest]
    for name in runs:
        job = s.dir / "agent/jobs" / jobs[name]
        wait_until(lambda: (job / "work/here").exists())
        (job / "tmp/go").touch()
        assert finish(s, name).replace("ls: /usr: No such file or directory\n", "") == (
            "of the archive\nof the archive\n1000:300:750\n0:0:644\nalice\nbrought\n"
            + ("1000\n" if name == "arc-1" else "") + "device\nfine\n"), name


def test_example_of_an_archive(shared_server, workdir):
    example = pathlib.Path(__file__).parents[2] / "manifests/examples/rootfs"
    for name in ("make-archive", "run.yaml"):
        shutil.copy(example / name, workdir)
    subprocess.run(["sh", "make-archive"], cwd=workdir, check=True)
    shared_server.drover("apply", "-f", str(workdir / "run.yaml"))
    out = finish(shared_server, "own-root")
    assert out.startswith("I am worker of own-root, at home in /home/worker\nbin\n"), out


@pytest.mark.skipif(os.environ.get("DROVER_LONG") != "1", reason="unpacks gigabytes; DROVER_LONG=1")
def test_trouble_while_an_archive_is_unpacked(server, workdir):
    """The agent is killed, then a job stopped, amid the work: nothing half unpacked stays, and
    the job that lives has its root."""
    s = server
    roots = s.dir / "agent/roots"

    def start(name, marker):
        busybox_archive(workdir / f"{name}.tar.gz", marker, big=3 << 30)
        r = apply_file(s, workdir, run_object(name, ["cat /marker", "stat -c %s /big"],
                                              rootfs={"archive": f"{name}.tar.gz"}))
        assert r.returncode == 0, r.stderr
        wait_until(lambda: list(roots.glob("*.tmp/big")), 60, "the unpacking")

    start("killed", b"one\n")
    wait_until(lambda: s.get("job", "killed-0-0-0")["status"].get("agent", {})
               .get("state") == "Preparing", 60, "the agent to say so")
    agent = s.part_pid("runner")
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: s.part_pid("runner") not in (None, agent), 60, "a new agent")
    assert finish(s, "killed") == f"one\n{3 << 30}\n"
    wait_until(lambda: not list(roots.glob("*.tmp")))
    start("stopped", b"two\n")
    s.drover("stop", "stopped")
    s.wait("run/stopped", "phase=Terminated")
    wait_until(lambda: not list(roots.glob("*.tmp")), 60, "what was half unpacked to go")
    assert len(agent_roots(s)) == 1


def test_archives_that_cannot_be(shared_server, workdir):
    s = shared_server
    (workdir / "tree").mkdir()
    (workdir / "r.tar.xz").write_bytes(b"\xfd7zXZ\0" + bytes(600))
    for archive, words in (("r.tar.xz", "compressed by xz; a tar archive, plain or gzip"),
                           ("tree", "is a directory: tar -C"), ("none.tar", "No such file")):
        r = apply_file(s, workdir, run_object("arc-no", ["true"], rootfs={"archive": archive}))
        assert r.returncode != 0 and words in r.stderr, r.stderr
        assert "spec.rootfs.archive" in r.stderr, r.stderr
    busybox_archive(workdir / "whole.tar.gz", b"x")
    cut = (workdir / "whole.tar.gz").read_bytes()[:-2000]
    (workdir / "cut.tar.gz").write_bytes(cut)
    before = agent_roots(s)
    apply_file(s, workdir, run_object("arc-cut", ["true"], rootfs={"archive": "cut.tar.gz"}))
    s.wait("run/arc-cut", "phase=Failed")
    status = s.get("run", "arc-cut")["status"]
    assert status["reason"] == "FilesNotPlaced"
    assert "root file system: the archive is cut short" in status["message"]
    assert agent_roots(s) == before
    # An agent that is not root says so before it fetches anything.
    order = {"dir": str(workdir), "agentDir": str(workdir), "cache": str(workdir / "blobs"),
             "url": "http://127.0.0.1:1", "ns": "default", "process": True, "files": [],
             "repos": [], "archive": "sha256:" + "0" * 64}
    runner = subprocess.run([str(s.programs / "drover-runner"), "--place"], input=json.dumps(order),
                            capture_output=True, text=True, user=65534, cwd="/", check=False)
    assert runner.stdout == "root file system: only an agent that runs as root gives jobs one\n"


def test_ignored_files_stay(shared_server, workdir):
    d = workdir / "tree"
    d.mkdir()
    git(d, "init", "-q")
    (d / ".gitignore").write_text("*.o\n")
    (d / ".dstackignore").write_text("big/\n")
    (d / "a.o").write_text("x")
    (d / "a.c").write_text("x")
    (d / "big").mkdir()
    (d / "big" / "b").write_text("x")
    r = apply_file(shared_server, workdir, run_object(
        "ignored", ["cd tree && find . -type f | sort"], files=["tree"]))
    assert r.returncode == 0, r.stderr
    assert finish(shared_server, "ignored") == "./.dstackignore\n./.gitignore\n./a.c\n"


def test_path_that_cannot_be(shared_server, workdir):
    s = shared_server
    (workdir / "f").write_text("x")
    r = apply_file(s, workdir, run_object("nowhere", ["true"], files=["f:/etc/passwd"]))
    assert r.returncode == 0, r.stderr
    s.wait("run/nowhere", "phase=Failed")
    status = s.get("run", "nowhere")["status"]
    assert status["reason"] == "FilesNotPlaced"
    assert "/etc/passwd" in status["message"]
    r = apply_file(s, workdir, run_object("missing", ["true"], files=["no-such-file"]))
    assert r.returncode != 0 and "spec.files[0]" in r.stderr and "no-such-file" in r.stderr


def test_checkout_with_uncommitted_changes(shared_server, upstream):
    url, work, _ = upstream
    (work / "main.txt").write_text("one\nTWO\nthree")
    (work / "gone.txt").unlink()
    (work / "new").mkdir()
    (work / "new" / "bin").write_bytes(bytes([0, 255, 10, 13]) * 100)
    (work / "new" / "x.sh").write_text("#!/bin/sh\necho new tool\n")
    (work / "new" / "x.sh").chmod(0o755)
    before = (work / ".git" / "index").read_bytes()
    r = apply_file(shared_server, work.parent, run_object(
        "checkout", ["cat main.txt", "echo", "test -e gone.txt || echo no file", "sha256sum < new/bin",
                     "./new/x.sh", "./run.sh", "readlink link", "cat sub/lib.txt",
                     "stat -c %u main.txt .git/config link", "git status --short | sort"],
        repos=["app"]))
    assert r.returncode == 0, r.stderr
    assert (work / ".git" / "index").read_bytes() == before
    digest = hashlib.sha256(bytes([0, 255, 10, 13]) * 100).hexdigest()
    out = finish(shared_server, "checkout")
    assert "one\nTWO\nthree\n" in out and f"{digest}  -\nnew tool\nran\n/etc/hostname\n" in out
    assert "from the submodule\n0\n0\n0\n" in out
    assert out.endswith(" D gone.txt\n M main.txt\n?? new/\n"), out
    repo = shared_server.get("run", "checkout")["spec"]["repos"][0]
    assert repo["branch"] == "main" and repo["url"] == f"{url}/app.git"


def test_branch_and_hash(shared_server, upstream):
    s = shared_server
    url, work, _ = upstream
    first = git(work, "rev-parse", "main")
    s.apply(run_object("branch", ["cat src/main.txt", "git -C src rev-parse --abbrev-ref HEAD"],
                       repos=[{"url": f"{url}/app.git", "branch": "other", "path": "src"}]))
    assert finish(s, "branch") == "other branch\nother\n"
    s.apply(run_object("hash", ["git rev-parse HEAD", "git rev-parse --abbrev-ref HEAD"],
                       repos=[{"url": f"{url}/app.git", "branch": "other", "hash": first}]))
    assert finish(s, "hash") == f"{first}\nHEAD\n"


def test_clone_errors_in_words(shared_server, upstream):
    s = shared_server
    url, _, _ = upstream
    for name, repo, words in [
            ("nobranch", {"url": f"{url}/app.git", "branch": "nope"}, "nope"),
            ("nocommit", {"url": f"{url}/app.git", "hash": "0" * 40}, "0" * 40),
            ("norepo", {"url": f"{url}/none.git"}, "none.git"),
            ("noscheme", {"url": "ext::sh -c true"}, "ext")]:
        s.apply(run_object(name, ["true"], repos=[repo]))
        s.wait(f"run/{name}", "phase=Failed")
        status = s.get("run", name)["status"]
        assert status["reason"] == "FilesNotPlaced", status
        assert words in status["message"], status


class GitHttp(http.server.BaseHTTPRequestHandler):
    """git http-backend behind basic auth."""
    base, token, seen = None, None, []

    def handle_any(self):
        expected = "Basic " + base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        self.seen.append(self.headers.get("Authorization"))
        if self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        env = dict(os.environ, GIT_PROJECT_ROOT=str(self.base), GIT_HTTP_EXPORT_ALL="1",
                   PATH_INFO=path, QUERY_STRING=query, REQUEST_METHOD=self.command,
                   CONTENT_TYPE=self.headers.get("Content-Type", ""),
                   CONTENT_LENGTH=str(len(body)), GIT_CONFIG_COUNT="1",
                   GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
                   GIT_PROTOCOL=self.headers.get("Git-Protocol", ""))
        if self.headers.get("Content-Encoding"):
            env["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
        out = subprocess.run(["git", "http-backend"], env=env, input=body,
                             capture_output=True, check=True).stdout
        head, _, payload = out.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().split("\r\n"):
            key, _, value = line.partition(": ")
            if key != "Status":
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = handle_any

    def log_message(self, *args):
        pass


def test_token_from_a_secret(shared_server, upstream):
    s = shared_server
    _, work, base = upstream
    GitHttp.base, GitHttp.token = base, "tok-Xyzzy123"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), GitHttp)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/app.git"
        s.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "code"},
                 "stringData": {"token": GitHttp.token}})
        s.apply(run_object("token", ["cat main.txt", "grep -r Xyzzy .git || echo clean"],
                           repos=[{"url": url, "secretRef": {"name": "code"}}]))
        assert finish(s, "token") == "one\ntwo\nthree\nclean\n"
        s.apply(run_object("notoken", ["true"], repos=[{"url": url}]))
        s.wait("run/notoken", "phase=Failed")
        assert "Authentication" in s.get("run", "notoken")["status"]["message"] \
            or "read" in s.get("run", "notoken")["status"]["message"]
        found = subprocess.run(["grep", "-rl", "Xyzzy", str(s.dir / "agent")],
                               capture_output=True, text=True).stdout
        assert found == ""
    finally:
        server.shutdown()


@pytest.fixture
def sshd(workdir):
    """A real sshd on loopback with one authorized key."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                        str(workdir / f"{name}_key")], check=True)
    (workdir / "authorized").write_text((workdir / "user_key.pub").read_text())
    port = free_ports(1)[0]
    config = workdir / "sshd_config"
    config.write_text(f"""Port {port}
ListenAddress 127.0.0.1
HostKey {workdir}/host_key
AuthorizedKeysFile {workdir}/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PidFile {workdir}/sshd.pid
""")
    os.makedirs("/run/sshd", exist_ok=True)
    daemon = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)],
                              stderr=open(workdir / "sshd.log", "wb"))
    wait_until(lambda: b"listening" in (workdir / "sshd.log").read_bytes(), what="sshd")
    yield port, workdir / "user_key"
    daemon.terminate()
    daemon.wait()


@pytest.mark.skipif(not os.path.exists("/usr/sbin/sshd"), reason="no sshd")
def test_key_from_a_secret(shared_server, workdir, sshd):
    s = shared_server
    port, key = sshd
    bare = workdir / "keyed.git"
    git(workdir, "init", "-q", "--bare", "-b", "main", str(bare))
    work = workdir / "keyed"
    git(workdir, "clone", "-q", str(bare), str(work))
    git(work, "checkout", "-q", "-B", "main")
    (work / "hello.txt").write_text("over ssh\n")
    git(work, "add", ".")
    git(work, "commit", "-qm", "one")
    git(work, "push", "-q", "origin", "main")
    url = f"ssh://root@127.0.0.1:{port}{bare}"
    s.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"},
             "stringData": {"private-key": key.read_text()}})
    s.apply(run_object("keyed", ["cat hello.txt"],
                       repos=[{"url": url, "secretRef": {"name": "key"}}]))
    assert finish(s, "keyed") == "over ssh\n"
    s.apply(run_object("unkeyed", ["true"], repos=[{"url": url}]))
    s.wait("run/unkeyed", "phase=Failed")
    assert "ermission denied" in s.get("run", "unkeyed")["status"]["message"]
    # neither the key nor a part of it is left on the machine
    line = key.read_text().splitlines()[2]
    assert subprocess.run(["grep", "-rlF", line, str(s.dir / "agent")],
                          capture_output=True, text=True).stdout == ""


# --- the blob API itself ---------------------------------------------------------------

def call(server, method, path, body=None, token=None):
    context = ssl._create_unverified_context()
    token = token if token is not None else (server.dir / "admin.token").read_text().strip()
    request = urllib.request.Request(
        f"https://127.0.0.1:{server.streams_port}/apis/streams.drover.dev/v1/namespaces{path}",
        data=body, method=method, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, context=context) as r:
            return r.status, r.read(), dict(r.headers)
    except urllib.error.HTTPError as e:
        return e.code, e.read(), dict(e.headers)


def test_blob_upload_resumes_and_is_verified(shared_server):
    s = shared_server
    data = os.urandom(2_500_000)
    name = "sha256:" + hashlib.sha256(data).hexdigest()
    path = f"/default/blobs/{name}"
    assert call(s, "GET", path)[0] == 404
    assert call(s, "HEAD", path)[0] == 404
    size = len(data)
    put = lambda at, n: call(s, "PUT", f"{path}?offset={at}&size={size}", data[at:at + n])
    assert json.loads(put(0, 1_000_000)[1])["offset"] == 1_000_000
    status, body, _ = put(0, 1_000_000)
    assert status == 409 and json.loads(body)["offset"] == 1_000_000
    status, body, _ = put(2_000_000, 1000)
    assert status == 409 and json.loads(body)["offset"] == 1_000_000
    assert call(s, "GET", path)[0] == 404
    assert put(1_000_000, 1_000_000)[0] == 202
    assert put(2_000_000, 1_000_000)[0] == 201
    assert put(0, 10)[0] == 200
    assert call(s, "GET", path)[1] == data
    assert call(s, "GET", f"{path}?offset=2000000")[1] == data[2_000_000:]
    head = call(s, "HEAD", path)
    assert head[0] == 200 and head[2]["Content-Length"] == str(size)
    # other bytes under that name
    wrong = "sha256:" + "0" * 64
    status, body, _ = call(s, "PUT", f"/default/blobs/{wrong}?size=3&offset=0", b"abc")
    assert status == 422 and b"SHA-256" in body
    assert call(s, "GET", f"/default/blobs/{wrong}")[0] == 404
    assert call(s, "GET", f"/kube-system/blobs/{name}")[0] == 404  # per namespace
    assert call(s, "GET", path, token="nonsense")[0] == 401
    for bad in ("sha256:xyz", "../" + name, name + "/x"):
        assert call(s, "GET", f"/default/blobs/{bad}")[0] in (400, 404)
    assert call(s, "PUT", f"{path}?offset=x&size=1", b"a")[0] == 400
    assert call(s, "PUT", path, b"a")[0] == 400


def test_blob_quota(shared_server):
    name = "sha256:" + "1" * 64
    status, body, _ = call(shared_server, "PUT",
                           f"/default/blobs/{name}?offset=0&size={3 << 30}", b"abc")
    assert status == 202, body
    status, body, _ = call(shared_server, "PUT",
                           f"/default/blobs/sha256:{'2' * 64}?offset=0&size={60 << 30}", b"abc")
    assert status == 413, body


def test_agents_read_only_what_their_jobs_name(shared_server, workdir):
    """The agent's own token, as the node authorizer sees it."""
    s = shared_server
    (workdir / "mine").write_text("mine")
    apply_file(s, workdir, run_object("reader", ["read x < /dev/null; sleep 30"],
                                      files=["mine"], stopDuration=0))
    s.wait("run/reader", "phase=Running")
    token = json.loads((s.dir / "agent" / "identity.json").read_text())["token"]
    blob = s.get("run", "reader")["spec"]["files"][0]["blob"]
    assert call(s, "GET", f"/default/blobs/{blob}", token=token)[0] == 200
    other = b"not for agents"
    name = "sha256:" + hashlib.sha256(other).hexdigest()
    assert call(s, "PUT", f"/default/blobs/{name}?offset=0&size={len(other)}", other)[0] == 201
    assert call(s, "GET", f"/default/blobs/{name}", token=token)[0] == 403
    assert call(s, "PUT", f"/default/blobs/{name}?offset=0&size=14", other, token=token)[0] == 403
    s.drover("stop", "reader", "--abort", check=False)
