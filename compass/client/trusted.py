"""The authorities that a plane trusts, as it publishes them for its clients."""

import json
from dataclasses import dataclass
from typing import Final, Self

TRUST_PATH: Final = "/v1/trust"
MOST_TRUSTED_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Trusted:
    """What a plane says of itself. Believed only because of the connection it came over."""

    version: str
    roots: str
    """PEM: one of them vouches for the plane."""
    issuing: str
    """PEM: they vouch for the plane's clients; that which signs now comes first."""

    @classmethod
    def of(cls, body: bytes) -> Self:
        """From the answer. Raises ValueError, KeyError, TypeError for anything else."""
        told = json.loads(body)
        version, roots, issuing = (told[name] for name in ("version", "roots", "issuing"))
        if not all(isinstance(text, str) and text.isascii() and text for text in (version, roots, issuing)):
            raise ValueError("it names no authorities")
        return cls(version, roots, issuing)
