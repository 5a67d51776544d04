# SPDX-License-Identifier: Apache-2.0
"""drover apply of dstack's own files: what becomes of them on a real server, and what the
CLI puts into a Run of what only its caller knows."""
import base64
import json
import os
import re
import subprocess

import pytest

from conftest import BIN, ROOT

SMALL = "resources: {cpu: 0.., memory: 0.., disk: 0..}\n"


@pytest.fixture
def apply(shared_server, workdir):
    """drover apply in a directory of its own, with the given .dstack.yml."""

    def run(text, *args, env=None, check=True, files=()):
        (workdir / ".dstack.yml").write_text(text)
        for name, content in dict(files).items():
            (workdir / name).parent.mkdir(parents=True, exist_ok=True)
            (workdir / name).write_text(content)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DSTACK_")}
        r = subprocess.run([BIN / "drover", "apply", *args], capture_output=True, text=True,
                           cwd=workdir, timeout=120, stdin=subprocess.DEVNULL,
                           env=dict(clean, HOME=str(workdir), **(env or {}),
                                    DROVER_CONFIG=str(shared_server.kubeconfig)))
        if check:
            assert r.returncode == 0, (r.stdout, r.stderr)
        return r

    return run


def test_a_task_runs(shared_server, apply):
    apply("type: task\nname: dt-one\nenv:\n- WHO=world\n- FROM_ME\n" + SMALL +
          "commands:\n- echo hello $WHO\n- echo $FROM_ME $0\n- echo args ${{ run.args }}\n",
          "--", "a", "b c", env={"FROM_ME": "outside"})
    shared_server.wait("run/dt-one", "phase=Done")
    log = shared_server.drover("logs", "dt-one").stdout
    assert "hello world\n" in log and "outside " in log and "args a b c\n" in log, log
    spec = shared_server.get("run", "dt-one")["spec"]
    assert spec["env"] == {"WHO": "world"}
    assert spec["envFrom"] == [{"secretRef": {"name": "dt-one-env"}}]
    assert spec["runArgs"] == "a 'b c'"
    assert "outside" not in json.dumps(spec)


def test_values_of_the_caller_are_in_a_secret_of_the_run(shared_server, apply):
    text = ("type: task\nname: dt-sec\nenv: [HF_TOKEN]\ncommands: [sleep 60]\n" + SMALL)
    apply(text, env={"HF_TOKEN": "s3cret"})
    run = shared_server.get("run", "dt-sec")
    secret = shared_server.get("secret", "dt-sec-env")
    assert base64.b64decode(secret["data"]["HF_TOKEN"]) == b"s3cret"
    owner, = secret["metadata"]["ownerReferences"]
    assert owner["uid"] == run["metadata"]["uid"]
    assert "s3cret" not in json.dumps(run)
    shared_server.drover("delete", "run/dt-sec")
    shared_server.wait("secret/dt-sec-env", "delete")


def test_a_value_that_the_caller_lacks(apply):
    r = apply("type: task\nname: dt-lack\nenv:\n- A=b\n- NOT_SET\ncommands: [x]\n",
              check=False)
    assert r.returncode == 2
    assert re.search(r"^\.dstack\.yml:5: env\[1\]: NOT_SET is not set", r.stderr), r.stderr
    assert "nothing was changed" in r.stderr


def test_env_option(shared_server, apply):
    apply("type: task\nname: dt-env\nenv: {A: file, B: file}\n" + SMALL +
          "commands: ['echo $A $B $C $D_TOKEN']\n",
          "-e", "A=option", "-e", "C", "-e", "D_TOKEN=hidden", env={"C": "mine"})
    shared_server.wait("run/dt-env", "phase=Done")
    assert shared_server.drover("logs", "dt-env").stdout == "option file mine hidden\n"
    spec = shared_server.get("run", "dt-env")["spec"]
    assert spec["env"] == {"A": "option", "B": "file"}
    assert "hidden" not in json.dumps(spec)


