"""The page about the plane itself: how each part is, in words, also while the database is away."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compass.cli.version import VERSION
from compass.console.system import checks, gauges
from compass.postgres.migrate import needed
from tests.console.conftest import Site

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
READY = (200, "ok")


def system(**more: Any) -> dict[str, Any]:
    queue = {"name": "DELIVERIES", "waiting": 0, "dueSince": None, "failed": 0}
    authority = {"state": "ACTIVE", "isEnding": False}
    return {"queues": [queue], "authorities": [authority], "replicas": [replica()], **more}


def replica(place: str = "a", *, follows: bool = True, **gauges: Any) -> dict[str, Any]:
    quiet = {"feedBehindMilliseconds": None, "lastErrorAt": None}
    return {"place": place, "follows": follows, "gauges": quiet | gauges}


def queue(*, late: float | None = None, failed: int = 0) -> dict[str, Any]:
    due = (NOW - timedelta(minutes=late)).strftime("%Y-%m-%dT%H:%M:%SZ") if late is not None else None
    return {"queues": [{"name": "DELIVERIES", "waiting": 3, "dueSince": due, "failed": failed}]}


@pytest.mark.parametrize(
    ("more", "part", "tone", "text"),
    [
        ({}, "Deliveries", "good", "keeps up, 0 waiting"),
        (queue(late=0.5), "Deliveries", "good", "keeps up, 3 waiting"),
        (queue(failed=2), "Deliveries", "warn", "keeps up, 3 waiting; 2 given up"),
        (queue(late=3), "Deliveries", "warn", "late: the oldest could be done for 3 min"),
        (queue(late=30, failed=1), "Deliveries", "bad", "late: the oldest could be done for 30 min; 1 given up"),
        ({}, "Authority", "good", "signs, far from its end"),
        ({"authorities": []}, "Authority", "bad", "none signs"),
        (
            {"authorities": [{"state": "ACTIVE", "isEnding": True}]},
            "Authority",
            "warn",
            "nears its end: compass ca rotate prepare begins its replacement",
        ),
        (
            {"authorities": [{"state": "ACTIVE", "isEnding": False}, {"state": "REPLACED", "isEnding": True}]},
            "Authority",
            "warn",
            "is being replaced; one is replaced: trusted until nothing hangs on it",
        ),
        ({}, "Replicas", "good", "one serves"),
        (
            {"replicas": [replica(), replica() | {"gauges": None}]},
            "Replicas",
            "good",
            "2 serve, and trust the same authorities",
        ),
        (
            {"replicas": [replica(), replica("b", follows=False)]},
            "Replicas",
            "warn",
            "do not trust the present authorities yet: b",
        ),
        (
            {"replicas": [replica(feedBehindMilliseconds=60_000), replica("b", feedBehindMilliseconds=60_001)]},
            "Replicas",
            "warn",
            "cannot tell anybody what changes: b",
        ),
        (
            {
                "replicas": [
                    replica(lastErrorAt="2026-11-23T11:50:00Z"),
                    replica("b", lastErrorAt="2026-11-23T11:50:01Z"),
                ]
            },
            "Replicas",
            "warn",
            "noted an error in their log within ten minutes: b",
        ),
    ],
)
def test_how_a_part_is_is_told_in_words(more: dict[str, Any], part: str, tone: str, text: str) -> None:
    found = {one.part: one for one in checks(READY, system(**more), NOW)}

    assert (found[part].tone, found[part].text) == (tone, text)


def test_without_the_database_what_it_is_about_is_told_alone() -> None:
    (only,) = checks((503, "the database does not answer: TimeoutError"), None, NOW)

    assert (only.part, only.tone, only.text) == ("Database", "bad", "the database does not answer: TimeoutError")


SHARES = ("connections", "deliveries", "operations", "reads", "searches", "writes")
QUIET: dict[str, Any] = {
    "cpuPercent": 0,
    "memoryMegabytes": None,
    "requestsPerMinute": 0,
    "requestMicroseconds": None,
    "slowestMicroseconds": None,
    "followers": 0,
    "feedBehindMilliseconds": None,
    "errors": 0,
    "lastErrorAt": None,
    **{name: {"used": 0, "of": 8} for name in SHARES},
}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, {"CPU": "0 % of a core", "Memory": "unknown", "Requests": "0 a minute", "Time of a request": "–"}),
        ({}, {"Change feed": "–", "Errors in its log": "none", "Connections": "0 of 8", "Database: reads": "0 of 8"}),
        (
            {"requestMicroseconds": 849, "slowestMicroseconds": 12345},
            {"Time of a request": "0.8 ms on average, 12.3 ms at most"},
        ),
        ({"followers": 1, "feedBehindMilliseconds": 0}, {"Change feed": "1 follows, keeps up"}),
        ({"followers": 2, "feedBehindMilliseconds": 1520}, {"Change feed": "2 follow, 1.5 s behind"}),
        ({"errors": 3, "lastErrorAt": "2020-01-01T00:00:00Z"}, {"Errors in its log": "3, the last "}),
        ({"writes": {"used": 7, "of": 8}, "memoryMegabytes": 120}, {"Database: changes": "7 of 8", "Memory": "120 MB"}),
    ],
)
def test_how_busy_a_replica_is_is_told_in_words(told: dict[str, Any], expected: dict[str, str]) -> None:
    found = {one.name: one.text for one in gauges(QUIET | told)}

    assert {name: found[name][: len(text)] for name, text in expected.items()} == expected
    assert len(found) == 12


def test_a_bar_warns_when_four_fifths_are_in_use() -> None:
    bars = {one.name: one for one in gauges(QUIET | {"connections": {"used": 1, "of": 8000}})}

    assert (bars["Connections"].used, bars["Connections"].high, bars["Connections"].of) == (1, 6400, 8000)
    assert bars["Database: searches"].high == 7
    assert bars["CPU"].of == 0


async def test_the_page_shows_how_busy_each_replica_is(site: Site) -> None:
    shown: list[Any] = []
    async with asyncio.timeout(30):
        while not shown:  # it says so a moment after it began to serve
            page = await site.get("/system")
            shown = page.tree.xpath("//section[contains(@class, 'replica')]")

    for each in shown:
        assert f"Compass {VERSION}, started" in " ".join(each.text_content().split())
        meters = {one.get("aria-label"): one for one in each.iterfind(".//meter")}
        assert len(meters) == 6
        assert meters["Deliveries under way"].get("max") == "128"
        told = meters["Connections"].tail.strip()
        assert told == meters["Connections"].text == f"{meters['Connections'].get('value')} of 8000"


async def test_the_page_shows_versions_queues_authorities_and_settings(site: Site) -> None:
    page = await site.get("/system")

    facts = dict(
        zip(
            [one.text_content() for one in page.tree.xpath("//dt")],
            [one.text_content() for one in page.tree.xpath("//dd")],
            strict=True,
        )
    )
    assert (facts["Compass"], facts["Migration"]) == (VERSION, needed())
    for part in ("Database", "Events", "Deliveries", "Operations", "Audit", "Authority", "Replicas"):
        assert page.tree.xpath("//ul[@class='needs']//b[text()=$part]", part=part), part
    assert "active" in page.words
    assert "limits.connections" in page.words
    dsn = page.tree.xpath("//details//tr[td[1]='database.dsn']/td[2]/text()")
    assert dsn == ["(redacted)"]


async def test_the_support_bundle_is_a_file_without_secrets(site: Site) -> None:
    file = await site.get("/system/support-bundle.json")

    assert file.headers["content-disposition"] == 'attachment; filename="support-bundle.json"'
    found = json.loads(file.text)
    assert found["system"]["version"] == VERSION
    assert {one["key"]: one["value"] for one in found["system"]["settings"]}["database.dsn"] == "(redacted)"
    for secret in (site.started.admin_secret, site.started.ca_pem):
        assert secret
        assert secret not in file.text


async def test_who_may_not_see_the_plane_is_told_so(site: Site) -> None:
    async with site.another() as browser:
        await browser.limit("application:read")

        refused = await browser.get("/system")

        assert refused.status == 403
        assert "You may not see this" in refused.words
