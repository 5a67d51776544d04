# SPDX-License-Identifier: Apache-2.0
"""Scenarios of Kubernetes' own conformance suite for its API machinery that the other HTTP tests
do not show: kinds made, watched and changed while clients look on, published schemas, chunks under
writes, watches from old revisions and under load, optimistic concurrency of many writers, garbage
collection, quotas, Tables, life cycles of built-in kinds."""
import json
import re
import threading
import time
import uuid

import pytest
from http_api import APPLY, JSON_PATCH, MERGE, PARTIAL, TABLE

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def crd(group, properties=None, plural="things", kind="Thing", **version):
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced",
                 "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                 "versions": [{"name": "v1", "served": True, "storage": True,
                               "schema": {"openAPIV3Schema": {
                                   "type": "object", "properties": properties or {
                                       "spec": {"type": "object",
                                                "x-kubernetes-preserve-unknown-fields": True}}}},
                               **version}]}}


def is_established(obj):
    return any(c["type"] == "Established" and c["status"] == "True"
               for c in obj.get("status", {}).get("conditions", []))


class Things:
    """A kind of the test's own, established."""

    def __init__(self, api, **kw):
        self.api = api
        self.group = f"g{uuid.uuid4().hex[:8]}.example.dev"
        self.crd = api("POST", CRDS, crd(self.group, **kw), want=201)
        self.crd_path = f"{CRDS}/things.{self.group}"
        watch = api.watch(CRDS, fieldSelector=f"metadata.name=things.{self.group}")
        while not is_established(watch.next()["object"]):
            pass
        watch.close()
        self.path = f"/apis/{self.group}/v1/namespaces/{api.namespace}/things"

    def make(self, name, want=201, spec=None, **query):
        return self.api("POST", self.path, {
            "apiVersion": f"{self.group}/v1", "kind": "Thing", "metadata": {"name": name},
            "spec": spec or {}}, want=want, **query)


def eventually(check, timeout=20):
    """A changed definition is taken up a moment after it was written, as in Kubernetes."""
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


@pytest.fixture
def things(api):
    made = []

    def new(**kw):
        made.append(Things(api, **kw))
        return made[-1]

    yield new
    for t in made:
        api("DELETE", t.crd_path, want=200)


# --- custom_resource_definition, crd_watch, crd_publish_openapi, crd_selectable_fields


def test_kind_comes_and_goes_under_a_watch(api, things):
    t = things()
    watch = api.watch(t.path, resourceVersion="0")
    first, second = t.make("aa"), t.make("bb")
    assert [watch.next()["object"]["metadata"]["uid"] for _ in range(2)] == [
        first["metadata"]["uid"], second["metadata"]["uid"]]
    api("DELETE", t.path + "/aa", want=200)
    event = watch.next()
    assert event["type"] == "DELETED" and event["object"]["metadata"]["name"] == "aa"
    watch.close()


def test_status_of_a_definition(api, things):
    t = things()
    got = api("GET", t.crd_path + "/status", want=200)
    assert got["status"]["acceptedNames"]["kind"] == "Thing"
    r = api("PATCH", t.crd_path + "/status", {"status": {"conditions": [{
        "type": "StatusUpdated", "status": "True", "reason": "Test", "message": "m"}]}},
        want=200, type=MERGE)
    assert {"StatusUpdated"} <= {c["type"] for c in r["status"]["conditions"]}
    listed = api("GET", CRDS, want=200, labelSelector="no=such")
    assert listed["items"] == []
    r = api("PATCH", t.crd_path, {"metadata": {"labels": {"a": t.group}}}, want=200, type=MERGE)
    assert api("GET", CRDS, want=200, labelSelector=f"a={t.group}").names == [
        f"things.{t.group}"]
    r = api("DELETE", CRDS, want=200, labelSelector=f"a={t.group}", dryRun="All")
    assert api("GET", t.crd_path, want=200)["metadata"]["name"]


