"""The keys of a provider, which may be slow, away, wrong, or changed."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey

from compass.access import provider as provider_module
from compass.access.provider import AGAIN_AFTER_SECONDS, Provider, ProviderAway, _Unusable, usable
from compass.outbound.door import Door, DoorSettings
from compass.settings import OidcSettings
from tests.outbound.hostile import answers, receiver

from .fake_provider import DISCOVERY, EC, KEYS, OTHER_RSA, RSA, FakeProvider, answer, fake_provider, published

BOTH = [DISCOVERY, KEYS]


@dataclass
class World:
    """A provider that can misbehave, what the plane knows of it, and the plane's clock."""

    fake: FakeProvider
    known: Provider
    now: float = 0.0

    def later(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(fake_provider(tmp_path / "provider"))
        outbound = DoorSettings(
            allowed_networks=(ip_network("127.0.0.1/32"),), ca_file=fake.ca_file, failure_step=timedelta(0)
        )
        door = await stack.enter_async_context(Door(outbound))
        settings = OidcSettings(issuers=(fake.issuer,), keys_refresh=timedelta(minutes=5))
        made = World(fake, Provider(fake.issuer, door, settings, clock=lambda: made.now))
        yield made


async def test_keys_are_found_by_discovery_once_and_told_apart(world: World) -> None:
    assert (found := await world.known.key("rsa", "RS256")) is not None
    assert found.public.as_dict() == RSA.as_dict(private=False)
    assert (found := await world.known.key("ec", "ES256")) is not None
    assert found.public.as_dict() == EC.as_dict(private=False)
    assert (await world.known.key(None, "PS512")) is not None
    assert world.fake.asked == BOTH


@pytest.mark.parametrize(
    ("kid", "algorithm"),
    [("rsa", "ES256"), ("ec", "RS256"), ("ec", "ES384"), ("rsa", "HS256"), ("rsa", "none"), ("rsa", ""), ("", "RS256")],
)
async def test_a_key_is_not_used_with_an_algorithm_that_is_not_its_own(world: World, kid: str, algorithm: str) -> None:
    assert await world.known.key(kid, algorithm) is None


async def test_a_token_that_names_no_key_must_leave_no_choice(world: World) -> None:
    world.fake.keys.append(published(OTHER_RSA, "another"))

    assert await world.known.key(None, "RS256") is None
    assert await world.known.key(None, "ES256") is not None


async def test_a_new_key_is_found_at_once_and_a_withdrawn_one_is_gone_with_it(world: World) -> None:
    await world.known.key("rsa", "RS256")
    world.fake.keys = [published(OTHER_RSA, "new")]
    world.later(AGAIN_AFTER_SECONDS)

    assert await world.known.key("new", "RS256") is not None
    assert await world.known.key("rsa", "RS256") is None
    assert world.fake.asked == BOTH * 2


async def test_any_number_of_unknown_keys_cost_the_provider_one_fetch_in_a_while(world: World) -> None:
    await world.known.key("rsa", "RS256")
    world.later(AGAIN_AFTER_SECONDS)

    found = await asyncio.gather(*(world.known.key(f"no {n}", "RS256") for n in range(500)))
    again = await asyncio.gather(*(world.known.key(f"no {n}", "RS256") for n in range(500)))

    assert set(found) == set(again) == {None}
    assert world.fake.asked == BOTH * 2


async def test_all_who_come_first_wait_for_one_answer(world: World) -> None:
    found = await asyncio.gather(*(world.known.key("rsa", "RS256") for _ in range(100)))

    assert None not in found
    assert world.fake.asked == BOTH


# `PORT!` is as long as the port that it stands for, so that Content-Length stays right.
WRONG: dict[str, dict[str, bytes]] = {
    "an error": {DISCOVERY: answer({}, "500 Internal Server Error")},
    "an error for the keys": {KEYS: answer({}, "503 Service Unavailable")},
    "a redirect": {DISCOVERY: answer({}, "302 Found", "Location: https://127.0.0.1:1/else")},
    "a redirect of the keys": {KEYS: answer({}, "307 Temporary Redirect", "Location: https://127.0.0.1:1/else")},
    "another issuer": {
        DISCOVERY: answer({"issuer": "https://evil.example", "jwks_uri": "https://127.0.0.1:PORT!/keys"})
    },
    "no issuer": {DISCOVERY: answer({"jwks_uri": "https://127.0.0.1:PORT!/keys"})},
    "no JSON": {DISCOVERY: answer(b"<html>")},
    "a list": {DISCOVERY: answer([])},
    "members twice": {KEYS: answer(b'{"keys": [], "keys": []}')},
    "keys that are no list": {KEYS: answer({"keys": {"rsa": 1}})},
    "no keys": {KEYS: answer({})},
    "too many keys": {KEYS: answer({"keys": [{}] * 65})},
    "more than is read": {KEYS: answer({"keys": [], "padding": "x" * 300_000})},
    "a bomb": {KEYS: answer(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip")},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_what_a_provider_says_wrongly_leaves_its_keys_as_they_were(
    world: World, wrong: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    await world.known.key("rsa", "RS256")
    world.later(AGAIN_AFTER_SECONDS)
    world.fake.answers = {path: text.replace(b"PORT!", str(world.fake.port).encode()) for path, text in wrong.items()}

    with caplog.at_level(logging.WARNING):
        assert not await world.known.refresh()

    assert await world.known.key("rsa", "RS256") is not None
    assert [record.message for record in caplog.records if record.name == provider_module.__name__] != []


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/keys", "file:///etc/passwd", 1, None, "https://10.0.0.1/keys"])
async def test_keys_are_fetched_from_no_place_that_is_not_allowed(world: World, address: Any) -> None:
    world.fake.answers[DISCOVERY] = answer({"issuer": world.fake.issuer, "jwks_uri": address})

    with pytest.raises(ProviderAway):
        await world.known.key("rsa", "RS256")

    assert world.fake.asked == [DISCOVERY]


async def test_keys_are_never_fetched_in_the_clear(world: World) -> None:
    async with receiver(answers(answer({"keys": world.fake.keys}))) as in_the_clear:
        address = f"http://127.0.0.1:{in_the_clear.port}/keys"
        world.fake.answers[DISCOVERY] = answer({"issuer": world.fake.issuer, "jwks_uri": address})

        with pytest.raises(ProviderAway):
            await world.known.key("rsa", "RS256")

    assert in_the_clear.connections == 0


async def test_keys_are_kept_while_the_provider_is_away_and_not_for_ever(world: World) -> None:
    await world.known.key("rsa", "RS256")
    world.fake.answers = {DISCOVERY: answer({}, "500 Internal Server Error")}

    world.later(timedelta(hours=23).total_seconds())
    assert await world.known.key("rsa", "RS256") is not None
    assert await world.known.key("unknown", "RS256") is None
    world.later(timedelta(hours=1).total_seconds())
    with pytest.raises(ProviderAway):
        await world.known.key("rsa", "RS256")

    world.fake.answers = {}
    world.later(AGAIN_AFTER_SECONDS)
    assert await world.known.key("rsa", "RS256") is not None


async def test_a_provider_that_never_answers_is_given_up_and_others_do_not_ask_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "_WITHIN", timedelta(milliseconds=300))
    world.fake.hangs = True

    found = await asyncio.gather(*(world.known.key("rsa", "RS256") for _ in range(50)), return_exceptions=True)

    assert {type(one) for one in found} == {ProviderAway}
    assert world.fake.asked == [DISCOVERY]


async def test_the_keys_are_fetched_now_and_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    turn = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        world.later(seconds)
        if len(pauses) == 2:
            world.fake.answers = {DISCOVERY: answer({}, "500 Internal Server Error")}
        if len(pauses) == 3:
            turn.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("compass.access.provider.asyncio.sleep", sleep)
    task = asyncio.create_task(world.known.run())
    await turn.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert world.fake.asked == [*BOTH, *BOTH, DISCOVERY]
    assert [270 <= pause <= 300 for pause in pauses] == [True, True, False]
    assert 27 <= pauses[2] <= 30  # a provider that is away is asked sooner


def test_only_keys_that_can_verify_are_taken() -> None:
    good = [published(RSA, "a"), published(EC, "b", use="sig", alg="ES256", key_ops=["verify"], x5t="x")]
    bad: list[Any] = [
        None, 1, {}, {"kty": "RSA"}, {"kty": "RSA", "n": "!", "e": "AQAB"}, {"kty": "RSA", "n": 1, "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": ["RSA"]}, published(RSA, "list", alg=["RS256"]), {**published(RSA, "even"), "e": "AAAA"},
        {**published(RSA, "long"), "e": RSA.as_dict()["n"]}, published(RSA, "nothing", key_ops=None),
        [published(RSA, "x")],
        {**published(RSA, "small"), "n": "AQAB"}, {**published(RSA, "large"), "n": "_" * 2000},
        published(RSA, "encrypts", use="enc"), published(RSA, "signs", key_ops=["sign"]),
        published(RSA, "ops", key_ops=7), published(RSA, "algorithm", alg="HS256"),
        published(RSA, "none", alg="none"), {**published(RSA, "number"), "kid": 7},
        RSA.as_dict(private=True),
        OctKey.generate_key(256).as_dict(), OKPKey.generate_key("Ed25519").as_dict(private=False),
        ECKey.generate_key("secp256k1").as_dict(private=False), {**published(EC, "curve"), "crv": "P-384"},
    ]  # fmt: skip

    kept = usable([*bad, *good])

    assert [(key.kid, key.algorithm, key.kind, key.curve) for key in kept] == [
        ("a", None, "RSA", None), ("b", "ES256", "EC", "P-256"),
    ]  # fmt: skip


@pytest.mark.parametrize("listed", [None, {}, "keys", [{}] * 65])
def test_what_is_no_list_of_keys_is_refused(listed: object) -> None:
    with pytest.raises(_Unusable):
        usable(listed)
