"""The proof `standing`."""

from typing import Final

from proof.promise import Bug, Proof

_HEARTBEAT = ("tests/director/test_heartbeat.py",)
_STANDING = ("tests/director/test_connection_status.py",)

PROOF: Final = Proof(
    "standing",
    ("I15",),
    "who is silent is missed, and how something is doing is said by whoever holds its certificate",
    (*_HEARTBEAT, *_STANDING),
    (
        Bug(
            "whoever holds a revoked certificate keeps its runtime alive",
            "compass/director/heartbeat.py",
            "certificate.fingerprint = heard.fingerprint AND certificate.revoked_at IS NULL",
            "certificate.fingerprint = heard.fingerprint",
            _HEARTBEAT,
        ),
        Bug(
            "what a slow replica heard before counts as what was said last",
            "compass/director/heartbeat.py",
            "WHERE kept.seen_at < excluded.seen_at\n",
            "",
            _HEARTBEAT,
        ),
        Bug(
            "what was said while the database was away is forgotten",
            "compass/director/heartbeat.py",
            "            self._waiting = {**taken, **self._waiting}\n",
            "            pass\n",
            _HEARTBEAT,
        ),
        Bug(
            "an agent writes lines of its own into what people read",
            "compass/director/heartbeat.py",
            'return "".join(each if each.isprintable() else " " for each in text[:MOST_ERROR]).strip()',
            "return text[:MOST_ERROR].strip()",
            _HEARTBEAT,
        ),
        Bug(
            "a runtime that has been silent for long is alive",
            "compass/director/connection_status.py",
            '        "beat.missed_from <= now()",\n        Health.BAD,',
            '        "false",\n        Health.BAD,',
            _STANDING,
        ),
    ),
)
