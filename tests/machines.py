# SPDX-License-Identifier: Apache-2.0
"""Machines to log in to: each a real sshd in network, mount, pid and host name namespaces of
its own, on one bridge. /var/lib, /run, /root and /tmp are its own; what is below its directory
survives a reboot, as a disk does."""
import os
import pathlib
import subprocess
import time
import uuid

TAG = f"drs{os.getpid() % 100000}"
NET = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
GATE = f"{NET}.1"

# Enough of systemd for one unit: what the agent's unit says is what runs.
SYSTEMCTL = r"""#!/bin/sh
unit=/etc/systemd/system/drover-runner.service
pid=$(cat /run/unit.pid 2>/dev/null)
alive() { [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; }
end() { alive && kill "$pid"; while alive; do sleep 0.05; done; }
echo "$*" >>/run/machine/systemctl.log
case $1 in
is-active) alive ;;
stop) end ;;
restart)
    end
    setsid sh -c "exec $(sed -n s/^ExecStart=//p $unit)" </dev/null >/run/journal 2>&1 &
    echo $! >/run/unit.pid ;;
esac
"""

BOOT = r"""
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind "$DIR/boot_id" /proc/sys/kernel/random/boot_id
[ ! -e /etc/machine-id ] || mount --bind "$DIR/machine-id" /etc/machine-id
[ -z "$DISK" ] || mountpoint -q "$DIR/lib" || mount -t tmpfs -o size="$DISK" disk "$DIR/lib"
mount --bind "$DIR/lib" /var/lib
mkdir -p /etc/systemd/system # where there is no systemd at all
mount --bind "$DIR/etc-systemd" /etc/systemd/system
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/machine
mount --bind "$DIR" /run/machine
for d in /root /tmp; do mount -t tmpfs tmpfs $d; done
for f in $HIDE; do mount --bind /dev/null "$f"; done
cd /
hostname "$NAME"
if [ -n "$SYSTEMD" ]; then mkdir -p /run/systemd/system; fi
exec /usr/sbin/sshd -D -e -f /dev/null -h /run/machine/host_key -o PidFile=none -o UsePAM=no \
    -o AuthorizedKeysFile=/run/machine/authorized_keys -o StrictModes=no -o PermitRootLogin=yes \
    -o UseDNS=no -o Port=22 \
    -o SetEnv=PATH=/run/machine/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
"""


def ip(*args, check=True):
    return subprocess.run(["ip", *args], check=check, capture_output=True, text=True)


def make_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path],
                   check=True)
    return path


class Network:
    """A bridge; the server listens on its address GATE."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.machines = []

    def available(self):
        if ip("link", "add", TAG, "type", "bridge", check=False).returncode != 0:
            return False
        ip("addr", "add", f"{GATE}/24", "dev", TAG)
        ip("link", "set", TAG, "up")
        return True

    def machine(self, n, **more):
        m = Machine(self, n, **more)
        self.machines.append(m)
        return m

    def close(self):
        for m in self.machines:
            m.close()
        ip("link", "del", TAG, check=False)


class Machine:
    def __init__(self, network, n, key=None, disk="", systemd=False, hide=()):
        self.n, self.address = n, f"{NET}.{10 + n}"
        self.name = f"{TAG}n{n}"
        self.dir = network.dir / f"machine{n}"
        self.disk, self.systemd, self.hide = disk, systemd, hide
        self.process = None
        for d in ("lib", "etc-systemd", "bin"):
            (self.dir / d).mkdir(parents=True)
        if systemd:
            (self.dir / "bin/systemctl").write_text(SYSTEMCTL)
            (self.dir / "bin/systemctl").chmod(0o755)
        (self.dir / "machine-id").write_text(uuid.uuid4().hex + "\n")
        if key is not None:
            self.allow(key)
        make_key(self.dir / "host_key")
        ip("netns", "add", self.name)
        ip("link", "add", f"{self.name}h", "type", "veth", "peer", "name", "eth0", "netns",
           self.name)
        ip("link", "set", f"{self.name}h", "master", TAG, "up")
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.name, "link", "set", "eth0", "up")
        ip("-n", self.name, "link", "set", "lo", "up")

    def allow(self, key):
        (self.dir / "authorized_keys").write_text(pathlib.Path(f"{key}.pub").read_text())

    def boot(self):
        (self.dir / "boot_id").write_text(str(uuid.uuid4()) + "\n")
        env = dict(os.environ, DIR=str(self.dir), NAME=f"m{self.n}", DISK=self.disk,
                   HIDE=" ".join(str(f) for f in self.hide),
                   SYSTEMD="yes" if self.systemd else "")
        with open(self.dir / "console", "ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "--pid",
                 "--uts", "--fork", "--kill-child", "sh", "-c", BOOT],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if b"Server listening" in (self.dir / "console").read_bytes():
                return self
            assert self.process.poll() is None, (self.dir / "console").read_text()
            time.sleep(0.01)
        raise AssertionError("the machine did not boot")

    def power_off(self):
        """At once, with all that runs there."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            (self.dir / "console").write_bytes(b"")

    def cut(self):
        ip("link", "set", f"{self.name}h", "down")

    def mend(self):
        ip("link", "set", f"{self.name}h", "up")

    def file(self, path):
        """A file below /var/lib of the machine, seen from here."""
        return self.dir / "lib" / path

    def processes(self):
        """Command lines of what runs in its network."""
        pids = ip("netns", "pids", self.name).stdout.split()
        out = []
        for pid in pids:
            try:
                out.append((int(pid), pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                            .replace(b"\0", b" ").decode()))
            except OSError:
                pass
        return out

    def close(self):
        self.power_off()
        subprocess.run(["umount", self.dir / "lib"], stderr=subprocess.DEVNULL, check=False)
        ip("netns", "del", self.name, check=False)
