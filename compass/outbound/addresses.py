"""Which addresses the plane may connect to on a user's behalf.

The table is ours and complete, rather than `ipaddress.is_private` and its relatives: those change between releases
of Python and call several unreachable blocks global. Sources: the IANA IPv4 and IPv6 Special-Purpose Address
Registries, RFC 6890; the metadata addresses of clouds that lie outside those blocks.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FORBIDDEN_IPV4: Final = {
    "0.0.0.0/8": "this host on this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT, and Alibaba Cloud's metadata",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "Azure's host agent, in a public block but answered by the host",
    "169.254.0.0/16": "link-local, and the metadata of most clouds",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "IETF protocol assignments, and Oracle Cloud's metadata",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "AMT",
    "192.88.99.0/24": "6to4 relay, deprecated",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved, and limited broadcast",
}
_FORBIDDEN_IPV6: Final = {
    "::/96": "unspecified, loopback and IPv4-compatible",
    "::ffff:0:0/96": "IPv4-mapped",
    "64:ff9b:1::/48": "NAT64 of local use",
    "100::/64": "discard-only",
    "100:0:0:1::/64": "dummy prefix",
    "2001::/23": "IETF protocol assignments: Teredo, benchmarking, AMT, ORCHID",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4, deprecated",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
    "5f00::/16": "segment routing identifiers",
    "fc00::/7": "unique local, and Amazon's metadata",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local, deprecated",
    "ff00::/8": "multicast",
}
FORBIDDEN: Final[tuple[Network, ...]] = tuple(ip_network(cidr) for cidr in (*_FORBIDDEN_IPV4, *_FORBIDDEN_IPV6))
"""Never connected to, unless an operator allows a network that holds the address."""

_METADATA: Final = (
    # Link-local as a whole: all clouds but these few, and whatever they invent next.
    *(ip_network(cidr) for cidr in ("169.254.0.0/16", "fe80::/10")),
    *(ip_network(address) for address in ("100.100.100.200", "168.63.129.16", "192.0.0.192")),
    *(ip_network(address) for address in ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42")),
)
"""Where clouds and their containers hand out the machine's own credentials to whoever asks from it. Sources: the
documentation of Amazon (instances, pods), Alibaba, Azure, Oracle, Google and Scaleway."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_UNICAST_IPV6: Final = (IPv6Network("2000::/3"), _NAT64)
"""All that IANA has opened for global unicast, and the translation prefix. Everything else is unassigned."""


def permitted(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether the plane may connect to the address on a user's behalf.

    True when the address, and every IPv4 address a gateway would read out of it, lies outside `FORBIDDEN` or
    inside a network of `allowed`. Allowing a translation prefix therefore does not allow what is behind it. A metadata
    address is allowed by nothing but its own name: a network of one address.
    An IPv6 address with a zone never is: it names an interface of this host.
    """
    if isinstance(address, IPv4Address):
        return _reachable(address, allowed)
    if address.scope_id is not None:
        return False
    carried = list(_carried(address))
    # A mapped address is only a spelling: the kernel opens an IPv4 connection to what it carries.
    destinations: list[Address] = [*carried] if address in _MAPPED else [address, *carried]
    return all(_reachable(destination, allowed) for destination in destinations)


def _reachable(address: Address, allowed: Sequence[Network]) -> bool:
    if any(address in network for network in _METADATA):
        return any(address in network and network.num_addresses == 1 for network in allowed)
    if any(address in network for network in allowed):
        return True
    if isinstance(address, IPv6Address) and not any(address in network for network in _UNICAST_IPV6):
        return False
    return not any(address in network for network in FORBIDDEN)


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    """Every IPv4 address that a kernel, translator or tunnel could take out of an IPv6 address."""
    octets = address.packed
    last = IPv4Address(octets[12:16])
    if any(address in network for network in (_MAPPED, _NAT64, _COMPATIBLE)):
        yield last
    elif address in _NAT64_LOCAL:
        # The length of the translator's prefix is its operator's choice: the layouts of RFC 6052 §2.2, where octet 8
        # is skipped. A layout that reads an address of 0.0.0.0/8 is not the one in use, unless all do.
        layouts = (octets[6:8] + octets[9:11], octets[7:8] + octets[9:12], octets[9:13], octets[12:16])
        readings = [IPv4Address(layout) for layout in layouts]
        yield from [reading for reading in readings if reading.packed[0]] or readings
    elif address in _SIX_TO_FOUR:
        yield IPv4Address(octets[2:6])
    elif address in _TEREDO:
        yield IPv4Address(octets[4:8])  # the Teredo server
        yield IPv4Address(int(last) ^ 0xFFFFFFFF)  # the client behind it, stored inverted
