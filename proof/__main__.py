"""Runs the long forms of the proofs and the planted bugs, and prints one table: `make proof`.

  python -m proof             everything; hours are not needed, but more than one is
  python -m proof I4 A12      what proves these promises (ids of design/guarantees.md, or names of the table)
  python -m proof --bugs      only the planted bugs: each suite has to fail on each bug that is planted for it
  python -m proof --short     the short forms, as `make test` runs them
  python -m proof --list      what there is

The promises, the tests that prove them and the bugs they have to catch are in `registry`. What was run is kept in
`.proof`: broken off, it goes on where it was, as long as no file of the tree has changed; `--again` runs everything
anew. Each proof has a bound of time, after which it has failed. It exits 1 when a test failed, when fewer cases were
tried than promised, or when a planted bug was not caught. What a run said, and a report of all that was tried, lie
there too; a seed that is shown replays the run, as the test's own docstring says.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from proof.kept import Kept, shortcomings
from proof.planted import Outcome, plant
from proof.promise import Proof
from proof.registry import PROOFS
from proof.run import Ran, run, say
from proof.table import Line, counted, sentence, table

ROOT = Path(__file__).parent.parent


def chosen(wanted: Sequence[str]) -> list[Proof]:
    """The proofs of these promises, or all. Exits when one is unknown."""
    for word in wanted:
        if not any(word in (proof.name, *proof.promises) for proof in PROOFS):
            known = ", ".join(sorted({name for proof in PROOFS for name in (proof.name, *proof.promises)}))
            raise SystemExit(f"error: nothing proves {word}; there is {known}")
    return [proof for proof in PROOFS if not wanted or any(word in (proof.name, *proof.promises) for word in wanted)]


def line(proof: Proof, ran: Ran | None, caught: Sequence[Outcome], *, long: bool = True) -> Line:
    """What one proof came to."""
    missed = [outcome.bug.name for outcome in caught if not outcome.caught]
    short = [] if ran is None else shortcomings(proof, ran, long=long)
    return Line(
        promise=f"{proof.name} ({' '.join(proof.promises)})",
        command=proof.command,
        cases="-" if ran is None else f"{ran.cases:,}",
        failures="-" if ran is None else str(ran.failures),
        bugs=f"{len(caught) - len(missed)}/{len(caught)}" if caught else "-",
        seed=" ".join(ran.seeds) if ran is not None and ran.seeds else "-",
        seconds=f"{(ran.seconds if ran else 0) + sum(outcome.seconds for outcome in caught):.0f}",
        missed=missed,
        is_good=not short and not missed,
        needs_quiet=proof.needs_quiet and ran is not None and long,
        short=short,
        counted={} if ran is None else ran.counted,
        caught={outcome.bug.name: outcome.seconds for outcome in caught if outcome.caught},
    )


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser("python -m proof", description="Prove what the plane promises.")
    parser.add_argument("promises", nargs="*", help="only what proves these")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--bugs", action="store_true", help="only plant the bugs")
    only.add_argument("--no-bugs", action="store_true", help="plant no bugs")
    parser.add_argument("--short", action="store_true", help="the short forms")
    parser.add_argument("--again", action="store_true", help="run what was proven already, too")
    parser.add_argument("--minutes", type=float, help="the bound of time of each proof, instead of its own")
    parser.add_argument("--into", type=Path, default=ROOT / ".proof", help="the folder for what is kept")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    given = parser.parse_args()
    proofs = chosen(given.promises)
    if given.list:
        for proof in proofs:
            sys.stdout.write(f"{proof.name} ({' '.join(proof.promises)}): {proof.says}\n  {' '.join(proof.tests)}\n")
            sys.stdout.writelines(f"  at least {least:,}: {sentence(test)}\n" for test, least in proof.at_least.items())
            sys.stdout.writelines(f"  planted: {bug.name} ({bug.file})\n" for bug in proof.bugs)
        return 0
    kept, long = Kept.of(given.into.resolve(), ROOT), not given.short
    lines = []
    for number, proof in enumerate(proofs, 1):
        say(f"[{number}/{len(proofs)}] {proof.name}: {proof.says}")
        ran = None if given.bugs else _ran(proof, kept, given, long=long)
        caught = [] if given.no_bugs else _caught(proof, kept, again=given.again)
        lines.append(line(proof, ran, caught, long=long))
    sys.stdout.write(table(lines) + "\n" + counted(lines))
    page = kept.report(lines, ROOT)
    is_good = all(one.is_good for one in lines)
    say(f"{'all of it holds' if is_good else 'not everything holds'}; the report is {page}, with what the runs said")
    return 0 if is_good else 1


def _ran(proof: Proof, kept: Kept, given: argparse.Namespace, *, long: bool) -> Ran:
    known = None if given.again else kept.ran(proof, long=long)
    if known is not None:
        say(f"    proven on this very tree already: {known.cases:,} cases in {known.seconds:.0f} s")
        return known
    minutes = given.minutes or proof.minutes
    ran = run(ROOT, proof.tests, kept.folder / proof.name, long=long, minutes=minutes)
    kept.keep_ran(proof, ran, long=long)
    return ran


def _caught(proof: Proof, kept: Kept, *, again: bool) -> list[Outcome]:
    known = None if again else kept.outcomes(proof)
    if known is not None:
        return known
    caught = plant(ROOT, proof, kept.folder)
    kept.keep_outcomes(proof, caught)
    return caught


if __name__ == "__main__":
    sys.exit(main())