def test_literal_secrets_are_warned_about(apply):
    r = apply("type: task\nname: dt-warn\nenv: {MY_API_KEY: abc}\ncommands: ['true']\n" + SMALL)
    assert re.search(r":3: env\.MY_API_KEY: warning: a literal secret", r.stderr), r.stderr


def test_registry_auth_goes_into_a_secret(shared_server, apply):
    apply("type: task\nname: dt-reg\nimage: nowhere.invalid/x\nenv: [PW, U=me]\n"
          "registry_auth:\n  username: ${{ env.U }}\n  password: ${{ env.PW }}\n", env={"PW": "pw1"})
    run = shared_server.get("run", "dt-reg")
    assert run["spec"]["registryAuth"] == {"secretRef": {"name": "dt-reg-registry"}}
    data = shared_server.get("secret", "dt-reg-registry")["data"]
    assert {k: base64.b64decode(v).decode() for k, v in data.items()} == \
        {"username": "me", "password": "pw1"}
    shared_server.drover("delete", "run/dt-reg")


def test_a_name_is_made(shared_server, apply):
    names = set()
    for _ in range(2):
        out = apply("type: task\ncommands: ['true']\n" + SMALL).stdout
        names.add(re.fullmatch(r"run/([a-z]+-[a-z]+-\d+) created\n", out).group(1))
    assert len(names) == 2
    assert apply("type: task\ncommands: ['true']\n" + SMALL, "--name", "dt-named").stdout == \
        "run/dt-named created\n"


def test_fields_on_the_command_line(shared_server, apply):
    text = "type: task\ncommands: ['true']\nretry: true\nresources: {cpu: 64, memory: 0.., disk: null}\n"
    apply(text, "--name", "dt-opts", "--cpu", "0..", "--gpu", "0", "--fleet", "local", "--no-retry",
          "--priority", "9", "--max-duration", "5m")
    spec = shared_server.get("run", "dt-opts")["spec"]
    assert spec["resources"] == {"cpu": "0..", "memory": "0..", "gpu": "0"}
    assert (spec["fleets"], spec["priority"], spec["maxDuration"]) == (["local"], 9, "5m")
    assert "retry" not in spec
    shared_server.wait("run/dt-opts", "phase=Done")
    apply(text, "--name", "dt-opts", "--retry-duration", "7m", "--cpu", "0..")
    assert shared_server.get("run", "dt-opts")["spec"]["retry"]["duration"] == "7m"
    r = apply(text, "--name", "dt-opts", "--priority", "high", check=False)
    assert r.returncode == 2 and "not a number" in r.stderr


CASES = {
    "unknown key": ("type: task\ncomands: [x]\n", r":2: comands: .*did you mean \"commands\""),
    "nested": ("type: task\ncommands: [x]\nretry:\n  on_event: [error]\n",
               r":4: retry\.on_event: .*\"on_events\""),
    "grammar": ("type: task\ncommands: [x]\nresources:\n  memory: 8G\n",
                r":4: resources\.memory: .*MB, GB or TB"),
    "service": ("type: service\nport: 80\ncommands: [x]\n", r":1: type: services are not served yet"),
    "by the server": ("type: task\nname: dt-srv\ncommands: [x]\nschedule:\n  cron: 'x y'\n",
                      r":5: schedule\.cron"),
    "by the server, in a group": ("type: task\nname: dt-srv\nspot_policy: spot\ncommands: [x]\n",
                                  r":3: spot_policy: .*spot machines"),
    "unclosed": ("type: task\nname: dt-srv\ncommands: ['${{ run.args']\n", r":3: commands\[0\]: .*not closed"),
    "secrets are not for commands": ("type: task\nname: dt-srv\ncommands: ['echo ${{ secrets.x }}']\n",
                                     r":3: commands\[0\]: .*secrets\.x"),
}


