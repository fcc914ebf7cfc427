"""What runs came to, kept in a folder: what was broken off goes on where it was, and a report says what was done."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from proof.planted import Outcome, listed
from proof.promise import Proof
from proof.run import Ran
from proof.table import Line, counted, table


@dataclass(frozen=True)
class Kept:
    """The results in one folder, as far as they are about this tree."""

    folder: Path
    tree: str
    """A digest of every file under version control or about to be."""

    @classmethod
    def of(cls, folder: Path, root: Path) -> "Kept":
        """For the tree at `root`, as it is now."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, digest(root))

    def ran(self, proof: Proof, *, long: bool) -> Ran | None:
        """What its tests came to, when they were run on this tree and were good."""
        known = self._read(_ran(proof, long=long))
        ran = None if known is None else Ran(**known)
        return ran if ran is not None and not shortcomings(proof, ran, long=long) else None

    def keep_ran(self, proof: Proof, ran: Ran, *, long: bool) -> None:
        """For the next time, and for the report."""
        self._write(_ran(proof, long=long), asdict(ran))

    def outcomes(self, proof: Proof) -> list[Outcome] | None:
        """What became of its planted bugs, when all were caught on this tree."""
        known = self._read(_bugs(proof))
        if known is None or {one["name"] for one in known} != {bug.name for bug in proof.bugs}:
            return None
        seconds = {one["name"]: one["seconds"] for one in known if one["caught"]}
        if len(seconds) < len(proof.bugs):
            return None
        return [Outcome(bug, caught=True, seconds=seconds[bug.name]) for bug in proof.bugs]

    def keep_outcomes(self, proof: Proof, outcomes: Sequence[Outcome]) -> None:
        """The same for bugs."""
        told = [{"name": one.bug.name, "caught": one.caught, "seconds": one.seconds} for one in outcomes]
        self._write(_bugs(proof), told)

    def report(self, lines: Sequence[Line], root: Path) -> Path:
        """The table once more, with all that was counted, every bug, and on what machine: a page to keep."""
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607  # whichever git there is
            cwd=root,
            check=False,
            capture_output=True,
            text=True,
        ).stdout.strip()
        python = f"Python {platform.python_version()}"
        head = f"commit {commit}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors, {python}\n\n"
        page = self.folder / "report.txt"
        page.write_text(head + table(lines) + "\n" + counted(lines), encoding="utf-8")
        return page

    def _read(self, name: str) -> Any:
        try:
            known = orjson.loads((self.folder / name).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        return known["result"] if known.get("tree") == self.tree else None

    def _write(self, name: str, result: Any) -> None:
        draft = self.folder / f".{name}"
        draft.write_bytes(orjson.dumps({"tree": self.tree, "result": result}, option=orjson.OPT_INDENT_2) + b"\n")
        draft.replace(self.folder / name)


def _ran(proof: Proof, *, long: bool) -> str:
    return f"{proof.name}.{'long' if long else 'short'}.json"


def _bugs(proof: Proof) -> str:
    return f"{proof.name}.bugs.json"


def shortcomings(proof: Proof, ran: Ran, *, long: bool) -> list[str]:
    """Why a run proves nothing, or less than it has to: of a long form, also the cases that it did not try."""
    found = [] if ran.is_good else ["a test failed" if ran.failures else "it did not come to its end"]
    if long:
        found += [
            f"{test} tried {ran.counted.get(test, 0):,} of {least:,}"
            for test, least in proof.at_least.items()
            if ran.counted.get(test, 0) < least
        ]
    return found


def digest(root: Path) -> str:
    """Of the tree, whatever was changed in it and not committed."""
    together = hashlib.sha256()
    for file in listed(root):
        together.update(f"{file.relative_to(root)}\0".encode())
        together.update(hashlib.sha256(file.read_bytes()).digest())
    return together.hexdigest()
