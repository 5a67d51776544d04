# SPDX-License-Identifier: Apache-2.0
"""Server-side apply against structured-merge-diff: random schemas, random operations.

usage: compare_ssa.py <oracle_driver>      DROVER_SEED=N runs one case, DROVER_LONG=1 thousands.
"""
import json
import random
import shutil
import sys

import oracle

WORDS = ["a", "b", "c", "d"]
NUMBERS = [0, 1, 2, 7]
MANAGERS = ["ann", "bob", "cid"]

# A type is a tuple: ("string",) ("integer",) ("number",) ("boolean",) ("any",)
# ("struct", {name: type}, atomic) ("open", {name: type}): the same with other members of any type
# ("map", type, atomic) ("list", type) ("set", type) ("keyed", keys, {name: type}, defaults)


def scalar(rng):
    return (rng.choice(["string", "string", "integer", "boolean"]),)


def random_type(rng, depth):
    if depth == 0:
        return scalar(rng)
    what = rng.choices(["scalar", "struct", "map", "list", "set", "keyed", "any"],
                       [3, 3, 2, 1, 2, 3, 1])[0]
    if what == "scalar":
        return scalar(rng)
    if what == "struct":
        fields = {w: random_type(rng, depth - 1) for w in rng.sample(WORDS, rng.randint(1, 3))}
        return ("struct", fields, rng.random() < 0.15)
    if what == "map":
        return ("map", random_type(rng, depth - 1), rng.random() < 0.25)
    if what == "list":
        return ("list", random_type(rng, depth - 1))
    if what == "set":
        return ("set", (rng.choice(["string", "integer"]),))
    if what == "keyed":
        keys = ["k"] if rng.random() < 0.7 else ["k", "p"]
        fields = {w: random_type(rng, depth - 1) for w in rng.sample(WORDS, rng.randint(1, 2))}
        fields.update({k: (rng.choice(["string", "integer"]),) for k in keys})
        defaults = {}
        if len(keys) > 1 and rng.random() < 0.6:
            defaults["p"] = "TCP" if fields["p"] == ("string",) else 1
        return ("keyed", keys, fields, defaults)
    return ("any",)


def openapi(t):
    """The type as a CRD says it."""
    what = t[0]
    if what in ("string", "integer", "number", "boolean"):
        return {"type": what}
    if what == "any":
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if what == "struct":
        s = {"type": "object", "properties": {k: openapi(v) for k, v in t[1].items()}}
        return {**s, "x-kubernetes-map-type": "atomic"} if t[2] else s
    if what == "open":
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True,
                "properties": {k: openapi(v) for k, v in t[1].items()}}
    if what == "map":
        s = {"type": "object", "additionalProperties": openapi(t[1])}
        return {**s, "x-kubernetes-map-type": "atomic"} if t[2] else s
    if what == "list":
        return {"type": "array", "items": openapi(t[1])}
    if what == "set":
        return {"type": "array", "items": openapi(t[1]), "x-kubernetes-list-type": "set"}
    _, keys, fields, defaults = t
    properties = {k: openapi(v) for k, v in fields.items()}
    for k, v in defaults.items():
        properties[k]["default"] = v
    return {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys,
            "items": {"type": "object", "properties": properties,
                      "required": [k for k in keys if k not in defaults]}}


DEDUCED = [
    {"name": "__untyped_atomic_", "scalar": "untyped",
     "list": {"elementType": {"namedType": "__untyped_atomic_"}, "elementRelationship": "atomic"},
     "map": {"elementType": {"namedType": "__untyped_atomic_"}, "elementRelationship": "atomic"}},
    {"name": "__untyped_deduced_", "scalar": "untyped",
     "list": {"elementType": {"namedType": "__untyped_atomic_"}, "elementRelationship": "atomic"},
     "map": {"elementType": {"namedType": "__untyped_deduced_"},
             "elementRelationship": "separable"}},
]


