"""The plane itself through the API: for its administrators, with no secret in it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from compass.cli.version import VERSION
from compass.gauges import Errors, Gauges, Requests, Share
from compass.postgres.migrate import needed
from compass.settings import AuthoritySettings, DatabaseSettings, LimitSettings, Settings
from tests.director.groups import application, group, relayed, runtime, webhook

SYSTEM = """
{
  system {
    version database databaseMegabytes migration migratedAt
    queues { name waiting dueSince failed }
    authorities { serial state since endsAt isEnding clients }
    replicas {
      place seenAt follows
      gauges {
        release startedAt memoryMegabytes cpuPercent requestsPerMinute requestMicroseconds slowestMicroseconds
        followers feedBehindMilliseconds errors lastErrorAt
        connections { used of } deliveries { used of } operations { used of }
        reads { used of } searches { used of } writes { used of }
      }
    }
    settings { key value source }
  }
}
"""


LIVES = """-- test.lives
INSERT INTO authority_replica (replica, place, knows, gauges, seen_at)
VALUES (%(id)s, %(place)s, '', %(gauges)s, clock_timestamp() - make_interval(secs => %(ago)s))
"""
TRY_LATER = "-- test.try_later\nUPDATE delivery_lane SET next_at = now() + interval '1 hour'"


@pytest.fixture
async def watching(director: Any) -> Any:
    """The Director with settings, and a caller who may see the plane."""
    settings = Settings(
        database=DatabaseSettings(dsn="postgresql://compass:s3cr3t@db.example/compass"),
        authority=AuthoritySettings(signer_command=("sign", "--pin", "s3cr3t")),
        limits=LimitSettings(connections=77),
        sources={
            "database.dsn": "environment",
            "authority.signer_command": "compass.toml",
            "limits.connections": "compass.toml",
        },
    )
    lent = director.lent({Settings: settings})
    lent.caller = replace(director.caller, scopes=director.caller.scopes | {"system:read"}, tenant=None)
    return lent


async def test_the_plane_says_what_it_runs_on(watching: Any) -> None:
    told = (await watching.data(SYSTEM))["system"]

    assert (told["version"], told["migration"]) == (VERSION, needed())
    assert told["databaseMegabytes"] > 0
    assert datetime.fromisoformat(told["migratedAt"]) <= datetime.now(UTC) + timedelta(seconds=1)
    assert [one["name"] for one in told["queues"]] == ["EVENTS", "DELIVERIES", "OPERATIONS", "AUDIT"]


async def test_what_is_not_done_yet_is_counted_with_its_age(watching: Any, director: Any) -> None:
    before = (await watching.data(SYSTEM))["system"]["queues"][0]
    await application(director, "counted")

    events = (await watching.data(SYSTEM))["system"]["queues"][0]

    assert events["waiting"] == before["waiting"] + 1
    assert events["dueSince"] is not None
    assert events["failed"] == 0


async def test_a_delivery_is_late_while_nobody_takes_it_and_not_while_it_waits_for_its_next_try(
    watching: Any, director: Any
) -> None:
    app, cluster = await application(director, "told"), await runtime(director, "cluster")
    await webhook(director, "https://receiver.example", application=app)
    await group(director, "g", applications=[app], runtimes=[cluster])
    await relayed(director)
    due = (await watching.data(SYSTEM))["system"]["queues"][1]
    assert due["waiting"] > 0
    assert due["dueSince"] is not None

    await director.database.run(lambda tx: tx.run(TRY_LATER))

    waits = (await watching.data(SYSTEM))["system"]["queues"][1]
    assert (waits["waiting"], waits["dueSince"]) == (due["waiting"], None)


async def test_each_replica_that_lives_says_how_busy_it_is(watching: Any) -> None:
    shares = ("connections", "deliveries", "operations", "reads", "searches", "writes")
    requests = Requests()
    busy = Gauges(
        release="9.9",
        requests=requests,
        errors=Errors(),
        followers=lambda: 2,
        feed_behind=lambda: 0.25,
        shares=lambda: {name: Share(number, 10) for number, name in enumerate(shares)},
        clock=iter((0.0, 30.0)).__next__,
        cpu=iter((0.0, 60.0)).__next__,
    )
    for seconds in (0.0015, 0.0005):
        requests.count(seconds)
    # Seen in an hour: a machine that stalls makes nobody of them silent.
    for place, gauges, ago in (("busy:1", busy.read(), -3600), ("older:2", None, -3600), ("gone:3", None, 11)):
        said = {"id": str(uuid4()), "place": place, "gauges": gauges, "ago": ago}
        await watching.database.run(lambda tx, said=said: tx.run(LIVES, **said))

    told = {one["place"]: one for one in (await watching.data(SYSTEM))["system"]["replicas"]}

    assert list(told) == ["busy:1", "older:2"]
    assert told["older:2"]["gauges"] is None
    gauges = told["busy:1"]["gauges"]
    assert datetime.now(UTC) - datetime.fromisoformat(gauges.pop("startedAt")) < timedelta(minutes=5)
    assert gauges.pop("memoryMegabytes") > 0
    assert gauges == {
        "release": "9.9",
        "cpuPercent": 200,
        "requestsPerMinute": 4,
        "requestMicroseconds": 1000,
        "slowestMicroseconds": 1500,
        "followers": 2,
        "feedBehindMilliseconds": 250,
        "errors": 0,
        "lastErrorAt": None,
        **{name: {"used": number, "of": 10} for number, name in enumerate(shares)},
    }


async def test_settings_are_told_with_their_source_and_without_secrets(watching: Any) -> None:
    told = {one["key"]: one for one in (await watching.data(SYSTEM))["system"]["settings"]}

    assert told["limits.connections"] == {"key": "limits.connections", "value": "77", "source": "compass.toml"}
    assert told["database.dsn"] == {"key": "database.dsn", "value": "(redacted)", "source": "environment"}
    assert told["authority.signer_command"]["value"] == "(given)"
    assert told["tokens.application_validity"]["source"] == "default"
    assert "s3cr3t" not in str(told)


async def test_only_who_may_see_the_plane_is_told(director: Any) -> None:
    refused = await director.refusal(SYSTEM)

    assert refused["extensions"]["error_code"] == 23
