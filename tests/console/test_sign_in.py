"""Signing in at the console with an OpenID provider: who gets in and who does not, as a browser sees it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
import pytest

from compass.client.graphql import Plane
from compass.client.protocol import Trust
from compass.console.session import FORMER_LIFE, Renewable
from compass.secret import Secret
from compass.settings import OidcSettings, OutboundSettings
from tests.access.fake_provider import AUDIENCE, SECRET, TOKEN, FakeProvider, answer, fake_provider
from tests.console.conftest import Shown, Site, _browser, a_plane


@dataclass
class World:
    """A provider, and a browser that nobody is signed in with."""

    fake: FakeProvider
    site: Site

    async def begin(self) -> str:
        """Press the link; where it leads."""
        begun = await self.site.get("/sign-in/begin")
        assert begun.status == 303
        return begun.headers["location"]

    async def come_back(self, told: dict[str, str]) -> Shown:
        """Press the button of the page that the provider sends the browser to."""
        query = "&".join(f"{name}={value}" for name, value in told.items())
        page = await self.site.get(f"/sign-in/callback?{query}")
        assert page.status == 200
        form = {str(one.get("name")): str(one.get("value")) for one in page.tree.iterfind(".//form//input")}
        assert form == told
        return await self.site.bare_post("/sign-in/callback", form, {"origin": self.site.origin})

    async def sign_in(self, **bends: Any) -> Shown:
        """Everything, with claims of the provider's tokens bent."""
        self.fake.bends = bends
        return await self.come_back(self.fake.consent(await self.begin()))


@pytest.fixture(scope="module")
async def fake(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FakeProvider]:
    async with fake_provider(tmp_path_factory.mktemp("sign-on") / "provider") as provider:
        provider.may_be_left()
        yield provider


@pytest.fixture(scope="module")
async def world(
    cluster: "asyncpg.Connection[asyncpg.Record]",
    cluster_dsn: str,
    fake: FakeProvider,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    oidc = OidcSettings(
        issuers=(fake.issuer,),
        audience=AUDIENCE,
        client_id=AUDIENCE,
        client_secret=SECRET,
        scopes=("people=application:read runtime:read", "chiefs=admin", "guests=application:read"),
        tenants=("people=elsewhere", "chiefs=*"),
    )
    outbound = OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),), ca_file=fake.ca_file)
    folder = tmp_path_factory.mktemp("console")
    async with (
        a_plane(cluster, cluster_dsn, folder, oidc=oidc, outbound=outbound) as started,
        _browser(started) as session,
        Plane(started.token_url, trust=Trust.to(started.ca_pem), credentials=None) as nobody,
    ):
        yield World(fake, Site(started, session, nobody))


@pytest.fixture(autouse=True)
def fresh(world: World) -> None:
    """A provider that behaves, and a browser without cookies."""
    world.site._session.cookie_jar.clear()
    world.fake.bends, world.fake.answers, world.fake.hangs = {}, {}, False
    world.fake.renews, world.fake.slow_seconds, world.fake.gives_refresh_tokens = {}, 0.0, False


def cookies(world: World) -> set[str]:
    return {one.key for one in world.site._session.cookie_jar}


