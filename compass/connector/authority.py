"""The plane's own certificate authority: which one signs now, and which others are trusted beside it.

A root signs one issuing certificate, which signs everything else. Both are created once, in the database, by
whichever process starts first, and shared by all replicas; their private keys are sealed by the vault, unless an
external signer holds the issuing one. While it is being replaced (`rotation.py`) there are two such pairs, of which
one signs. Every process follows the database: it is told of a change, and looks once a second besides.
"""

import asyncio
import hashlib
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ObjectIdentifier

from compass.connector.issuer import Issuer, cross_signed, is_ending, new_generation, pem, serial_text
from compass.connector.signer import HeldKey, Program, Signer
from compass.ids import SystemAuthId
from compass.postgres.pool import AWAY, Database, Tx
from compass.settings import AuthoritySettings
from compass.vault import Vault

log = logging.getLogger(__name__)

CHANNEL: Final = "access"
_CHANGED: Final = "authority"

LOOK_EVERY_SECONDS: Final = 1.0
"""How long an announcement that was lost can go unnoticed."""
SEEN_EVERY_SECONDS: Final = 3.0
"""How often a replica says that it serves, and what it trusts."""
_WARN_EVERY_SECONDS: Final = 86400.0


class State(StrEnum):
    """How far a root and its issuing certificate are. Those between prepared and retired are trusted."""

    PREPARED = "prepared"
    DISTRIBUTED = "distributed"
    ACTIVE = "active"
    REPLACED = "replaced"
    RETIRED = "retired"
    ABORTED = "aborted"


class Authority:
    """The authorities that this process trusts, of which one signs. `vault` opens their keys.

    Which one may change between two calls: whoever records and then signs takes `issuer` once, for both.
    """

    def __init__(self, vault: Vault, settings: AuthoritySettings, rows: Sequence[Any]) -> None:
        self.vault = vault
        self._settings = settings
        self._take_over(rows)

    def __repr__(self) -> str:
        return f"Authority({self.knows})"

    @classmethod
    async def open(cls, tx: Tx, vault: Vault, settings: AuthoritySettings) -> Self:
        """The plane's authority, created on the first start.

        Processes that start at the same time on an empty database end up with the same one. Raises SealBroken
        when the vault's keys are not those it was sealed with, SignerFailed when an external signer has to hold
        the key of a first one and cannot.
        """
        rows = await tx.rows(TRUSTED)
        if not rows:
            await add(tx, vault, settings, state=State.ACTIVE)
            rows = await tx.rows(TRUSTED)
        return cls(vault, settings, rows)

    async def reload(self, database: Database) -> bool:
        """Take over what the database says now. Whether anything changed. Raises SealBroken and what it raises."""
        rows = await database.run(lambda tx: tx.rows(TRUSTED))
        if _known(rows) == self.knows:
            return False
        self._take_over(rows)
        return True

    def _take_over(self, rows: Sequence[Any]) -> None:
        trusted = [self._issuer(row, alone=len(rows) == 1) for row in rows]
        # Together, without a pause in between: what is trusted and who signs are never of two different times.
        self.issuer = trusted[0]
        self.trusted = tuple(trusted)
        self.knows = _known(rows)
        self.roots_pem = "".join(each.root_pem for each in trusted)
        self.issuing_pem = "".join(each.ca_pem for each in trusted)
        self.version = version_of([each.root_pem for each in trusted], [each.ca_pem for each in trusted])

    def _issuer(self, row: Any, *, alone: bool) -> Issuer:
        certificate = x509.load_pem_x509_certificate(row["certificate"].encode())
        cross = None if alone or row["cross"] is None else x509.load_pem_x509_certificate(row["cross"].encode())
        return Issuer(
            settings=self._settings,
            root=x509.load_pem_x509_certificate(row["root"].encode()),
            certificate=certificate,
            signer=self._signer(row, certificate),
            signer_key=row["signer_key"] or "",
            cross=cross,
        )

    def _signer(self, row: Any, certificate: x509.Certificate) -> Signer | None:
        if row["sealed_key"] is not None:
            return HeldKey(_opened(self.vault, certificate, row["sealed_key"]))
        chosen = self._settings
        if not chosen.signer_command:
            return None
        return Program(chosen.signer_command, row["signer_key"], timeout=chosen.signer_timeout)

    @property
    def serial(self) -> str:
        """Of the issuing certificate that signs now."""
        return self.issuer.serial

    @property
    def ca_pem(self) -> str:
        """The issuing certificate that signs now: what a client gets as `caCertificate`."""
        return self.issuer.ca_pem

    @property
    def root_pem(self) -> str:
        """The root of what signs now: its fingerprint is the plane's pin."""
        return self.issuer.root_pem

    @property
    def not_after(self) -> datetime:
        """Nothing signed now is valid for longer."""
        return self.issuer.not_after

    def subject_for(self, system_auth: SystemAuthId) -> str:
        """`O=…,OU=…,L=…,ST=…,C=…,CN=…`: what a client must put into its request, as `configuration` tells it.

        Exactly this order, without spaces: clients split it at commas. Source: contract §B.4.
        """
        parts = self._settings
        return (
            f"O={parts.organization},OU={parts.organizational_unit},L={parts.locality},"
            f"ST={parts.province},C={parts.country},CN={system_auth}"
        )

    def subject_parts(self) -> dict[ObjectIdentifier, str]:
        """What all clients' subjects share, in the order of the original's certificates: not that of `subject_for`."""
        return self.issuer.subject_parts()

    def chain(self, leaf_pem: str) -> str:
        """The certificate followed by the issuing one: exactly two, the leaf first."""
        return leaf_pem + self.ca_pem


