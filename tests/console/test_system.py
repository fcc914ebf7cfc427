"""The page about the plane itself: how each part is, in words, also while the database is away."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compass.cli.version import VERSION
from compass.console.system import checks
from compass.postgres.migrate import needed
from tests.console.conftest import Site

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
READY = (200, "ok")


def system(**more: Any) -> dict[str, Any]:
    queue = {"name": "DELIVERIES", "waiting": 0, "dueSince": None, "failed": 0}
    authority = {"state": "ACTIVE", "isEnding": False}
    return {"queues": [queue], "authorities": [authority], "replicas": [{"place": "a", "follows": True}], **more}


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
            {"replicas": [{"place": "a", "follows": True}] * 2},
            "Replicas",
            "good",
            "2 serve, and trust the same authorities",
        ),
        (
            {"replicas": [{"place": "a", "follows": True}, {"place": "b", "follows": False}]},
            "Replicas",
            "warn",
            "do not trust the present authorities yet: b",
        ),
    ],
)
def test_how_a_part_is_is_told_in_words(more: dict[str, Any], part: str, tone: str, text: str) -> None:
    found = {one.part: one for one in checks(READY, system(**more), NOW)}

    assert (found[part].tone, found[part].text) == (tone, text)


def test_without_the_database_what_it_is_about_is_told_alone() -> None:
    (only,) = checks((503, "the database does not answer: TimeoutError"), None, NOW)

    assert (only.part, only.tone, only.text) == ("Database", "bad", "the database does not answer: TimeoutError")


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
