"""Signing in at a provider with a browser: who gets in, and every way in which an answer may be another's."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from compass.access.code_flow import Begun, CodeFlow, Signed, SignInAway, SignInRefused, challenge
from compass.access.provider import ProviderAway
from compass.access.sign_on import SignOn
from compass.outbound.door import Door, DoorSettings
from compass.settings import OidcSettings
from tests.access.fake_provider import (
    AUDIENCE,
    DISCOVERY,
    OTHER_RSA,
    REVOKE,
    SECRET,
    TOKEN,
    FakeProvider,
    answer,
    fake_provider,
)

REDIRECT = "https://plane.example/console/sign-in/callback"


@dataclass
class World:
    """A provider, and the flow that signs in there."""

    fake: FakeProvider
    door: Door
    settings: OidcSettings

    def flow(self, **changes: Any) -> CodeFlow:
        settings = replace(self.settings, **changes)
        return CodeFlow(settings, self.door, SignOn(settings, self.door), redirect_uri=REDIRECT)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(fake_provider(tmp_path / "provider"))
        outbound = DoorSettings(
            allowed_networks=(ip_network("127.0.0.1/32"),), ca_file=fake.ca_file, failure_step=timedelta(0)
        )
        settings = OidcSettings(
            issuers=(fake.issuer,),
            audience=AUDIENCE,
            client_id=AUDIENCE,
            scopes=("people=application:read",),
            tenants=("people=mine",),
        )
        yield World(fake, await stack.enter_async_context(Door(outbound)), settings)


async def signed_in(flow: CodeFlow, fake: FakeProvider, **changes: str | None) -> str:
    """Who got in with the provider's answer, changed as said."""
    begun = await flow.begin()
    told = {**fake.consent(begun.url), **changes}
    signed = await flow.finish(begun, {name: value for name, value in told.items() if value is not None})
    assert 200 < signed.seconds_left <= 300
    return signed.person.id


async def test_somebody_signs_in_with_code_state_nonce_and_pkce(world: World) -> None:
    flow = world.flow(client_secret=SECRET)
    begun = await flow.begin()
    asked = dict(parse_qsl(urlsplit(begun.url).query))

    signed = await flow.finish(begun, world.fake.consent(begun.url))

    assert (signed.person.id, signed.person.groups) == (f"{world.fake.issuer}#ann", ("people",))
    assert asked == {
        "response_type": "code",
        "client_id": AUDIENCE,
        "redirect_uri": REDIRECT,
        "scope": "openid profile",
        "state": begun.state,
        "nonce": begun.nonce,
        "code_challenge": challenge(begun.verifier),
        "code_challenge_method": "S256",
    }
    assert len({begun.state, begun.nonce, begun.verifier}) == 3
    assert all(len(base64.urlsafe_b64decode(one + "=")) == 32 for one in (begun.state, begun.nonce, begun.verifier))
    (form,) = world.fake.forms
    assert form["code_verifier"] == begun.verifier
    assert SECRET not in str(form)
    assert SECRET not in repr((begun, signed, flow._settings))


def test_the_challenge_is_that_of_the_standard() -> None:
    # RFC 7636, appendix B.
    assert challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_a_provider_that_knows_only_posted_secrets_gets_one(world: World) -> None:
    world.fake.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}

    await signed_in(world.flow(client_secret=SECRET), world.fake)

    assert world.fake.forms[0]["client_secret"] == SECRET


async def test_an_access_token_for_the_plane_comes_before_the_id_token(world: World) -> None:
    world.fake.access = {"aud": "the-api", "groups": ["people"]}
    flow = world.flow(audience="the-api")
    begun = await flow.begin()

    signed = await flow.finish(begun, world.fake.consent(begun.url))

    assert (await SignOn(replace(world.settings, audience="the-api"), world.door).person(signed.token, "")).scopes


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"state": "x" * 43}, "another sign-in"),
        ({"state": None}, "another sign-in"),
        ({"iss": "https://evil.example"}, "not come from the provider"),
        ({"error": "access_denied", "code": None}, r"cancelled \(access_denied\)"),
        ({"error": "server_error"}, r"refused it \(server_error\)"),
        ({"error": "<script>"}, "the provider refused it$"),
        ({"code": None}, "has no code"),
        ({"code": "x" * 5000}, "has no code"),
    ],
    ids=str,
)
async def test_an_answer_of_another_sign_in_or_provider_is_not_exchanged(
    world: World, changes: dict[str, str | None], why: str
) -> None:
    with pytest.raises(SignInRefused, match=why):
        await signed_in(world.flow(), world.fake, **changes)

    assert world.fake.forms == []


async def test_a_provider_that_says_it_names_itself_has_to(world: World) -> None:
    world.fake.metadata = {"authorization_response_iss_parameter_supported": True}

    with pytest.raises(SignInRefused, match="not come from the provider"):
        await signed_in(world.flow(), world.fake, iss=None)
    assert await signed_in(world.flow(), world.fake)


