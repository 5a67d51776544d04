# SPDX-License-Identifier: Apache-2.0
"""The scale subresource, and owners of fields in several versions, on a user's CRD."""
import pytest

from http_api import APPLY, JSON_PATCH, MERGE

SCHEMA = {"type": "object", "properties": {
    "spec": {"type": "object", "properties": {
        "size": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        "color": {"type": "string"}, "note": {"type": "string"}}},
    "status": {"type": "object", "properties": {
        "replicas": {"type": "integer"}, "selector": {"type": "string"}}}}}


@pytest.fixture
def widgets(api):
    """A CRD of two versions with a scale, in a group of its own."""
    group = f"{api.namespace}.example.dev"
    version = {"served": True, "schema": {"openAPIV3Schema": SCHEMA}, "subresources": {
        "status": {}, "scale": {"specReplicasPath": ".spec.size.replicas",
                                "statusReplicasPath": ".status.replicas",
                                "labelSelectorPath": ".status.selector"}}}
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    w = api.watch(crds, fieldSelector=f"metadata.name=widgets.{group}", resourceVersion="0")
    api("POST", crds, want=201, body={
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced",
                 "names": {"plural": "widgets", "singular": "widget", "kind": "Widget",
                           "listKind": "WidgetList"},
                 "versions": [{"name": "v1", "storage": True, **version},
                              {"name": "v2", "storage": False, **version}]}})
    while not any(c["type"] == "Established" and c["status"] == "True"
                  for c in w.next()["object"].get("status", {}).get("conditions", [])):
        pass
    w.close()
    api.group = group
    api.widgets = f"/apis/{group}/v1/namespaces/{api.namespace}/widgets"
    api.widgets2 = f"/apis/{group}/v2/namespaces/{api.namespace}/widgets"
    return api


def create(api, **spec):
    return api("POST", api.widgets, want=201, body={
        "apiVersion": f"{api.group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})


def test_scale(widgets):
    api = widgets
    obj = create(api, size={"replicas": 2}, color="red")
    path = api.widgets + "/w/scale"
    r = api("GET", path, want=200)
    assert (r["kind"], r["apiVersion"]) == ("Scale", "autoscaling/v1")
    meta = r["metadata"]
    assert meta["name"] == "w" and meta["uid"] == obj["metadata"]["uid"] and r.rv == obj.rv
    assert r["spec"] == {"replicas": 2} and r["status"] == {"replicas": 0}
    api("PATCH", api.widgets + "/w/status", {"status": {"replicas": 1, "selector": "a=b"}}, want=200,
        type=MERGE)
    r = api("GET", path, want=200)
    assert r["status"] == {"replicas": 1, "selector": "a=b"}
    old = r.json
    # What kubectl scale sends: a merge patch, or a PUT with the version.
    r = api("PATCH", path, {"spec": {"replicas": 7}}, want=200, type=MERGE)
    assert r["spec"] == {"replicas": 7}
    old["spec"]["replicas"] = 9
    assert api("PUT", path, old, want=409)["reason"] == "Conflict"
    new = r.json
    new["spec"]["replicas"] = 8
    assert api("PUT", path, new, want=200)["spec"] == {"replicas": 8}
    r = api("PATCH", path, [{"op": "test", "path": "/spec/replicas", "value": 8},
                            {"op": "replace", "path": "/spec/replicas", "value": 3}], want=200,
            type=JSON_PATCH)
    assert r["spec"] == {"replicas": 3}
    got = api("GET", api.widgets + "/w", want=200)
    assert got["spec"] == {"size": {"replicas": 3}, "color": "red"}
    assert got["status"] == {"replicas": 1, "selector": "a=b"} and got["metadata"]["generation"] == 4


def test_scale_refuses(widgets):
    api = widgets
    create(api)
    path = api.widgets + "/w/scale"
    assert api("GET", path, want=200)["spec"] == {"replicas": 0}
    r = api("PATCH", path, {"spec": {"replicas": -1}}, want=422, type=MERGE)
    assert "spec.replicas: Invalid value: -1: " in r["message"]
    assert api("PATCH", path, {"spec": {"replicas": "x"}}, type=MERGE).status in (400, 422)
    api("PATCH", path, {}, want=415, type="application/json")
    api("GET", api.widgets + "/none/scale", want=404)
    assert api("DELETE", path).status == 405
    api("GET", api.configmaps + "/x/scale", want=404)
    r = api("PATCH", path, {"spec": {"replicas": 5}}, want=200, type=MERGE, dryRun="All")
    assert r["spec"] == {"replicas": 5} and api("GET", path, want=200)["spec"] == {"replicas": 0}
    resources = api("GET", f"/apis/{api.group}/v1", want=200)["resources"]
    (scale,) = [x for x in resources if x["name"] == "widgets/scale"]
    assert scale["kind"] == "Scale" and scale["group"] == "autoscaling" and scale["version"] == "v1"


def test_owners_in_two_versions(widgets):
    api = widgets
    def apply(path, version, manager, want=200, **spec):
        return api("PATCH", path + "/w", want=want, type=APPLY, fieldManager=manager, body={
            "apiVersion": f"{api.group}/{version}", "kind": "Widget", "metadata": {"name": "w"},
            "spec": spec})
    apply(api.widgets, "v1", "ann", want=201, color="red", note="n")
    r = apply(api.widgets2, "v2", "bob", want=409, color="blue")
    assert 'conflict with "ann": .spec.color' in r["message"]
    r = apply(api.widgets2, "v2", "ann", color="red")
    assert r["apiVersion"] == f"{api.group}/v2" and "note" not in r["spec"]
    (entry,) = r["metadata"]["managedFields"]
    assert entry["apiVersion"] == f"{api.group}/v2" and entry["operation"] == "Apply"
    # Updates by one manager in two versions are two entries.
    for path, color in ((api.widgets, "a"), (api.widgets2, "b")):
        r = api("PATCH", path + "/w", {"spec": {"note": color}}, want=200, type=MERGE, fieldManager="u")
    assert [(m["manager"], m["apiVersion"].split("/")[1]) for m in r["metadata"]["managedFields"]] == [
        ("ann", "v2"), ("u", "v2")]
