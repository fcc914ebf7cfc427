"""Webhooks in the console: seen with their health, previewed, added, tried out, changed, removed."""

import asyncio
from collections.abc import Callable

from compass.console.webhooks import MOST_CALLS, calls, share
from tests.console.conftest import Shown, Site

URL = "https://127.0.0.1:9/hook?token=s3cr3t"
FORM = {"type": "CONFIGURATION_CHANGED", "mode": "SYNC"}
"""What every browser sends of the form."""


async def a_webhook(site: Site, **more: str) -> tuple[str, str]:
    """A webhook of a new application, and the application."""
    application, _ = await site.application()
    text = """mutation ($id: ID!, $in: WebhookInput!) {
      result: addWebhook(applicationID: $id, in: $in) { id } }"""
    given = {"type": "CONFIGURATION_CHANGED", "url": URL, **more}
    return (await site.ask(text, id=application, **{"in": given}))["id"], application


async def until(site: Site, page: str, is_so: Callable[[Shown], bool]) -> Shown:
    """The page, once it is as awaited."""
    async with asyncio.timeout(60):
        while not is_so(shown := await site.get(page)):
            await asyncio.sleep(0.1)
    return shown


async def test_a_test_is_sent_and_its_answer_appears_on_the_page(site: Site) -> None:
    webhook, _ = await a_webhook(site)
    page = f"/webhooks/{webhook}"
    before = await site.get(page)
    assert "It was never called" in before.words
    assert "s3cr3t" not in before.words  # a query is a usual place for secrets

    sent = await site.post(f"{page}/test")

    assert "A test is on its way" in (await site.follow(sent)).words
    shown = await until(site, page, lambda shown: "The URL cannot be used" in shown.words)
    assert shown.tree.xpath("string(//table//td[last()])").endswith(" ms")
    [delivery] = [link for link in shown.links if link.startswith("/console/deliveries/")]
    told = await site.get(delivery.removeprefix("/console"))
    assert "io.compass.webhook.test.v1" in told.words
    assert told.tree.xpath("string(//pre[@id='as-curl'])").startswith(
        "curl --request POST --url https://127.0.0.1:9/hook --header 'Compass-Test: true'"
    )
    assert "s3cr3t" not in told.text


async def test_webhooks_are_listed_with_how_they_go(site: Site) -> None:
    webhook, application = await a_webhook(site)
    await site.post(f"/webhooks/{webhook}/test")

    page = f"/webhooks?owner={application}"
    shown = await until(site, page, lambda shown: "no answer" in shown.words)

    assert shown.tree.xpath("//*[local-name()='svg'][@role='img']/@aria-label") == [
        "Of the last 1: 0 delivered, 1 given up, 0 on their way"
    ]
    assert "0 %" in shown.words
    assert f"/console/webhooks/{webhook}" in shown.links
    assert f"/console/applications/{application}" in shown.links
    assert f"/console/webhooks/{webhook}" in (await site.get("/webhooks")).links
    assert "No webhook" in (await site.get(f"/webhooks?owner={webhook}")).words
    tab = await site.get(f"/applications/{application}?tab=webhooks")
    assert f"/console/webhooks/{webhook}" in tab.links


async def test_one_is_added_changed_and_removed(site: Site) -> None:
    application, name = await site.application()
    form = await site.get(f"/webhooks/new?owner=APPLICATION%20{application}")
    assert form.tree.xpath("//select[@name='owner']//option[@selected]/text()") == [name]

    added = await site.post("/webhooks/new", **FORM, owner=f"APPLICATION {application}", url="https://a.example")
    page = added.headers["location"].removeprefix("/console")
    shown = await site.follow(added)
    assert "Its calls are signed with whsec_" in shown.words
    assert "whsec_" not in (await site.get(page)).text  # once

    changed = await site.post(f"{page}/edit", **FORM, url="https://b.example", timeout="30")
    assert "It is changed" in (await site.follow(changed)).words
    assert "https://b.example" in (await site.get(page)).words
    filled = await site.get(f"{page}/edit")
    assert filled.tree.xpath("//input[@name='url']/@value") == ["https://b.example"]
    assert filled.tree.xpath("//input[@name='timeout']/@value") == ["30"]

    assert "The webhook is gone" in (await site.follow(await site.post(f"{page}/delete"))).words
    assert (await site.get(page)).status == 404
    assert (await site.get(f"{page}/edit")).status == 404


