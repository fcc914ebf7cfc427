"""Measures the plane and prints one table: `make bench`, or `python -m bench a c` for some sections only.

Everything runs against a PostgreSQL of its own in a temporary folder, with the settings of a real plane (fsync on).
Nothing is asserted but that the variants of a comparison answer the same JSON.

  a  compiled reads against the best statements by hand      f  from a commit to a webhook, to an agent
  b  compiled reads against a resolver server                 g  start-up and memory
  c  the Runtime Agent's own query                            h  every list, of 1,000 and of 100,000 rows
  d  the latency of a page in small and large tenants         i  filters by label, the same
  e  pairing and token redemption over TLS                    j  registering applications; k joining groups
                                                              l  from a commit to who follows the change feed
  m  start of the command line                               n  weight and time of the console's pages
"""

import argparse
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import uvloop

from bench import command_line, console, feed, lists, plane, reads, standing, writes
from bench.landscape import Size, seed
from bench.table import Line, table
from compass.postgres.embedded import running
from compass.postgres.migrate import migrate
from compass.postgres.pool import Database

SECTIONS = "abcdefghijklmn"


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


@asynccontextmanager
async def _seeded(dsn: str, name: str, fill: Callable[[Database], Awaitable[None]]) -> AsyncIterator[Database]:
    """A database of its own in the cluster, filled."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    own = urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
    await migrate(own)
    began = time.monotonic()
    async with Database.open(own) as database:
        await fill(database)
        _say(f"  the database {name} in {time.monotonic() - began:.1f} s")
        yield database


async def _reads(dsn: str, wanted: str) -> list[Line]:
    lines: list[Line] = []
    if set("abc") & set(wanted):
        async with _seeded(dsn, "bench", partial(seed, size=Size())) as database:
            for section, measure in (
                ("a", reads.against_hand_served),
                ("a", reads.against_hand),
                ("b", reads.against_resolvers),
                ("c", reads.of_an_agent),
            ):
                if section in wanted:
                    _say(f"  section {section}")
                    lines += await measure(database)
    if "d" in wanted:
        async with (
            _seeded(dsn, "small", partial(seed, size=reads.SMALL)) as small,
            _seeded(dsn, "large", partial(seed, size=reads.LARGE)) as large,
        ):
            lines += await reads.pages(small, large)
    if set("hi") & set(wanted):
        async with AsyncExitStack() as stack:
            databases = {
                name: await stack.enter_async_context(_seeded(dsn, f"rows_{rows}", partial(lists.seed, rows=rows)))
                for name, rows in lists.ROWS.items()
            }
            for section, measure_both in (("h", lists.lists), ("h", standing.cost), ("i", lists.filters)):
                if section in wanted:
                    _say(f"  section {section}")
                    lines += await measure_both(databases)
    return lines


async def _measure(wanted: str) -> list[Line]:
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="compass-bench-") as folder:
        if set("abcdhi") & set(wanted):
            async with running(Path(folder) / "postgres") as dsn:
                lines += await _reads(dsn, wanted)
        for section, measured in (
            *plane.SECTIONS,
            *writes.SECTIONS,
            *feed.SECTIONS,
            *command_line.SECTIONS,
            *console.SECTIONS,
        ):
            if section in wanted:
                _say(f"  section {section}")
                lines += await measured(Path(folder) / section)
    return lines


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="which sections; all when none is named")
    wanted = "".join(parser.parse_args().sections) or SECTIONS
    sys.stdout.write(table(uvloop.run(_measure(wanted))) + "\n")


if __name__ == "__main__":
    main()
