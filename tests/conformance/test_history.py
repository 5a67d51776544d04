# SPDX-License-Identifier: Apache-2.0
"""Earlier generations with an unmodified kubectl."""
import json


def config(name, value):
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                       "data": {"k": value}})


def test_kubectl_reads_history(kubectl):
    kubectl("apply", "-f", "-", text=config("ca", "1"))
    kubectl("apply", "-f", "-", text=config("ca", "2"))
    kubectl("apply", "-f", "-", text=config("cb", "1"))
    kubectl("delete", "configmap", "cb")
    table = kubectl("get", "revisions").splitlines()
    assert table[0].split() == ["NAME", "KIND", "OBJECT", "GENERATION", "REASON",
                                "CHANGED-BY", "MANAGER", "AGE", "CHANGED"]
    assert len(table) == 3
    one = kubectl("get", "rev", "-l", "history.drover.dev/name=ca", "-o", "name").split()
    assert len(one) == 1 and one[0].startswith("revision.history.drover.dev/")
    got = json.loads(kubectl("get", one[0], "-o", "json"))
    assert got["object"]["data"] == {"k": "1"} and got["generation"] == 1
    assert got["replacedBy"]["user"] == "admin"
    gone = kubectl("get", "revisions", "--field-selector",
                   "of.resource=configmaps,reason=Deleted", "-o",
                   "jsonpath={.items[*].of.name}")
    assert gone == "cb"
    assert "data.k" in kubectl("get", "revisions", "-o", "jsonpath={.items[*].replacedBy.changed}")
    assert "revision" in kubectl("api-resources", "--api-group=history.drover.dev")
    kubectl.fails("patch", one[0], "--type=merge", "-p", '{"generation":7}')


def test_kubectl_restores(kubectl):
    kubectl("apply", "-f", "-", text=config("cr", "1"))
    kubectl("delete", "configmap", "cr")
    name = kubectl("get", "revisions", "-o", "jsonpath={.items[0].metadata.name}")
    kubectl("create", "--raw", f"/apis/history.drover.dev/v1/namespaces/{kubectl.namespace}"
            f"/revisions/{name}/restore", "-f", "-", text="{}")
    assert json.loads(kubectl("get", "configmap", "cr", "-o", "json"))["data"] == {"k": "1"}
