# SPDX-License-Identifier: Apache-2.0
"""Who may do what, as real kubectl binaries see it."""
import base64
import json
import shutil
import subprocess

import pytest

from conftest import Server


def whoami(kubectl, *args):
    """1.20 has no `auth whoami`: the raw door."""
    if not kubectl.is_old:
        return json.loads(kubectl("auth", "whoami", "-o", "json", *args))["status"]["userInfo"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    out = kubectl("create", "--raw", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "-f", "-",
                  *args, text=json.dumps(review))
    return json.loads(out)["status"]["userInfo"]


def can_i(kubectl, *args):
    r = kubectl.run("auth", "can-i", *args)
    answer = r.stdout.splitlines()[-1].split()[0]
    assert (answer, r.returncode) in (("yes", 0), ("no", 1)), r.stdout
    return answer == "yes"


def token_of(kubectl, account):
    if not kubectl.is_old:
        return kubectl("create", "token", account).strip()
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    out = kubectl("create", "--raw",
                  f"/api/v1/namespaces/{kubectl.namespace}/serviceaccounts/{account}/token",
                  "-f", "-", text=json.dumps(request))
    return json.loads(out)["status"]["token"]


def as_bearer(kubectl, token, *args):
    """One command with another token: a kubeconfig of its own, so that the admin's is not used."""
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    path = kubectl.home / "bearer.json"
    path.write_text(json.dumps(config))
    return kubectl.run(*args, env={"KUBECONFIG": str(path)})


def test_can_i(kubectl):
    assert can_i(kubectl, "create", "runs.drover.dev")
    assert can_i(kubectl, "*", "*")
    assert not can_i(kubectl, "create", "runs.drover.dev", "--as=bob")
    kubectl("create", "rolebinding", "b", "--clusterrole=view", "--user=bob")
    assert can_i(kubectl, "list", "runs.drover.dev", "--as=bob")
    assert can_i(kubectl, "get", "jobs.drover.dev/x", "--as=bob")
    assert not can_i(kubectl, "get", "secrets", "--as=bob")
    assert can_i(kubectl, "get", "/version", "--as=bob")
    assert not can_i(kubectl, "get", "/metrics", "--as=bob")
    listed = kubectl("auth", "can-i", "--list", "--as=bob")
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed and "*.drover.dev" in listed
    assert "[/version" in listed or "/version" in listed


def test_whoami_and_impersonation(kubectl):
    assert whoami(kubectl)["username"] == "admin"
    assert "system:masters" in whoami(kubectl)["groups"]
    who = whoami(kubectl, "--as=bob", "--as-group=one", "--as-group=two")
    assert who["username"] == "bob" and who["groups"] == ["one", "two", "system:authenticated"]
    if not kubectl.is_old:
        who = whoami(kubectl, "--as=bob", "--as-uid=7")
        assert who["uid"] == "7"
    assert 'User "bob" cannot list resource "runs"' in kubectl.fails("get", "runs", "--as=bob")
    # a third person may not, unless he holds the verb
    account = f"system:serviceaccount:{kubectl.namespace}:default"
    assert whoami(kubectl, "--as", account)["username"] == account
    token = token_of(kubectl, "default")
    r = as_bearer(kubectl, token, "get", "runs", "--as=admin", "--as-group=system:masters")
    assert r.returncode == 1 and 'cannot impersonate resource "users"' in r.stdout


def test_create_roles_and_bindings(kubectl):
    ns = kubectl.namespace
    kubectl("create", "serviceaccount", "ci")
    kubectl("create", "role", "r", "--verb=get,list", "--resource=runs.drover.dev",
            "--resource=configmaps", "--resource-name=one")
    kubectl("create", "rolebinding", "rb", "--role=r", f"--serviceaccount={ns}:ci")
    kubectl("create", "clusterrole", f"cr-{ns}", "--verb=get", "--non-resource-url=/metrics")
    kubectl("create", "clusterrole", f"agg-{ns}", f"--aggregation-rule=x={ns}")
    kubectl("create", "clusterrolebinding", f"crb-{ns}", f"--clusterrole=cr-{ns}",
            f"--serviceaccount={ns}:ci")
    role = json.loads(kubectl("get", "role", "r", "-o", "json"))
    assert role["rules"][0]["resourceNames"] == ["one"]
    token = token_of(kubectl, "ci")
    assert as_bearer(kubectl, token, "get", "--raw", "/metrics").returncode == 0
    r = as_bearer(kubectl, token, "get", "configmaps")
    assert f'User "system:serviceaccount:{ns}:ci" cannot list resource "configmaps"' in r.stdout
    r = as_bearer(kubectl, token, "get", "configmap", "one")
    assert 'configmaps "one" not found' in r.stdout
    described = kubectl("describe", "role", "r")
    assert "configmaps" in described and "[one]" in described
    assert "ci" in kubectl("describe", "rolebinding", "rb")
    kubectl("delete", "serviceaccount", "ci")
    r = as_bearer(kubectl, token, "get", "configmap", "one")
    assert "must be logged in" in r.stdout or "Unauthorized" in r.stdout


def test_token_claims(kubectl):
    token = token_of(kubectl, "default")
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["sub"] == f"system:serviceaccount:{kubectl.namespace}:default"
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["kubernetes.io"]["serviceaccount"]["name"] == "default"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
              "spec": {"token": token}}
    answer = json.loads(kubectl("create", "-f", "-", "-o", "json", "--validate=false",
                                text=json.dumps(review)))
    assert answer["status"]["authenticated"] is True
    if not kubectl.is_old:
        assert "duration less than 10 minutes" in kubectl.fails("create", "token", "default",
                                                                "--duration=5m")


