# SPDX-License-Identifier: Apache-2.0
"""Kinds that users make, with real kubectl."""
import json

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: {plural}, kind: {kind}, shortNames: [{short}], categories: [all]}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {{}}
      scale: {{specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns:
    - {{name: Size, type: integer, jsonPath: .spec.size}}
    schema:
      openAPIV3Schema:
        type: object
        description: A thing that a user made up.
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {{type: integer, minimum: 1, description: How many.}}
              color: {{type: string, enum: [red, blue], default: red}}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
"""


def names(kubectl):
    tag = kubectl.namespace + kubectl.version.replace(".", "")
    return {"plural": f"gadgets{tag}", "kind": f"Gadget{tag}", "short": f"gd{tag}",
            "group": f"{tag}.example.dev"}


def thing(n, name, **spec):
    return json.dumps({"apiVersion": f"{n['group']}/v1", "kind": n["kind"],
                       "metadata": {"name": name}, "spec": spec})


def test_life_of_a_kind(kubectl):
    n = names(kubectl)
    crd = f"{n['plural']}.{n['group']}"
    assert "created" in kubectl("apply", "-f", "-", text=CRD.format(**n))
    kubectl("wait", "--for=condition=Established", f"crd/{crd}", "--timeout=20s")
    status = json.loads(kubectl("get", "crd", crd, "-o", "json"))["status"]
    assert status["acceptedNames"]["singular"] == n["kind"].lower()
    assert status["storedVersions"] == ["v1"]
    assert n["plural"] in kubectl("api-resources", "--api-group", n["group"])

    kubectl("create", "-f", "-", text=thing(n, "one", size=3))
    got = json.loads(kubectl("get", n["short"], "one", "-o", "json"))
    assert got["spec"] == {"size": 3, "color": "red"}
    table = kubectl("get", n["plural"])
    assert "SIZE" in table and "3" in table
    assert "one" in kubectl("get", "all")
    text = kubectl.fails("create", "-f", "-", text=thing(n, "two", size=0, color="green"))
    assert "should be greater than or equal to 1" in text
    assert 'supported values: "red", "blue"' in text
    text = kubectl.fails("create", "-f", "-", text=thing(n, "two", size=1, shape="x"))
    assert "shape" in text and "unknown field" in text
    kubectl("patch", n["plural"], "one", "--type=merge", "-p", '{"spec":{"size":4}}')
    assert "4" in kubectl("get", n["plural"], "one")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=thing(n, "one", size=5))
    assert "5" in kubectl("get", n["plural"], "one")
    assert "scaled" in kubectl("scale", n["plural"], "one", "--replicas=6", "--current-replicas=5")
    assert "6" in kubectl("get", n["plural"], "one")
    assert "How many" in kubectl("explain", f"{n['plural']}.spec.size")
    assert "made up" in kubectl("explain", n["kind"].lower())

    watch = kubectl.start("get", n["plural"], "-w")
    assert "NAME" in watch.stdout.readline() and "one" in watch.stdout.readline()
    assert "deleted" in kubectl("delete", "crd", crd)  # waits for instances and object
    watch.communicate(timeout=20)  # ends with its kind
    text = kubectl.fails("get", n["plural"])  # by its cache or by the server's word
    assert "doesn't have a resource type" in text or "could not find the requested" in text
    kubectl.fails("get", "crd", crd)


def test_versions_and_rules(kubectl):
    n = names(kubectl)
    crd = json.dumps({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{n['plural']}.{n['group']}"},
        "spec": {"group": n["group"], "scope": "Namespaced",
                 "names": {"plural": n["plural"], "kind": n["kind"]},
                 "versions": [
                     {"name": v, "served": True, "storage": v == "v1", "schema": {"openAPIV3Schema": {
                         "type": "object", "properties": {"spec": {
                             "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
                             "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}}}}}
                     for v in ("v1", "v1beta1")]}})
    kubectl("create", "-f", "-", text=crd)
    kubectl("wait", "--for=condition=Established", f"crd/{n['plural']}.{n['group']}", "--timeout=20s")
    kubectl("create", "-f", "-", text=thing(n, "one", a=1))
    other = f"{n['plural']}.v1beta1.{n['group']}"
    assert json.loads(kubectl("get", other, "one", "-o", "json"))["apiVersion"] == f"{n['group']}/v1beta1"
    kubectl("create", "-f", "-", text=thing(n, "two", b="x").replace("/v1\"", "/v1beta1\""))
    assert json.loads(kubectl("get", n["plural"], "two", "-o", "json"))["apiVersion"] == f"{n['group']}/v1"
    text = kubectl.fails("create", "-f", "-", text=thing(n, "three", a=1, b="x"))
    assert "must validate one and only one schema (oneOf). Found 2 valid alternatives" in text
    assert "boolean" in kubectl("explain", "crd.spec.versions.served")
    kubectl("explain", n["plural"])
    kubectl("delete", "crd", f"{n['plural']}.{n['group']}")


def test_refused(kubectl):
    n = names(kubectl)
    wrong = CRD.format(**n).replace(f"name: {n['plural']}.{n['group']}", "name: else.example.dev")
    assert 'must be spec.names.plural+"."+spec.group' in kubectl.fails("create", "-f", "-", text=wrong)
    wrong = CRD.format(**n).replace("storage: true", "storage: false")
    assert "exactly one version" in kubectl.fails("create", "-f", "-", text=wrong)
    assert "forbidden" in kubectl.fails("delete", "crd", "runs.drover.dev")
