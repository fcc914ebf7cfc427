"""What a proof and a planted bug are; `registry` has them, a file for each proof."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bug:
    """One small change of the code that breaks a promise."""

    name: str
    """What is wrong then."""
    file: str
    old: str
    """Text that the file has exactly once."""
    new: str
    tests: Sequence[str] = ()
    """Who has to see it; the tests of the proof when nobody is named."""


@dataclass(frozen=True)
class Proof:
    """Tests that show promises, and bugs that they have to see."""

    name: str
    promises: Sequence[str]
    says: str
    tests: Sequence[str]
    bugs: Sequence[Bug] = ()
    at_least: Mapping[str, int] = field(default_factory=dict)
    """Cases that the long form of a test has to try, by the test's name."""
    needs_quiet: bool = False
    """Whether something is held against the clock: on a machine that does other things too, a failure says nothing."""
    minutes: int = 20
    """After which a run is broken off, and has failed. Several times of what it takes."""

    @property
    def command(self) -> str:
        """How to run its long form alone."""
        return f"python -m proof {self.name}"
