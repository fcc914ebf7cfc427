"""Adding, changing and removing definitions in the console: looked at before, shown while it is fetched."""

import asyncio
import json
import os
from io import BytesIO
from ipaddress import ip_network
from typing import Any, Final

import pytest

from compass.console.specification import MOST_BYTES
from compass.settings import OutboundSettings
from tests.console.conftest import HOSTILE, Shown, Site
from tests.console.test_definitions import CHANGED, hostile, led_to, offered
from tests.definition.samples import ASYNCAPI_2, EVERY, ODATA_4, OPENAPI_3, UNREADABLE
from tests.delivery.receiver import Call, answer, receiving
from tests.director.groups import until

OUTBOUND: Final = OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),))
PROOF = bool(os.environ.get("COMPASS_PROOF"))
ORDERS: Final = json.dumps(OPENAPI_3)
API: Final = {"name": "orders", "targetURL": "https://shop.example", "how": "text", "do": "save"}
"""What every browser sends of the form."""
LIST: Final = """query ($id: ID!) { result: application(id: $id) {
  apiDefinitions: bundles { data { name apiDefinitions { data { name } } } } } }"""
READ: Final = """query ($id: ID!) { result: apisForApplication(appID: $id) { data {
  id name description targetURL group version { value deprecated deprecatedSince forRemoval }
  spec { type format data fetchRequest { url auth { credential { __typename ... on BasicCredentialData { username } } }
    status { condition } } } } } }"""
EVENTS: Final = """query ($id: ID!) { result: eventsForApplication(appID: $id) { data {
  id name description spec { type format data } } } }"""


async def apis(site: Site, application: str) -> list[dict[str, Any]]:
    """What there is."""
    return list((await site.ask(READ, id=application))["data"])


def told(shown: Shown) -> str:
    """What a page says first."""
    return " ".join(shown.tree.xpath("string(//main//*[contains(@class, 'notice')])").split())


def typed(shown: Shown) -> str:
    """What stands in the field for the text."""
    return str(shown.tree.xpath("string(//textarea[@id='data'])")).removeprefix("\n")


async def fields(site: Site, page: str) -> dict[str, str]:
    """What a browser would send of the form to change one."""
    form = (await site.get(page)).tree.xpath("//form[@id='define']")[0]
    return values(form)


def values(form: Any) -> dict[str, str]:
    """The same of a form that is there. A browser takes no notice of a new line with which a long field begins."""
    long = {one.get("name") for one in form.xpath(".//textarea")}
    given = {name: value or "" for name, value in form.form_values() if name not in ("csrf", "back", "file")}
    return {**{name: text.removeprefix("\n") if name in long else text for name, text in given.items()}, "do": "save"}


async def test_an_api_is_added_from_a_text_and_says_what_it_offers(site: Site) -> None:
    application, _ = await site.application()
    more = {"description": "All orders", "group": "sales", "version": "1.2.3", "deprecated": "yes"}

    moved = await site.post(f"/applications/{application}/apis/new", **API, **more, data=ORDERS)

    shown = await site.follow(moved)
    assert "orders is added: OpenAPI 3.0.3, 3 operations" in shown.words
    [made] = await apis(site, application)
    assert moved.headers["location"].endswith(f"/applications/{application}/apis/{made['id']}")
    assert {name: made[name] for name in ("name", "description", "group", "targetURL")} == {
        "name": "orders",
        "description": "All orders",
        "group": "sales",
        "targetURL": "https://shop.example",
    }
    version = {"value": "1.2.3", "deprecated": True, "deprecatedSince": None, "forRemoval": False}
    assert made["version"] == version
    assert made["spec"] == {"type": "OPEN_API", "format": "JSON", "data": ORDERS, "fetchRequest": None}
    commands = [one.text_content() for one in shown.tree.xpath("//*[@id='commands-did']//pre[@aria-label='GraphQL']")]
    assert len(commands) == 1  # `deprecated` has no flag
    assert "operationId" not in shown.tree.xpath("string(//*[@id='commands-did'])")


async def test_the_terminal_is_told_how_it_adds_one(site: Site) -> None:
    application, _ = await site.application()

    shown = await site.follow(await site.post(f"/applications/{application}/apis/new", **API, data=ORDERS))

    [line] = [one.text_content() for one in shown.tree.xpath("//*[@id='commands-did']//pre[@aria-label='Command']")]
    assert line == f"compass api add orders --app {application} --url https://shop.example --spec -"


