"""`python -m tests.faults.killed_at …` is `compass …` that kills itself at one named point of what it does.

Every statement of ours has a name, so every place where a process can die between two things that it writes has one
too: before and after each statement and each signature, before and after each commit, and before the answer. Nobody
has to list them: a step that is done once with the order `reach` says which it passes.

The order is a file, `COMPASSES_END` in the environment names it. `reach` writes each point into `<order>.reached`;
`kill <point>` removes the order, so that the process that comes next lives, and ends this one as a power cut would.
"""

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compass.api.request import Endpoint
from compass.cli.main import main
from compass.connector.issuer import Issuer
from compass.postgres.pool import Database, Tx

ORDER: Final = "COMPASSES_END"
_NAMED: Final = re.compile(r"\s*-- (\w+\.\w+)")
_STEP: Final = re.compile(r"\b(configuration|signCertificateSigningRequest|revokeCertificates?|request\w+For\w+)\b")


class Step:
    """What is being done, in which of its transactions, and how often it passed a point of that already."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._transaction = 0
        self._passed: Counter[str] = Counter()

    def begins(self) -> None:
        """A transaction begins."""
        self._transaction += 1
        self._passed.clear()

    def passing(self, point: str) -> str:
        """The point's name in full."""
        self._passed[point] += 1
        again = f", time {self._passed[point]}" if self._passed[point] > 1 else ""
        where = f" of transaction {self._transaction}" if self._transaction > 1 else ""
        return f"{self._name}: {point}{where}{again}"


_step: ContextVar[Step | None] = ContextVar("_step", default=None)
"""Work in the background is none."""


@dataclass(frozen=True)
class Orders:
    """What a process is told about its end, seen from the test that tells it."""

    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """For the process."""
        return {ORDER: str(self.file)}

    @property
    def is_carried_out(self) -> bool:
        """Whether the point was reached, and the process killed."""
        return not self.file.exists()

    def reach(self) -> None:
        """Have the points written down."""
        self.file.write_text("reach")

    def reached(self) -> list[str]:
        """The points that were passed since, each once; nothing more is written down."""
        self.file.unlink()
        noted = self.file.with_suffix(".reached")
        points = list(dict.fromkeys(noted.read_text().splitlines()))
        noted.unlink()
        return points

    def kill(self, point: str) -> None:
        """Have it killed there."""
        self.file.write_text(f"kill {point}")


def _at(point: str) -> None:
    step = _step.get()
    if step is None:
        return
    named = step.passing(point)
    order = Path(os.environ[ORDER])
    try:
        wanted = order.read_text()
    except FileNotFoundError:
        return
    if wanted == "reach":
        with order.with_suffix(".reached").open("a") as noted:
            noted.write(f"{named}\n")
    elif wanted == f"kill {named}":
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: type, method: str, name: Callable[[tuple[Any, ...]], str]) -> None:
    original = getattr(owner, method)

    async def dying(self: Any, *arguments: Any, **named: Any) -> Any:
        _at(f"before {name(arguments)}")
        result = await original(self, *arguments, **named)
        _at(f"after {name(arguments)}")
        return result

    setattr(owner, method, dying)


def _statement(arguments: tuple[Any, ...]) -> str:
    named = _NAMED.match(arguments[0])
    return named[1] if named else "a statement"


def _transactions() -> None:
    original = Database.transaction

    @asynccontextmanager
    async def dying(self: Database, *arguments: Any) -> AsyncIterator[Tx]:
        step = _step.get()
        if step is not None:
            step.begins()
        async with original(self, *arguments) as tx:
            yield tx
            _at("before the commit")
        _at("after the commit")

    Database.transaction = dying  # type: ignore[method-assign,assignment]  # which is what this is for


def _requests() -> None:
    original = Endpoint.answer

    async def dying(self: Endpoint, caller: Any, text: str, *arguments: Any, **named: Any) -> Any:
        found = _STEP.search(text)
        before = _step.set(Step(found[1]) if found else None)
        try:
            answer = await original(self, caller, text, *arguments, **named)
            _at("before the answer")
            return answer
        finally:
            _step.reset(before)

    Endpoint.answer = dying  # type: ignore[method-assign]  # as above


def mortal() -> None:
    """Give this process its points."""
    for method in ("row", "rows", "value", "run"):
        _around(Tx, method, _statement)
    _around(Issuer, "sign_client", lambda _: "the signature")
    _transactions()
    _requests()
    if "rotate" in sys.argv:
        _step.set(Step(sys.argv[sys.argv.index("rotate") + 1]))


if __name__ == "__main__":
    mortal()
    main()
