"""How applications and runtimes are doing, on every page that says so."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.cli.test_status import BEAT
from tests.conftest import _on
from tests.console.conftest import Site

Tables = asyncpg.Connection  # its rows have no type of their own


@pytest.fixture
async def tables(
    site: Site,  # it has the database made
    cluster: "Tables[asyncpg.Record]",
    cluster_dsn: str,
) -> AsyncIterator["Tables[asyncpg.Record]"]:
    """The database of the plane behind the console."""
    (named,) = await cluster.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'console%'")
    connection = await asyncpg.connect(_on(cluster_dsn, named["datname"]))
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_silent_agent_is_shown_wherever_its_runtime_is_and_goes_by_itself(
    site: Site, tables: "Tables[asyncpg.Record]"
) -> None:
    runtime, name = await site.runtime("silent")
    await tables.execute(BEAT, runtime, "3 hours")

    overview = await site.get("/")
    (row,) = overview.tree.xpath(f"//ul[@class='needs']/li[.//b='{name}']")
    assert "no heartbeat for 3 h" in row.text_content()
    for each in ("What to check", "the clock", "DNS", "8444", "the certificate: ", "compass doctor"):
        assert each in row.text_content()
    assert row.xpath(".//a/@href") == [f"/console/runtimes/{runtime}"]
    assert row.xpath(".//span[@aria-hidden]/@class") == ["mark bad"]
    # What no event tells is asked for.
    assert overview.tree.xpath("//main/@hx-trigger") == ["changed, every 5s"]

    listed = await site.get("/runtimes?show=attention")
    assert [name] == [one.text_content() for one in listed.tree.xpath("//td/a[@class='primary']")]
    assert "missing no heartbeat for 3 h" in " ".join(listed.words.replace("missing", "missing ").split())
    one = await site.get(f"/runtimes/{runtime}")
    assert "✗ bad" in one.words
    assert "version 1.2.3" in one.words
    assert one.tree.xpath("//main/@hx-trigger") == ["changed, every 5s"]
    drawn = await site.get("/topology")
    assert f"runtime {name}: no heartbeat for 3 h" in drawn.text
    assert f"{name}: no heartbeat for 3 h" in (await site.get("/topology.svg")).text

    await tables.execute("UPDATE heartbeat SET seen_at = now(), missed_from = now() + interval '1 hour'")

    assert "no heartbeat" not in (await site.get("/")).words
    assert "alive" in (await site.get(f"/runtimes?q={name}")).words
    assert "Nothing matches" in (await site.get("/runtimes?show=attention")).words


async def test_what_was_never_paired_waits_and_needs_nobody(site: Site) -> None:
    application, name = await site.application("waits")

    shown = await site.get(f"/applications/{application}")
    assert "· waiting" in shown.words
    assert "no one-time token was made for it yet" in shown.words
    assert "Heartbeat" not in shown.words
    assert "not paired" in (await site.get(f"/applications?q={name}")).words
    assert name not in (await site.get("/applications?show=attention")).words


async def test_an_identity_that_was_lost_leads_to_pairing_anew(site: Site, tables: "Tables[asyncpg.Record]") -> None:
    application, name = await site.application("lost")
    await tables.execute("UPDATE application SET status_condition = 'CONNECTED' WHERE id = $1::text::uuid", application)

    overview = await site.get("/")
    (row,) = overview.tree.xpath(f"//ul[@class='needs']/li[.//b='{name}']")
    assert "it was connected, and is known by nothing any more" in row.text_content()
    assert row.xpath(".//a/@href") == [f"/console/applications/{application}/pair"]
    await tables.execute("UPDATE application SET status_condition = 'INITIAL' WHERE id = $1::text::uuid", application)