def test_schemas_are_published_and_withdrawn(api, things):
    t = things(properties={"spec": {"type": "object", "description": "What it is for.",
                                    "properties": {"size": {"type": "integer"}}}})
    eventually(lambda: f"apis/{t.group}/v1" in api("GET", "/openapi/v3", want=200)["paths"])
    entry = api("GET", "/openapi/v3", want=200)["paths"][f"apis/{t.group}/v1"]
    doc = api("GET", entry["serverRelativeURL"], want=200)
    schema = next(s for s in doc["components"]["schemas"].values()
                  if "Thing" in json.dumps(s.get("x-kubernetes-group-version-kind", []))
                  and "spec" in s.get("properties", {}))
    assert schema["properties"]["spec"]["description"] == "What it is for."
    assert schema["properties"]["spec"]["properties"]["size"]["type"] == "integer"
    # a version that is not served any more is not published
    versions = api("GET", t.crd_path, want=200)["spec"]["versions"]

    def serve(*versions):
        api("PATCH", t.crd_path, {"spec": {"versions": versions}}, want=200, type=MERGE)

    def published():
        return f"apis/{t.group}/v2" in api("GET", "/openapi/v3", want=200)["paths"]

    second = {**versions[0], "name": "v2", "storage": False}
    serve(versions[0], second)
    eventually(published)
    serve(versions[0], {**second, "served": False})
    eventually(lambda: not published())
    api("GET", t.path.replace("/v1/", "/v2/"), want=404)


def test_selectable_fields(api, things):
    t = things(properties={"spec": {"type": "object", "properties": {
        "color": {"type": "string"}, "size": {"type": "integer"}}}},
        selectableFields=[{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}])
    for i, color in enumerate(("red", "blue", "red")):
        t.make(f"t{i}", spec={"color": color, "size": i})
    assert api("GET", t.path, want=200, fieldSelector="spec.color=red").names == ["t0", "t2"]
    assert api("GET", t.path, want=200, fieldSelector="spec.color=red,spec.size=2").names == ["t2"]
    assert api("GET", t.path, want=200, fieldSelector="spec.color!=red").names == ["t1"]
    r = api("GET", t.path, want=400, fieldSelector="spec.other=x")
    assert "field label not supported" in r["message"]
    watch = api.watch(t.path, fieldSelector="spec.color=blue",
                      resourceVersion=api("GET", t.path, want=200).rv)
    api("PATCH", t.path + "/t0", {"spec": {"color": "blue"}}, want=200, type=MERGE)
    api("PATCH", t.path + "/t1", {"spec": {"color": "red"}}, want=200, type=MERGE)
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in (watch.next(), watch.next())] \
        == [("ADDED", "t0"), ("DELETED", "t1")]
    watch.close()
    r = api("DELETE", t.path, want=200, fieldSelector="spec.color=red")
    assert api("GET", t.path, want=200).names == ["t0"]


# --- field_validation, defaulting, pruning


