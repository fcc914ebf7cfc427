"""The delivery log in the console: attempts, sending one again, recovering many."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import asyncpg
import pytest

from compass.console.deliveries import instant, since
from compass.settings import DeliverySettings, OutboundSettings
from tests.console.conftest import Shown, Site, a_plane, signed_in
from tests.delivery.receiver import Call, Receiver, answer, receiving


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
    assert one.tree.xpath("//section[@aria-label='Request']//dd[preceding-sibling::dt[1]='Content-Type']/text()") == [
        "application/cloudevents+json"
    ]
    assert "The URL cannot be used" in one.words
    assert f"/console/webhooks/{webhook}" in one.links
    assert "s3cr3t" not in one.text
    assert (await site.get("/deliveries/00000000-0000-4000-8000-000000000000")).status == 404


async def test_the_log_is_narrowed_to_a_type_and_a_time_and_its_address_says_so(site: Site) -> None:
    webhook, page = await given_up(site)
    await until_dead(site, page)
    begin = (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M")

    for narrowed in ("&type=CONFIGURATION_CHANGED", "&span=hour", f"&since={begin}", "&type=NONSENSE&since=never"):
        assert (await site.get(page + narrowed)).tree.xpath("//tr[@id]"), narrowed
    for narrowed in ("&type=FORMATION_LIFECYCLE", f"&until={begin}"):
        assert "Nothing like that" in (await site.get(page + narrowed)).words, narrowed
    kept = await site.get(f"{page}&span=day&type=CONFIGURATION_CHANGED&since={begin}")
    assert kept.tree.xpath("//option[@selected]/@value")[:2] == [webhook, "CONFIGURATION_CHANGED"]
    assert kept.tree.xpath("//input[@name='since']/@value") == [begin]
    [dead] = [link for link in kept.links if "state=DEAD" in link]
    assert f"webhook={webhook}" in dead
    assert "type=CONFIGURATION_CHANGED" in dead
    assert "span=day" in dead


def test_a_time_is_taken_as_utc_and_a_typed_one_counts_before_a_span() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)

    assert instant("2026-11-23T08:00") == "2026-11-23T08:00:00+00:00"
    assert instant("2026-11-23T08:00:00+02:00") == "2026-11-23T08:00:00+02:00"
    assert instant("soon") is None
    assert since({"span": "hour", "since": ""}, now) == "2026-11-23T11:00:00+00:00"
    assert since({"span": "hour", "since": "2026-11-01T00:00"}, now) == "2026-11-01T00:00:00+00:00"
    assert since({"span": "", "since": ""}, now) is None


async def test_what_was_given_up_since_a_time_is_recovered(site: Site) -> None:
    webhook, page = await given_up(site)
    await until_dead(site, page)

    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    none = await site.post("/deliveries/recover", webhook=webhook, span="hour", since=later)
    assert "0 on the way again" in (await site.follow(none)).words


async def test_the_log_can_be_held_still(site: Site) -> None:
    moving, paused = await site.get("/deliveries?state=DEAD"), await site.get("/deliveries?state=DEAD&paused=1")

    assert (moving.tree.xpath("//main/@hx-get") != [], paused.tree.xpath("//main/@hx-get")) == (True, [])
    assert moving.tree.xpath("//a[text()='Pause']/@href") == ["/console/deliveries?state=DEAD&paused=1"]
    assert paused.tree.xpath("//a[text()='Go on']/@href") == ["/console/deliveries?state=DEAD"]


async def test_the_log_and_a_delivery_are_told_of_attempts_and_ask_for_nothing_in_between(site: Site) -> None:
    _, page = await given_up(site)
    log = await until_dead(site, page)
    delivery = log.tree.xpath("//tr[@id and not(contains(@id, 'more-'))]/@id")[0]

    for shown in (log, await site.get(f"/deliveries/{delivery}")):
        assert shown.tree.xpath("//main/@hx-trigger") == ["changed"]
        assert "deliveries" in shown.tree.xpath("//body/@data-live")[0].split(",")


async def test_without_a_right_the_page_says_so_and_what_one_may_see_is_shown(site: Site) -> None:
    webhook, page = await given_up(site)
    await until_dead(site, page)
    delivery = (await site.get(page)).tree.xpath("//tr[@id and not(contains(@id, 'more-'))]/@id")[0]
    async with site.another(signed_in=False) as other:
        await other.limit("application.webhooks:read")
        log = await other.get("/deliveries")
        shown = await other.get(f"/deliveries/{delivery}")
        forbidden = [(await other.get(path)).status for path in ("/webhooks", f"/webhooks/{webhook}", "/access")]
        await other.limit("application:read")
        assert (await other.get("/deliveries")).status == 403
        assert "You may not see this" in (await other.get("/deliveries")).words

    assert (log.status, log.tree.xpath("//select[@name='webhook']/option/text()")) == (200, ["All of them"])
    assert "No right to see it" in shown.words
    assert "not for you to see" in shown.words
    assert forbidden[0] == forbidden[1] == 403


@pytest.fixture(scope="module")
async def calling(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A browser at a plane that may call this machine, and tries again at once."""
    folder: Path = tmp_path_factory.mktemp("calling")
    outbound = OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),))
    delivery = DeliverySettings(first_retry_after=timedelta(milliseconds=100))
    async with (
        a_plane(cluster, cluster_dsn, folder, outbound=outbound, delivery=delivery) as started,
        signed_in(started) as found,
    ):
        yield found


