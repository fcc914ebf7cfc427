"""The runner of the proofs: what it reads from a run, which planted bugs it calls caught, and that all of them fit."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from proof.__main__ import chosen, line
from proof.kept import Kept
from proof.planted import Outcome, outdated, plant
from proof.promise import Bug, Proof
from proof.registry import PROOFS
from proof.run import BROKEN_OFF, Ran, run
from proof.table import table

ROOT: Final = Path(__file__).parent.parent
BUGS: Final = [bug for proof in PROOFS for bug in proof.bugs]

SOUND = "def twice(number):\n    return 2 * number\n\n\ndef thrice(number):\n    return 3 * number\n"
TESTS = """
from mod import twice

def test_two(record_property):
    print("MOD_SEED=7")
    record_property("cases", 40)
    assert twice(1) == 2

def test_nothing():
    pass
"""
SEEN = Bug("seen", "mod.py", "2 * number", "4 * number")
UNSEEN = Bug("unseen", "mod.py", "3 * number", "4 * number")
GONE = Bug("gone", "mod.py", "5 * number", "4 * number")
BROKEN = Bug("broken", "mod.py", "def twice", "def twise")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree under version control with one module and its tests."""
    root = tmp_path / "tree"
    (root / "tests").mkdir(parents=True)
    (root / "mod.py").write_text(SOUND)
    (root / "tests/test_mod.py").write_text(TESTS)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def proof(*bugs: Bug, tests: Any = ("tests/test_mod.py",)) -> Proof:
    return Proof("mod", ("X1",), "numbers are doubled", tests, bugs)


def test_every_planted_bug_still_fits_the_code() -> None:
    assert outdated(ROOT, BUGS) == []


def test_every_bug_has_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS)


def test_every_test_that_a_proof_names_is_there() -> None:
    named = {name for proof in PROOFS for name in (*proof.tests, *(test for bug in proof.bugs for test in bug.tests))}

    assert {name for name in named if not (ROOT / name.partition("::")[0]).exists()} == set()


def test_every_test_with_a_long_form_is_run_by_a_proof() -> None:
    named = [name for proof in PROOFS for name in proof.tests]
    long = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r'environ\.get\("COMPASS_PROOF"\)|faults\.chaos', path.read_text(encoding="utf-8"))
    ]

    named = [name.partition("::")[0] for name in named]
    assert [name for name in long if not any(f"{name}/".startswith(f"{one}/") for one in named)] == []


