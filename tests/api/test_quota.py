"""Who may ask for how much. The clock is the test's; what a plane does with it is asked over real TLS."""

import asyncio
import base64
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.agent.pair import renew
from compass.api.http import Response
from compass.api.quota import Buckets, Kind, Quotas, Seats, network
from compass.app import _readiness, plane
from compass.client.graphql import Trust
from compass.errors import TooManyRequests
from compass.ids import SystemAuthId, TenantId
from compass.settings import LimitSettings, Settings
from tests.test_app import VIEWER, Client, Reply, access_token, administrator, client, paired, settings

LIMITS = LimitSettings(
    caller_requests_per_second=2,
    caller_burst=20,
    tenant_requests_per_second=4,
    tenant_burst=30,
    caller_requests_at_once=2,
    tenant_requests_at_once=3,
    caller_streams=1,
    address_failures_per_minute=6,
    address_failures_burst=3,
)
CONFIGURATION = "query { %s }"
SPENDS = "k%d: configuration { token { token } }"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def one(number: int = 1, tenant: str | None = "T") -> Caller:
    return Caller(
        Consumer.APPLICATION,
        f"a{number}",
        Flow.CERTIFICATE,
        frozenset(),
        None if tenant is None else TenantId(tenant),
        system_auth=SystemAuthId(f"s{number}"),
    )


def anonymous(address: str) -> Caller:
    return Caller(Consumer.APPLICATION, "", Flow.ONE_TIME_TOKEN, frozenset(), None, address=address)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(LIMITS, connections=8, clock=clock)


def refused(quotas: Quotas, caller: Caller, kind: Kind = Kind.REQUEST) -> TooManyRequests:
    with pytest.raises(TooManyRequests) as refusal:
        quotas.admit(caller, kind)
    return refusal.value


# --- rates ---


def test_a_bucket_gives_its_burst_at_once_and_its_rate_in_the_long_run() -> None:
    buckets = Buckets(per_second=2, burst=3)
    given = 0
    for step in range(1000):  # ten seconds, in hundredths
        now = step / 100
        if buckets.wait("a", 1, now) <= 0:
            buckets.take("a", 1, now)
            given += 1
    assert given == 3 + 19


def test_a_bucket_says_when_there_will_be_enough() -> None:
    buckets = Buckets(per_second=2, burst=10)
    buckets.take("a", 10, 0.0)
    assert buckets.wait("a", 1, 0.0) == 0.5
    assert buckets.wait("a", 4, 0.0) == 2.0
    assert buckets.wait("a", 4, 2.0) == 0.0
    assert buckets.wait("b", 10, 0.0) == 0.0


def test_a_million_keys_take_bounded_memory_and_full_buckets_are_forgotten_first() -> None:
    buckets = Buckets(per_second=1, burst=10, most_keys=100)
    buckets.take("busy", 9, 0.0)
    for number in range(10_000):
        buckets.take(str(number), 1, number / 50)
        if number % 40 == 0 and buckets.wait("busy", 1, number / 50) <= 0:
            buckets.take("busy", 1, number / 50)
        assert len(buckets) <= 100
    assert buckets.wait("busy", 10, 200.0) > 0


def test_a_caller_over_its_rate_is_told_when_to_come_back_and_others_are_not_refused(
    quotas: Quotas, clock: Clock
) -> None:
    for _ in range(20):
        quotas.admit(one())()
    refusal = refused(quotas, one())
    assert (refusal.facts, refusal.after_seconds) == ({"whom": "this caller", "seconds": "1"}, 0.5)
    quotas.admit(one(2))()
    clock.now += 0.5
    quotas.admit(one())()
    refused(quotas, one())


def test_the_callers_of_a_tenant_share_its_rate_and_other_tenants_have_their_own(quotas: Quotas) -> None:
    for number in range(30):
        quotas.admit(one(number))()
    assert refused(quotas, one(31)).facts["whom"] == "this tenant"
    quotas.admit(one(31, "U"))()
    quotas.admit(one(32, None))()