async def owed(site: Site, receiver: Receiver) -> tuple[str, str]:
    """A webhook there and the page of the one notification that it is owed."""
    application, _ = await site.application()
    runtime, _ = await site.runtime()
    text = """mutation ($id: ID!, $url: String!) { result: addWebhook(applicationID: $id, in: {
        type: CONFIGURATION_CHANGED, url: $url }) { id } }"""
    webhook = (await site.ask(text, id=application, url=receiver.url("/hook?token=s3cr3t")))["id"]
    await site.group(("APPLICATION", application), ("RUNTIME", runtime))
    found = """query ($id: ID) { result: webhookDeliveries(webhookID: $id) { data { id } } }"""
    async with asyncio.timeout(60):
        while not (rows := (await site.ask(found, id=webhook))["data"]):
            await asyncio.sleep(0.1)
    return webhook, f"/deliveries/{rows[0]['id']}"


async def test_two_attempts_are_compared_without_secrets(calling: Site) -> None:
    answers = [answer(503, b'{"why": "closed"}', server="first", x_key="s3cr3t"), answer(500, b"", server="first")]

    async def behaviour(_call: Call) -> bytes:
        return answers.pop(0) if answers else answer(server="second")

    async with receiving(behaviour) as receiver:
        _, page = await owed(calling, receiver)
        async with asyncio.timeout(60):
            while "delivered" not in (await calling.get(page)).tree.xpath("string(//span[contains(@class, 'badge')])"):
                await asyncio.sleep(0.1)

    shown = await calling.get(page)
    rows = shown.tree.xpath("//section[@id='differences']//tbody/tr")
    last = {cells[0]: cells[1:] for cells in ([" ".join(cell.text_content().split()) for cell in row] for row in rows)}
    assert last["status"] == ["500", "200"]
    assert last["answered server"] == ["first", "second"]
    assert last["trouble"] == ["the receiver answered 500", "nothing"]
    compared = await calling.get(f"{page}?before=1&after=2")
    rows = compared.tree.xpath("//section[@id='differences']//tbody/tr")
    table = [[" ".join(cell.text_content().split()) for cell in row] for row in rows]
    assert ["status", "503", "500"] in table
    assert ["answered x-key", "***", "nothing"] in table
    assert ["answer", '{ "why": "closed" }', ""] in table
    assert compared.tree.xpath("//details[@id='attempt-1']//dd[preceding-sibling::dt[1]='server']/text()") == ["first"]
    assert (await calling.get(f"{page}?before=77&after=x")).status == 200
    assert "s3cr3t" not in shown.text + compared.text


async def test_a_notification_that_failed_shows_when_it_is_tried_next(calling: Site) -> None:
    async def refuses(_call: Call) -> bytes:
        return answer(503, retry_after="600")

    async with receiving(refuses) as receiver:
        webhook, page = await owed(calling, receiver)
        async with asyncio.timeout(60):
            while "503" not in (shown := await calling.get(page)).words:
                await asyncio.sleep(0.1)
        [due] = shown.tree.xpath("//*[@data-until]/@data-until")
        [in_the_log] = (await calling.get(f"/deliveries?webhook={webhook}")).tree.xpath("//*[@data-until]/@data-until")
        of_the_webhook = await calling.get(f"/webhooks/{webhook}")

    assert datetime.fromisoformat(due) > datetime.now(UTC) + timedelta(minutes=5)
    assert in_the_log == due
    assert of_the_webhook.tree.xpath("//*[@data-until]/@data-until") == [due]
    assert of_the_webhook.tree.xpath("//*[local-name()='svg'][@role='img']/@aria-label") == [
        "Of the last 1: 0 delivered, 0 given up, 1 on their way"
    ]