@pytest.mark.parametrize(
    ("bends", "why"),
    [
        ({"nonce": "x"}, "belongs to another sign-in"),
        ({"nonce": None}, "belongs to another sign-in"),
        ({"nonce": 5}, "belongs to another sign-in"),
        ({"aud": "somebody-else"}, "meant for somebody else"),
        ({"aud": None}, "of another provider"),
        ({"aud": [AUDIENCE, "somebody-else"]}, "meant for somebody else"),
        ({"azp": "somebody-else"}, "meant for somebody else"),
        ({"iss": "https://other.example"}, "not signed by it"),
        ({"exp": 1}, "its time is over"),
        ({"sub": None}, "no token for this plane"),
    ],
    ids=str,
)
async def test_a_token_for_another_sign_in_client_or_time_lets_nobody_in(
    world: World, bends: dict[str, Any], why: str
) -> None:
    world.fake.bends = bends

    with pytest.raises(SignInRefused, match=why):
        await signed_in(world.flow(), world.fake)


async def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(world: World) -> None:
    flow = world.flow()
    begun = await flow.begin()
    told = world.fake.consent(begun.url)
    forged = world.fake.token(key=OTHER_RSA, nonce=begun.nonce)
    world.fake.answers[TOKEN] = answer({"id_token": forged, "access_token": "x", "token_type": "Bearer"})

    with pytest.raises(SignInRefused, match="not signed by it"):
        await flow.finish(begun, told)


async def test_an_access_token_of_somebody_else_is_not_taken(world: World) -> None:
    world.fake.access = {"sub": "bob", "aud": AUDIENCE}

    assert await signed_in(world.flow(), world.fake) == f"{world.fake.issuer}#ann"


async def test_a_code_is_good_once(world: World) -> None:
    flow = world.flow()
    begun = await flow.begin()
    told = world.fake.consent(begun.url)
    await flow.finish(begun, told)

    with pytest.raises(SignInRefused, match="does not accept the code"):
        await flow.finish(begun, told)


async def signed(flow: CodeFlow, fake: FakeProvider) -> Signed:
    """Somebody who signed in, and has a refresh token where the provider gives one."""
    begun = await flow.begin()
    return await flow.finish(begun, fake.consent(begun.url))


async def test_a_refresh_token_gets_the_same_person_a_new_token_each_time(world: World) -> None:
    world.fake.gives_refresh_tokens = True
    flow = world.flow(client_secret=SECRET)
    first = await signed(flow, world.fake)

    second = await flow.renew(first)
    third = await flow.renew(second)

    assert {one.person for one in (first, second, third)} == {first.person}
    assert 200 < third.seconds_left <= 300
    given = [one.refresh_token for one in (first, second, third)]
    assert len({one.reveal() for one in given if one is not None}) == 3
    # The last one is told only to whom it is from, and nowhere else.
    *_, form = world.fake.forms
    assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", given[1] and given[1].reveal())
    assert SECRET not in str(form)
    for one in given:
        assert one is not None
        assert one.reveal() not in repr((first, second, third, flow._settings))


async def test_a_refresh_token_that_is_not_replaced_stays_good(world: World) -> None:
    world.fake.gives_refresh_tokens = True
    flow = world.flow()
    first = await signed(flow, world.fake)
    world.fake.answers_without = frozenset({"refresh_token"})

    second = await flow.renew(first)

    assert second.refresh_token == first.refresh_token


async def test_without_a_refresh_token_nothing_is_renewed_and_nobody_asked(world: World) -> None:
    flow = world.flow()
    first = await signed(flow, world.fake)
    asked = len(world.fake.forms)

    assert not first.is_renewable
    with pytest.raises(SignInRefused, match="sign in again"):
        await flow.renew(first)
    assert len(world.fake.forms) == asked


@pytest.mark.parametrize(
    "renews",
    [
        {"sub": "bob"},
        {"sub": None},
        {"iss": "https://other.example"},
        {"aud": "somebody-else"},
        {"azp": "somebody-else"},
        {"nonce": "of another sign-in"},
        {"exp": 1},
    ],
    ids=str,
)
async def test_a_renewed_token_of_somebody_else_is_refused(world: World, renews: dict[str, Any]) -> None:
    world.fake.gives_refresh_tokens = True
    flow = world.flow()
    first = await signed(flow, world.fake)
    world.fake.renews = renews

    with pytest.raises(SignInRefused):
        await flow.renew(first)


