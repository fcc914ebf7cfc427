"""The proof `recovery`."""

from typing import Final

from proof.promise import Proof

_OUTAGES = "test_planes_that_are_all_killed_at_once_serve_again_and_do_what_was_owed"

PROOF: Final = Proof(
    "recovery",
    ("G38",),
    "when every plane was killed they serve within three seconds of their start, and five later nothing is owed",
    (f"tests/faults/test_replicas.py::{_OUTAGES}",),
    at_least={_OUTAGES: 10},
    needs_quiet=True,
)
