# SPDX-License-Identifier: Apache-2.0
"""What lists and watches promise, over plain HTTP: revisions, pages, selectors, forms, events."""
import base64
import json

import pytest

from http_api import PARTIAL, PARTIAL_LIST, TABLE

SIX = ["a0", "a1", "a2", "a3", "a4", "a5"]


@pytest.fixture
def six(api):
    for i, name in enumerate(SIX):
        api.configmap(name, labels={"n": str(i), "even": str(i % 2 == 0).lower()})
    return api


def test_unset_zero_and_not_older_show_the_latest(six):
    for query in ({}, {"resourceVersion": ""}, {"resourceVersion": "0"},
                  {"resourceVersion": "0", "resourceVersionMatch": "NotOlderThan"},
                  {"resourceVersion": "1"},
                  {"resourceVersion": "1", "resourceVersionMatch": "NotOlderThan", "limit": "10"}):
        r = six("GET", six.configmaps, want=200, **query)
        assert r.names == SIX and r["kind"] == "ConfigMapList" and int(r.rv) > 0
        assert "continue" not in r["metadata"]


def test_list_options_that_do_not_go_together(six):
    forbidden = [
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "NotOlderThan"},
        {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
        {"resourceVersion": "5", "resourceVersionMatch": "Nearly"},
        {"sendInitialEvents": "true"},
    ]
    for query in forbidden:
        r = six("GET", six.configmaps, want=422, **query)
        assert 'ListOptions.meta.k8s.io "" is invalid: ' in r["message"], r
        assert r["reason"] == "Invalid"
    assert six("GET", six.configmaps, want=400, resourceVersion="abc")["reason"] == "BadRequest"
    page = six("GET", six.configmaps, want=200, limit=2)
    token = page["metadata"]["continue"]
    six("GET", six.configmaps, want=400, limit=2, resourceVersion=page.rv, **{"continue": token})
    six("GET", six.configmaps, want=422, limit=2, resourceVersionMatch="NotOlderThan",
        **{"continue": token})
    six("GET", six.configmaps, want=200, limit=2, resourceVersion="0", **{"continue": token})
    six("GET", six.configmaps, want=400, limit="-1")


