# SPDX-License-Identifier: Apache-2.0
"""The scenarios of Kubernetes' own kubectl tests (test/cmd: get, discovery, generic-resources,
events, wait, delete, diff, create, template-output, request-timeout, rbac, authorization,
kubeconfig, proxy, plugins, apply), told again with our kinds. What test_kubectl.py, test_auth.py
and the golden files show already is not repeated."""
import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

RUN = """apiVersion: drover.dev/v1
kind: Run
metadata: {{name: {name}, labels: {{set: {set}}}}}
spec: {{type: task, commands: ["echo {word}"]}}
"""


def run(name, word="hi", set="all"):
    return RUN.format(name=name, word=word, set=set)


def configmap(name, **data):
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                       "data": data}) + "\n"


def names(kubectl, *what):
    return kubectl("get", *what, "-o", "jsonpath={.items[*].metadata.name}").split()


def tree(path, files):
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return str(path)


# --- get.sh, template-output.sh


def test_get_what_is_not_there(kubectl):
    assert kubectl.fails("get", "runs", "nope") == \
        'Error from server (NotFound): runs.drover.dev "nope" not found\n'
    assert kubectl("get", "runs", "nope", "--ignore-not-found") == ""
    assert kubectl("get", "runs", "-o", "name") == ""
    for output in ("json", "yaml"):
        text = kubectl("get", "runs", "-o", output)
        assert "List" in text and "items" in text
    assert "No resources found" in kubectl("get", "runs", "-l", "a=b")
    kubectl.fails("get", "runs", "-l", "a=b=c=,")
    assert "could not find the requested resource" in kubectl.fails(
        "get", "--raw", "/apis/drover.dev/v9")


def test_templates(kubectl):
    kubectl("create", "-f", "-", text=run("one") + "---\n" + configmap("one", k="v"))
    for verb in (["get", "run", "one"], ["label", "run", "one", "x=y"],
                 ["annotate", "run", "one", "x=y"], ["get", "cm", "one"],
                 ["patch", "run", "one", "--type=merge", "-p", '{"spec":{"priority":3}}']):
        assert kubectl(*verb, "--template={{.metadata.name}}:") == "one:"
        assert kubectl(*verb, "-o", "jsonpath={.metadata.name}", "--overwrite"
                       if verb[0] in ("label", "annotate") else "-o=jsonpath={.metadata.name}"
                       ) == "one"
    assert kubectl("apply", "-f", "-", "-o", "go-template={{.kind}}", text=run("two")) == "Run"
    assert kubectl("create", "-f", "-", "--dry-run=server", "-o", "jsonpath={.metadata.uid}",
                   text=run("three"))
    assert kubectl("get", "run", "one", "-o", "jsonpath={.nope}") == ""
    assert "nope is not found" in kubectl.fails(
        "get", "run", "one", "-o", "jsonpath={.nope}", "--allow-missing-template-keys=false")
    assert kubectl("get", "run/one", "cm/one", "-o", "name").split() == [
        "run.drover.dev/one", "configmap/one"]
    assert kubectl("get", "runs", "--sort-by={.metadata.name}", "-o", "name").split() == [
        "run.drover.dev/one", "run.drover.dev/two"]
    assert kubectl("get", "runs", "--no-headers", "-o", "custom-columns=A:.metadata.name"
                   ).split() == ["one", "two"]


# --- discovery.sh


def test_what_discovery_offers(kubectl):
    listed = kubectl("api-resources", "--verbs=list,watch", "-o", "name").split()
    assert {"runs.drover.dev", "configmaps", "leases.coordination.k8s.io"} <= set(listed)
    for name in listed[::3]:  # a third of them, to be quick: each really lists
        if name not in ("revisions.history.drover.dev",):
            kubectl("get", name, "-o", "name", "--request-timeout=20s")
    assert kubectl("api-resources", "--namespaced=false", "-o", "name").split().count(
        "namespaces") == 1
    assert "selfsubjectaccessreviews" not in " ".join(listed)
    for alias in ("run", "runs", "runs.drover.dev", "runs.v1.drover.dev", "Run"):
        assert "No resources found" in kubectl("get", alias)
    kubectl("api-resources", "--cached")
    assert "drover.dev/v1" in kubectl("api-versions").split()
    assert kubectl.run("get", "nothings").returncode == 1