def version_of(roots: Sequence[str], issuing: Sequence[str]) -> str:
    """Names what is trusted, and in which order: the one that signs comes first."""
    return hashlib.sha256("".join((*roots, *issuing)).encode()).hexdigest()[:32]


def _known(rows: Sequence[Any]) -> str:
    return ",".join(sorted(f"{row['serial']}:{row['state']}" for row in rows))


# The one that signs comes first.
TRUSTED = """
-- authority.trusted
SELECT issuing.serial, issuing.state, issuing.certificate, issuing.sealed_key, issuing.signer_key,
    root.certificate AS root, root.cross_certificate AS cross
FROM authority issuing JOIN authority root ON root.serial = issuing.signed_by
WHERE issuing.kind = 'issuing' AND issuing.state IN ('distributed', 'active', 'replaced')
ORDER BY issuing.state = 'active' DESC, issuing.created_at DESC
"""


async def add(tx: Tx, vault: Vault, settings: AuthoritySettings, *, state: State) -> str | None:
    """Make a root and its issuing certificate in that state; the serial of the latter.

    None when there is an active one already and another was asked for. Any other is tied to the active one: their roots
    sign each other. Raises SealBroken, SignerFailed.
    """
    held: ec.EllipticCurvePrivateKey | None = None
    if settings.signer_command:
        program = Program(settings.signer_command, settings.signer_key, timeout=settings.signer_timeout)
        public_key = await program.public_key()
    else:
        held = ec.generate_private_key(ec.SECP256R1())
        public_key = held.public_key()
    made = new_generation(settings, public_key)
    cross: str | None = None
    if state is not State.ACTIVE:
        former = await tx.row(ACTIVE_ROOT)
        if former is None:
            raise AssertionError("there is an active authority from the first start on")
        root = x509.load_pem_x509_certificate(former["certificate"].encode())
        cross = pem(cross_signed(made.root, by=root, key=_opened(vault, root, former["sealed_key"])))
        back = cross_signed(root, by=made.root, key=made.root_key)
        await tx.run(CROSS, serial=former["serial"], cross=pem(back))
    sealed_root = _sealed(vault, made.root, made.root_key)
    created = await tx.value(
        CREATE, **_row("root", made.root, state), sealed_key=sealed_root, signer_key=None, signed_by=None, cross=cross
    )
    if created is None:
        return None  # another process was faster, and has committed both by the time our insert gave way
    await tx.value(
        CREATE,
        **_row("issuing", made.issuing, state),
        sealed_key=None if held is None else _sealed(vault, made.issuing, held),
        signer_key=settings.signer_key if held is None else None,
        signed_by=created,
        cross=None,
    )
    return serial_text(made.issuing.serial_number)


ACTIVE_ROOT = """
-- authority.active_root
SELECT serial, certificate, sealed_key FROM authority WHERE kind = 'root' AND state = 'active'
"""
CROSS = """
-- authority.cross
UPDATE authority SET cross_certificate = %(cross)s WHERE serial = %(serial)s
"""
CREATE = """
-- authority.create
INSERT INTO authority (serial, kind, state, certificate, sealed_key, signer_key, signed_by, cross_certificate)
VALUES (
    %(serial)s, %(kind)s, %(state)s, %(certificate)s, %(sealed_key)s, %(signer_key)s, %(signed_by)s, %(cross)s
)
ON CONFLICT (kind) WHERE state = 'active' DO NOTHING
RETURNING serial
"""


