# SPDX-License-Identifier: Apache-2.0
"""Namespaces, Secrets, ConfigMaps, Events, Leases and garbage collection over plain HTTP."""
import base64
import re

import pytest

from http_api import MERGE, STRATEGIC, TABLE, causes


def b64(text):
    return base64.b64encode(text.encode()).decode()


def wait_gone(api, path):
    """Follows the object until it is deleted."""
    collection, _, name = path.rpartition("/")
    w = api.watch(collection, fieldSelector=f"metadata.name={name}", resourceVersion="0")
    if api("GET", path).status == 404:
        w.close()
        return
    while w.next()["type"] != "DELETED":
        pass
    w.close()


# --- namespaces


def test_namespace_as_created(api):
    r = api("GET", f"/api/v1/namespaces/{api.namespace}", want=200)
    assert r["metadata"]["labels"] == {"kubernetes.io/metadata.name": api.namespace}
    assert r["spec"] == {"finalizers": ["kubernetes"]} and r["status"] == {"phase": "Active"}
    # The label stays, whatever a client does; so do the spec's finalizers.
    r = api("PATCH", f"/api/v1/namespaces/{api.namespace}",
            {"metadata": {"labels": {"kubernetes.io/metadata.name": None, "a": "b"}},
             "spec": {"finalizers": []}}, want=200, type=MERGE)
    assert r["metadata"]["labels"] == {"kubernetes.io/metadata.name": api.namespace, "a": "b"}
    assert r["spec"] == {"finalizers": ["kubernetes"]}
    assert api("GET", "/api/v1/namespaces", want=200,
               fieldSelector=f"status.phase=Active,metadata.name={api.namespace}")["items"]


def conditions(reply):
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in reply["status"]["conditions"]}


