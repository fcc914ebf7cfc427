"""`compass up` as a person runs it: it signs in, it keeps its data, and it says what is wrong."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from compass.demo.plane_process import free_port
from compass.postgres.migrate import migrate

REGISTER = 'mutation { registerApplication(in: {name: "kept"}) { id } }'
LIST = "{ applications { data { name } totalCount } }"


class Home:
    """One person's home: the plane's data, the context, and commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.ports = free_port(), free_port()
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COMPASS_DATA_FOLDER": str(folder / "data"),
            "COMPASS_LISTEN__TOKEN_PORT": str(self.ports[0]),
            "COMPASS_LISTEN__MTLS_PORT": str(self.ports[1]),
        }

    async def compass(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a command to its end: exit code, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "compass",
            *arguments,
            env={**self.environment, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, complained = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, printed.decode(), complained.decode()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
        """`compass up`, ready; afterwards stopped as Ctrl-C does it, with the exit code checked."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "compass",
            "up",
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        lines: list[str] = []
        assert process.stderr is not None
        try:
            while not any("Stop with Ctrl-C" in line for line in lines):
                line = await asyncio.wait_for(process.stderr.readline(), 60)
                assert line, "".join(lines)
                lines.append(line.decode())
            yield process, lines
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            # What else it says must be read, or it could wait for us to do so.
            rest = await process.stderr.read()
            await process.wait()
        assert process.returncode == 0, rest.decode()


@asynccontextmanager
async def connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_the_first_start_signs_in_and_later_starts_find_everything_again(home: Home, tmp_path: Path) -> None:
    async with home.up() as (_, first):
        code, printed, complaint = await home.compass("graphql", "-q", "{ viewer { id type } }")
        assert (code, complaint) == (0, "")
        assert json.loads(printed) == {"viewer": {"id": "admin", "type": "USER"}}
        code, _, complaint = await home.compass("graphql", "-q", REGISTER)
        assert code == 0, complaint
    began = time.monotonic()
    async with home.up() as (_, second):
        warm = time.monotonic() - began
        code, listed, complaint = await home.compass("graphql", "-q", LIST)
        assert code == 0, complaint
        assert json.loads(listed)["applications"] == {"data": [{"name": "kept"}], "totalCount": 1}
    assert warm < 30  # a sign of life, not a benchmark: `make bench` measures it
    secret = (tmp_path / "config/compass/local.secret").read_text().strip()
    assert secret
    assert secret not in "".join([*first, *second])
    assert (tmp_path / "config/compass/local.secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("which", [0, 1], ids=["token port", "mTLS port"])
async def test_a_taken_port_is_named(home: Home, which: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", home.ports[which]))
        holder.listen()

        code, printed, complaint = await home.compass("up")

    assert code != 0
    assert printed == ""
    assert f"port {home.ports[which]}" in complaint
    assert "taken" in complaint
    assert "Traceback" not in complaint
    async with home.up() as (_, lines):  # and the failed start has not used up the one showing of the secret
        assert any("signed in" in line and "as the administrator" in line for line in lines)


async def test_a_second_plane_on_the_same_folder_is_refused(home: Home) -> None:
    async with home.up():
        code, _, complaint = await home.compass(
            "up", COMPASS_LISTEN__TOKEN_PORT=str(free_port()), COMPASS_LISTEN__MTLS_PORT=str(free_port())
        )

        assert code != 0
        assert "Traceback" not in complaint
        assert "data" in complaint
        assert (await home.compass("graphql", "-q", "{ viewer { id } }"))[0] == 0


async def test_data_of_a_newer_version_is_refused_and_left_alone(home: Home, tmp_path: Path) -> None:
    async with home.up():
        pass
    version = tmp_path / "data/postgres/data/PG_VERSION"
    version.write_text("99\n")

    code, _, complaint = await home.compass("up")

    assert code != 0
    assert "newer" in complaint
    assert "Traceback" not in complaint
    assert version.read_text() == "99\n"


@pytest.mark.parametrize("place", ["below a file", "in the kernel's folder"])
async def test_a_data_folder_that_cannot_be_written_is_named_and_nothing_is_left(
    home: Home, tmp_path: Path, place: str
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    # Root may write into any folder, so these are places where nobody may.
    folder = file / "data" if place == "below a file" else Path("/proc/compass/data")

    code, printed, complaint = await home.compass("up", COMPASS_DATA_FOLDER=str(folder))

    assert code == 1
    assert printed == ""
    assert f"the folder {folder} cannot be used" in complaint
    assert "make this one writable" in complaint
    assert "Traceback" not in complaint
    assert file.read_text() == "mine"


async def test_a_database_that_a_newer_release_migrated_is_refused_and_left_alone(home: Home, empty_dsn: str) -> None:
    await migrate(empty_dsn)
    async with connected(empty_dsn) as connection:
        await connection.execute("INSERT INTO migration (number, name, digest) VALUES (9000, '9000_pre_later', 'x')")

    for command in (("up",), ("server", "start")):
        code, printed, complaint = await home.compass(*command, COMPASS_DATABASE__DSN=empty_dsn)

        assert code == 1
        assert printed == ""
        assert "the database was migrated by a newer release, up to 9000_pre_later" in complaint
        assert "Traceback" not in complaint
    async with connected(empty_dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM tenant") == 0  # not even the default tenant was made


async def test_a_database_that_is_away_at_the_start_is_said_at_once(home: Home, tmp_path: Path) -> None:
    nowhere = f"postgresql://compass@/compass?host={tmp_path}&port=5432"
    for command in (("up",), ("server", "start"), ("server", "migrate")):
        began = time.monotonic()

        code, printed, complaint = await home.compass(*command, COMPASS_DATABASE__DSN=nowhere)

        assert code == 1
        assert printed == ""
        assert "the plane cannot reach its database; nothing was changed, try again in a moment" in complaint
        assert "Traceback" not in complaint
        assert time.monotonic() - began < 30
