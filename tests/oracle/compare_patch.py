# SPDX-License-Identifier: Apache-2.0
"""JSON patch and merge patch against evanphx/json-patch, the library of Kubernetes, and JSON patch
against python3-jsonpatch too, on random documents and patches. Where those two disagree (the first
replaces members and copies values that are not there, the second takes True for 1) ours must
agree with one of them.

usage: compare_patch.py <oracle_driver>      DROVER_SEED=N runs one case, DROVER_LONG=1 many.
"""
import json
import random
import shutil
import sys

import oracle

try:
    import jsonpatch
except ImportError:
    print("skipped: python3-jsonpatch is not installed")
    sys.exit(oracle.SKIPPED)

KEYS = ["a", "b", "c", "x/y", "t~l", "", "0"]
SCALARS = [None, True, False, 0, 1, -7, 2.5, "", "a", "é", "0"]


def document(rng, depth=3):
    what = rng.choice(["object", "object", "list", "scalar"]) if depth > 0 else "scalar"
    if what == "object":
        return {k: document(rng, depth - 1) for k in KEYS if rng.random() < 0.35}
    if what == "list":
        return [document(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return rng.choice(SCALARS)


def pointers(v, at=""):
    """All pointers into the document."""
    yield at
    if isinstance(v, dict):
        for k, x in v.items():
            yield from pointers(x, at + "/" + k.replace("~", "~0").replace("/", "~1"))
    elif isinstance(v, list):
        for i, x in enumerate(v):
            yield from pointers(x, f"{at}/{i}")


def pointer(rng, doc):
    text = rng.choice([p for p in pointers(doc) if p] or ["/a"])
    if rng.random() < 0.3:
        text += "/" + rng.choice(["a", "b", "0", "1", "-", "9", "x~1y"])
    return text


def value_at(doc, text):
    for token in text.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        doc = doc[int(token)] if isinstance(doc, list) else doc[token]
    return doc


def operation(rng, doc):
    op = rng.choice(["add", "add", "remove", "replace", "move", "copy", "test"])
    out = {"op": op, "path": pointer(rng, doc)}
    if op in ("move", "copy"):
        out["from"] = pointer(rng, doc)
        if op == "move" and out["path"].startswith(out["from"] + "/"):
            out["path"] = out["from"]  # into itself: RFC 6902 §4.4 forbids it, both do it
    if op in ("add", "replace", "test"):
        out["value"] = document(rng, 2)
    if op == "test" and rng.random() < 0.7:
        try:
            out["value"] = value_at(doc, out["path"])
        except (KeyError, IndexError, ValueError, TypeError):
            pass
    return out


def without_nulls_in_lists(v, inside=False):
    """RFC 7386 takes a list of the patch as it is; the library drops nulls in it."""
    if isinstance(v, list):
        return [without_nulls_in_lists(x, True) for x in v if x is not None]
    if isinstance(v, dict):
        return {k: without_nulls_in_lists(x, inside) for k, x in v.items()
                if not inside or x is not None}
    return v


def make_case(seed):
    rng = random.Random(seed)
    target = {k: document(rng) for k in KEYS if rng.random() < 0.6}
    if rng.random() < 0.4:
        patch = {k: document(rng) for k in KEYS if rng.random() < 0.5}
        return {"type": "merge", "target": target, "patch": without_nulls_in_lists(patch)}
    return {"type": "json", "target": target,
            "patch": [operation(rng, target) for _ in range(rng.randint(1, 4))]}


def by_python(case):
    try:
        return {"result": jsonpatch.apply_patch(case["target"], case["patch"])}
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError,
            IndexError, AttributeError) as e:  # it lets some of its own out
        return {"error": str(e)}


def same(a, b):
    """As text, because to Python True is 1."""
    if "error" in a or "error" in b:
        return "error" in a and "error" in b
    return json.dumps(a["result"], sort_keys=True) == json.dumps(b["result"], sort_keys=True)


def main():
    tmp, program = oracle.build("jsonpatch", "github.com/evanphx/json-patch")
    numbers = list(oracle.seeds(2000, 50000))
    cases = [make_case(n) for n in numbers]
    theirs = oracle.answers([program], cases)
    ours = oracle.answers([sys.argv[1], "patch"], cases)
    failed = 0
    for n, case, a, b in zip(numbers, cases, theirs, ours):
        wanted = [a] if case["type"] == "merge" else [a, by_python(case)]
        if any(same(x, b) for x in wanted):
            continue
        failed += 1
        if failed <= 10:
            print(f"DROVER_SEED={n}\n  {json.dumps(case)}\n  theirs {json.dumps(a)}\n"
                  f"  ours   {json.dumps(b)}")
    shutil.rmtree(tmp)
    print(f"{len(numbers)} cases, {failed} differ")
    sys.exit(failed > 0)


main()
