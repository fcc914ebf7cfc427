"""A URL read in exactly one way, or refused.

Every lenient spelling is a way to make two readers see two hosts, so there is none: no user information, no octal,
hexadecimal, short or integer IPv4, no trailing dot, no zone, no percent-encoding or non-ASCII letter in the host.
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal
from urllib.parse import quote

from compass.outbound.addresses import Address
from compass.outbound.errors import UrlRefused

_LONGEST: Final = 4096
_LONGEST_NAME: Final = 253
_HIGHEST_PORT: Final = 65535
_FORM: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(/[^?#]*)?(\?[^#]*)?(?:#.*)?")
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_SCHEMES: Final[dict[str, Literal["http", "https"]]] = {"http": "http", "https": "https"}
_SCHEME_PORTS: Final = {"http": 80, "https": 443}
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNTOUCHED: Final = "/?:@!$&'()*+,;=%-._~[]"
"""The characters RFC 3986 gives a place in path or query; all others are percent-encoded as UTF-8."""

NOT_HTTP_PORTS: Final = frozenset(
    [
        *(1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104),
        *(109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179, 389, 427, 445, 465),
        *(512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989, 990, 992, 993, 995),
        *(1433, 1521, 1719, 1720, 1723, 2049, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 5672, 6000, 6379, 6566),
        *(6665, 6666, 6667, 6668, 6669, 6679, 6697, 9092, 10080, 11211, 27017),
    ]
)
"""Ports of well-known services that speak no HTTP. Source: the "bad port" list of the Fetch standard, and databases,
caches and brokers that act on the lines of a request they do not understand."""


@dataclass(frozen=True)
class Url:
    """The parts the door acts on."""

    scheme: Literal["http", "https"]
    host: str
    """In lower case; an IPv6 address without its brackets, in its shortest form."""
    port: int
    target: str
    """Path and query as they go on the request line."""
    literal: Address | None
    """The host as an address when it was written as one."""

    @property
    def host_header(self) -> str:
        """The host, and the port when it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _SCHEME_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """All of the URL that may be logged: paths and queries carry secrets."""
        return f"{self.scheme}://{self.host_header}"


def parse(text: str, *, forbidden_ports: AbstractSet[int] = NOT_HTTP_PORTS) -> Url:
    """The parts of an `http` or `https` URL; a fragment is dropped, as it is never sent.

    Raises UrlRefused, which names the rule and never repeats the URL.
    """
    if len(text) > _LONGEST:
        raise UrlRefused(rule=f"it is longer than {_LONGEST} characters")
    if "\\" in text or not text.isprintable() or any(character.isspace() for character in text):
        raise UrlRefused(rule="it contains a space, a control character or a backslash")
    form = _FORM.fullmatch(text)
    if form is None:
        raise UrlRefused(rule="it is not of the form https://host/path")
    scheme = _SCHEMES.get(form[1].lower())
    if scheme is None:
        raise UrlRefused(rule="only http and https are supported")
    if "@" in form[2]:
        raise UrlRefused(rule="it contains a user name or password; use the authentication settings instead")
    authority = _AUTHORITY.fullmatch(form[2])
    if authority is None:
        raise UrlRefused(rule="its host or port is malformed; write an international name in its xn-- form")
    host, literal = _host(authority[1].lower())
    port = int(authority[2]) if authority[2] else _SCHEME_PORTS[scheme]
    if not 1 <= port <= _HIGHEST_PORT or port in forbidden_ports:
        raise UrlRefused(rule="its port is not allowed")
    target = quote((form[3] or "/") + (form[4] or ""), safe=_UNTOUCHED)
    return Url(scheme, host, port, target, literal)


def _host(text: str) -> tuple[str, Address | None]:
    if text.startswith("["):
        try:
            found = IPv6Address(text[1:-1])
        except AddressValueError:
            raise UrlRefused(rule="its IPv6 address is malformed") from None
        return str(found), found
    labels = text.split(".")
    # A host whose last label is a number is an IPv4 address to every browser and to inet_aton, in some base.
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return text, IPv4Address(text)
        except AddressValueError:
            raise UrlRefused(rule="an IPv4 address must be four decimal numbers without leading zeros") from None
    if len(text) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused(rule="its host name is malformed")
    return text, None
