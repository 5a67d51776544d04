# SPDX-License-Identifier: Apache-2.0
"""SSH fleets on real sshds: installed, used, changed in place, removed, and what goes wrong."""
import base64
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from conftest import BIN, Server, free_ports, run_object, wait_until  # noqa: E402
from machines import GATE, NET, NET2, Network, ip, make_key  # noqa: E402

LONG = os.environ.get("DROVER_LONG") == "1"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")


@pytest.fixture(scope="module")
def world():
    from conftest import private_dir
    import shutil
    d = private_dir()
    net = Network(d)
    if not net.available():
        pytest.skip("no right to make network namespaces")
    api, streams = free_ports(2)
    s = Server(d / "state", args=["--listen", f"{GATE}:{api}", "--streams-listen",
                                  f"{GATE}:{streams}", "--no-runner"])
    try:
        s.start()
        s.net, s.key = net, make_key(d / "key")
        yield s
    finally:
        s.stop()
        net.close()
        shutil.rmtree(d, ignore_errors=True)


def secret(name, key):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "data": {"identity": base64.b64encode(pathlib.Path(key).read_bytes()).decode()}}


def fleet(name, hosts, secret_name="key", **ssh):
    return {"apiVersion": "drover.dev/v1", "kind": "Fleet", "metadata": {"name": name},
            "spec": {"ssh": {"user": "root", "identity": {"secretName": secret_name},
                             "hosts": hosts, **ssh}}}


def instance_of(fleet_name, machine):
    return f"{fleet_name}-" + machine.address.replace(".", "-")


