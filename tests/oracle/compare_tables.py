# SPDX-License-Identifier: Apache-2.0
"""Server-side apply against the table cases of structured-merge-diff's own tests.

usage: compare_tables.py <oracle_driver>      DROVER_CASE=N prints one case in full.

Its merge tests are run with record_tables.go.in in their fixture, so they must pass, and what
each case applies and updates is written down. Then both sides do the same, as the API server
names managers (one that applies and updates is two). Cases that need what CRDs do not have
(unions, other conversions than None, ignored fields) are counted and left out.
"""
import collections
import json
import os
import shutil
import subprocess
import sys

import compare_ssa
import oracle

NEEDS = "sigs.k8s.io/structured-merge-diff"
DEPTH = 6  # of types that contain themselves; values of the tables are less deep
# Cases of the tables that are here, so that a broken recorder is not taken for agreement.
AT_LEAST = 80


def recorded():
    tmp, env = oracle.workspace(NEEDS)
    fixture = "src/" + NEEDS + "/v4/internal/fixture/"
    text = (tmp / fixture / "state.go").read_text()
    for start, call in [
            ("func (tc TestCase) TestWithConverter(", "record(tc, parser, converter)"),
            ("func (s *State) UpdateObject(",
             'current.step("update", tv, version, manager, false)'),
            ("func (s *State) ApplyObject(",
             'current.step("apply", tv, version, manager, force)')]:
        at = text.index("\n", text.index(start)) + 1
        text = text[:at] + "\t" + call + "\n" + text[at:]
    (tmp / "state.go").write_text(text)
    overlay = {str(tmp / fixture / "state.go"): str(tmp / "state.go"),
               str(tmp / fixture / "record.go"): str(oracle.HERE / "record_tables.go.in")}
    (tmp / "overlay.json").write_text(json.dumps({"Replace": overlay}))
    subprocess.run(["go", "test", "-vet=off", "-count=1", "-overlay", tmp / "overlay.json",
                    NEEDS + "/v4/merge"], cwd=tmp, check=True,
                   env={**env, "RECORD_CASES": str(tmp / "cases")})
    cases = [json.loads(line) for line in (tmp / "cases").read_text().splitlines()]
    shutil.rmtree(tmp)
    return cases


def type_of(schema, ref, depth=DEPTH):
    """A type reference of the library as a type of compare_ssa."""
    name = ref.get("namedType", "")
    if depth == 0 or name.startswith("__untyped"):
        return ("any",)
    atom = schema["named"][name] if name else ref
    if "scalar" in atom:
        numeric = atom["scalar"] not in ("string", "boolean")
        return ("number",) if numeric else (atom["scalar"],)
    if "list" in atom:
        item = type_of(schema, atom["list"]["elementType"], depth - 1)
        if atom["list"]["elementRelationship"] != "associative":
            return ("list", item)
        if item[0] not in ("struct", "open"):
            return ("set", item)
        fields = schema["fields"](atom["list"]["elementType"])
        defaults = {f["name"]: f["default"] for f in fields if "default" in f}
        return ("keyed", atom["list"]["keys"], item[1], defaults)
    return map_of(schema, atom["map"], depth)


def map_of(schema, m, depth):
    fields = {f["name"]: type_of(schema, f["type"], depth - 1) for f in m["fields"]}
    atomic = m["elementRelationship"] == "atomic"
    if "elementType" not in m:
        return ("struct", fields, atomic)
    item = type_of(schema, m["elementType"], depth - 1)
    if m["fields"]:
        return ("open", fields)
    return ("map", item, atomic)


def types_of(schemas):
    out = {}
    for version, s in schemas.items():
        named = {t["name"]: t for t in s["types"]}
        look = {"named": named,
                "fields": lambda r, n=named: n.get(r.get("namedType"), r)["map"]["fields"]}
        out[version] = type_of(look, s["root"])
    return out


def library_schema(s):
    spec = {"name": "root", "map": {"fields": [{"name": "spec", "type": s["root"]}]}}
    def lean(v):  # what is empty stands for "not said"
        if isinstance(v, dict):
            return {k: lean(x) for k, x in v.items() if x not in (None, "", [])}
        return [lean(x) for x in v] if isinstance(v, list) else v
    return json.dumps({"types": [lean(t) for t in [*s["types"], spec]]})


