# SPDX-License-Identifier: Apache-2.0
"""The whole set of programs under one `drover server`: certificates change under it."""
import json
import ssl

from conftest import Server, run_object, wait_until


def presented(port):
    return ssl.get_server_certificate(("127.0.0.1", port))


def test_certificates_change_under_all_programs(workdir):
    server = Server(workdir / "state", ["--tls-lifetime", "9s", "--log-format", "json"])
    server.start()
    try:
        before = presented(server.port)
        assert presented(server.streams_port) == before
        server.apply(run_object("hello", ["echo hello"]))
        server.wait("run/hello", "phase=Done")
        wait_until(lambda: presented(server.port) != before, what="a new certificate")
        wait_until(lambda: presented(server.streams_port) == presented(server.port),
                   what="the log service to follow")
        # What trusted the CA before goes on: the kubeconfig, the agent.
        assert server.drover("logs", "hello").stdout == "hello\n"
        server.apply(run_object("again", ["true"]))
        server.wait("run/again", "phase=Done")
    finally:
        server.stop()
    programs = {json.loads(line)["program"] for line in server.log.read_text().splitlines()
                if line.startswith("{")}
    assert {"drover-apiserver", "drover-streams", "drover-controllers"} <= programs