def functions(file: str) -> list[str]:
    """The names of the tests in a file."""
    return re.findall(r"^(?:async )?def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_of_a_file_that_proofs_share_every_test_is_run_by_one_and_by_one_only() -> None:
    shared = [name.partition("::") for proof in PROOFS for name in proof.tests if "::" in name]

    for file in {file for file, _, _ in shared}:
        assert sorted(test for of, _, test in shared if of == file) == sorted(functions(file))


def test_what_has_to_be_tried_at_least_is_asked_of_tests_that_the_proof_runs() -> None:
    for proof in PROOFS:
        run_by_it = set()
        for name in proof.tests:
            file, _, test = name.partition("::")
            folder = ROOT / file
            files = folder.rglob("test_*.py") if folder.is_dir() else [folder]
            run_by_it |= {test} if test else {one for each in files for one in functions(str(each.relative_to(ROOT)))}
        assert proof.at_least.keys() - run_by_it == set(), proof.name


def test_a_run_says_how_many_cases_it_tried_and_by_which_seed(tree: Path, tmp_path: Path) -> None:
    ran = run(tree, ["tests/test_mod.py"], tmp_path / "report", long=False, quiet=True)

    assert (ran.tests, ran.cases, ran.failures, ran.seeds, ran.is_good) == (2, 41, 0, ["MOD_SEED=7"], True)
    assert ran.counted == {"test_two": 40}


def test_a_run_that_takes_too_long_is_broken_off_and_proves_nothing(tree: Path, tmp_path: Path) -> None:
    (tree / "tests/test_mod.py").write_text("import time\n\ndef test_for_ever():\n    time.sleep(600)\n")

    ran = run(tree, ["tests/test_mod.py"], tmp_path / "report", long=False, minutes=0.01, quiet=True)

    assert (ran.exit_code, ran.is_good) == (BROKEN_OFF, False)
    assert ran.seconds < 60


def test_a_bug_is_caught_when_the_tests_fail_on_it_and_only_then(tree: Path, tmp_path: Path) -> None:
    outcomes = plant(tree, proof(SEEN, UNSEEN, GONE, BROKEN), tmp_path)

    # Tests that cannot even be collected have seen nothing.
    assert [(one.bug.name, one.caught) for one in outcomes] == [
        ("seen", True),
        ("unseen", False),
        ("gone", False),
        ("broken", False),
    ]
    assert (tree / "mod.py").read_text() == SOUND


def test_tests_that_fail_without_the_bug_catch_nothing(tree: Path, tmp_path: Path) -> None:
    (tree / "tests/test_mod.py").write_text(f"{TESTS}\ndef test_wrong():\n    assert twice(1) == 3\n")

    assert [one.caught for one in plant(tree, proof(SEEN), tmp_path)] == [False]


def test_the_table_says_which_bugs_were_missed() -> None:
    outcomes = [Outcome(SEEN, caught=True, seconds=1.2), Outcome(UNSEEN, caught=False, seconds=1.0)]
    good = line(proof(SEEN), Ran(0, 12.0, tests=2, cases=1041, seeds=["MOD_SEED=7"]), outcomes[:1])
    bad = line(proof(SEEN, UNSEEN), Ran(0, 12.0, tests=2, cases=1041), outcomes)

    assert (good.is_good, bad.is_good) == (True, False)
    assert [re.split(r"  +", text) for text in table([good, bad]).splitlines()] == [
        ["promise", "command", "cases", "failures", "bugs caught", "seed", "seconds"],
        ["mod (X1)", "python -m proof mod", "1,041", "0", "1/1", "MOD_SEED=7", "13", "ok"],
        ["mod (X1)", "python -m proof mod", "1,041", "0", "1/2", "-", "14", "FAILED"],
        ["not caught: unseen"],
    ]


def test_a_long_form_that_tried_less_than_it_has_to_is_no_proof() -> None:
    wanting = replace(proof(), at_least={"test_two": 41, "test_three": 1})
    ran = Ran(0, 12.0, tests=2, cases=41, counted={"test_two": 40})

    long, short = line(wanting, ran, []), line(wanting, ran, [], long=False)

    assert (long.is_good, short.is_good) == (False, True)
    assert table([long]).splitlines()[2:] == [
        "mod (X1): test_two tried 40 of 41",
        "mod (X1): test_three tried 0 of 1",
    ]


def test_the_table_says_of_which_proof_the_machine_decides() -> None:
    told = line(replace(proof(), needs_quiet=True), Ran(0, 12.0, tests=2, cases=41), [])

    assert table([told]).splitlines()[1].endswith("  ok, needs a quiet machine")


def test_what_was_proven_is_not_run_again_until_a_file_has_changed(tree: Path, tmp_path: Path) -> None:
    seen = replace(proof(SEEN), at_least={"test_two": 40})
    kept = Kept.of(tmp_path / "kept", tree)
    good, poor = Ran(0, 12.0, tests=2, cases=41, seeds=["MOD_SEED=7"], counted={"test_two": 40}), Ran(1, 1.0)
    outcome = Outcome(SEEN, caught=True, seconds=1.5)
    assert (kept.ran(seen, long=True), kept.outcomes(seen)) == (None, None)

    kept.keep_ran(seen, good, long=True)
    kept.keep_ran(seen, poor, long=False)
    kept.keep_outcomes(seen, [outcome])

    again = Kept.of(tmp_path / "kept", tree)
    assert (again.ran(seen, long=True), again.ran(seen, long=False)) == (good, None)
    assert again.ran(replace(seen, at_least={"test_two": 41}), long=True) is None
    assert again.outcomes(seen) == [outcome]
    assert again.outcomes(proof(SEEN, UNSEEN)) is None
    kept.keep_outcomes(seen, [replace(outcome, caught=False)])
    assert again.outcomes(seen) is None
    (tree / "new.py").write_text("")
    assert Kept.of(tmp_path / "kept", tree).ran(seen, long=True) is None


def test_the_report_has_every_count_and_every_bug_in_words(tree: Path, tmp_path: Path) -> None:
    ran = Ran(0, 12.0, tests=2, cases=41, counted={"test_two_is_doubled": 40})
    lines = [line(proof(SEEN), ran, [Outcome(SEEN, caught=True, seconds=2.0)])]

    page = Kept.of(tmp_path / "kept", tree).report(lines, tree).read_text()

    assert page.splitlines()[0].startswith("commit ")
    assert page.endswith(f"{table(lines)}\nmod (X1)\n         40  two is doubled\n        2 s  caught: seen\n")


def test_a_run_without_any_test_is_no_proof() -> None:
    assert not line(proof(), Ran(5, 1.0), []).is_good


def test_proofs_are_chosen_by_promise_and_by_name() -> None:
    assert [one.name for one in chosen(["I1", "secrets"])] == ["pairing", "secrets"]
    assert chosen([]) == list(PROOFS)
    with pytest.raises(SystemExit, match="nothing proves I99"):
        chosen(["I99"])
