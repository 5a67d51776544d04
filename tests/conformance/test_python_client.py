# SPDX-License-Identifier: Apache-2.0
"""The Python client (Debian's python3-kubernetes): typed, custom objects, dynamic, watches."""
import base64
import json
import threading

import pytest

kubernetes = pytest.importorskip("kubernetes", reason="python3-kubernetes is not installed")
from kubernetes import client, config, dynamic, watch  # noqa: E402
from kubernetes.client.rest import ApiException  # noqa: E402

GROUP = ("drover.dev", "v1")


def run(name, **spec):
    return {"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": name},
            "spec": {"type": "task", "commands": ["true"], **spec}}


@pytest.fixture
def python(server, api):
    c = config.new_client_from_config(str(server.kubeconfig))
    c.namespace = api.namespace
    yield c
    c.close()


def refused(status, call, *args, **kwargs):
    with pytest.raises(ApiException) as e:
        call(*args, **kwargs)
    assert e.value.status == status, e.value
    return e.value


def test_version_and_groups(python):
    assert client.VersionApi(python).get_code().major == "1"
    groups = {g.name: g for g in client.ApisApi(python).get_api_versions().groups}
    assert groups["drover.dev"].preferred_version.group_version == "drover.dev/v1"
    resources = client.CoreV1Api(python).get_api_resources().resources
    assert {"namespaces", "secrets", "configmaps"} <= {r.name for r in resources}


def test_typed_configmaps_and_secrets(python):
    v1, ns = client.CoreV1Api(python), python.namespace
    made = v1.create_namespaced_config_map(ns, client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name="a", labels={"x": "y"}), data={"k": "v"}))
    assert made.metadata.uid and made.data == {"k": "v"}
    made.data["k"] = "w"
    changed = v1.replace_namespaced_config_map("a", ns, made)
    assert changed.data == {"k": "w"}
    e = refused(409, v1.replace_namespaced_config_map, "a", ns, made)
    assert "the object has been modified" in e.body
    # strategic merge is what the typed client sends
    assert v1.patch_namespaced_config_map("a", ns, {"data": {"n": "1"}}).data == {
        "k": "w", "n": "1"}
    assert v1.patch_namespaced_config_map(
        "a", ns, [{"op": "remove", "path": "/data/n"}]).data == {"k": "w"}
    assert [c.metadata.name for c in v1.list_namespaced_config_map(
        ns, label_selector="x in (y)").items] == ["a"]
    v1.create_namespaced_secret(ns, client.V1Secret(
        metadata=client.V1ObjectMeta(name="s"), string_data={"p": "q"}))
    assert base64.b64decode(v1.read_namespaced_secret("s", ns).data["p"]) == b"q"
    done = v1.delete_namespaced_config_map("a", ns, propagation_policy="Background",
                                           dry_run="All")
    assert done.status == "Success" or done.metadata
    v1.delete_namespaced_config_map("a", ns)
    refused(404, v1.read_namespaced_config_map, "a", ns)
    v1.delete_collection_namespaced_secret(ns)
    assert v1.list_namespaced_secret(ns).items == []


def test_pages(python):
    v1, ns = client.CoreV1Api(python), python.namespace
    for i in range(7):
        v1.create_namespaced_config_map(ns, client.V1ConfigMap(
            metadata=client.V1ObjectMeta(name=f"c{i}")))
    names, token, pages, revision = [], None, 0, None
    while token != "":
        page = v1.list_namespaced_config_map(ns, limit=3, _continue=token)
        names += [c.metadata.name for c in page.items]
        revision = revision or page.metadata.resource_version
        assert page.metadata.resource_version == revision
        token, pages = page.metadata._continue or "", pages + 1
    assert names == [f"c{i}" for i in range(7)] and pages == 3
    refused(400, v1.list_namespaced_config_map, ns, limit=3, _continue="nonsense")


