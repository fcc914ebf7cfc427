"""`compass doctor`: each thing that can be wrong here is found, named and given a fix; nothing is changed."""

import asyncio
import json
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from compass.cli import context, doctor
from compass.cli.context import Context
from compass.cli.doctor import Check, State
from compass.cli.main import run
from compass.postgres.pool import Database
from compass.settings import DatabaseSettings, ExternalCertificateSettings, Settings
from tests.access.foreign import ForeignAuthority
from tests.cli.conftest import Answering

FREE_PORTS = ["--token-port", "0", "--mtls-port", "0", "--set", "listen.public_names=127.0.0.1"]


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    code = run(["doctor", *FREE_PORTS, "-o", "json", *arguments])
    return code, {row["check"]: row for row in json.loads(capsys.readouterr().out)}


def keep(plane: Answering) -> None:
    context.keep(
        Context(name="local", url=plane.url, ca_pin=plane.pin, client_id="admin"), secret="s", anchor=plane.ca_pem
    )


def test_a_healthy_machine_is_ok_and_stays_as_it_was(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = findings(capsys)

    assert {row["state"] for row in found.values()} == {"ok"}
    assert code == 0
    assert found["database"]["detail"].startswith("embedded PostgreSQL ")
    assert list(home.iterdir()) == []


def test_the_table_says_each_finding_in_words_and_its_fix_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", *FREE_PORTS, "--set", "listen.public_names=nowhere.invalid"]) == 3

    lines = capsys.readouterr().out.splitlines()
    wrong = next(line for line in lines if "nowhere.invalid" in line)
    assert wrong.startswith("! degraded  name ")
    assert "fix: add it to DNS or to /etc/hosts" in lines[lines.index(wrong) + 1]
    assert lines[0].startswith("✓ ok        versions ")


def test_a_data_folder_below_a_file_is_found(home: Path) -> None:
    (home / "file").write_text("")

    found = doctor.data_folder(home / "file/data")

    assert found.state is State.DEGRADED
    assert found.fix == f"make {home / 'file'} writable for this user, or choose another place: --data-folder"


def test_a_data_folder_that_others_can_read_is_found(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data").chmod(0o755)  # whatever the process's mask is

    found = doctor.data_folder(home / "data")

    assert (found.state, found.fix) == (State.DEGRADED, f"chmod 700 {home / 'data'}")
    (home / "data").chmod(0o700)
    assert doctor.data_folder(home / "data").state is State.OK


def test_a_taken_port_is_found() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]

        found = doctor.port("token port", "127.0.0.1", number, "listen.token_port")

    assert found == Check(
        "token port",
        State.DEGRADED,
        f"127.0.0.1:{number}: {os.strerror(98)}",
        "stop whatever uses it (a running plane is fine), or choose another: --set listen.token_port=…",
    )


def test_a_port_that_this_plane_uses_is_fine(plane: Answering) -> None:
    number = urlsplit(plane.url).port or 0

    found = doctor.port("token port", "127.0.0.1", number, "listen.token_port", [plane.ca_pem])

    assert found == Check("token port", State.OK, f"127.0.0.1:{number} is used by this plane, which is up")
    for roots in ((), ["no certificate"]):
        assert doctor.port("token port", "127.0.0.1", number, "listen.token_port", roots).state is State.DEGRADED


def test_a_missing_postgresql_is_found(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("PGBIN", str(home))

    found = doctor.database(Settings())

    assert found.state is State.DEGRADED
    assert str(home) in found.detail


def test_a_database_that_is_away_is_found() -> None:
    found = doctor.database(Settings(database=DatabaseSettings(dsn="postgresql://u:geheim@127.0.0.1:1/c")))

    assert found.state is State.DEGRADED
    assert "geheim" not in found.detail


async def test_parked_events_are_found(database: Database) -> None:
    config = Settings(database=DatabaseSettings(dsn=database.dsn))
    assert (await asyncio.to_thread(doctor.database, config)).state is State.OK
    async with database.transaction() as tx:
        await tx.run(
            """
            -- test
            INSERT INTO outbox_event (name, facts, parked_at, relayed_at)
            VALUES ('A', '{}', now(), NULL), ('A', '{}', now(), NULL), ('A', '{}', NULL, NULL),
                ('A', '{}', now(), now())
            """
        )

    found = await asyncio.to_thread(doctor.database, config)

    assert (found.state, found.detail) == (
        State.DEGRADED,
        "answers, and holds 2 parked events, of which nobody was told",
    )
    assert found.fix.endswith("restart the plane")


def test_a_clock_that_was_never_set_is_found() -> None:
    assert doctor.clock(datetime(1970, 1, 1, tzinfo=UTC)).state is State.DEGRADED
    assert doctor.clock(datetime(2026, 6, 1, tzinfo=UTC)).state is State.OK


def test_the_plane_of_the_context_is_asked(plane: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    keep(plane)

    code, found = findings(capsys)

    assert code == 0
    assert found["plane local"]["detail"] == f"{plane.url} answers and is {plane.pin}"
    assert found["clock skew"]["state"] == "ok"
    assert [path for path, _, _ in plane.heard] == ["/livez", "/issuing.pem"]


@pytest.mark.parametrize("ahead", [timedelta(minutes=2), timedelta(minutes=-2)])
def test_a_clock_that_differs_from_the_planes_is_found(
    ahead: timedelta, plane: Answering, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(plane)
    plane.ahead = ahead

    code, found = findings(capsys)

    assert (code, found["clock skew"]["state"]) == (3, "degraded")


def test_a_plane_that_is_not_the_pinned_one_is_found(plane: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    keep(plane)
    other = Context(name="local", url=plane.url, ca_pin="sha256:" + "0" * 64, client_id="admin")
    context.keep(other, secret="s", anchor=plane.ca_pem)

    code, found = findings(capsys)

    assert (code, found["plane local"]["state"]) == (3, "degraded")
    assert plane.heard == []


def test_a_plane_that_is_down_is_found(plane: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    plane.url = "https://127.0.0.1:1"
    keep(plane)

    code, found = findings(capsys)

    assert (code, found["plane local"]["fix"]) == (3, "start it (compass up), or check address, firewall and proxy")


def test_a_context_asked_for_by_name_must_exist(plane: Answering) -> None:
    keep(plane)

    assert run(["doctor", *FREE_PORTS, "--context", "none"]) == 4


@pytest.mark.parametrize(
    ("days", "state"), [(10, State.OK), (79, State.OK), (81, State.DEGRADED), (120, State.DEGRADED)]
)
def test_an_authority_with_less_than_a_fifth_of_its_life_is_told(days: int, state: State) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(begin).not_valid_after(begin + timedelta(days=100))
    pem = made.sign(key, SHA256()).public_bytes(Encoding.PEM)

    [check] = doctor._authority(pem * 2, begin + timedelta(days=days))

    assert (check.check, check.state, bool(check.fix)) == ("authority", state, state is State.DEGRADED)
    assert check.detail.startswith("signs until 2026-04-11")


def test_a_plane_that_shows_no_authority_is_not_judged_for_it() -> None:
    assert list(doctor._authority(b"{}", datetime.now(UTC))) == []


def test_the_lists_of_other_authorities_are_read_and_the_bad_ones_named(tmp_path: Path) -> None:
    one, other = ForeignAuthority(), ForeignAuthority()
    (tmp_path / "ca.pem").write_bytes(one.pem + other.pem)
    made = datetime.now(UTC) - timedelta(hours=1)
    (tmp_path / "one.crl").write_bytes(one.revoke(7, at=made, ends=timedelta(days=3)))
    lists = (f"{one.pin}={tmp_path}/one.crl", f"{other.pin}={tmp_path}/other.crl")
    external = ExternalCertificateSettings(ca_file=tmp_path / "ca.pem", revocation_lists=lists)

    good, bad = doctor.revocation_lists(Settings(external_certificates=external))
    assert good.state is State.OK
    times = f"made {made:%Y-%m-%d %H:%M} UTC, good until {made + timedelta(days=3):%Y-%m-%d %H:%M} UTC"
    assert good.detail == f"{tmp_path}/one.crl: 1 revoked, {times}"
    assert (bad.state, bad.detail) == (
        State.DEGRADED,
        f"{tmp_path}/other.crl: the file cannot be read: No such file or directory",
    )
    assert list(doctor.revocation_lists(Settings())) == []
    (refused,) = doctor.revocation_lists(Settings(external_certificates=replace(external, ca_file=tmp_path / "x")))
    assert (refused.state, refused.fix) == (State.DEGRADED, "put the setting right")