@pytest.mark.parametrize("case", CASES)
def test_message(shared_server, apply, case):
    text, pattern = CASES[case]
    r = apply(text, check=False)
    assert r.returncode == 2, (r.stdout, r.stderr)
    assert re.search(r"^\.dstack\.yml" + pattern, r.stderr, re.M), r.stderr
    assert "nothing was changed" in r.stderr
    assert shared_server.drover("get", "run/dt-srv", check=False).returncode == 3


def test_no_file(shared_server, workdir):
    r = subprocess.run([BIN / "drover", "apply"], capture_output=True, text=True, cwd=workdir)
    assert r.returncode == 2 and ".dstack.yml" in r.stderr


PROFILES = ("profiles:\n- {name: short, max_duration: 90}\n"
            "- {name: usual, default: true, max_duration: 2h, retry: true, tags: {a: b}}\n")


@pytest.mark.parametrize("args,env,expected", [
    ((), {}, "2h"),
    (("--profile", "short"), {}, 90),
    ((), {"DSTACK_PROFILE": "short"}, 90),
    (("--profile", "usual"), {"DSTACK_PROFILE": "short"}, "2h"),
    ((), {"DSTACK_NO_PROFILE": "1"}, None),
    (("--no-profile",), {"DSTACK_PROFILE": "short"}, None),
])
def test_profiles(shared_server, apply, args, env, expected):
    apply("type: task\ncommands: ['true']\n" + SMALL, "--name", "dt-prof", *args, env=env,
          files={".dstack/profiles.yml": PROFILES})
    assert shared_server.get("run", "dt-prof")["spec"].get("maxDuration") == expected
    shared_server.drover("delete", "run/dt-prof")
    shared_server.wait("run/dt-prof", "delete")


def test_the_file_wins_over_the_profile(shared_server, apply):
    apply("type: task\nname: dt-wins\nmax_duration: 5m\ncommands: ['true']\n" + SMALL,
          files={".dstack/profiles.yaml": PROFILES})
    spec = shared_server.get("run", "dt-wins")["spec"]
    assert spec["maxDuration"] == "5m" and spec["tags"] == {"a": "b"}


def test_a_wrong_profile_is_told_with_its_own_file(apply):
    r = apply("type: task\ncommands: [x]\n", check=False,
              files={".dstack/profiles.yml": "profiles:\n- name: a\n  max_duraton: 1\n"})
    assert r.returncode == 2
    assert re.search(r"^\.dstack/profiles\.yml:3: profiles\[0\]\.max_duraton: ", r.stderr), r.stderr


def test_kind_profile(shared_server):
    """What a Profile says is held to the rules of a Run."""
    head = "apiVersion: drover.dev/v1\nkind: Profile\nmetadata: {name: %s}\nspec:\n  %s\n"
    r = shared_server.apply(head % ("bad", "maxDuration: soon"), check=False)
    assert r.returncode == 2 and "spec.maxDuration" in r.stderr
    r = shared_server.apply(head % ("none", "maxDuration: 1h"), check=False)
    assert r.returncode == 2 and "metadata.name" in r.stderr
    shared_server.apply(head % ("good", "maxDuration: 1h"))
    assert shared_server.get("profile", "good")["spec"] == {"maxDuration": "1h"}
    run = {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": "dt-kind"},
           "spec": {"type": "task", "commands": ["true"], "profile": "good",
                    "resources": {"cpu": "0..", "memory": "0.."}}}
    plan = shared_server.drover("apply", "--dry-run", "-f", "-", input=json.dumps(run)).stdout
    assert re.search(r"Max duration +1h", plan) and re.search(r"Profile +good", plan), plan
    shared_server.apply(run)
    shared_server.wait("run/dt-kind", "phase=Done")
    jobs = [j["spec"] for j in shared_server.get("jobs") if j["spec"]["runName"] == "dt-kind"]
    assert jobs and all(j["maxDurationSeconds"] == 3600 for j in jobs)
    shared_server.drover("delete", "run/dt-kind", "profile/good")


