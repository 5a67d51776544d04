# SPDX-License-Identifier: Apache-2.0
"""create, update, patch, delete and deletecollection over plain HTTP, with what they refuse."""
import json
import re

import pytest

from http_api import APPLY, JSON_PATCH, MERGE, STRATEGIC, causes


def put(api, path, obj, **kw):
    return api("PUT", path, obj, **kw)


# --- create


def test_created_object(api):
    r = api.run("one", uid="11111111-1111-4111-8111-111111111111", generation=7,
                creationTimestamp=None)
    meta = r["metadata"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", meta["uid"])
    assert meta["uid"] != "11111111-1111-4111-8111-111111111111"
    assert meta["generation"] == 1 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
                                                    meta["creationTimestamp"])
    r = api.run("one", want=409)
    assert r["message"] == 'runs.drover.dev "one" already exists' and r["reason"] == "AlreadyExists"
    assert r["details"] == {"name": "one", "group": "drover.dev", "kind": "runs"}


def test_generated_names(api):
    r = api("POST", api.configmaps, want=201, body={"metadata": {"generateName": "pre-"}})
    assert re.fullmatch(r"pre-[bcdfghjklmnpqrstvwxz2456789]{5}", r["metadata"]["name"])
    assert r["metadata"]["generateName"] == "pre-"
    long = "x" * 80
    r = api("POST", api.configmaps, want=201, body={"metadata": {"generateName": long}})
    assert r["metadata"]["name"][:-5] == long[:58]
    r = api("POST", api.configmaps, want=422, body={"metadata": {}})
    assert "name or generateName is required" in r["message"]
    assert causes(r) == [("FieldValueRequired", "metadata.name")]


def test_what_the_body_must_say(api):
    def post(body, want, path=api.runs):
        return api("POST", path, body, want=want)
    spec = {"spec": {"type": "task", "commands": ["true"]}}
    head = {"apiVersion": "drover.dev/v1", "kind": "Run"}
    r = post({**head, "metadata": {"name": "a", "namespace": "other"}, **spec}, 400)
    assert f"the namespace of the object (other) does not match the namespace on the request " \
        f"({api.namespace})" in r["message"]
    r = post({"apiVersion": "drover.dev/v1", "metadata": {"name": "a"}, **spec}, 400)
    assert "Object 'Kind' is missing in" in r["message"]
    post({**head, "kind": "Job", "metadata": {"name": "a"}, **spec}, 400)
    post({**head, "apiVersion": "v1", "metadata": {"name": "a"}, **spec}, 400)
    post("{", 400)
    post("[]", 400)
    api("POST", api.runs, want=400)
    r = post({**head, "metadata": {"name": "a"}, **spec}, 404,
             "/apis/drover.dev/v1/namespaces/nowhere/runs")
    assert r["message"] == 'namespaces "nowhere" not found'
    # Typed clients leave out apiVersion and kind of built-in kinds.
    assert api("POST", api.configmaps, {"metadata": {"name": "a"}}, want=201)["kind"] == "ConfigMap"


def test_yaml_bodies(api):
    text = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: yam}}
