# SPDX-License-Identifier: Apache-2.0
"""The tables of apiextensions-apiserver's own tests over HTTP: bodies in YAML, bounds, pruning,
defaults, list types, ratcheting, subresources, scope, columns, finalization."""
import json
import uuid

import pytest
from http_api import APPLY, JSON_PATCH, MERGE, TABLE
from test_machinery import CRDS, Things, eventually, is_established, things  # noqa: F401

YAML = "application/yaml"
STRING, INTEGER = {"type": "string"}, {"type": "integer"}
PRESERVE = {"x-kubernetes-preserve-unknown-fields": True}
EMBEDDED = {"x-kubernetes-embedded-resource": True}


def obj(**properties):
    return {"type": "object", "properties": properties}


def array(items, **more):
    return {"type": "array", "items": items, **more}


def spec_of(**properties):
    """A kind with status whose spec and status have these properties."""
    return {"properties": {"spec": obj(**properties), "status": obj(**properties)},
            "subresources": {"status": {}}}


def fields(reply):
    return sorted((c["reason"], c["field"]) for c in reply["details"]["causes"])


def definition(t):
    return t.api("GET", t.crd_path, want=200).json


def redefine(t, change):
    """Changes the first version of the definition in place."""
    versions = definition(t)["spec"]["versions"]
    change(versions[0])
    t.api("PATCH", t.crd_path, {"spec": {"versions": versions}}, want=200, type=MERGE)


def properties_of(version, part="spec"):
    return version["schema"]["openAPIV3Schema"]["properties"][part]["properties"]


# --- yaml


def test_definitions_and_objects_in_yaml(api):
    group = f"y{uuid.uuid4().hex[:8]}.example.dev"
    text = f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: noxus.{group}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: noxus, singular: nonenglishnoxu, kind: WishIHadChosenNoxu}}
  versions:
  - name: v1beta1
    served: true
    storage: true
    subresources:
      status: {{}}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-preserve-unknown-fields: true