def test_secrets_are_references(shared_server, apply):
    """${{ secrets.X }} is key X of the Secret of that name; what it is alone, the machine
    reads it by itself, and within a text it goes into the run's own Secret."""
    shared_server.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db-pass"},
                         "type": "Opaque", "stringData": {"DB_PASS": "pw", "OTHER": "no"}})
    apply("type: task\nname: dt-ref\nenv:\n- PASS=${{ secrets.DB_PASS }}\n"
          "- URL=db://u:${{ secrets.DB_PASS }}@h\n" + SMALL +
          "commands: ['echo $PASS $URL [$OTHER][$DB_PASS]']\n")
    shared_server.wait("run/dt-ref", "phase=Done")
    assert shared_server.drover("logs", "dt-ref").stdout == "pw db://u:pw@h [][]\n"
    spec = shared_server.get("run", "dt-ref")["spec"]
    assert "env" not in spec and "pw" not in json.dumps(spec)
    assert {"name": "PASS", "secretRef": {"name": "db-pass", "key": "DB_PASS"}} in spec["envFrom"]
    r = apply("type: task\nname: dt-ref2\nenv:\n- URL=x${{ secrets.NOPE }}\ncommands: [x]\n",
              check=False)
    assert r.returncode == 2
    assert re.search(r":4: env\[0\]: secrets\.NOPE is key NOPE of Secret nope: ", r.stderr), r.stderr
    shared_server.drover("delete", "run/dt-ref", "secret/db-pass")


def test_a_missing_key_ends_the_run(shared_server, apply):
    shared_server.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"},
                         "type": "Opaque", "stringData": {"A": "b"}})
    apply("type: task\nname: dt-nokey\nenv: {X: '${{ secrets.OTHER }}'}\ncommands: [x]\n" + SMALL)
    shared_server.wait("run/dt-nokey", "phase=Failed")
    status = shared_server.get("run", "dt-nokey")["status"]
    assert status["reason"] == "SecretMissing" and 'no key "OTHER"' in status["message"], status


def test_objects_of_kind_run_take_values_too(shared_server, workdir):
    f = workdir / "run.yaml"
    f.write_text("apiVersion: drover.dev/v1\nkind: Run\nmetadata: {name: dt-native}\nspec:\n"
                 "  type: task\n  env:\n    MINE:\n  resources: {cpu: 0.., memory: 0..}\n"
                 "  commands: ['echo $MINE ${{ run.args }} $$ >/dev/null', 'echo $MINE ${{ run.args }}']\n")
    r = shared_server.drover("apply", "-f", str(f), "--", "x", check=False)
    assert r.returncode == 2 and re.search(r":7: spec\.env\.MINE: MINE is not set", r.stderr), r.stderr
    shared_server.drover("apply", "-f", str(f), "-e", "MINE=one", "--", "x")
    shared_server.wait("run/dt-native", "phase=Done")
    assert shared_server.drover("logs", "dt-native").stdout == "one x\n"


def test_delete_and_diff_take_the_files(shared_server, apply, workdir):
    text = "type: task\nname: dt-del\nenv: [FROM_ME]\ncommands: ['true']\n" + SMALL
    apply(text, env={"FROM_ME": "x"})
    path = str(workdir / ".dstack.yml")
    r = shared_server.drover("diff", "-f", path, check=False)
    assert r.returncode == 2 and "env[0]: FROM_ME is not set" in r.stderr
    shared_server.env["FROM_ME"] = "x"
    assert shared_server.drover("diff", "-f", path).stdout == ""
    del shared_server.env["FROM_ME"]
    (workdir / "nameless.yml").write_text("type: task\ncommands: [x]\n")
    r = shared_server.drover("delete", "-f", str(workdir / "nameless.yml"), check=False)
    assert r.returncode == 2 and "name is missing" in r.stderr
    shared_server.drover("delete", "-f", path)
    assert shared_server.drover("get", "run/dt-del", check=False).returncode == 3