def test_namespace_termination(api):
    path = f"/api/v1/namespaces/{api.namespace}"
    api.configmap("held", finalizers=["x.dev/hold"])
    api.configmap("free")
    w = api.watch("/api/v1/namespaces", fieldSelector=f"metadata.name={api.namespace}",
                  resourceVersion=api("GET", path, want=200).rv)
    r = api("DELETE", path, want=200)
    assert r["status"]["phase"] == "Terminating" and r["metadata"]["deletionTimestamp"]
    r = api("POST", api.configmaps, {"metadata": {"name": "late"}}, want=403)
    assert "unable to create new content in namespace " in r["message"]
    assert r["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    wait_gone(api, api.configmaps + "/free")
    while True:
        seen = w.next()["object"]
        found = {c["type"]: c for c in seen["status"].get("conditions", [])}
        # Other things in it (its ServiceAccount) go at their own pace.
        if found.get("NamespaceContentRemaining", {}).get("message") == \
                "Some resources are remaining: configmaps has 1 resource instances":
            break
    assert found["NamespaceContentRemaining"]["status"] == "True"
    assert found["NamespaceContentRemaining"]["reason"] == "SomeResourcesRemain"
    assert found["NamespaceFinalizersRemaining"]["message"] == (
        "Some content in the namespace has finalizers remaining: x.dev/hold in 1 resource instances")
    assert found["NamespaceDeletionContentFailure"]["status"] == "False"
    api("PATCH", api.configmaps + "/held", {"metadata": {"finalizers": None}}, want=200, type=MERGE)
    while w.next()["type"] != "DELETED":
        pass
    w.close()
    api("GET", path, want=404)


def test_finalize(api):
    name = api.namespace + "f"
    path = f"/api/v1/namespaces/{name}"
    ns = api("POST", "/api/v1/namespaces", {"metadata": {"name": name}}, want=201).json
    ns["spec"]["finalizers"] = ["kubernetes", "x.dev/mine"]
    ns["metadata"]["labels"] = {"not": "changed"}
    r = api("PUT", path + "/finalize", ns, want=200)
    assert r["spec"]["finalizers"] == ["kubernetes", "x.dev/mine"]
    assert "not" not in r["metadata"]["labels"]
    api("DELETE", path, want=200)
    # The server drops its own finalizer; another's holds the namespace.
    w = api.watch("/api/v1/namespaces", fieldSelector=f"metadata.name={name}", resourceVersion="0")
    while True:
        seen = w.next()["object"]
        if seen["spec"].get("finalizers") == ["x.dev/mine"]:
            break
    seen["spec"]["finalizers"] = []
    api("PUT", path + "/finalize", seen, want=200)
    while w.next()["type"] != "DELETED":
        pass
    w.close()
    assert api("GET", path + "/finalize").status == 405
    assert api("PATCH", path + "/finalize", {}, type=MERGE).status == 405


def test_protected_namespaces(api):
    for name in ("default",):
        assert api("DELETE", f"/api/v1/namespaces/{name}").status == 403


# --- secrets and configmaps


def secret(api, name, want=201, **members):
    return api("POST", api.secrets, {"metadata": {"name": name}, **members}, want=want)


def test_string_data(api):
    r = secret(api, "s", stringData={"a": "1", "b": "é"}, data={"a": b64("x"), "c": b64("3")})
    assert r["data"] == {"a": b64("1"), "b": b64("é"), "c": b64("3")} and "stringData" not in r.json
    assert r["type"] == "Opaque"
    r = api("PATCH", api.secrets + "/s", {"stringData": {"d": "4"}}, want=200, type=STRATEGIC)
    assert r["data"]["d"] == b64("4") and r["data"]["a"] == b64("1")
    r = secret(api, "bad", want=422, data={"a": "not base64!"})
    assert r["details"]["causes"][0]["field"] in ("data.a", "data[a]")


@pytest.mark.parametrize("type, data, missing", [
    ("kubernetes.io/tls", {"tls.crt": b64("x")}, ["data[tls.key]"]),
    ("kubernetes.io/tls", {}, ["data[tls.crt]", "data[tls.key]"]),
    ("kubernetes.io/basic-auth", {}, ["data[username]", "data[password]"]),
    ("kubernetes.io/ssh-auth", {}, ["data[ssh-privatekey]"]),
    ("kubernetes.io/dockercfg", {}, ["data[.dockercfg]"]),
    ("kubernetes.io/dockerconfigjson", {".dockercfg": b64("{}")}, ["data[.dockerconfigjson]"]),
    ("kubernetes.io/service-account-token", {},
     ["metadata.annotations[kubernetes.io/service-account.name]"]),
])
def test_secret_types_demand_keys(api, type, data, missing):
    r = secret(api, "s", want=422, type=type, data=data)
    assert causes(r) == [("FieldValueRequired", m) for m in missing]


def test_secret_types(api):
    secret(api, "tls", type="kubernetes.io/tls", data={"tls.crt": "", "tls.key": ""})
    secret(api, "basic", type="kubernetes.io/basic-auth", stringData={"password": "p"})
    secret(api, "docker", type="kubernetes.io/dockerconfigjson",
           stringData={".dockerconfigjson": "{\"auths\":{}}"})
    r = secret(api, "nojson", want=422, type="kubernetes.io/dockerconfigjson",
               stringData={".dockerconfigjson": "{"})
    assert causes(r) == [("FieldValueInvalid", "data[.dockerconfigjson]")]
    r = api("PATCH", api.secrets + "/tls", {"type": "Opaque"}, want=422, type=MERGE)
    assert causes(r) == [("FieldValueInvalid", "type")] and "field is immutable" in r["message"]
    assert api("GET", api.secrets, want=200, fieldSelector="type=kubernetes.io/tls").names == ["tls"]


@pytest.mark.parametrize("key", ["a b", "a/b", "", "..", ".", "k" * 254, "..x"])
def test_bad_keys(api, key):
    r = api("POST", api.configmaps, {"metadata": {"name": "c"}, "data": {key: "v"}}, want=422)
    assert causes(r)[0] == ("FieldValueInvalid", f"data[{key}]")
    r = secret(api, "s", want=422, data={key: ""})
    assert causes(r)[0] == ("FieldValueInvalid", f"data[{key}]")


def test_sizes(api):
    big = "x" * (1024 * 1024)
    api("POST", api.configmaps, {"metadata": {"name": "fits"}, "data": {"a": big}}, want=201)
    r = api("POST", api.configmaps, {"metadata": {"name": "c"}, "data": {"a": big, "b": "1"}}, want=422)
    assert "Too long: may not be more than 1048576 bytes" in r["message"]
    r = secret(api, "s", want=422, data={"a": b64(big), "b": b64("1")})
    assert causes(r) == [("FieldValueTooLong", "data")]
    r = api("POST", api.configmaps, want=422, body={
        "metadata": {"name": "c"}, "data": {"a": "1"}, "binaryData": {"a": b64("1")}})
    assert "duplicate of key present in binaryData" in r["message"]


def test_immutable(api):
    for path, key in ((api.configmaps, "data"), (api.secrets, "data")):
        api("POST", path, {"metadata": {"name": "i"}, "data": {"a": b64("1")}, "immutable": True}, want=201)
        for patch in ({"data": {"a": b64("2")}}, {"immutable": False}, {"immutable": None}):
            r = api("PATCH", path + "/i", patch, want=422, type=MERGE)
            assert "field is immutable when `immutable` is set" in r["message"]
        api("PATCH", path + "/i", {"metadata": {"labels": {"x": "y"}}}, want=200, type=MERGE)
        api("DELETE", path + "/i", want=200)


# --- leases and events


def test_lease_lifecycle(api):
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 30, "renewTime": "2026-01-01T00:00:00.000001Z",
            "acquireTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 0}
    lease = api("POST", api.leases, want=201, body={
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": spec}).json
    assert lease["spec"] == spec
    lease["spec"]["renewTime"] = "2026-01-01T00:00:10.000001Z"
    second = api("PUT", api.leases + "/l", lease, want=200)
    assert second["spec"]["renewTime"].endswith("10.000001Z")
    lease["spec"]["holderIdentity"] = "b"
    assert api("PUT", api.leases + "/l", lease, want=409)["reason"] == "Conflict"
    body = second.json
    body["spec"]["holderIdentity"] = "b"
    api("PUT", api.leases + "/l", body, want=200)
    bad = {**lease, "metadata": {"name": "m"}, "spec": {"leaseDurationSeconds": 0}}
    assert api("POST", api.leases, bad).status == 422


def event(api, name, **members):
    return api("POST", api.events, want=201, body={
        "metadata": {"name": name}, "involvedObject": {
            "kind": "ConfigMap", "namespace": api.namespace, "name": "c", "uid": "u1", "apiVersion": "v1"},
        "reason": "Tested", "message": "m", "type": "Normal", "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "test"}, **members})


def test_events_are_found_and_counted(api):
    event(api, "e.1")
    event(api, "e.2", reason="Other")
    r = api("PATCH", api.events + "/e.1", {"count": 2, "lastTimestamp": "2026-01-01T00:01:00Z"},
            want=200, type=STRATEGIC)
    assert r["count"] == 2
    for selector, names in (
            (f"involvedObject.name=c,involvedObject.namespace={api.namespace},involvedObject.kind="
             "ConfigMap,involvedObject.uid=u1", ["e.1", "e.2"]),
            ("reason=Other", ["e.2"]), ("source=test", ["e.1", "e.2"]), ("type!=Normal", []),
            ("involvedObject.apiVersion=v1,reason!=Other", ["e.1"]),
            ("involvedObject.fieldPath=", ["e.1", "e.2"]), ("reportingComponent=", ["e.1", "e.2"])):
        got = api("GET", api.events, want=200, fieldSelector=selector).names
        assert got == names, (selector, got)
    assert api("GET", api.events, fieldSelector="message=m").status == 400


def test_events_of_both_groups_are_the_same(api):
    new = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"
    event(api, "core.1")
    r = api("GET", new + "/core.1", want=200)
    assert r["apiVersion"] == "events.k8s.io/v1" and r["kind"] == "Event"
    assert r["note"] == "m" and r["regarding"]["name"] == "c" and r["deprecatedCount"] == 1
    assert r["deprecatedSource"] == {"component": "test"} and "message" not in r.json
    body = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "new.1"},
            "regarding": {"kind": "ConfigMap", "name": "d", "namespace": api.namespace},
            "reason": "Made", "note": "hello", "type": "Warning", "action": "Testing",
            "eventTime": "2026-01-01T00:00:00.000001Z", "reportingController": "test.dev/ctl",
            "reportingInstance": "ctl-0"}
    made = api("POST", new, body, want=201)
    assert made["note"] == "hello" and made["apiVersion"] == "events.k8s.io/v1"
    r = api("GET", api.events + "/new.1", want=200)
    assert r["message"] == "hello" and r["involvedObject"]["name"] == "d" and r["apiVersion"] == "v1"
    assert r["reportingComponent"] == "test.dev/ctl" and r.rv == made.rv
    w = api.watch(new, resourceVersion=made.rv)
    # A recorder that sees the same again writes a series.
    r = api("PATCH", new + "/new.1", {"series": {"count": 2, "lastObservedTime":
                                                 "2026-01-01T00:01:00.000000Z"}}, want=200,
            type=STRATEGIC)
    assert r["series"]["count"] == 2 and r["note"] == "hello"
    e = w.next()
    assert e["type"] == "MODIFIED" and e["object"]["note"] == "hello"
    w.close()
    assert api("GET", api.events + "/new.1", want=200)["series"]["count"] == 2
    both = api("GET", new, want=200)
    assert both.names == ["core.1", "new.1"] and both["items"][0]["note"] == "m"
    assert api("GET", new, want=200, fieldSelector="regarding.name=d,reason=Made").names == ["new.1"]
    assert api("GET", api.events, want=200, fieldSelector="involvedObject.name=d").names == ["new.1"]
    del body["eventTime"]
    r = api("POST", new, {**body, "metadata": {"name": "bad"}}, want=422)
    assert ("FieldValueRequired", "eventTime") in causes(r)
    api("DELETE", new + "/new.1", want=200)
    api("GET", api.events + "/new.1", want=404)


# --- garbage collection


def owned(api, name, owner, block=None, kind="configmaps", **meta):
    ref = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
           "uid": owner["metadata"]["uid"]}
    if block is not None:
        ref["blockOwnerDeletion"] = block
    return api.configmap(name, ownerReferences=[ref], **meta)


def test_background(api):
    owner = api.configmap("owner")
    owned(api, "child", owner)
    owned(api, "grandchild", api("GET", api.configmaps + "/child"))
    api("DELETE", api.configmaps + "/owner", {"propagationPolicy": "Background"}, want=200)
    api("GET", api.configmaps + "/owner", want=404)
    wait_gone(api, api.configmaps + "/grandchild")
    wait_gone(api, api.configmaps + "/child")


def test_foreground_waits_for_who_blocks(api):
    owner = api.configmap("owner")
    owned(api, "blocks", owner, block=True, finalizers=["x.dev/hold"])
    r = api("DELETE", api.configmaps + "/owner", {"propagationPolicy": "Foreground"}, want=200)
    assert r["metadata"]["finalizers"] == ["foregroundDeletion"]
    # A deletion that asks for nothing else leaves that as it is.
    r = api("DELETE", api.configmaps + "/owner", want=200)
    assert r["metadata"]["finalizers"] == ["foregroundDeletion"]
    w = api.watch(api.configmaps, fieldSelector="metadata.name=blocks", resourceVersion="0")
    while "deletionTimestamp" not in w.next()["object"]["metadata"]:
        pass
    w.close()
    api("GET", api.configmaps + "/owner", want=200)
    api("PATCH", api.configmaps + "/blocks", {"metadata": {"finalizers": None}}, want=200, type=MERGE)
    wait_gone(api, api.configmaps + "/owner")


def test_foreground_does_not_wait_for_others(api):
    owner = api.configmap("owner")
    owned(api, "lets", owner, block=False, finalizers=["x.dev/hold"])
    api("DELETE", api.configmaps + "/owner", want=200, propagationPolicy="Foreground")
    wait_gone(api, api.configmaps + "/owner")
    r = api("GET", api.configmaps + "/lets", want=200)
    api("PATCH", api.configmaps + "/lets", {"metadata": {"finalizers": None}}, want=200, type=MERGE)
    wait_gone(api, api.configmaps + "/lets")


def test_orphan(api):
    owner = api.configmap("owner")
    owned(api, "child", owner)
    api("DELETE", api.configmaps + "/owner", {"propagationPolicy": "Orphan"}, want=200)
    wait_gone(api, api.configmaps + "/owner")
    r = api("GET", api.configmaps + "/child", want=200)
    assert "ownerReferences" not in r["metadata"]


def test_two_owners(api):
    first, second = api.configmap("first"), api.configmap("second")
    refs = [{"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"],
             "uid": o["metadata"]["uid"]} for o in (first, second)]
    api.configmap("child", ownerReferences=refs)
    w = api.watch(api.configmaps, fieldSelector="metadata.name=child", resourceVersion="0")
    assert w.next()["type"] == "ADDED"
    api("DELETE", api.configmaps + "/first", want=200)
    e = w.next()
    assert e["type"] == "MODIFIED" and e["object"]["metadata"]["ownerReferences"] == refs[1:]
    api("DELETE", api.configmaps + "/second", want=200)
    while w.next()["type"] != "DELETED":
        pass
    w.close()


def test_absent_owner_and_owner_of_another_uid(api):
    owner = api.configmap("owner")
    owner["metadata"]["uid"] = "22222222-2222-4222-8222-222222222222"
    owned(api, "child", owner)
    wait_gone(api, api.configmaps + "/child")
    api("GET", api.configmaps + "/owner", want=200)


# --- Tables, with the columns of Kubernetes' own printers


def table(api, path, **query):
    """Names of the columns (those of -o wide in brackets), and the cells of each row."""
    t = api("GET", path, want=200, accept=TABLE, **query)
    names = [c["name"] if c["priority"] == 0 else f"[{c['name']}]" for c in t["columnDefinitions"]]
    return names, [r["cells"] for r in t["rows"]]


def test_tables_of_data(api):
    api("POST", api.secrets, want=201, body={
        "metadata": {"name": "s"}, "stringData": {"a": "1", "b": "2"}, "data": {"c": "Mw=="}})
    api("POST", api.configmaps, want=201, body={
        "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}, "binaryData": {"z": "AA=="}})
    api.configmap("empty")
    names, rows = table(api, api.secrets)
    assert names == ["Name", "Type", "Data", "Age"] and rows[0][:3] == ["s", "Opaque", 3]
    names, rows = table(api, api.configmaps)
    assert names == ["Name", "Data", "Age"]
    assert [r[:2] for r in rows] == [["c", 3], ["empty", 0]]
    assert all(re.fullmatch(r"[0-9]+m?[0-9]*s", r[2]) for r in rows)
    names, rows = table(api, f"/api/v1/namespaces/{api.namespace}/serviceaccounts")
    assert names == ["Name", "Secrets", "Age"] and rows[0][:2] == ["default", 0]
    names, rows = table(api, f"/api/v1/namespaces/{api.namespace}")
    assert names == ["Name", "Status", "Age"] and rows[0][:2] == [api.namespace, "Active"]
    api("POST", api.leases, want=201, body={"metadata": {"name": "l"},
                                            "spec": {"holderIdentity": "me"}})
    names, rows = table(api, api.leases)
    assert names == ["Name", "Holder", "Age"] and rows[0][:2] == ["l", "me"]


def test_tables_of_roles_and_quotas(api):
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{api.namespace}"
    made = api("POST", rbac + "/roles", want=201, body={"metadata": {"name": "r"}, "rules": []})
    names, rows = table(api, rbac + "/roles")
    assert names == ["Name", "Created At"]
    assert rows == [["r", made["metadata"]["creationTimestamp"]]]
    group = "rbac.authorization.k8s.io"
    api("POST", rbac + "/rolebindings", want=201, body={
        "metadata": {"name": "b"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "apiGroup": group, "name": "ann"},
                     {"kind": "ServiceAccount", "name": "ci", "namespace": "x"},
                     {"kind": "User", "apiGroup": group, "name": "bob"},
                     {"kind": "Group", "apiGroup": group, "name": "devs"}]})
    names, rows = table(api, rbac + "/rolebindings")
    assert names == ["Name", "Role", "Age", "[Users]", "[Groups]", "[ServiceAccounts]"]
    assert rows[0][:2] + rows[0][3:] == ["b", "Role/r", "ann, bob", "devs", "x/ci"]
    names, rows = table(api, f"/apis/{group}/v1/clusterrolebindings/cluster-admin")
    assert rows[0][:2] + rows[0][3:] == ["cluster-admin", "ClusterRole/cluster-admin", "",
                                         "system:masters", ""]
    quotas = f"/api/v1/namespaces/{api.namespace}/resourcequotas"
    api("POST", quotas, want=201, body={"metadata": {"name": "q"}, "spec": {"hard": {
        "secrets": "3", "count/runs.drover.dev": "5"}}})
    api("POST", api.secrets, want=201, body={"metadata": {"name": "one"}})
    names, rows = table(api, quotas)
    assert names == ["Name", "Request", "Limit", "Age"]
    assert rows[0][:3] == ["q", "count/runs.drover.dev: 0/5, secrets: 1/3", ""]


def test_tables_of_events(api):
    regarding = {"kind": "Run", "namespace": api.namespace, "name": "train",
                 "fieldPath": "spec.commands"}
    api("POST", api.events, want=201, body={
        "metadata": {"name": "old"}, "involvedObject": regarding, "reason": "Started",
        "message": " it \"runs\"\n", "type": "Normal", "count": 4,
        "firstTimestamp": "2020-01-01T00:00:00Z", "lastTimestamp": "2020-01-02T00:00:00Z",
        "source": {"component": "drover", "host": "box"}})
    api("POST", api.events, want=201, body={
        "metadata": {"name": "young"}, "involvedObject": {"kind": "Job", "name": "j",
                                                          "namespace": api.namespace},
        "reason": "Bound", "type": "Warning", "action": "Bind", "reportingComponent": "sched",
        "reportingInstance": "sched-0", "eventTime": "2020-01-01T00:00:00.000000Z"})
    want = ["Last Seen", "Type", "Reason", "Object", "[Subobject]", "[Source]", "Message",
            "[First Seen]", "[Count]", "[Name]"]
    for path in (api.events, f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"):
        names, rows = table(api, path)
        assert names == want
        by_name = {r[-1]: r for r in rows}
        old, young = by_name["old"], by_name["young"]
        assert old[1:7] == ["Normal", "Started", "run/train", "spec.commands", "drover, box",
                            'it "runs"'] and old[8] == 4
        assert re.fullmatch("[0-9]+y[0-9]*d?", old[0]) and re.fullmatch("[0-9]+y[0-9]*d?", old[7])
        assert young[1:7] == ["Warning", "Bound", "job/j", "", "sched, sched-0", ""]
        assert young[8] == 1 and young[0] == young[7]