def smd(t):
    """The type as structured-merge-diff says it (a type reference)."""
    what = t[0]
    if what in ("string", "boolean"):
        return {"scalar": what}
    if what == "integer":
        return {"scalar": "numeric"}
    if what == "any":
        return {"namedType": "__untyped_deduced_"}
    if what == "struct":
        m = {"fields": [{"name": k, "type": smd(v)} for k, v in sorted(t[1].items())]}
        if t[2]:
            m["elementRelationship"] = "atomic"
        return {"map": m}
    if what == "map":
        m = {"elementType": smd(t[1])}
        if t[2]:
            m["elementRelationship"] = "atomic"
        return {"map": m}
    if what == "list":
        return {"list": {"elementType": smd(t[1]), "elementRelationship": "atomic"}}
    if what == "set":
        return {"list": {"elementType": smd(t[1]), "elementRelationship": "associative"}}
    _, keys, fields, defaults = t
    items = [{"name": k, "type": smd(v), **({"default": defaults[k]} if k in defaults else {})}
             for k, v in sorted(fields.items())]
    return {"list": {"elementType": {"map": {"fields": items}}, "keys": keys,
                     "elementRelationship": "associative"}}


def crd(spec, version):
    """The type as a CustomResourceDefinition with spec of that type."""
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.dev"},
            "spec": {"group": "example.dev", "scope": "Namespaced",
                     "names": {"plural": "widgets", "singular": "widget", "kind": "Widget",
                               "listKind": "WidgetList"},
                     "versions": [{"name": version, "served": True, "storage": True,
                                   "schema": {"openAPIV3Schema": {
                                       "type": "object", "properties": {"spec": openapi(spec)}}}}]}}


def schema(spec):
    root = {"name": "root", "map": {"fields": [{"name": "spec", "type": smd(spec)}]}}
    return json.dumps({"types": [root, *DEDUCED]})


def value(rng, t, full=0.6):
    """A random value of the type; None stands for leaving it out."""
    what = t[0]
    if what == "string":
        return rng.choice(WORDS)
    if what == "integer":
        return rng.choice(NUMBERS)
    if what == "boolean":
        return rng.random() < 0.5
    if what == "any":
        return deduced(rng, 3)
    if what == "struct":
        return {k: value(rng, v, full) for k, v in t[1].items() if rng.random() < full}
    if what == "map":
        return {k: value(rng, t[1], full) for k in WORDS if rng.random() < full / 2}
    if what == "list":
        return [value(rng, t[1], full) for _ in range(rng.randint(0, 2))]
    if what == "set":
        values = WORDS if t[1] == ("string",) else NUMBERS
        return rng.sample(values, rng.randint(0, 3))
    return keyed(rng, t, full)


def keyed(rng, t, full):
    _, keys, fields, defaults = t
    out, seen = [], set()
    for _ in range(rng.randint(0, 3)):
        item = {k: value(rng, v, full) for k, v in fields.items()
                if k in keys and k not in defaults or rng.random() < full}
        name = tuple(item.get(k, defaults.get(k)) for k in keys)
        if name not in seen:
            seen.add(name)
            out.append(item)
    return out


def deduced(rng, depth):
    what = rng.choice(["object", "object", "list", "scalar"]) if depth > 0 else "scalar"
    if depth == 3:
        what = "object"
    if what == "object":
        return {k: deduced(rng, depth - 1) for k in WORDS if rng.random() < 0.4}
    if what == "list":
        return [rng.choice([*WORDS, *NUMBERS, {"k": rng.choice(WORDS)}])
                for _ in range(rng.randint(0, 2))]
    return rng.choice([*WORDS, *NUMBERS, True])


def mutate(rng, t, old, rate=0.4):
    """A value near the old one, so that managers share and fight over fields."""
    if old is None or rng.random() < rate / 3:
        return value(rng, t)
    what = t[0]
    if what == "struct":
        return {k: mutate(rng, v, old.get(k), rate) if rng.random() < rate else old.get(k)
                for k, v in t[1].items() if (k in old) != (rng.random() < rate / 2)
                and (k in old or rng.random() < 0.5)} or dict(old)
    if what == "map":
        out = {k: mutate(rng, t[1], v, rate) if rng.random() < rate else v
               for k, v in old.items() if rng.random() > rate / 2}
        if rng.random() < rate:
            out[rng.choice(WORDS)] = value(rng, t[1])
        return out
    if what in ("set", "keyed"):
        return merge_lists(rng, t, old)
    return value(rng, t) if rng.random() < rate else old


