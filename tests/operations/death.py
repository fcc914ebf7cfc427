"""A process that works on operations and kills itself at one named moment."""

import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from compass.operations.operation import Kind, Operation
from compass.postgres.pool import Database, Tx


class Death:
    """Comes at one moment, and never without one."""

    def __init__(self, moment: str = "", at: str = "") -> None:
        self._moment = (moment, at)

    def if_now(self, moment: str, at: str) -> None:
        """Kill -9, from inside."""
        if (moment, at) == self._moment:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingDatabase:
    """In the instant after something was committed."""

    def __init__(self, database: Database, death: Death) -> None:
        self._database = database
        self._death = death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, work: Callable[[Tx], Awaitable[Any]]) -> Any:
        done = await self._database.run(work)
        match work.__name__:
            case "claim" if done[0]:
                self._death.if_now("after the claim", done[0][0].operation.step)
            case "enter":
                self._death.if_now("after entering is committed", done.step)
            case name:
                self._death.if_now("after the commit", name)
        return done


def dying(kind: Kind, death: Death) -> Kind:
    """The kind, dying before an entry or its end is committed."""

    async def entered(_tx: Tx, op: Operation) -> None:
        death.if_now("before entering is committed", op.step)

    async def finished(tx: Tx, op: Operation) -> None:
        await kind.finished(tx, op)
        death.if_now("before the end is committed", "finish")

    return replace(kind, entered=entered, finished=finished)
