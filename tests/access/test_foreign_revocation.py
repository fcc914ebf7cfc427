"""Lists of revoked certificates that other authorities publish: read from files and addresses that misbehave."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from compass.access import foreign_revocation
from compass.access.authenticate import Authenticator
from compass.access.caller import Caller, Consumer, Flow
from compass.access.external import Origin
from compass.access.foreign_revocation import ForeignRevocations, RevocationUnknown
from compass.errors import Unauthorized
from compass.outbound.door import Door, DoorSettings
from compass.settings import ExternalCertificateSettings, SettingRefused
from tests.outbound.hostile import answers, floods, hangs, ok, receiver

from .foreign import ForeignAuthority, Leaf

NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass
class World:
    """An authority, the list of it that the plane keeps, and the plane's clock."""

    authority: ForeignAuthority
    file: Path
    door: Door
    now: datetime = NOW

    def lists(self, source: str = "", *others: ForeignAuthority) -> ForeignRevocations:
        trusted = "".join(one.pem.decode() for one in (self.authority, *others))
        named = f"{self.authority.pin}={source or self.file}"
        return ForeignRevocations(
            ExternalCertificateSettings(revocation_lists=(named,)), trusted, self.door, clock=lambda: self.now
        )

    async def looking(self, data: bytes) -> ForeignRevocations:
        self.file.write_bytes(data)
        found = self.lists()
        await found.look()
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = DoorSettings(allowed_networks=(ip_network("127.0.0.1/32"),), failure_step=timedelta(0))
    async with Door(settings) as door:
        yield World(ForeignAuthority(), tmp_path / "list.crl", door)


def serial(leaf: Leaf) -> int:
    return x509.load_der_x509_certificate(leaf.der).serial_number


def judged(lists: ForeignRevocations, leaf: Leaf) -> str:
    try:
        lists.refuse(leaf.der)
    except Unauthorized as refusal:
        return refusal.facts["reason"]
    except RevocationUnknown:
        return "unknown"
    return "let in"


async def test_who_is_on_the_list_is_refused_and_nobody_else(world: World) -> None:
    stolen, good = world.authority.issue(), world.authority.issue()
    lists = await world.looking(world.authority.revoke(serial(stolen), at=NOW))

    assert [judged(lists, leaf) for leaf in (stolen, good)] == ["the certificate was revoked", "let in"]


async def test_of_an_authority_without_a_list_everybody_is_let_in_as_before(world: World) -> None:
    stolen, other = world.authority.issue(), ForeignAuthority()
    world.file.write_bytes(world.authority.revoke(serial(stolen), at=NOW))
    lists = world.lists("", other)
    await lists.look()

    assert [judged(lists, leaf) for leaf in (stolen, other.issue())] == ["the certificate was revoked", "let in"]
    without = ForeignRevocations(ExternalCertificateSettings(), world.authority.pem.decode(), world.door)
    assert (judged(without, stolen), without.standing) == ("let in", [])


async def test_where_lists_are_kept_nobody_comes_in_by_an_authority_that_is_not_named(world: World) -> None:
    lists = await world.looking(world.authority.revoke(at=NOW))

    for leaf in (ForeignAuthority().issue(), Leaf(b"no certificate", "", "")):
        assert judged(lists, leaf) == "the authority that issued the certificate is not named"


async def test_an_authority_with_two_certificates_for_one_key_has_one_list(world: World) -> None:
    again, stolen = ForeignAuthority(key=world.authority.key), world.authority.issue()
    world.file.write_bytes(world.authority.revoke(serial(stolen), at=NOW))
    lists = world.lists("", again)
    await lists.look()

    assert judged(lists, stolen) == "the certificate was revoked"


async def test_a_file_is_read_again_when_it_changes_and_its_list_ends_when_it_says_so(world: World) -> None:
    leaf = world.authority.issue()
    lists = await world.looking(world.authority.revoke(at=NOW, ends=timedelta(hours=1)))
    assert judged(lists, leaf) == "let in"

    world.file.write_bytes(world.authority.revoke(serial(leaf), at=NOW))
    await lists.look()
    assert judged(lists, leaf) == "the certificate was revoked"
    world.file.write_bytes(world.authority.revoke(at=NOW + timedelta(seconds=1)))  # it was suspended only
    await lists.look()
    assert judged(lists, leaf) == "let in"

    world.now += timedelta(days=1, seconds=1)
    await lists.look()
    assert judged(lists, leaf) == "unknown"
    [standing] = lists.standing
    assert (standing.is_good, standing.problem) == (False, "no newer one has come")


