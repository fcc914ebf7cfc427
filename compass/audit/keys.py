"""The keys of the audit log: one seed per key, which signs checkpoints and marks records as written by a plane.

A seed is sealed by the vault, so whoever can only write to the database can make neither.
"""

import hmac
import secrets
from collections.abc import Sequence
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compass.postgres.pool import Tx
from compass.vault import Vault

_SEED_BYTES: Final = 32
_RECORDS: Final = b"compass audit record v1"

ALL = """
-- audit_key.all
SELECT id, sealed_key FROM audit_key ORDER BY created_at DESC, id
"""
ADD = """
-- audit_key.add
INSERT INTO audit_key (id, sealed_key) VALUES (%(id)s, %(sealed_key)s)
"""
ALONE = """
-- audit_key.alone
SELECT pg_advisory_xact_lock(hashtext('compass.audit.keys'))
"""


class PublicKey:
    """What tells whether a checkpoint was signed with a key."""

    def __init__(self, name: str, public: Ed25519PublicKey) -> None:
        self.name = name
        self._public = public

    @classmethod
    def read(cls, name: str, text: str) -> Self:
        """From its 32 bytes in hex. Raises ValueError."""
        return cls(name, Ed25519PublicKey.from_public_bytes(bytes.fromhex(text)))

    @property
    def text(self) -> str:
        """Its 32 bytes in hex."""
        return self._public.public_bytes_raw().hex()

    def signed(self, text: str, signature: bytes) -> bool:
        """Whether this is the key's signature of the text."""
        try:
            self._public.verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


class Key(PublicKey):
    """A key of this plane."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        super().__init__(name, self._private.public_key())
        # Not the seed itself: one key for one purpose.
        self._records = hmac.digest(seed, _RECORDS, "sha256")

    def sign(self, text: str) -> bytes:
        """The signature of a text."""
        return self._private.sign(text.encode())

    def mac(self, record: str, body: bytes) -> bytes:
        """What only a plane can write beside a record, given its id and its body."""
        return hmac.digest(self._records, record.encode() + b"\0" + body, "sha256")


class Keys(dict[str, Key]):
    """All keys of the plane by name."""

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__({key.name: key for key in keys})
        self.current = keys[0]

    @classmethod
    async def open(cls, tx: Tx, vault: Vault) -> Self:
        """The keys all replicas share; the first is made by whichever starts first. Raises SealBroken."""
        await tx.value(ALONE)
        known = await cls.known(tx, vault)
        if known is not None:
            return known
        name, seed = secrets.token_hex(8), secrets.token_bytes(_SEED_BYTES)
        await tx.run(ADD, id=name, sealed_key=vault.seal(_place(name), seed.hex().encode()))
        return cls([Key(name, seed)])

    @classmethod
    async def known(cls, tx: Tx, vault: Vault) -> Self | None:
        """The keys there are, None when there is none yet. Raises SealBroken."""
        rows = await tx.rows(ALL)
        keys = [
            Key(row["id"], bytes.fromhex(vault.open(_place(row["id"]), row["sealed_key"]).decode())) for row in rows
        ]
        return cls(keys) if keys else None


def _place(name: str) -> str:
    return f"audit_key/{name}"
