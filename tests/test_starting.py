"""What keeps a plane from starting, asked of the commands that start one, and of `compass doctor`."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from compass import starting
from compass.cli.main import run
from compass.settings import Settings
from compass.starting import findings, of_folder

AWAY = "postgresql://u@127.0.0.1:1/none"
"""No plane comes up on it, should a refusal be missing."""
ANOTHER = "postgresql://u:%s@db.example/c?sslmode=verify-full"


@dataclass(frozen=True)
class Case:
    """A plane that has to refuse, the setting, file or variable it names, and a piece of the reason."""

    named: str
    because: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """As `section.name`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], None] = lambda _: None


def _mode(name: str, mode: int, content: str | None = None) -> Callable[[Path], None]:
    def prepare(home: Path) -> None:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_text(content)
        path.chmod(mode)

    return prepare


def _both(*prepared: Callable[[Path], None]) -> Callable[[Path], None]:
    def prepare(home: Path) -> None:
        for one in prepared:
            one(home)

    return prepare


KEYS = "aa11 " + "A" * 43 + "=\n"
CERTIFICATE = {
    "outbound.client_certificate_file": "c.pem",
    "outbound.client_key_file": "k.pem",
    "outbound.client_certificate_hosts": "a.example",
}

CASES = {
    # what other programs can switch off
    "no TLS": Case("listen.tls", "TLS is always on", {"listen.tls": "false"}),
    "plain HTTP": Case("listen.plain_http_port", "TLS is always on", {"listen.plain_http_port": "80"}),
    "no verification": Case("outbound.verify", "certificates are always verified", {"outbound.verify": "false"}),
    "no algorithm": Case("tokens.algorithm", "ES256, and with nothing weaker", {"tokens.algorithm": "none"}),
    "a shared secret": Case("oidc.algorithms", "ES256, and with nothing weaker", {"oidc.algorithms": "HS256"}),
    "debugging": Case("debug", "no mode that says more to callers", environment={"COMPASS_DEBUG": "1"}),
    "any origin": Case("listen.cors_origins", "pages of other origins", {"listen.cors_origins": "*"}),
    "no credentials": Case("listen.anonymous", "nobody is let in", {"listen.anonymous": "true"}),
    # what is asked of the listeners
    "an address without TLS": Case(
        "listen.public_token_url", "must begin with https://", {"listen.public_token_url": "http://a.example"}
    ),
    "a certificate for all names": Case(
        "listen.public_names", "names that are not yours", {"listen.public_names": "*"}
    ),
    "a certificate for a domain of all": Case(
        "listen.public_names", "names that are not yours", {"listen.public_names": "*.com"}
    ),
    # where the plane may be sent
    "every address": Case("outbound.allowed_networks", "is every address", {"outbound.allowed_networks": "0.0.0.0/0"}),
    "every new address": Case("outbound.allowed_networks", "is every address", {"outbound.allowed_networks": "::/0"}),
    "the machine's credentials": Case(
        "outbound.allowed_networks",
        "hand out this machine's credentials",
        {"outbound.allowed_networks": "169.254.169.0/24"},
    ),
    # limits that are none
    "bodies without end": Case(
        "limits.max_request_bytes", "held in memory", {"limits.max_request_bytes": "1099511627776"}
    ),
    "answers without end": Case(
        "outbound.max_response_bytes", "held in memory", {"outbound.max_response_bytes": "1099511627776"}
    ),
    "calls without end": Case("outbound.total_timeout", "at most 10m", {"outbound.total_timeout": "1d"}),
    "connections without end": Case("limits.connections", "no limit", {"limits.connections": "1000000000"}),
    "tokens that are passwords": Case(
        "tokens.application_validity", "is a password", {"tokens.application_validity": "30d"}
    ),
    "certificates for years": Case("authority.client_validity", "at most 397d", {"authority.client_validity": "3650d"}),
    # the database
    "a database in clear": Case(
        "database.dsn", "does not demand TLS", environment={"DSN": "postgresql://u@db.example/c"}
    ),
    "a database that prefers TLS": Case(
        "database.dsn", "does not demand TLS", environment={"DSN": "postgresql://u@db.example/c?sslmode=prefer"}
    ),
    "a password that is tried first": Case("database.dsn", "tried first", environment={"DSN": ANOTHER % "postgres"}),
    "a password of an example": Case("database.dsn", "tried first", environment={"DSN": ANOTHER % "ChangeMe"}),
    "a secret on the command line": Case("database.dsn", "can read the command line", {"database.dsn": AWAY}),
    # files
    "data that the group reads": Case("data_folder", "is open to other users", prepare=_mode("data", 0o750)),
    "data that everybody writes": Case("data_folder", "is open to other users", prepare=_mode("data", 0o707)),
    "data that can be exchanged": Case(
        "data_folder",
        "put another folder in its place",
        {"data_folder": "open/data"},
        prepare=_both(_mode("open/data", 0o700), _mode("open", 0o777)),
    ),
    "keys that the group reads": Case(
        "vault.keys",
        "others than its owner",
        prepare=_both(_mode("data", 0o700), _mode("data/vault.keys", 0o640, KEYS)),
    ),
    "keys that everybody reads": Case(
        "vault.keys",
        "others than its owner",
        prepare=_both(_mode("data", 0o700), _mode("data/vault.keys", 0o644, KEYS)),
    ),
    "a secret among readable settings": Case(
        "compass.toml",
        "everybody can read it, and it holds database.dsn",
        prepare=_mode("compass.toml", 0o644, f'[database]\ndsn = "{AWAY}"\n'),
    ),
    "settings that everybody writes": Case(
        "compass.toml", "decide what the plane does", prepare=_mode("compass.toml", 0o602, '[log]\nformat = "json"\n')
    ),
    "a secret that everybody reads": Case(
        "database.dsn",
        "everybody can read",
        environment={"COMPASS_DATABASE__DSN_FILE": "dsn"},
        prepare=_mode("dsn", 0o644, AWAY),
    ),
    "a client key that everybody reads": Case(
        "outbound.client_key_file", "everybody can read", CERTIFICATE, prepare=_mode("k.pem", 0o604, "key")
    ),
    "authorities that everybody writes": Case(
        "outbound.ca_file",
        "have any authority trusted",
        {"outbound.ca_file": "ca.pem"},
        prepare=_mode("ca.pem", 0o646, ""),
    ),
    "a list of revoked certificates that everybody writes": Case(
        "external_certificates.revocation_lists",
        "lock out all clients",
        {
            "external_certificates.ca_file": "ca.pem",
            "external_certificates.revocation_lists": f"{'ab' * 32}=list.crl",
        },
        prepare=_mode("list.crl", 0o666, ""),
    ),
    # the process
    "TLS keys in a file": Case("SSLKEYLOGFILE", "whoever reads it", environment={"SSLKEYLOGFILE": "/tmp/keys"}),  # noqa: S108
    "asyncio's debugging": Case(
        "PYTHONASYNCIODEBUG", "logged with their arguments", environment={"PYTHONASYNCIODEBUG": "1"}
    ),
    "Python's development": Case("PYTHONDEVMODE", "logged with their arguments", environment={"PYTHONDEVMODE": "1"}),
    "a prompt at the end": Case("PYTHONINSPECT", "all keys in memory", environment={"PYTHONINSPECT": "x"}),
    "a debugger": Case("PYTHONBREAKPOINT", "look into it", environment={"PYTHONBREAKPOINT": "pdb.set_trace"}),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("COMPASS_", "XDG_")) or name in starting._TELLTALE]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COMPASS_DATA_FOLDER", "data")
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def arrange(case: Case, home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    case.prepare(home)
    if case.named not in ("compass.toml", "database.dsn"):
        monkeypatch.setenv("COMPASS_DATABASE__DSN", AWAY)
    for variable, value in case.environment.items():
        monkeypatch.setenv("COMPASS_DATABASE__DSN" if variable == "DSN" else variable, value)
    return [part for key, value in case.settings.items() for part in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("command", ["up", "server start"])
@pytest.mark.parametrize("name", CASES)
def test_an_unsafe_plane_does_not_start_and_says_why_and_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    case = CASES[name]
    flags = arrange(case, home, monkeypatch)
    before = sorted(home.rglob("*"))

    assert run([*command.split(), *flags]) in (1, 2)

    said = capsys.readouterr()
    assert said.out == ""
    assert case.named in said.err
    assert case.because in said.err
    assert sorted(home.rglob("*")) == before


SHOWN = ("data that", "keys that", "TLS keys", "a client key", "a debugger", "a password")


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(SHOWN)])
def test_doctor_shows_what_the_start_would_refuse(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    flags = arrange(CASES[name], home, monkeypatch)

    assert run(["doctor", "-o", "json", *flags]) == 3

    said = capsys.readouterr().out
    assert '"safe start"' in said
    assert CASES[name].because in said


def test_what_is_safe_has_no_findings(home: Path) -> None:
    for prepare in (
        _mode("data", 0o700),
        _mode("data/vault.keys", 0o600, KEYS),
        _mode("k.pem", 0o640, "key"),
        _mode("ca.pem", 0o644, ""),
    ):
        prepare(home)

    assert list(findings(Settings(data_folder=home / "data"), {})) == []
    assert list(findings(Settings(data_folder=home / "none yet"), {"PYTHONBREAKPOINT": "0", "SSLKEYLOGFILE": ""})) == []


def test_a_folder_of_somebody_else_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mode("data", 0o700)(home)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    assert [found.reason for found in of_folder(home / "data")] == [
        f"{home / 'data'} belongs to another user, who can change everything in it"
    ]


def test_a_process_leaves_no_memory_image_and_may_open_many_files() -> None:
    program = (
        "import resource\n"
        "from compass.starting import prepare_process\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "prepare_process()\n"
        "most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0], most[0] == min(most[1], 65536) or most[1] == -1)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout == "0 True\n"


def test_a_clock_that_was_never_set_is_found() -> None:
    assert [found.what for found in starting._of_clock(datetime(1970, 1, 1, tzinfo=UTC))] == ["clock"]
    assert list(starting._of_clock(datetime.now(UTC))) == []


def test_a_real_process_refuses_with_its_exit_code(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data").chmod(0o755)

    ended = subprocess.run(
        [sys.executable, "-m", "compass", "up"], capture_output=True, text=True, timeout=60, check=False, cwd=home
    )

    assert ended.returncode == 1
    assert "data_folder: data is open to other users; chmod 700 data" in ended.stderr
