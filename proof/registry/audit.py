"""The proof `audit`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "audit",
    ("I11", "A28", "G29"),
    "every change leaves a record in its own transaction, and whatever is done to records is seen",
    ("tests/audit", "tests/api/test_audited.py", "tests/director/test_audit_record.py"),
    (
        Bug(
            "a record that was altered is taken for what it was",
            "compass/audit/check.py",
            "            if record.digest() != wanted:",
            "            if not wanted:",
            ("tests/audit/test_check.py", "tests/audit/test_tampering.py"),
        ),
        Bug(
            "what was cut off is not missed by who kept the end",
            "compass/audit/check.py",
            "        if self.anchors.get(number, digest) != digest:",
            "        if not self.anchors.get(number, digest):",
            ("tests/audit/test_check.py", "tests/audit/test_tampering.py"),
        ),
    ),
    {
        "test_every_change_is_found_and_what_was_changed_is_named": 1_000,
        "test_a_log_that_nobody_touched_raises_no_alarm": 1_000,
        "test_a_million_records_are_checked_within_a_minute_and_the_one_that_was_changed_is_named": 1_000_000,
    },
    needs_quiet=True,
    minutes=40,
)
