"""The proof `revocation`."""

from typing import Final

from proof.promise import Bug, Proof

_REPLICAS = "tests/faults/test_replicas.py"
_REVOKED = "test_a_revoked_certificate_is_refused_on_every_open_connection_to_either_plane"

PROOF: Final = Proof(
    "revocation",
    ("I3", "A9", "A10"),
    "a revoked certificate, and what was renewed from it, is refused at once",
    ("tests/connector/test_revocation.py", "tests/access/test_authenticate.py", f"{_REPLICAS}::{_REVOKED}"),
    (
        Bug(
            "a revoked certificate is good for as long as its connection is open",
            "compass/access/authenticate.py",
            "        if await self._revoked.is_revoked(fingerprint):\n",
            "        if not fingerprint:\n",
            (f"{_REPLICAS}::{_REVOKED}",),
        ),
        Bug(
            "a revocation leaves what was renewed from the certificate",
            "compass/connector/revocation.py",
            "WHERE lineage = ANY(%(lines)s::text[]) AND revoked_at IS NULL",
            "WHERE serial = ANY(%(lines)s::text[]) AND revoked_at IS NULL",
            ("tests/connector/test_revocation.py",),
        ),
        Bug(
            "a replica that hears nothing believes what it knew",
            "compass/connector/revocation.py",
            "        return listening and time.monotonic() - self._counted_at < FRESH_SECONDS",
            "        return True or listening",
            ("tests/connector/test_revocation.py",),
        ),
        Bug(
            "what nobody heard of is let in for two seconds",
            "compass/connector/revocation.py",
            "FRESH_SECONDS: Final = 1.0\n",
            "FRESH_SECONDS: Final = 2.0\n",
            ("tests/connector/test_revocation.py",),
        ),
        Bug(
            "an announcement that was lost is never made up for",
            "compass/connector/revocation.py",
            '        if (await self._ask(COUNT))["counted"] == self._counted:',
            '        if (await self._ask(COUNT))["counted"] is not None:',
            ("tests/connector/test_revocation.py",),
        ),
    ),
    {_REVOKED: 100},
    needs_quiet=True,
)
