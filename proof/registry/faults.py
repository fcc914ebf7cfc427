"""The proof `faults`."""

from typing import Final

from proof.promise import Bug, Proof

_REPLICAS = "tests/faults/test_replicas.py"

PROOF: Final = Proof(
    "faults",
    ("I5", "I7", "F1", "F2", "G5", "G6"),
    "planes are killed at random moments of every flow; nothing is lost, nothing is double",
    (
        "tests/faults/test_application_operation.py",
        "tests/faults/test_formation_lifecycle.py",
        "tests/faults/test_mutations.py",
        "tests/faults/test_notifications.py",
        "tests/faults/test_provisioning.py",
        *(
            f"{_REPLICAS}::{test}"
            for test in (
                "test_changes_at_both_planes_are_told_once_each_and_in_order_while_one_of_them_is_killed",
                "test_only_one_relays_at_a_time_so_a_backlog_is_told_in_the_order_of_its_causes",
                "test_both_planes_serve_what_either_wrote_and_issue_for_one_authority",
            )
        ),
    ),
    (
        Bug(
            "what a worker held that died is held for hours",
            "compass/postgres/queue.py",
            "    next_at = clock_timestamp() + %(lease)s\n-- An array",
            "    next_at = clock_timestamp() + 10000 * %(lease)s\n-- An array",
            ("tests/faults/test_application_operation.py",),
        ),
        Bug(
            "an operation ends without what its end changes",
            "compass/operations/worker.py",
            "            await self._kinds[op.kind].finished(tx, operation_from(row))\n",
            "            pass\n",
            ("tests/faults/test_application_operation.py",),
        ),
    ),
    minutes=60,
)
