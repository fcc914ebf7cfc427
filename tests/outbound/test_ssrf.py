"""Two thousand URLs that lead to where the plane must not go, at each of the doors that users can name URLs to.

Two witnesses: listeners on this machine that must not be connected to, and the interpreter's own record of every
connection that is begun. The short form plays a tenth; `COMPASS_PROOF=1` all. `test_door.py` has names that change.
"""

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from compass.delivery.attempt import Prepared, send
from compass.delivery.enqueue import Delivery
from compass.director.fetch_request import Source, fetch_all
from compass.director.sign_in import AccessTokens, SignInFailed
from compass.outbound.addresses import FORBIDDEN, Network, permitted
from compass.outbound.door import Door, Request
from compass.outbound.errors import OutboundError, OutboundFailed, UrlRefused

from .conftest import Opens
from .hostile import CONNECTS, Names, answers, ok, receiver

PROOF = bool(os.environ.get("COMPASS_PROOF"))
ASKED_SEED = os.environ.get("COMPASS_SEED", "")
SEED = int(ASKED_SEED) if ASKED_SEED.isdigit() else random.SystemRandom().randrange(2**32) if PROOF else 20_260_101
URLS = 2_000
PORTS = (80, 443, 8080, 8443, 9200, 10250, 2379, 5984)


def spellings(address: IPv4Address) -> Iterator[str]:
    """Everything that some reader of URLs takes for that address."""
    octets, number = address.packed, int(address)
    a, b, c, d = octets
    yield str(address)
    yield str(number)
    yield hex(number)
    yield f"0{number:o}"
    yield f"{a}.{b}.{(c << 8) + d}"
    yield f"{a}.{(b << 16) + (c << 8) + d}"
    yield ".".join(f"0{octet:o}" for octet in octets)
    yield ".".join(hex(octet) for octet in octets)
    yield ".".join(f"{octet:03}" for octet in octets)
    yield f"{address}."
    yield str(address).replace(".", "。")
    yield str(address).translate({48 + digit: 0xFF10 + digit for digit in range(10)})
    yield str(address).replace(".", "%2e")
    yield f"example.com@{address}"
    yield f"example.com:80@{address}"
    yield f"{address}#@example.com"
    yield f"{address}\\@example.com"
    for carrier in (
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80) | 1),
        IPv6Address((0x20010000 << 96) | (number << 64) | (number ^ 0xFFFFFFFF)),
        IPv6Address((0x64FF9B0001 << 80) | number),
    ):
        yield f"[{carrier}]"
    yield f"[::ffff:{address}]"
    yield f"[64:ff9b::{address}]"
    yield f"[::ffff:{address}%25lo]"


def somewhere_in(network: Network, chance: random.Random) -> str:
    """An address of a forbidden network; of the carriers of others, one that carries no public address."""
    while True:
        found = network.network_address + chance.randrange(min(network.num_addresses, 2**32))
        if not permitted(found):
            return str(found)


def urls(chance: random.Random, port: int, names: Names) -> list[str]:
    """Literal spellings, names that lead there, and names that lead there too."""
    found: list[str] = []
    addresses = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "169.254.169.254", "100.100.100.200", "168.63.129.16"]  # noqa: S104
    addresses += [somewhere_in(network, chance) for network in FORBIDDEN for _ in range(2)]
    for text in addresses:
        if isinstance(address := ip_address(text), IPv4Address):
            hosts = list(spellings(address))
        else:
            hosts = [f"[{text}]", f"[{address.exploded}]", f"[{text}%25eth0]", f"example.com@[{text}]"]
        for number, answer in enumerate(([text], ["93.184.216.34", text], [text, "2606:4700::1111"])):
            name = f"n{len(names.scripts)}-{number}.example"
            names.scripts[name] = [answer]
            hosts.append(name)
        for host in hosts:
            for scheme, where in (("http", port), ("https", chance.choice(PORTS))):
                found.append(f"{scheme}://{host}:{where}/{chance.choice(('', 'latest/meta-data/', '?q=1', 'a/../b'))}")
    found += [
        f"{scheme}://127.0.0.1:{port}/" for scheme in ("file", "gopher", "ftp", "dict", "ldap", "unix", "jar:http")
    ]
    chance.shuffle(found)
    return found


