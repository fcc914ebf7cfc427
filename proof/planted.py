"""Planting bugs: a copy of the tree with one small change in it, on which the suite has to fail."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proof.promise import Bug, Proof
from proof.run import TESTS_FAILED, Ran, run, say


@dataclass(frozen=True)
class Outcome:
    """What became of one planted bug."""

    bug: Bug
    caught: bool
    seconds: float


def plant(root: Path, proof: Proof, reports: Path) -> list[Outcome]:
    """Plant each bug of a proof and run the short form of the tests that have to see it."""
    if not proof.bugs:
        return []
    outcomes = []
    sound: dict[tuple[str, ...], Ran] = {}
    with copied(root) as copy:
        for number, bug in enumerate(proof.bugs):
            tests = tuple(bug.tests or proof.tests)
            report = reports / f"{proof.name}-bug-{number}"
            if tests not in sound:  # that they fail says something only if they pass otherwise
                sound[tests] = run(copy, tests, reports / f"{proof.name}-sound-{number}", long=False, quiet=True)
                if not sound[tests].is_good:
                    say(f"    fails without any bug: {' '.join(tests)}; see {reports}/{proof.name}-sound-{number}.txt")
            try:
                with changed(copy, bug):
                    ran = run(copy, tests, report, long=False, first_failure=True, quiet=True)
            except BugOutdatedError as outdated_bug:
                say(f"    NOT PLANTED: {outdated_bug}")
                outcomes.append(Outcome(bug, caught=False, seconds=0.0))
                continue
            caught = sound[tests].is_good and ran.exit_code == TESTS_FAILED and ran.failures > 0
            outcomes.append(Outcome(bug, caught, ran.seconds))
            say(f"    {'caught' if caught else 'NOT CAUGHT'}: {bug.name} ({ran.seconds:.0f} s)")
    return outcomes


def listed(root: Path) -> list[Path]:
    """The files of a tree that are under version control or about to be."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607  # whichever git there is
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout.decode()
    # One that was deleted is listed until that is committed.
    return [root / name for name in names.split("\0") if name and (root / name).is_file()]


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """A copy of what is under version control or about to be, while the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="compass-planted-"))
    try:
        for source in listed(root):
            place = folder / source.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class BugOutdatedError(Exception):
    """The text that a bug replaces is not there exactly once: the registry is behind the code."""


@contextmanager
def changed(copy: Path, bug: Bug) -> Iterator[None]:
    """The bug is in the copy while the block runs. Raises BugOutdatedError."""
    place = copy / bug.file
    sound = place.read_text(encoding="utf-8")
    place.write_text(with_bug(sound, bug), encoding="utf-8")
    try:
        yield
    finally:
        place.write_text(sound, encoding="utf-8")


def with_bug(text: str, bug: Bug) -> str:
    """The file's text with the bug in it. Raises BugOutdatedError."""
    if text.count(bug.old) != 1:
        raise BugOutdatedError(f"{bug.name}: {bug.file} has {bug.old!r} {text.count(bug.old)} times, not once")
    return text.replace(bug.old, bug.new)


def outdated(root: Path, bugs: Sequence[Bug]) -> list[str]:
    """What is wrong with bugs whose text is not in the code any more."""
    problems = []
    for bug in bugs:
        try:
            with_bug((root / bug.file).read_text(encoding="utf-8"), bug)
        except (BugOutdatedError, FileNotFoundError) as error:
            problems.append(str(error))
    return problems