def merge_lists(rng, t, old):
    """Some old items, some new, in another order."""
    more = value(rng, t)
    if t[0] == "set":
        out = [x for x in old if rng.random() < 0.7]
        out += [x for x in more if x not in out and rng.random() < 0.5]
    else:
        _, keys, fields, defaults = t
        def name(item):
            return tuple(item.get(k, defaults.get(k)) for k in keys)
        out = [x if rng.random() < 0.6 else
               {k: (v if k in keys else mutate(rng, fields[k], v)) for k, v in x.items()}
               for x in old if rng.random() < 0.7]
        seen = {name(x) for x in out}
        out += [x for x in more if name(x) not in seen and rng.random() < 0.5]
    if rng.random() < 0.3:
        rng.shuffle(out)
    return out


def drop_none(v):
    if isinstance(v, dict):
        return {k: drop_none(x) for k, x in v.items() if x is not None}
    return [drop_none(x) for x in v] if isinstance(v, list) else v


def other_schema(rng, t, lists=True):
    """The type with some of what is owned in parts atomic, and the other way round."""
    what = t[0]
    if what == "struct":
        flip = rng.random() < 0.2
        return ("struct", {k: other_schema(rng, v, lists) for k, v in t[1].items()},
                t[2] != flip)
    if what == "map":
        # The library leaves the owners of a map of untyped values as they are; ours does not.
        flip = t[1] != ("any",) and rng.random() < 0.3
        return ("map", other_schema(rng, t[1], lists), t[2] != flip)
    if lists and what in ("set", "keyed") and rng.random() < 0.4:
        return ("list", t[1] if what == "set" else ("struct", t[2], False))
    if what == "keyed":
        return (what, t[1], {k: v if k in t[1] else other_schema(rng, v, lists)
                             for k, v in t[2].items()}, t[3])
    return t


def both_sides(spec, other):
    types = {"v1": spec} if other is None else {"v1": spec, "v2": other}
    return {"schemas": {v: schema(t) for v, t in types.items()},
            "crds": {v: crd(t, v) for v, t in types.items()}}


def make_case(seed):
    """The type of spec at each step, and the case for both sides."""
    rng = random.Random(seed)
    fields = {w: random_type(rng, 3) for w in rng.sample(["w", "x", "y", "z"], rng.randint(1, 4))}
    spec = ("any",) if rng.random() < 0.1 else ("struct", fields, False)
    last, ops, specs = {}, [], []
    first, other = spec, None
    if spec[0] == "struct" and rng.random() < 0.4:  # a second version, typed another way
        # Not of lists: one that is atomic in the other version differs by its order alone.
        other = ("struct", other_schema(rng, spec, False)[1], False)
    for _ in range(rng.randint(2, 8)):
        specs.append(spec)
        manager = rng.choice(MANAGERS)
        base = last.get(manager) if rng.random() < 0.6 else last.get(rng.choice(MANAGERS))
        spec_value = drop_none(mutate(rng, spec, base) if base is not None else value(rng, spec))
        last[manager] = spec_value
        ops.append({"op": rng.choice(["apply", "apply", "update"]), "manager": manager,
                    "version": "v2" if other is not None and rng.random() < 0.4 else "v1",
                    "force": rng.random() < 0.5,
                    "object": {"spec": spec_value} if rng.random() < 0.97 else {}})
        if spec[0] == "struct" and other is None and rng.random() < 0.05:
            now = ("struct", other_schema(rng, spec)[1], False)
            ops.append({"op": "schema", **both_sides(now, other)})
            spec = now
            specs.append(spec)
    return specs, {**both_sides(first, other), "ops": ops}


