"""A rotation of the vault's key that kills itself at one point: python killed_vault_rotation.py DSN KEYS POINT."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from compass import vault
from compass.files import sync_folder
from compass.postgres.pool import Database, Tx
from compass.vault_rotation import retire, rotate


def at_every_point(reached: Callable[[], None], put: Callable[[object, str, Any], None]) -> None:
    """Have `reached` called before and after each draft of a key file, after it took its place, and after each commit.

    `put` sets an attribute of a module or a class.
    """
    write, run = vault._write, Database.run

    def written(draft: Path, text: str) -> None:
        reached()
        write(draft, text)
        reached()

    def replaced(folder: Path) -> None:
        reached()
        sync_folder(folder)

    async def committed(database: Database, work: Callable[[Tx], Awaitable[Any]], **given: Any) -> Any:
        done = await run(database, work, **given)
        reached()
        return done

    put(vault, "_write", written)
    put(vault, "sync_folder", replaced)
    put(Database, "run", committed)


async def main(dsn: str, keys: Path, point: int) -> None:
    """Rotate and retire; ends by itself when there are fewer points than that."""
    left = point

    def reached() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    at_every_point(reached, setattr)
    async with Database.open(dsn, connections=1) as database:
        await rotate(database, keys)
        await retire(database, keys)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
