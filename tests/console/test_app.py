"""The console as a whole: who gets in, what every answer says, and what a page shows when it cannot be shown."""

import asyncio
from urllib.parse import quote, urlencode

import pytest

from compass.console.app import ROUTES
from compass.console.assets import Assets
from compass.console.live import ENDED
from compass.console.sign_in import COOKIE
from tests.console.conftest import HOSTILE, Site


async def test_a_sign_in_link_works_once(site: Site) -> None:
    link = site.started.console_link()
    async with site.another(signed_in=False) as first, site.another(signed_in=False) as second:
        signed_in = await first.sign_in(link)
        refused = await second.sign_in(link)

        cookie = signed_in.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        assert all(
            f"; {part}" in cookie for part in ("Path=/", "HttpOnly", "Secure", "SameSite=Strict", "Max-Age=7200")
        )
        assert (refused.status, "set-cookie" in refused.headers) == (403, False)
        assert "this sign-in link does not work any more" in refused.text
        assert (await first.get("/")).status == 200
        assert (await second.get("/")).headers["location"] == "/console/sign-in"


async def test_opening_a_link_does_not_spend_it(site: Site) -> None:
    # Mail programs and chats open links to show what is behind them.
    link = site.started.console_link()
    async with site.another(signed_in=False) as browser:
        for _ in range(3):
            assert (await browser.get(link.removeprefix(f"{site.origin}/console"))).status == 200
        assert (await browser.sign_in(link)).status == 303


@pytest.mark.parametrize("path", sorted(path for method, path in ROUTES if method == "GET"))
async def test_without_a_session_every_page_leads_to_signing_in(path: str, site: Site) -> None:
    async with site.another(signed_in=False) as stranger:
        shown = await stranger.get(path)

        where = (
            "/console/sign-in" if path == "/" else f"/console/sign-in?{urlencode({'back': f'/console{quote(path)}'})}"
        )
        assert (shown.status, shown.headers["location"], shown.text) == (303, where, "")


@pytest.mark.parametrize("path", sorted(path for method, path in ROUTES if method == "POST"))
async def test_without_a_session_no_form_does_anything(path: str, site: Site) -> None:
    async with site.another(signed_in=False) as stranger:
        assert (await stranger.bare_post(path, {"csrf": ""}, {"origin": site.origin})).status == 401


async def test_signing_out_ends_the_session_also_for_who_kept_the_cookie(site: Site) -> None:
    async with site.another() as browser, site.another(signed_in=False) as thief:
        thief.steal(browser)
        assert (await thief.get("/")).status == 200

        left = await browser.post("/sign-out")

        assert left.headers["location"] == "/console/sign-in"
        assert "Max-Age=0" in left.headers["set-cookie"]
        assert (await thief.get("/")).status == 303


async def test_what_was_typed_when_a_session_ended_is_there_after_signing_in_again(site: Site) -> None:
    async with site.another() as browser:
        csrf = await browser.csrf()
        site.sessions[-1].until = 0
        before = await site.ask("{ result: formations { totalCount } }")

        form = {"csrf": csrf, "name": "half typed", "token": "s3cret", "back": "/console/groups?x=1"}
        refused = await browser.bare_post("/groups", form, {"origin": site.origin})

        assert refused.headers["location"] == "/console/sign-in?ended=1&back=%2Fconsole%2Fgroups%3Fx%3D1"
        told = await browser.follow(refused)
        assert "What you typed was not sent; it is kept" in told.words
        assert await site.ask("{ result: formations { totalCount } }") == before

        signed_in = await browser.sign_in(site.started.console_link())
        assert signed_in.headers["location"] == "/console/groups?x=1"
        assert site.sessions[-1].typed == ("/console/groups", {n: t for n, t in form.items() if n != "token"})
        again = await browser.follow(signed_in)
        assert "You are signed in again" in again.words
        assert again.tree.xpath("//main//form[@data-touched]//input[@name='name']/@value") == ["half typed"]
        assert "s3cret" not in again.text
        assert "half typed" not in (await browser.get("/groups")).text


async def test_a_form_that_another_site_sends_after_a_session_is_not_kept(site: Site) -> None:
    async with site.another() as browser:
        site.sessions[-1].until = 0

        await browser.bare_post("/groups", {"csrf": "guessed", "name": "planted"}, {"origin": "https://evil.example"})
        signed_in = await browser.sign_in(site.started.console_link())

        assert "planted" not in (await browser.follow(signed_in)).text
        assert "planted" not in (await browser.get("/groups")).text