# --- generic-resources.sh


def test_directories_of_files(kubectl, tmp_path):
    top = tree(tmp_path / "runs", {
        "a.yaml": run("aa"), "sub/b.yaml": run("bb"), "sub/deep/c.json": configmap("cc"),
        "sub/broken.yaml": "apiVersion: drover.dev/v1\nind: Run\nmetadata: {name: broken}\n"})
    # without --recursive only the first level
    assert kubectl("create", "-f", top) == "run.drover.dev/aa created\n"
    kubectl("delete", "run", "aa")
    text = kubectl.fails("create", "-f", top, "--recursive")
    assert "run.drover.dev/aa created" in text and "configmap/cc created" in text
    assert re.search("kind.*not set|Object 'Kind' is missing", text, re.I)
    assert names(kubectl, "runs") == ["aa", "bb"]
    (tmp_path / "runs/sub/broken.yaml").unlink()
    (tmp_path / "runs/a.yaml").write_text(run("aa", "ho"))
    assert kubectl("replace", "-f", top, "--recursive").count("replaced") == 3
    assert "echo ho" in kubectl("get", "run", "aa", "-o", "jsonpath={.spec.commands}")
    assert kubectl("label", "-f", top, "--recursive", "team=x").count("labeled") == 3
    assert kubectl("annotate", "-f", top, "-R", "note=y").count("annotated") == 3
    assert names(kubectl, "runs,cm", "-l", "team=x") == ["aa", "bb", "cc"]
    assert kubectl("get", "-f", top, "-R", "-o", "name").split() == [
        "run.drover.dev/aa", "run.drover.dev/bb", "configmap/cc"]
    assert kubectl("describe", "-f", top, "-R").count("team=x") == 3
    assert kubectl("delete", "-f", top, "-R").count("deleted") == 3
    assert names(kubectl, "runs") == []


def test_lists_and_several_kinds(kubectl):
    items = [json.loads(configmap("one", a="1")), {
        "apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": "two"},
        "spec": {"type": "task", "commands": ["x"]}}]
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    assert kubectl("create", "-f", "-", text=body).split("\n")[:2] == [
        "configmap/one created", "run.drover.dev/two created"]
    assert kubectl("apply", "-f", "-", text=body).count("configured") == 2
    assert kubectl("apply", "-f", "-", text=body).count("unchanged") == 2
    assert kubectl("get", "cm,runs", "-o", "name").split() == [
        "configmap/one", "run.drover.dev/two"]
    assert kubectl("delete", "cm/one", "run/two").count("deleted") == 2
    assert "unchanged" not in kubectl("apply", "-f", "-", text=body)
    text = kubectl.fails("create", "-f", "-", text=body.replace("two", "three"))
    assert "AlreadyExists" in text and "run.drover.dev/three created" in text


# --- create.sh


def test_create(kubectl):
    assert "must specify" in kubectl.fails("create")
    assert "the namespace from the provided object" in kubectl.fails(
        "create", "-f", "-", text=run("one").replace("{name:", "{namespace: elsewhere, name:"))
    assert "no matches for kind" in kubectl.fails(
        "create", "-f", "-", text=run("one").replace("kind: Run", "kind: Rum"))
    for mode in ("server", "client"):
        assert f"created ({'server ' if mode == 'server' else ''}dry run)" in kubectl(
            "create", "-f", "-", f"--dry-run={mode}", text=run("one"))
    assert names(kubectl, "runs") == []
    kubectl("create", "-f", "-", "--save-config", text=run("one"))
    assert "last-applied-configuration" in kubectl("get", "run", "one", "-o", "json")
    text = RUN.replace("name: {name}", "generateName: {name}-")
    made = [kubectl("create", "-f", "-", "-o", "name", text=text.format(
        name="gen", set="x", word="y")) for _ in range(2)]
    assert made[0] != made[1] and all(m.startswith("run.drover.dev/gen-") for m in made)
    assert "generate name" in kubectl.fails("apply", "-f", "-", text=text.format(
        name="gen", set="x", word="y"))


