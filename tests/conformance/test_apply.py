# SPDX-License-Identifier: Apache-2.0
"""Server-side apply and managedFields over plain HTTP. How values merge is compared with
structured-merge-diff in tests/oracle; here is what the API adds around it."""
import json

from http_api import APPLY, JSON_PATCH, MERGE


def apply(api, body, manager="ann", want=200, path=None, **query):
    name = body["metadata"]["name"]
    return api("PATCH", path or f"{api.runs}/{name}", body, want=want, type=APPLY,
               fieldManager=manager, **query)


def run(name="aa", meta=None, **spec):
    return {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": name, **(meta or {})},
            "spec": spec}


def start(api, **spec):
    return apply(api, run(type="task", commands=["true"], **spec), want=201)


def owners(reply):
    return {(m["manager"], m["operation"], m.get("subresource", "")): m["fieldsV1"]
            for m in reply["metadata"].get("managedFields", [])}


def times(reply):
    return {m["manager"]: m["time"] for m in reply["metadata"]["managedFields"]}


def test_create_and_own(api):
    r = start(api, priority=1)
    (entry,) = r["metadata"]["managedFields"]
    assert entry["manager"] == "ann" and entry["operation"] == "Apply"
    assert entry["apiVersion"] == "drover.dev/v1" and entry["fieldsType"] == "FieldsV1"
    assert entry["fieldsV1"] == {"f:spec": {"f:commands": {}, "f:priority": {}, "f:type": {}}}


def test_yaml_is_read(api):
    r = api("PATCH", api.runs + "/aa", "apiVersion: drover.dev/v1\nkind: Run\nmetadata: {name: aa}\n"
            "spec: {type: task, commands: [x], priority: 0x10}\n", want=201, type=APPLY,
            fieldManager="m")
    assert r["spec"]["priority"] == 16


def test_what_an_apply_must_say(api):
    start(api)
    path = api.runs + "/aa"
    r = api("PATCH", path, run(), want=422, type=APPLY)
    assert "fieldManager: Required value: is required for apply patch" in r["message"]
    r = api("PATCH", path, run(), want=422, type=APPLY, fieldManager="x" * 129)
    assert "fieldManager" in r["message"]
    body = {**run(), "apiVersion": "drover.dev/v2"}
    r = apply(api, body, want=400)
    assert r["message"].startswith("Incorrect version specified in apply patch. Specified patch version: "
                                   "drover.dev/v2")
    r = apply(api, {k: v for k, v in run().items() if k != "kind"}, want=400)
    r = apply(api, run(meta={"managedFields": [{"manager": "x"}]}), want=400)
    assert r["message"] == "metadata.managedFields must be nil"
    apply(api, run(meta={"resourceVersion": "1"}), want=409)
    apply(api, run(meta={"uid": "11111111-1111-4111-8111-111111111111"}, type="task",
                   commands=["true"]), want=409)
    apply(api, run("bb", meta={"resourceVersion": "1"}, type="task"), want=404)
    r = apply(api, {**run(), "metadata": {"name": "other"}}, want=400, path=path)
    apply(api, {**run(), "metadata": {"name": "aa", "namespace": "other"}}, want=400)


def test_conflict_and_force(api):
    start(api, priority=1)
    api("PATCH", api.runs + "/aa", {"spec": {"priority": 2}}, want=200, type=MERGE, fieldManager="ctl")
    r = apply(api, run(type="task", commands=["true"], priority=3), want=409)
    assert r["reason"] == "Conflict"
    assert r["message"].startswith('Apply failed with 1 conflict: conflict with "ctl" using drover.dev/v1 at ')
    assert r["message"].endswith(": .spec.priority")
    (cause,) = r["details"]["causes"]
    assert cause["reason"] == "FieldManagerConflict" and cause["field"] == ".spec.priority"
    assert cause["message"].startswith('conflict with "ctl" using drover.dev/v1 at ')
    r = apply(api, run(type="task", commands=["true"], priority=3), force="true")
    assert r["spec"]["priority"] == 3
    assert [m for m, _, _ in owners(r)] == ["ann"]