data: {{on: "on", n: "017"}}
"""
    r = api("POST", api.configmaps, text, want=201, type="application/yaml")
    assert r["data"] == {"on": "on", "n": "017"} or r["data"] == {"true": "on", "false": "017"}
    r = api("POST", api.configmaps, text, want=415, type="text/plain")
    assert r["reason"] == "UnsupportedMediaType"
    assert "the body of the request was in an unknown format - accepted media types include" in r["message"]


def test_bounds_of_requests(api):
    r = api("POST", api.configmaps, "x" * (3 * 1024 * 1024 + 1), want=413)
    assert r["reason"] == "RequestEntityTooLarge"
    deep = '{"metadata":{"name":"d"},"data":' + '{"a":' * 2000 + "1" + "}" * 2001
    api("POST", api.configmaps, deep, want=400)


def test_strict_warn_and_ignore(api):
    body = '{"apiVersion":"drover.dev/v1","kind":"Run","metadata":{"name":"%s","foo":"x"},' \
        '"spec":{"type":"task","commands":["true"],"bogus":1,"type":"task"}}'
    r = api("POST", api.runs, body % "aa", want=400, fieldValidation="Strict")
    assert r["reason"] == "BadRequest" and r["message"].startswith(
        'Run in version "v1" cannot be handled as a Run: strict decoding error: ')
    assert 'unknown field "spec.bogus"' in r["message"]
    assert 'unknown field "metadata.foo"' in r["message"]
    assert 'duplicate field "spec.type"' in r["message"]
    r = api("POST", api.runs, body % "bb", want=201)
    assert '299 - "unknown field \\"spec.bogus\\""' in r.warnings
    assert '299 - "duplicate field \\"spec.type\\""' in r.warnings
    assert "bogus" not in r["spec"]
    r = api("POST", api.runs, body % "cc", want=201, fieldValidation="Ignore")
    assert r.warnings == []
    r = api("POST", api.runs, body % "dd", want=422, fieldValidation="Sometimes")
    assert "fieldValidation: Unsupported value" in r["message"]
    # The same for patches and updates.
    for type, patch in ((MERGE, {"spec": {"bogus": 1}}),
                        (JSON_PATCH, [{"op": "add", "path": "/spec/bogus", "value": 1}]),
                        (APPLY, {"apiVersion": "drover.dev/v1", "kind": "Run",
                                 "metadata": {"name": "bb"}, "spec": {"bogus": 1}})):
        r = api("PATCH", api.runs + "/bb", patch, want=400, type=type, fieldValidation="Strict",
                fieldManager="m")
        assert 'unknown field "spec.bogus"' in r["message"]
        r = api("PATCH", api.runs + "/bb", patch, want=200, type=type, fieldManager="m")
        assert any("spec.bogus" in w for w in r.warnings), (type, r.warnings)


def test_dry_run_changes_nothing(api):
    r = api("POST", api.configmaps, {"metadata": {"name": "a"}}, want=201, dryRun="All")
    assert "resourceVersion" not in r["metadata"] and r["metadata"]["uid"]
    api("GET", api.configmaps + "/a", want=404)
    a = api.configmap("a", {"k": "v"})
    r = api("PATCH", api.configmaps + "/a", {"data": {"k": "w"}}, want=200, type=MERGE, dryRun="All")
    assert r["data"] == {"k": "w"} and r.rv == a.rv
    api("DELETE", api.configmaps + "/a", want=200, dryRun="All")
    api("DELETE", api.configmaps + "/a", {"dryRun": ["All"]}, want=200)
    r = api("DELETE", api.configmaps, want=200, dryRun="All")
    assert r.names == ["a"]
    for method, path, type, body in (("POST", api.configmaps, None, {"metadata": {"name": "b"}}),
                                     ("PATCH", api.configmaps + "/a", MERGE, {"data": {}}),
                                     ("PUT", api.configmaps + "/a", None, a.json),
                                     ("DELETE", api.configmaps + "/a", None, None)):
        r = api(method, path, body, want=422, type=type, dryRun="Some")
        assert "dryRun: Unsupported value" in r["message"]
    assert api("GET", api.configmaps + "/a", want=200).rv == a.rv


# --- update


def test_update_needs_the_version_of_a_custom_resource(api):
    run = api.run("aa")
    body = json.loads(run.body)
    del body["metadata"]["resourceVersion"]
    r = put(api, api.runs + "/aa", body, want=422)
    assert "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update" in r["message"]
    assert causes(r) == [("FieldValueInvalid", "metadata.resourceVersion")]
    body["metadata"]["resourceVersion"] = "1"
    r = put(api, api.runs + "/aa", body, want=409)
    assert r["message"] == (
        'Operation cannot be fulfilled on runs.drover.dev "aa": the object has been modified; '
        "please apply your changes to the latest version and try again")
    body["metadata"]["resourceVersion"] = run.rv
    body["spec"]["priority"] = 3
    r = put(api, api.runs + "/aa", body, want=200)
    assert r["metadata"]["generation"] == 2
    # Built-in kinds are updated without one.
    api.configmap("c", {"a": "1"})
    r = put(api, api.configmaps + "/c", {"metadata": {"name": "c"}, "data": {"b": "2"}}, want=200)
    assert r["data"] == {"b": "2"}


def test_what_an_update_may_not_change(api):
    run = api.run("aa")
    def change(**meta):
        body = json.loads(run.body)
        body["metadata"].update(meta)
        return put(api, api.runs + "/aa", body)
    assert change(name="b").status == 400
    assert "the name of the object (b) does not match the name on the URL (aa)" in change(name="b")["message"]
    r = change(uid="11111111-1111-4111-8111-111111111111")
    assert r.status == 409 and "Precondition failed: UID in precondition: 1111" in r["message"]
    assert change(namespace="other").status == 400
    r = change(creationTimestamp="2001-01-01T00:00:00Z", generation=99,
               deletionTimestamp="2001-01-01T00:00:00Z", selfLink="x")
    assert r.status == 200 and r.rv == run.rv  # all of it ignored: nothing changed
    r = put(api, api.runs + "/none", json.loads(run.body) | {"metadata": {
        "name": "none", "resourceVersion": run.rv}})
    assert r.status == 404 and r["message"] == 'runs.drover.dev "none" not found'


def test_no_change_writes_nothing(api):
    run = api.run("aa")
    assert put(api, api.runs + "/aa", run.json, want=200).rv == run.rv
    for type, patch in ((MERGE, {}), (MERGE, {"spec": {"type": "task"}}), (JSON_PATCH, []),
                        (JSON_PATCH, [{"op": "test", "path": "/kind", "value": "Run"}])):
        assert api("PATCH", api.runs + "/aa", patch, want=200, type=type).rv == run.rv


def test_status_is_apart(api):
    run = api.run("aa")
    body = json.loads(run.body)
    body["status"] = {"phase": "Running"}
    r = put(api, api.runs + "/aa", body, want=200)
    assert "phase" not in r.json.get("status", {})
    body["spec"]["priority"] = 9
    body["metadata"]["labels"] = {"x": "y"}
    r = put(api, api.runs + "/aa/status", body, want=200)
    assert r["status"]["phase"] == "Running" and r["metadata"]["generation"] == 1
    assert r["spec"].get("priority") != 9 and "labels" not in r["metadata"]
    assert api("GET", api.runs + "/aa/status", want=200)["kind"] == "Run"
    r = api("PATCH", api.runs + "/aa/status", {"status": {"phase": "Done"}, "spec": {"priority": 4}},
            want=200, type=MERGE)
    assert r["status"]["phase"] == "Done" and r["spec"].get("priority") != 4
    r = api("PATCH", api.runs + "/aa/status", [{"op": "replace", "path": "/status/phase",
                                               "value": "Failed"}], want=200, type=JSON_PATCH,
            dryRun="All")
    assert r["status"]["phase"] == "Failed"
    assert api("GET", api.runs + "/aa", want=200)["status"]["phase"] == "Done"
    # The main door leaves the status alone.
    r = api("PATCH", api.runs + "/aa", {"status": {"phase": "Failed"}}, want=200, type=MERGE)
    assert r["status"]["phase"] == "Done"
    api("GET", api.configmaps + "/a/status", want=404)
    assert api("DELETE", api.runs + "/aa/status").status == 405


# --- patch


def test_patch_types(api):
    api.run("aa")
    r = api("PATCH", api.runs + "/aa", {"spec": {"priority": 2}}, want=415, type=STRATEGIC)
    assert r["message"].endswith("accepted media types include: application/json-patch+json, "
                                 "application/merge-patch+json, application/apply-patch+yaml")
    assert api("PATCH", api.runs + "/aa", {}, type="application/json").status == 415
    assert api("PATCH", api.runs + "/aa", "[1]", type=MERGE).status == 400
    assert api("PATCH", api.runs + "/aa", "{", type=MERGE).status == 400
    assert api("PATCH", api.runs + "/aa", {"op": "add"}, type=JSON_PATCH).status == 400
    r = api("PATCH", api.runs + "/aa", [{"op": "remove", "path": "/spec/none"}], want=422,
            type=JSON_PATCH)
    assert r["message"].startswith("the server rejected our request due to an error in our request")
    r = api("PATCH", api.runs + "/aa", [{"op": "test", "path": "/kind", "value": "Run"}] * 10001,
            want=413, type=JSON_PATCH)
    r = api("PATCH", api.runs + "/aa", {"metadata": {"resourceVersion": "1"}}, want=409, type=MERGE)
    assert r["reason"] == "Conflict"
    api("PATCH", api.runs + "/none", {}, want=404, type=MERGE)
    bomb = [{"op": "add", "path": "/spec/env", "value": {"A": "x" * 1000}}] + [
        {"op": "copy", "from": "/spec", "path": f"/spec/c{i}"} for i in range(40)]
    assert api("PATCH", api.runs + "/aa", bomb, type=JSON_PATCH).status in (413, 422)
    r = api("PATCH", api.runs + "/aa", {"spec": {"priority": 1}}, type=MERGE, force="true")
    assert r.status == 422 and "force: Forbidden: may not be specified for non-apply patch" in r["message"]


def test_strategic_merge(api):
    owner = api.configmap("owner")
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    api("POST", api.configmaps, want=201, body={
        "metadata": {"name": "a", "finalizers": ["x.dev/a"], "ownerReferences": [ref]},
        "data": {"k": "v", "z": "y"}})
    def patch(body, want=200):
        return api("PATCH", api.configmaps + "/a", body, want=want, type=STRATEGIC)
    r = patch({"metadata": {"finalizers": ["x.dev/b"]}, "data": {"z": None}})
    assert r["metadata"]["finalizers"] == ["x.dev/a", "x.dev/b"] and r["data"] == {"k": "v"}
    r = patch({"metadata": {"ownerReferences": [{"uid": ref["uid"], "controller": True}]}})
    assert r["metadata"]["ownerReferences"] == [{**ref, "controller": True}]
    r = patch({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.dev/a"],
                            "$setElementOrder/finalizers": ["x.dev/b"]}})
    assert r["metadata"]["finalizers"] == ["x.dev/b"]
    r = patch({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": ref["uid"]}],
                            "finalizers": None}})
    assert "ownerReferences" not in r["metadata"] and "finalizers" not in r["metadata"]
    assert patch({"data": {"$patch": "replace", "new": "1"}})["data"] == {"new": "1"}
    assert patch({"data": {"$retainKeys": ["b"], "b": "2"}})["data"] == {"b": "2"}
    assert "data" not in patch({"data": {"$patch": "delete"}}).json
    patch({"data": {"$patch": "frobnicate"}}, want=400)


# --- delete


def test_delete_answers(api):
    run = api.run("aa")
    r = api("DELETE", api.runs + "/aa", want=200)
    assert r["kind"] == "Status" and r["status"] == "Success"
    assert r["details"] == {"name": "aa", "group": "drover.dev", "kind": "runs",
                            "uid": run["metadata"]["uid"]}
    assert api("DELETE", api.runs + "/aa", want=404)["details"]["name"] == "aa"


def test_delete_preconditions(api):
    cm = api.configmap("a")
    uid = cm["metadata"]["uid"]
    r = api("DELETE", api.configmaps + "/a", {"preconditions": {"uid": "x"}}, want=409)
    assert "the UID in the precondition (x) does not match the UID in record" in r["message"]
    r = api("DELETE", api.configmaps + "/a", {"preconditions": {"resourceVersion": "1"}}, want=409)
    assert "the ResourceVersion in the precondition (1) does not match" in r["message"]
    api("DELETE", api.configmaps + "/a", want=200, body={
        "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
        "preconditions": {"uid": uid, "resourceVersion": cm.rv}})


def test_delete_options_that_do_not_go_together(api):
    api.configmap("a")
    for body in ({"propagationPolicy": "Sideways"}, {"dryRun": ["Some"]},
                 {"orphanDependents": True, "propagationPolicy": "Orphan"},
                 {"gracePeriodSeconds": "5"}, {"preconditions": []}, {"kind": "Status"}):
        r = api("DELETE", api.configmaps + "/a", body)
        assert r.status in (400, 422), r
    api("DELETE", api.configmaps + "/a", "[]", want=400)
    api("DELETE", api.configmaps + "/a", want=422, propagationPolicy="Sideways")
    api("GET", api.configmaps + "/a", want=200)


def test_finalizers_hold(api):
    api.configmap("a", finalizers=["x.dev/one", "x.dev/two"])
    r = api("DELETE", api.configmaps + "/a", want=200)
    meta = r["metadata"]
    assert r["kind"] == "ConfigMap" and meta["deletionTimestamp"]
    assert meta["deletionGracePeriodSeconds"] == 0
    again = api("DELETE", api.configmaps + "/a", want=200)
    assert again["metadata"]["deletionTimestamp"] == meta["deletionTimestamp"]
    assert again.rv == r.rv
    r = api("PATCH", api.configmaps + "/a", {"metadata": {"finalizers": ["x.dev/one", "x.dev/new"]}},
            want=422, type=MERGE)
    assert 'no new finalizers can be added if the object is being deleted, found new finalizers ' \
        '[]string{"x.dev/new"}' in r["message"]
    w = api.watch(api.configmaps, resourceVersion=again.rv)
    api("PATCH", api.configmaps + "/a", {"metadata": {"finalizers": ["x.dev/one"]}}, want=200, type=MERGE)
    api("PATCH", api.configmaps + "/a", {"metadata": {"finalizers": None}}, want=200, type=MERGE)
    assert w.types(2) == ["MODIFIED", "DELETED"]
    w.close()
    api("GET", api.configmaps + "/a", want=404)


def test_generation_of_a_deletion(api):
    api.run("aa", finalizers=["x.dev/hold"])
    r = api("DELETE", api.runs + "/aa", want=200)
    assert r["metadata"]["generation"] == 2
    api("PATCH", api.runs + "/aa", {"metadata": {"finalizers": None}}, want=200, type=MERGE)


def test_deletecollection(api):
    for i in range(5):
        api.configmap(f"c{i}", labels={"odd": str(i % 2)})
    r = api("DELETE", api.configmaps, want=200, labelSelector="odd=1")
    assert r.names == ["c1", "c3"] and r["kind"] == "ConfigMapList"
    api("DELETE", api.configmaps, want=200, fieldSelector="metadata.name=c0")
    assert api("GET", api.configmaps, want=200).names == ["c2", "c4"]
    api("DELETE", api.configmaps, {"propagationPolicy": "Sideways"}, want=422)
    api("DELETE", api.configmaps, want=400, labelSelector="a b")
    api("DELETE", api.configmaps, want=200)
    assert api("GET", api.configmaps, want=200)["items"] == []
    api("DELETE", "/api/v1/namespaces", want=405)


# --- metadata


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "a..b", "x" * 254, "a/b", "a b", "."])
def test_bad_names(api, name):
    r = api("POST", api.configmaps, {"metadata": {"name": name}}, want=422)
    assert r["reason"] == "Invalid" and r["details"]["kind"] == "ConfigMap"
    assert causes(r)[0] == ("FieldValueInvalid", "metadata.name")
    if len(name) < 200:
        assert f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of ' \
            "lower case alphanumeric characters, '-' or '.', and must start and end with an " \
            "alphanumeric character (e.g. 'example.com', regex used for validation is " \
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')" in r["message"]
    else:
        assert "must be no more than 253 characters" in r["message"]


def test_namespace_names_are_labels(api):
    r = api("POST", "/api/v1/namespaces", {"metadata": {"name": "a.b"}}, want=422)
    assert "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and " \
        "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used " \
        "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')" in r["message"]
    r = api("POST", "/api/v1/namespaces", {"metadata": {"name": "a" * 64}}, want=422)
    assert "must be no more than 63 characters" in r["message"]


@pytest.mark.parametrize("meta, field, text", [
    ({"labels": {"a b": "c"}}, "metadata.labels",
     "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
     "an alphanumeric character"),
    ({"labels": {"/x": "c"}}, "metadata.labels", "prefix part must be non-empty"),
    ({"labels": {"a": "b c"}}, "metadata.labels",
     "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
     "and must start and end with an alphanumeric character"),
    ({"labels": {"a": "v" * 64}}, "metadata.labels", "must be no more than 63 characters"),
    ({"annotations": {"a b": "c"}}, "metadata.annotations", "name part must consist of"),
    ({"annotations": {"a": "v" * (256 * 1024)}}, "metadata.annotations",
     "may not be more than 262144 bytes"),
    ({"finalizers": ["a b"]}, "metadata.finalizers", "name part must consist of"),
    ({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": ""}]},
     "metadata.ownerReferences[0].uid", "must not be empty"),
    ({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": n, "uid": n,
                           "controller": True} for n in "ab"]},
     "metadata.ownerReferences", "Only one reference can have Controller set to true"),
    ({"ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "x", "uid": "x"}]},
     "metadata.ownerReferences[0]", "/v1, Kind=Event is disallowed from being an owner"),
])
def test_bad_metadata(api, meta, field, text):
    r = api("POST", api.configmaps, {"metadata": {"name": "a", **meta}}, want=422)
    assert text in r["message"], r["message"]
    assert field in [f for _, f in causes(r)]


# --- the protocol


def test_methods(api):
    api.configmap("a")
    assert api("POST", api.configmaps + "/a", {}).status == 405
    assert api("PUT", api.configmaps, {}).status == 405
    assert api("PATCH", api.configmaps, {}, type=MERGE).status == 405
    r = api("OPTIONS", api.configmaps)
    assert r.status == 405 and r["reason"] == "MethodNotAllowed"
    r = api("HEAD", api.configmaps + "/a")
    assert r.status == 200 and r.body == b""
    assert api("HEAD", api.configmaps + "/none").status == 404
    for path in ("/nowhere", "/api/v1/nothing", "/apis/none.dev/v1/things", "/api/v2",
                 api.configmaps + "/a/nothing", "/apis/drover.dev/v2/runs"):
        r = api("GET", path, want=404)
        assert r["message"] == "the server could not find the requested resource", path
    r = api("GET", api.configmaps + "/none", want=404)
    assert r["message"] == 'configmaps "none" not found'
    assert r["details"] == {"name": "none", "kind": "configmaps"}
    assert r["metadata"] == {} and r["apiVersion"] == "v1" and r["code"] == 404


def test_missing_content_type_is_json(api):
    r = api("POST", api.configmaps, {"metadata": {"name": "a"}}, want=201,
            headers={"Content-Type": None})
    assert r["kind"] == "ConfigMap"
