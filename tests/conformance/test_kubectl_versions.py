# SPDX-License-Identifier: Apache-2.0
"""A short list of verbs by the versions of kubectl that the other tests run with DROVER_LONG=1 only,
and by one of them on a server whose store is etcd."""
import json

import pytest
from conftest import LONG, NAMESPACES, Kubectl

SHORT = ["1.27", "1.28", "1.29"] + (["1.31", "1.33"] if LONG else [])


def client(clients, version, server, home):
    if version not in clients:
        pytest.skip(f"kubectl {version} could not be fetched")
    k = Kubectl(clients[version], version, server, home, f"v{next(NAMESPACES)}")
    k("create", "namespace", k.namespace)
    return k


def run(name, command="true"):
    return json.dumps({"apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": name},
                       "spec": {"type": "task", "commands": [command]}})


def short_list(k):
    """Discovery, validation, the patch types of both sorts of kinds, a Table, a wait."""
    assert k("apply", "-f", "-", text=run("aa")) == "run.drover.dev/aa created\n"
    assert k("apply", "-f", "-", text=run("aa", "date")) == "run.drover.dev/aa configured\n"
    wrong = run("bb").replace("commands", "comands")
    assert 'unknown field "spec.comands"' in k.fails("create", "-f", "-", text=wrong)
    k("create", "configmap", "c", "--from-literal=k=v")
    k("label", "configmap/c", "run/aa", "l=1")
    assert k("get", "runs,configmaps", "-l", "l=1", "--no-headers").count("/") == 2
    k("delete", "run/aa", "configmap/c", "--timeout=60s")
    assert "No resources found" in k("get", "runs")


@pytest.mark.parametrize("version", SHORT)
def test_short_list(clients, server, tmp_path, version):
    short_list(client(clients, version, server, tmp_path))


def test_on_etcd(clients, servers, tmp_path):
    k = client(clients, "1.34", servers("etcd"), tmp_path)
    short_list(k)
    assert k("apply", "--server-side", "-f", "-", text=run("ss")).endswith("serverside-applied\n")
    watch = k.start("get", "runs", "-w", "--no-headers")
    assert watch.stdout.readline().startswith("ss ")
    k("patch", "run", "ss", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}')
    assert watch.stdout.readline().startswith("ss ")
    watch.kill()
    watch.communicate()
    for i in range(3):
        k("create", "configmap", f"p{i}")
    assert k("get", "configmaps", "--chunk-size=1", "-o", "name").split() == [
        "configmap/p0", "configmap/p1", "configmap/p2"]
    assert "Commands" in k("explain", "run.spec") or "commands" in k("explain", "run.spec")
    k("delete", "configmaps", "--all")
    k("delete", "namespace", k.namespace, "--timeout=60s")
