"""The list of revoked certificates for others: whoever trusts the plane's authority and cannot ask the plane.

The plane itself does not use it, see `revocation.py`. There is one for each issuing authority that is trusted, and it
holds the revoked certificates of that one which would otherwise still be valid. Source: RFC 5280 §5.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from compass.connector.authority import Authority
from compass.connector.issuer import Issuer
from compass.connector.revocation import Revocations
from compass.errors import Unavailable
from compass.postgres.pool import AWAY, Database

LIFE: Final = timedelta(hours=24)
"""How long others may believe a list. A plane that is away for a night leaves nobody without one."""
RENEW_AFTER_SECONDS: Final = 3600.0
AT_MOST_EVERY_SECONDS: Final = 5.0
"""However many certificates are revoked and however often the list is asked for, it is not made more often."""

READ_SECONDS: Final = 10.0
"""For the revoked certificates to be read; those who wait for the list wait for each other."""


@dataclass(frozen=True)
class _Made:
    der: bytes
    """Of the authority that signs now."""
    pem: bytes
    """Of all that are trusted, that one first."""
    authorities: str
    """Which these were."""
    known: int
    """How many revocations the process knew of when it began."""
    at: float


class RevocationList:
    """The list as this process last signed it, signed anew after revocations and after an hour."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        revocations: Revocations,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._database = database
        self._authority = authority
        self._revocations = revocations
        self._made: _Made | None = None
        self._making = asyncio.Lock()

    async def der(self) -> bytes:
        """The list of the authority that signs now. Raises Unavailable, and what signing raises."""
        return (await self._current()).der

    async def pem(self) -> bytes:
        """The lists of all authorities that are trusted, as text. Raises Unavailable, and what signing raises."""
        return (await self._current()).pem

    async def _current(self) -> _Made:
        made = self._made
        if made is not None and self._is_good(made):
            return made
        async with self._making:
            made = self._made
            if made is None or not self._is_good(made):  # nobody made it while this waited
                made = self._made = await self._make()
            return made

    def _is_good(self, made: _Made) -> bool:
        age = self._clock() - made.at
        if made.authorities != self._authority.knows:
            return False
        if made.known == self._revocations.known and self._revocations.fresh:
            return age < RENEW_AFTER_SECONDS
        return age < AT_MOST_EVERY_SECONDS

    async def _make(self) -> _Made:
        known, began, now = self._revocations.known, self._clock(), datetime.now(UTC)
        authorities, trusted = self._authority.knows, self._authority.trusted
        lists = [await self._list(issuer, now) for issuer in trusted if issuer.not_after > now or len(trusted) == 1]
        text = b"".join(each.public_bytes(Encoding.PEM) for each in lists)
        return _Made(lists[0].public_bytes(Encoding.DER), text, authorities, known, began)

    async def _list(self, issuer: Issuer, now: datetime) -> x509.CertificateRevocationList:
        try:
            async with asyncio.timeout(READ_SECONDS):
                row = await self._database.read(TO_LIST, [issuer.serial])
        except AWAY as error:
            raise Unavailable from error
        revoked = list(zip(row["serials"], row["revoked_at"], strict=True))
        return await issuer.sign_revocations(revoked, number=row["number"], at=now, life=LIFE)


TO_LIST = """
-- revocation_list.to_list
-- Microseconds of one clock, the database's, number the lists: a later one has a greater number, whoever made it.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS number,
    coalesce(array_agg(serial ORDER BY serial), '{}') AS serials,
    coalesce(array_agg(revoked_at ORDER BY serial), '{}') AS revoked_at
FROM certificate
WHERE signed_by = $1 AND revoked_at IS NOT NULL AND not_after > now()
"""