def _row(kind: str, certificate: x509.Certificate, state: State) -> dict[str, Any]:
    return {
        "serial": serial_text(certificate.serial_number),
        "kind": kind,
        "state": state.value,
        "certificate": pem(certificate),
    }


def _sealed(vault: Vault, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> str:
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return vault.seal(_place(certificate), der)


def _opened(vault: Vault, certificate: x509.Certificate, sealed: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_der_private_key(vault.open(_place(certificate), sealed), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority signs with an elliptic curve")
    return key


def _place(certificate: x509.Certificate) -> str:
    return f"authority.sealed_key.{serial_text(certificate.serial_number)}"


class Replica:
    """One of the processes that serve: it follows the authorities and the vault's keys, and says which it has."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        *,
        taken_over: Callable[[], Awaitable[None]],
        gauges: Callable[[], Mapping[str, Any]],
    ) -> None:
        """`taken_over` puts what `authority` holds to use at the listeners; it is called again until it succeeds.

        `gauges` says how busy this process is, in JSON values; it is told with the rest, in the same statement.
        """
        self._database = database
        self._authority = authority
        self._taken_over = taken_over
        self._gauges = gauges
        self._id = str(uuid.uuid4())
        self._place = f"{socket.gethostname()}:{os.getpid()}"
        self._in_use = ""
        self._keys = ""
        self._seen_at = self._warned_at = float("-inf")
        self._told = asyncio.Event()

    async def run(self) -> None:
        """Follow for ever. A database that is away is waited for; leaving takes this replica off the list."""
        try:
            while True:
                try:
                    async with self._database.listening(CHANNEL, self._heard) as lost:
                        while not lost.is_set():
                            await self.look()
                            await self._wait()
                except AWAY as error:
                    log.warning("the authorities are not followed while the database is away: %s", type(error).__name__)
                except Exception:
                    log.exception("what changed of the authorities could not be taken over; tried again in a second")
                await asyncio.sleep(LOOK_EVERY_SECONDS)
        finally:
            with suppress(*AWAY):
                async with asyncio.timeout(1):
                    await self._database.run(lambda tx: tx.run(LEAVE, replica=self._id))

    async def look(self) -> None:
        """One look: take over what changed, and say so. Raises what stands in the way."""
        self._told.clear()
        now = asyncio.get_running_loop().time()
        # Read by itself: nearly always nothing changed.
        if (await self._database.read(KNOWN, []))["known"] != self._authority.knows:
            await self._authority.reload(self._database)
        self._authority.vault.look()
        keys = " ".join(self._authority.vault.key_ids)
        changed = self._in_use != self._authority.knows
        if changed:
            knows = self._authority.knows
            await self._taken_over()
            self._in_use = knows
        if changed or keys != self._keys or now - self._seen_at >= SEEN_EVERY_SECONDS:
            said = {"place": self._place, "knows": self._in_use, "vault_keys": keys, "gauges": self._gauges()}
            await self._database.run(lambda tx: tx.run(SEEN, replica=self._id, **said))
            self._keys, self._seen_at = keys, now
        self._warn(now)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_SECONDS):
                await self._told.wait()

    def _heard(self, payload: str) -> None:
        if payload == _CHANGED:
            self._told.set()

    def _warn(self, now: float) -> None:
        issuer = self._authority.issuer
        if is_ending(issuer.certificate, datetime.now(UTC)) and now - self._warned_at >= _WARN_EVERY_SECONDS:
            log.warning(
                "the plane's certificate authority ends at %s, with all its certificates: replace it, see compass ca",
                issuer.not_after.isoformat(),
            )
            self._warned_at = now


KNOWN = """
-- authority.known
SELECT coalesce(string_agg(serial || ':' || state, ',' ORDER BY (serial || ':' || state) COLLATE "C"), '') AS known
FROM authority WHERE kind = 'issuing' AND state IN ('distributed', 'active', 'replaced')
"""
# Whoever was killed said no farewell: what was not seen for a day is forgotten.
SEEN = """
-- authority.seen
WITH gone AS (DELETE FROM authority_replica WHERE seen_at < clock_timestamp() - interval '1 day')
INSERT INTO authority_replica (replica, place, knows, vault_keys, gauges, seen_at)
VALUES (%(replica)s, %(place)s, %(knows)s, %(vault_keys)s, %(gauges)s, clock_timestamp())
ON CONFLICT (replica) DO UPDATE
SET knows = excluded.knows, vault_keys = excluded.vault_keys, gauges = excluded.gauges, seen_at = excluded.seen_at
"""
LEAVE = """
-- authority.leave
DELETE FROM authority_replica WHERE replica = %(replica)s
"""
