"""The proof `fresh-clone`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "fresh-clone",
    ("README",),
    "the README's commands work in a fresh clone of the last commit",
    ("tests/docs/test_fresh_clone.py",),
    (
        Bug(
            "the first command that the README names is called otherwise",
            "Makefile",
            "\ndemo: $(READY)",
            "\ndemonstration: $(READY)",
            ("tests/docs/test_readme.py::test_every_make_target_that_is_mentioned_exists",),
        ),
        Bug(
            "the README's list of exit codes is of another release",
            "README.md",
            "| 9 | not the pinned plane",
            "| 19 | not the pinned plane",
            ("tests/docs/test_readme.py::test_every_exit_code_is_listed",),
        ),
    ),
    minutes=80,
)
