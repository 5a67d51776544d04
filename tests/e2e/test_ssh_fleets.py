# SPDX-License-Identifier: Apache-2.0
"""SSH fleets on real sshds: installed, used, changed in place, removed, and what goes wrong."""
import base64
import json
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from conftest import Server, free_ports, run_object, wait_until  # noqa: E402
from machines import GATE, Network, make_key  # noqa: E402

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
    return next((c for c in o["status"].get("conditions", []) if c["type"] == kind), {})


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
        return wait_until(there, timeout, f"{kind} {reason} of {name}")["message"]
    except AssertionError as e:
        raise AssertionError(f"{e}: {json.dumps(seen.get('status'))}") from None


def gone(s, what):
    return s.drover("get", what, check=False).returncode == 3


def test_a_fleet_from_first_login_to_last(world):
    s = world
    one, two = (s.net.machine(i, key=s.key).boot() for i in (1, 2))
    a, b = instance_of("lab", one), instance_of("lab", two)
    s.apply(secret("key", s.key), fleet("lab", [one.address, {"hostname": two.address}]))
    for name in (a, b):
        s.wait(f"instance/{name}", "phase=Ready")
    s.wait("fleet/lab", "condition=Ready")
    i = s.get("instance", a)
    assert i["status"]["host"]["hostKeys"][0].split()[:2] == \
        (one.dir / "host_key.pub").read_text().split()[:2]
    assert i["status"]["host"]["supervisor"] == "loop"
    assert i["status"]["internalIP"] == one.address
    assert condition(i, "Installed")["status"] == condition(i, "Connected")["status"] == "True"
    # Steps are told; no key is left behind.
    told = s.drover("describe", f"instance/{a}").stdout
    assert "Copying" in told and "Starting" in told
    assert not list((s.dir / "run/ssh").iterdir())
    assert s.key.read_bytes().split(b"\n")[1] not in s.log.read_bytes()
    # A job runs there.
    s.apply(run_object("hello", ["hostname"], fleets=["lab"]))
    s.wait("run/hello", "phase=Done")
    assert s.drover("logs", "hello").stdout in ("m1\n", "m2\n")
    # A host leaves: its agent goes, the other one stays.
    s.apply(fleet("lab", [two.address]))
    wait_until(lambda: gone(s, f"instance/{a}"), 60, "the removal")
    assert not one.file("drover").exists()
    assert not [c for _, c in one.processes() if "drover" in c]
    assert s.get("instance", b)["status"]["phase"] == "Ready"
    # The whole fleet.
    s.drover("delete", "fleet/lab")
    wait_until(lambda: gone(s, "fleet/lab"), 60, "the fleet's end")
    assert gone(s, f"instance/{b}") and not two.file("drover").exists()
