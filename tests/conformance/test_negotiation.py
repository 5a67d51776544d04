# SPDX-License-Identifier: Apache-2.0
"""What a request asks for in headers: forms of discovery and of Tables, entity tags, and what is
answered when nothing fits."""
import json

import pytest
from test_machinery import eventually, things  # noqa: F401

AGGREGATED = ("application/json;g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList,"
              "application/json")
TABLE = "application/json;as=Table;g=meta.k8s.io;v={v}"


@pytest.mark.parametrize("path", ["/api", "/apis"])
@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery(api, path, version):
    accept = AGGREGATED.format(v=version)
    r = api("GET", path, want=200, accept=accept)
    assert r.type == (f"application/json;g=apidiscovery.k8s.io;v={version};"
                      "as=APIGroupDiscoveryList")
    assert r["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    assert r.headers["Vary"] == "Accept" and r.headers.get_all("Cache-Control") == ["public"]
    tag = r.headers["ETag"]
    same = api("GET", path, want=304, accept=accept, headers={"If-None-Match": tag})
    assert same.body == b"" and same.headers["ETag"] == tag
    api("GET", path, want=200, accept=accept, headers={"If-None-Match": '"other"'})
    # The old form is another document.
    old = api("GET", path, want=200, accept="application/json", headers={"If-None-Match": tag})
    assert old["kind"] in ("APIVersions", "APIGroupList")


def test_tags_follow_what_is_served(api, things):
    def tag():
        return api("GET", "/apis", want=200, accept=AGGREGATED.format(v="v2")).headers["ETag"]
    before, t = tag(), things()
    eventually(lambda: tag() != before)
    index = api("GET", "/openapi/v3", want=200)["paths"]
    url = index[f"apis/{t.group}/v1"]["serverRelativeURL"]
    r = api("GET", url, want=200)
    assert r.headers.get_all("Cache-Control") == ["public, immutable"]
    assert r.headers["ETag"] == '"' + url.split("hash=")[1] + '"'
    api("GET", url, want=304, headers={"If-None-Match": r.headers["ETag"]})
    # One who asks by a hash of yesterday is sent on, or told what is true today.
    stale = api("GET", url.split("?")[0] + "?hash=0123")
    assert stale.status == 301 and stale.headers["Location"].endswith(url), stale


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_tables_of_both_versions(api, version):
    api.configmap("c")
    r = api("GET", api.configmaps, want=200, accept=TABLE.format(v=version))
    assert r["kind"] == "Table" and r["apiVersion"] == f"meta.k8s.io/{version}"
    assert r["rows"][0]["object"]["apiVersion"] == f"meta.k8s.io/{version}"


@pytest.mark.parametrize("accept, kind", [
    ("application/json", "ConfigMapList"),
    ("*/*", "ConfigMapList"),
    ("application/*", "ConfigMapList"),
    ("application/vnd.kubernetes.protobuf,application/json", "ConfigMapList"),
    ("application/vnd.kubernetes.protobuf;q=1, application/json;q=0.5", "ConfigMapList"),
    ("application/json;as=Table;v=v1;g=meta.k8s.io, application/json", "Table"),
    ("application/json;as=Unknown;v=v1;g=meta.k8s.io,application/json", "ConfigMapList"),
    ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "PartialObjectMetadataList"),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "ConfigMapList"),
])
def test_accepted(api, accept, kind):
    assert api("GET", api.configmaps, want=200, accept=accept)["kind"] == kind


@pytest.mark.parametrize("accept", [
    "application/vnd.kubernetes.protobuf", "application/cbor", "text/html",
    "application/json;as=Unknown;v=v1;g=meta.k8s.io"])
def test_not_acceptable(api, accept):
    r = api("GET", api.configmaps, want=406, accept=accept)
    body = r.json or json.loads(r.body)
    assert body["reason"] == "NotAcceptable"
    assert "only the following media types are accepted" in body["message"]