async def test_a_runtime_has_webhooks_too(site: Site) -> None:
    runtime, name = await site.runtime()
    page = f"/webhooks?owner={runtime}"
    assert f"/console{page}" in (await site.get(f"/runtimes/{runtime}")).links

    [form] = {link for link in (await site.get(page)).links if link.startswith("/console/webhooks/new")}
    shown = await site.get(form.removeprefix("/console"))
    [chosen] = shown.tree.xpath("//select[@name='owner']//option[@selected]/@value")
    await site.post("/webhooks/new", **FORM, owner=str(chosen), url="https://a.example")

    assert chosen == f"RUNTIME {runtime}"
    assert name in (await site.get(page)).words


async def test_credentials_stay_unless_others_are_typed(site: Site) -> None:
    application, _ = await site.application()
    form = {**FORM, "url": "https://a.example"}
    typed = {"signs_in": "basic", "username": "ann", "password": " geheim "}
    added = await site.post("/webhooks/new", **form, owner=f"APPLICATION {application}", **typed)
    page = added.headers["location"].removeprefix("/console")
    text = """query ($id: ID!) { result: application(id: $id) { webhooks { auth { credential {
      ... on BasicCredentialData { username password }
      ... on OAuthCredentialData { clientId clientSecret url } } } } } }"""

    async def credential() -> object:
        [hook] = (await site.ask(text, id=application))["webhooks"]
        return hook["auth"] and hook["auth"]["credential"]

    basic = {"username": "ann", "password": " geheim "}
    assert await credential() == basic
    shown = await site.get(f"{page}/edit")
    assert "geheim" not in shown.text
    await site.post(f"{page}/edit", **form, signs_in="keep")
    assert await credential() == basic
    oauth = {"clientId": "c", "clientSecret": "s", "url": "https://token.example"}
    client = {"clientId": "c", "clientSecret": "s", "tokenURL": "https://token.example"}
    await site.post(f"{page}/edit", **form, signs_in="oauth", **client)
    assert await credential() == oauth
    await site.post(f"{page}/edit", **form, signs_in="keep")
    assert await credential() == oauth
    await site.post(f"{page}/edit", **form, signs_in="")
    assert await credential() is None


async def test_a_preview_shows_what_would_be_sent_and_adds_nothing(site: Site) -> None:
    application, _ = await site.application()

    shown = await site.post(
        "/webhooks/new",
        **FORM,
        do="preview",
        owner=f"APPLICATION {application}",
        url="https://a.example",
        inputTemplate='{"for": "{{.Application.Name}}"}',
    )

    assert shown.status == 200
    assert "POST https://a.example" in shown.words
    assert '{ "for": "example-shop" }' in shown.words
    assert "No webhook" in (await site.get(f"/webhooks?owner={application}")).words


async def test_a_template_that_cannot_be_used_is_shown_with_its_line(site: Site) -> None:
    application, _ = await site.application()
    form = {**FORM, "owner": f"APPLICATION {application}", "url": "https://a.example"}

    for do in ("preview", "save"):
        shown = await site.post("/webhooks/new", **form, do=do, inputTemplate='{\n"id": "{{.Nobody.ID}}"\n}')
        assert shown.status == (422 if do == "save" else 200)
        assert "Body, line 2" in shown.words
        assert shown.tree.xpath("normalize-space(//mark)") == '2 "id": "{{.Nobody.ID}}"'
        assert shown.tree.xpath("//textarea[@aria-invalid='true']/@name") == ["inputTemplate"]
        assert "{{.Nobody.ID}}" in shown.tree.xpath("string(//textarea[@name='inputTemplate'])")
    broken = await site.post("/webhooks/new", **form, do="preview", inputTemplate='{"name": "{{.Application.Name}}"')
    assert '1 {"name": "example-shop"' in broken.tree.xpath("normalize-space(//mark)")
    assert "No webhook" in (await site.get(f"/webhooks?owner={application}")).words


