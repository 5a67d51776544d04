# SPDX-License-Identifier: Apache-2.0
"""helm 4 with a chart of our own kinds: its whole life cycle."""
import json
import os
import pathlib
import subprocess

import pytest

CHART = pathlib.Path(__file__).resolve().parent / "chart"


@pytest.fixture
def helm(clients, server, api, tmp_path):
    if "helm" not in clients:
        pytest.skip("helm could not be fetched")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path),
           "KUBECONFIG": str(server.kubeconfig)}

    def run(*args, fails=False):
        r = subprocess.run([clients["helm"], "-n", api.namespace, *args], env=env, text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=100)
        assert (r.returncode != 0) == fails, f"helm {' '.join(args)}: {r.stdout}"
        return r.stdout

    return run


def revisions(helm):
    return [(r["revision"], r["status"]) for r in json.loads(
        helm("history", "rel", "-o", "json"))]


def test_life_of_a_release(helm, api):
    text = helm("install", "rel", str(CHART), "--dry-run=server")
    assert "echo hello" in text and 'served: "true"' in text
    assert api("GET", api.runs, want=200)["items"] == []

    assert "STATUS: deployed" in helm("install", "rel", str(CHART), "--wait", "--timeout", "30s")
    run = api("GET", api.runs + "/rel-run", want=200)
    assert run["spec"]["commands"] == ["echo hello"] and run["spec"]["priority"] == 1
    assert [m["operation"] for m in run["metadata"]["managedFields"]
            if m["manager"] == "helm"] == ["Apply"]
    assert "cannot reuse a name" in helm("install", "rel", str(CHART), fails=True)
    assert "rel-run" in helm("get", "manifest", "rel")
    status = helm("status", "rel")
    assert "STATUS: deployed" in status and "REVISION: 1" in status

    helm("upgrade", "rel", str(CHART), "--set", "word=bye,priority=7,notes=false", "--wait",
         "--timeout", "30s")
    run = api("GET", api.runs + "/rel-run", want=200)
    assert run["spec"]["commands"] == ["echo bye"] and run["spec"]["priority"] == 7
    api("GET", api.configmaps + "/rel-notes", want=404)
    assert revisions(helm) == [(1, "superseded"), (2, "deployed")]

    # What the server refuses is told, and the release says so.
    text = helm("upgrade", "rel", str(CHART), "--set", "priority=100000", fails=True)
    assert "spec.priority" in text
    assert revisions(helm)[-1] == (3, "failed")

    assert "Rollback was a success" in helm("rollback", "rel", "1", "--wait", "--timeout", "30s")
    run = api("GET", api.runs + "/rel-run", want=200)
    assert run["spec"]["commands"] == ["echo hello"] and run["spec"]["priority"] == 1
    api("GET", api.configmaps + "/rel-notes", want=200)
    assert "rel" in helm("list") and "deployed" in helm("list")

    assert "uninstalled" in helm("uninstall", "rel", "--wait", "--timeout", "30s")
    for path in (api.runs + "/rel-run", api.secrets + "/rel-keys", api.configmaps + "/rel-settings"):
        api("GET", path, want=404)
    assert not [n for n in api("GET", api.secrets, want=200).names if n.startswith("sh.helm")]


def test_other_owners(helm, api):
    """helm neither takes what it did not make, nor overwrites another's field unasked."""
    api.configmap("rel-settings", {"word": "mine"})
    assert "invalid ownership metadata" in helm("install", "rel", str(CHART), fails=True)
    api("DELETE", api.configmaps + "/rel-settings", want=200)
    helm("install", "rel2", str(CHART))
    api("PATCH", api.runs + "/rel2-run", {
        "apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": "rel2-run"},
        "spec": {"priority": 50}}, want=200, type="application/apply-patch+yaml",
        fieldManager="me", force="true")
    text = helm("upgrade", "rel2", str(CHART), "--set", "priority=60", fails=True)
    assert 'conflict with "me"' in text
    helm("upgrade", "rel2", str(CHART), "--set", "priority=60", "--force-conflicts")
    assert api("GET", api.runs + "/rel2-run", want=200)["spec"]["priority"] == 60


def test_unknown_fields_are_refused(helm, tmp_path):
    (tmp_path / "c/templates").mkdir(parents=True)
    (tmp_path / "c/Chart.yaml").write_text("apiVersion: v2\nname: c\nversion: 0.1.0\n")
    (tmp_path / "c/templates/run.yaml").write_text(
        "apiVersion: drover.dev/v1\nkind: Run\nmetadata: {name: bad}\n"
        "spec: {type: task, commands: [a], bogus: 1}\n")
    assert "bogus" in helm("install", "c", str(tmp_path / "c"), fails=True)
