"""What a runtime trusts, as the plane tells it: both authorities while the plane replaces one by the other.

    plane_ca.pem     the roots that the plane is checked against; what else an operator put into it stays
    ca.crt           the authorities whose certificates applications show at the event endpoint
    trust.json       what the plane said last, and when it first said that another authority signs now

A plane that publishes nothing of the kind, as the original, leaves all as pairing made it.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from compass.client.trusted import Trusted
from compass.errors import Code, CompassError
from compass.files import write_private, write_private_json

SPREAD_PERIODS: Final = 30
"""Renewals that a new authority asks for are spread over so many sync periods."""
LONGEST_SPREAD: Final = timedelta(minutes=10)

_FILE: Final = "trust.json"
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class AuthoritiesUnusable(CompassError):
    """What the plane says it trusts cannot be read. What was trusted before stays."""

    code = Code.INVALID_DATA
    message = "the authorities that the plane names cannot be used: {why}"
    retryable = True


@dataclass(frozen=True)
class Anchors:
    """What the plane said last."""

    version: str
    roots: str
    issuing: str
    """Which signs now comes first."""
    since: datetime
    """When it was taken over."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What is kept in the folder, if it is also what is in use there."""
        kept = cls._kept(folder)
        if kept is None or _text(folder / "ca.crt") != kept.issuing:
            return None  # paired or renewed since: pairing knows of one authority
        given = _text(folder / "plane_ca.pem")
        return kept if given is None or _certificates(kept.roots) <= _certificates(given) else None

    @classmethod
    def _kept(cls, folder: Path) -> Self | None:
        try:
            kept = json.loads((folder / _FILE).read_bytes())
            return cls(kept["version"], kept["roots"], kept["issuing"], datetime.fromisoformat(kept["since"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def take_over(cls, folder: Path, told: Trusted, *, now: datetime) -> Self:
        """Trust what the plane names, and no more what it named before. May be interrupted and repeated.

        Raises AuthoritiesUnusable, OSError.
        """
        for text in (told.roots, told.issuing):
            try:
                x509.load_pem_x509_certificates(text.encode())
            except ValueError:
                raise AuthoritiesUnusable(why="they are no certificates in PEM") from None
        before = cls._kept(folder)
        given = _text(folder / "plane_ca.pem")
        if given is not None:
            no_more = _certificates(before.roots) if before is not None else set()
            others = [each for each in _CERTIFICATE.findall(given) if each not in no_more | _certificates(told.roots)]
            write_private(folder / "plane_ca.pem", (told.roots + "".join(f"{each}\n" for each in others)).encode())
        write_private(folder.resolve() / "current" / "ca.crt", told.issuing.encode())
        taken = cls(told.version, told.roots, told.issuing, now)
        # Last: whatever was interrupted before is asked for and done once more.
        write_private_json(
            folder / _FILE,
            {"version": told.version, "roots": told.roots, "issuing": told.issuing, "since": now.isoformat()},
        )
        return taken

    def renewal_due(self, folder: Path, *, now: datetime, jitter: float, period: timedelta) -> bool:
        """Whether another authority signs now than signed the certificate in the folder, and it is our turn to renew.

        `jitter`, 0 to 1, is the place in a span of time over which a fleet renews.
        """
        signs = _CERTIFICATE.findall(self.issuing)[0]
        in_turn = now - self.since >= min(period * SPREAD_PERIODS, LONGEST_SPREAD) * jitter
        return in_turn and not is_signed_by(folder, signs)


def is_signed_by(folder: Path, authorities: str) -> bool:
    """Whether one of these, PEM, signed the certificate in the folder. Raises OSError."""
    client = x509.load_pem_x509_certificate((folder / "client.crt").read_bytes())
    for authority in x509.load_pem_x509_certificates(authorities.encode()):
        try:
            client.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return True
    return False


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _certificates(text: str) -> set[str]:
    return set(_CERTIFICATE.findall(text))
