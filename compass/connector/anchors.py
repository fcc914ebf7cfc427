"""What clients should trust, for those that ask now and then: `GET /v1/trust` on both ports.

While the authority is being replaced there are two, and a client that keeps both notices nothing of it. It asks with
the version that it keeps; on the mTLS port that is written down, once per certificate and version, so that an operator
sees who would be cut off. Nothing of this is secret, so a request costs neither a look at who asks nor a statement.
"""

import logging
from typing import Final

import orjson

from compass.connector import certificate
from compass.connector.authority import Authority
from compass.postgres.pool import AWAY, Database

log = logging.getLogger(__name__)

PATH: Final = "/v1/trust"
MOST_REMEMBERED: Final = 100_000
"""Certificates of which a process remembers what was written. With more it forgets all, and writes once more."""


class Anchors:
    """The trusted authorities as they are handed out, and who said that they keep them."""

    def __init__(self, database: Database, authority: Authority) -> None:
        self._database = database
        self._authority = authority
        self._kept: dict[str, str] = {}

    @property
    def version(self) -> str:
        """Names what is trusted now, as the entity tag of the answer has it."""
        return f'"{self._authority.version}"'

    def document(self) -> bytes:
        """What is trusted, in PEM: `roots` for checking the plane, `issuing` for checking its clients.

        Of both, that which signs now comes first.
        """
        now = self._authority
        return orjson.dumps({"version": now.version, "roots": now.roots_pem, "issuing": now.issuing_pem})

    async def kept(self, peer_der: bytes, version: str) -> None:
        """The holder of this certificate keeps that version. One statement, the first time that it says so.

        A failure to write it stops nobody: it is said again.
        """
        fingerprint = certificate.fingerprint(peer_der)
        if version != self.version or self._kept.get(fingerprint) == version:
            return
        try:
            await self._database.run(
                lambda tx: tx.run(KEPT, fingerprint=fingerprint, version=version.removeprefix('"').removesuffix('"'))
            )
        except AWAY as error:
            log.warning("which authorities a client keeps was not written: %s", type(error).__name__)
            return
        if len(self._kept) >= MOST_REMEMBERED:
            self._kept.clear()
        self._kept[fingerprint] = version


KEPT = """
-- anchors.kept
UPDATE certificate SET knows_authorities = %(version)s
WHERE fingerprint = %(fingerprint)s AND knows_authorities IS DISTINCT FROM %(version)s
"""