def test_calls_are_listed_newest_first_and_what_was_not_called_yet_before_them() -> None:
    def delivery(name: str, created: str, *begun: str) -> dict[str, object]:
        attempts = [{"number": number, "startedAt": at} for number, at in enumerate(begun, 1)]
        return {"id": name, "createdAt": created, "attempts": attempts}

    found = calls(
        [delivery("c", "09:00"), delivery("b", "08:00", "08:01", "08:05", "08:05"), delivery("a", "07:00", "08:02")]
    )

    told = [(call["delivery"]["id"], call["attempt"] and call["attempt"]["number"], call["is_last"]) for call in found]
    assert told == [("c", None, True), ("b", 3, True), ("b", 2, False), ("a", 1, True), ("b", 1, False)]
    many = delivery("m", "07:00", *(f"08:{minute}" for minute in range(10, 59)))
    assert [call["attempt"]["number"] for call in calls([many])] == list(range(49, 49 - MOST_CALLS, -1))


def test_the_share_is_of_what_is_settled() -> None:
    assert share({"delivered": 0, "dead": 0, "pending": 7}) is None
    assert share({"delivered": 2, "dead": 1, "pending": 9}) == 67


async def test_while_somebody_types_only_what_is_wrong_and_the_preview_are_asked_for(site: Site) -> None:
    application, _ = await site.application()
    form = {**FORM, "do": "preview", "owner": f"APPLICATION {application}", "url": "htt"}

    shown = await site.get("/webhooks/new")
    [asks] = shown.tree.xpath("//form//*[@hx-post]")
    assert (asks.get("hx-post"), asks.get("hx-select")) == ("/console/webhooks/new", "#preview")
    assert set(asks.get("hx-select-oob").split(",")) == {
        f"#{one}" for one in shown.tree.xpath("//*[starts-with(@id, 'fault-')]/@id")
    }
    assert "password" in asks.get("hx-params")
    typed = await site.post("/webhooks/new", **form, inputTemplate='{\n"id": "{{.Nobody.ID}}"\n}')
    assert "Line 2" in typed.tree.xpath("string(//*[@id='fault-inputTemplate'])")
    assert typed.tree.xpath("string(//*[@id='fault-url'])").strip() == "must be a valid URL"
    assert typed.tree.xpath("string(//*[@id='fault-urlTemplate'])") == ""
    refused = await site.post("/webhooks/new", **form, inputTemplate="x" * 70_000)
    assert refused.status in (200, 422)
    assert refused.tree.xpath("//*[@id='preview']")


async def test_one_is_paused_and_resumed(site: Site) -> None:
    webhook, application = await a_webhook(site)
    page = f"/webhooks/{webhook}"

    paused = await site.follow(await site.post(f"{page}/pause"))

    assert "nothing is lost" in paused.words
    assert paused.tree.xpath("//h1/following-sibling::span[.='paused']")
    # It is not called, so there is nothing to try out.
    assert not paused.tree.xpath(f"//form[contains(@action, '{page}/test') or contains(@action, '{page}/pause')]")
    refused = await site.follow(await site.post(f"{page}/test"))
    assert "resume it first" in refused.words
    badge = "//section[@id='list']//span[.='paused']"
    assert (await site.get(f"/webhooks?owner={application}")).tree.xpath(badge)
    resumed = await site.follow(await site.post(f"{page}/resume"))
    assert resumed.tree.xpath(f"//form[contains(@action, '{page}/test')]")
    assert not (await site.get(f"/webhooks?owner={application}")).tree.xpath(badge)
