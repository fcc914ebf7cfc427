"""Runs the long forms of the proofs and the planted bugs, and prints one table: `make proof`.

  python -m proof             everything; hours are not needed, but most of one is
  python -m proof I4 A12      what proves these promises (ids of design/guarantees.md, or names of the table)
  python -m proof --bugs      only the planted bugs: each suite has to fail on each bug that is planted for it
  python -m proof --short     the short forms, as `make test` runs them
  python -m proof --list      what there is

The promises, the tests that prove them and the bugs they have to catch are in `registry.py`. It exits 1 when a test
failed or a planted bug was not caught. What a failed run said stays in a file that is named; a seed that is shown
replays the run, as the test's own docstring says.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from proof.planted import Outcome, plant
from proof.registry import PROOFS, Proof
from proof.run import Ran, run, say
from proof.table import Line, table

ROOT = Path(__file__).parent.parent


def chosen(wanted: Sequence[str]) -> list[Proof]:
    """The proofs of these promises, or all. Exits when one is unknown."""
    for word in wanted:
        if not any(word in (proof.name, *proof.promises) for proof in PROOFS):
            known = ", ".join(sorted({name for proof in PROOFS for name in (proof.name, *proof.promises)}))
            raise SystemExit(f"error: nothing proves {word}; there is {known}")
    return [proof for proof in PROOFS if not wanted or any(word in (proof.name, *proof.promises) for word in wanted)]


def line(proof: Proof, ran: Ran | None, caught: Sequence[Outcome]) -> Line:
    """What one proof came to."""
    missed = [outcome.bug.name for outcome in caught if not outcome.caught]
    return Line(
        promise=f"{proof.name} ({' '.join(proof.promises)})",
        command=proof.command,
        cases="-" if ran is None else f"{ran.cases:,}",
        failures="-" if ran is None else str(ran.failures),
        bugs=f"{len(caught) - len(missed)}/{len(caught)}" if caught else "-",
        seed=" ".join(ran.seeds) if ran is not None and ran.seeds else "-",
        seconds=f"{(ran.seconds if ran else 0) + sum(outcome.seconds for outcome in caught):.0f}",
        missed=missed,
        is_good=(ran is None or ran.is_good) and not missed,
    )


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser("python -m proof", description="Prove what the plane promises.")
    parser.add_argument("promises", nargs="*", help="only what proves these")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--bugs", action="store_true", help="only plant the bugs")
    only.add_argument("--no-bugs", action="store_true", help="plant no bugs")
    parser.add_argument("--short", action="store_true", help="the short forms")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    given = parser.parse_args()
    proofs = chosen(given.promises)
    if given.list:
        for proof in proofs:
            sys.stdout.write(f"{proof.name} ({' '.join(proof.promises)}): {proof.says}\n  {' '.join(proof.tests)}\n")
            sys.stdout.writelines(f"  - {bug.name} ({bug.file})\n" for bug in proof.bugs)
        return 0
    reports = Path(tempfile.mkdtemp(prefix="compass-proof-"))
    lines = []
    for number, proof in enumerate(proofs, 1):
        say(f"[{number}/{len(proofs)}] {proof.name}: {proof.says}")
        ran = None if given.bugs else run(ROOT, proof.tests, reports / proof.name, long=not given.short)
        caught = [] if given.no_bugs else plant(ROOT, proof, reports)
        lines.append(line(proof, ran, caught))
    sys.stdout.write(table(lines))
    is_good = all(one.is_good for one in lines)
    if not is_good:
        say(f"not everything holds; what failed is in {reports}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