def test_conflicts_with_several(api):
    start(api, priority=1)
    apply(api, run(type="task", maxDuration="1h"), manager="bob")
    r = apply(api, run(commands=["x"], priority=9, maxDuration="2h"), manager="cid", want=409)
    assert r["message"].startswith("Apply failed with 3 conflicts: ")
    assert 'conflicts with "ann":\n- .spec.commands\n- .spec.priority' in r["message"]
    assert 'conflict with "bob": .spec.maxDuration' in r["message"] or \
        'conflicts with "bob":\n- .spec.maxDuration' in r["message"]
    assert [c["field"] for c in r["details"]["causes"]] == [
        ".spec.commands", ".spec.priority", ".spec.maxDuration"]


def test_shared_and_given_up(api):
    start(api, priority=1)
    r = apply(api, run(priority=1, type="task"), manager="bob")
    assert set(m for m, _, _ in owners(r)) == {"ann", "bob"}
    r = apply(api, run(type="task", commands=["true"]))
    assert r["spec"]["priority"] == 1  # bob still wants it
    r = apply(api, run(type="task"), manager="bob")
    assert r["spec"].get("priority", 0) == 0


def test_no_change_keeps_version_and_time(api):
    first = start(api, priority=1)
    again = apply(api, run(type="task", commands=["true"], priority=1))
    assert again.rv == first.rv and times(again) == times(first)
    r = apply(api, run(type="task", commands=["true"], priority=1), dryRun="All")
    assert r.rv == first.rv


def test_dry_run(api):
    r = apply(api, run(type="task", commands=["x"]), want=201, dryRun="All")
    assert "resourceVersion" not in r["metadata"] and owners(r)
    api("GET", api.runs + "/aa", want=404)
    first = start(api)
    r = apply(api, run(type="task", commands=["true"], priority=5), dryRun="All")
    assert r["spec"]["priority"] == 5 and r.rv == first.rv
    got = api("GET", api.runs + "/aa", want=200)
    assert got["metadata"]["managedFields"] == first["metadata"]["managedFields"]


def test_status_has_its_own_owners(api):
    start(api)
    body = {**run(priority=7), "status": {"phase": "Running"}}
    r = apply(api, body, manager="ctl", path=api.runs + "/aa/status")
    assert r["status"]["phase"] == "Running" and r["spec"].get("priority") != 7
    assert owners(r)[("ctl", "Apply", "status")] == {"f:status": {"f:phase": {}}}
    r = apply(api, body, manager="other", path=api.runs + "/aa/status")
    r = apply(api, {**body, "status": {"phase": "Done"}}, manager="other",
              path=api.runs + "/aa/status", want=409)
    assert 'conflict with "ctl" with subresource "status": .status.phase' in r["message"]
    # Through the main door a status is not looked at.
    r = apply(api, {**run(type="task", commands=["true"]), "status": {"phase": "Failed"}})
    assert r["status"]["phase"] == "Running"
    assert "f:status" not in owners(r)[("ann", "Apply", "")]
    # An update of the status is tracked apart from one of the spec by the same manager.
    for path, patch in ((api.runs + "/aa", {"spec": {"priority": 3}}),
                        (api.runs + "/aa/status", {"status": {"reason": "Exited"}})):
        r = api("PATCH", path, patch, want=200, type=MERGE, fieldManager="both")
    assert owners(r)[("both", "Update", "")] == {"f:spec": {"f:priority": {}}}
    assert owners(r)[("both", "Update", "status")] == {"f:status": {"f:reason": {}}}
    apply(api, run("none", type="task"), manager="ctl", path=api.runs + "/none/status", want=404)