# --- delete.sh


def test_delete(kubectl):
    kubectl("create", "-f", "-", text="---\n".join(
        run(n, set=s) for n, s in (("aa", "x"), ("bb", "x"), ("cc", "z"), ("dd", "z"))))
    assert "dry run" in kubectl("delete", "run", "aa", "--dry-run=client")
    assert "server dry run" in kubectl("delete", "run", "aa", "bb", "--dry-run=server")
    assert len(names(kubectl, "runs")) == 4
    assert kubectl.run("delete", "runs").returncode == 1
    assert kubectl.run("delete", "runs", "aa", "--all").returncode == 1
    text = kubectl.fails("delete", "run", "aa", "nope")
    assert 'run.drover.dev "aa" deleted' in text and "NotFound" in text
    kubectl("delete", "runs", "-l", "set=x")
    assert names(kubectl, "runs") == ["cc", "dd"]
    kubectl("delete", "runs", "--field-selector=metadata.name=cc")
    kubectl("delete", "run", "dd", "--grace-period=0", "--force")
    assert names(kubectl, "runs") == []
    assert "No resources found" in kubectl("delete", "runs", "--all")


# --- diff.sh


def test_diff(kubectl):
    r = kubectl.run("diff", "-f", "-", text=run("one"))
    assert r.returncode == 1 and "+kind: Run" in r.stdout
    kubectl("apply", "-f", "-", text=run("one"))
    assert kubectl.run("diff", "-f", "-", text=run("one")).returncode == 0
    r = kubectl.run("diff", "-f", "-", text=run("one", "ho") + "---\n" + run("two"))
    assert r.returncode == 1 and "+  - echo ho" in r.stdout and "name: two" in r.stdout
    r = kubectl.run("diff", "--server-side", "-f", "-", text=run("two"))
    assert r.returncode == 1 and "+kind: Run" in r.stdout
    r = kubectl.run("diff", "-f", "-", text=run("one").replace("type: task", "type: nope"))
    assert r.returncode > 1 and "spec.type" in r.stdout
    assert names(kubectl, "runs") == ["one"]


# --- wait.sh


def test_wait(kubectl):
    kubectl("create", "-f", "-", text=run("aa") + "---\n" + run("bb"))
    start = time.monotonic()
    assert "timed out" in kubectl.fails("wait", "run/aa", "--for=condition=Finished",
                                        "--timeout=1s")
    assert time.monotonic() - start < 20
    assert kubectl.run("wait", "--for=condition=Finished", "run", "--timeout=1s").returncode == 1
    with kubectl.start("wait", "--for=delete", "runs", "--all", "--timeout=40s") as waiter:
        timer = threading.Timer(0.5, lambda: kubectl("delete", "runs", "aa", "bb", "--wait=false"))
        timer.start()
        out, _ = waiter.communicate(timeout=60)
        timer.join()
    assert waiter.returncode == 0, out
    assert names(kubectl, "runs") == []


# --- events.sh


def test_events(kubectl):
    uid = kubectl("create", "-f", "-", "-o", "jsonpath={.metadata.uid}", text=run("one"))
    for i, kind in enumerate(["Normal", "Warning", "Normal"]):
        kubectl("create", "-f", "-", text=json.dumps({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": f"one.{i}"},
            "reason": f"Reason{i}", "message": "m", "type": kind, "count": 1,
            "involvedObject": {"apiVersion": "drover.dev/v1", "kind": "Run", "name": "one",
                               "uid": uid, "namespace": kubectl.namespace},
            "firstTimestamp": f"2026-01-01T00:00:0{i}Z",
            "lastTimestamp": f"2026-01-01T00:00:0{i}Z"}))
    assert "Reason1" in kubectl("get", "events")
    assert names(kubectl, "events", "--field-selector=type=Warning") == ["one.1"]
    assert names(kubectl, "events", "--field-selector=involvedObject.kind=Run,reason=Reason2") \
        == ["one.2"]
    assert names(kubectl, "events.events.k8s.io") == ["one.0", "one.1", "one.2"]
    if not kubectl.is_old:
        assert "Reason2" in kubectl("events")
        assert "Reason1" in kubectl("events", "--for=run/one", "--types=Warning")
        assert "Reason0" not in kubectl("events", "--for=run/one", "--types=Warning")
        assert "No events" in kubectl("events", "--for=run/two")
    text = kubectl("describe", "run", "one")
    assert text.index("Reason0") < text.index("Reason2")


