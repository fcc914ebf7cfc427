from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.outbound.addresses import FORBIDDEN, Network, permitted

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:81c::200e"]
FORBIDDEN_EXAMPLES = [
    "0.0.0.0",  # noqa: S104  # called, not bound
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::2",
    "64:ff9b:1::1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff::1",
    "2001:db8::1",
    "2002::1",
    "2620:4f:8000::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "8000::1",
    "e000::1",
    "1::1",
    "1fff::1",
]
NEIGHBOURS = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:db7::1",
    "2001:db9::1",
    "2003::1",
    "2000::1",
    "3ffe::1",
]


@pytest.mark.parametrize("address", PUBLIC + NEIGHBOURS)
def test_a_public_address_is_permitted(address: str) -> None:
    assert permitted(ip_address(address))


@pytest.mark.parametrize("address", FORBIDDEN_EXAMPLES)
def test_a_special_purpose_address_is_not(address: str) -> None:
    assert not permitted(ip_address(address))


@pytest.mark.parametrize("network", FORBIDDEN, ids=str)
def test_both_ends_of_every_forbidden_network_are_refused(network: Network) -> None:
    assert not permitted(network[0])
    assert not permitted(network[-1])


@pytest.mark.parametrize(
    "carrier",
    [
        "::ffff:{ipv4}",
        "64:ff9b::{ipv4}",
    ],
)
def test_a_spelling_or_translation_of_an_ipv4_address_is_judged_by_that_address(carrier: str) -> None:
    for address in FORBIDDEN_EXAMPLES:
        if ":" not in address:
            assert not permitted(ip_address(carrier.format(ipv4=address)))
    assert permitted(ip_address(carrier.format(ipv4="8.8.8.8")))


@pytest.mark.parametrize(
    ("prefix", "private", "public"),
    [
        ("::/96", "::10.0.0.1", "::8.8.8.8"),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1", "64:ff9b::8.8.8.8"),
        ("64:ff9b:1::/48", "64:ff9b:1::10.0.0.1", "64:ff9b:1::8.8.8.8"),
        ("64:ff9b:1::/48", "64:ff9b:1:a00:0:100::", "64:ff9b:1:808:8:800::"),
        ("64:ff9b:1::/48", "64:ff9b:1:aa0a:0:1::", None),
        ("64:ff9b:1::/48", "64:ff9b:1:808:a:0:100:0", None),
        ("2002::/16", "2002:a00:1::1", "2002:808:808::1"),
        ("2001::/32", "2001:0:808:808:8000:0:f5ff:fffe", "2001:0:808:808:8000:0:f7f7:f7f7"),
        ("2001::/32", "2001:0:a00:1:8000:0:f7f7:f7f7", "2001:0:808:808:8000:0:f7f7:f7f7"),
        ("::ffff:0:0/96", "::ffff:10.0.0.1", "::ffff:8.8.8.8"),
    ],
)
def test_allowing_a_translation_prefix_does_not_allow_what_is_behind_it(
    prefix: str, private: str, public: str | None
) -> None:
    allowed = [ip_network(prefix)]
    assert not permitted(ip_address(private), allowed)
    assert permitted(ip_address(private), [*allowed, ip_network("10.0.0.0/8")])
    if public is not None:
        assert permitted(ip_address(public), allowed)


def test_an_allowed_network_permits_its_addresses_and_no_others() -> None:
    allowed = [ip_network("127.0.0.1/32"), ip_network("fd00::/64")]
    assert permitted(ip_address("127.0.0.1"), allowed)
    assert permitted(ip_address("::ffff:127.0.0.1"), allowed)
    assert permitted(ip_address("fd00::5"), allowed)
    assert not permitted(ip_address("127.0.0.2"), allowed)
    assert not permitted(ip_address("::1"), allowed)
    assert not permitted(ip_address("fd00:0:0:1::5"), allowed)


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::a9fe:a9fe",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
]


@pytest.mark.parametrize("text", METADATA)
def test_a_metadata_address_is_permitted_by_its_own_name_only(text: str) -> None:
    address = ip_address(text)
    length = address.max_prefixlen
    for prefix in range(length):
        around = ip_network((text, prefix), strict=False)
        assert not permitted(address, [around]), f"permitted by {around}"
    assert permitted(address, [ip_network(text)])
    assert not permitted(address, [])


@pytest.mark.parametrize("carrier", ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"])
def test_a_spelling_of_a_metadata_address_is_no_name_of_it(carrier: str) -> None:
    wide = [ip_network("169.254.0.0/16"), ip_network("::/0"), ip_network("0.0.0.0/0")]
    assert not permitted(ip_address(carrier), wide)
    assert not permitted(ip_address(carrier), [ip_network(carrier)])


def test_an_address_with_a_zone_is_never_permitted() -> None:
    assert not permitted(ip_address("2606:4700:4700::1111%eth0"))
    assert not permitted(ip_address("fe80::1%1"), [ip_network("fe80::/10")])


@given(st.ip_addresses())
def test_what_python_calls_unreachable_is_never_permitted(address: Network) -> None:
    """Ours may forbid more than the standard library, never less; a carrier is judged by what it carries."""
    found = ip_address(str(address))
    if found.is_private or found.is_loopback or found.is_link_local or found.is_multicast or found.is_reserved:
        assert not permitted(found) or str(found).startswith(("64:ff9b::", "::ffff:"))


@given(st.ip_addresses(v=4))
def test_a_carrier_is_permitted_only_if_what_it_carries_is(address: object) -> None:
    carried = ip_address(str(address))
    for carrier in (f"::ffff:{carried}", f"64:ff9b::{carried}"):
        assert permitted(ip_address(carrier)) == permitted(carried)
