"""The demo as a newcomer runs it: every flow, with real processes, verified from the other side."""

import asyncio
import os
import sys
from pathlib import Path

import pytest


async def compass(*arguments: str, home: Path) -> tuple[int, str]:
    """Run a command of ours and return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "compass",
        *arguments,
        env={**os.environ, "XDG_CONFIG_HOME": str(home), "XDG_DATA_HOME": str(home)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


@pytest.mark.timeout(180)
async def test_every_flow_is_verified_and_nothing_is_left_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"

    code, printed = await compass("demo", "--folder", str(folder), "--keep", home=tmp_path / "home")

    assert code == 0, printed
    assert "steps verified from the other side" in printed
    for flow in ("1  ", "2  ", "3  ", "4  ", "5  ", "6  ", "7  "):
        assert f"\n{flow}" in printed
    assert "✗" not in printed
    assert _processes_of(folder) == []


def _processes_of(folder: Path) -> list[str]:
    """Processes that mention the folder on their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found