async def test_the_stream_of_a_page_says_that_its_session_is_over(site: Site) -> None:
    async with site.another() as browser:
        site.sessions[-1].until = 0
        assert (await browser.get("/live?topics=groups")).text == ENDED.decode()
    async with site.another(signed_in=False) as stranger:
        assert (await stranger.get("/live?topics=groups")).status == 401


@pytest.mark.parametrize(
    ("csrf", "headers"),
    [
        (None, {"origin": "https://evil.example"}),
        (None, {"origin": "null"}),
        (None, {"sec-fetch-site": "cross-site"}),
        (None, {"sec-fetch-site": "same-site"}),
        ("", {}),
        ("guessed", {}),
    ],
)
async def test_a_form_that_is_not_of_this_session_changes_nothing(
    csrf: str | None, headers: dict[str, str], site: Site
) -> None:
    real = await site.csrf()
    before = await site.ask("{ result: formations { totalCount } }")

    refused = await site.bare_post("/groups", {"name": "planted", "csrf": real if csrf is None else csrf}, headers)

    assert refused.status == 403
    assert "the form does not belong to this session" in refused.text
    assert await site.ask("{ result: formations { totalCount } }") == before


async def test_an_access_token_gets_a_link_and_nothing_else_does(site: Site) -> None:
    nothing = await site.bare_post("/links", {}, {})
    wrong = await site.bare_post("/links", {}, {"authorization": "Bearer eyJ.a.b"})

    assert (nothing.status, wrong.status) == (401, 401)
    assert "code=" not in nothing.text + wrong.text
    assert (await site.get("/")).status == 200  # and whoever is signed in stays so


async def test_what_is_not_there_says_so(site: Site) -> None:
    for path in (
        "/nothing",
        "/applications/3e64ebae-38b5-46a0-b1ed-9ccee153a0ae",
        "/applications/not-an-id",
        "/runtimes/3e64ebae-38b5-46a0-b1ed-9ccee153a0ae",
        "/groups/3e64ebae-38b5-46a0-b1ed-9ccee153a0ae",
        "/users/1/pair",
        "/applications/3e64ebae-38b5-46a0-b1ed-9ccee153a0ae/pair",
    ):
        shown = await site.get(path)
        assert shown.status == 404, path
        assert "Nothing here" in shown.words


async def test_another_tenants_objects_are_not_found(site: Site) -> None:
    mine, _ = await site.application()
    runtime, _ = await site.runtime()
    group, _ = await site.group(("APPLICATION", mine))
    name = "console-other"
    text = "mutation ($in: BusinessTenantMappingInput!) { result: writeTenant(in: $in) }"
    other = {"name": name, "externalTenant": name, "type": "account", "provider": "test"}
    await site.ask(text, **{"in": other})
    async with site.another() as browser:
        assert (await browser.get(f"/applications/{mine}")).status == 200
        await browser.post("/tenants", tenant=name)

        for path in (f"/applications/{mine}", f"/applications/{mine}/pair", f"/runtimes/{runtime}", f"/groups/{group}"):
            assert (await browser.get(path)).status == 404, path
        removed = await browser.post(f"/applications/{mine}/unregister", name="x")
        assert removed.status == 404

    assert (await site.get(f"/applications/{mine}")).status == 200


async def test_hostile_names_are_text_on_every_page(site: Site) -> None:
    name = HOSTILE[:90]
    application, _ = await site.application(name, providerName=HOSTILE, description=HOSTILE)
    label = (
        'mutation ($id: ID!, $v: Any!) { result: setApplicationLabel(applicationID: $id, key: "k", value: $v) { key } }'
    )
    await site.ask(label, id=application, v=HOSTILE)
    paths = ["/", "/applications", "/topology", f"/topology?focus={application}", f"/applications?q={HOSTILE[:40]}"]
    paths += [f"/applications/{application}{tab}" for tab in ("", "?tab=labels", "?tab=groups", "/pair")]

    for path in paths:
        shown = await site.get(path)
        assert "alert(1)" in shown.text, path
        assert "<script>alert" not in shown.text, path
        assert "<img" not in shown.text, path
    for export in ("/topology.svg", "/topology.mmd"):
        file = await site.get(export)
        assert "<script" not in file.text
        assert file.headers["content-disposition"].startswith("attachment")
    text = "mutation ($id: ID!) { result: unregisterApplication(id: $id) { id } }"
    await site.ask(text, id=application)