def test_a_refusal_takes_nothing_of_what_is_left(quotas: Quotas) -> None:
    for number in range(30):
        quotas.admit(one(number))()
    for _ in range(100):
        refused(quotas, one(40))
    for _ in range(20):
        quotas.admit(one(40, "U"))()  # all of its own is still there


def test_what_one_request_asks_for_is_counted_whole_or_not_at_all(quotas: Quotas, clock: Clock) -> None:
    quotas.admit(one())()
    quotas.charge(one(), 9)
    quotas.charge(one(), 9)
    with pytest.raises(TooManyRequests) as refusal:
        quotas.charge(one(), 9)
    assert refusal.value.after_seconds == 4.0
    quotas.charge(one(), 1)
    clock.now += 4.5
    quotas.charge(one(), 9)


def test_what_was_refused_a_moment_ago_is_known_by_what_it_shows(quotas: Quotas, clock: Clock) -> None:
    shown = (b"certificate", "T")
    for _ in range(20):
        quotas.admit(one(), shown=shown)()
    quotas.refuse_known(shown)
    with pytest.raises(TooManyRequests):
        quotas.admit(one(), shown=shown)
    with pytest.raises(TooManyRequests):
        quotas.refuse_known(shown)
    quotas.refuse_known((b"certificate", "U"))  # elsewhere it has asked for nothing yet
    clock.now += 0.5
    quotas.refuse_known(shown)


def test_what_shows_nothing_is_not_known_again(quotas: Quotas) -> None:
    for _ in range(30):
        quotas.admit(anonymous("192.0.2.1"))()
    with pytest.raises(TooManyRequests):
        quotas.admit(anonymous("192.0.2.1"), shown=None)
    quotas.refuse_known(None)


def test_a_client_that_renews_too_often_may_still_ask_for_other_things(quotas: Quotas) -> None:
    for _ in range(100):
        quotas.admit(one(), Kind.RENEWAL, shown="x")()
    with pytest.raises(TooManyRequests):
        quotas.admit(one(), Kind.RENEWAL, shown="x")
    quotas.refuse_known("x")


def test_renewals_are_counted_apart_from_everything_else(quotas: Quotas) -> None:
    for number in range(30):
        quotas.admit(one(number))()
    refused(quotas, one())
    quotas.admit(one(), Kind.RENEWAL)()
    for _ in range(99):
        quotas.admit(one(), Kind.RENEWAL)()
    refused(quotas, one(), Kind.RENEWAL)
    quotas.admit(one(2), Kind.RENEWAL)()


# --- under way ---


def test_more_than_so_many_are_not_under_way_at_once(quotas: Quotas) -> None:
    first, second = quotas.admit(one()), quotas.admit(one())
    refusal = refused(quotas, one())
    assert refusal.facts == {"whom": "this caller, with 2 under way", "seconds": "1"}
    third = quotas.admit(one(2))
    assert refused(quotas, one(3)).facts["whom"] == "this tenant, with 3 under way"
    first()
    quotas.admit(one(3))()
    for over in (second, third):
        over()
    assert quotas._under_way == {}


def test_a_client_is_not_known_as_refused_because_it_had_too_many_under_way(quotas: Quotas) -> None:
    quotas.admit(one(), shown="x")
    quotas.admit(one(), shown="x")
    with pytest.raises(TooManyRequests):
        quotas.admit(one(), shown="x")
    quotas.refuse_known("x")


def test_streams_are_bounded_and_take_no_place_of_requests(quotas: Quotas) -> None:
    over = quotas.admit(one(), Kind.STREAM)
    refused(quotas, one(), Kind.STREAM)
    quotas.admit(one(2), Kind.STREAM)
    quotas.admit(one())
    quotas.admit(one())
    over()
    quotas.admit(one(), Kind.STREAM)


# --- guessing ---


