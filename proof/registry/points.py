"""The proof `points`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "points",
    ("I2", "F1", "G5", "F16"),
    "pairing, renewal, revocation and rotation are killed at every point between two things they write",
    ("tests/faults/test_points.py",),
    (
        Bug(
            "what was done is recorded beside its transaction, not in it",
            "compass/api/request.py",
            "                await self._audited.done(tx, caller, selected.name, given, result, noted)\n",
            "                async with self._database.transaction() as another:\n"
            "                    await self._audited.done(another, caller, selected.name, given, result, noted)\n",
        ),
    ),
    {
        "test_a_pairing_that_is_killed_at_any_point_ends_with_one_certificate_for_one_key": 45,
        "test_a_renewal_that_is_killed_at_any_point_loses_no_certificate_and_leaves_none_without_record": 14,
        "test_a_revocation_that_is_killed_at_any_point_is_made_once_or_not_at_all": 12,
        "test_a_rotation_that_is_killed_at_any_point_is_as_before_or_one_phase_further": 60,
    },
    minutes=30,
)
