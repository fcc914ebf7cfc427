"""The guides' commands do what the guides say: each guide is run from top to bottom against a plane of its own home.

A `console` block is commands, which all have to succeed. A `text` block right below one is what it prints; `…` in it
stands for anything. A block that is not run has a comment above it that says why.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from compass.delivery.signature import key_of, new_secret, signed_headers
from compass.demo.plane_process import free_port
from compass.reads.document import Schema
from compass.settings import load

ROOT = Path(__file__).parent.parent.parent
GUIDES = sorted((ROOT / "docs/guide").glob("*.md"))

BLOCK = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run by tests/docs/test_guides\.py: .{10,} -->")
LANGUAGES = {"console", "graphql", "json", "mermaid", "python", "text", "toml"}
SHOWN = "…"

PIN = """
PIN=sha256:$(openssl x509 -in "$XDG_CONFIG_HOME/compass/local.ca.pem" -outform DER | sha256sum | cut -d' ' -f1)
"""
APPLICATION = """
id() { grep -o '[0-9a-f-]\\{36\\}'; }
APPLICATION=$(compass graphql -q 'mutation { registerApplication(in: {name: "NAME"}) { id } }' | id)
"""
TOKEN = """
TOKEN=$(compass graphql --var "id=$APPLICATION" -q '
  mutation ($id: ID!) { requestOneTimeTokenForApplication(id: $id) { token } }' |
  sed -n 's/.*"token": "\\(.*\\)"/\\1/p')
"""
RUNTIME = """
RUNTIME=$(compass graphql -q 'mutation { registerRuntime(in: {name: "NAME"}) { id } }' | id)
"""
WEBHOOK = """
compass graphql --var "app=$APPLICATION" --var "url=URL" -q '
  mutation ($app: ID!, $url: String!) {
    addWebhook(applicationID: $app, in: {type: CONFIGURATION_CHANGED, mode: SYNC, url: $url}) { signingSecret }
  }' > webhook.json
"""
GROUP = """
compass graphql --var "app=$APPLICATION" --var "runtime=$RUNTIME" -q '
  mutation ($app: ID!, $runtime: ID!) {
    createFormation(formation: {name: "NAME"}) { id }
    one: assignFormation(objectID: $app, objectType: APPLICATION, formation: {name: "NAME"}) { id }
    two: assignFormation(objectID: $runtime, objectType: RUNTIME, formation: {name: "NAME"}) { id }
  }' > formation.json
"""
GIVEN = {
    "application-developer.md": (PIN + APPLICATION + TOKEN + RUNTIME + GROUP).replace("NAME", "orders"),
    "pairing-by-hand.md": (PIN + APPLICATION + TOKEN).replace("NAME", "by-hand"),
}
"""What a reader of a guide was given by somebody else, as the shell variables that the guide names."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a guide."""

    language: str
    body: str
    before: str
    """The line above it."""
    line: int

    @property
    def is_run(self) -> bool:
        return self.language == "console" and not NOT_RUN.fullmatch(self.before)


def blocks(guide: Path) -> list[Block]:
    text = guide.read_text(encoding="utf-8")
    return [
        Block(match["language"], match["body"], match["before"], text.count("\n", 0, match.start()) + 3)
        for match in BLOCK.finditer(text)
    ]


def matches(expected: str, printed: str) -> bool:
    """Whether that was printed. `…` stands for anything, and white space does not count."""
    pattern = ".*?".join(re.escape("".join(part.split())) for part in expected.split(SHOWN))
    return re.fullmatch(pattern, "".join(printed.split()), re.DOTALL) is not None


RUN = [guide for guide in GUIDES if any(block.is_run for block in blocks(guide))]


