# SPDX-License-Identifier: Apache-2.0
"""Typed calls of kubectl: protobuf bodies from 1.32 on, JSON before."""
import base64
import json


def get(kubectl, what, name):
    return json.loads(kubectl("get", what, name, "-o", "json"))


def test_create_builtins(kubectl):
    assert "created" in kubectl("create", "configmap", "settings", "--from-literal=a=b",
                                "--from-literal=empty=")
    assert get(kubectl, "cm", "settings")["data"] == {"a": "b", "empty": ""}
    kubectl("create", "secret", "generic", "keys", "--from-literal=user=me")
    secret = get(kubectl, "secret", "keys")
    assert base64.b64decode(secret["data"]["user"]) == b"me"
    kubectl("create", "secret", "docker-registry", "registry", "--docker-username=u",
            "--docker-password=p", "--docker-server=r.example")
    assert get(kubectl, "secret", "registry")["type"] == "kubernetes.io/dockerconfigjson"
    name = kubectl.namespace + "-more"
    assert "created" in kubectl("create", "ns", name)
    assert "AlreadyExists" in kubectl.fails("create", "ns", name)
    kubectl("delete", "ns", name)
    text = kubectl("create", "configmap", "dry", "--from-literal=a=b", "--dry-run=server", "-o", "yaml")
    assert "uid:" in text
    assert "not found" in kubectl.fails("get", "cm", "dry")


def test_large_binary(kubectl, tmp_path):
    data = bytes(range(256)) * 2000
    (tmp_path / "blob").write_bytes(data)
    kubectl("create", "secret", "generic", "blob", f"--from-file={tmp_path}/blob")
    assert base64.b64decode(get(kubectl, "secret", "blob")["data"]["blob"]) == data


def test_reviews(kubectl):
    assert "yes" in kubectl("auth", "can-i", "get", "runs")
    if kubectl.version != "1.20":
        assert "admin" in kubectl("auth", "whoami")


def test_unknown_kinds_and_paths(api):
    def body(version, kind):
        def field(n, b):
            return bytes([n << 3 | 2, len(b)]) + b
        return b"k8s\0" + field(1, field(1, version) + field(2, kind)) + field(2, b"")
    protobuf = "application/vnd.kubernetes.protobuf"
    scaler = body(b"autoscaling/v2", b"HorizontalPodAutoscaler")
    path = f"/apis/autoscaling/v2/namespaces/{api.namespace}/horizontalpodautoscalers"
    assert api("POST", path, scaler, type=protobuf, want=404)["message"] == \
        "the server could not find the requested resource"
    assert api("POST", api.configmaps, scaler, type=protobuf, want=415)["reason"] == \
        "UnsupportedMediaType"
    api("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", scaler, type=protobuf,
        want=415)
    api("POST", path, scaler, type=protobuf, want=401, headers={"Authorization": "Bearer no"})
