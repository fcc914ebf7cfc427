"""What the demo says: each step with its evidence and its time, and at the end whether all were verified."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

_PAUSE_SECONDS: Final = 0.05


class StepNotVerified(Exception):  # a verdict on the product, not an error of the demo
    """What was expected on the other side is not there."""


@dataclass
class Narration:
    """Prints steps as they are verified and counts them."""

    verified: int = 0
    began: float = field(default_factory=time.monotonic)

    def chapter(self, title: str) -> None:
        """Begin a flow."""
        self._print(f"\n{title}")

    @asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[list[str]]:
        """Run one step; what the block appends to the yielded list is its evidence. Raises StepNotVerified."""
        evidence: list[str] = []
        began = time.monotonic()
        try:
            yield evidence
        except Exception as error:
            self._print(f"  ✗ {title}")
            self._print(f"      {error}")
            raise StepNotVerified(title) from error
        self.verified += 1
        self._print(f"  ✓ {title:<66} {(time.monotonic() - began) * 1000:7.0f} ms")
        for line in evidence:
            self._print(f"      {line}")

    def end(self, failed: str | None) -> None:
        """The last line."""
        took = time.monotonic() - self.began
        if failed is None:
            self._print(f"\n  All {self.verified} steps verified from the other side, in {took:.1f} s.")
        else:
            self._print(f"\n  Not verified: {failed}. {self.verified} steps before it were. {took:.1f} s.")

    def _print(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def expect(condition: object, otherwise: str) -> None:
    """Raises StepNotVerified with the sentence unless the condition holds."""
    if not condition:
        raise StepNotVerified(otherwise)


async def eventually(look: Callable[[], Awaitable[Any]], otherwise: str, *, within: float = 15.0) -> Any:
    """Look again until there is something to see, and return it. Raises StepNotVerified when the time is up."""
    deadline = time.monotonic() + within
    while True:
        seen = await look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise StepNotVerified(f"{otherwise} (waited {within:.0f} s)")
        await asyncio.sleep(_PAUSE_SECONDS)
