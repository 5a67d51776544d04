# SPDX-License-Identifier: Apache-2.0
"""The node client; what it does stands in node_client.mjs."""
import os
import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parent / "node_client.mjs"


@pytest.mark.parametrize("part", ["typed", "patches", "customObjects", "pages", "informer"])
def test_node_client(part, clients, server, api):
    if "node" not in clients:
        pytest.skip("the node client could not be fetched")
    r = subprocess.run(["node", SCRIPT, api.namespace, part], text=True, timeout=60,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       env={"PATH": os.environ["PATH"], "NODE_CLIENT": clients["node"],
                            "KUBECONFIG": str(server.kubeconfig)})
    assert r.returncode == 0, r.stdout