def filled(t, v):
    """The value with empty members for the tables' null ones, which the API drops or refuses."""
    if v is None:
        return [] if t[0] in ("list", "set", "keyed") else {} if len(t) > 1 else None
    if isinstance(v, dict):
        fields = t[1] if t[0] in ("struct", "open") else {}
        rest = t[1] if t[0] == "map" else ("any",)
        members = {k: filled(fields.get(k, rest), x) for k, x in v.items()}
        return {k: x for k, x in members.items() if x is not None}
    if isinstance(v, list):
        item = ("struct", t[2]) if t[0] == "keyed" else t[1] if len(t) > 1 else ("any",)
        return [filled(item, x) for x in v]
    return v


def both_sides(schemas, types):
    return {"schemas": {v: library_schema(s) for v, s in schemas.items()},
            "crds": {v: compare_ssa.crd(t, v) for v, t in types.items()}}


def obsolete():
    """Its cases of versions that are no longer served, which are no tables."""
    sets = {"types": [], "root": {"map": {"elementRelationship": "", "fields": [
        {"name": "list", "type": {"list": {"elementType": {"scalar": "string"}, "keys": None,
                                           "elementRelationship": "associative"}}},
        *({"name": v, "type": {"scalar": "numeric"}} for v in ("v1", "v2", "v3"))]}}}
    def served(*names):
        return {v: sets for v in names}
    def op(what, version, manager, value):
        return {"op": what, "version": version, "manager": manager, "object": value}
    updates = [op("update", "v1", "v1", {"v1": 0}), op("update", "v2", "v2", {"v1": 0, "v2": 0}),
               {"op": "schema", "schemas": served("v2", "v3")},
               op("update", "v3", "v3", {"v1": 0, "v2": 0, "v3": 0}),
               op("apply", "v3", "v4", {"v1": 0, "v2": 1, "v3": 1})]
    applies = [op("apply", "v1", "apply", {"list": ["a", "b", "c", "d"]}),
               {"op": "schema", "schemas": served("v2")},
               op("apply", "v2", "apply", {"list": ["a"]})]
    all_gone = [op("update", "v1", "m", {"v1": 0}), {"op": "schema", "schemas": served("v2")},
                op("update", "v2", "n", {"v1": 0, "v2": 0}), op("apply", "v2", "o", {"v2": 0})]
    return [{"test": "every owner is obsolete", "schemas": served("v1"), "ops": all_gone},
            {"test": "TestObsoleteVersions", "schemas": served("v1", "v2"), "ops": updates},
            {"test": "TestApplyObsoleteVersion", "schemas": served("v1"), "ops": applies}]


def case_of(line):
    """The types of spec at each step, and the case for both sides."""
    types = types_of(line["schemas"])
    case, ops, specs = both_sides(line["schemas"], types), [], []
    for op in line["ops"]:
        if op["op"] == "schema":
            types = types_of(op["schemas"])
            ops.append({"op": "schema", **both_sides(op["schemas"], types)})
        else:
            spec = filled(types[op["version"]], op["object"])
            ops.append({**op, "object": {} if spec is None else {"spec": spec}})
        specs.append(types[op.get("version", next(iter(types)))])
    return specs, {**case, "ops": ops}


def main():
    lines = recorded()
    left = collections.Counter(x["skipped"] for x in lines if "skipped" in x)
    lines = [x for x in lines if "skipped" not in x and x["ops"]] + obsolete()
    specs, cases = zip(*[case_of(x) for x in lines])
    tmp, program = oracle.build("ssa", NEEDS)
    theirs = oracle.answers([program], cases)
    ours = oracle.answers([sys.argv[1], "ssa"], cases)
    shutil.rmtree(tmp)
    failed = 0
    for n, (line, spec, case, a, b) in enumerate(zip(lines, specs, cases, theirs, ours)):
        if os.environ.get("DROVER_CASE") == str(n):
            print(json.dumps([case, a, b], indent=1))
        text = compare_ssa.difference(spec, case, a, b)
        if text is not None:
            failed += 1
            print(f"{line['test']}, DROVER_CASE={n}\n{text}")
    print(f"{len(lines)} cases, {failed} differ; left out: {dict(left)}")
    sys.exit(failed > 0 or len(lines) < AT_LEAST)


main()
