# SPDX-License-Identifier: Apache-2.0
"""Real, unmodified kubectl binaries against the API server: what a user does with them."""
import json
import re
import threading

import pytest

RUN = """
apiVersion: drover.dev/v1
kind: Run
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  type: task
  commands: ["echo {word}"]
"""


def run(name, word="hi"):
    return RUN.format(name=name, word=word)


def make(kubectl, *names):
    kubectl("create", "-f", "-", text="---".join(run(n) for n in names))


def get(kubectl, what, name):
    return json.loads(kubectl("get", what, name, "-o", "json"))


def set_status(kubectl, name, **status):
    """Through /status; 1.20 has no --subresource, so the raw door with a PUT."""
    obj = get(kubectl, "run", name)
    obj.setdefault("status", {}).update(status)
    kubectl("replace", "--raw",
            f"/apis/drover.dev/v1/namespaces/{kubectl.namespace}/runs/{name}/status",
            "-f", "-", text=json.dumps(obj))


def read_until(process, wanted, lines):
    """Collects output lines until one holds `wanted`; the watchdog ends a hanging watch."""
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if re.search(wanted, line):
                return
    finally:
        watchdog.cancel()
    pytest.fail(f"no line with {wanted!r} in {''.join(lines)}")


def test_create_get_delete(kubectl):
    assert "run.drover.dev/one created" in kubectl("create", "-f", "-", text=run("one"))
    assert "already exists" in kubectl.fails("create", "-f", "-", text=run("one"))
    table = kubectl("get", "runs")
    assert table.splitlines()[0].split() == ["NAME", "PHASE", "REASON", "EXIT", "INSTANCE", "AGE"]
    assert "PRIORITY" in kubectl("get", "runs", "-o", "wide")
    obj = get(kubectl, "run", "one")
    assert obj["spec"]["desiredState"] == "Running" and obj["metadata"]["generation"] == 1
    assert kubectl("get", "run", "one", "-o", "jsonpath={.spec.type}") == "task"
    assert "not found" in kubectl.fails("get", "run", "none")
    assert "No resources found" in kubectl("get", "jobs")
    kubectl("delete", "run", "one")
    assert "not found" in kubectl.fails("get", "run", "one")


def test_lists(kubectl):
    make(kubectl, *[f"run{i}" for i in range(7)])
    names = [f"run.drover.dev/run{i}" for i in range(7)]
    assert kubectl("get", "runs", "-o", "name").split() == names
    assert kubectl("get", "runs", "-o", "name", "--chunk-size=3").split() == names
    assert kubectl("get", "runs", "-o", "name", "-l", "app in (run1,run5)").split() == [
        names[1], names[5]]
    assert kubectl("get", "runs", "-o", "name", "--field-selector", "metadata.name=run4"
                   ).split() == [names[4]]
    set_status(kubectl, "run3", phase="Done")
    assert kubectl("get", "runs", "-o", "name", "--field-selector", "status.phase=Done"
                   ).split() == [names[3]]
    assert kubectl("get", "runs", "--sort-by=.metadata.name", "--no-headers").count("\n") == 7
    assert kubectl.namespace in kubectl("get", "runs", "-A")
    assert "run.drover.dev/run0" in kubectl("get", "all", "-o", "name")
    assert "LABELS" in kubectl("get", "runs", "--show-labels")


def test_apply(kubectl):
    assert "created" in kubectl("apply", "-f", "-", text=run("one"))
    assert "unchanged" in kubectl("apply", "-f", "-", text=run("one"))
    assert "configured" in kubectl("apply", "-f", "-", text=run("one", "ho"))
    assert get(kubectl, "run", "one")["spec"]["commands"] == ["echo ho"]
    assert "dry run" in kubectl("apply", "--dry-run=server", "-f", "-", text=run("two"))
    kubectl.fails("get", "run", "two")
    changed = kubectl.run("diff", "-f", "-", text=run("one", "hey"))
    assert changed.returncode == 1 and "+  - echo hey" in changed.stdout
    assert kubectl.run("diff", "-f", "-", text=run("one", "ho")).returncode == 0