def test_future_revision_times_out(six):
    now = int(six("GET", six.configmaps, want=200).rv)
    for path in (six.configmaps, six.configmaps + "/a0"):
        r = six("GET", path, want=504, resourceVersion=str(now + 1000))
        assert r["message"].startswith(f"Timeout: Too large resource version: {now + 1000}, current: ")
        assert r["reason"] == "Timeout" and r["details"]["retryAfterSeconds"] == 1
        assert r["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
        assert r.headers["Retry-After"] == "1"


def test_chunks_show_one_state(six):
    first = six("GET", six.configmaps, want=200, limit=2)
    assert first.names == SIX[:2] and first["metadata"]["remainingItemCount"] == 4
    six("DELETE", six.configmaps + "/a3", want=200)
    six.configmap("a25")
    second = six("GET", six.configmaps, want=200, limit=2,
                 **{"continue": first["metadata"]["continue"]})
    assert second.names == SIX[2:4] and second.rv == first.rv
    assert second["metadata"]["remainingItemCount"] == 2
    last = six("GET", six.configmaps, want=200, limit=50,
               **{"continue": second["metadata"]["continue"]})
    assert last.names == SIX[4:] and last.rv == first.rv
    assert "continue" not in last["metadata"] and "remainingItemCount" not in last["metadata"]
    # A page may be asked for again, and with another limit.
    again = six("GET", six.configmaps, want=200, limit=3,
                **{"continue": first["metadata"]["continue"]})
    assert again.names == SIX[2:5]
    exact = six("GET", six.configmaps, want=200, resourceVersion=first.rv,
                resourceVersionMatch="Exact")
    assert exact.names == SIX


def test_no_remaining_count_with_selectors(six):
    page = six("GET", six.configmaps, want=200, limit=1, labelSelector="even=true")
    assert page.names == ["a0"] and "remainingItemCount" not in page["metadata"]
    page = six("GET", six.configmaps, want=200, limit=1, labelSelector="even=true",
               **{"continue": page["metadata"]["continue"]})
    assert page.names == ["a2"]


def test_expired_token_says_how_to_go_on(six):
    ns = six.namespace
    old = base64.urlsafe_b64encode(json.dumps(
        {"v": "meta.k8s.io/v1", "rv": 1, "start": f"{ns}/a1\0"}).encode()).decode().rstrip("=")
    r = six("GET", six.configmaps, want=410, limit=2, **{"continue": old})
    assert r["reason"] == "Expired" and r["message"].startswith(
        "The provided continue parameter is too old to display a consistent list result.")
    r = six("GET", six.configmaps, want=200, limit=2, **{"continue": r["metadata"]["continue"]})
    assert r.names == ["a2", "a3"]
    for bad in ("x", "AAAA", old[:-9], base64.b64encode(b"{}").decode()):
        r = six("GET", six.configmaps, want=400, **{"continue": bad})
        assert r["message"].startswith("continue key is not valid")


@pytest.mark.parametrize("selector, wanted", [
    ("n=1", [1]), ("n==1", [1]), ("n!=1", [0, 2, 3, 4, 5]), ("n in (1,3)", [1, 3]),
    ("n notin (1,3)", [0, 2, 4, 5]), ("n", [0, 1, 2, 3, 4, 5]), ("!n", []), ("x!=1,n=2", [2]),
    ("n>3", [4, 5]), ("n<1", [0]), ("even=true,n notin (0)", [2, 4]), ("", [0, 1, 2, 3, 4, 5]),
    (" n  in ( 1 , 2 ) , even ", [1, 2]), ("x notin (a)", [0, 1, 2, 3, 4, 5]),
])
def test_label_selectors(six, selector, wanted):
    assert six("GET", six.configmaps, want=200, labelSelector=selector).names == [
        SIX[i] for i in wanted]


@pytest.mark.parametrize("selector", ["n in 1", "n in (1", "=1", "n=1,,", "n>x", "a b", "n=b c",
                                      "-n=1", "n=" + "v" * 64])
def test_bad_label_selectors(api, selector):
    r = api("GET", api.configmaps, want=400, labelSelector=selector)
    assert r["reason"] == "BadRequest"


def test_field_selectors(six):
    def names(**q):
        return six("GET", six.configmaps, want=200, **q).names
    assert names(fieldSelector="metadata.name=a3") == ["a3"]
    assert names(fieldSelector="metadata.name!=a3") == ["a0", "a1", "a2", "a4", "a5"]
    assert names(fieldSelector=f"metadata.namespace={six.namespace},metadata.name==a1") == ["a1"]
    assert names(fieldSelector="metadata.name=none") == []
    assert names(fieldSelector="metadata.name=a2", labelSelector="n=1") == []
    r = six("GET", six.configmaps, want=400, fieldSelector="data.x=1")
    assert "field label not supported: data.x" in r["message"]
    everywhere = six("GET", "/api/v1/configmaps", want=200,
                     fieldSelector=f"metadata.namespace={six.namespace}")
    assert everywhere.names == SIX


def test_forms_of_a_list(six):
    table = six("GET", six.configmaps, want=200, accept=TABLE, limit=2)
    assert table["kind"] == "Table" and table["apiVersion"] == "meta.k8s.io/v1"
    assert table["columnDefinitions"][0]["format"] == "name"
    assert [r["cells"][0] for r in table["rows"]] == SIX[:2]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["metadata"]["continue"] and table["metadata"]["remainingItemCount"] == 4
    table = six("GET", six.configmaps, want=200, accept=TABLE, includeObject="Object")
    assert table["rows"][0]["object"]["kind"] == "ConfigMap"
    table = six("GET", six.configmaps, want=200, accept=TABLE, includeObject="None")
    assert "object" not in table["rows"][0] or table["rows"][0]["object"] is None
    partial = six("GET", six.configmaps, want=200, accept=PARTIAL_LIST)
    assert partial["kind"] == "PartialObjectMetadataList"
    assert partial["items"][0]["kind"] == "PartialObjectMetadata" and "data" not in partial["items"][0]
    one = six("GET", six.configmaps + "/a0", want=200, accept=PARTIAL)
    assert one["kind"] == "PartialObjectMetadata" and one["metadata"]["labels"]["n"] == "0"
    r = six("GET", six.configmaps, want=406, accept="application/json;as=Table;v=v9;g=meta.k8s.io")
    assert r["reason"] == "NotAcceptable" and r.type.startswith("application/json")
    r = six("GET", six.configmaps, want=406, accept="text/html")
    r = six("GET", six.configmaps, want=200, accept="text/html, */*;q=0.1")
    assert r.type == "application/json"


# --- watch


def test_watch_follows_in_order(api):
    start = api("GET", api.configmaps, want=200).rv
    w = api.watch(api.configmaps, resourceVersion=start)
    assert w.status == 200
    a = api.configmap("a")
    api("PATCH", api.configmaps + "/a", {"data": {"k": "v"}}, want=200,
        type="application/merge-patch+json")
    api("DELETE", api.configmaps + "/a", want=200)
    events = [w.next() for _ in range(3)]
    w.close()
    assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert versions[0] == int(a.rv) and versions == sorted(set(versions))
    assert events[2]["object"]["data"] == {"k": "v"}
    # From the middle: strictly what came after.
    w = api.watch(api.configmaps, resourceVersion=str(versions[0]))
    assert w.types(2) == ["MODIFIED", "DELETED"]
    w.close()


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}])
def test_watch_from_now_starts_with_what_is_there(six, query):
    w = six.watch(six.configmaps, **query)
    events = [w.next() for _ in range(6)]
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [
        ("ADDED", n) for n in SIX]
    six("DELETE", six.configmaps + "/a0", want=200)
    assert w.next()["type"] == "DELETED"
    w.close()


