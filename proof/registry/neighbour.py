"""The proof `neighbour`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "neighbour",
    ("I14", "G25"),
    "a tenant that asks for twenty times its share gets its share, and slows no other down",
    ("tests/faults/test_neighbour.py",),
    (
        Bug(
            "a tenant has what all its callers have",
            "compass/api/quota.py",
            "        return [(self._callers, key, _CALLER), (self._tenants, caller.tenant, _TENANT)]",
            "        return [(self._callers, key, _CALLER)]",
        ),
        Bug(
            "a caller may follow changes as often as it likes",
            "compass/api/quota.py",
            "                return [((kind, key), _CALLER, limits.caller_streams)]",
            "                return [((kind, key), _CALLER, 1000 * limits.caller_streams)]",
        ),
    ),
    needs_quiet=True,
)
