# SPDX-License-Identifier: Apache-2.0
"""Who gives way to whom, with real jobs that take their time to stop."""
import json
import os
import signal

import pytest

from conftest import Server, run_object, wait_until

SLOW = ["trap 'sleep 3; exit 0' TERM; while :; do sleep 0.1; done"]


@pytest.fixture
def site(workdir):
    s = Server(workdir / "state")
    s.start()
    yield s
    s.stop()


def preempted(site):
    return {j["metadata"]["name"] for j in site.get("jobs")
            if j["spec"].get("stopReason") == "Preempted"}


@pytest.mark.skipif(os.environ.get("DROVER_LONG") != "1", reason="DROVER_LONG=1")
def test_as_many_go_as_are_urgent(site):
    """Three urgent runs where a quota is used up by four others, and controllers that are
    killed while the first ones go: three give way."""
    site.apply({"apiVersion": "drover.dev/v1", "kind": "Quota", "metadata": {"name": "q"},
                "spec": {"limits": [{"resource": "jobs", "hard": 4}]}})
    small = {"cpu": "0..", "memory": "16MB.."}
    site.apply(*[run_object(f"slow{i}", SLOW, preemptible=True, resources=small,
                            stopDuration="30s") for i in range(4)])
    for i in range(4):
        site.wait(f"run/slow{i}", "phase=Running")
    urgent = [run_object(f"urgent{i}", ["sleep 1000"], priority=50, resources=small,
                         preemptionPolicy="PreemptLowerPriority", stopDuration="0s")
              for i in range(3)]
    site.apply(*urgent)
    wait_until(lambda: preempted(site), 30, "somebody is told")
    os.kill(site.part_pid("controllers"), signal.SIGKILL)
    for i in range(3):
        site.wait(f"run/urgent{i}", "phase=Running", timeout="60s")
    assert len(preempted(site)) == 3, json.dumps(sorted(preempted(site)))