# --- request-timeout.sh


def test_request_timeouts(kubectl):
    kubectl("create", "-f", "-", text=run("one"))
    for good in ("1", "5s", "1m"):
        assert "one" in kubectl("get", "runs", f"--request-timeout={good}")
    assert "Invalid timeout value" in kubectl.fails("get", "runs", "--request-timeout=1p")
    start = time.monotonic()
    kubectl.run("get", "runs", "-w", "--request-timeout=1s")  # the watch ends by itself
    assert time.monotonic() - start < 20


# --- rbac.sh, authorization.sh


def test_roles(kubectl):
    mine = kubectl.namespace
    kubectl("create", "clusterrole", f"{mine}-paths", "--verb=get", "--non-resource-url=/logs/*")
    kubectl("create", "clusterrole", f"{mine}-sum", f"--aggregation-rule={mine}=yes")
    kubectl("create", "clusterrole", f"{mine}-part", "--verb=get,list",
            "--resource=runs.drover.dev,configmaps")
    kubectl("label", "clusterrole", f"{mine}-part", f"{mine}=yes")
    if not kubectl.is_old:
        kubectl("wait", f"clusterrole/{mine}-sum", "--timeout=20s",
                "--for=jsonpath={.rules[0].verbs[0]}=get")
    rules = json.loads(kubectl("get", "clusterrole", f"{mine}-part", "-o", "json"))["rules"]
    assert {g for r in rules for g in r["apiGroups"]} == {"", "drover.dev"}
    kubectl("create", "role", "named", "--verb=get", "--resource=runs.drover.dev/status",
            "--resource-name=one")
    rule = json.loads(kubectl("get", "role", "named", "-o", "json"))["rules"][0]
    assert rule == {"verbs": ["get"], "apiGroups": ["drover.dev"], "resources": ["runs/status"],
                    "resourceNames": ["one"]}
    kubectl("create", "rolebinding", "bind", f"--clusterrole={mine}-part", "--user=ann")
    kubectl("set", "subject", "rolebinding", "bind", "--group=crew",
            f"--serviceaccount={mine}:bot")
    subjects = json.loads(kubectl("get", "rolebinding", "bind", "-o", "json"))["subjects"]
    assert [s["name"] for s in subjects] == ["ann", "crew", "bot"]
    for who in (["--as=ann"], ["--as=bob", "--as-group=crew"],
                [f"--as=system:serviceaccount:{mine}:bot"]):
        assert "No resources found" in kubectl("get", "runs", *who)
        assert kubectl.fails("auth", "can-i", "delete", "runs", *who).startswith("no")
    assert "bind" in kubectl("describe", "rolebinding", "bind")
    assert 'cannot list resource "runs"' in kubectl.fails("get", "runs", "--as=eve")
    kubectl("delete", "clusterrole", f"{mine}-paths", f"{mine}-sum", f"{mine}-part")


def test_access_reviews_by_file(kubectl):
    text = kubectl("create", "--raw", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "-f",
                   "-", text=json.dumps({
                       "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                       "spec": {"user": "ann", "resourceAttributes": {
                           "verb": "get", "group": "drover.dev", "resource": "runs",
                           "namespace": kubectl.namespace}}}))
    assert json.loads(text)["status"]["allowed"] is False
    text = kubectl("create", "-f", "-", "-o", "json", text=json.dumps({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "secrets"}}}))
    assert json.loads(text)["status"]["allowed"] is True


