# SPDX-License-Identifier: Apache-2.0
"""A job cannot read the data directory, connect to our sockets, trace the agent, or read
another job's files: the kernel refuses."""
import subprocess

import pytest
from conftest import BIN, run_object


def attempt(server, name, script, **spec):
    """Runs the script; the job prints REACHED when it got somewhere it must not."""
    server.apply(run_object(name, [script], shell="bash", resources={"cpu": "0.."}, **spec))
    server.drover("wait", f"run/{name}", "--for=condition=Finished", "--timeout", "60s")
    out = server.drover("logs", name).stdout
    assert "REACHED" not in out, out
    assert "tried" in out, out
    return out


def test_data_directory(shared_server):
    d = shared_server.dir
    attempt(shared_server, "readdata",
            f"ls {d}/ >/dev/null 2>&1 && [ -n \"$(ls {d})\" ] && echo REACHED; "
            f"cat {d}/admin.token {d}/keys/* 2>/dev/null && echo REACHED; "
            f"cat {d}/log/* 2>/dev/null | head -c 10 | grep -q . && echo REACHED; echo tried")


def test_sockets(shared_server):
    d = shared_server.dir
    attempt(shared_server, "sockets",
            f"for s in {d}/run/api.sock {d}/run/streams.sock /var/run/docker.sock "
            "/run/docker.sock; do "
            "[ -S $s ] && echo REACHED $s; done; echo tried")


def test_trace_the_agent(shared_server):
    pid = shared_server.part_pid("runner")
    attempt(shared_server, "trace",
            f"cat /proc/{pid}/environ >/dev/null 2>&1 && grep -q drover /proc/{pid}/cmdline "
            "&& echo REACHED; "
            f"kill -0 {pid} 2>/dev/null && grep -q drover-runner /proc/{pid}/cmdline && "
            "echo REACHED; for p in /proc/[0-9]*; do grep -aq drover-apiserver $p/cmdline "
            "2>/dev/null && [ $p != /proc/$$ ] && [ $p != /proc/1 ] && grep -aq -- --data-dir "
            "$p/cmdline && echo REACHED $p; done; echo tried")


def test_other_jobs_files(shared_server):
    s = shared_server
    s.apply(run_object("holder", ["echo secret > $PWD/mine 2>/dev/null || echo secret > /tmp/mine",
                                  "sleep 60"], resources={"cpu": "0.."}, stopDuration="0s"))
    s.wait("run/holder", "phase=Running")
    try:
        attempt(s, "thief",
                "find / -xdev -name mine 2>/dev/null | head -5 | while read f; do "
                "cat $f 2>/dev/null | grep -q secret && echo REACHED $f; done; "
                f"ls {s.dir}/agent/jobs >/dev/null 2>&1 && [ -n \"$(ls {s.dir}/agent/jobs)\" ] "
                "&& echo REACHED; echo tried")
    finally:
        s.drover("stop", "holder", "--wait")


@pytest.mark.parametrize("name,script", [
    ("mount", "mkdir -p /tmp/m; mount -t tmpfs x /tmp/m 2>/dev/null && echo REACHED"),
    ("sysctl", "(echo 1 > /proc/sys/kernel/panic) 2>/dev/null && echo REACHED"),
    ("mknod", "mknod /tmp/sda b 8 0 2>/dev/null && dd if=/tmp/sda count=1 of=/dev/null "
              "2>/dev/null && echo REACHED"),
    ("writeetc", "(echo x > /etc/drover-was-here) 2>/dev/null && echo REACHED"),
    ("newns", "unshare -m true 2>/dev/null && echo REACHED"),
])
def test_machine(shared_server, name, script):
    attempt(shared_server, "try-" + name, script + "; echo tried")


def test_probes_of_several_agents_at_once():
    """Agents in containers may share the cgroups, and then have equal process ids."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode != 0:
        pytest.skip("no right to make namespaces")
    for _ in range(5):
        probes = [subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc",
                                    "--kill-child", BIN / "drover-runner", "--supervise",
                                    "--probe"], stdout=subprocess.PIPE, text=True)
                  for _ in range(4)]
        assert [(p.communicate(timeout=60)[0], p.returncode) for p in probes] == [("", 0)] * 4