def test_reconcile(kubectl):
    role = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: rec, namespace: %s}
rules:
- {apiGroups: [drover.dev], resources: [runs], verbs: [%s]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rec, namespace: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: rec}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %s}]
"""
    ns = kubectl.namespace
    kubectl("auth", "reconcile", "-f", "-", text=role % (ns, "get", ns, "ann"))
    kubectl("auth", "reconcile", "-f", "-", text=role % (ns, "list", ns, "bob"))
    verbs = [v for r in json.loads(kubectl("get", "role", "rec", "-o", "json"))["rules"]
             for v in r["verbs"]]
    assert sorted(verbs) == ["get", "list"]
    binding = json.loads(kubectl("get", "rolebinding", "rec", "-o", "json"))
    assert [s["name"] for s in binding["subjects"]] == ["ann", "bob"]


def test_escalation(kubectl):
    kubectl("create", "rolebinding", "adm", "--clusterrole=admin", "--user=ada")
    kubectl("create", "role", "ok", "--verb=get", "--resource=runs.drover.dev", "--as=ada")
    said = kubectl.fails("create", "clusterrole", "x", "--verb=*", "--resource=*.*", "--as=ada")
    assert 'cannot create resource "clusterroles"' in said
    said = kubectl.fails("create", "rolebinding", "up", "--clusterrole=cluster-admin", "--user=ada",
                         "--as=ada")
    assert 'is attempting to grant RBAC permissions not currently held' in said
    said = kubectl.fails("patch", "rolebinding", "adm", "--type=merge", "-p",
                         '{"roleRef":{"name":"cluster-admin"}}')
    assert "roleRef: Invalid value" in said and "cannot change roleRef" in said


def test_quota(kubectl):
    kubectl("create", "quota", "q", "--hard=count/runs.drover.dev=1,configmaps=2")
    for _ in range(50):
        used = json.loads(kubectl("get", "resourcequota", "q", "-o", "json")).get("status", {})
        if used:
            break
    assert used["used"] == {"count/runs.drover.dev": "0", "configmaps": "0"}
    for name in ("a", "b"):
        kubectl("create", "configmap", name)
    assert ('configmaps "c" is forbidden: exceeded quota: q, requested: configmaps=1, used: '
            'configmaps=2, limited: configmaps=2') in kubectl.fails("create", "configmap", "c")
    described = kubectl("describe", "resourcequota", "q")
    assert "configmaps" in described and "count/runs.drover.dev" in described
    assert "No resources found" in kubectl("get", "services")


# --- certificates and anonymous requests: a server of their own


def make_certificate(path, name, subject, ca=None, usage="clientAuth"):
    key, cert, csr = path / f"{name}.key", path / f"{name}.crt", path / f"{name}.csr"

    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)
    if ca is None:
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key,
                "-out", cert, "-subj", subject)
        return key, cert
    ext = path / f"{name}.ext"
    ext.write_text(f"extendedKeyUsage={usage}\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", csr, "-subj", subject)
    openssl("x509", "-req", "-in", csr, "-CA", ca[1], "-CAkey", ca[0], "-CAcreateserial", "-days",
            "2", "-extfile", ext, "-out", cert)
    return key, cert


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    path = tmp_path_factory.mktemp("open")
    ca = make_certificate(path, "ca", "/CN=clients")
    digest = subprocess.run(["b2sum", "-l", "256"], input=b"sesame-open-now", check=True,
                            capture_output=True).stdout.split()[0].decode()
    (path / "tokens").write_text(f"# static\n{digest} ali cave,system:masters\n")
    server = Server(path, "--client-ca-file", ca[1], "--anonymous-auth",
                    "--token-auth-file", path / "tokens")
    server.ca = ca
    yield server
    assert server.stop() == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_client_certificates(open_server, clients, tmp_path):
    config = json.loads(subprocess.run(
        [clients["1.34"], "config", "view", "--raw", "--flatten", "-o", "json"], check=True,
        capture_output=True, env={"KUBECONFIG": str(open_server.kubeconfig),
                                  "HOME": str(tmp_path)}).stdout)

    def ask(user, *args):
        config["users"][0]["user"] = user
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        r = subprocess.run([clients["1.34"], "--kubeconfig", path, *args], text=True,
                           capture_output=True, stdin=subprocess.DEVNULL,
                           env={"HOME": str(tmp_path)}, timeout=60)
        return r.stdout + r.stderr

    def certificate(name, subject, **kwargs):
        ca = kwargs.pop("ca", open_server.ca)
        key, cert = make_certificate(tmp_path, name, subject, ca=ca, **kwargs)
        return {"client-certificate": str(cert), "client-key": str(key)}

    who = json.loads(ask(certificate("ann", "/CN=ann/O=dev/O=ops"), "auth", "whoami", "-o",
                         "json"))["status"]["userInfo"]
    assert who["username"] == "ann" and who["groups"] == ["dev", "ops", "system:authenticated"]
    assert 'User "ann" cannot list' in ask(certificate("ann", "/CN=ann/O=dev"), "get", "runs")
    assert "No resources found" in ask(certificate("root", "/CN=root/O=system:masters"), "get",
                                       "runs")
    # of another authority, or not meant for clients: nobody
    other = make_certificate(tmp_path, "other-ca", "/CN=other")
    stranger = certificate("eve", "/CN=eve/O=system:masters", ca=other)
    assert "No resources found" not in ask(stranger, "get", "runs")
    server_only = certificate("srv", "/CN=srv/O=system:masters", usage="serverAuth")
    assert "No resources found" not in ask(server_only, "get", "runs")
    assert "No resources found" in ask({"token": "sesame-open-now"}, "get", "runs")
    assert "logged in" in ask({"token": "sesame-shut"}, "get", "runs")


def test_anonymous(open_server, server, clients, tmp_path):
    def curl(which, path):
        url = next(line.split()[1] for line in which.kubeconfig.read_text().splitlines()
                   if line.strip().startswith("server:"))
        return json.loads(subprocess.run(["curl", "-sk", url + path], check=True,
                                         capture_output=True).stdout)
    assert curl(open_server, "/version")["major"] == "1"
    refused = curl(open_server, "/api/v1/namespaces")
    assert refused["code"] == 403
    assert refused["message"] == ('namespaces is forbidden: User "system:anonymous" cannot list '
                                  'resource "namespaces" in API group "" at the cluster scope')
    assert curl(server, "/version")["major"] == "1"
    assert curl(server, "/api/v1/namespaces")["code"] == 401
    assert curl(server, "/apis")["code"] == 401