def test_apply_wrong(kubectl):
    unknown = run("bad").replace("type: task", "type: task\n  bogus: 1")
    assert "bogus" in kubectl.fails("apply", "-f", "-", text=unknown)
    wrong = run("bad").replace("type: task", "type: service-ish")
    assert "spec.type" in kubectl.fails("apply", "--validate=false", "-f", "-", text=wrong)
    kubectl.fails("get", "run", "bad")


def test_server_side_apply(kubectl):
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", text=run("one"))
    entry = get(kubectl, "run", "one")["metadata"].get("managedFields")
    if entry is None:  # newer kubectl hides it
        entry = json.loads(kubectl("get", "run", "one", "-o", "json", "--show-managed-fields")
                           )["metadata"]["managedFields"]
    assert [e["operation"] for e in entry] == ["Apply"]
    text = kubectl.fails("apply", "--server-side", "--field-manager=other", "-f", "-",
                         text=run("one", "ho"))
    assert 'conflict with "kubectl"' in text and ".spec.commands" in text
    kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-",
            text=run("one", "ho"))
    assert get(kubectl, "run", "one")["spec"]["commands"] == ["echo ho"]


def test_client_then_server_side_apply(kubectl):
    kubectl("apply", "-f", "-", text=run("one"))
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=run("one", "ho"))
    kubectl("apply", "--server-side", "-f", "-", text=run("one", "hey"))
    assert get(kubectl, "run", "one")["spec"]["commands"] == ["echo hey"]


def test_patch_label_annotate(kubectl):
    make(kubectl, "one")
    kubectl("patch", "run", "one", "--type=merge", "-p", '{"spec":{"priority":5}}')
    kubectl("patch", "run", "one", "--type=json", "-p",
            '[{"op":"test","path":"/spec/priority","value":5},'
            '{"op":"replace","path":"/spec/priority","value":6}]')
    assert get(kubectl, "run", "one")["spec"]["priority"] == 6
    assert "merge-patch+json" in kubectl.fails("patch", "run", "one", "-p", "{}")
    kubectl("label", "run", "one", "team=x")
    kubectl.fails("label", "run", "one", "team=y")
    kubectl("label", "run", "one", "team=y", "--overwrite")
    kubectl("annotate", "run", "one", "note=z")
    meta = get(kubectl, "run", "one")["metadata"]
    assert meta["labels"]["team"] == "y" and meta["annotations"]["note"] == "z"
    assert meta["generation"] == 3


def test_edit_and_replace(kubectl):
    make(kubectl, "one")
    kubectl("edit", "run", "one", env={"EDITOR": "sed -i s/echo.hi/echo\\ ho/"})
    assert get(kubectl, "run", "one")["spec"]["commands"] == ["echo ho"]
    kubectl("replace", "-f", "-", text=run("one", "hey"))
    assert get(kubectl, "run", "one")["spec"]["commands"] == ["echo hey"]
    old = get(kubectl, "run", "one")
    kubectl("label", "run", "one", "x=y")
    assert "the object has been modified" in kubectl.fails(
        "replace", "-f", "-", text=json.dumps(old))


def test_watch(kubectl):
    make(kubectl, "one")
    with kubectl.start("get", "runs", "-w", "--output-watch-events") as watch:
        lines = []
        read_until(watch, r"ADDED\s+one", lines)
        make(kubectl, "two")
        read_until(watch, r"ADDED\s+two", lines)
        set_status(kubectl, "one", phase="Running")
        read_until(watch, r"MODIFIED\s+one\s+Running", lines)
        kubectl("delete", "run", "two")
        read_until(watch, r"DELETED\s+two", lines)
        watch.terminate()
    assert sum("EVENT" in line for line in lines) == 1  # columns come once


def test_wait(kubectl):
    make(kubectl, "one")
    with kubectl.start("wait", "run/one", "--for=condition=Finished", "--timeout=30s") as waiter:
        set_status(kubectl, "one", conditions=[{"type": "Finished", "status": "True"}])
        out, _ = waiter.communicate(timeout=40)
        assert waiter.returncode == 0, out
    if not kubectl.is_old:
        set_status(kubectl, "one", phase="Done")
        kubectl("wait", "run/one", "--for=jsonpath={.status.phase}=Done", "--timeout=10s")
    with kubectl.start("wait", "run/one", "--for=delete", "--timeout=30s") as waiter:
        kubectl("delete", "run", "one")
        out, _ = waiter.communicate(timeout=40)
        # a waiter that came after the deletion has nothing to wait for, and says so
        assert waiter.returncode == 0 or re.search("not found|no matching", out), out


