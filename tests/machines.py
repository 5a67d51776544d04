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
# A second network on the same bridge.
NET2 = f"100.{64 + os.getpid() % 60}.{os.getpid() // 60 % 250}"

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
        for net in NET, NET2:
            ip("addr", "add", f"{net}.1/24", "dev", TAG)
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
    def __init__(self, network, n, key=None, disk="", systemd=False, hide=(), net=NET):
        self.n, self.address, self.key = n, f"{net}.{10 + n}", key
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
        ip("-n", self.name, "route", "add", "default", "via", f"{net}.1")

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

    def ssh(self, command, check=True):
        """Executes it there."""
        return subprocess.run(
            ["ssh", "-F", "/dev/null", "-i", self.key, "-o", "StrictHostKeyChecking=no", "-o",
             "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
             f"root@{self.address}", command], check=check, capture_output=True, text=True)

    def close(self):
        self.power_off()
        subprocess.run(["umount", self.dir / "lib"], stderr=subprocess.DEVNULL, check=False)
        ip("netns", "del", self.name, check=False)


# The disk is a tree made by hack/fetch-debian below a layer of the machine's own; its init is
# the real systemd, with each cgroup hierarchy of this machine from a group of its own downwards.
SYSTEMD_GROUPS = r"""
set -e
while IFS=: read -r id names path; do
    dir=${names#name=}
    d=/sys/fs/cgroup/${dir:-unified}
    [ -n "$names" ] || [ -d "$d" ] || d=/sys/fs/cgroup
    d=$d$path/$GROUP
    mkdir -p "$d"
    if [ -e "$d/cpuset.cpus" ] && [ -z "$(cat "$d/cpuset.cpus")" ]; then
        cat "$d/../cpuset.cpus" >"$d/cpuset.cpus"
        cat "$d/../cpuset.mems" >"$d/cpuset.mems"
    fi
    echo $$ >"$d/cgroup.procs"
    echo "$d" >>"$DIR/groups"
done </proc/self/cgroup
exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child sh -c "$BOOT"
"""

SYSTEMD_BOOT = r"""
set -e
mount --make-rprivate /
r=$DIR/root
mount -t overlay overlay -o "lowerdir=$TREE,upperdir=$DIR/upper,workdir=$DIR/work" "$r"
mount -t proc proc "$r/proc"
mount --bind "$DIR/boot_id" "$r/proc/sys/kernel/random/boot_id"
mount -t sysfs -o ro sysfs "$r/sys"
if grep -q '^0::' /proc/self/cgroup && [ "$(wc -l </proc/self/cgroup)" = 1 ]; then
    mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"
else
    mount -t tmpfs tmpfs "$r/sys/fs/cgroup"
    while IFS=: read -r id names path; do
        dir=${names#name=}
        mkdir "$r/sys/fs/cgroup/${dir:-unified}"
        if [ -z "$names" ]; then mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup/unified"
        else mount -t cgroup -o "$names" cgroup "$r/sys/fs/cgroup/$dir"; fi
    done </proc/self/cgroup
fi
mount -t tmpfs tmpfs "$r/dev"
for n in null zero full random urandom tty; do
    touch "$r/dev/$n"
    mount --bind "/dev/$n" "$r/dev/$n"
done
mkdir "$r/dev/pts" "$r/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$r/dev/pts"
ln -s pts/ptmx "$r/dev/ptmx"
ln -s /proc/self/fd "$r/dev/fd"
mount -t tmpfs -o mode=0755 tmpfs "$r/run"
mount --bind "$DIR/lib" "$r/var/lib"
hostname "$NAME"
cd "$r"
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
exec env -i container=docker PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    chroot . /lib/systemd/systemd --log-target=null
"""


class SystemdMachine(Machine):
    """With a real systemd."""

    def __init__(self, network, n, tree, key):
        super().__init__(network, n, key=key)
        self.tree = tree
        for d in ("root", "work", "upper/etc", "upper/root/.ssh"):
            (self.dir / d).mkdir(parents=True)
        (self.dir / "upper/etc/machine-id").write_text((self.dir / "machine-id").read_text())
        (self.dir / "upper/root/.ssh").chmod(0o700)
        (self.dir / "upper/root/.ssh/authorized_keys").write_text(
            (self.dir / "authorized_keys").read_text())
        network.machines.append(self)

    def boot(self):
        (self.dir / "boot_id").write_text(str(uuid.uuid4()) + "\n")
        env = dict(os.environ, DIR=str(self.dir), NAME=f"m{self.n}", TREE=str(self.tree),
                   GROUP=self.name, BOOT=SYSTEMD_BOOT)
        with open(self.dir / "console", "ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.name}", "sh", "-c", SYSTEMD_GROUPS],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        end = time.monotonic() + 90
        while time.monotonic() < end:
            if self.ssh("systemctl is-active ssh", check=False).returncode == 0:
                return self
            assert self.process.poll() is None, (self.dir / "console").read_text()
            time.sleep(0.2)
        raise AssertionError("the machine did not boot: " + (self.dir / "console").read_text())

    def power_off(self):
        super().power_off()
        groups = self.dir / "groups"
        end = time.monotonic() + 60
        for group in set(groups.read_text().split()) if groups.exists() else ():
            for d, _, _ in os.walk(group, topdown=False):
                while os.path.isdir(d):
                    try:
                        os.rmdir(d)
                    except OSError:  # until all there are dead
                        assert time.monotonic() < end, d
                        time.sleep(0.05)
        groups.unlink(missing_ok=True)