def condition(o, kind):
    return next((c for c in o.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def wait_reason(s, name, kind, reason, timeout=60):
    """Until the condition of the instance has the reason; returns its message."""
    seen = {}

    def there():
        r = s.drover("get", f"instance/{name}", "-o", "json", check=False)
        if r.returncode != 0:
            return None
        seen.update(json.loads(r.stdout))
        c = condition(seen, kind) if "status" in seen else {}
        return c if c.get("reason") == reason else None
    try:
        return wait_until(there, timeout, f"{kind} {reason} of {name}").get("message", "")
    except AssertionError as e:
        raise AssertionError(f"{e}: {json.dumps(seen.get('status'))}") from None


def ready(s, name, timeout=60):
    """The instance may not even be there yet."""
    wait_reason(s, name, "Ready", "AgentReports", timeout)


def gone(s, what):
    return s.drover("get", what, check=False).returncode == 3


def libraries():
    """Files of libraries that the agent is linked with and sshd is not, but for glibc's."""
    def linked(program):
        out = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        return {os.path.realpath(f) for f in re.findall(r"=> (/\S+)", out)}
    return {f for f in linked(BIN / "drover-runner") - linked("/usr/sbin/sshd")
            if not re.match(r"lib(c|m|resolv|dl|rt|pthread)\.so", os.path.basename(f))}


def test_a_fleet_from_first_login_to_last(world):
    s = world
    one, two = (s.net.machine(i, key=s.key, systemd=i == 2, hide=libraries() if i == 2 else ())
                .boot() for i in (1, 2))
    a, b = instance_of("lab", one), instance_of("lab", two)
    # dstack's own file; the key is uploaded by apply.
    (s.net.dir / "lab.dstack.yml").write_text(f"""
type: fleet
name: lab
placement: cluster
blocks: auto
env: [FROM_FLEET=yes]
ssh_config:
  user: root
  identity_file: {s.key}
  network: {GATE}/24
  hosts: [{one.address}, {{hostname: {two.address}}}]
""")
    s.drover("apply", "-f", s.net.dir / "lab.dstack.yml")
    for name in (a, b):
        ready(s, name)
    s.wait("fleet/lab", "condition=Ready")
    for step in ("Connected", "Installed"):  # the agent may be quicker than the report of the login
        s.wait(f"instance/{a}", f"condition={step}")
    i = s.get("instance", a)
    assert i["status"]["host"]["hostKeys"][0].split()[:2] == \
        (one.dir / "host_key.pub").read_text().split()[:2]
    assert i["status"]["host"]["supervisor"] == "loop"
    assert i["status"]["internalIP"] == one.address
    s.wait("fleet/lab", "condition=Networked")
    assert s.get("fleet", "lab")["status"]["network"] == f"{GATE}/24"
    assert s.get("instance", b)["status"]["host"]["supervisor"] == "systemd"
    unit = (two.dir / "etc-systemd/drover-runner.service").read_text()
    assert "KillMode=process\n" in unit and "Restart=always\n" in unit
    assert {"daemon-reload", "enable drover-runner", "restart drover-runner"} <= \
        set((two.dir / "systemctl.log").read_text().splitlines())
    # It has libraries of its own, for the machine has none.
    brought = {f.name for f in two.file("drover/program/lib").iterdir()}
    assert {"libcurl-gnutls.so.4", "libjansson.so.4"} <= brought and "libc.so.6" not in brought
    # Steps are told; no key is left behind.
    told = s.drover("describe", f"instance/{a}").stdout
    assert "Copying" in told and "Starting" in told
    assert not list((s.dir / "run/ssh").glob("host-*"))
    assert s.key.read_bytes().split(b"\n")[1] not in s.log.read_bytes()
    # A job runs there.
    s.apply(run_object("hello", ["hostname", "echo $FROM_FLEET"], fleets=["lab"]))
    s.wait("run/hello", "phase=Done")
    assert s.drover("logs", "hello").stdout in ("m1\nyes\n", "m2\nyes\n")
    # Drained: its job is stopped, and that is an interruption.
    s.apply(run_object("long", ["sleep 600"], fleets=["lab"]))
    s.wait("run/long", "phase=Running")
    on = s.get("run", "long")["status"]["instanceName"]
    out = s.drover("instance", "drain", "--stop", "--timeout", "60s", on).stdout
    assert "drained" in out
    s.wait("run/long", "phase=Failed")
    assert s.get("run", "long")["status"]["reason"] == "InstanceDrained"
    assert f"{on}" in s.drover("fleet", "lab").stdout and "Ready,Cordoned" in \
        s.drover("fleet").stdout
    s.drover("instance", "uncordon", on)
    refused = s.drover("instance", "forget", on, check=False)
    assert refused.returncode == 4 and "Ready" in refused.stderr
    # A host leaves: its agent goes, the other one stays.
    secret_name = i["spec"]["ssh"]["identity"]["secretName"]
    s.drover("apply", "-f", "-", input=json.dumps(fleet("lab", [two.address], secret_name,
                                                        network=f"{GATE}/24")))
    wait_until(lambda: gone(s, f"instance/{a}"), 60, "the removal")
    assert not one.file("drover").exists()
    assert not [c for _, c in one.processes() if "drover" in c]
    assert s.get("instance", b)["status"]["phase"] == "Ready"
    # The whole fleet.
    s.drover("delete", "fleet/lab")
    wait_until(lambda: gone(s, "fleet/lab"), 60, "the fleet's end")
    assert gone(s, f"instance/{b}") and not two.file("drover").exists()
    assert not (two.dir / "etc-systemd/drover-runner.service").exists()
    wait_until(lambda: gone(s, f"secret/{secret_name}"), 30, "the key's end")


def test_two_servers_and_one_machine(world):
    """Who comes second is told, and takes it only when told to."""
    s = world
    m = s.net.machine(5, key=s.key)
    (m.file("drover")).mkdir()
    mark = "0000-0000\nserver=1111-1111\nfleet=2222\nwho=the fleet x/y of https://far:6440\n"
    m.file("drover/owner").write_text(mark)
    m.boot()
    s.apply(secret("key5", s.key))
    s.apply(fleet("second", [m.address], "key5"))
    name = instance_of("second", m)
    said = wait_reason(s, name, "Installed", "HostTaken")
    assert "the fleet x/y of https://far:6440" in said and "take-over=1111-1111" in said
    assert m.file("drover/owner").read_text() == mark
    # What is somebody else's is not removed either.
    s.drover("delete", "fleet/second")
    wait_until(lambda: gone(s, "fleet/second"), 60, "the fleet's end")
    assert m.file("drover/owner").read_text() == mark
    taking = fleet("second", [m.address], "key5")
    taking["metadata"]["annotations"] = {"drover.dev/take-over": "1111-1111"}
    s.apply(taking)
    ready(s, name)
    ours = m.file("drover/owner").read_text().splitlines()
    assert ours[0] == s.get("instance", name)["metadata"]["uid"]
    assert ours[2] == "fleet=" + s.get("fleet", "second")["metadata"]["uid"]
    assert ours[3].startswith("who=the fleet default/second of https://")
    s.drover("delete", "fleet/second")
    wait_until(lambda: gone(s, "fleet/second"), 60, "the fleet's end")
    assert not m.file("drover").exists()


@pytest.mark.skipif(not LONG, reason="waits for back-offs and a lease; DROVER_LONG=1")
def test_two_servers_race_for_one_machine(world, workdir):
    """One has it, the other one says who, and takes it when told to."""
    s = world
    api, streams = free_ports(2)
    r = Server(workdir / "rival", args=["--listen", f"{GATE}:{api}", "--streams-listen",
                                        f"{GATE}:{streams}", "--no-runner"])
    try:
        r.start()
        race(s, r, s.net.machine(6, key=s.key).boot())
    finally:
        r.stop()


def race(s, r, m):
    name = instance_of("race", m)
    for server in (s, r):
        server.apply(secret("key6", s.key))
    for server in (s, r):
        server.apply(fleet("race", [m.address], "key6"))

    def has(server):
        out = server.drover("get", f"instance/{name}", "-o", "json", check=False).stdout
        return out and json.loads(out).get("status", {}).get("phase") == "Ready"
    first = wait_until(lambda: next((x for x in (s, r) if has(x)), None), 60,
                       "one of the servers to have the machine")
    second = r if first is s else s
    said = wait_until(lambda: (m := wait_reason(second, name, "Installed", "HostTaken"))
                      and "take-over=" in m and m, 60, "the way to take it over")
    assert "the fleet default/race of https://" in said
    # The other one's jobs go on.
    first.apply(run_object("stays", ["exec sleep 4322"], fleets=["race"]))
    first.wait("run/stays", "phase=Running")
    mark = m.file("drover/owner").read_text().splitlines()
    assert mark[0] == first.get("instance", name)["metadata"]["uid"]
    assert f"take-over={mark[1].removeprefix('server=')}" in said
    # Told to, it ends them.
    taking = fleet("race", [m.address], "key6")
    taking["metadata"]["annotations"] = {
        "drover.dev/take-over": mark[1].removeprefix("server=")}
    second.apply(taking)
    ready(second, name, 120)
    assert not [c for _, c in m.processes() if c.startswith("sleep 4322")]
    assert m.file("drover/owner").read_text().splitlines()[0] == \
        second.get("instance", name)["metadata"]["uid"]
    second.apply(run_object("here", ["echo here"], fleets=["race"]))
    second.wait("run/here", "phase=Done")
    # Who lost it says so when its lease has ended, and takes nothing back.
    assert "take-over=" in wait_reason(first, name, "Installed", "HostTaken", 120)
    first.drover("instance", "forget", "--force", name)
    first.drover("delete", "fleet/race")
    assert second.get("instance", name)["status"]["phase"] == "Ready"
    second.drover("delete", "fleet/race")
    wait_until(lambda: gone(second, "fleet/race"), 60, "the fleet's end")
    assert not m.file("drover").exists()


# What was on a host before the agent brought libraries (ADR 0046): one program without, and
# a mark that names the instance only.
EARLIER = r"""
set -e
D=/var/lib/drover
mkdir $D/bin
cp $D/program/bin/drover-runner $D/bin/
printf earlier >$D/bin/program.id
printf %s "$(sed -n 1p $D/owner)" >$D/mark
mv $D/mark $D/owner
rm $D/agent.owner
unit=/etc/systemd/system/drover-runner.service
if [ -f $unit ]; then
    sed -i s,$D/program/bin,$D/bin, $unit
    systemctl restart drover-runner
else
    sed -i s,$D/program/bin,$D/bin, $D/loop
    pid=$(cat $D/loop.pid)
    kill $pid
    while [ -e $D/loop.pid ]; do sleep 0.05; done
    setsid sh $D/loop </dev/null >/dev/null 2>&1 &
fi
rm -r $D/program $D/programs
"""


@pytest.mark.skipif(not LONG, reason="sets two machines up twice; DROVER_LONG=1")
def test_a_host_of_an_earlier_layout(world):
    """Its agent is replaced; its jobs, and who they belong to, stay."""
    s = world
    machines = [s.net.machine(n, key=s.key, systemd=n == 8).boot() for n in (7, 8)]
    anew = fleet("early", [m.address for m in machines], "key7")
    s.apply(secret("key7", s.key), anew)

    def on(m):
        return [{"name": instance_of("early", m)}]

    def running(m, program):
        return [pid for pid, c in m.processes() if c.startswith(program)]

    def agent(m, program):
        wait_until(lambda: running(m, f"/var/lib/drover/{program}"), 60, program)
    before, jobs = {}, {}
    for m in machines:
        ready(s, instance_of("early", m))
        s.apply(run_object(f"stays{m.n}", [f"exec sleep 432{m.n}"], instances=on(m)))
    for m in machines:
        s.wait(f"run/stays{m.n}", "phase=Running")
        jobs[m] = wait_until(lambda m=m: running(m, f"sleep 432{m.n}"), 60, "its program")
        before[m] = s.get("instance", instance_of("early", m))
        m.ssh(EARLIER)
        agent(m, "bin/drover-runner")
    # The agent's program has moved, so what is wanted there is not what is there.
    anew["spec"]["env"] = {"NEW": "yes"}
    s.apply(anew)
    for m in machines:
        agent(m, "program/bin/drover-runner")
        wait_until(lambda m=m: not m.file("drover/bin").exists(), 60, "the old one's end")
        assert not running(m, "/var/lib/drover/bin")
        assert len(jobs[m]) == 1 and running(m, f"sleep 432{m.n}") == jobs[m]
        uid = before[m]["metadata"]["uid"]
        mark = m.file("drover/owner").read_text().splitlines()
        assert mark[0] == uid and mark[1].startswith("server=")
        assert m.file("drover/agent.owner").read_text() == uid
        s.apply(run_object(f"after{m.n}", ["echo $NEW"], instances=on(m)))
    for m in machines:
        s.wait(f"run/after{m.n}", "phase=Done")
        assert s.drover("logs", f"after{m.n}").stdout == "yes\n"
        assert s.get("run", f"stays{m.n}")["status"]["phase"] == "Running"
        s.drover("stop", "--abort", "--wait", f"stays{m.n}")
    s.drover("delete", "fleet/early")
    wait_until(lambda: gone(s, "fleet/early"), 60, "the fleet's end")
    assert not any(m.file("drover").exists() for m in machines)


def test_hosts_without_a_common_network(world):
    """Named, kept from nodes of one job, and used when they have one."""
    s = world
    a, b = s.net.machine(15, key=s.key).boot(), s.net.machine(16, key=s.key, net=NET2).boot()
    cluster = fleet("apart", [a.address, b.address], "key15")
    cluster["spec"]["placement"] = "cluster"
    s.apply(secret("key15", s.key), cluster)
    for m in (a, b):
        ready(s, instance_of("apart", m))
    wait_until(lambda: condition(s.get("fleet", "apart"), "Networked").get("reason") ==
               "NoCommonNetwork", 60, "the fleet to say so")
    said = condition(s.get("fleet", "apart"), "Networked")["message"]
    assert f"{instance_of('apart', a)} ({a.address}/24)" in said
    assert f"{instance_of('apart', b)} ({b.address}/24)" in said
    s.apply(run_object("both", ["echo $DROVER_MASTER_NODE_IP"], nodes=2, fleets=["apart"],
                       resources={"cpu": "0..", "memory": "0MB.."}))
    wait_until(lambda: condition(s.get("run", "both"), "Scheduled").get("reason") ==
               "NoCommonNetwork", 60, "the run to say why it waits")
    # One node needs no network.
    s.apply(run_object("one", ["hostname"], fleets=["apart"]))
    s.wait("run/one", "phase=Done")
    ip("-n", b.name, "addr", "add", f"{NET}.{10 + b.n}/24", "dev", "eth0")
    s.wait("fleet/apart", "condition=Networked")
    assert s.get("fleet", "apart")["status"]["network"] == f"{NET}.0/24"
    s.wait("run/both", "phase=Done")
    s.drover("delete", "fleet/apart")
    wait_until(lambda: gone(s, "fleet/apart"), 60, "the fleet's end")


def test_each_trouble_in_words(world):
    """Each host fails in its own way, and none of them holds up another."""
    s = world
    make_key(s.net.dir / "other")
    good, wrong, full, anew, taken = (
        s.net.machine(i, key=s.key, disk="32m" if i == 12 else "").boot()
        for i in range(10, 15))
    wrong.allow(s.net.dir / "other")
    nobody = good.address.rsplit(".", 1)[0] + ".200"
    s.apply(secret("key2", s.key))
    s.apply(fleet("bad", [nobody, {"hostname": GATE, "port": 1}, wrong.address, full.address, good.address,
                          {"hostname": "no-such-host.invalid"},
                          {"hostname": anew.address, "identity": {"secretName": "none"}},
                          {"hostname": taken.address, "proxyJump": {
                              "hostname": wrong.address}}], "key2"))

    def name(m):
        return instance_of("bad", m)
    said = wait_reason(s, name(wrong), "Connected", "AuthenticationFailed")
    assert "Permission denied" in said
    said = wait_reason(s, "bad-" + GATE.replace(".", "-") + "-p1", "Connected", "Unreachable")
    assert "Connection refused" in said
    assert "full" in wait_reason(s, name(full), "Installed", "DiskFull")
    wait_reason(s, "bad-no-such-host-invalid", "Connected", "UnknownHost")
    assert "none" in wait_reason(s, name(anew), "Connected", "IdentityMissing")
    wait_reason(s, name(taken), "Connected", "ProxyFailed")
    i = s.get("instance", name(wrong))
    assert i["status"]["phase"] == "Provisioning"
    assert i["status"]["reason"] == "AuthenticationFailed"
    assert "AuthenticationFailed" in s.drover("fleet", "bad").stdout
    if not LONG:
        return
    ready(s, name(good))
    said = wait_reason(s, "bad-" + nobody.replace(".", "-"), "Connected", "Unreachable")
    assert "No route to host" in said or "timed out" in said
    # Through a jump host that works, with the right key: all hosts are mended in place.
    s.apply(fleet("bad", [good.address, {"hostname": taken.address, "proxyJump": {
        "hostname": good.address}}], "key2"))
    ready(s, name(taken))
    assert s.get("instance", name(taken))["status"]["host"]["proxyKeys"]
    # Never been on them, so nothing holds them.
    wait_until(lambda: gone(s, f"instance/{name(anew)}"), 30, "the end of an untouched host")
    # Another fleet cannot have the same machine.
    s.apply(fleet("thief", [good.address], "key2"))
    said = wait_reason(s, instance_of("thief", good), "Installed", "HostTaken")
    assert name(good) in said
    s.drover("delete", "fleet/thief")
    wait_until(lambda: gone(s, "fleet/thief"), 30, "the thief's end")
    assert s.get("instance", name(good))["status"]["phase"] == "Ready"
    assert good.file("drover/program/bin/drover-runner").exists()
    # A machine that cannot be reached any more says so, and can be let go of.
    good.cut()
    s.apply(fleet("bad", [{"hostname": taken.address}], "key2"))
    said = wait_reason(s, name(good), "Removed", "Unreachable")
    assert "forget" in said
    s.drover("instance", "forget", "--force", name(good))
    wait_until(lambda: gone(s, f"instance/{name(good)}"), 30, "the forgotten host")
    s.drover("delete", "fleet/bad")
    wait_until(lambda: gone(s, "fleet/bad"), 60, "the fleet's end")
    good.mend()


@pytest.mark.skipif(not LONG, reason="waits for leases to expire; DROVER_LONG=1")
def test_reboot_rekey_and_loss(world):
    s = world
    a, b = (s.net.machine(i, key=s.key).boot() for i in (21, 22))
    s.apply(secret("key3", s.key), fleet("far", [a.address, b.address], "key3"))
    names = [instance_of("far", m) for m in (a, b)]
    for n in names:
        ready(s, n)
        s.wait(f"instance/{n}", "condition=Installed")  # no step is under way any more
    # Rebooted where nothing starts the agent: noticed, told, started again.
    a.power_off()
    a.boot()
    wait_reason(s, names[0], "Ready", "LeaseExpired", 90)
    ready(s, names[0], 120)
    assert "Rebooted" in s.drover("describe", f"instance/{names[0]}").stdout
    # Set up anew, with another host key: refused until it is forgotten.
    b.power_off()
    for f in ("host_key", "host_key.pub"):
        (b.dir / f).unlink()
    make_key(b.dir / "host_key")
    b.boot()
    said = wait_reason(s, names[1], "Connected", "HostKeyChanged", 120)
    assert "forget" in said
    s.drover("instance", "forget", names[1])
    ready(s, names[1], 60)
    # Lost with an interruptible job: replaced once, and only after the time of the rule.
    s.apply({"apiVersion": "drover.dev/v1", "kind": "Fleet", "metadata": {"name": "far"},
             "spec": {"lostAfter": "5s", "ssh": fleet("far", [a.address, b.address], "key3")
                      ["spec"]["ssh"]}})
    s.apply(run_object("once", ["sleep 600"], fleets=["far"], stopDuration="1s",
                       retry={"onEvents": ["interruption"]}))
    s.wait("run/once", "phase=Running")
    on = s.get("run", "once")["status"]["instanceName"]
    lost, other = (a, b) if on == names[0] else (b, a)
    lost.power_off()
    wait_until(lambda: s.get("run", "once")["status"].get("instanceName") ==
               instance_of("far", other), 180, "the replacement")
    s.wait("run/once", "phase=Running", timeout="60s")
    jobs = [j for j in s.get("jobs") if j["spec"]["runName"] == "once"]
    assert sorted(j["status"]["phase"] for j in jobs) == ["Failed", "Running"]
    s.drover("stop", "--abort", "--wait", "once")
    s.drover("instance", "forget", "--force", on)