def delivery(url: str) -> Delivery:
    return Delivery(
        id="d",
        sequence=1,
        tenant=None,
        receiver="r",
        subject="s",
        kind="k",
        method="POST",
        url=url,
        headers={},
        body="{}",
        facts={},
        attempt=1,
        failures=0,
        attempted_at=datetime.now(UTC),
        since_first=timedelta(0),
        created_at=datetime.now(UTC),
    )


async def at_specification(door: Door, url: str) -> str:
    (fetched,) = await fetch_all(door, [Source(url)])
    assert fetched.data is None
    return str(fetched.message).removeprefix("While fetching Spec: ")


async def at_webhook(door: Door, url: str) -> str:
    answer = (await send(door, delivery(url), Prepared(), within=timedelta(seconds=5))).answer
    assert isinstance(answer, OutboundError), answer
    return answer.reason


async def at_token_endpoint(door: Door, url: str) -> str:
    with pytest.raises(SignInFailed) as failure:
        await AccessTokens(door).headers({"url": url, "clientId": "c", "clientSecret": "s"})
    return failure.value.facts["why"].removeprefix("the token endpoint cannot be used: ")


async def at_pairing_adapter(door: Door, url: str) -> str:
    with pytest.raises(OutboundError) as failure:
        await door.send(Request("POST", url, {"Content-Type": "application/json"}, b"{}"))
    return failure.value.reason


DOORS = (at_specification, at_webhook, at_token_endpoint, at_pairing_adapter)


@pytest.mark.parametrize("enter", DOORS, ids=lambda enter: enter.__name__)
async def test_no_url_leads_to_a_forbidden_address(
    opens: Opens, enter: Callable[..., object], record_property: Callable[[str, object], None]
) -> None:
    names = Names()
    chance = random.Random(SEED)  # noqa: S311  # no secret
    async with (
        receiver(answers(ok(b"secret"))) as decoy,
        receiver(answers(ok(b"secret")), address="127.0.0.2") as other,
    ):
        tried = urls(chance, decoy.port, names)
        tried = tried[: URLS if PROOF else URLS // 10]
        assert len(set(tried)) > 150
        door = await opens(names, allowed_networks=())
        CONNECTS.clear()
        reasons = {url: await enter(door, url) for url in tried}  # type: ignore[misc]  # each of them is awaited

    assert (decoy.connections, other.connections, CONNECTS) == (0, 0, []), f"seed {SEED}"
    # Refused for its form, or like an address that does not answer: which of them exists is not told.
    told = set(reasons.values())
    forms = {reason for reason in told if str(reason).startswith("The URL")}
    assert told - forms <= {OutboundFailed().reason}, (SEED, told)
    record_property("cases", len(tried))
    record_property("seed", f"COMPASS_SEED={SEED}")
    print(f"{enter.__name__}: {len(tried)} URLs, no connection, seed {SEED}")  # noqa: T201  # for make proof


def test_the_list_holds_as_many_as_promised_and_none_that_is_permitted() -> None:
    names = Names()
    tried = urls(random.Random(SEED), 8080, names)  # noqa: S311  # no secret
    assert len(set(tried)) >= URLS
    assert all(any(not permitted(ip_address(address)) for address in script[0]) for script in names.scripts.values())


async def test_allowing_a_network_does_not_open_the_metadata_addresses_in_it(opens: Opens) -> None:
    allowed = tuple(ip_network(cidr) for cidr in ("100.64.0.0/10", "168.0.0.0/8", "192.0.0.0/24", "fd00::/8"))
    door = await opens(Names(), allowed_networks=allowed)
    CONNECTS.clear()
    for host in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "[fd00:ec2::254]", "[::ffff:100.100.100.200]"):
        with pytest.raises(OutboundFailed):
            await door.send(Request("GET", f"http://{host}/"))
    assert CONNECTS == []


async def test_a_url_is_refused_for_its_form_before_anything_is_looked_up(opens: Opens) -> None:
    names = Names()
    door = await opens(names)
    with pytest.raises(UrlRefused):
        await door.send(Request("GET", "http://user@a.example/"))
    assert names.asked == []
