"""The delivery log in the console: attempts, sending one again, recovering many."""

import asyncio

from tests.console.conftest import Shown, Site


async def given_up(site: Site) -> tuple[str, str]:
    """A webhook at an address that the plane may not call, and the page of what it was to be told."""
    application, _ = await site.application()
    runtime, _ = await site.runtime()
    text = """mutation ($id: ID!) { result: addWebhook(applicationID: $id, in: {
        type: CONFIGURATION_CHANGED, url: "https://127.0.0.1:9/secret?token=s3cr3t" }) { id } }"""
    webhook = (await site.ask(text, id=application))["id"]
    await site.group(("APPLICATION", application), ("RUNTIME", runtime))
    return webhook, f"/deliveries?webhook={webhook}"


async def until_dead(site: Site, page: str) -> Shown:
    async with asyncio.timeout(60):
        while "given up" not in (await site.get(page)).tree.xpath("string(//table)"):
            await asyncio.sleep(0.1)
    return await site.get(page)


async def test_what_was_given_up_is_shown_with_its_attempts_and_sent_again(site: Site) -> None:
    _, page = await given_up(site)

    shown = await until_dead(site, page)

    assert "The URL cannot be used" in shown.words
    assert "s3cr3t" not in shown.text  # a query is a usual place for secrets
    assert shown.tree.xpath("//table[@class='attempts']//tbody/tr")
    action = next(one for one in shown.tree.xpath("//form/@action") if one.endswith("/resend"))
    again = await site.post(action.removeprefix("/console"))
    assert "It is on its way again" in (await site.follow(again)).words


async def test_all_that_was_given_up_for_a_webhook_is_recovered(site: Site) -> None:
    webhook, page = await given_up(site)
    await until_dead(site, page)

    recovered = await site.post("/deliveries/recover", webhook=webhook, span="hour")

    assert "on the way again" in (await site.follow(recovered)).words


async def test_the_log_is_filtered(site: Site) -> None:
    webhook, page = await given_up(site)
    await until_dead(site, page)

    assert "Nothing like that" in (await site.get(f"/deliveries?webhook={webhook}&state=DELIVERED")).words
    assert (await site.get("/deliveries?state=NONSENSE")).status == 200
    assert (await site.get("/deliveries")).tree.xpath("//table")


async def test_one_delivery_is_shown_with_what_was_sent_and_answered(site: Site) -> None:
    webhook, page = await given_up(site)
    shown = await until_dead(site, page)
    [link] = {one for one in shown.links if one.startswith("/console/deliveries/")}

    one = await site.get(link.removeprefix("/console"))

    assert "io.compass.runtime.assign.v1" in one.words
    assert one.tree.xpath("//dd[preceding-sibling::dt[1]='Content-Type']/text()") == ["application/cloudevents+json"]
    assert "The URL cannot be used" in one.words
    assert f"/console/webhooks/{webhook}" in one.links
    assert "s3cr3t" not in one.text
    assert (await site.get("/deliveries/00000000-0000-4000-8000-000000000000")).status == 404


async def test_the_log_can_be_held_still(site: Site) -> None:
    moving, paused = await site.get("/deliveries?state=DEAD"), await site.get("/deliveries?state=DEAD&paused=1")

    assert (moving.tree.xpath("//main/@hx-get") != [], paused.tree.xpath("//main/@hx-get")) == (True, [])
    assert moving.tree.xpath("//a[text()='Pause']/@href") == ["/console/deliveries?state=DEAD&paused=1"]
    assert paused.tree.xpath("//a[text()='Go on']/@href") == ["/console/deliveries?state=DEAD"]
