# SPDX-License-Identifier: Apache-2.0
"""Plain HTTPS requests against the server under test, with nothing between the test and the wire."""
import base64
import http.client
import json
import re
import ssl
import urllib.parse

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


class Reply:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.type = response.headers.get("Content-Type", "")
        self.body = body
        self.json = json.loads(body) if self.type.startswith("application/json") and body else None
        self.warnings = response.headers.get_all("Warning") or []

    def __getitem__(self, key):
        return self.json[key]

    @property
    def rv(self):
        return self.json["metadata"]["resourceVersion"]

    @property
    def names(self):
        return [i["metadata"]["name"] for i in self.json["items"]]

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"


class Watch:
    """The events of a watch, one by one. Ends with the connection."""

    def __init__(self, connection):
        self.connection = connection
        self.response = connection.getresponse()
        self.status = self.response.status

    def next(self):
        line = self.response.readline()
        return json.loads(line) if line else None

    def types(self, n):
        return [self.next()["type"] for _ in range(n)]

    def close(self):
        self.connection.close()


class Api:
    def __init__(self, kubeconfig, namespace):
        text = kubeconfig.read_text()
        self.token = re.search(r"token: *\"?([^\"\s]+)", text).group(1)
        server = urllib.parse.urlparse(re.search(r"server: *\"?([^\"\s]+)", text).group(1))
        self.host, self.port = server.hostname, server.port
        ca = base64.b64decode(re.search(r"certificate-authority-data: *\"?([^\"\s]+)", text).group(1))
        self.context = ssl.create_default_context(cadata=ca.decode())
        self.namespace = namespace
        self.configmaps = f"/api/v1/namespaces/{namespace}/configmaps"
        self.secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self.events = f"/api/v1/namespaces/{namespace}/events"
        self.leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self.runs = f"/apis/drover.dev/v1/namespaces/{namespace}/runs"

    def connect(self, timeout=30):
        return http.client.HTTPSConnection(self.host, self.port, context=self.context,
                                           timeout=timeout)

    def send(self, connection, method, path, body=None, headers=None):
        data = body if isinstance(body, (bytes, str, type(None))) else json.dumps(body)
        all_headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        if data is not None:
            all_headers["Content-Type"] = "application/json"
        all_headers.update(headers or {})
        connection.request(method, path, body=data,
                           headers={k: v for k, v in all_headers.items() if v is not None})

    def __call__(self, method, path, body=None, want=None, type=None, accept=None, headers=None,
                 **query):
        """One request. Query options are keyword arguments; want is the status to insist on."""
        headers = dict(headers or {})
        if type is not None:
            headers["Content-Type"] = type
        if accept is not None:
            headers["Accept"] = accept
        if query:
            path += "?" + urllib.parse.urlencode(query)
        connection = self.connect()
        try:
            self.send(connection, method, path, body, headers)
            response = connection.getresponse()
            reply = Reply(response, response.read())
        finally:
            connection.close()
        assert want is None or reply.status == want, f"{method} {path}: {reply}"
        return reply

    def watch(self, path, accept=None, timeout=30, **query):
        connection = self.connect(timeout)
        headers = {} if accept is None else {"Accept": accept}
        self.send(connection, "GET", f"{path}?{urllib.parse.urlencode({'watch': 'true', **query})}",
                  headers=headers)
        return Watch(connection)

    # What most tests start from.
    def configmap(self, name, data=None, **meta):
        return self("POST", self.configmaps, want=201, body={
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta},
            "data": data or {}})

    def run(self, name, want=201, spec=None, query=None, **meta):
        return self("POST", self.runs, want=want, body={
            "apiVersion": "drover.dev/v1", "kind": "Run", "metadata": {"name": name, **meta},
            "spec": {"type": "task", "commands": ["true"], **(spec or {})}}, **(query or {}))


def causes(reply):
    return [(c.get("reason"), c.get("field")) for c in reply["details"]["causes"]]