async def test_a_file_that_is_broken_leaves_the_list_before_in_force_until_that_ends(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    stolen, good = world.authority.issue(), world.authority.issue()
    lists = await world.looking(world.authority.revoke(serial(stolen), at=NOW))

    def replaced(by: bytes | None) -> None:
        world.file.unlink(missing_ok=True)
        if by is not None:
            world.file.write_bytes(by)

    for wrong, problem in (
        (b"", "it is no revocation list"),
        (world.authority.revoke(at=NOW - timedelta(minutes=1)), "it is older than the one before"),
        (ForeignAuthority().revoke(at=NOW), "the authority did not sign it"),
        (None, "the file cannot be read: No such file or directory"),
    ):
        replaced(wrong)
        await lists.look()
        await lists.look()
        [standing] = lists.standing
        assert (standing.is_good, standing.revoked, standing.problem) == (True, 1, problem)
        assert [judged(lists, leaf) for leaf in (stolen, good)] == ["the certificate was revoked", "let in"]
        assert [problem in record.getMessage() for record in caplog.records].count(True) == 1
    world.now += timedelta(days=1)
    assert [judged(lists, leaf) for leaf in (stolen, good)] == ["the certificate was revoked", "unknown"]
    replaced(world.authority.revoke(at=world.now))
    await lists.look()
    assert [judged(lists, leaf) for leaf in (stolen, good)] == ["let in", "let in"]
    assert lists.standing[0].problem == ""


@pytest.mark.parametrize("content", [None, b"", b"<html>"])
async def test_without_any_list_that_is_good_nobody_of_its_authority_is_let_in(
    world: World, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        world.file.write_bytes(content)
    lists = world.lists()
    assert judged(lists, world.authority.issue()) == "unknown"
    await lists.look()
    assert judged(lists, world.authority.issue()) == "unknown"
    [standing] = lists.standing
    assert (standing.issued_at, standing.good_until, standing.revoked, standing.is_good) == (None, None, 0, False)
    for one in lists._lists.values():
        one.tell_end()
        one.tell_end()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith("clients of CN=Example Issuing,O=Example are refused")


async def test_a_list_is_fetched_through_the_door(world: World) -> None:
    stolen = world.authority.issue()
    body = world.authority.revoke(serial(stolen), at=NOW)
    async with receiver(answers(ok(body))) as server:
        lists = world.lists(f"http://127.0.0.1:{server.port}/list.crl?a=b")
        await lists.look()  # looks at files only
        assert judged(lists, stolen) == "unknown"
        await lists.fetch()
        await lists.fetch()
    assert judged(lists, stolen) == "the certificate was revoked"
    assert server.requests[0].startswith(b"GET /list.crl?a=b HTTP/1.1\r\n")
    # It is away now, and what it said holds.
    await lists.fetch()
    [standing] = lists.standing
    assert (standing.problem, standing.revoked, standing.is_good) == ("The address could not be reached", 1, True)


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        (answers(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "it is answered for with status code 404"),
        (answers(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"),
         "it is answered for with status code 302"),
        (answers(ok(b"", length=9 * 1024 * 1024)), "The receiver's answer is too large"),
        (floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(65536) + b"\r\n"),
         "The receiver's answer is too large"),
        (hangs, "The receiver did not finish its answer in time"),
        (answers(b"SSH-2.0-x\r\n", then_closes=True), "The receiver's answer is not valid HTTP"),
        (answers(ok(b"<html>")), "it is no revocation list"),
    ],
    ids=["404", "redirect", "too large", "endless", "hangs", "no HTTP", "no list"],
)  # fmt: skip
async def test_a_server_that_misbehaves_lets_nobody_in(
    world: World, behaviour: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_revocation, "_WITHIN", timedelta(seconds=5 if behaviour is not hangs else 0.5))
    async with receiver(behaviour) as server:
        lists = world.lists(f"http://127.0.0.1:{server.port}/list.crl")
        await lists.fetch()
        assert lists.standing[0].problem == problem
        assert judged(lists, world.authority.issue()) == "unknown"


async def test_an_address_in_a_private_network_is_not_asked_unless_it_is_allowed(world: World) -> None:
    async with receiver(answers(ok(world.authority.revoke(at=NOW))), address="127.0.0.2") as server:
        lists = world.lists(f"http://127.0.0.2:{server.port}/list.crl")
        await lists.fetch()
    assert server.connections == 0
    assert lists.standing[0].problem == "The address could not be reached"


async def test_who_is_asking_is_told_apart_from_whom_the_list_names_before_anything_else(world: World) -> None:
    own, stolen = ForeignAuthority(), world.authority.issue()
    lists = await world.looking(world.authority.revoke(serial(stolen), at=NOW))
    origin = Origin(own.pem.decode, lists)

    assert origin.is_ours(own.issue().der)
    assert not origin.is_ours((good := world.authority.issue()).der)
    with pytest.raises(Unauthorized, match="the certificate was revoked"):
        origin.is_ours(stolen.der)
    assert origin.mark(good.der) == f"{serial(good):x} {world.authority.pin}"


async def test_what_was_let_in_ends_with_the_list_that_names_it_and_with_one_that_is_over(world: World) -> None:
    leaf, other = world.authority.issue(), ForeignAuthority()
    world.file.write_bytes(world.authority.revoke(at=NOW))
    lists = world.lists("", other)
    await lists.look()

    class Asked:
        async def read(self, _: str, __: Any) -> Any:
            return {"ended": []}

    authenticator = Authenticator(Asked(), None, None, foreign=lists)  # type: ignore[arg-type]  # not asked for it
    mark = lists.mark(leaf.der)
    callers = [
        Caller(Consumer.EXTERNAL_CERTIFICATE, name, Flow.CERTIFICATE, frozenset(), None, listed=listed)
        for name, listed in (("listed", mark), ("not", lists.mark(other.issue().der)))
    ]
    assert await authenticator.ended(callers) == []
    world.file.write_bytes(world.authority.revoke(serial(leaf), at=NOW + timedelta(seconds=1)))
    await lists.look()
    assert await authenticator.ended(callers) == callers[:1]
    world.file.write_bytes(world.authority.revoke(at=NOW + timedelta(seconds=2)))
    await lists.look()
    assert await authenticator.ended(callers) == []
    world.now += timedelta(days=2)
    assert await authenticator.ended(callers) == callers[:1]


def test_a_list_of_an_authority_that_is_not_trusted_is_refused(world: World) -> None:
    unknown = ForeignAuthority().pin
    settings = ExternalCertificateSettings(revocation_lists=(f"{unknown}=/x.crl",))

    with pytest.raises(SettingRefused) as refused:
        ForeignRevocations(settings, world.authority.pem.decode(), world.door)
    assert refused.value.facts["reason"] == (
        f"no authority in external_certificates.ca_file has the SHA-256 fingerprint {unknown}"
    )