def test_typed_rbac_and_accounts(python):
    rbac, v1, ns = client.RbacAuthorizationV1Api(python), client.CoreV1Api(python), python.namespace
    rbac.create_namespaced_role(ns, client.V1Role(
        metadata=client.V1ObjectMeta(name="reader"), rules=[client.V1PolicyRule(
            api_groups=["drover.dev"], resources=["runs"], verbs=["get", "list"])]))
    rbac.create_namespaced_role_binding(ns, {
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "sa", "namespace": ns}]})
    v1.create_namespaced_service_account(ns, client.V1ServiceAccount(
        metadata=client.V1ObjectMeta(name="sa")))
    answer = client.AuthorizationV1Api(python).create_subject_access_review(
        client.V1SubjectAccessReview(spec=client.V1SubjectAccessReviewSpec(
            user=f"system:serviceaccount:{ns}:sa",
            resource_attributes=client.V1ResourceAttributes(
                group="drover.dev", resource="runs", verb="list", namespace=ns))))
    assert answer.status.allowed is True
    assert rbac.read_namespaced_role("reader", ns).rules[0].resources == ["runs"]
    rbac.delete_namespaced_role("reader", ns)


def test_typed_leases_and_events(python):
    leases, ns = client.CoordinationV1Api(python), python.namespace
    lease = leases.create_namespaced_lease(ns, {
        "metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 9}})
    lease.spec.holder_identity = "you"
    assert leases.replace_namespaced_lease("l", ns, lease).spec.holder_identity == "you"
    # This client refuses to read an Event without eventTime, so the new group writes it.
    client.EventsV1Api(python).create_namespaced_event(ns, {
        "metadata": {"name": "e.1"}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reason": "Why", "action": "Test", "type": "Normal", "note": "because",
        "reportingController": "drover.dev/test", "reportingInstance": "one",
        "regarding": {"kind": "Run", "name": "r", "namespace": ns}})
    listed = client.CoreV1Api(python).list_namespaced_event(
        ns, field_selector="involvedObject.name=r").items
    assert [(e.reason, e.message) for e in listed] == [("Why", "because")]
    assert client.EventsV1Api(python).list_namespaced_event(ns).items[0].regarding.name == "r"


def test_custom_objects(python):
    co, ns = client.CustomObjectsApi(python), python.namespace
    co.create_namespaced_custom_object(*GROUP, ns, "runs", run("aa"))
    # The custom objects' patch is a merge patch ...
    obj = co.patch_namespaced_custom_object(*GROUP, ns, "runs", "aa", {"spec": {"priority": 5}})
    assert obj["spec"]["priority"] == 5 and obj["metadata"]["generation"] == 2
    # ... even of a list, which is none: a clear error, not a crash.
    e = refused(400, co.patch_namespaced_custom_object, *GROUP, ns, "runs", "aa",
                [{"op": "replace", "path": "/spec/priority", "value": 6}])
    assert "a merge patch is a JSON object" in e.body
    obj = co.patch_namespaced_custom_object_status(*GROUP, ns, "runs", "aa",
                                                   {"status": {"phase": "Running"}})
    assert obj["status"]["phase"] == "Running"
    obj["spec"]["priority"] = 7
    obj = co.replace_namespaced_custom_object(*GROUP, ns, "runs", "aa", obj)
    assert obj["spec"]["priority"] == 7
    e = refused(422, co.create_namespaced_custom_object, *GROUP, ns, "runs",
                run("bb", priority=100000))
    assert "spec.priority" in e.body
    listed = co.list_namespaced_custom_object(*GROUP, ns, "runs",
                                              field_selector="status.phase=Running")
    assert listed["kind"] == "RunList" and len(listed["items"]) == 1
    assert len(co.list_cluster_custom_object(*GROUP, "runs", limit=1)["items"]) == 1
    co.delete_namespaced_custom_object(*GROUP, ns, "runs", "aa")
    refused(404, co.get_namespaced_custom_object, *GROUP, ns, "runs", "aa")


def test_watch_with_resume(python):
    v1, ns = client.CoreV1Api(python), python.namespace
    start = v1.list_namespaced_config_map(ns).metadata.resource_version

    def make(*names):
        for name in names:
            v1.create_namespaced_config_map(ns, {"metadata": {"name": name}})

    make("a", "b")
    w, seen = watch.Watch(), []
    for event in w.stream(v1.list_namespaced_config_map, ns, resource_version=start,
                          timeout_seconds=30):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            w.stop()
    assert seen == [("ADDED", "a"), ("ADDED", "b")]
    resume = w.resource_version
    threading.Thread(target=make, args=("c",)).start()
    w2 = watch.Watch()
    for event in w2.stream(v1.list_namespaced_config_map, ns, resource_version=resume,
                           timeout_seconds=30):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "c")
        w2.stop()
    # A server-side timeout ends the stream; the client goes on by itself.
    w3 = watch.Watch()
    assert [e["object"].metadata.name for e in w3.stream(
        v1.list_namespaced_config_map, ns, timeout_seconds=1)] == ["a", "b", "c"]
    # A revision from before the retained ones, or from the future, is refused.
    with pytest.raises(ApiException):
        for _ in watch.Watch().stream(v1.list_namespaced_config_map, ns,
                                      resource_version="x1", timeout_seconds=5):
            pass


def test_watch_of_custom_objects(python):
    co, ns = client.CustomObjectsApi(python), python.namespace
    co.create_namespaced_custom_object(*GROUP, ns, "runs", run("aa"))
    w, types = watch.Watch(), []
    for event in w.stream(co.list_namespaced_custom_object, *GROUP, ns, "runs",
                          timeout_seconds=30):
        types.append(event["type"])
        if len(types) == 1:
            co.patch_namespaced_custom_object(*GROUP, ns, "runs", "aa", {"spec": {"priority": 2}})
        if len(types) == 2:
            co.delete_namespaced_custom_object(*GROUP, ns, "runs", "aa")
        if len(types) == 3:
            w.stop()
    assert types == ["ADDED", "MODIFIED", "DELETED"]


def test_dynamic_client(python, tmp_path):
    d = dynamic.DynamicClient(python, cache_file=str(tmp_path / "cache"))
    runs = d.resources.get(api_version="drover.dev/v1", kind="Run")
    assert runs.namespaced and "run" == runs.singular_name
    runs.create(body=run("aa"), namespace=python.namespace)
    obj = runs.patch(name="aa", namespace=python.namespace, body={"spec": {"priority": 3}},
                     content_type="application/merge-patch+json")
    assert obj.spec.priority == 3
    obj = runs.patch(name="aa", namespace=python.namespace,
                     body=[{"op": "replace", "path": "/spec/priority", "value": 4}],
                     content_type="application/json-patch+json")
    assert obj.spec.priority == 4
    # server-side apply, by hand in this version
    obj = runs.patch(name="bb", namespace=python.namespace, body=json.dumps(run("bb", priority=1)),
                     content_type="application/apply-patch+yaml", field_manager="me")
    assert obj.metadata.managedFields[0].manager == "me"
    assert sorted(r.metadata.name for r in runs.get(namespace=python.namespace).items) == ["aa", "bb"]
    seen = []
    for event in runs.watch(namespace=python.namespace, timeout=30, resource_version="0"):
        seen.append(event["object"].metadata.name)
        if len(seen) == 2:
            break
    assert sorted(seen) == ["aa", "bb"]
    # create, update and delete by kubernetes.utils
    from kubernetes import utils
    manifest = tmp_path / "cm.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-file}\n"
                        "data: {a: b}\n")
    utils.create_from_yaml(python, str(manifest), namespace=python.namespace)
    maps = d.resources.get(api_version="v1", kind="ConfigMap")
    assert maps.get(name="from-file", namespace=python.namespace).data.a == "b"
    runs.delete(name="aa", namespace=python.namespace)
    runs.delete(namespace=python.namespace, label_selector="none=such")
    assert runs.get(name="bb", namespace=python.namespace).metadata.name == "bb"


def test_namespace_life(python):
    v1 = client.CoreV1Api(python)
    name = python.namespace + "-py"
    v1.create_namespace({"metadata": {"name": name}})
    v1.create_namespaced_config_map(name, {"metadata": {"name": "a"}})
    v1.delete_namespace(name)
    w = watch.Watch()
    for event in w.stream(v1.list_namespace, field_selector=f"metadata.name={name}",
                          timeout_seconds=30):
        if event["type"] == "DELETED":
            w.stop()
    refused(404, v1.read_namespace, name)
