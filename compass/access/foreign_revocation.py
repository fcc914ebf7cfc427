"""Which certificates of other authorities were revoked, by the lists that these authorities publish.

For each authority that the operator names a list for, every process keeps the newest list it got, from a file that it
looks at every second or from an address that it asks every few minutes, through the one door. A list is believed until
it is over, by its own word; one that cannot be read leaves the one from before in force. When there is none that is
good, the authority's clients are refused: who cannot know refuses. Authorities without a list are as before.
Source: RFC 5280 §6.3; docs/adr/0025.
"""

import asyncio
import errno
import hashlib
import logging
import random
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256

from compass.access import crl
from compass.access.crl import ListUnusable, RevocationList
from compass.errors import Code, CompassError, Unauthorized
from compass.outbound.door import Door, Request
from compass.outbound.errors import OutboundError
from compass.settings import ExternalCertificateSettings, SettingRefused

_log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS: Final = 1.0
"""At a file, for whether it has changed."""
_AFTER_FAILURE_SECONDS: Final = 30.0
_WITHIN: Final = timedelta(seconds=20)
_SETTING: Final = "external_certificates.revocation_lists"


class RevocationUnknown(CompassError):
    """The list of the authority that issued the client's certificate is missing or over, so nobody can be let in."""

    code = Code.OPERATION_TIMEOUT
    message = "it cannot be known whether the certificate was revoked; try again later"
    retryable = True


@dataclass(frozen=True)
class Standing:
    """What is known of one list."""

    authority: str
    """The subject of the authority."""
    source: str
    issued_at: datetime | None
    """None: there is none."""
    good_until: datetime | None
    revoked: int
    """Certificates on it."""
    problem: str
    """Why the newest attempt to read it failed; empty when it did not."""
    is_good: bool
    """Whether the authority's clients are let in."""


class _List:
    """The list of one authority."""

    def __init__(self, authority: x509.Certificate, source: str, clock: Callable[[], datetime]) -> None:
        self.authority = authority
        self.source = source
        self.known: RevocationList | None = None
        self.problem = ""
        self._clock = clock
        self._read: object = None
        """What tells what was read last from anything newer."""
        self._is_told = False

    @property
    def is_remote(self) -> bool:
        return self.source.startswith(("http://", "https://"))

    @property
    def is_good(self) -> bool:
        return self.known is not None and self._clock() < self.known.good_until

    @property
    def standing(self) -> Standing:
        known, is_good = self.known, self.is_good
        return Standing(
            self.authority.subject.rfc4514_string(),
            self.source,
            known.issued_at if known else None,
            known.good_until if known else None,
            len(known.serials) if known else 0,
            self.problem or ("" if is_good else "no newer one has come"),
            is_good,
        )

    def says(self, serial: int) -> bool:
        """Whether that certificate was revoked. Raises RevocationUnknown."""
        if self.known is not None and serial in self.known.serials:
            return True
        if not self.is_good:
            raise RevocationUnknown
        return False

    async def take_file(self) -> None:
        """Read the file, if it is another one than before. Whatever is wrong with it is noted and logged."""
        try:
            found = await asyncio.to_thread(_changed, Path(self.source), self._read)
        except OSError as problem:
            self._read = None
            self._failed(f"the file cannot be read: {problem.strerror}")
        else:
            if found is not None:
                self._read, data = found
                await self._take(data)

    async def fetch(self, door: Door) -> None:
        """Ask for it. Whatever goes wrong is noted and logged."""
        try:
            response = await door.send(
                Request("GET", self.source), total_timeout=_WITHIN, max_body_bytes=crl.LARGEST_BYTES
            )
        except OutboundError as failure:
            self._failed(failure.reason)
            return
        if response.status != HTTPStatus.OK:
            self._failed(f"it is answered for with status code {response.status}")
            return
        seen = hashlib.sha256(response.body).digest()
        if seen == self._read and self.is_good:
            self._succeeded()
        else:
            await self._take(response.body)
            self._read = seen

    def tell_end(self) -> None:
        """Log, once, that nobody of this authority is let in any more."""
        if self.is_good:
            self._is_told = False
        elif not self._is_told:
            self._is_told = True
            subject = self.authority.subject.rfc4514_string()
            _log.error("clients of %s are refused: its revocation list is missing or over (%s)", subject, self.source)

    async def _take(self, data: bytes) -> None:
        try:
            found = await asyncio.to_thread(crl.read, data, self.authority, now=self._clock())
            # An older one that is still good would bring back who was revoked since, whoever holds the newer one back.
            if self.known is not None and found.issued_at < self.known.issued_at:
                raise ListUnusable("it is older than the one before")
        except ListUnusable as refusal:
            self._failed(str(refusal))
        else:
            self.known = found
            self._succeeded()

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            until = f"good until {self.known.good_until:%Y-%m-%d %H:%M} UTC" if self.known and self.is_good else "none"
            _log.warning("the revocation list %s was not taken: %s; in force: %s", self.source, problem, until)
        self.problem = problem

    def _succeeded(self) -> None:
        if self.problem:
            _log.warning("the revocation list %s is in order again", self.source)
        self.problem = ""