@pytest.mark.parametrize("name", EVERY if PROOF else ["OpenAPI 2", "OData 4", "OData JSON", "AsyncAPI 3"])
async def test_every_kind_is_added_from_a_file_under_its_own_type(site: Site, name: str) -> None:
    application, _ = await site.application()
    text = EVERY[name]
    kind = "events" if name.startswith("Async") else "apis"

    moved = await site.upload(f"/applications/{application}/{kind}/new", b"\xef\xbb\xbf" + text.encode(), **API)

    assert moved.status == 303, told(moved)
    found = await apis(site, application) if kind == "apis" else (await site.ask(EVENTS, id=application))["data"]
    wanted = "OPEN_API" if name.startswith("OpenAPI") else "ODATA" if name.startswith("OData") else "ASYNC_API"
    form = "XML" if text.startswith("<") else "JSON" if text.startswith("{") else "YAML"
    assert [(one["spec"]["type"], one["spec"]["format"], one["spec"]["data"]) for one in found] == [
        (wanted, form, text)
    ]


async def test_a_definition_is_put_into_a_bundle(site: Site) -> None:
    application, _ = await site.application()
    text = 'mutation ($id: ID!) { result: addBundle(applicationID: $id, in: {name: "main"}) { id } }'
    bundle = (await site.ask(text, id=application))["id"]
    form = await site.get(f"/applications/{application}/apis/new")
    assert form.tree.xpath("//select[@name='bundle']/option/@value") == ["", bundle]

    await site.post(f"/applications/{application}/apis/new", **API, data=ORDERS, bundle=bundle)

    [inside] = (await site.ask(LIST, id=application))["apiDefinitions"]["data"]
    assert (inside["name"], [one["name"] for one in inside["apiDefinitions"]["data"]]) == ("main", ["orders"])
    # What is in a bundle is changed by another mutation.
    [made] = await apis(site, application)
    page = f"/applications/{application}/apis/{made['id']}/edit"
    moved = await site.send(page, {**await fields(site, page), "description": "changed"})
    assert (moved.status, (await apis(site, application))[0]["description"]) == (303, "changed")
    assert (await apis(site, application))[0]["spec"] == made["spec"]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('{"openapi": "3.0.0",\n "paths": {\n  oops}}', 3, "line 3"),
        ("openapi: 3.0.0\npaths:\n  /a:\n   get: [\n", 5, "line 5"),
        ("openapi: 3.0.0\ninfo: {title: a, version: '1'}\npaths:\n  a: {}\n", 4, "Path a must begin with /"),
    ],
)
async def test_the_line_that_is_wrong_is_shown_and_nothing_is_sent(site: Site, text: str, line: int, why: str) -> None:
    application, _ = await site.application()
    page = f"/applications/{application}/apis/new"

    shown = await site.post(page, **API, data=text, description="what was typed")

    assert (shown.status, "Nothing was sent yet" in told(shown), why in told(shown)) == (422, True, True)
    assert shown.tree.xpath("string(//pre[contains(@class, 'lines')]/mark)").split()[0] == str(line)
    assert (typed(shown), shown.tree.xpath("string(//textarea[@id='description'])").strip()) == (text, "what was typed")
    assert shown.tree.xpath("//input[@name='name']/@value") == ["orders"]
    assert await apis(site, application) == []


async def test_what_is_wrong_can_be_kept_all_the_same_but_no_other_text(site: Site) -> None:
    application, _ = await site.application()
    page = f"/applications/{application}/apis/new"
    refused = await site.post(page, **API, data="just words")
    [accepted] = refused.tree.xpath("//button[@name='as_it_is']/@value")

    other = await site.post(page, **API, data="other words", as_it_is=accepted)
    assert (other.status, await apis(site, application)) == (422, [])

    assert (await site.post(page, **API, data="just words", as_it_is=accepted)).status == 303
    [made] = await apis(site, application)
    assert made["spec"] == {"type": "OPEN_API", "format": "YAML", "data": "just words", "fetchRequest": None}


