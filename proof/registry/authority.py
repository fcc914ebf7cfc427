"""The proof `authority`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "authority",
    ("I13", "F16", "S1"),
    "the authority's key is kept apart and exchanged under live agents",
    (
        "tests/connector/test_issuer.py",
        "tests/connector/test_signer.py",
        "tests/connector/test_rotation.py",
        "tests/faults/test_rotation.py",
    ),
    (
        Bug(
            "a signature is believed that an external signer made with another key",
            "compass/connector/issuer.py",
            "            certificate.verify_directly_issued_by(self.certificate)\n",
            "            pass\n",
            ("tests/connector/test_signer.py",),
        ),
        Bug(
            "an expired authority signs",
            "compass/connector/issuer.py",
            "        if now >= self.not_after:\n",
            "        if False:\n",
            ("tests/connector/test_issuer.py",),
        ),
        Bug(
            "an authority is retired while clients hang on it",
            "compass/connector/rotation.py",
            "        if hanging:\n",
            "        if False:\n",
            ("tests/connector/test_rotation.py",),
        ),
        Bug(
            "a replica that is late signs with an authority that was retired",
            "compass/connector/certificate.py",
            "ON authority.serial = %(signed_by)s AND authority.retired_at IS NULL",
            "ON authority.serial = %(signed_by)s",
            ("tests/connector/test_rotation.py",),
        ),
        Bug(
            "the two roots do not vouch for each other",
            "compass/connector/authority.py",
            'cross = None if alone or row["cross"] is None else',
            "cross = None if True else",
            ("tests/connector/test_rotation.py",),
        ),
    ),
)