def test_defaults_and_pruning(api, things):
    t = things(properties={"spec": {"type": "object", "default": {}, "properties": {
        "a": {"type": "string", "default": "A"},
        "list": {"type": "array", "items": {"type": "object", "properties": {
            "b": {"type": "integer", "default": 7}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True,
                 "properties": {"known": {"type": "string"}}}}}})
    r = t.make("aa", spec={"list": [{}, {"b": 1}], "gone": 1, "free": {"kept": {"x": 1}}})
    assert r["spec"] == {"a": "A", "list": [{"b": 7}, {"b": 1}], "free": {"kept": {"x": 1}}}
    assert any('unknown field \\"spec.gone\\"' in w for w in r.warnings)
    r = t.make("bb", want=400, spec={"gone": 1}, fieldValidation="Strict")
    assert 'unknown field "spec.gone"' in r["message"]
    # a null of a field with a default becomes the default; a later default shows on reading
    r = t.make("cc", spec={"a": None})
    assert r["spec"]["a"] == "A"
    versions = api("GET", t.crd_path, want=200)["spec"]["versions"]
    spec = versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["later"] = {"type": "string", "default": "L"}
    api("PATCH", t.crd_path, {"spec": {"versions": versions}}, want=200, type=MERGE)
    eventually(lambda: api("GET", t.path + "/aa", want=200)["spec"].get("later") == "L")
    assert all(i["spec"]["later"] == "L" for i in api("GET", t.path, want=200)["items"])


# --- chunking, watch, resource versions


def test_chunks_under_writes(api):
    for i in range(20):
        api.configmap(f"c{i:02}")
    first = api("GET", api.configmaps, want=200, limit=7)
    for i in range(0, 20, 2):
        api("DELETE", f"{api.configmaps}/c{i:02}", want=200)
    api.configmap("c99")
    names, page = first.names, first
    while page["metadata"].get("continue"):
        page = api("GET", api.configmaps, want=200, limit=7,
                   **{"continue": page["metadata"]["continue"]})
        assert page.rv == first.rv
        names += page.names
    assert names == [f"c{i:02}" for i in range(20)]
    assert "c99" in api("GET", api.configmaps, want=200).names


def test_watches_agree(api):
    """Watches begun at every revision of a history see one and the same order of events."""
    start = api("GET", api.configmaps, want=200).rv
    revisions = [start]
    for i in range(6):
        revisions.append(api.configmap(f"w{i}").rv)
        revisions.append(api("PATCH", f"{api.configmaps}/w{i}", {"data": {"n": "1"}}, want=200,
                             type=MERGE).rv)
    histories = []
    for n, revision in enumerate(revisions[:-1]):
        watch = api.watch(api.configmaps, resourceVersion=revision)
        histories.append([(e["type"], e["object"]["metadata"]["name"],
                           e["object"]["metadata"]["resourceVersion"])
                          for e in (watch.next() for _ in range(len(revisions) - 1 - n))])
        watch.close()
    for n, history in enumerate(histories):
        assert history == histories[0][n:]
    seen = [int(h[2]) for h in histories[0]]
    assert seen == sorted(seen) and seen == [int(r) for r in revisions[1:]]


def test_concurrent_watchers_see_the_same(api):
    watchers = [api.watch(api.configmaps, resourceVersion=api("GET", api.configmaps).rv)
                for _ in range(8)]

    def write(k):
        for i in range(5):
            api.configmap(f"k{k}-{i}")
            api("DELETE", f"{api.configmaps}/k{k}-{i}", want=200)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    seen = [[(e["type"], e["object"]["metadata"]["name"],
              e["object"]["metadata"]["resourceVersion"]) for e in (w.next() for _ in range(40))]
            for w in watchers]
    for t in threads:
        t.join()
    assert all(s == seen[0] for s in seen)
    for w in watchers:
        w.close()


def test_optimistic_concurrency(api):
    """Updates that carry a revision: every increment counts once. Patches without: all land."""
    api.configmap("count", {"n": "0"})

    def increment():
        for _ in range(5):
            while True:
                obj = api("GET", api.configmaps + "/count", want=200).json
                obj["data"]["n"] = str(int(obj["data"]["n"]) + 1)
                if api("PUT", api.configmaps + "/count", obj).status == 200:
                    break

    def patch(k):
        for i in range(5):
            api("PATCH", api.configmaps + "/count", {"data": {f"p{k}-{i}": "x"}}, want=200,
                type=MERGE)

    threads = [threading.Thread(target=increment) for _ in range(3)] + [
        threading.Thread(target=patch, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    data = api("GET", api.configmaps + "/count", want=200)["data"]
    assert data["n"] == "15" and len(data) == 16


def test_watch_list_with_bookmark(api):
    for i in range(3):
        api.configmap(f"b{i}")
    watch = api.watch(api.configmaps, sendInitialEvents="true", allowWatchBookmarks="true",
                      resourceVersionMatch="NotOlderThan")
    events = [watch.next() for _ in range(4)]
    assert [e["type"] for e in events] == ["ADDED"] * 3 + ["BOOKMARK"]
    meta = events[3]["object"]["metadata"]
    assert meta["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert events[3]["object"]["kind"] == "ConfigMap"
    assert int(meta["resourceVersion"]) >= max(int(e["object"]["metadata"]["resourceVersion"])
                                               for e in events[:3])
    api.configmap("b3")
    assert watch.next()["object"]["metadata"]["name"] == "b3"
    watch.close()


# --- table_conversion, partial metadata, negotiation


def test_tables(api, things):
    t = things(additionalPrinterColumns=[
        {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
        {"name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp"}])
    t.make("aa", spec={"color": "red"})
    r = api("GET", t.path, want=200, accept=TABLE)
    assert r["kind"] == "Table" and [c["name"] for c in r["columnDefinitions"]] == [
        "Name", "Color", "Born"]
    assert r["rows"][0]["cells"][:2] == ["aa", "red"]
    assert r["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert "object" not in api("GET", t.path, accept=TABLE, includeObject="None")["rows"][0]
    whole = api("GET", t.path, accept=TABLE, includeObject="Object")["rows"][0]["object"]
    assert whole["spec"] == {"color": "red"}
    r = api("GET", t.path + "/aa", want=200, accept=PARTIAL)
    assert r["kind"] == "PartialObjectMetadata" and "spec" not in r.json
    only = "application/json;as=Table;v=v1alpha1;g=meta.k8s.io"
    r = api("GET", t.path, want=406, accept=only)
    assert r["reason"] == "NotAcceptable"
    assert "only the following media types are accepted" in r["message"]
    question = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    api("POST", reviews, question, want=406, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    api("POST", reviews, question, want=201, accept=TABLE)


# --- garbage_collector


def test_owner_chains(api, things):
    """A chain of three kinds falls from the top; a cycle does not stop it."""
    t = things()
    top = t.make("top")

    def owner(obj, kind, version):
        return [{"apiVersion": version, "kind": kind, "name": obj["metadata"]["name"],
                 "uid": obj["metadata"]["uid"]}]

    middle = api.configmap("middle", ownerReferences=owner(top, "Thing", f"{t.group}/v1"))
    low = api.run("low", ownerReferences=owner(middle, "ConfigMap", "v1"))
    api("PATCH", t.path + "/top", {"metadata": {"ownerReferences": owner(
        low, "Run", "drover.dev/v1")}}, want=200, type=MERGE)
    watch = api.watch(api.runs, fieldSelector="metadata.name=low", resourceVersion=low.rv)
    api("DELETE", t.path + "/top", {"propagationPolicy": "Background"}, want=200)
    while watch.next()["type"] != "DELETED":
        pass
    watch.close()
    api("GET", api.configmaps + "/middle", want=404)


def test_dependents_go_with_their_kind(api, things):
    """Objects of a kind go when its definition does, finalizers first."""
    t = Things(api)
    obj = t.make("aa")
    api("PATCH", t.path + "/aa", {"metadata": {"finalizers": ["example.dev/hold"]}}, want=200,
        type=MERGE)
    watch = api.watch(CRDS, fieldSelector=f"metadata.name=things.{t.group}",
                      resourceVersion=api("GET", CRDS, want=200).rv)
    api("DELETE", t.crd_path, want=200)
    held = api("GET", t.path + "/aa", want=200)
    assert held["metadata"]["uid"] == obj["metadata"]["uid"]
    while not any(c["type"] == "Terminating" and c["status"] == "True" for c in
                  watch.next()["object"]["status"]["conditions"]):
        pass
    t.make("bb", want=405)
    api("PATCH", t.path + "/aa", [{"op": "remove", "path": "/metadata/finalizers"}],
        type=JSON_PATCH)
    while watch.next()["type"] != "DELETED":
        pass
    watch.close()
    # the watch may be ahead of what is served
    eventually(lambda: api("GET", t.path).status == 404)


# --- resource_quota


def test_quota_of_user_kinds(api, things):
    t = things()
    quotas = f"/api/v1/namespaces/{api.namespace}/resourcequotas"
    api("POST", quotas, {"metadata": {"name": "q"}, "spec": {"hard": {
        f"count/things.{t.group}": "2", "count/configmaps": "1"}}}, want=201)
    watch = api.watch(quotas, resourceVersion="0")

    def used_is(n):
        while watch.next()["object"].get("status", {}).get("used", {}).get(
                f"count/things.{t.group}") != n:
            pass

    used_is("0")
    t.make("aa")
    t.make("bb")
    used_is("2")
    r = t.make("cc", want=403)
    assert "exceeded quota: q" in r["message"]
    api("DELETE", t.path + "/aa", want=200)
    used_is("1")
    watch.close()
    t.make("cc")


# --- life cycles: ConfigMap, Secret, Event, Lease, ServiceAccount, Namespace, by every verb


@pytest.mark.parametrize("version,kind,plural,body,change", [
    ("v1", "ConfigMap", "configmaps", {"data": {"a": "b"}}, {"data": {"a": "c"}}),
    ("v1", "Secret", "secrets", {"data": {"a": "Yg=="}}, {"data": {"a": "Yw=="}}),
    ("v1", "ServiceAccount", "serviceaccounts", {}, {"automountServiceAccountToken": False}),
    ("coordination.k8s.io/v1", "Lease", "leases", {"spec": {"holderIdentity": "a"}},
     {"spec": {"holderIdentity": "b"}}),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", {"rules": []}, {"rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}]}),
    ("drover.dev/v1", "Run", "runs", {"spec": {"type": "task", "commands": ["a"]}},
     {"spec": {"commands": ["b"]}})])
def test_life_by_every_verb(api, version, kind, plural, body, change):
    base = "/api/v1" if version == "v1" else f"/apis/{version}"
    everywhere, path = f"{base}/{plural}", f"{base}/namespaces/{api.namespace}/{plural}"
    label = f"life-{kind.lower()}"
    watch = api.watch(path, labelSelector=f"test={label}", resourceVersion=api("GET", path).rv)
    meta = {"name": "life", "labels": {"test": label}}
    made = api("POST", path, {"apiVersion": version, "kind": kind, "metadata": meta, **body},
               want=201)
    patched = api("PATCH", path + "/life", {"metadata": {"labels": {"patched": "yes"}}, **change},
                  want=200, type=MERGE)
    key = next(iter(change))
    assert patched[key] != made.json.get(key) and patched["metadata"]["uid"] == made["metadata"]["uid"]
    assert any(o["metadata"]["uid"] == made["metadata"]["uid"] for o in api(
        "GET", everywhere, want=200, labelSelector=f"test={label},patched=yes")["items"])
    body = api("GET", path + "/life", want=200).json
    body["metadata"]["labels"]["put"] = "yes"
    api("PUT", path + "/life", body, want=200)
    r = api("PATCH", path + "/life", {"apiVersion": version, "kind": kind, "metadata": {
        "name": "life", "labels": {"applied": "yes"}}}, want=200, type=APPLY, fieldManager="me")
    assert r["metadata"]["labels"] == {"test": label, "patched": "yes", "put": "yes",
                                       "applied": "yes"}
    api("DELETE", path, want=200, labelSelector=f"test={label}")
    types = []
    while not types or types[-1] != "DELETED":
        types.append(watch.next()["type"])
    assert types == ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
    watch.close()
    api("GET", path + "/life", want=404)


# --- server_version, health_handlers, aggregated_discovery, request_timeout


def test_endpoints(api):
    v = api("GET", "/version", want=200)
    assert re.fullmatch(r"\d+", v["major"]) and re.fullmatch(r"\d+\+?", v["minor"])
    assert re.fullmatch(r"v\d+\.\d+\.\d+\S*", v["gitVersion"])
    for path in ("/healthz", "/livez", "/readyz"):
        assert api("GET", path, want=200).body == b"ok"
        assert b"[+]" in api("GET", path, want=200, verbose="true").body
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = {}
    for path in ("/api", "/apis"):
        for g in api("GET", path, want=200, accept=aggregated)["items"]:
            for version in g["versions"]:
                groups[g["metadata"].get("name", ""), version["version"]] = version["resources"]
    for (group, version), resources in groups.items():
        base = f"/apis/{group}/{version}" if group else f"/api/{version}"
        legacy = {r["name"] for r in api("GET", base, want=200)["resources"]}
        both = {r["resource"] for r in resources if r.get("responseKind")} | {
            f"{r['resource']}/{s['subresource']}" for r in resources
            for s in r.get("subresources", [])}
        assert both == legacy, (group, version)


def test_request_timeouts(api):
    for bad in ("nonsense", "5", "1p", "-", "3s4"):
        r = api("GET", api.configmaps, want=400, timeout=bad)
        assert r["message"] == "invalid timeout specified in the request URL"
    for good in ("30s", "1m30s", "0", "1.5h", "200ms"):
        api("GET", api.configmaps, want=200, timeout=good)