# --- kubeconfig.sh


def test_kubeconfigs(kubectl, server, api, tmp_path):
    if kubectl.is_old:
        pytest.skip("Debian's kubectl 1.20 panics in config set-credentials")
    env = {"KUBECONFIG": str(tmp_path / "config")}
    (tmp_path / "ca.crt").write_bytes((server.path / "data/keys/ca.crt").read_bytes())
    cluster = f"https://{api.host}:{api.port}"
    kubectl("config", "set-cluster", "c", f"--server={cluster}",
            f"--certificate-authority={tmp_path}/ca.crt", "--embed-certs=true", env=env)
    kubectl("config", "set-credentials", "u", f"--token={api.token}", env=env)
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json", env=env))
    config["contexts"] = [{"name": "x", "context": {
        "cluster": "c", "user": "u", "namespace": kubectl.namespace}}]
    (tmp_path / "config").write_text(json.dumps(config))
    assert "x" in kubectl("config", "use-context", "x", env=env)
    kubectl("create", "-f", "-", text=run("one"), env=env)
    r = kubectl.run("get", "runs", "-o", "name", env=env)
    assert r.stdout == "run.drover.dev/one\n"
    assert api.token not in kubectl("config", "view", env=env)
    kubectl("config", "set-credentials", "u", "--token=wrong", env=env)
    assert kubectl.run("get", "runs", env=env).returncode == 1
    kubectl("config", "set-cluster", "c", "--server=https://127.0.0.1:1", env=env)
    assert "refused" in kubectl.run("get", "runs", "--request-timeout=5s", env=env).stdout
    kubectl("get", "runs", "--server", cluster, "--token", api.token, env=env)


# --- proxy.sh


def test_proxy(kubectl):
    kubectl("create", "-f", "-", text=run("one"))
    path = f"/apis/drover.dev/v1/namespaces/{kubectl.namespace}/runs"
    with kubectl.start("proxy", "--port=0", "--api-prefix=/through") as proxy:
        try:
            port = re.search(r":(\d+)$", proxy.stdout.readline().strip())[1]
            base = f"http://127.0.0.1:{port}/through"
            with urllib.request.urlopen(base + path, timeout=20) as reply:
                listed = json.load(reply)
            assert [r["metadata"]["name"] for r in listed["items"]] == ["one"]
            with urllib.request.urlopen(base + "/healthz", timeout=20) as reply:
                assert reply.read() == b"ok"
            watch = f"{base}{path}?watch=true&resourceVersion=0&timeoutSeconds=20"
            with urllib.request.urlopen(watch, timeout=20) as reply:
                assert json.loads(reply.readline())["type"] == "ADDED"
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20)
        finally:
            proxy.kill()


# --- plugins.sh


def test_plugins(kubectl, tmp_path):
    plugin = tmp_path / "kubectl-runs"
    plugin.write_text("#!/bin/sh\necho \"plugin $*\"\n")
    plugin.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{kubectl.env['PATH']}"}
    assert str(plugin) in kubectl.run("plugin", "list", env=env).stdout
    r = subprocess.run([kubectl.path, "runs", "a", "--b"], env={**kubectl.env, **env}, text=True,
                       stdout=subprocess.PIPE, timeout=30)
    assert r.stdout == "plugin a --b\n"


# --- apply.sh


def test_apply_takes_fields_away(kubectl):
    """What a later file leaves out goes; what others wrote stays."""
    more = run("one").replace("spec: {", "spec: {priority: 5, env: {A: x, B: z}, ")
    kubectl("apply", "-f", "-", text=more)
    kubectl("label", "run", "one", "other=mine")
    kubectl("apply", "-f", "-", text=run("one").replace("spec: {", "spec: {env: {B: z}, "))
    obj = json.loads(kubectl("get", "run", "one", "-o", "json"))
    assert obj["spec"]["env"] == {"B": "z"} and obj["metadata"]["labels"]["other"] == "mine"
    assert obj["spec"].get("priority") != 5
    kubectl("apply", "-f", "-", text=configmap("cm", a="1", b="2"))
    kubectl("patch", "cm", "cm", "-p", '{"data":{"c":"3"}}')
    kubectl("apply", "-f", "-", text=configmap("cm", a="1"))
    assert json.loads(kubectl("get", "cm", "cm", "-o", "json"))["data"] == {"a": "1", "c": "3"}


