"""The proof `reads`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "reads",
    ("G1", "G2"),
    "random queries, and random operations by many callers, are answered as a plain model says",
    ("tests/reads/test_differential.py", "tests/model"),
    (
        Bug(
            "what needs a scope is shown without it",
            "compass/reads/compile.py",
            "read.sanitized.get(selected.name)",
            'read.sanitized.get("")',
            ("tests/reads/test_compile.py",),
        ),
    ),
    {
        "test_every_answer_is_that_of_the_model": 20_000,
        "test_compiled_answers_are_those_of_a_resolver_per_field": 20_000,
    },
)