async def test_a_renewed_access_token_of_somebody_else_is_refused(world: World) -> None:
    world.fake.gives_refresh_tokens, world.fake.access = True, {"sub": "ann", "aud": AUDIENCE}
    flow = world.flow()
    first = await signed(flow, world.fake)
    world.fake.answers_without, world.fake.access = frozenset({"id_token"}), {"sub": "bob", "aud": AUDIENCE}

    with pytest.raises(SignInRefused, match="no token for this plane"):
        await flow.renew(first)


async def test_a_renewed_id_token_of_somebody_else_is_refused_whoever_the_access_token_is_of(world: World) -> None:
    world.fake.gives_refresh_tokens, world.fake.access = True, {"sub": "ann", "aud": AUDIENCE}
    flow = world.flow()
    first = await signed(flow, world.fake)
    world.fake.renews = {"sub": "bob"}

    with pytest.raises(SignInRefused, match="not say any more that it is you"):
        await flow.renew(first)


async def test_an_answer_without_an_id_token_is_enough_where_the_access_token_is_for_the_plane(world: World) -> None:
    world.fake.gives_refresh_tokens, world.fake.access = True, {"sub": "ann", "aud": AUDIENCE}
    flow = world.flow()
    first = await signed(flow, world.fake)
    world.fake.answers_without = frozenset({"id_token"})

    second = await flow.renew(first)

    assert second.person == first.person
    world.fake.access = None
    with pytest.raises(SignInRefused, match="no token for this plane"):
        await flow.renew(second)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (answer({"error": "invalid_grant"}, "400 Bad Request"), SignInRefused),
        (answer({"error": "invalid_client"}, "401 Unauthorized"), SignInRefused),
        (answer(b"<html>"), SignInAway),
        (answer({}, "500 Oh"), SignInAway),
        (answer({}, "429 Too Many Requests"), SignInAway),
        (answer({}), SignInRefused),
        (answer({"id_token": None}), SignInRefused),
        (answer({"id_token": "a.b.c"}), SignInRefused),
    ],
)
async def test_whatever_a_provider_answers_to_a_refresh_token_is_told_in_our_words(
    world: World, sent: bytes, error: type[Exception]
) -> None:
    world.fake.gives_refresh_tokens = True
    flow = world.flow()
    first = await signed(flow, world.fake)
    world.fake.answers[TOKEN] = sent

    with pytest.raises(error) as caught:
        await flow.renew(first)

    assert first.refresh_token is not None
    assert first.refresh_token.reveal() not in str(caught.value)


async def test_who_asks_to_stay_signed_in_consents_to_it(world: World) -> None:
    begun = await world.flow(request_scopes=("openid", "offline_access")).begin()

    assert dict(parse_qsl(urlsplit(begun.url).query))["prompt"] == "consent"


async def test_a_stolen_code_is_of_no_use_without_its_verifier(world: World) -> None:
    flow = world.flow()
    told = world.fake.consent((await flow.begin()).url)
    other = await flow.begin()

    with pytest.raises(SignInRefused, match="does not accept the code"):
        await flow.finish(Begun("", told["state"], other.nonce, other.verifier), told)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (answer(b"<html>"), SignInAway),
        (answer({}, "503 Service Unavailable"), SignInAway),
        (answer({}, "302 Found", "Location: https://evil.example/"), SignInAway),
        (answer(b'{"id_token": "a", "id_token": "b"}'), SignInAway),
        (answer({}), SignInRefused),
        (answer({"id_token": 5}), SignInRefused),
        (answer({"id_token": "a.b.c"}), SignInRefused),
        (answer({"error": "invalid_client"}, "401 Unauthorized"), SignInRefused),
    ],
)
async def test_whatever_a_provider_answers_to_a_code_is_told_in_our_words(
    world: World, sent: bytes, error: type[Exception]
) -> None:
    flow = world.flow()
    begun = await flow.begin()
    told = world.fake.consent(begun.url)
    world.fake.answers[TOKEN] = sent

    with pytest.raises(error) as caught:
        await flow.finish(begun, told)
    assert "evil" not in str(caught.value)


async def test_a_slow_provider_is_not_waited_for_without_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = world.flow()
    begun = await flow.begin()
    told = world.fake.consent(begun.url)
    monkeypatch.setattr("compass.access.code_flow.WITHIN", timedelta(seconds=0.2))
    world.fake.hangs = True

    async with asyncio.timeout(30):
        with pytest.raises(SignInAway, match="try again in a moment"):
            await flow.finish(begun, told)


