"""`compass server check`: what would keep a plane from starting is found before, by name and with its fix."""

import asyncio
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from compass.cli.doctor import State, is_plane
from compass.cli.server_check import disk, migrations, port
from compass.connector.authority import TRUSTED
from compass.postgres.migrate import known
from compass.postgres.pool import Database
from compass.settings import DatabaseSettings, Settings
from compass.vault import Vault, read
from tests.cli.conftest import InThread
from tests.cli.test_server_backup import plane_folder as plane_folder  # noqa: PLC0414  # a fixture
from tests.e2e.plane import Plane

FREE = ("--token-port", "0", "--mtls-port", "0")
ALL = {
    *("versions", "settings", "safe start", "data folder", "database", "roles", "migrations", "row security"),
    *("vault keys", "token port", "mTLS port"),
}


async def found(in_thread: InThread, *arguments: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    ended = await in_thread("server", "check", *FREE, "-o", "json", *arguments)
    checks: dict[str, list[dict[str, str]]] = {}
    for each in json.loads(ended.out):
        checks.setdefault(each["check"], []).append(each)
    return ended.code, checks


def wrong(checks: dict[str, list[dict[str, str]]]) -> dict[str, dict[str, str]]:
    return {name: each for name, all_of in checks.items() for each in all_of if each["state"] != "ok"}


async def changed(dsn: str, *statements: str) -> None:
    async with Database.open(dsn, connections=1) as database:
        for statement in statements:
            await database.run(lambda tx, statement=statement: tx.run(f"-- test.change\n{statement}"))  # type: ignore[misc]


async def test_a_plane_that_would_start_is_all_right_and_stays_as_it_was(
    plane_folder: Path, in_thread: InThread
) -> None:
    before = (plane_folder / "vault.keys").read_text()

    code, checks = await found(in_thread)

    assert code == 0
    assert wrong(checks) == {}
    assert set(checks) == ALL
    keys = read(plane_folder / "vault.keys")
    (opened,) = checks["vault keys"]
    assert opened["detail"] == f"{keys.seals} ({keys.fingerprint(keys.seals)}) opens 2 secrets, and seals"
    assert (plane_folder / "vault.keys").read_text() == before


async def test_where_nothing_is_yet_a_start_would_make_it(home: Path, in_thread: InThread) -> None:
    code, checks = await found(in_thread, "--data-folder", str(home / "new"))

    assert code == 0
    assert wrong(checks) == {}
    assert {name: checks[name][0]["detail"].split(",")[0][:19] for name in ("database", "vault keys")} == {
        "database": "embedded PostgreSQL",
        "vault keys": "the first start mak",
    }
    assert "disk" in checks
    assert not (home / "new").exists()


async def test_missing_migrations_are_named(
    empty_dsn: str, plane_folder: Path, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPASS_DATABASE__DSN", empty_dsn)

    code, checks = await found(in_thread)

    assert code == 3
    assert wrong(checks).keys() == {"migrations"}
    assert f"misses {len(known())}: {known()[0]}, " in wrong(checks)["migrations"]["detail"]
    assert wrong(checks)["migrations"]["fix"] == "back up, then compass server migrate"
    assert (plane_folder / "vault.keys").exists()


def test_the_plane_itself_migrates_a_database_of_its_own_and_no_other(tmp_path: Path) -> None:
    own = Settings(data_folder=tmp_path)
    other = Settings(data_folder=tmp_path, database=DatabaseSettings(dsn="postgresql:///c"))

    assert migrations(own, ["0099_pre_more"]).state is State.OK
    assert migrations(other, ["0099_pre_more"]).state is State.DEGRADED
    assert "stop the old release" in migrations(other, ["0099_pre_more", "0100_post_less"]).fix


async def test_a_vault_that_does_not_open_what_is_sealed_is_found(plane_folder: Path, in_thread: InThread) -> None:
    path = plane_folder / "vault.keys"
    key, kept = read(path).seals, path.read_text()

    path.unlink()
    code, checks = await found(in_thread)
    assert (code, set(wrong(checks))) == (3, {"vault keys"})
    assert "2 secrets are sealed: the start would make one that opens none" in wrong(checks)["vault keys"]["detail"]
    assert not path.exists()

    other = Vault.at(path).key_ids[0]
    _, checks = await found(in_thread)
    assert f"2 under {key}: " in wrong(checks)["vault keys"]["detail"]

    path.write_text(path.read_text().replace(other, key))  # the same name, another key
    code, checks = await found(in_thread)
    assert (code, "it was altered" in wrong(checks)["vault keys"]["detail"]) == (3, True)

    path.write_text("nonsense\n")
    code, checks = await found(in_thread)
    assert (code, "cannot be used" in wrong(checks)["vault keys"]["detail"]) == (3, True)
    path.write_text(kept)
    assert (await found(in_thread))[0] == 0


async def test_row_security_that_is_missing_is_named(dsn: str, plane_folder: Path, in_thread: InThread) -> None:
    await changed(dsn, "ALTER TABLE bundle DISABLE ROW LEVEL SECURITY")

    code, checks = await found(in_thread)

    assert (code, set(wrong(checks))) == (3, {"row security"})
    assert "table bundle has no row-level security" in wrong(checks)["row security"]["detail"]
    assert (plane_folder / "vault.keys").exists()


async def test_a_superuser_is_no_role_for_a_plane(
    dsn: str, plane_folder: Path, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPASS_DATABASE__DSN", dsn.replace("compass@", "postgres@", 1))

    code, checks = await found(in_thread)

    assert (code, "superuser" in wrong(checks)["roles"]["detail"]) == (3, True)
    assert (plane_folder / "vault.keys").exists()


@pytest.mark.parametrize(
    ("dsn_given", "said"),
    [
        ("postgresql://u:geheim@127.0.0.1:1/c", "cannot reach its database"),
        ("postgresql://u:geheim@127.0.0.1:1/c?sslmode=perhaps", "malformed"),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_without_its_password(
    home: Path, in_thread: InThread, monkeypatch: pytest.MonkeyPatch, dsn_given: str, said: str
) -> None:
    monkeypatch.setenv("COMPASS_DATABASE__DSN", dsn_given)

    ended = await in_thread("server", "check", *FREE, "--data-folder", str(home / "new"))

    assert ended.code == 3
    assert said in ended.out
    assert "geheim" not in ended.out + ended.err


async def test_an_interrupted_restore_is_named_with_the_way_out(
    dsn: str, plane_folder: Path, in_thread: InThread
) -> None:
    await changed(dsn, "CREATE TABLE restore_unfinished (digest text)")

    code, checks = await found(in_thread)

    assert (code, "compass server restore" in wrong(checks)["database"]["detail"]) == (3, True)
    assert (plane_folder / "vault.keys").exists()


async def test_files_that_settings_name_are_read_and_unsafe_ones_refused(
    home: Path, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "ca.pem").write_text("no certificate")
    (home / "open").mkdir()
    (home / "open").chmod(0o755)  # whatever the umask is
    monkeypatch.setenv("COMPASS_EXTERNAL_CERTIFICATES__CA_FILE", str(home / "ca.pem"))

    code, checks = await found(in_thread, "--data-folder", str(home / "open"))

    assert code == 3
    assert wrong(checks).keys() == {"settings", "safe start", "data folder"}
    assert "external_certificates.ca_file" in wrong(checks)["settings"]["detail"]


async def test_a_setting_that_is_none_is_a_usage_error_as_everywhere(in_thread: InThread) -> None:
    ended = await in_thread("server", "check", "--set", "listen.token_prot=1")

    assert (ended.code, ended.out) == (2, "")
    assert "did you mean listen.token_port" in ended.err


def test_a_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10_000_000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)

    checked = disk(Settings(data_folder=tmp_path / "not" / "there"))

    assert (checked.state, "free at least 1 GiB" in checked.fix) == (State.DEGRADED, True)


async def test_a_port_that_is_taken_is_free_for_the_plane_that_has_it(
    running_plane: Plane, in_thread: InThread
) -> None:
    async with Database.open(running_plane.dsn, connections=1) as database, database.transaction() as tx:
        roots: list[str] = [row["root"] for row in await tx.rows(TRUSTED)]
    numbers = [int(url.rpartition(":")[2]) for url in (running_plane.token_url, running_plane.mtls_url)]

    def looked() -> list[Any]:
        return [
            [port("token port", "127.0.0.1", number, given).state for number in numbers] for given in (roots, [])
        ] + [port("mTLS port", "0.0.0.0", numbers[1], roots).detail]  # noqa: S104  # not listened at

    ours, others, told = await asyncio.to_thread(looked)
    assert (ours, others) == ([State.OK] * 2, [State.DEGRADED] * 2)
    assert told.endswith("is used by this plane, which is up and has to stop first")


def test_who_only_listens_is_not_this_plane(plane: Any) -> None:
    assert is_plane("127.0.0.1", int(plane.url.rpartition(":")[2]), [plane.ca_pem])
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert not is_plane("127.0.0.1", silent.getsockname()[1], [plane.ca_pem])