async def test_a_form_leads_back_to_pages_of_ours_only(site: Site) -> None:
    for back in (
        "https://evil.example/",
        "//evil.example/",
        "/console/\r\nset-cookie: a=b",
        "/console/\\evil",
        "/other",
    ):
        assert (await site.post("/theme", theme="dark", back=back)).headers["location"] == "/console/"
    moved = await site.post("/theme", theme="dark", back="/console/groups?x=1")
    assert moved.headers["location"] == "/console/groups?x=1"
    assert (await site.follow(moved)).tree.get("data-theme") == "dark"
    await site.post("/theme", theme="auto")


async def test_a_refused_change_says_why_on_the_page_it_was_made_on(site: Site) -> None:
    application, _ = await site.application()

    refused = await site.post(
        f"/applications/{application}/label",
        key="scenarios",
        value="x",
        back=f"/console/applications/{application}?tab=labels",
    )

    shown = await site.follow(refused)
    assert shown.tree.xpath("//p[contains(@class, 'notice') and contains(@class, 'bad')]")
    assert "<h1>" in shown.text
    assert not (await site.get(f"/applications/{application}")).tree.xpath("//p[contains(@class, 'notice')]")


async def test_a_part_of_a_page_of_an_ended_session_leads_to_signing_in(site: Site) -> None:
    async with site.another(signed_in=False) as stranger:
        page = f"{stranger.origin}/console/applications?q=a+b"
        shown = await stranger.get("/find?q=x", **{"hx-request": "true", "hx-current-url": page})
        foreign = await stranger.get("/find", **{"hx-request": "true", "hx-current-url": "https://evil.example/a"})

        where = "/console/sign-in?back=%2Fconsole%2Fapplications%3Fq%3Da%2Bb"
        assert (shown.status, shown.headers["hx-redirect"], shown.text) == (200, where, "")
        assert foreign.headers["hx-redirect"] == "/console/sign-in"


async def test_an_ended_account_ends_its_sessions(site: Site) -> None:
    async with site.another() as browser:
        site.sessions[-1].token = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"

        shown = await browser.get("/applications")

        assert shown.headers["location"] == "/console/sign-in?ended=1&back=%2Fconsole%2Fapplications"
        assert (await browser.get("/")).headers["location"] == "/console/sign-in?ended=1"


async def test_the_console_weighs_little(site: Site) -> None:
    page = await site.get("/")
    files = [str(one) for one in page.tree.xpath("//script/@src | //link/@href")]
    sizes = [len((await site.get(one.removeprefix("/console"))).text.encode()) for one in files]

    assert len(files) == 8
    assert len(page.text.encode()) + sum(sizes) < 150_000
    for one in files:
        assert (await site.get(one.removeprefix("/console"))).headers["cache-control"].endswith("immutable")


async def test_files_are_packed_for_who_takes_that_and_pages_never_are(site: Site) -> None:
    # The length of a packed page would tell what is in it of a secret that somebody else can add text beside.
    path = Assets.load().address("htmx.min.js")
    plain = await site.get(path, **{"accept-encoding": "identity"})
    packed = await site.get(path, **{"accept-encoding": "br, gzip"})
    refused = await site.get(path, **{"accept-encoding": "gzip;q=0"})

    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert packed.text == plain.text == refused.text
    assert {one.headers.get("vary") for one in (plain, packed, refused)} == {"accept-encoding"}
    for one in (plain, refused, await site.get("/", **{"accept-encoding": "gzip"})):
        assert "content-encoding" not in one.headers


async def test_a_change_is_told_to_whoever_looks(site: Site) -> None:
    url = f"{site.origin}/console/live?topics=applications"
    async with site._session.get(url) as stream:
        assert stream.headers["content-type"] == "text/event-stream"

        async def told() -> None:
            async for line in stream.content:
                if line == b"event: changed\n":
                    return

        async with asyncio.timeout(30):
            await told()  # the beginning: everything may have changed
        waiting = asyncio.create_task(told())
        await site.group()
        await asyncio.sleep(0.5)
        assert not waiting.done()  # a group is another topic
        await site.application()
        async with asyncio.timeout(30):
            await waiting