@pytest.mark.parametrize(
    "metadata",
    [
        {"authorization_endpoint": "http://127.0.0.1/authorize"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "https://a/\r\nset-cookie: a"},
        {"authorization_endpoint": "https://a/#fragment"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
    ids=str,
)
async def test_a_provider_that_cannot_do_it_safely_is_not_asked(world: World, metadata: dict[str, Any]) -> None:
    world.fake.metadata = metadata

    with pytest.raises(SignInAway):
        await world.flow().begin()


async def test_a_provider_that_is_away_is_told(world: World) -> None:
    world.fake.answers[DISCOVERY] = answer({}, "500 Oh")

    with pytest.raises(ProviderAway):
        await world.flow().begin()


async def test_who_leaves_has_the_tokens_revoked_and_is_sent_to_where_the_provider_signs_out(world: World) -> None:
    world.fake.may_be_left()
    world.fake.gives_refresh_tokens = True
    world.fake.access = {"aud": AUDIENCE}
    flow = world.flow(client_secret=SECRET)
    first = await signed(flow, world.fake)
    now = await flow.renew(first)

    address = await flow.leave(now)

    assert now.refresh_token is not None
    told = {(one["token_type_hint"], one["token"]) for one in world.fake.revoked}
    assert told == {("refresh_token", now.refresh_token.reveal()), ("access_token", now.token)}
    assert SECRET not in str(world.fake.revoked)
    assert address is not None
    assert address.startswith(f"https://127.0.0.1:{world.fake.port}/leave?realm=r&")
    asked = dict(parse_qsl(urlsplit(address).query))
    assert now.id_token is not None
    assert asked == {
        "realm": "r",
        "client_id": AUDIENCE,
        "post_logout_redirect_uri": REDIRECT,
        "id_token_hint": now.id_token.reveal(),
    }
    assert now.id_token.reveal() not in repr(now)


async def test_what_only_the_provider_can_read_is_revoked_and_the_last_id_token_stays_the_hint(
    world: World,
) -> None:
    world.fake.may_be_left()
    world.fake.gives_refresh_tokens = True
    world.fake.access = {"aud": AUDIENCE}
    flow = world.flow()
    first = await signed(flow, world.fake)
    world.fake.answers_without = frozenset({"id_token"})
    assert (await flow.renew(first)).id_token == first.id_token
    world.fake.answers_without, world.fake.access, world.fake.gives_refresh_tokens = frozenset(), None, False

    assert await flow.leave(await signed(flow, world.fake))

    assert [one["token"] for one in world.fake.revoked] == ["only-the-provider-can-read-this"]


async def test_a_provider_that_offers_neither_is_left_alone(world: World) -> None:
    world.fake.gives_refresh_tokens = True
    flow = world.flow()
    gone = await signed(flow, world.fake)
    before = list(world.fake.asked)

    assert await flow.leave(gone) is None

    assert world.fake.asked == before


async def test_whose_settings_want_it_so_revokes_and_leads_nowhere(world: World) -> None:
    world.fake.may_be_left()
    world.fake.gives_refresh_tokens = True
    flow = world.flow(end_session=False)

    assert await flow.leave(await signed(flow, world.fake)) is None

    assert sorted(one["token_type_hint"] for one in world.fake.revoked) == ["access_token", "refresh_token"]


@pytest.mark.parametrize(
    "refused", [answer({}, "503 Service Unavailable"), answer({}, "400 Bad Request")], ids=["broken", "refusing"]
)
async def test_a_provider_that_revokes_nothing_keeps_nobody(
    world: World, refused: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world.fake.may_be_left()
    world.fake.gives_refresh_tokens = True
    flow = world.flow(client_secret=SECRET)
    gone = await signed(flow, world.fake)
    world.fake.answers[REVOKE] = refused

    assert await flow.leave(gone)

    assert "the refresh token of" in caplog.text
    assert gone.refresh_token is not None
    assert gone.refresh_token.reveal() not in caplog.text
    assert SECRET not in caplog.text


async def test_a_provider_that_hangs_is_waited_for_seconds_only(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("compass.access.code_flow.REVOKED_WITHIN", timedelta(milliseconds=200))
    world.fake.may_be_left()
    world.fake.gives_refresh_tokens = True
    flow = world.flow()
    gone = await signed(flow, world.fake)
    world.fake.hangs = True

    async with asyncio.timeout(30):
        assert await flow.leave(gone)

    assert "was not revoked" in caplog.text


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/leave", "javascript:alert(1)", "https://a b", "", 7, None, ["https://a.example"]]
)
async def test_nobody_is_led_to_what_is_no_address_of_https(world: World, address: Any) -> None:
    world.fake.may_be_left()
    world.fake.metadata["end_session_endpoint"] = address
    world.fake.metadata["revocation_endpoint"] = address
    flow = world.flow()
    gone = await signed(flow, world.fake)
    before = list(world.fake.asked)

    assert await flow.leave(gone) is None

    assert world.fake.asked == before


async def test_a_hint_that_no_address_can_hold_is_left_out(world: World) -> None:
    world.fake.may_be_left()
    world.fake.bends = {"groups": ["people", *(f"group-{number}" for number in range(600))]}
    flow = world.flow()

    address = await flow.leave(await signed(flow, world.fake))

    assert address is not None
    assert "id_token_hint" not in address
    assert len(address) < 1000
