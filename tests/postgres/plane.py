"""A process of its own that does one thing with PostgreSQL and can be killed while doing it.

`plane.py run FOLDER [ACCOUNT]` runs the embedded PostgreSQL, prints its DSN and waits.
`plane.py connect DSN ACCOUNT` prints how an attempt to connect ended.
`plane.py migrate DSN FOLDER` migrates the database.
With an ACCOUNT it first becomes that one, which root can; everybody else stays who they are.
"""

import asyncio
import os
import pwd
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path

import asyncpg

from compass.postgres.embedded import running
from compass.postgres.migrate import migrate


def become(account: str) -> None:
    if os.geteuid() == 0:
        entry = pwd.getpwnam(account)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run(folder: str, account: str = "root") -> None:
    become(account)
    async with running(Path(folder)) as dsn:
        say(dsn)
        await asyncio.sleep(600)


async def connect(dsn: str, account: str) -> None:
    become(account)
    try:
        connection = await asyncpg.connect(dsn)
    except (OSError, asyncpg.PostgresError) as error:
        say(type(error).__name__)
    else:
        await connection.close()
        say("connected")


async def migrating(dsn: str, folder: str) -> None:
    await migrate(dsn, folder=Path(folder))


WHAT: dict[str, Callable[..., Coroutine[None, None, None]]] = {"run": run, "connect": connect, "migrate": migrating}


# Whoever runs the tests in the background of a shell starts them with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with suppress(KeyboardInterrupt):
    asyncio.run(WHAT[sys.argv[1]](*sys.argv[2:]))
