"""(m) the command line: from its start to its end, beside a bare Python, and with a plane on loopback."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from bench.table import Line, shown
from tests.e2e.plane import Plane

TURNS: Final = 15
BARE: Final = "a bare Python"
COMMANDS: Final = {
    BARE: ("-c", ""),
    "compass version": ("-m", "compass", "version"),
    "compass explain 20": ("-m", "compass", "explain", "20"),
    "compass app list": ("-m", "compass", "app", "list"),
}
AIMS: Final = {"compass version": "80 ms", "compass app list": "250 ms"}


async def starts(folder: Path) -> list[Line]:
    """(m)"""
    plane = Plane(folder)
    async with plane:
        # Whoever started the plane is signed in at it, in the home that the plane was started with.
        home = plane.anchor.parent.parent
        return await asyncio.to_thread(_measured, home)


def _measured(configuration: Path) -> list[Line]:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(configuration)}
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(TURNS):
        for name, arguments in COMMANDS.items():  # side by side: what else the machine does meets all of them
            begin = time.perf_counter()
            subprocess.run((sys.executable, *arguments), env=environment, check=True, stdout=subprocess.DEVNULL)
            took[name].append(time.perf_counter() - begin)
    bare = median(took[BARE])
    lines = []
    for name, seconds in took.items():
        aim = f"aim {AIMS[name]}" if name in AIMS else ""
        values = {"median": shown(median(seconds)), "fastest": shown(min(seconds))}
        lines.append(Line("m command line", name, values, f"{median(seconds) / bare:.1f} × bare  {aim}".rstrip()))
    return lines


SECTIONS: Final[Sequence[tuple[str, Callable[[Path], Awaitable[list[Line]]]]]] = (("m", starts),)