def test_selection_is_entered_and_left(api):
    merge = "application/merge-patch+json"
    start = api("GET", api.configmaps, want=200).rv
    w = api.watch(api.configmaps, resourceVersion=start, labelSelector="in=yes")
    api.configmap("a", labels={"in": "no"})
    api("PATCH", api.configmaps + "/a", {"metadata": {"labels": {"in": "yes"}}}, type=merge, want=200)
    last = api("PATCH", api.configmaps + "/a", {"metadata": {"labels": {"in": "no"}}}, type=merge,
               want=200)
    api("PATCH", api.configmaps + "/a", {"data": {"x": "1"}}, type=merge, want=200)
    back = api("PATCH", api.configmaps + "/a", {"metadata": {"labels": {"in": "yes"}}}, type=merge,
               want=200)
    api("DELETE", api.configmaps + "/a", want=200)
    events = [w.next() for _ in range(4)]
    w.close()
    assert [e["type"] for e in events] == ["ADDED", "DELETED", "ADDED", "DELETED"]
    left = events[1]["object"]["metadata"]
    assert left["labels"] == {"in": "yes"} and left["resourceVersion"] == last.rv
    assert events[2]["object"]["metadata"]["resourceVersion"] == back.rv


def test_watch_of_one_name(six):
    w = six.watch(six.configmaps, fieldSelector="metadata.name=a3", resourceVersion="0")
    assert w.next()["object"]["metadata"]["name"] == "a3"
    six("DELETE", six.configmaps + "/a2", want=200)
    six("DELETE", six.configmaps + "/a3", want=200)
    e = w.next()
    assert e["type"] == "DELETED" and e["object"]["metadata"]["name"] == "a3"
    w.close()


def test_watch_timeout_ends_cleanly(api):
    w = api.watch(api.configmaps, resourceVersion="0", timeoutSeconds="1")
    assert w.next() is None
    w = api.watch(api.configmaps, resourceVersion="0", timeoutSeconds="1", allowWatchBookmarks="true")
    e = w.next()
    assert e["type"] == "BOOKMARK" and e["object"]["kind"] == "ConfigMap"
    assert e["object"]["apiVersion"] == "v1" and int(e["object"]["metadata"]["resourceVersion"]) > 0
    assert w.next() is None


def test_watch_list(six):
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan",
             "allowWatchBookmarks": "true"}
    w = six.watch(six.configmaps, **query)
    events = [w.next() for _ in range(7)]
    assert [e["type"] for e in events] == ["ADDED"] * 6 + ["BOOKMARK"]
    end = events[-1]["object"]
    assert end["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (end["apiVersion"], end["kind"]) == ("v1", "ConfigMap")
    new = six.configmap("new")
    e = w.next()
    assert e["type"] == "ADDED" and e["object"]["metadata"]["resourceVersion"] == new.rv
    w.close()
    assert int(end["metadata"]["resourceVersion"]) < int(new.rv)
    # Nothing there is an end too; false starts live.
    w = six.watch(six.leases, **query)
    assert w.next()["object"]["metadata"]["annotations"]
    w.close()
    w = six.watch(six.configmaps, sendInitialEvents="false", resourceVersionMatch="NotOlderThan")
    six("DELETE", six.configmaps + "/new", want=200)
    assert w.next()["type"] == "DELETED"
    w.close()
    for wrong in ({"sendInitialEvents": "true"}, {"resourceVersionMatch": "NotOlderThan"},
                  {**query, "resourceVersionMatch": "Exact"}):
        assert six("GET", six.configmaps, watch="true", **wrong).status == 422


def test_watch_of_tables_and_metadata(six):
    w = six.watch(six.configmaps, accept=TABLE, resourceVersion="0")
    first, second = w.next()["object"], w.next()["object"]
    w.close()
    assert first["kind"] == "Table" and first["columnDefinitions"] and len(first["rows"]) == 1
    assert not second["columnDefinitions"] and second["rows"][0]["cells"][0] == "a1"
    w = six.watch(six.configmaps, accept=PARTIAL, resourceVersion="0", timeoutSeconds="1",
                  allowWatchBookmarks="true", labelSelector="n=0")
    assert w.next()["object"]["kind"] == "PartialObjectMetadata"
    assert w.next()["object"]["kind"] == "PartialObjectMetadata"
    w.close()


def test_watch_from_the_future_waits(api):
    now = int(api("GET", api.configmaps, want=200).rv)
    w = api.watch(api.configmaps, resourceVersion=str(now + 1), timeoutSeconds="5")
    api.configmap("skipped-or-not")
    seen = api.configmap("later")
    while True:
        e = w.next()
        if e["object"]["metadata"]["resourceVersion"] == seen.rv:
            break
    w.close()


def test_booleans_and_slashes(six):
    w = six.watch(six.configmaps + "/")  # doubled and trailing slashes are tolerated
    assert w.next()["type"] == "ADDED"
    w.close()
    assert six("GET", six.configmaps, want=200, watch="false").names == SIX
    assert six("GET", six.configmaps, want=200, watch="0").names == SIX
    six("GET", "//api//v1/namespaces/", want=200)
    six("GET", "/version/", want=200)
    six("GET", "/apis/", want=200)