async def test_a_specification_is_looked_at_without_being_sent(site: Site) -> None:
    application, _ = await site.application()

    shown = await site.post(f"/applications/{application}/apis/new", **{**API, "do": "check"}, data=ODATA_4)

    assert (shown.status, "OData 4.0" in told(shown), "Nothing was sent yet" in told(shown)) == (200, True, True)
    assert typed(shown) == ODATA_4
    assert await apis(site, application) == []


@pytest.mark.parametrize(
    ("kind", "text", "why"), [("apis", ASYNCAPI_2, "tells of events"), ("events", ORDERS, "tells of calls")]
)
async def test_a_specification_of_the_other_kind_is_not_taken_for_this(
    site: Site, kind: str, text: str, why: str
) -> None:
    application, _ = await site.application()

    shown = await site.post(f"/applications/{application}/{kind}/new", **API, data=text)

    assert (shown.status, why in told(shown)) == (422, True)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ({"name": ""}, "name"),
        ({"targetURL": "shop"}, "targetURL"),
        ({"targetURL": "javascript:alert(1)"}, "targetURL"),
        ({"deprecated": "yes"}, "version"),
        ({"data": " "}, "data"),
        ({"how": "url", "url": "file:///etc/passwd"}, "url"),
        ({"how": "url", "url": "http://[::1"}, "url"),
        ({"how": "url", "url": "https://a.example", "signs_in": "basic", "username": "u"}, "password"),
    ],
)
async def test_a_field_that_cannot_be_used_says_what_to_type(site: Site, form: dict[str, str], name: str) -> None:
    application, _ = await site.application()

    shown = await site.send(f"/applications/{application}/apis/new", {**API, "data": ORDERS, **form})

    assert shown.status == 422
    assert shown.tree.xpath("//*[@aria-invalid='true']/@name") == [name]
    assert shown.tree.xpath(f"string(//*[@id='{name}-fault'])").startswith(("Type", "Choose"))
    assert await apis(site, application) == []


async def test_what_the_plane_refuses_is_told_in_the_form(site: Site) -> None:
    application, _ = await site.application()
    page = f"/applications/{application}/apis/new"

    shown = await site.post(page, **{**API, "name": "ünprintable"}, data=ORDERS)

    assert (shown.status, "COMPASS-" in told(shown), typed(shown)) == (422, True, ORDERS)
    assert shown.tree.xpath("//input[@name='name']/@value") == ["ünprintable"]
    assert await apis(site, application) == []


async def test_who_lacks_the_right_is_told_so_and_keeps_what_was_typed(site: Site) -> None:
    application, definition, page = await offered(site, ORDERS)
    async with site.another(signed_in=False) as limited:
        await limited.limit("application:read")

        refused = await limited.post(f"/applications/{application}/apis/new", **API, data=ORDERS)
        changed = await limited.send(f"{page}/edit", {**await fields(limited, f"{page}/edit"), "group": "mine"})
        removed = await limited.post(f"{page}/remove")

    assert (refused.status, typed(refused)) == (422, ORDERS)
    assert "application:write" in told(refused) or "scope" in told(refused)
    assert (changed.status, changed.tree.xpath("//input[@name='group']/@value")) == (422, ["mine"])
    assert removed.status == 403
    [kept] = await apis(site, application)
    assert (kept["id"], kept["group"]) == (definition, None)


# --- hostile texts ---


@pytest.mark.parametrize(
    "name", UNREADABLE if PROOF else ["aliases", "entities", "deep flow", "many tags", "a program"]
)
async def test_a_hostile_text_is_refused_in_the_words_of_the_form(site: Site, name: str) -> None:
    application, _ = await site.application()
    text = UNREADABLE[name].encode("utf-8", "surrogatepass")

    shown = await site.upload(f"/applications/{application}/apis/new", text, **API)

    assert (shown.status, await apis(site, application)) == (422, [])
    assert "Nothing was sent yet" in told(shown)