async def test_somebody_signs_in_with_the_provider_and_has_the_rights_of_the_groups(world: World) -> None:
    first = await world.site.get("/sign-in")
    assert f"Sign in with 127.0.0.1:{world.fake.port}" in first.words

    answered = await world.sign_in(groups=["chiefs"])

    assert (answered.status, answered.headers["location"]) == (303, "/console/")
    kept = answered.headers["set-cookie"]
    assert all(word in kept for word in ("__Host-compass=", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=3899"))
    assert (await world.site.get("/applications")).status == 200
    # The provider's tokens and secret are on no page.
    page = (await world.site.get("/")).text
    assert SECRET not in page
    assert "eyJ" not in page


async def test_signing_out_ends_the_session_here_and_leads_to_where_the_provider_ends_its_own(world: World) -> None:
    world.fake.gives_refresh_tokens = True
    await world.sign_in(groups=["chiefs"])
    world.fake.revoked.clear()

    left = await world.site.post("/sign-out")

    # A form that is led on to another site would be stopped by `form-action`.
    assert left.headers["location"].startswith("/console/sign-in?left=")
    assert (await world.site.get("/")).headers["location"] == "/console/sign-in"
    assert sorted(one["token_type_hint"] for one in world.fake.revoked) == ["access_token", "refresh_token"]
    shown = await world.site.follow(left)
    [address] = [link for link in shown.links if link.startswith(f"https://127.0.0.1:{world.fake.port}/leave?")]
    assert shown.headers["refresh"] == f"0; url={address}"
    # Once: whoever finds the page again is led nowhere.
    again = await world.site.follow(left)
    assert ("refresh" in again.headers, "may still know you" in again.words) == (False, True)
    back = dict(parse_qsl(urlsplit(address).query))["post_logout_redirect_uri"]
    assert back == f"{world.site.origin}/console/sign-in/callback"
    came_back = await world.site.get("/sign-in/callback?state=")
    assert "You are signed out, here and at" in (await world.site.follow(came_back)).words


async def test_a_provider_that_does_not_answer_keeps_nobody_signed_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compass.access.code_flow.REVOKED_WITHIN", timedelta(milliseconds=200))
    world.fake.gives_refresh_tokens = True
    await world.sign_in(groups=["chiefs"])
    world.fake.hangs = True

    assert (await world.site.post("/sign-out")).status == 303

    assert (await world.site.get("/")).headers["location"] == "/console/sign-in"


async def test_who_leaves_needs_no_token_that_is_good(world: World) -> None:
    world.fake.gives_refresh_tokens = True
    await world.sign_in(groups=["chiefs"], exp=int(time.time()) + 1)
    world.fake.answers[TOKEN] = answer({}, "503 Service Unavailable")
    csrf = await world.site.csrf()
    await asyncio.sleep(1.5)

    assert (await world.site.post("/sign-out", csrf=csrf)).headers["location"].startswith("/console/sign-in?left=")

    assert (await world.site.get("/")).headers["location"] == "/console/sign-in"


async def test_somebody_elses_code_leads_nowhere(world: World) -> None:
    for code in ("1", "x" * 43, "", "https://evil.example"):
        shown = await world.site.get(f"/sign-in?left={code}")
        assert (shown.status, "refresh" in shown.headers) == (200, False)


async def test_who_may_work_in_one_tenant_begins_there(world: World) -> None:
    assert (await world.sign_in(groups=["people"])).status == 303

    # The plane has no such tenant yet, and says so as of any that is not there.
    assert (await world.site.get("/applications")).status == 400


@pytest.mark.parametrize(
    ("groups", "asks_for"),
    [
        ([], "people without a group"),
        (["strangers"], "strangers"),
        (["guests"], "name a tenant for one of your groups"),
    ],
)
async def test_whoever_may_do_nothing_is_told_what_to_ask_for(world: World, groups: list[str], asks_for: str) -> None:
    shown = await world.sign_in(groups=groups)

    assert shown.status == 403
    assert asks_for in shown.words
    assert "oidc.tenants" in shown.words
    assert "__Host-compass" not in cookies(world)


@pytest.mark.parametrize(
    ("bends", "why"),
    [
        ({"nonce": "of another"}, "belongs to another sign-in"),
        ({"aud": "somebody-else"}, "meant for somebody else"),
        ({"exp": 1}, "its time is over"),
    ],
    ids=str,
)
async def test_what_the_provider_says_of_another_sign_in_lets_nobody_in(
    world: World, bends: dict[str, Any], why: str
) -> None:
    shown = await world.sign_in(groups=["chiefs"], **bends)

    assert (shown.status, why in shown.words) == (403, True)
    assert "__Host-compass" not in cookies(world)
    assert shown.tree.xpath("//a[@href='/console/sign-in/begin']")


async def test_a_mixed_up_issuer_is_refused_before_the_code_goes_anywhere(world: World) -> None:
    told = world.fake.consent(await world.begin()) | {"iss": "https://evil.example"}
    before = len(world.fake.forms)

    shown = await world.come_back(told)

    assert (shown.status, len(world.fake.forms)) == (403, before)


async def test_an_answer_is_good_once_and_only_in_the_browser_that_asked(world: World) -> None:
    told = world.fake.consent(await world.begin())
    async with world.site.another(signed_in=False) as stranger:
        # As somebody who wants a person to work in an account that is not hers would have it.
        other = World(world.fake, stranger)
        assert (await other.come_back(told)).status == 403
    assert world.fake._codes

    assert (await world.come_back(told)).status == 303
    shown = await world.come_back(told)

    assert (shown.status, "was finished already" in shown.words) == (403, True)


async def test_looking_at_the_answers_address_spends_nothing(world: World) -> None:
    told = world.fake.consent(await world.begin())
    before = len(world.fake.forms)

    await world.site.get(f"/sign-in/callback?code={told['code']}&state={told['state']}")

    assert len(world.fake.forms) == before
    assert (await world.come_back(told)).status == 303


async def test_another_sites_form_finishes_no_sign_in(world: World) -> None:
    told = world.fake.consent(await world.begin())

    shown = await world.site.bare_post("/sign-in/callback", told, {"origin": "https://evil.example"})

    assert (shown.status, "__Host-compass" in cookies(world)) == (403, False)


async def test_a_slow_provider_is_told_and_the_sign_in_can_be_begun_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = world.fake.consent(await world.begin())
    monkeypatch.setattr("compass.access.code_flow.WITHIN", timedelta(seconds=0.2))
    world.fake.hangs = True

    shown = await world.come_back(told)

    assert (shown.status, "try again in a moment" in shown.words) == (503, True)
    world.fake.hangs = False
    monkeypatch.undo()
    assert (await world.sign_in(groups=["chiefs"])).status == 303


async def test_a_cancelled_sign_in_says_so(world: World) -> None:
    told = world.fake.consent(await world.begin())

    shown = await world.come_back({"error": "access_denied", "state": told["state"]})

    assert (shown.status, "cancelled (access_denied)" in shown.words) == (403, True)


async def test_a_session_ends_with_its_token(world: World) -> None:
    answered = await world.sign_in(groups=["chiefs"], exp=int(time.time()) + 61)
    seconds = int(answered.headers["set-cookie"].partition("Max-Age=")[2].partition(";")[0])
    assert 30 <= seconds - FORMER_LIFE.total_seconds() <= 61


async def stay(world: World, **bends: Any) -> Renewable:
    """Sign in at a provider that gives refresh tokens, and have the token about to end."""
    world.fake.gives_refresh_tokens = True
    answered = await world.sign_in(groups=["chiefs"], **bends)
    assert int(answered.headers["set-cookie"].partition("Max-Age=")[2].partition(";")[0]) == 13 * 3600
    renewable = world.site.sessions[-1].renewable
    assert renewable is not None
    renewable.due = 0
    return renewable


async def test_a_session_goes_on_with_the_providers_refresh_token_which_nobody_sees(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    first = await stay(world)
    asked = len(world.fake.forms)

    pages = [await world.site.get(path) for path in ("/applications", "/groups", "/system", "/explorer")]

    assert [one.status for one in pages] == [200] * 4
    assert len(world.fake.forms) == asked + 1
    session = world.site.sessions[-1]
    assert session.renewable not in (None, first)
    assert session.token != first.signed.token
    for renewable in (first, session.renewable):
        assert renewable is not None
        secret = renewable.signed.refresh_token
        assert isinstance(secret, Secret)
        assert not [one for one in pages if secret.reveal() in one.text + str(one.headers)]
        assert secret.reveal() not in caplog.text + repr((session, world.site.sessions))
    assert not [one for one in pages if session.token in one.text]


async def test_of_many_requests_at_once_one_asks_the_provider(world: World) -> None:
    await stay(world)
    asked = len(world.fake.forms)
    world.fake.slow_seconds = 0.3

    shown = await asyncio.gather(*(world.site.get(path) for path in ["/applications", "/groups", "/runtimes"] * 6))

    assert {one.status for one in shown} == {200}
    assert len(world.fake.forms) == asked + 1


@pytest.mark.parametrize(
    "renews",
    [{"sub": "bob"}, {"groups": ["strangers"]}, {"groups": ["people"]}, {"nonce": "another"}, {"aud": "another"}],
    ids=["another subject", "no rights", "rights elsewhere", "another sign-in", "for another client"],
)
async def test_a_session_is_over_when_the_provider_speaks_of_somebody_else_or_of_no_rights(
    world: World, renews: dict[str, Any]
) -> None:
    first = await stay(world)
    world.fake.renews = renews

    shown = await world.site.get("/groups?q=a")

    assert shown.headers["location"] == "/console/sign-in?ended=1&back=%2Fconsole%2Fgroups%3Fq%3Da"
    assert first.signed.token not in [one.token for one in world.site.sessions]
    told = await world.site.follow(shown)
    assert "Your session is over" in told.words
    assert told.tree.xpath("//a[@href='/console/sign-in/begin?back=%2Fconsole%2Fgroups%3Fq%3Da']")


async def test_who_was_signed_out_by_the_provider_finds_the_page_and_what_was_typed_again(world: World) -> None:
    await stay(world)
    csrf = await world.site.csrf()
    session = world.site.sessions[-1]
    assert session.renewable is not None
    session.renewable.due = 0
    world.fake.answers[TOKEN] = answer({"error": "invalid_grant"}, "400 Bad Request")
    form = {"csrf": csrf, "name": "half typed", "back": "/console/groups"}
    refused = await world.site.bare_post("/groups", form, {"origin": world.site.origin})
    told = await world.site.follow(refused)
    del world.fake.answers[TOKEN]

    (link,) = told.tree.xpath("//a[contains(@href, '/sign-in/begin')]/@href")
    begun = await world.site.get(link.removeprefix("/console"))
    shown = await world.come_back(world.fake.consent(begun.headers["location"]))

    assert (shown.status, shown.headers["location"]) == (303, "/console/groups")
    again = await world.site.follow(shown)
    assert again.tree.xpath("//main//form[@data-touched]//input[@name='name']/@value") == ["half typed"]
    assert world.site.sessions[-1].tenant == session.tenant


@pytest.mark.parametrize("sent", [b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", None], ids=["500", "slow"])
async def test_while_the_provider_is_away_a_session_goes_on_waits_and_loses_nothing(
    world: World, sent: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewable = await stay(world)
    monkeypatch.setattr("compass.access.code_flow.WITHIN", timedelta(seconds=0.2))
    monkeypatch.setattr("compass.console.renewal.AGAIN_AFTER", timedelta(0))
    if sent is None:
        world.fake.hangs = True
    else:
        world.fake.answers[TOKEN] = sent
    assert (await world.site.get("/groups")).status == 200

    csrf = await world.site.csrf()
    renewable.token_until = 0
    away = await world.site.get("/groups")
    assert (away.status, "the identity provider could not be asked" in away.words) == (503, True)
    form = {"csrf": csrf, "name": "half typed", "back": "/console/groups"}
    refused = await world.site.bare_post("/groups", form, {"origin": world.site.origin})
    assert (await world.site.follow(refused)).status == 503

    world.fake.hangs, world.fake.answers = False, {}
    monkeypatch.undo()
    again = await world.site.get("/groups")
    assert again.status == 200
    assert again.tree.xpath("//main//form[@data-touched]//input[@name='name']/@value") == ["half typed"]


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/console/../x\\y", "/console/sign-in"])
async def test_signing_in_leads_back_to_pages_of_ours_only(world: World, back: str) -> None:
    begun = await world.site.get(f"/sign-in/begin?{urlencode({'back': back})}")

    shown = await world.come_back(world.fake.consent(begun.headers["location"]))

    assert shown.headers["location"].startswith("/console/")
    assert "evil" not in shown.headers["location"]
    assert "sign-in" not in shown.headers["location"]


async def test_without_a_client_there_is_no_such_way_in(site: Site) -> None:
    async with site.another(signed_in=False) as browser:
        assert "Sign in with" not in (await browser.get("/sign-in")).words
        for path in ("/sign-in/begin", "/sign-in/callback?code=a&state=b"):
            assert (await browser.get(path)).headers["location"] == "/console/sign-in"
