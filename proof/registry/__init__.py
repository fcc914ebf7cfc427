"""What proves which promise, and the bugs that each proof has to catch: a file for each proof.

A promise is an id of design/guarantees.md. A proof names the tests that show it; with `COMPASS_PROOF=1` they run their
long form. A planted bug is one replacement in one file. When code that a bug changes is rewritten, the bug is rewritten
with it: `tests/test_proof.py` says which no longer fit. `(original)` marks defects that the original Compass had.
"""

from collections.abc import Sequence
from typing import Final

from proof.promise import Proof
from proof.registry import (
    access_tokens,
    audit,
    authority,
    backup,
    bounded_cost,
    certificates,
    command_line,
    console,
    faults,
    foreign_revocation,
    fresh_clone,
    herd,
    matrix,
    neighbour,
    outbound,
    outbox,
    pairing,
    points,
    reads,
    recovery,
    revocation,
    safe_start,
    secrets,
    standing,
    tenancy,
)

PROOFS: Final[Sequence[Proof]] = (
    pairing.PROOF,
    certificates.PROOF,
    revocation.PROOF,
    foreign_revocation.PROOF,
    points.PROOF,
    herd.PROOF,
    neighbour.PROOF,
    tenancy.PROOF,
    matrix.PROOF,
    access_tokens.PROOF,
    bounded_cost.PROOF,
    outbound.PROOF,
    secrets.PROOF,
    outbox.PROOF,
    audit.PROOF,
    console.PROOF,
    standing.PROOF,
    authority.PROOF,
    backup.PROOF,
    safe_start.PROOF,
    reads.PROOF,
    faults.PROOF,
    recovery.PROOF,
    command_line.PROOF,
    fresh_clone.PROOF,
)