def test_an_address_with_too_many_wrong_credentials_is_looked_at_no_more(quotas: Quotas, clock: Clock) -> None:
    for _ in range(3):
        quotas.refuse_guessing("192.0.2.1")
        quotas.failed("192.0.2.1")
    with pytest.raises(TooManyRequests) as refusal:
        quotas.refuse_guessing("192.0.2.1")
    assert refusal.value.facts == {"whom": "this address, with wrong credentials", "seconds": "10"}
    for _ in range(1000):
        quotas.failed("192.0.2.1")  # what is refused anyway is not counted on
    quotas.refuse_guessing("192.0.2.2")
    clock.now += 10
    quotas.refuse_guessing("192.0.2.1")


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_one_party_holds_an_ipv4_address_or_a_64_of_ipv6(address: str, counted: str) -> None:
    assert network(address) == counted


def test_callers_without_a_name_are_counted_by_their_address(quotas: Quotas) -> None:
    for number in range(30):
        quotas.admit(anonymous(f"2001:db8::{number}"))()
    assert refused(quotas, anonymous("2001:db8::ffff")).facts["whom"] == "this address"
    quotas.admit(anonymous("2001:db8:0:1::1"))()


# --- seats ---


async def test_no_tenant_has_all_connections_and_its_own_requests_wait_in_turn() -> None:
    seats, order = Seats(8), []

    async def use(key: str, number: int, release: asyncio.Event) -> None:
        async with seats.of(key):
            order.append((key, number))
            await release.wait()

    release = asyncio.Event()
    tasks = [asyncio.ensure_future(use("A", number, release)) for number in range(20)]
    await asyncio.sleep(0)
    assert [number for _, number in order] == list(range(6))
    tasks.append(asyncio.ensure_future(use("B", 0, release)))
    await asyncio.sleep(0)
    assert order[-1] == ("B", 0)
    release.set()
    await asyncio.gather(*tasks)
    assert [number for key, number in order if key == "A"] == list(range(20))
    assert (seats._taken, seats._waiting) == ({}, {})


@pytest.mark.parametrize("moment", ["waiting", "given"])
async def test_a_seat_is_not_lost_with_who_was_cancelled(moment: str) -> None:
    seats = Seats(1)
    await seats.take("A")
    first, second = (asyncio.ensure_future(seats.take("A")) for _ in range(2))
    await asyncio.sleep(0)
    if moment == "given":
        seats.leave("A")
    first.cancel()
    await asyncio.sleep(0)
    if moment == "waiting":
        seats.leave("A")
    async with asyncio.timeout(5):
        await second
    seats.leave("A")
    assert first.cancelled()
    assert (seats._taken, seats._waiting) == ({}, {})


def test_being_counted_costs_microseconds() -> None:
    quotas, caller, shown = Quotas(LimitSettings(), connections=8), one(), ("x", "y")
    rounds = 5_000
    began = time.process_time()
    for _ in range(rounds):
        quotas.refuse_known(shown)
        quotas.admit(caller, shown=shown)()
    each = (time.process_time() - began) / rounds
    assert each < 200e-6, f"{each * 1e6:.1f} µs"  # 5 µs here; the bound is for a machine that does ten other things


async def test_probes_ask_the_database_a_few_times_a_second_at_most() -> None:
    class Counting:
        asked = 0

        async def read(self, *_: object) -> list[bool]:
            self.asked += 1
            await asyncio.sleep(0)
            return [True]

    database = Counting()
    answer = _readiness(database)  # type: ignore[arg-type]  # it is asked for one row
    request: Any = None
    answers = await asyncio.gather(*(answer(request) for _ in range(200)))
    assert {one.body for one in answers if isinstance(one, Response)} == {b"ok"}
    assert database.asked < 5


# --- a plane ---


def limited(folder: Path, dsn: str, **limits: int) -> Settings:
    return replace(settings(folder, dsn), limits=LimitSettings(**limits))


