"""The proof `herd`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "herd",
    ("F19", "G24"),
    "2,000 clients of one age renew over days, not at one moment, and an outage in the middle leaves none behind",
    ("tests/faults/test_herd.py",),
    (
        Bug(
            "a fleet that was paired in one minute renews in one",
            "compass/agent/pair.py",
            "life * RENEW_BELOW * (1 + jitter / 10)",
            "life * RENEW_BELOW * (1 + 0 * jitter)",
        ),
    ),
    {"test_a_fleet_of_one_age_renews_spread_out_and_whole_though_the_plane_is_away_for_a_while": 2_000},
)