@dataclass(frozen=True)
class Home:
    """A person's home in which `compass up` runs."""

    folder: Path
    ports: tuple[int, int]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / ".config"),
            "XDG_DATA_HOME": str(self.folder / ".local/share"),
            "LANG": "C.UTF-8",
        }

    def here(self, commands: str) -> str:
        """Commands of a guide, which name the default ports, for the ports of this plane."""
        return commands.replace("localhost:8443", f"localhost:{self.ports[0]}").replace(
            "localhost:8444", f"localhost:{self.ports[1]}"
        )

    def shell(self, commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run commands in a folder, all of which have to succeed."""
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{commands}"],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("home"), (free_port(), free_port()))
    environment = home.environment | {
        "COMPASS_LISTEN__TOKEN_PORT": str(home.ports[0]),
        "COMPASS_LISTEN__MTLS_PORT": str(home.ports[1]),
        "COMPASS_PROVISIONER__RUNTIME_SYNC_PERIOD": "500ms",
        "COMPASS_OUTBOUND__ALLOWED_NETWORKS": "127.0.0.1/32",
    }
    log = home.folder / "plane.log"
    with log.open("w") as written:
        plane = subprocess.Popen(
            [sys.executable, "-m", "compass", "up"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    try:
        ready = home.shell(f"until grep -q 'Ready in' {log}; do kill -0 {plane.pid}; sleep 0.1; done", ROOT)
        assert ready.returncode == 0, log.read_text()[-3000:]
        yield home
    finally:
        plane.send_signal(signal.SIGINT)
        plane.wait(timeout=30)
        _end_runtimes(home.folder)


def _end_runtimes(folder: Path) -> None:
    """Runtimes outlive the plane; those of a guide that failed half-way must not outlive the test."""
    for lock in folder.glob(".local/share/compass/runtimes/*/lock"):
        if (pid := lock.read_text().strip()).isdigit() and str(lock.parent) in _command_line(pid):
            os.kill(int(pid), signal.SIGTERM)


def _command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_block_is_run_or_says_why_not(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    found = blocks(guide)
    assert text.count("```") == 2 * len(found)
    assert {block.language for block in found} <= LANGUAGES
    assert [block.line for block in found if "not run" in block.before and not NOT_RUN.fullmatch(block.before)] == []
    assert text.count("<!-- not run") == sum(bool(NOT_RUN.fullmatch(block.before)) for block in found)


def test_the_guides_are_run_for_the_most_part() -> None:
    commands = [block for guide in GUIDES for block in blocks(guide) if block.language == "console"]
    assert sum(block.is_run for block in commands) > len(commands) / 2


def test_what_readers_were_given_belongs_to_a_guide_that_is_run() -> None:
    assert GIVEN.keys() - {guide.name for guide in RUN} == set()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("guide", RUN, ids=lambda guide: guide.name)
def test_the_commands_of_the_guide_work_and_print_what_it_says(guide: Path, home: Home, tmp_path: Path) -> None:
    mark = "=== the block of line "
    found = blocks(guide)
    run = [block for block in found if block.is_run]
    script = GIVEN.get(guide.name, "") + "".join(f"echo '{mark}{block.line}'\n{block.body}" for block in run)

    ended = home.shell(home.here(script), tmp_path)

    printed = {
        int(number): output for number, _, output in (part.partition("\n") for part in ended.stdout.split(mark)[1:])
    }
    assert ended.returncode == 0, f"{guide.name}, line {max(printed, default=0)}:\n{ended.stdout}\n{ended.stderr}"
    for block, below in pairwise(found):
        if block.is_run and below.language == "text":
            assert matches(home.here(below.body), printed[block.line]), (
                f"{guide.name}, line {below.line}, really printed:\n{printed[block.line]}"
            )


def the_code_of(guide: str) -> str:
    [code] = [block.body for block in blocks(ROOT / "docs/guide" / guide) if block.language == "python"]
    return code


def signature_check() -> Any:
    names: dict[str, Any] = {}
    exec(the_code_of("notifications.md"), names)  # noqa: S102  # our own text, and the point of the test
    return names["is_from_the_plane"]


def test_the_signature_check_is_short_and_believes_the_plane() -> None:
    assert len([line for line in the_code_of("notifications.md").splitlines() if line]) <= 20
    secret, body = new_secret(), b'{"specversion": "1.0"}'
    rotated = [key_of(new_secret()), key_of(secret)]

    assert signature_check()(secret, signed_headers("d-1", datetime.now(UTC), body, [key_of(secret)]), body)
    assert signature_check()(secret, signed_headers("d-1", datetime.now(UTC), body, rotated), body)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "d-2"},
        {"webhook-timestamp": str(int(datetime.now(UTC).timestamp()) - 10)},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA v2,AAAA"},
    ],
)
def test_the_signature_check_refuses_what_the_plane_did_not_sign(change: Mapping[str, str]) -> None:
    secret, body = new_secret(), b"{}"
    headers = signed_headers("d-1", datetime.now(UTC), body, [key_of(secret)])
    assert signature_check()(secret, headers, body)
    assert not signature_check()(secret, headers | dict(change), body)
    assert not signature_check()(secret, headers, b"{ }")
    assert not signature_check()(new_secret(), headers, body)


def test_the_signature_check_refuses_a_replay() -> None:
    secret, body = new_secret(), b"{}"
    headers = signed_headers("d-1", datetime.now(UTC) - timedelta(minutes=6), body, [key_of(secret)])
    assert not signature_check()(secret, headers, body)


class Receiver(BaseHTTPRequestHandler):
    """Takes one call after the other and keeps them."""

    calls: ClassVar[list[tuple[Mapping[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.calls.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/compass"
        server.shutdown()
        serving.join()


def shape(value: Any) -> Any:
    """The names in a JSON value, and the kinds of its values."""
    return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else type(value)


def test_a_real_notification_has_the_form_that_the_guide_shows(home: Home, receiver: str, tmp_path: Path) -> None:
    given = (APPLICATION + RUNTIME + WEBHOOK + GROUP).replace("NAME", "told").replace("URL", receiver)
    ended = home.shell(given, tmp_path)
    assert ended.returncode == 0, ended.stderr
    deadline = time.monotonic() + 20
    while not Receiver.calls and time.monotonic() < deadline:
        time.sleep(0.05)
    [(headers, body)] = Receiver.calls
    secret = json.loads((tmp_path / "webhook.json").read_text())["addWebhook"]["signingSecret"]

    [example] = [
        json.loads(block.body)
        for block in blocks(ROOT / "docs/guide/notifications.md")
        if block.language == "json" and "specversion" in block.body
    ]
    event = json.loads(body)
    assert shape(event) == shape(example)
    assert event["type"] == "io.compass.runtime.assign.v1"
    assert event["data"]["operation"] == "assign"
    assert event["subject"] == event["data"]["runtimeID"]
    assert headers["content-type"] == "application/cloudevents+json"
    assert signature_check()(secret, headers, body)
    assert not signature_check()(secret, headers, body + b" ")


def test_a_test_is_signed_and_taken(home: Home, receiver: str, tmp_path: Path) -> None:
    given = f"""compass app create tried
    compass webhook create {receiver} --app tried -o json > webhook.json
    ID=$(sed -n 's/.*"id": "\\(.*\\)".*/\\1/p' webhook.json)
    compass webhook test "$ID" --wait -o json
    """
    ended = home.shell(given, tmp_path)
    assert ended.returncode == 0, ended.stderr

    [(headers, body)] = Receiver.calls
    secret = json.loads((tmp_path / "webhook.json").read_text())["signingSecret"]
    assert signature_check()(secret, headers, body)
    assert (headers["compass-test"], json.loads(body)["type"]) == ("true", "io.compass.webhook.test.v1")
    printed = ended.stdout[ended.stdout.index("[") :]
    [tested] = json.loads(printed)
    assert (tested["state"], tested["attempts"][0]["status"]) == ("DELIVERED", 204)
    assert tested["id"] == headers["webhook-id"]


def test_the_documents_that_are_shown_are_valid() -> None:
    director = Schema((ROOT / "compass/director/schema.graphql").read_text(encoding="utf-8"))
    for guide in GUIDES:
        for block in blocks(guide):
            match block.language:
                case "graphql":
                    director.document(block.body)
                case "json":
                    json.loads(block.body)
                case "toml":
                    assert tomllib.loads(block.body)


def test_the_settings_files_that_are_shown_are_accepted(tmp_path: Path) -> None:
    shown = [block for guide in GUIDES for block in blocks(guide) if block.language == "toml"]
    assert shown
    for number, block in enumerate(shown):
        file = tmp_path / f"{number}.toml"
        # The files that are read with the settings; the others are settings themselves.
        read = r"^(dsn|client_secret)_file = .*$"
        file.write_text(re.sub(read, "", block.body, flags=re.MULTILINE), encoding="utf-8")
        assert load(file=file, environment={}).sources