async def test_ten_megabytes_are_refused_within_bounds(site: Site) -> None:
    application, _ = await site.application()
    page = f"/applications/{application}/apis/new"

    shown = await site.upload(page, b"x" * 10 * 1024 * 1024, **API)
    assert (shown.status, "It is longer than 5 MiB, the most that is kept" in told(shown)) == (422, True)
    assert not shown.tree.xpath("//button[@name='as_it_is']")
    with_signature = await site.upload(page, b"x" * 10 * 1024 * 1024, **API, as_it_is="x")
    assert with_signature.status == 422
    assert (await site.upload(page, b"x" * 13 * 1024 * 1024, **API)).status == 413
    # The limit is the plane's own.
    spec = {"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {}}
    most = json.dumps({**spec, "x-padding": " " * (MOST_BYTES - len(json.dumps({**spec, "x-padding": ""})))})
    assert (await site.upload(page, most.encode(), **API)).status == 303
    assert len((await apis(site, application))[0]["spec"]["data"]) == MOST_BYTES


async def test_who_is_not_signed_in_has_no_file_read(site: Site) -> None:
    async with site.another(signed_in=False) as stranger:
        data = BytesIO(b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n" + b"y" * 2 * 1024 * 1024)
        headers = {"content-type": "multipart/form-data; boundary=x", "origin": site.origin}
        refused = await stranger.bare_post("/applications/x/apis/new", data, headers)

    assert refused.status == 413


async def test_whatever_a_hostile_text_says_is_text_in_the_form(site: Site) -> None:
    application, _ = await site.application()
    page = f"/applications/{application}/apis/new"
    spec = hostile()
    spec["paths"] = {HOSTILE: {"get": {}}, f"/{HOSTILE}": {"get": 1}}
    text = json.dumps(spec, indent=1) + "</textarea><script>alert(3)</script>"

    for data in (text, json.dumps(spec, indent=1)):
        shown = await site.post(page, **{**API, "name": HOSTILE[:90], "targetURL": f"https://{HOSTILE}"}, data=data)
        assert [harm for harm in ("<img", "<script>alert", 'href="javascript') if harm in shown.text] == []
        assert typed(shown) == data
    _, _, home = await offered(site, ORDERS)
    form = await fields(site, f"{home}/edit")
    review = await site.send(f"{home}/edit", {**form, "how": "text", "data": json.dumps(hostile())})
    assert "What changes" in review.words
    assert [harm for harm in ("<img", "<script>alert") if harm in review.text] == []


async def test_a_file_that_is_no_text_says_so(site: Site) -> None:
    application, _ = await site.application()

    shown = await site.upload(f"/applications/{application}/apis/new", b"\xff\xfe\x00\x01", **API)

    assert (shown.status, "That file is no text in UTF-8" in told(shown)) == (422, True)


async def test_a_form_of_another_site_adds_nothing(site: Site) -> None:
    application, _ = await site.application()
    page = f"/applications/{application}/apis/new"

    for form, headers in (
        ({**API, "data": ORDERS, "csrf": "x"}, {"origin": site.origin}),
        ({**API, "data": ORDERS, "csrf": await site.csrf()}, {"origin": "https://other.example"}),
    ):
        assert (await site.bare_post(page, form, headers)).status == 403
    assert await apis(site, application) == []


# --- fetching ---


async def test_a_specification_is_fetched_while_the_page_tells_how_it_goes(site: Site) -> None:
    application, _ = await site.application()
    go_on = asyncio.Event()

    async def slowly(_: Call) -> bytes:
        await go_on.wait()
        return answer(200, ORDERS.encode())

    async with receiving(slowly) as source:
        form = {**API, "how": "url", "url": source.url("/openapi.json"), "signs_in": "basic"}
        moved = await site.post(f"/applications/{application}/apis/new", **form, username="ann", password="s3cret")
        waiting = moved.headers["location"].removeprefix("/console")
        assert f"/applications/{application}/apis/new?waiting=" in waiting
        await source.has(1)
        shown = await site.get(waiting)
        assert ("The plane fetches it from 127.0.0.1" in shown.words, await apis(site, application)) == (True, [])
        assert shown.tree.xpath("//main/@hx-trigger") == ["changed, every 1s"]
        assert "s3cret" not in shown.text
        go_on.set()

        async def is_led_on() -> bool:
            return "hx-redirect" in (await site.get(waiting, **{"hx-request": "true"})).headers

        await until(is_led_on, within=60)
        led = await site.get(waiting, **{"hx-request": "true"})
    [made] = await apis(site, application)
    assert led.headers["hx-redirect"] == f"/console/applications/{application}/apis/{made['id']}"
    there = await site.get(led.headers["hx-redirect"].removeprefix("/console"))
    assert ("orders is added" in there.words, "succeeded" in there.words) == (True, True)
    assert "s3cret" not in there.text
    assert made["spec"]["data"] == ORDERS
    assert made["spec"]["fetchRequest"]["auth"]["credential"]["username"] == "ann"
    assert source.calls[0].headers["authorization"].startswith("Basic ")
    # Whoever looks again is led to the same place.
    again = await site.get(waiting)
    assert (again.status, again.headers["location"]) == (303, led.headers["hx-redirect"])


async def test_a_fetch_that_fails_is_told_with_its_reason_and_can_be_repaired(site: Site) -> None:
    application, _ = await site.application()
    answers = [answer(404), answer(200, ORDERS.encode())]

    async def answered(_: Call) -> bytes:
        return answers.pop(0)

    async with receiving(answered) as source:
        form = {**API, "how": "url", "url": source.url("/openapi.yaml")}
        shown = await led_to(site, await site.post(f"/applications/{application}/apis/new", **form))
        assert ("orders is added" in shown.words, "status code: 404" in shown.words) == (True, True)
        [made] = await apis(site, application)
        assert (made["spec"]["data"], made["spec"]["format"]) == (None, "YAML")
        page = f"/applications/{application}/apis/{made['id']}"

        again = await led_to(site, await site.post(f"{page}/refetch"))

    assert "It was fetched again" in again.words
    assert "GET /orders" in again.words


async def test_fetching_again_is_told_in_place_too(site: Site) -> None:
    application, _ = await site.application()
    go_on, answers = asyncio.Event(), [answer(200, ORDERS.encode()), answer(200, json.dumps(CHANGED).encode())]

    async def slowly(_: Call) -> bytes:
        if len(answers) == 1:
            await go_on.wait()
        return answers.pop(0)

    async with receiving(slowly) as source:
        form = {**API, "how": "url", "url": source.url("/openapi.json")}
        there = await led_to(site, await site.post(f"/applications/{application}/apis/new", **form))
        [source_host] = there.tree.xpath("//form[contains(@action, 'refetch')]/input[@name='source']/@value")
        [made] = await apis(site, application)
        page = f"/applications/{application}/apis/{made['id']}"

        moved = await site.post(f"{page}/refetch", source=source_host)

        assert moved.headers["location"].startswith(f"/console{page}?waiting=")
        assert f"Fetching from 127.0.0.1:{source.port}" in (await site.follow(moved)).words
        go_on.set()
        shown = await led_to(site, moved)
    assert "It was fetched again" in shown.words
    assert (await apis(site, application))[0]["spec"]["data"] == json.dumps(CHANGED)


async def test_what_cannot_be_sent_after_all_leads_back_to_the_form_with_what_was_typed(site: Site) -> None:
    application, _ = await site.application()
    form = {**API, "name": "ünprintable", "how": "url", "url": "https://127.0.0.1:1/spec", "signs_in": "basic"}

    moved = await site.post(f"/applications/{application}/apis/new", **form, username="ann", password="s3cret")

    shown = await led_to(site, moved)
    assert "COMPASS-" in told(shown)
    assert shown.tree.xpath("//input[@name='name' or @name='url' or @name='username']/@value") == [
        "ünprintable",
        "https://127.0.0.1:1/spec",
        "ann",
    ]
    assert "s3cret" not in shown.text
    assert await apis(site, application) == []


# --- changing ---


async def test_its_fields_are_changed_and_its_specification_stays(site: Site) -> None:
    application, definition, page = await offered(site, ORDERS, description="old", group="sales")
    form = await fields(site, f"{page}/edit")
    assert (form["description"], form["group"], form["how"]) == ("old", "sales", "keep")
    assert form["data"] == ORDERS

    moved = await site.send(f"{page}/edit", {**form, "name": "renamed", "description": "", "version": "2.0.0"})

    assert "renamed is changed" in (await site.follow(moved)).words
    [now] = await apis(site, application)
    assert (now["id"], now["name"], now["description"], now["group"]) == (definition, "renamed", None, "sales")
    assert (now["version"]["value"], now["spec"]["data"]) == ("2.0.0", ORDERS)
    assert (
        "Nothing was changed"
        in (await site.follow(await site.send(f"{page}/edit", await fields(site, f"{page}/edit")))).words
    )


async def test_what_breaks_is_shown_before_a_specification_is_replaced(site: Site) -> None:
    application, _, page = await offered(site, ORDERS)
    form = {**await fields(site, f"{page}/edit"), "how": "text", "data": json.dumps(CHANGED)}

    review = await site.send(f"{page}/edit", form)

    assert (review.status, "This breaks 1 of what others may use" in told(review)) == (200, True)
    assert "! breakingremoved GET /orders/{id}" in review.words
    assert (await apis(site, application))[0]["spec"]["data"] == ORDERS
    [seen] = review.tree.xpath("//button[@name='reviewed']/@value")
    # Seen is what was shown, and no other text.
    other = await site.send(f"{page}/edit", {**form, "data": json.dumps({**CHANGED, "paths": {}}), "reviewed": seen})
    assert "This breaks 3" in told(other)
    assert (await apis(site, application))[0]["spec"]["data"] == ORDERS

    moved = await site.send(f"{page}/edit", {**form, "reviewed": seen})

    shown = await site.follow(moved)
    assert ("orders is changed: OpenAPI 3.0.3, 2 operations" in shown.words, "! breaking" in shown.words) == (
        True,
        True,
    )
    assert (await apis(site, application))[0]["spec"]["data"] == json.dumps(CHANGED)
    assert "new revision" in shown.words


async def test_a_specification_that_somebody_replaced_meanwhile_is_compared_with_theirs(site: Site) -> None:
    application, definition, page = await offered(site, ORDERS)
    theirs = json.dumps({**OPENAPI_3, "paths": {"/theirs": {"get": {}}}})
    form = {**await fields(site, f"{page}/edit"), "how": "text", "data": json.dumps(CHANGED)}
    [seen] = (await site.send(f"{page}/edit", form)).tree.xpath("//button[@name='reviewed']/@value")
    text = """mutation ($id: ID!, $in: APIDefinitionInput!) {
      result: updateAPIDefinitionForApplication(id: $id, in: $in) { id } }"""
    inline = {"type": "OPEN_API", "format": "JSON", "data": theirs}
    await site.ask(text, id=definition, **{"in": {"name": "orders", "targetURL": "https://t.example", "spec": inline}})

    again = await site.send(f"{page}/edit", {**form, "reviewed": seen})

    assert "removed GET /theirs" in again.words
    [now] = await apis(site, application)
    # Also what they changed besides is still theirs.
    assert (now["spec"]["data"], now["targetURL"]) == (theirs, "https://t.example")
    [seen] = again.tree.xpath("//button[@name='reviewed']/@value")
    assert (await site.send(f"{page}/edit", {**form, "reviewed": seen})).status == 303
    [now] = await apis(site, application)
    assert (now["spec"]["data"], now["targetURL"]) == (json.dumps(CHANGED), "https://t.example")


async def test_a_field_that_both_changed_shows_both_versions_and_saves_nothing(site: Site) -> None:
    application, definition, page = await offered(site, ORDERS, description="before")
    form = await fields(site, f"{page}/edit")
    text = """mutation ($id: ID!, $in: APIDefinitionInput!) {
      result: updateAPIDefinitionForApplication(id: $id, in: $in) { id } }"""
    theirs = {"name": "orders", "targetURL": "https://shop.example", "description": "theirs"}
    await site.ask(text, id=definition, **{"in": theirs})

    conflict = await site.send(f"{page}/edit", {**form, "description": "mine"})

    assert conflict.status == 409
    cells = [cell.text_content() for cell in conflict.tree.xpath("//section[@role='alert']//tbody/tr/td")]
    assert cells == ["Description", "before", "theirs", "mine"]
    assert (await apis(site, application))[0]["description"] == "theirs"
    again = values(conflict.tree.xpath("//form[@id='define']")[0])
    assert (await site.send(f"{page}/edit", again)).status == 303
    assert (await apis(site, application))[0]["description"] == "mine"


async def test_a_revision_is_brought_back_after_its_differences_were_seen(site: Site) -> None:
    application, _, page = await offered(site, ORDERS, json.dumps(CHANGED))
    listed = await site.get(f"{page}?tab=revisions")
    [back] = [link.removeprefix("/console") for link in listed.links if "/edit?revision=" in link]

    form = await fields(site, back)

    assert (form["how"], form["data"]) == ("text", ORDERS)
    review = await site.send(f"{page}/edit", form)
    assert "What changes breaks nothing" in told(review)
    [seen] = review.tree.xpath("//button[@name='reviewed']/@value")
    await site.send(f"{page}/edit", {**form, "reviewed": seen})
    assert (await apis(site, application))[0]["spec"]["data"] == ORDERS
    for wrong in ("99", "x", "9" * 30):
        assert (await fields(site, f"{page}/edit?revision={wrong}"))["data"] == ORDERS


async def test_an_address_takes_the_place_of_a_text(site: Site) -> None:
    application, _, page = await offered(site, ORDERS)

    async def answered(_: Call) -> bytes:
        return answer(200, json.dumps(CHANGED).encode())

    async with receiving(answered) as source:
        form = {**await fields(site, f"{page}/edit"), "how": "url", "url": source.url("/spec"), "kind": "OPEN_API JSON"}
        shown = await led_to(site, await site.send(f"{page}/edit", form))

    # What it changed is shown as soon as it is there.
    assert "! breakingremoved GET /orders/{id}" in shown.words
    [now] = await apis(site, application)
    assert (now["spec"]["data"], now["spec"]["fetchRequest"]["url"]) == (json.dumps(CHANGED), source.url("/spec"))


async def test_event_definitions_have_the_same_forms(site: Site) -> None:
    application, _ = await site.application()
    form = {"name": "told", "how": "text", "do": "save"}
    moved = await site.post(f"/applications/{application}/events/new", **form, data=ASYNCAPI_2)
    page = moved.headers["location"].removeprefix("/console")

    form = await fields(site, f"{page}/edit")
    assert "targetURL" not in form
    fewer = ASYNCAPI_2.replace("  silence: {description: nothing yet}\n", "")
    review = await site.send(f"{page}/edit", {**form, "how": "text", "data": fewer, "description": "fewer"})
    [seen] = review.tree.xpath("//button[@name='reviewed']/@value")
    await site.send(f"{page}/edit", {**form, "how": "text", "data": fewer, "description": "fewer", "reviewed": seen})

    [now] = (await site.ask(EVENTS, id=application))["data"]
    assert (now["name"], now["description"], now["spec"]["data"]) == ("told", "fewer", fewer)
    assert (await site.get(f"{page}/remove")).status == 200
    assert "told is gone" in (await site.follow(await site.post(f"{page}/remove"))).words
    assert (await site.ask(EVENTS, id=application))["data"] == []


# --- removing ---


async def test_a_removal_says_who_loses_what_before_it_is_done(site: Site) -> None:
    application, _, page = await offered(site, ORDERS, json.dumps(CHANGED))
    assert "No runtime sees it" in (await site.get(f"{page}/remove")).words
    runtime, name = await site.runtime()
    await site.group(("APPLICATION", application), ("RUNTIME", runtime))

    asked = await site.get(f"{page}/remove")

    assert ("1 runtime sees it no more" in asked.words, "2 revisions" in asked.words, name in asked.words) == (
        True,
    ) * 3
    assert len(await apis(site, application)) == 1
    done = await site.post(f"{page}/remove")
    assert done.headers["location"] == f"/console/applications/{application}?tab=offers"
    assert "orders is gone" in (await site.follow(done)).words
    assert (await apis(site, application), (await site.get(page)).status) == ([], 404)


async def test_definitions_of_others_have_no_forms(site: Site) -> None:
    _, definition, _ = await offered(site, ORDERS)
    other, _ = await site.application()

    for kind in ("apis", "events"):
        for what in ("edit", "remove"):
            page = f"/applications/{other}/{kind}/{definition}/{what}"
            assert (await site.get(page)).status == 404
            assert (await site.post(page, **API, data=ORDERS)).status == 404
        page = f"/applications/5b0d1a9e-1111-4222-8333-444455556666/{kind}/new"
        assert (await site.get(page)).status == 404


async def test_the_application_is_chosen_by_its_name(site: Site) -> None:
    application, name = await site.application("chosen-one")

    shown = await site.get("/catalogue/new?q=chosen-one")

    assert f"/console/applications/{application}/apis/new" in shown.links
    assert f"/console/applications/{application}/events/new" in shown.links
    assert name in shown.words
    assert "Nothing matches" in (await site.get("/catalogue/new?q=no-such-thing-at-all")).words
    assert "/console/catalogue/new" in (await site.get("/catalogue")).links
    offers = (await site.get(f"/applications/{application}?tab=offers")).links
    assert f"/console/applications/{application}/apis/new" in offers
