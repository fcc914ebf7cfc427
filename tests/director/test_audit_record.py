"""Audit records through the API: those of the tenant, newest first, for administrators; and those of the status API."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller
from compass.audit.keys import Keys
from compass.audit.record import Log
from compass.audit.seal import seal
from compass.director.assignment_status import Reports
from compass.director.formation_status import Reports as FormationReports
from compass.errors import CompassError
from tests.director.groups import application, group, relayed, runtime, webhook

REGISTER = "mutation ($name: String!) { registerApplication(in: {name: $name}) { id } }"
RECORDS = """
query (
  $operation: String, $object: ID, $actor: ID, $since: Timestamp, $until: Timestamp, $first: Int, $after: PageCursor
) {
  auditRecords(
    operation: $operation, objectID: $object, consumerID: $actor, since: $since, until: $until
    first: $first, after: $after
  ) {
    totalCount pageInfo { hasNextPage endCursor }
    data {
      id happenedAt operation objectType objectID requestID consumer consumerID flow systemAuthID certificate refused
      arguments before after isSealed
    }
  }
}
"""
STATUS = """
{ formations { data { id formationAssignments { data { id source target } } } } }
"""


@pytest.fixture
async def log(director: Any) -> Log:
    async with director.database.transaction() as tx:
        return Log(await Keys.open(tx, director.vault))


@pytest.fixture
async def recording(director: Any, log: Log) -> Any:
    """The Director with an audit log, and callers who may read it."""
    recording = director.lent({Log: log})
    scopes = director.caller.scopes | {"audit:read"}
    recording.caller = replace(director.caller, scopes=scopes, request_id="request-1")
    recording.other = replace(director.other, scopes=scopes)
    return recording


async def records(recording: Any, caller: Caller | None = None, **asked: Any) -> Any:
    return (await recording.data(RECORDS, caller=caller, **asked))["auditRecords"]


async def test_a_tenant_reads_its_own_records_newest_first(recording: Any, log: Log) -> None:
    ids = [(await recording.data(REGISTER, name=name))["registerApplication"]["id"] for name in ("a", "b")]
    await recording.data(REGISTER, caller=recording.other, name="c")
    await recording.database.run(lambda tx: seal(tx, log.keys))
    await recording.data('mutation { updateApplication(id: "%s", in: {description: "d"}) { id } }' % ids[0])

    page = await records(recording)

    assert page["totalCount"] == 3
    assert [(one["operation"], one["objectID"], one["isSealed"]) for one in page["data"]] == [
        ("updateApplication", ids[0], False),
        ("registerApplication", ids[1], True),
        ("registerApplication", ids[0], True),
    ]
    newest = page["data"][0]
    assert (newest["consumer"], newest["consumerID"], newest["flow"]) == ("Static User", "admin", "JWT")
    assert (newest["objectType"], newest["requestID"], newest["refused"]) == ("Application", "request-1", None)
    assert (newest["systemAuthID"], newest["certificate"]) == (None, None)
    assert orjson.loads(newest["arguments"]) == {"id": ids[0], "in": {"description": "d"}}
    assert orjson.loads(newest["before"])["description"] is None
    assert orjson.loads(newest["after"])["description"] == "d"


async def test_records_are_read_by_who_made_them(recording: Any) -> None:
    await recording.data(REGISTER, name="a")
    await recording.data(REGISTER, caller=replace(recording.caller, consumer_id="somebody"), name="b")

    theirs = await records(recording, actor="somebody")

    assert [one["consumerID"] for one in theirs["data"]] == ["somebody"]
    assert theirs["totalCount"] == 1
    assert (await records(recording, actor="admi"))["data"] == []


async def test_records_are_read_by_operation_by_object_and_by_page(recording: Any) -> None:
    ids = [(await recording.data(REGISTER, name=name))["registerApplication"]["id"] for name in ("a", "b", "c")]
    await recording.data('mutation { unregisterApplication(id: "%s") { id } }' % ids[1])

    removed = await records(recording, operation="unregisterApplication")
    about = await records(recording, object=ids[1])
    first = await records(recording, first=3)
    second = await records(recording, first=3, after=first["pageInfo"]["endCursor"])

    assert [one["objectID"] for one in removed["data"]] == [ids[1]]
    assert [one["operation"] for one in about["data"]] == ["unregisterApplication", "registerApplication"]
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)
    assert [one["objectID"] for one in second["data"]] == [ids[0]]
    assert (await records(recording, object=ids[1], caller=recording.other))["data"] == []


async def test_records_are_read_by_when_something_was_done(recording: Any) -> None:
    for name in ("a", "b"):
        await recording.data(REGISTER, name=name)
    (newest, oldest) = (await records(recording))["data"]
    text = "UPDATE audit_record SET happened_at = '2026-01-02T03:04:05.5Z' WHERE id = $1"
    await recording.database.run(lambda tx: tx._connection.execute(text, oldest["id"]))

    async def ids(**asked: Any) -> list[str]:
        page = await records(recording, **asked)
        assert page["totalCount"] == len(page["data"])
        return [one["id"] for one in page["data"]]

    # What is shown has no fractions of seconds; what is compared has.
    assert await ids(since="2026-01-02T03:04:05.5Z") == [newest["id"], oldest["id"]]
    assert await ids(since="2026-01-02T03:04:05.6Z") == [newest["id"]]
    assert await ids(until="2026-01-02T03:04:05.5Z") == []
    assert await ids(until="2026-01-02T04:04:06+01:00") == [oldest["id"]]
    assert await ids(since="2026-01-01T00:00:00Z", until="2026-01-03T00:00:00Z") == [oldest["id"]]
    assert await ids(since="2026-01-01T00:00:00Z", until="2026-01-03T00:00:00Z", operation="deleteBundle") == []


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("text", ["yesterday", "2026-01-01T00:00:00", "", "9999-99-99T00:00:00Z"])
async def test_what_is_no_point_in_time_is_refused(recording: Any, name: str, text: str) -> None:
    (error,) = (await recording(RECORDS, caller=recording.caller, **{name: text}))["errors"]

    assert (error["extensions"]["error_code"], error["path"]) == (22, ["auditRecords"])


@pytest.mark.parametrize("kind", ["without scope", "without tenant"])
async def test_others_do_not_read_them(recording: Any, kind: str) -> None:
    await recording.data(REGISTER, name="a")
    caller = {
        "without scope": replace(recording.caller, scopes=recording.caller.scopes - {"audit:read"}),
        "without tenant": replace(recording.caller, tenant=None, external_tenant=None),
    }[kind]

    assert "errors" in await recording(RECORDS, caller=caller)


async def test_reports_of_the_status_api_are_recorded_without_their_configuration(recording: Any, log: Log) -> None:
    app, cluster = await application(recording, "one"), await runtime(recording, "cluster")
    await webhook(recording, "https://receiver.example", application=app, mode="ASYNC_CALLBACK")
    await group(recording, "g", applications=[app], runtimes=[cluster])
    await relayed(recording)
    (found,) = (await recording.data(STATUS))["formations"]["data"]
    pairs = {(one["source"], one["target"]): one["id"] for one in found["formationAssignments"]["data"]}
    path = {"ucl-formation-id": found["id"], "ucl-assignment-id": pairs[cluster, app]}
    reports = Reports(recording.database, log)
    before = (await records(recording))["totalCount"]

    await reports.report(recording.application(app), path, b'{"state": "READY", "configuration": {"key": "hidden"}}')
    for refused in (b'{"state": "CREATE_ERROR", "configuration": {}, "error": 5}', b'{"state": "INITIAL"}'):
        with pytest.raises(CompassError):
            await reports.report(recording.application(app), path, refused)
    with pytest.raises(CompassError):
        await reports.reset(recording.runtime(cluster), path, b'{"state": "READY", "configuration": {"a": 1}}')

    page = await records(recording)
    newest = page["data"][0]
    assert page["totalCount"] == before + 1
    assert (newest["operation"], newest["objectType"], newest["objectID"]) == (
        "reportAssignment",
        "FormationAssignment",
        pairs[cluster, app],
    )
    assert (newest["consumer"], newest["consumerID"]) == ("Application", app)
    assert orjson.loads(newest["arguments"]) == {"state": "READY", "configuration": "(taken out)"}


async def test_a_report_about_a_group_that_is_refused_is_not_recorded(recording: Any, log: Log) -> None:
    made = await recording.data('mutation { createFormation(formation: {name: "g"}) { id } }')
    before = (await records(recording))["totalCount"]

    with pytest.raises(CompassError):
        await FormationReports(recording.database, log).report(
            recording.caller, {"ucl-formation-id": made["createFormation"]["id"]}, b'{"state": "READY"}'
        )

    assert (await records(recording))["totalCount"] == before
