"""What the other side runs to pair: each recipe is run against a real plane, with stand-ins for docker and kubectl."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_connect import ENVIRONMENT, bash
from tests.client.test_recipe import documents

PAIRED = ["client.crt", "client.key", "plane_ca.pem"]


@pytest.mark.parametrize("how", ["curl", "python"])
@pytest.mark.usefixtures("tenant")
def test_a_shell_with_the_named_tools_is_enough_to_pair(how: str, cli: Cli, home: Path) -> None:
    cli("app", "create", "crm")
    script = cli("app", "connect", "crm", "--show", how).out

    ended = bash(script, home / "there")

    assert ended.returncode == 0, ended.stderr
    assert (home / "there/client.crt").read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert sorted(path.name for path in (home / "there").iterdir()) == PAIRED
    assert {path.stat().st_mode & 0o777 for path in (home / "there").iterdir()} == {0o600}
    assert cli("cert", "list", "--app", "crm", "-o", "json").json[0]["state"] == "VALID"


@pytest.mark.usefixtures("tenant")
def test_an_agent_is_offered_for_runtimes_only(cli: Cli) -> None:
    cli("app", "create", "crm")
    cli("runtime", "register", "edge")

    refused = cli("app", "connect", "crm", "--show", "agent")
    offered = cli("runtime", "connect", "edge", "--show", "agent").out

    assert (refused.code, "an agent is a runtime's" in refused.err) == (2, True)
    assert cli("token", "list", "--app", "crm", "-o", "json").json == []
    assert offered.startswith("compass agent install --user --server https://localhost:")


@pytest.mark.usefixtures("tenant")
def test_python_calls_with_the_certificate_and_says_who_one_is(cli: Cli, home: Path) -> None:
    identity = cli("app", "create", "crm").out.strip()
    script = cli("app", "connect", "crm", "--show", "python").out

    assert bash(script, home / "there").stdout == f"paired: you are application {identity}\n"
    assert cli("app", "get", "crm", "-o", "jsonpath=.status.condition").out == "CONNECTED\n"

    again = bash(script, home / "other")
    assert again.returncode == 1
    assert not (home / "other/client.crt").exists()


@pytest.mark.usefixtures("tenant")
def test_python_that_was_interrupted_goes_on_with_the_same_token(cli: Cli, home: Path) -> None:
    cli("app", "create", "crm")
    script = cli("app", "connect", "crm", "--show", "python").out
    cut = script.replace("for name, content in", "raise SystemExit(9)\nfor name, content in")
    assert cut != script

    assert bash(cut, home / "there").returncode == 9
    assert [path.name for path in (home / "there").iterdir()] == ["pairing.key"]

    assert bash(script, home / "there").returncode == 0
    assert sorted(path.name for path in (home / "there").iterdir()) == PAIRED


@pytest.mark.usefixtures("tenant")
def test_a_container_with_the_folder_of_the_shell_pairs(cli: Cli, home: Path) -> None:
    """`docker` stands for the real one: it runs what it is given to run, and keeps its arguments."""
    cli("app", "create", "crm")
    script = cli("app", "connect", "crm", "--show", "docker").out
    tools = home / "tools"
    tools.mkdir()
    (tools / "docker").write_text('#!/bin/sh\necho "$@" > "$HOME/../docker.txt"\nexec python3 -\n')
    (tools / "docker").chmod(0o755)

    ended = bash(f'PATH="{tools}:$PATH"\n{script}', home / "there")

    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in (home / "there").iterdir()) == PAIRED
    said = (home / "docker.txt").read_text()
    user = f"{os.getuid()}:{os.getgid()}"
    assert said == (
        f"run --rm -i --network host --user {user} -v {home / 'there'}:/here -w /here python:3-slim python -\n"
    )


@pytest.mark.usefixtures("tenant")
def test_a_job_pairs_and_keeps_the_identity_in_its_secret(cli: Cli, home: Path) -> None:
    """The job's script is run as the cluster would, and the API that it writes to is a server of this test."""
    cli("runtime", "register", "Edge-1")
    manifest = documents(cli("runtime", "connect", "Edge-1", "--show", "kubernetes").out)
    given, service, here = home / "given", home / "service", home / "here"
    for folder in (given, service, here):
        folder.mkdir()
    script = manifest["Secret", 1]["stringData"]["pair.py"]
    (given / "token").write_text(manifest["Secret", 1]["stringData"]["token"])
    (service / "token").write_text("bearer")
    (service / "namespace").write_text("shop")
    with kubernetes() as (url, heard):
        for there, local in (
            ("/given/", f"{given}/"),
            ("/var/run/secrets/kubernetes.io/serviceaccount/", f"{service}/"),
            ("https://kubernetes.default.svc", url),
            ('ssl.create_default_context(cafile=service + "ca.crt")', "None"),
        ):
            assert there in script
            script = script.replace(there, local)
        (given / "pair.py").write_text(script)
        ended = subprocess.run(
            ["python3", given / "pair.py"], cwd=here, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )

    assert ended.returncode == 0, ended.stderr
    ((method, path, headers, body),) = heard
    assert (method, path) == ("PATCH", "/api/v1/namespaces/shop/secrets/compass-edge-1")
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer bearer", "application/merge-patch+json")
    assert sorted(body["stringData"]) == PAIRED
    assert body["stringData"]["client.key"] == (here / "client.key").read_text()
    assert cli("runtime", "get", "Edge-1", "-o", "jsonpath=.status.condition").out == "CONNECTED\n"


Heard = list[tuple[str, str, dict[str, str], dict[str, Any]]]


@contextmanager
def kubernetes() -> Iterator[tuple[str, Heard]]:
    """A server that takes what is sent to it."""
    heard: Heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.command, self.path, dict(self.headers.items()), json.loads(body)))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