"""
    made = api("POST", CRDS, text, want=201, type=YAML)
    assert made["spec"]["names"]["listKind"] == "WishIHadChosenNoxuList"
    eventually(lambda: is_established(api("GET", f"{CRDS}/noxus.{group}", want=200).json))
    path = f"/apis/{group}/v1beta1/namespaces/{api.namespace}/noxus"
    head = f"apiVersion: {group}/v1beta1\nkind: WishIHadChosenNoxu\n"
    made = api("POST", path, head + "metadata: {name: a}\nvalues: {numVal: 1, boolVal: true, "
               "stringVal: foo, list: [1, 0o17, ~, on]}\nspec: {replicas: 3}\n",
               want=201, type=YAML)
    # A null in a list that preserves what it does not know is kept.
    assert made["values"] == {"numVal": 1, "boolVal": True, "stringVal": "foo",
                              "list": [1, 15, None, True]}
    update = head + f"metadata: {{name: a, resourceVersion: '{made.rv}'}}\nvalues: {{numVal: 2}}\n"
    made = api("PUT", path + "/a", update, want=200, type=YAML)
    assert made["values"] == {"numVal": 2}
    api("PUT", path + "/a", update, want=409, type=YAML)
    # A patch is not YAML but of its type; only an apply may be both.
    r = api("PATCH", path + "/a", "values: {numVal: 3}", want=415, type=YAML)
    assert "application/merge-patch+json" in r["message"]
    status = head + f"metadata: {{name: a, resourceVersion: '{made.rv}'}}\nstatus: {{replicas: 2}}\n"
    r = api("PUT", path + "/a/status", status, want=200, type=YAML)
    assert r["status"] == {"replicas": 2} and r["values"] == {"numVal": 2}
    r = api("PUT", path + "/a/scale", "apiVersion: autoscaling/v1\nkind: Scale\n"
            "metadata: {name: a}\nspec: {replicas: 7}\n", want=200, type=YAML)
    assert r["spec"] == {"replicas": 7} and r["status"] == {"replicas": 2}
    r = api("DELETE", path + "/a", "apiVersion: v1\nkind: DeleteOptions\n"
            "preconditions: {uid: other}\n", want=409, type=YAML)
    api("DELETE", path + "/a", "apiVersion: v1\nkind: DeleteOptions\n", want=200, type=YAML)
    for wrong, status in [("a: [", 400), ("a: 1\n---\nb: 2\n", 400), ("- a\n", 400),
                          (head + "metadata: {name: x}\nx: 1\nx: 2\n", 400)]:
        api("POST", path, wrong, want=status, type=YAML, fieldValidation="Strict")


# --- limit

BOMB = ("a: &a [w,w,w,w,w,w,w,w,w]\n" + "".join(
    f"{b}: &{b} [{','.join('*' + a for _ in range(9))}]\n" for a, b in zip("abcdefghi", "bcdefghij")))
DEEP = 30000


@pytest.mark.parametrize("body, type, status", [
    ("a: " + "x" * (3 << 20), YAML, 413),
    ("[" * ((3 << 20) + 1), YAML, 413),
    (BOMB, YAML, 400),
    ("a: " + "[" * DEEP, YAML, 400),
    ("a: " + "[" * DEEP + "]" * DEEP, YAML, 400),
    ("a: " + "{a: " * DEEP + "1" + "}" * DEEP, YAML, 400),
    (" " * (3 << 20) + "{}", None, 413),
    ("[" * ((3 << 20) + 1), None, 413),
    ('{"a":' * DEEP + "1" + "}" * DEEP, None, 400),
    ('{"metadata":' + "[" * DEEP + "]" * DEEP + "}", None, 400),
    ("k8s\0" + "\n" * (3 << 20), "application/vnd.kubernetes.protobuf", 413),
    ("k8s\0" + "\n" * 1000, "application/vnd.kubernetes.protobuf", 400),
], ids=range(12))
def test_bodies_are_bounded(api, body, type, status):
    r = api("POST", api.configmaps, body, want=status, type=type)
    assert r["reason"] == ("RequestEntityTooLarge" if status == 413 else "BadRequest")


@pytest.mark.parametrize("body, type, status", [
    ("[" + ",".join(['{"op":"test","path":"/data/k","value":"v"}'] * 10000) + "]", JSON_PATCH, 200),
    ("[" + ",".join(['{"op":"test","path":"/data/k","value":"v"}'] * 10001) + "]", JSON_PATCH, 413),
    ("[" + " " * (3 << 20) + "]", JSON_PATCH, 413),
    ('[{"op":"add","path":"/a","value":' + "[" * DEEP + "]" * DEEP + "}]", JSON_PATCH, 400),
    # copied onto itself until it would fill the memory
    (json.dumps([{"op": "add", "path": "/data", "value": {"k": "v" * 1000}}] + [
        {"op": "copy", "from": "/data", "path": "/data/x"}] * 40), JSON_PATCH, (413, 422)),
    ('{"data":' + '{"a":' * DEEP + "1" + "}" * DEEP + "}", MERGE, 400),
    ('{"data":{"k":"' + "v" * (3 << 20) + '"}}', MERGE, 413),
    ("data: " + "[" * DEEP + "]" * DEEP, APPLY, 400),
    (BOMB, APPLY, 400),
], ids=range(9))
def test_patches_are_bounded(api, body, type, status):
    api.configmap("c", {"k": "v"})
    query = {"fieldManager": "m"} if type == APPLY else {}
    r = api("PATCH", api.configmaps + "/c", body, type=type, **query)
    assert r.status in (status if isinstance(status, tuple) else (status,)), r
    assert api("GET", api.configmaps + "/c", want=200)["data"] == {"k": "v"}


# --- pruning

PRUNED = [  # schema of spec.x, value sent, value kept
    (obj(a=STRING), {"a": "1", "b": 2}, {"a": "1"}),
    (obj(a=obj(b=obj(c=STRING))), {"a": {"b": {"c": "x", "d": 1}, "e": []}}, {"a": {"b": {"c": "x"}}}),
    (array(obj(a=STRING)), [{"a": "x", "b": 1}, {"c": 1}, {}], [{"a": "x"}, {}, {}]),
    ({"type": "object", "additionalProperties": obj(a=STRING)},
     {"k": {"a": "x", "b": 1}, "l": {}}, {"k": {"a": "x"}, "l": {}}),
    ({"type": "object", **PRESERVE}, {"a": {"b": [{"c": 1}]}}, {"a": {"b": [{"c": 1}]}}),
    ({**obj(a=obj(b=STRING)), **PRESERVE}, {"a": {"b": "x", "c": 1}, "d": {"e": 1}},
     {"a": {"b": "x"}, "d": {"e": 1}}),
    (obj(a={**obj(b=obj(c=STRING)), **PRESERVE}), {"a": {"x": 1, "b": {"c": "1", "d": 1}}, "y": 1},
     {"a": {"x": 1, "b": {"c": "1"}}}),
    ({"x-kubernetes-int-or-string": True}, "5", "5"),
    ({"x-kubernetes-int-or-string": True}, 5, 5),
    ({**PRESERVE}, [1, {"a": [2]}], [1, {"a": [2]}]),
    ({"type": "object", **EMBEDDED, **PRESERVE},
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "x": 1},
      "spec": {"y": 1}},
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
      "spec": {"y": 1}}),
    ({**obj(spec=obj(a=STRING)), **EMBEDDED},
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"a": "x", "b": 1},
      "status": {}},
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"a": "x"}}),
]


def test_pruning(api, things):
    t = things(**spec_of(**{f"p{i}": schema for i, (schema, _, _) in enumerate(PRUNED)}))
    sent = {f"p{i}": value for i, (_, value, _) in enumerate(PRUNED)}
    kept = {f"p{i}": value for i, (_, _, value) in enumerate(PRUNED)}
    made = t.make("create", spec=sent)
    assert made["spec"] == kept
    full = {**made.json, "spec": sent, "unknown": 1}
    assert api("PUT", t.path + "/create", full, want=200)["spec"] == kept
    assert "unknown" not in api("GET", t.path + "/create", want=200).json
    r = api("PATCH", t.path + "/create/status", {"status": sent}, want=200, type=MERGE)
    assert r["status"] == kept and r["spec"] == kept
    r = api("PATCH", t.path + "/create",
            [{"op": "add", "path": "/spec/p0/zzz", "value": 1}], want=200, type=JSON_PATCH)
    assert r["spec"] == kept
    r = api("PATCH", t.path + "/apply", {"apiVersion": f"{t.group}/v1", "kind": "Thing",
            "metadata": {"name": "apply"}, "spec": kept}, want=201, type=APPLY, fieldManager="m")
    assert r["spec"] == kept
    # An apply of a field that is not in the schema has no type to be owned by.
    r = api("PATCH", t.path + "/apply", {"apiVersion": f"{t.group}/v1", "kind": "Thing",
            "metadata": {"name": "apply"}, "spec": {"zzz": 1}}, type=APPLY, fieldManager="m")
    assert r.status in (200, 400, 500) and "zzz" not in str(
        api("GET", t.path + "/apply", want=200)["spec"])


def test_what_was_stored_is_pruned_on_reading(api, things):
    """A schema that lost a field does not show it any more; it is gone with the next write."""
    t = things(**spec_of(a=STRING, b=STRING, c=array(obj(x=STRING, y=STRING))))
    made = t.make("old", spec={"a": "1", "b": "2", "c": [{"x": "1", "y": "2"}]})

    def shrink(version):
        del properties_of(version)["b"]
        del properties_of(version)["c"]["items"]["properties"]["y"]

    redefine(t, shrink)
    want = {"a": "1", "c": [{"x": "1"}]}
    eventually(lambda: api("GET", t.path + "/old", want=200)["spec"] == want)
    assert api("GET", t.path, want=200)["items"][0]["spec"] == want
    r = api("PATCH", t.path + "/old", {"metadata": {"labels": {"l": "1"}}}, want=200, type=MERGE)
    assert r["spec"] == want
    watch = api.watch(t.path, resourceVersion=made.rv)
    assert watch.next()["object"]["spec"] == want
    watch.close()


# --- defaulting

NULLABLE = {"nullable": True}
DEFAULTED = [  # schema of spec.x, value sent (None: left out), value got
    ({**STRING, "default": "A"}, ..., "A"),
    ({**STRING, "default": "A"}, "B", "B"),
    ({**STRING, "default": "A"}, "", ""),
    ({**STRING, "default": "A"}, None, "A"),
    ({**STRING, "default": "A", **NULLABLE}, None, None),
    ({**STRING, "default": "A", **NULLABLE}, ..., "A"),
    ({**STRING, **NULLABLE, "default": None}, ..., None),
    ({**INTEGER, "default": 0}, ..., 0),
    ({"type": "boolean", "default": False}, ..., False),
    ({**obj(a={**STRING, "default": "A"})}, ..., ...),  # nobody makes the parent
    ({**obj(a={**STRING, "default": "A"})}, {}, {"a": "A"}),
    ({**obj(a={**STRING, "default": "A"}), "default": {}}, ..., {"a": "A"}),
    ({**obj(a={**STRING, "default": "A"}, b=STRING), "default": {"b": "B"}}, ..., {"a": "A", "b": "B"}),
    (array(obj(a={**STRING, "default": "A"})), [{}, {"a": "x"}], [{"a": "A"}, {"a": "x"}]),
    (array(STRING, default=["a", "b"]), ..., ["a", "b"]),
    (array(STRING, default=["a", "b"]), [], []),
    (array({**STRING, "default": "A"}), ["x", None], ["x", "A"]),
    ({"type": "object", "additionalProperties": obj(a={**STRING, "default": "A"})},
     {"k": {}}, {"k": {"a": "A"}}),
    ({"type": "object", "additionalProperties": {**STRING, "default": "A"}}, {"k": None}, {"k": "A"}),
    ({**PRESERVE, "default": {"x": [1, {"y": 2}]}}, ..., {"x": [1, {"y": 2}]}),
    ({"x-kubernetes-int-or-string": True, "default": "50%"}, ..., "50%"),
]


def sent_and_got():
    sent = {f"d{i}": v for i, (_, v, _) in enumerate(DEFAULTED) if v is not ...}
    got = {f"d{i}": v for i, (_, _, v) in enumerate(DEFAULTED) if v is not ...}
    return sent, got


def test_defaulting(api, things):
    t = things(**spec_of(**{f"d{i}": schema for i, (schema, _, _) in enumerate(DEFAULTED)}))
    sent, got = sent_and_got()
    made = t.make("a", spec=sent)
    assert made["spec"] == got
    assert "status" not in made.json or made["status"] == {}
    r = api("PATCH", t.path + "/a/status", {"status": sent}, want=200, type=MERGE)
    # A merge patch cannot set a null: what is nullable has its default then, and of a map of
    # many a null is no member.
    assert r["status"] == {**got, "d4": "A", "d18": {}}
    # Taken away by hand, a field is back at once.
    r = api("PATCH", t.path + "/a", [{"op": "remove", "path": "/spec/d1"}], want=200,
            type=JSON_PATCH)
    assert r["spec"]["d1"] == "A"


def test_defaults_follow_the_definition(api, things):
    """What is stored shows the defaults of today, to every reader; a watch is of one view."""
    t = things(**spec_of(a={**STRING, "default": "A"}, b=obj(c=STRING)))
    t.make("x", spec={"b": {}})

    def change(version):
        properties_of(version)["a"]["default"] = "A2"
        properties_of(version)["b"]["properties"]["c"]["default"] = "C"

    redefine(t, change)
    want = {"a": "A", "b": {"c": "C"}}  # what was stored stays
    eventually(lambda: api("GET", t.path + "/x", want=200)["spec"] == want)
    assert api("GET", t.path, want=200)["items"][0]["spec"] == want
    watch = api.watch(t.path, resourceVersion="0")
    assert watch.next()["object"]["spec"] == want
    watch.close()
    # A default given by the schema of today is no change that anybody made.
    rv = api("GET", t.path + "/x", want=200).rv
    r = api("PATCH", t.path + "/x", {"spec": {"a": "A"}}, want=200, type=MERGE)
    assert r["spec"] == want
    assert t.make("y")["spec"] == {"a": "A2"}
    redefine(t, lambda v: properties_of(v)["a"].pop("default"))
    eventually(lambda: "a" not in t.make(f"n{uuid.uuid4().hex[:6]}")["spec"])
    assert api("GET", t.path + "/x", want=200)["spec"]["a"] == "A"


# --- list types

LISTS = {  # name -> schema of the list
    "set": array(STRING, **{"x-kubernetes-list-type": "set"}),
    "numbers": array({"type": "number"}, **{"x-kubernetes-list-type": "set"}),
    "objects": array({**obj(a=STRING, b=INTEGER), "x-kubernetes-map-type": "atomic"},
                     **{"x-kubernetes-list-type": "set"}),
    "map": array({**obj(k=STRING, v=STRING), "required": ["k"]},
                 **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
    "two": array({**obj(k=STRING, p={**STRING, "default": "TCP"}), "required": ["k"]},
                 **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"]}),
    "atomic": array(STRING, **{"x-kubernetes-list-type": "atomic"}),
    "plain": array(STRING),
    "nested": array({**obj(k=STRING, inner=array(STRING, **{"x-kubernetes-list-type": "set"})),
                     "required": ["k"]},
                    **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
}
DUPLICATES = [  # list, value, fields of the duplicates; () when it is right
    ("set", ["a", "b"], ()),
    ("set", ["a", "b", "a"], ["[2]"]),
    ("set", ["a", "a", "a"], ["[1]", "[2]"]),
    ("set", ["a", "A"], ()),
    ("numbers", [1, 2, 3], ()),
    ("numbers", [1, 1.0], ["[1]"]),
    ("numbers", [0, 1.5, 1.5], ["[2]"]),
    ("objects", [{"a": "x"}, {"a": "x", "b": 1}], ()),
    ("objects", [{"a": "x", "b": 1}, {"b": 1, "a": "x"}], ["[1]"]),
    ("map", [{"k": "a", "v": "1"}, {"k": "b", "v": "1"}], ()),
    ("map", [{"k": "a", "v": "1"}, {"k": "a", "v": "2"}], ["[1]"]),
    ("two", [{"k": "a"}, {"k": "a", "p": "UDP"}], ()),
    ("two", [{"k": "a"}, {"k": "a", "p": "TCP"}], ["[1]"]),
    ("two", [{"k": "a"}, {"k": "a"}], ["[1]"]),
    ("atomic", ["a", "a"], ()),
    ("plain", ["a", "a"], ()),
    ("nested", [{"k": "a", "inner": ["x", "y"]}, {"k": "b", "inner": ["x", "x"]}], ["[1].inner[1]"]),
]


def test_list_types(api, things):
    t = things(**spec_of(**LISTS))
    for n, (name, value, twice) in enumerate(DUPLICATES):
        r = t.make(f"d{n}", spec={name: value}, want=422 if twice else 201)
        if twice:
            assert fields(r) == [("FieldValueDuplicate", f"spec.{name}{at}") for at in twice], r
    t.make("s", spec={})
    r = api("PATCH", t.path + "/s/status", {"status": {"set": ["a", "a"]}}, want=422, type=MERGE)
    assert fields(r) == [("FieldValueDuplicate", "status.set[1]")]


def test_duplicates_that_are_there_already(api, things):
    """A list that became a set after the fact: as long as the object has doubles, it may; once
    it is mended, it stays so."""
    t = things(**spec_of(list=array(STRING), other=STRING))
    t.make("x", spec={"list": ["a", "a"]})

    def tighten(version):
        properties_of(version)["list"]["x-kubernetes-list-type"] = "set"

    redefine(t, tighten)
    eventually(lambda: t.make(f"n{uuid.uuid4().hex[:6]}", spec={"list": ["b", "b"]},
                              want=None).status == 422)
    r = api("PATCH", t.path + "/x", {"spec": {"other": "o"}}, want=200, type=MERGE)
    assert r["spec"] == {"list": ["a", "a"], "other": "o"}
    api("PATCH", t.path + "/x", {"spec": {"list": ["b", "b"]}}, want=200, type=MERGE)
    r = api("PATCH", t.path + "/x", {"spec": {"list": ["b", 7, "b"]}}, want=422, type=MERGE)
    assert fields(r) == [("FieldValueTypeInvalid", "spec.list[1]")]
    r = api("PATCH", t.path + "/x", {"spec": {"list": ["a", "c"]}}, want=200, type=MERGE)
    assert r["spec"]["list"] == ["a", "c"]
    r = api("PATCH", t.path + "/x", {"spec": {"list": ["c", "c"]}}, want=422, type=MERGE)
    assert fields(r) == [("FieldValueDuplicate", "spec.list[1]")]


# --- ratcheting

TIGHTER = [  # schema before, value, schema after, change that passes, change that does not
    (STRING, "red", {**STRING, "enum": ["blue"]}, None, "green"),
    (STRING, "red", {**STRING, "maxLength": 2}, None, "blue"),
    (STRING, "red", {**STRING, "pattern": "^b"}, None, "gray"),
    (INTEGER, 5, {**INTEGER, "minimum": 10}, None, 6),
    (array(STRING), ["a", "b"], array(STRING, maxItems=1), None, ["a", "c"]),
    (array({**STRING}), ["aa", "b"], array({**STRING, "maxLength": 1}), None, ["aa", "c", "dd"]),
    (obj(a=STRING, b=STRING), {"a": "x"}, {**obj(a={**STRING, "maxLength": 0}, b=STRING)},
     {"b": "y"}, {"a": "z"}),
    ({"type": "object", "additionalProperties": STRING}, {"k": "long"},
     {"type": "object", "additionalProperties": {**STRING, "maxLength": 2}}, {"l": "x"}, {"k": "lon"}),
    (array(obj(k=STRING, v=STRING), **{"x-kubernetes-list-type": "atomic"}), [{"k": "a", "v": "x"}],
     array(obj(k=STRING, v={**STRING, "maxLength": 0}), **{"x-kubernetes-list-type": "atomic"}),
     None, [{"k": "b", "v": "x"}]),
]


def test_ratcheting(api, things):
    """What is invalid since the schema changed is borne as long as it does not change."""
    t = things(**spec_of(other=STRING, **{f"r{i}": row[0] for i, row in enumerate(TIGHTER)}))
    t.make("x", spec={f"r{i}": row[1] for i, row in enumerate(TIGHTER)})

    def tighten(version):
        for i, row in enumerate(TIGHTER):
            properties_of(version)[f"r{i}"] = row[2]

    redefine(t, tighten)
    eventually(lambda: t.make(f"n{uuid.uuid4().hex[:6]}", spec={"r3": 5}, want=None).status == 422)
    r = api("PATCH", t.path + "/x", {"spec": {"other": "o"}}, want=200, type=MERGE)
    assert r["spec"]["other"] == "o" and r["spec"]["r0"] == "red"
    for i, row in enumerate(TIGHTER):
        if row[3] is not None:
            api("PATCH", t.path + "/x", {"spec": {f"r{i}": row[3]}}, want=200, type=MERGE)
        r = api("PATCH", t.path + "/x", {"spec": {f"r{i}": row[4]}}, type=MERGE)
        assert r.status == 422, (i, r)
        assert all(c["field"].startswith(f"spec.r{i}") for c in r["details"]["causes"]), r
        # on the way of an update and of an apply just so
        live = api("GET", t.path + "/x", want=200).json
        live["spec"][f"r{i}"] = row[4] if not isinstance(row[4], dict) else {
            **row[1], **row[4]}
        api("PUT", t.path + "/x", live, want=422)


def test_what_is_not_ratcheted(api, things):
    """A field that became required is missing, whatever else an update changes."""
    t = things(**spec_of(a=obj(b=STRING, c=STRING), other=STRING))
    t.make("x", spec={"a": {"c": "1"}})
    redefine(t, lambda v: properties_of(v)["a"].update(required=["b"]))
    eventually(lambda: t.make(f"n{uuid.uuid4().hex[:6]}", spec={"a": {}}, want=None).status == 422)
    r = api("PATCH", t.path + "/x", {"spec": {"other": "o"}}, want=422, type=MERGE)
    assert fields(r) == [("FieldValueRequired", "spec.a.b")]
    api("PATCH", t.path + "/x", {"spec": {"a": {"b": "2"}}}, want=200, type=MERGE)


# --- subresources, scope


def test_status_is_a_part_of_its_own(api, things):
    t = things(**spec_of(a=STRING))
    made = t.make("x", spec={"a": "1"})
    full = {**made.json, "status": {"a": "s"}, "spec": {"a": "2"}}
    r = api("PUT", t.path + "/x", full, want=200)
    assert "status" not in r.json and r["spec"] == {"a": "2"} and r["metadata"]["generation"] == 2
    full = {**r.json, "status": {"a": "s"}, "spec": {"a": "3"}}
    full["metadata"]["labels"] = {"l": "1"}
    r = api("PUT", t.path + "/x/status", full, want=200)
    assert r["status"] == {"a": "s"} and r["spec"] == {"a": "2"}
    assert r["metadata"]["generation"] == 2 and "labels" not in r["metadata"]
    r = api("PATCH", t.path + "/x/status", {"spec": {"a": "9"}, "status": {"a": "t"}}, want=200,
            type=MERGE)
    assert r["status"] == {"a": "t"} and r["spec"] == {"a": "2"}
    r = api("PUT", t.path + "/x", {**r.json, "status": {"a": 1, "zz": 2}}, want=200)
    assert r["status"] == {"a": "t"}  # a wrong one is not looked at, but for what is unknown
    assert any('unknown field \\"status.zz\\"' in w for w in r.warnings)
    r = api("POST", t.path, {"apiVersion": f"{t.group}/v1", "kind": "Thing", "spec": {},
                             "metadata": {"name": "y"}, "status": []}, want=201)
    assert "status" not in r.json
    api("PATCH", t.path + "/x/status", {"status": {"a": 1}}, want=422, type=MERGE)
    api("POST", t.path + "/x/status", {}, want=405)
    api("GET", t.path + "/x/scale", want=404)
    api("GET", t.path + "/x/other", want=404)


def test_without_a_status_subresource(api, things):
    t = things(properties={"spec": obj(a=STRING), "status": obj(a=STRING)})
    made = api("POST", t.path, {"apiVersion": f"{t.group}/v1", "kind": "Thing",
                                "metadata": {"name": "x"}, "spec": {}, "status": {"a": "s"}},
               want=201)
    assert made["status"] == {"a": "s"}
    r = api("PATCH", t.path + "/x", {"status": {"a": "t"}}, want=200, type=MERGE)
    assert r["status"] == {"a": "t"} and r["metadata"]["generation"] == 2
    api("GET", t.path + "/x/status", want=404)


@pytest.mark.parametrize("scope", ["Namespaced", "Cluster"])
def test_scope(api, scope):
    group = f"s{uuid.uuid4().hex[:8]}.example.dev"
    api("POST", CRDS, {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": scope, "names": {"plural": "things", "kind": "Thing"},
                 "versions": [{"name": "v1", "served": True, "storage": True,
                               "subresources": {"status": {}, "scale": {
                                   "specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
                               "schema": {"openAPIV3Schema": {"type": "object", **PRESERVE}}}]}},
        want=201)
    eventually(lambda: is_established(api("GET", f"{CRDS}/things.{group}", want=200).json))
    cluster, inside = f"/apis/{group}/v1/things", (
        f"/apis/{group}/v1/namespaces/{api.namespace}/things")
    namespaced = scope == "Namespaced"
    right, wrong = (inside, cluster) if namespaced else (cluster, inside)
    body = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "x"},
            "spec": {"n": 1}}
    made = api("POST", right, body, want=201)
    assert made["metadata"].get("namespace") == (api.namespace if namespaced else None)
    api("POST", wrong, body, want=404)
    for path in ("/x", "/x/status", "/x/scale"):
        api("GET", right + path, want=200)
        api("GET", wrong + path, want=404)
        api("PATCH", right + path, {}, want=200, type=MERGE)
        api("PATCH", wrong + path, {}, want=404, type=MERGE)
    # A list over all namespaces is right for both.
    assert "x" in api("GET", cluster, want=200).names
    assert api("GET", wrong, want=200 if namespaced else 404)
    api("DELETE", wrong + "/x", want=404)
    api("DELETE", right + "/x", want=200)
    if not namespaced:
        body["metadata"]["namespace"] = api.namespace
        api("POST", right, body, want=400)


# --- columns

COLUMNS = [  # type, format, jsonPath, cell
    ("integer", "", ".spec.integer", 7),
    ("integer", "", ".spec.string", None),
    ("integer", "", ".spec.number", 3),
    ("integer", "", ".spec.boolean", None),
    ("integer", "int64", ".spec.big", 9007199254740993),
    ("number", "", ".spec.number", 3.5),
    ("number", "", ".spec.integer", 7.0),
    ("string", "", ".spec.string", "text"),
    ("string", "", ".spec.integer", "7"),
    ("string", "", ".spec.boolean", "true"),
    ("string", "", ".spec.list", '["a","b"]'),
    ("string", "", ".spec.list[0]", "a"),
    ("string", "", ".spec.list[5]", None),
    ("string", "", ".spec.absent", None),
    ("string", "", '.spec.named[?(@.name=="b")].value', "2"),
    ("string", "", ".metadata.labels.l", "v"),
    ("boolean", "", ".spec.boolean", True),
    ("boolean", "", ".spec.string", None),
    ("boolean", "", ".spec.integer", None),
    ("date", "", ".spec.never", None),
    ("date", "", ".spec.string", "<invalid>"),
]


def test_columns(api, things):
    t = things(properties={"spec": {"type": "object", **PRESERVE}}, additionalPrinterColumns=[
        {"name": f"C{i}", "type": kind, "jsonPath": path, "priority": i % 2,
         **({"format": form} if form else {})}
        for i, (kind, form, path, _) in enumerate(COLUMNS)])
    api("POST", t.path, {"apiVersion": f"{t.group}/v1", "kind": "Thing",
                         "metadata": {"name": "x", "labels": {"l": "v"}},
                         "spec": {"integer": 7, "big": 9007199254740993, "number": 3.5,
                                  "string": "text", "boolean": True, "list": ["a", "b"],
                                  "named": [{"name": "a", "value": "1"},
                                            {"name": "b", "value": "2"}]}}, want=201)
    table = api("GET", t.path, want=200, accept=TABLE)
    assert [c["name"] for c in table["columnDefinitions"]] == [
        "Name", *(f"C{i}" for i in range(len(COLUMNS)))]
    assert [c["priority"] for c in table["columnDefinitions"]] == [
        0, *(i % 2 for i in range(len(COLUMNS)))]
    for i, (kind, _, path, cell) in enumerate(COLUMNS):
        assert table["rows"][0]["cells"][i + 1] == cell, (kind, path)


def test_age_when_there_are_no_columns(api, things):
    t = things()
    t.make("x")
    table = api("GET", t.path, want=200, accept=TABLE)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Age"]
    assert table["rows"][0]["cells"][0] == "x" and table["rows"][0]["cells"][1].endswith("s")


# --- finalization


def test_definition_that_is_being_deleted(api):
    t = Things(api)
    api("POST", t.path, {"apiVersion": f"{t.group}/v1", "kind": "Thing", "spec": {},
                         "metadata": {"name": "held", "finalizers": ["example.dev/hold"]}}, want=201)
    t.make("free")
    api("DELETE", t.crd_path, want=200)
    eventually(lambda: api("GET", t.path + "/free").status == 404)
    body = {"apiVersion": f"{t.group}/v1", "kind": "Thing", "metadata": {"name": "new"}}
    api("POST", t.path, body, want=405)
    api("PATCH", t.path + "/new", body, want=405, type=APPLY, fieldManager="m")
    # What is there can still be written, and let go.
    api("PATCH", t.path + "/held", {"spec": {"a": 1}}, want=200, type=MERGE)
    r = api("PATCH", t.path + "/held", {"metadata": {"finalizers": ["example.dev/hold", "x.dev/y"]}},
            want=422, type=MERGE)
    assert "no new finalizers can be added" in r["message"]
    api("PATCH", t.path + "/held", {"metadata": {"finalizers": None}}, want=200, type=MERGE)
    eventually(lambda: api("GET", t.crd_path).status == 404)
    eventually(lambda: api("GET", t.path).status == 404)