def test_apply_on_what_was_created(kubectl):
    kubectl("create", "-f", "-", text=run("one"))
    text = kubectl("apply", "-f", "-", text=run("one", "ho"))
    assert "configured" in text and "last-applied-configuration" in text
    assert "configured" not in kubectl("apply", "-f", "-", text=run("one", "ho"))
    kubectl("apply", "set-last-applied", "-f", "-", text=run("one", "hey"))
    assert "hey" in kubectl("apply", "view-last-applied", "run/one")
    assert "echo ho" in kubectl("get", "run", "one", "-o", "jsonpath={.spec.commands[0]}")
    kubectl("apply", "edit-last-applied", "run/one", env={"EDITOR": "sed -i s/hey/hum/"})
    assert "hum" in kubectl("apply", "view-last-applied", "run/one")


def test_prune(kubectl):
    flag = "--prune-whitelist" if kubectl.is_old else "--prune-allowlist"
    both = run("aa", set="p") + "---\n" + run("bb", set="p") + "---\n" + run("keep", set="q")
    kubectl("apply", "-f", "-", text=both)
    text = kubectl("apply", "-f", "-", "--prune", "-l", "set=p", f"{flag}=drover.dev/v1/Run",
                   text=run("aa", set="p"))
    assert "run.drover.dev/bb pruned" in text
    assert names(kubectl, "runs") == ["aa", "keep"]


def test_apply_sets(kubectl):
    if kubectl.is_old:
        pytest.skip("apply sets came with 1.27")
    env = {"KUBECTL_APPLYSET": "true"}
    args = ["apply", "--prune", "--applyset=configmaps/mine", "-f", "-"]
    kubectl("apply", "--prune", "--applyset=configmaps/mine", "-f", "-", env=env,
            text=run("aa") + "---\n" + run("bb"))
    parent = json.loads(kubectl("get", "cm", "mine", "-o", "json"))["metadata"]
    assert "Run.drover.dev" in json.dumps(parent["annotations"])
    text = kubectl(*args, env=env, text=run("aa"))
    assert "run.drover.dev/bb pruned" in text and names(kubectl, "runs") == ["aa"]
    kubectl("apply", "--server-side", "--prune", "--applyset=configmaps/other", "-f", "-",
            env=env, text=run("cc"))
    assert names(kubectl, "runs") == ["aa", "cc"]


def test_force_replaces_what_cannot_change(kubectl):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fixed"},
              "immutable": True, "stringData": {"a": "1"}}
    kubectl("apply", "-f", "-", text=json.dumps(secret))
    secret["stringData"] = {"a": "2"}
    assert "immutable" in kubectl.fails("apply", "-f", "-", text=json.dumps(secret))
    before = kubectl("get", "secret", "fixed", "-o", "jsonpath={.metadata.uid}")
    kubectl("apply", "--force", "-f", "-", text=json.dumps(secret))
    assert kubectl("get", "secret", "fixed", "-o", "jsonpath={.data.a}") == "Mg=="
    assert kubectl("get", "secret", "fixed", "-o", "jsonpath={.metadata.uid}") != before


def test_namespaces_with_apply(kubectl):
    other = kubectl.namespace + "-two"
    text = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    kubectl("apply", "-f", "-", text=text)
    kubectl("apply", "-n", other, "-f", "-", text=run("one"))
    assert "one" in kubectl("get", "runs", "-A", "-o", "name")
    kubectl("delete", "ns", other)
    assert other not in kubectl("get", "ns")
    assert "not found" in kubectl.fails("apply", "-n", other, "-f", "-", text=run("one"))