def test_managed_fields_are_the_clients_to_write(api):
    r = start(api, priority=1)
    # What kubectl does to move from client-side apply: one JSON patch, locked by the version.
    moved = [{**r["metadata"]["managedFields"][0], "manager": "kubectl"}]
    patch = [{"op": "replace", "path": "/metadata/managedFields", "value": moved},
             {"op": "replace", "path": "/metadata/resourceVersion", "value": r.rv}]
    r = api("PATCH", api.runs + "/aa", patch, want=200, type=JSON_PATCH, fieldManager="kubectl")
    assert list(owners(r)) == [("kubectl", "Apply", "")]
    api("PATCH", api.runs + "/aa", patch, want=409, type=JSON_PATCH)
    # An update that leaves them out, or garbles them, does not mean to.
    body = json.loads(r.body)
    del body["metadata"]["managedFields"]
    r = api("PUT", api.runs + "/aa", body, want=200)
    assert list(owners(r)) == [("kubectl", "Apply", "")]
    body["metadata"]["managedFields"] = [{"manager": "x", "operation": "Frob"}]
    r = api("PUT", api.runs + "/aa", body, want=200)
    assert list(owners(r)) == [("kubectl", "Apply", "")]
    # [{}] forgets all of them.
    r = api("PATCH", api.runs + "/aa", {"metadata": {"managedFields": [{}]}}, want=200, type=MERGE)
    assert "managedFields" not in r["metadata"]
    r = api("PATCH", api.runs + "/aa", {"spec": {"priority": 2}}, want=200, type=MERGE)
    assert "managedFields" not in r["metadata"]
    r = apply(api, run(type="task", commands=["true"], priority=2))
    assert ("before-first-apply", "Update", "") in owners(r)


def test_updaters_are_bounded(api):
    start(api)
    for i in range(15):
        r = api("PATCH", api.runs + "/aa", {"metadata": {"labels": {f"l{i}": "x"}}}, want=200,
                type=MERGE, fieldManager=f"m{i:02}")
    updates = [m for m, op, _ in owners(r) if op == "Update"]
    assert "ancient-changes" in updates and len(updates) <= 10
    assert len(r["metadata"]["labels"]) == 15


def test_manager_from_the_user_agent(api):
    r = api("POST", api.configmaps, {"metadata": {"name": "a"}, "data": {"k": "v"}}, want=201,
            headers={"User-Agent": "thing/v1.2 (linux)"})
    assert owners(r) == {("thing", "Update", ""): {"f:data": {".": {}, "f:k": {}}}}


def test_metadata_lists_merge(api):
    start(api)
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x",
           "uid": api.configmap("x")["metadata"]["uid"]}
    r = apply(api, run(meta={"finalizers": ["x.dev/a"], "ownerReferences": [ref],
                             "labels": {"a": "1"}}), manager="bob")
    r = apply(api, run(meta={"finalizers": ["x.dev/b"], "labels": {"b": "2"}}), manager="cid")
    assert set(r["metadata"]["finalizers"]) >= {"x.dev/a", "x.dev/b"}
    assert r["metadata"]["labels"] == {"a": "1", "b": "2"}
    r = apply(api, run(), manager="bob")
    assert "x.dev/a" not in r["metadata"]["finalizers"] and r["metadata"]["labels"] == {"b": "2"}
    assert "ownerReferences" not in r["metadata"]
    apply(api, run(), manager="cid")


def test_unknown_fields_are_owned_by_nobody(api):
    start(api)
    r = apply(api, run(type="task", commands=["true"], bogus=1))
    assert any("spec.bogus" in w for w in r.warnings)
    assert "f:bogus" not in owners(r)[("ann", "Apply", "")]["f:spec"]


def test_kubectl_takes_over_from_client_side_apply(api):
    last = json.dumps(run(type="task", commands=["true"], priority=1))
    note = "kubectl.kubernetes.io/last-applied-configuration"
    api("POST", api.runs, run(meta={"annotations": {note: last}}, type="task", commands=["true"],
                              priority=1), want=201, fieldManager="kubectl-client-side-apply")
    r = apply(api, run(type="task", commands=["true"], priority=2), manager="kubectl")
    assert r["spec"]["priority"] == 2
    assert json.loads(r["metadata"]["annotations"][note])["spec"]["priority"] == 2
    r = apply(api, run(type="task", commands=["true"], priority=3), manager="somebody", want=409)


def test_built_in_kinds(api):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    api("PATCH", api.configmaps + "/c", body, want=201, type=APPLY, fieldManager="x")
    r = api("PATCH", api.configmaps + "/c", {**body, "data": {"b": "2"}}, want=200, type=APPLY,
            fieldManager="y")
    assert r["data"] == {"a": "1", "b": "2"}
    r = api("PATCH", api.configmaps + "/c", {**body, "data": {}}, want=200, type=APPLY,
            fieldManager="x")
    assert r["data"] == {"b": "2"}
