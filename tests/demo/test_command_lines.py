"""No secret stands on a command line, which every process of the machine can read: all flows run and are watched."""

import asyncio
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

SECRET: Final = re.compile(r"(?i)secret|password|\.keys?$|token|dsn|pgpass")
"""Files that hold one, by their names."""
LONG: Final = 16
"""Characters of the shortest secret that is looked for."""
_OWN_SECONDS: Final = 0.01


def command_lines() -> dict[int, str]:
    """Of every process that can be seen now, by its id."""
    found = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                found[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue  # it is over
    return found


def secrets_in(folder: Path) -> set[str]:
    """Every word of every file that holds secrets."""
    found: set[str] = set()
    for place, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith("data")]  # the database's own files
        for name in filter(SECRET.search, names):
            with suppress(OSError):  # it is gone already
                words = re.split(r"[\s\"'=:,{}]+", (Path(place) / name).read_text(encoding="utf-8", errors="replace"))
                found |= {word for word in words if len(word) >= LONG and not word.startswith(("/", "-----"))}
    return found


@pytest.mark.timeout(600)
async def test_no_process_of_any_flow_has_a_secret_on_its_command_line(tmp_path: Path) -> None:
    seen: set[str] = set()
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "compass", "demo", "--folder", str(tmp_path), "--keep"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    telling = asyncio.create_task(running.communicate())
    secrets: set[str] = set()
    while not telling.done():
        seen |= {line for line in command_lines().values() if str(tmp_path) in line or "compass" in line}
        # Some files are gone when all is over, such as those of a runtime that was removed.
        secrets |= secrets_in(tmp_path)
        await asyncio.sleep(_OWN_SECONDS)

    said = (await telling)[0].decode()
    assert running.returncode == 0, said[-2000:]
    assert len(seen) > 5, seen
    assert len(secrets) > 5
    told = {line for line in seen if any(secret in line for secret in secrets)}
    assert told == set()
