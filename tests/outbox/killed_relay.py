"""A relay process that kills itself at one moment: python -m tests.outbox.killed_relay DSN MOMENT.

Its reaction to an event is one row in the table `effect`, in the relay's transaction.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from compass.outbox import relay
from compass.outbox.events import Event
from compass.outbox.relay import Relay, reactions
from compass.postgres.pool import Database, Tx

CREATE: Final = "-- test\nCREATE TABLE effect (event bigint GENERATED ALWAYS AS IDENTITY, number int NOT NULL)"
MOMENTS: Final = (
    "before the lock",
    "after the lock",
    "after the claim",
    "before the reaction",
    "after the reaction",
    "after the mark",
    "after the commit",
    "never",
)


@dataclass(frozen=True)
class StepTaken(Event):
    """A step was taken."""

    number: int


class _Dying:
    """A transaction in which the process dies after one statement of the relay."""

    def __init__(self, tx: Tx, moment: str) -> None:
        self._tx = tx
        self._moment = moment

    async def value(self, sql: str, /, **parameters: Any) -> Any:
        if self._moment == "before the lock":
            die()
        result = await self._tx.value(sql, **parameters)
        if self._moment == "after the lock":
            die()
        return result

    async def row(self, sql: str, /, **parameters: Any) -> Any:
        result = await self._tx.row(sql, **parameters)
        if result is not None and self._moment == "after the claim":
            die()
        return result

    async def run(self, sql: str, /, **parameters: Any) -> int:
        result = await self._tx.run(sql, **parameters)
        if sql == relay.RELAYED and self._moment == "after the mark":
            die()
        return result


class DyingDatabase:
    """The database of a relay that dies."""

    def __init__(self, database: Database, moment: str) -> None:
        self._database = database
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[_Dying]:
        async with self._database.transaction() as tx:
            yield _Dying(tx, self._moment)
        if self._moment == "after the commit":
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(dsn: str, moment: str) -> None:
    async def take(tx: Tx, event: StepTaken) -> None:
        if moment == "before the reaction":
            die()
        await tx.run("-- test\nINSERT INTO effect (number) VALUES (%(number)s)", number=event.number)
        if moment == "after the reaction":
            die()

    async with Database.open(dsn) as database:
        dying: Any = DyingDatabase(database, moment)
        relayed = Relay(dying, reactions((StepTaken, take)))
        while await relayed.relay_one():
            pass


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