def test_delete_with_finalizer(kubectl):
    make(kubectl, "one")
    kubectl("patch", "run", "one", "--type=merge", "-p",
            '{"metadata":{"finalizers":["example.dev/hold"]}}')
    kubectl("delete", "run", "one", "--wait=false")
    assert "deletionTimestamp" in get(kubectl, "run", "one")["metadata"]
    kubectl("patch", "run", "one", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert "not found" in kubectl.fails("get", "run", "one")


def test_delete_all_and_by_selector(kubectl):
    make(kubectl, "one", "two", "three")
    kubectl("delete", "runs", "-l", "app=two")
    assert len(kubectl("get", "runs", "-o", "name").split()) == 2
    kubectl("delete", "runs", "--all")
    assert "No resources found" in kubectl("get", "runs")


def test_describe_and_events(kubectl):
    make(kubectl, "one")
    uid = get(kubectl, "run", "one")["metadata"]["uid"]
    kubectl("create", "-f", "-", text=f"""
apiVersion: v1
kind: Event
metadata: {{name: one.1}}
involvedObject: {{apiVersion: drover.dev/v1, kind: Run, name: one,
                  namespace: {kubectl.namespace}, uid: {uid}}}
reason: Scheduled
message: placed on box
type: Normal
firstTimestamp: "2026-01-01T00:00:00Z"
lastTimestamp: "2026-01-01T00:00:00Z"
count: 1
source: {{component: test}}
""")
    text = kubectl("describe", "run", "one")
    assert "Scheduled" in text and "placed on box" in text
    assert "placed on box" in kubectl("get", "events")


def test_explain(kubectl):
    assert "commands" in kubectl("explain", "run.spec")
    assert "Cores" in kubectl("explain", "runs.spec.resources.cpu")
    assert "FIELDS" in kubectl("explain", "job").upper()
    assert "Unique within" in kubectl("explain", "run.metadata.name")
    kubectl.fails("explain", "run.spec.nope")


def test_discovery(kubectl):
    text = kubectl("api-resources")
    for name in ("runs", "jobs", "fleets", "instances", "secrets", "leases", "namespaces"):
        assert re.search(rf"^{name}\s", text, re.M), name
    assert "runs" in kubectl("api-resources", "--api-group=drover.dev", "-o", "name")
    assert "drover.dev/v1" in kubectl("api-versions")
    assert "runs.drover.dev" in kubectl("get", "crd", "-o", "name")
    assert "doesn't have a resource type" in kubectl.fails("get", "nothings")
    kubectl("version")


def test_namespaces_and_builtins(kubectl):
    kubectl("apply", "-f", "-", text="""
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {a: b}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
""")
    assert kubectl("get", "secret", "keys", "-o", "jsonpath={.data.a}") == "Yg=="
    assert "configured" in kubectl("apply", "-f", "-", text="""
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {b: c}
""")
    assert get(kubectl, "configmap", "settings")["data"] == {"b": "c"}
    kubectl("patch", "secret", "keys", "-p", '{"data":{"n":"eA=="}}')
    kubectl("edit", "configmap", "settings", env={"EDITOR": "sed -i s/b:.c/b:\\ d/"})
    assert get(kubectl, "configmap", "settings")["data"] == {"b": "d"}
    make(kubectl, "one")
    kubectl("delete", "ns", kubectl.namespace)  # waits until it is gone
    assert "not found" in kubectl.fails("get", "ns", kubectl.namespace)
    assert "No resources found" in kubectl("get", "runs")


def test_token_is_needed(kubectl):
    text = kubectl.fails("get", "runs", "--token=wrong")
    assert "nauthorized" in text or "logged in" in text
    assert kubectl("get", "--raw", "/readyz") == "ok"
