# SPDX-License-Identifier: Apache-2.0
"""What the comparisons share: building a Go oracle, and running cases through both sides."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
DEBIAN = pathlib.Path("/usr/share/gocode")
SKIPPED = 77


def workspace(needs):
    """A temporary directory and the environment for go; skips without Debian's Go library."""
    if shutil.which("go") is None or not (DEBIAN / "src" / needs).is_dir():
        print(f"skipped: go or Debian's {needs} is not installed (hack/install-deps all)")
        sys.exit(SKIPPED)
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="oracle-"))
    # The library imports itself with its major version, which Debian's tree does not have.
    link = tmp / "src/sigs.k8s.io/structured-merge-diff/v4"
    link.parent.mkdir(parents=True)
    link.symlink_to(DEBIAN / "src/sigs.k8s.io/structured-merge-diff")
    env = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{tmp}:{DEBIAN}",
           "HOME": os.environ.get("HOME", str(tmp))}
    return tmp, env


def build(name, needs):
    """The oracle's program, built in a temporary directory."""
    tmp, env = workspace(needs)
    subprocess.run(["go", "build", "-o", tmp / name, "."], cwd=HERE / name, env=env, check=True)
    return tmp, tmp / name


def answers(command, cases):
    text = "".join(json.dumps(c, separators=(",", ":")) + "\n" for c in cases)
    r = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True)
    lines = r.stdout.splitlines()
    assert len(lines) == len(cases), f"{command[0]} answered {len(lines)} of {len(cases)} cases"
    return [json.loads(line) for line in lines]


def seeds(default, long):
    """Which seeds to run: DROVER_SEED=N one, DROVER_LONG=1 many, otherwise the same few."""
    if "DROVER_SEED" in os.environ:
        return [int(os.environ["DROVER_SEED"])]
    if os.environ.get("DROVER_LONG") == "1":
        start = random.SystemRandom().randrange(1 << 30)
        return range(start, start + long)
    return range(1, default + 1)
