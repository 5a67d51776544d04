# SPDX-License-Identifier: Apache-2.0
"""What tests of the mirror share: the API without kubectl, files of objects, git."""
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import urllib.error
import urllib.request

import yaml
from conftest import Server, wait_until

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
RUNS = "/apis/drover.dev/v1/namespaces/default/runs"


class Api:
    def __init__(self, server):
        self.base = f"https://127.0.0.1:{server.port}"
        self.token = (server.dir / "admin.token").read_text().strip()
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def call(self, method, path, body=None, kind="application/json"):
        """(status, reply); 0 when no server answers."""
        request = urllib.request.Request(
            self.base + path, method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind})
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=30) as r:
                return r.status, json.loads(r.read())
        except urllib.error.HTTPError as e:
            return e.code, json.loads(e.read() or b"{}")
        except (OSError, http.client.HTTPException):
            return 0, {}  # nobody there, or killed within the reply

    def get(self, path):
        status, reply = self.call("GET", path)
        return reply if status == 200 else None

    def names(self, path):
        return {i["metadata"]["name"] for i in self.get(path)["items"]}

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")


class Mirror:
    """A server without a runner, its tree and its API."""

    def __init__(self, directory, args=()):
        self.server = Server(pathlib.Path(directory), args=["--no-runner", *args])
        self.root = self.server.dir / "desired"
        self.configmaps = self.root / "default/configmaps"
        self.secrets = self.root / "default/secrets"

    def start(self):
        self.server.start()
        self.api = Api(self.server)
        return self

    def settled(self):
        """Follows, and nothing waits."""
        def check():
            text = self.status()
            return "state: following" in text and ", 0 waiting" in text
        wait_until(check, 60, "the mirror to have nothing left to do")

    def command(self, *args):
        return self.server.drover("mirror", *args, "--data-dir", str(self.server.dir)).stdout

    def status(self):
        return self.command("status")

    def put(self, path, data, **metadata):
        path.parent.mkdir(parents=True, exist_ok=True)
        doc = {"data": data}
        if metadata:
            doc["metadata"] = metadata
        path.write_text(yaml.safe_dump(doc))

    def value(self, name, key="k"):
        o = self.api.get(f"{CONFIGMAPS}/{name}")
        return o and o.get("data", {}).get(key)

    def wait_value(self, name, want, key="k"):
        wait_until(lambda: self.value(name, key) == want, 30, f"{name} to be {want!r}")

    def wait_file(self, path, check=None):
        def there():
            try:
                doc = yaml.safe_load(path.read_text())
            except OSError:
                return None
            return doc if check is None or check(doc) else None
        return wait_until(there, 30, f"{path}")

    def error(self, path):
        file = pathlib.Path(str(path) + ".error")
        wait_until(file.exists, 30, f"{file}")
        return file.read_text()

    def no_error(self, path):
        file = pathlib.Path(str(path) + ".error")
        wait_until(lambda: not file.exists(), 30, f"{file} to go")


def git(root, *args):
    env = dict(os.environ, GIT_AUTHOR_NAME="t", GIT_AUTHOR_EMAIL="t@example.com",
               GIT_COMMITTER_NAME="t", GIT_COMMITTER_EMAIL="t@example.com",
               GIT_CONFIG_GLOBAL="/dev/null")
    r = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True,
                       env=env, timeout=120)
    assert r.returncode == 0, r.stderr
    return r.stdout