async def test_a_plane_refuses_with_429_does_nothing_and_says_when_to_come_back(dsn: str, tmp_path: Path) -> None:
    few = limited(tmp_path, dsn, tenant_requests_per_second=1, tenant_burst=60, caller_requests_at_once=4)
    async with plane(few) as started, administrator(started) as admin:
        _, connection = await paired(started, admin, tmp_path / "client")
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as own:
            over = await until_refused(admin)
            assert int(over.headers["retry-after"]) >= 1
            assert over.json["data"] is None
            assert over.error["extensions"] == {"error": "OperationTimeout", "error_code": 28}
            assert over.error["message"].startswith("too many requests from this tenant; nothing was done, try again")
            elsewhere = await until_refused(admin, "/provisioner/graphql")
            assert elsewhere.headers["retry-after"] == "1"

            # What is refused does nothing, also where a part of it could be paid.
            register = " ".join('a%d: registerApplication(in: {name: "n%d"}) { id }' % (n, n) for n in range(20))
            assert (await admin.ask("mutation { %s }" % register)).status == 429

            # Its certificate a client renews, and revokes, all the same.
            renewed = await renew(connection, trust=Trust.to(started.ca_pem))
            assert renewed.not_after >= connection.not_after
            await until_refused(own)
            revoked = await own.data("mutation { revokeCertificate }", path="/connector/graphql")
            assert revoked == {"revokeCertificate": True}

        # Whoever waits as long as it was told is answered.
        await asyncio.sleep(int((await until_refused(admin)).headers["retry-after"]))
        assert len((await admin.data("{ applications { data { name } } }"))["applications"]["data"]) == 1


async def until_refused(asking: Client, path: str = "/director/graphql") -> Reply:
    """The first refusal; a slow machine gets some answers more before it."""
    while True:
        reply = await asking.ask(VIEWER, path=path)
        if reply.status == 429:
            return reply


async def guess(anybody: Client, attempts: int) -> Reply:
    text = CONFIGURATION % " ".join(SPENDS % number for number in range(attempts))
    return await anybody.ask(text, path="/connector/graphql", headers={"Connector-Token": "guess"})


async def sign_in(anybody: Client, secret: str) -> Reply:
    basic = base64.b64encode(f"admin:{secret}".encode()).decode()
    form = {"grant_type": "client_credentials"}
    return await anybody.request("POST", "/oauth2/token", data=form, headers={"Authorization": f"Basic {basic}"})


async def test_attempts_are_counted_one_by_one(dsn: str, tmp_path: Path) -> None:
    few = limited(tmp_path, dsn, tenant_requests_per_second=1, tenant_burst=100)
    async with plane(few) as started, client(started.token_url, started.ca_pem) as anybody:
        assert (await guess(anybody, 1000)).status == 422
        refusal = await guess(anybody, 21)
        assert refusal.status == 422
        assert "21 root fields that act, at most 20" in refusal.error["message"]
        looked_at = 0
        while (reply := await guess(anybody, 10)).status == 200:
            assert reply.error["extensions"]["error_code"] == 26
            looked_at += 1
        assert 9 <= looked_at < 30  # ten attempts each; a slow machine gets some more
        assert "from this address; nothing was done" in reply.error["message"]


async def test_wrong_secrets_and_tokens_of_one_address_have_one_budget(dsn: str, tmp_path: Path) -> None:
    few = limited(tmp_path, dsn, address_failures_per_minute=1, address_failures_burst=6)
    async with plane(few) as started, client(started.token_url, started.ca_pem) as anybody:
        token = await access_token(started, started.admin_secret)
        for _ in range(3):
            assert (await sign_in(anybody, "guess")).status == 401
            assert (await guess(anybody, 1)).error["extensions"]["error_code"] == 26
        over = await sign_in(anybody, str(started.admin_secret))
        assert (over.status, over.json["error"]) == (429, "temporarily_unavailable")
        assert 1 <= int(over.headers["retry-after"]) <= 60
        assert (await guess(anybody, 1)).status == 429
        # Who has proved already who it is, is not refused because of others at its address.
        assert (await anybody.ask(VIEWER, headers={"Authorization": f"Bearer {token}"})).status == 200
