# SPDX-License-Identifier: Apache-2.0
"""PriorityClasses of scheduling.k8s.io/v1, by real kubectl and over plain HTTP."""
import pytest

from http_api import APPLY, MERGE, causes

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


@pytest.fixture
def made(server, api):
    """Makes a class that is deleted afterwards; of no namespace."""
    names = []

    def make(name, value, want=201, **more):
        names.append(f"{api.namespace}-{name}")
        return api("POST", CLASSES, {"metadata": {"name": names[-1]}, "value": value, **more},
                   want=want)

    yield make
    for name in names:
        api("DELETE", f"{CLASSES}/{name}")


def test_kubectl(kubectl, api):
    name = f"{kubectl.namespace}-fast"
    assert f"priorityclass.scheduling.k8s.io/{name} created" in kubectl(
        "create", "priorityclass", name, "--value=70", "--description=for people who wait")
    rows = [r.split() for r in kubectl("get", "priorityclasses").splitlines()]
    assert rows[0][:4] == ["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE"]
    assert [r[:3] for r in rows if r[0] == name] == [[name, "70", "false"]]
    assert "for people who wait" in kubectl("describe", "pc", name)
    assert api("GET", f"{CLASSES}/{name}", want=200)["preemptionPolicy"] == "PreemptLowerPriority"
    run = ("apiVersion: drover.dev/v1\nkind: Run\nmetadata: {name: rr}\n"
           "spec: {type: task, commands: ['true'], priorityClassName: NAME}\n")
    text = kubectl.fails("create", "-f", "-", text=run.replace("NAME", "nobodys"))
    assert "spec.priorityClassName" in text and 'there is no PriorityClass "nobodys"' in text, text
    assert name in text
    kubectl("create", "-f", "-", text=run.replace("NAME", name))
    kubectl("delete", "priorityclass", name)


def test_values_and_names(api, made):
    r = made("a", 1000000000)
    assert r["globalDefault"] is False
    path = f"{CLASSES}/{r['metadata']['name']}"
    assert made("b", -2147483648)["value"] == -2147483648
    assert causes(made("c", 1000000001, want=422)) == [("FieldValueInvalid", "value")]
    assert causes(made("c", -2147483649, want=422))[0][1] == "value"
    r = api("POST", CLASSES, {"metadata": {"name": "system-mine"}, "value": 1}, want=422)
    assert causes(r) == [("FieldValueForbidden", "metadata.name")]
    assert made("c", 5, want=422, preemptionPolicy="Sometimes")["details"]["causes"]
    # What it says stays; its texts do not.
    r = api("PATCH", path, {"value": 7}, want=422, type=MERGE)
    assert causes(r) == [("FieldValueForbidden", "value")]
    r = api("PATCH", path, {"preemptionPolicy": "Never"}, want=422, type=MERGE)
    assert causes(r) == [("FieldValueForbidden", "preemptionPolicy")]
    assert api("PATCH", path, {"description": "x"}, want=200, type=MERGE)["value"] == 1000000000


def test_one_default(api, made):
    first = made("a", 1, globalDefault=True)
    r = made("b", 2, want=403, globalDefault=True)
    assert f"PriorityClass {first['metadata']['name']} is already marked as default" in r["message"]
    second = f"{CLASSES}/{made('c', 2)['metadata']['name']}"
    api("PATCH", second, {"globalDefault": True}, want=403, type=MERGE)
    api("PATCH", f"{CLASSES}/{first['metadata']['name']}", {"globalDefault": False}, want=200,
        type=MERGE)
    api("PATCH", second, {"globalDefault": True}, want=200, type=MERGE)
    api("PATCH", second, {"globalDefault": True, "description": "still"}, want=200, type=MERGE)


def test_runs_agree_with_their_class(api, made):
    name = made("a", 40, preemptionPolicy="Never")["metadata"]["name"]
    for spec, field in (({"priority": 0}, "spec.priority"),
                        ({"priority": 50}, "spec.priority"),
                        ({"preemptionPolicy": "PreemptLowerPriority"}, "spec.preemptionPolicy")):
        r = api.run("rr", want=422, spec={"priorityClassName": name, **spec})
        assert causes(r) == [("FieldValueInvalid", field)], r
    r = api.run("rr", want=422, spec={"priorityClassName": "system-node-critical"})
    assert causes(r) == [("FieldValueInvalid", "spec.priorityClassName")]
    r = api("PATCH", api.runs + "/rr", want=422, type=APPLY, fieldManager="m", body={
        "apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": "rr"},
        "spec": {"type": "task", "commands": ["true"], "priorityClassName": "nobodys"}})
    assert causes(r) == [("FieldValueInvalid", "spec.priorityClassName")]
    r = api.run("rr", spec={"priorityClassName": name, "priority": 40})
    assert "priority" not in api.run("bare")["spec"]
    # Once it was accepted (the run controller writes this), the priority is that of the class.
    api("PATCH", api.runs + "/rr/status", want=200, type=MERGE, body={"status": {
        "phase": "Submitted", "priorityClass": {"name": name, "value": 40}}})
    r = api("PATCH", api.runs + "/rr", {"spec": {"priority": 41}}, want=422, type=MERGE)
    assert causes(r) == [("FieldValueForbidden", "spec.priority")]
    r = api("PATCH", api.runs + "/rr", {"spec": {"priorityClassName": None}}, want=422, type=MERGE)
    assert causes(r) == [("FieldValueForbidden", "spec.priorityClassName")]
    api("PATCH", api.runs + "/rr", {"spec": {"priority": None}}, want=200, type=MERGE)


def test_everybody_reads(api, made):
    name = made("a", 1)["metadata"]["name"]
    ann = {"Impersonate-User": "ann"}
    assert api("GET", f"{CLASSES}/{name}", want=200, headers=ann)["value"] == 1
    api("DELETE", f"{CLASSES}/{name}", want=403, headers=ann)
