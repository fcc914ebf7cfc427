"""A restore that kills itself at one point: python killed_restore.py DSN FILE KEYS POINT. Prints how many it passed."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from compass.backup import restore as restoring
from compass.backup.archive import opened
from compass.backup.restore import require_fitting, restore
from compass.postgres import programs
from compass.postgres.pool import Tx
from compass.postgres.programs import Programs


def at_every_point(reached: Callable[[], None], put: Callable[[object, str, Any], None]) -> None:
    """Have `reached` called before every statement and piece of the dump, and after what programs and migrations did.

    `put` sets an attribute of a module or a class.
    """
    fill, migrate, set_aside = programs.restore, restoring.migrate_restored, restoring._set_aside  # type: ignore[attr-defined]

    async def filled(chosen: Programs, dsn: str, pieces: Iterable[bytes]) -> None:
        def each() -> Iterator[bytes]:
            for piece in pieces:
                reached()
                yield piece

        await fill(chosen, dsn, each())
        reached()

    async def migrated(dsn: str) -> list[str]:
        done = await migrate(dsn)
        reached()
        return done

    def aside(*given: Any) -> int:
        reached()
        return set_aside(*given)

    for name in ("run", "row", "rows", "value"):
        asked = getattr(Tx, name)

        async def around(tx: Tx, *given: Any, asked: Any = asked, **named: Any) -> Any:
            reached()
            return await asked(tx, *given, **named)

        put(Tx, name, around)
    put(programs, "restore", filled)
    put(restoring, "migrate_restored", migrated)
    put(restoring, "_set_aside", aside)


async def main(dsn: str, file: Path, keys: Path, point: int) -> None:
    """Restore; ends by itself when there are fewer points than that."""
    passed = 0

    def reached() -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    with opened(file) as archive:
        to_fill = await require_fitting(dsn, archive)
        at_every_point(reached, setattr)
        await restore(dsn, archive, keys, told=lambda _: None, to_fill=to_fill)
    sys.stdout.write(f"{passed}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
