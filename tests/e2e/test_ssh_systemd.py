# SPDX-License-Identifier: Apache-2.0
"""An SSH fleet whose host is a fresh Debian with a real systemd and none of our libraries."""
import os
import subprocess

import pytest
from conftest import run_object, wait_until
from machines import SystemdMachine
from test_ssh_fleets import LONG, fleet, gone, instance_of, ready, secret, world  # noqa: F401

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
pytestmark = pytest.mark.skipif(not LONG or os.geteuid() != 0,
                                reason="makes a Debian and boots it; DROVER_LONG=1")
UNIT = "/etc/systemd/system/drover-runner.service"


def main_pid(m):
    return m.ssh("systemctl show -P MainPID drover-runner").stdout.strip()


def job_pid(m):
    return m.ssh("pgrep -fx 'sleep 4321'", check=False).stdout.split()


def test_a_host_with_a_real_systemd(world):  # noqa: F811
    s = world
    tree = subprocess.run([f"{ROOT}/hack/fetch-debian"], check=True, capture_output=True,
                          text=True).stdout.strip()
    m = SystemdMachine(s.net, 30, tree, s.key).boot()
    s.apply(secret("key6", s.key), fleet("deb", [m.address], "key6"))
    name = instance_of("deb", m)
    ready(s, name)
    assert s.get("instance", name)["status"]["host"]["supervisor"] == "systemd"
    assert m.ssh("systemctl is-enabled drover-runner").stdout == "enabled\n"
    assert m.ssh(f"systemd-analyze verify {UNIT}").stderr == ""
    shown = m.ssh("systemctl show -p KillMode,Delegate,Restart drover-runner").stdout
    assert set(shown.split()) == {"KillMode=process", "Delegate=yes", "Restart=always"}
    # A job outlives a restart of the agent and its sudden death.
    s.apply(run_object("stays", ["exec sleep 4321"], fleets=["deb"]))
    s.wait("run/stays", "phase=Running")
    job, agent = job_pid(m), main_pid(m)
    assert len(job) == 1
    m.ssh("systemctl restart drover-runner")
    second = main_pid(m)
    assert second not in (agent, "0") and job_pid(m) == job
    m.ssh(f"kill -9 {second}")
    wait_until(lambda: main_pid(m) not in (second, "0"), 60, "the agent's return")
    assert job_pid(m) == job
    s.apply(run_object("after", ["echo here"], fleets=["deb"]))
    s.wait("run/after", "phase=Done")
    assert s.drover("logs", "after").stdout == "here\n"
    assert s.get("run", "stays")["status"]["phase"] == "Running"
    # A reboot ends it; the agent comes back by itself.
    m.power_off()
    m.boot()
    s.wait("run/stays", "phase=Failed", timeout="120s")
    assert s.get("run", "stays")["status"]["reason"] == "Rebooted"
    assert m.ssh("systemctl is-active drover-runner").stdout == "active\n"
    s.apply(run_object("again", ["echo there"], fleets=["deb"]))
    s.wait("run/again", "phase=Done", timeout="120s")
    # Nothing is left.
    s.drover("delete", "fleet/deb")
    wait_until(lambda: gone(s, "fleet/deb"), 60, "the fleet's end")
    left = m.ssh(f"ls -d {UNIT} /var/lib/drover; pgrep -a drover; "
                 "systemctl list-unit-files --no-legend 'drover*'", check=False).stdout
    assert left == ""