def plain(t, v):
    """The value without the two differences that are meant. Sets and keyed lists are put in one
    order: ours is that of newer versions of the library; Debian's keeps the live order and
    appends. And a map or list that lost its last member to pruning is null there, empty here: the
    API would drop the null and with it what somebody owns (ssa/main.go: emptied)."""
    if v == {} or v == []:
        return None
    if isinstance(v, dict):
        fields = t[1] if t[0] in ("struct", "open") else {}
        rest = t[1] if t[0] == "map" else ("any",)
        return {k: plain(fields.get(k, rest), x) for k, x in v.items()}
    if not isinstance(v, list):
        return v
    if t[0] == "keyed":
        items = [plain(("struct", t[2]), x) for x in v]
        return sorted(items, key=lambda x: [str(x.get(k, t[3].get(k))) for k in t[1]])
    if t[0] == "set":
        return sorted(v, key=str)
    return [plain(t[1] if t[0] == "list" else ("any",), x) for x in v]


def same_conflicts(theirs, ours):
    """Several paths of one manager overwrite each other in the library's list (they share memory),
    so of those only the number counts."""
    def by_manager(conflicts):
        out = {}
        for c in conflicts:
            manager, _, path = c.rpartition(" ")
            out.setdefault(manager, []).append(path)
        return {m: p if len(p) == 1 else len(p) for m, p in out.items()}
    return by_manager(theirs) == by_manager(ours)


def has_null(v):
    values = v.values() if isinstance(v, dict) else v if isinstance(v, list) else []
    return v is None or any(has_null(x) for x in values)


def same(spec, theirs, ours):
    if bool(theirs["error"]) != bool(ours["error"]):
        return False
    root = ("struct", {"spec": spec}, False)
    return (plain(root, theirs["live"]) == plain(root, ours["live"]) and
            theirs["owners"] == ours["owners"] and
            same_conflicts(theirs["conflicts"], ours["conflicts"]))


def difference(specs, case, theirs, ours):
    """The first step after which the two sides differ, as text; None when they agree."""
    for n, (a, b) in enumerate(zip(theirs, ours)):
        if b is None:
            continue
        if same(specs[n], a, b):
            # After a meant difference the two go on from different states.
            if has_null(a["live"]) or \
                    a["live"] != b["live"] and (
                        len(case["crds"]) > 1 or
                        "schema" in {o["op"] for o in case["ops"][n:]}):
                return None
            continue
        lines = [f"  {v}: {json.dumps(c['spec']['versions'][0]['schema'])}"
                 for v, c in case["crds"].items()]
        lines += [f"  op {i}: {json.dumps(o)}" for i, o in enumerate(case["ops"][:n + 1])]
        for k in ("live", "owners", "conflicts", "error"):
            lines += [f"  {k} theirs: {json.dumps(a[k], sort_keys=True)}",
                      f"  {k} ours:   {json.dumps(b[k], sort_keys=True)}"]
        return "\n".join(lines)
    return None


def main():
    tmp, program = oracle.build("ssa", "sigs.k8s.io/structured-merge-diff")
    numbers, failed = list(oracle.seeds(400, 20000)), 0
    for at in range(0, len(numbers), 500):
        part = numbers[at:at + 500]
        specs, cases = zip(*[make_case(n) for n in part])
        theirs = oracle.answers([program], cases)
        ours = oracle.answers([sys.argv[1], "ssa"], cases)
        for n, spec, case, a, b in zip(part, specs, cases, theirs, ours):
            text = difference(spec, case, a, b)
            # Which version goes first is chance with the library.
            for _ in range(9 if len(case["crds"]) > 1 else 0):
                if text is not None:
                    text = difference(spec, case, oracle.answers([program], [case])[0], b)
            if text is not None:
                failed += 1
                if failed <= 5:
                    print(f"DROVER_SEED={n}\n{text}")
    shutil.rmtree(tmp)
    print(f"{len(numbers)} cases, {failed} differ")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