class ForeignRevocations:
    """The lists of one process. Run it as a task, and ask it on every request."""

    def __init__(
        self,
        settings: ExternalCertificateSettings,
        authorities_pem: str,
        door: Door,
        *,
        sources: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`authorities_pem`: all that are trusted. Raises SettingRefused for a list of another one."""
        self._door = door
        self._refresh = settings.revocation_lists_refresh.total_seconds()
        self.authorities_pem = authorities_pem
        authorities = {_pin(one): one for one in _loaded(authorities_pem)}
        self._lists: dict[str, _List] = {}
        for pin, source in settings.list_sources().items():
            if pin not in authorities:
                source_of = (sources or {}).get(_SETTING, "default")
                reason = f"no authority in external_certificates.ca_file has the SHA-256 fingerprint {pin}"
                raise SettingRefused(setting=_SETTING, source=source_of, reason=reason)
            self._lists[pin] = _List(authorities[pin], source, clock)

    @property
    def standing(self) -> Sequence[Standing]:
        """What is known of each list."""
        return [one.standing for one in self._lists.values()]

    async def look(self) -> None:
        """Read every list that is a file."""
        for one in self._lists.values():
            if not one.is_remote:
                await one.take_file()

    async def fetch(self) -> None:
        """Ask for every list that is not a file."""
        for one in self._lists.values():
            if one.is_remote:
                await one.fetch(self._door)

    async def run(self) -> None:
        """Keep the lists fresh until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self._lists.values():
                group.create_task(self._follow(one))
            await asyncio.get_running_loop().create_future()

    async def _follow(self, one: _List) -> None:
        while True:
            if one.is_remote:
                await one.fetch(self._door)
                pause = min(self._refresh, _AFTER_FAILURE_SECONDS) if one.problem else self._refresh
                pause *= 1 - random.random() / 10  # noqa: S311  # replicas ask one after the other
            else:
                await one.take_file()
                pause = LOOK_EVERY_SECONDS
            one.tell_end()
            await asyncio.sleep(pause)

    def refuse(self, der: bytes) -> None:
        """Raises Unauthorized when the certificate was revoked, RevocationUnknown when that cannot be known."""
        if self.has_ended(self.mark(der)):
            raise Unauthorized(reason="the certificate was revoked")

    def mark(self, der: bytes) -> str:
        """What `has_ended` later knows a certificate by: its serial number and who signed it. Empty: it has no list.

        Where lists are kept, whoever hangs on a trusted authority by another one between them is refused: no list says
        whether its certificate was revoked. Raises Unauthorized.
        """
        if not self._lists:
            return ""
        serial, signers = _signed_by(der, self.authorities_pem)
        if not signers:
            raise Unauthorized(reason="the authority that issued the certificate is not named")
        # Several, where an authority has several certificates for one key: one list speaks for all of them.
        listed = [pin for pin in signers if pin in self._lists]
        return f"{serial:x} {' '.join(listed)}" if listed else ""

    def has_ended(self, mark: str) -> bool:
        """Whether the certificate was revoked. Raises RevocationUnknown."""
        if not mark:
            return False
        serial, *pins = mark.split()
        return any(self._lists[pin].says(int(serial, 16)) for pin in pins)


def _loaded(pem: str) -> Sequence[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode()) if pem else ()


def _pin(authority: x509.Certificate) -> str:
    return authority.fingerprint(SHA256()).hex()


@lru_cache(maxsize=4096)
def _signed_by(der: bytes, authorities_pem: str) -> tuple[int, Sequence[str]]:
    """The certificate's serial number, and the fingerprints of the authorities that signed it themselves."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        serial = certificate.serial_number
    except ValueError:
        return 0, ()  # the listener's parser takes what this one does not; no list speaks of such a certificate
    signers = []
    for authority in _loaded(authorities_pem):
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            continue
        signers.append(_pin(authority))
    return serial, signers


def _changed(file: Path, read: object) -> tuple[object, bytes] | None:
    """What tells this file from another one, and its content; None when it is the one that was read. Raises OSError."""
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    seen = (found.st_ino, found.st_mtime_ns, found.st_size)
    if seen == read:
        return None
    with file.open("rb") as opened:
        return seen, opened.read(crl.LARGEST_BYTES + 1)
