"""Participants that report how far they are: twice, late, in any order, and about what is not theirs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller, Consumer
from compass.director import assignment_status, formation_assignment
from compass.director import runtime as runtime_noun
from compass.director.assignment_status import Report, Reports
from compass.errors import CompassError, InvalidData, InvalidOperation, NotFound, Unauthorized
from compass.ids import FormationId, RuntimeId
from tests.delivery.receiver import Call, answer, hangs, receiving
from tests.director.groups import (
    CREATE_FORMATION,
    DELETE_FORMATION,
    STATUS,
    UNASSIGN,
    Announced,
    application,
    assign,
    condition,
    deliveries,
    group,
    idle,
    labels,
    relayed,
    runtime,
    states,
    unassign,
    webhook,
    working,
)

URL = "https://receiver.example"
NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
RESYNCHRONIZE = """
mutation ($id: ID!, $reset: Boolean) { resynchronizeFormationNotifications(formationID: $id, reset: $reset) { id } }
"""
FINALIZE = "mutation ($id: ID!) { result: finalizeDraftFormation(formationID: $id) { id state } }"
UNASSIGN_GLOBAL = """
mutation ($id: ID!, $type: FormationObjectType!, $group: ID!) {
  result: unassignFormationGlobal(objectID: $id, objectType: $type, formation: $group) { id }
}
"""
OPERATIONS = """
query ($name: String!, $id: ID!) { formationByName(name: $name) { formationAssignment(id: $id) {
  assignmentOperations { totalCount data {
    operationType triggeredBy formationAssignmentID formationID startedAtTimestamp finishedAtTimestamp
  } }
} } }
"""
EMPTY: Sequence[Any] = ("", {}, [], '""', None)
"""The ways to say that there is no configuration."""
ADAPTER = {
    "inputTemplate": '{"operation": "{{.Operation}}",'
    ' "theirs": {{if .ReverseAssignment.Value}}{{.ReverseAssignment.Value}}{{else}}null{{end}}}',
    "outputTemplate": '{"success_status_code": 200, "error": "{{.Body.error}}", "state": "{{.Body.state}}",'
    ' "config": "{{.Body.config}}"}',
}


def adapter(receiver: Any, name: str) -> dict[str, str]:
    """A webhook that is told what the other side is configured with, and may answer a configuration."""
    return {"urlTemplate": f'{{"method": "POST", "path": "{receiver.url(name)}"}}', **ADAPTER}


class Pair:
    """An application and a runtime in the group `g`, both with a webhook that calls back."""

    def __init__(self, director: Any, formation: str, app: str, cluster: str, of_app: str, of_cluster: str) -> None:
        self.director, self.formation, self.app, self.cluster = director, formation, app, cluster
        self.of_app, self.of_cluster = of_app, of_cluster
        """The assignments whose target they are."""
        self.reports = Reports(director.database)

    async def report(self, *, caller: Caller | None = None, assignment: str | None = None, **said: Any) -> None:
        """What the application says by default."""
        await self._send(self.reports.report, caller, assignment, said)

    async def reset(self, *, caller: Caller | None = None, assignment: str | None = None, **said: Any) -> None:
        await self._send(self.reports.reset, caller, assignment, said)

    async def _send(self, to: Any, caller: Caller | None, assignment: str | None, said: dict[str, Any]) -> None:
        path = {"ucl-formation-id": self.formation, "ucl-assignment-id": assignment or self.of_app}
        await to(caller or self.director.application(self.app), path, orjson.dumps(said))

    async def report_of_cluster(self, **said: Any) -> None:
        await self.report(caller=self.director.runtime(self.cluster), assignment=self.of_cluster, **said)

    async def refused(self, kind: type[CompassError], to: Callable[..., Awaitable[None]], **said: Any) -> str:
        """The text of the refusal, after which nothing is different and nothing was announced."""
        before = await self.director.state()
        with pytest.raises(kind) as refusal:
            await to(**said)
        assert await self.director.state() == before
        return refusal.value.wire_text()

    async def row(self, assignment: str | None = None) -> dict[str, Any] | None:
        data = await self.director.data(STATUS, name="g")
        rows = {row["id"]: row for row in data["formationByName"]["formationAssignments"]["data"]}
        return rows.get(assignment or self.of_app)

    async def state(self, assignment: str | None = None) -> str | None:
        row = await self.row(assignment)
        return None if row is None else str(row["state"])

    async def operations(self) -> list[tuple[str, str, bool]]:
        """Of the application's assignment: type, trigger, whether it is finished."""
        data = await self.director.data(OPERATIONS, name="g", id=self.of_app)
        rows = data["formationByName"]["formationAssignment"]["assignmentOperations"]["data"]
        assert all(row["formationAssignmentID"] == self.of_app for row in rows)
        assert all(row["formationID"] == self.formation for row in rows)
        assert all(row["startedAtTimestamp"] for row in rows)
        return [(row["operationType"], row["triggeredBy"], row["finishedAtTimestamp"] is not None) for row in rows]


async def paired(director: Any, *, app: str, cluster: str) -> Pair:
    data = (await director.data(STATUS, name="g"))["formationByName"]
    ids = {(row["source"], row["target"]): row["id"] for row in data["formationAssignments"]["data"]}
    return Pair(director, data["id"], app, cluster, ids[cluster, app], ids[app, cluster])


@pytest.fixture
async def pair(director: Any) -> Pair:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, URL, application=app, mode="ASYNC_CALLBACK")
    await webhook(director, URL, runtime=cluster, mode="ASYNC_CALLBACK")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await relayed(director)
    return await paired(director, app=app, cluster=cluster)


# Which states


@pytest.mark.parametrize(
    ("said", "state", "value"),
    [
        ({"state": "READY"}, "READY", None),
        ({"state": "CREATE_READY", "configuration": {"a": 1}}, "READY", '{"a":1}'),
        ({"state": "READY", "configuration": "text"}, "READY", '"text"'),
        ({"state": "CONFIG_PENDING"}, "CONFIG_PENDING", None),
        ({"state": "CONFIG_PENDING", "configuration": [1]}, "CONFIG_PENDING", "[1]"),
        ({"state": "CREATE_ERROR", "error": "no \0"}, "CREATE_ERROR", '{"error":{"message":"no �","errorCode":2}}'),
        (
            {"state": "CREATE_ERROR"},
            "CREATE_ERROR",
            '{"error":{"message":"the participant reported CREATE_ERROR","errorCode":2}}',
        ),
        *[({"state": "READY", "configuration": empty}, "READY", None) for empty in EMPTY],
    ],
)
async def test_what_is_reported_of_a_beginning_is_the_state(
    pair: Pair, said: dict[str, Any], state: str, value: str | None
) -> None:
    await pair.report(**said)

    row = await pair.row()
    assert row is not None
    assert (row["state"], row["value"]) == (state, value)
    assert await pair.operations() == [("ASSIGN", "ASSIGN_OBJECT", state == "READY")]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"state": "READY"}, None),
        ({"state": "DELETE_READY"}, None),
        ({"state": "DELETE_ERROR", "error": "busy"}, "DELETE_ERROR"),
    ],
)
async def test_what_is_reported_of_an_end_ends_the_assignment_or_says_why_not(
    pair: Pair, said: dict[str, Any], state: str | None
) -> None:
    await unassign(pair.director, "g", application=pair.app)
    assert await pair.state() == "DELETING"

    await pair.report(**said)

    assert await pair.state() == state
    assert await pair.state(pair.of_cluster) == "DELETING"


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (False, "DELETE_READY"),
        (False, "DELETE_ERROR"),
        (False, "INITIAL"),
        (False, "DELETING"),
        (False, "x"),
        (True, "CREATE_READY"),
        (True, "CREATE_ERROR"),
        (True, "CONFIG_PENDING"),
    ],
)
async def test_a_state_that_does_not_go_with_the_operation_is_refused(pair: Pair, ending: bool, state: str) -> None:
    if ending:
        await unassign(pair.director, "g", application=pair.app)

    text = await pair.refused(InvalidOperation, pair.report, state=state)

    operation = "UNASSIGN" if ending else "ASSIGN"
    assert text.endswith(f"[reason=the state {state} does not go with the operation {operation}]")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON"),
        (b'{"state": "READY"} {}', "the body is not JSON"),
        (b'{"state": "\xff"}', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "the body must be one JSON object"),
        (b"null", "the body must be one JSON object"),
        (b'{"state": "READY", "more": 1}', "the body has the unknown field 'more'"),
        (b'{"state": 1}', "state must be a text"),
        (b'{"state": "CREATE_ERROR", "error": {"message": "x"}}', "error must be a text"),
        (b'{"state": "READY", "error": "x"}', "an error goes with the states CREATE_ERROR and DELETE_ERROR only"),
        (b'{"error": "x"}', "an error goes with the states CREATE_ERROR and DELETE_ERROR only"),
        (
            b'{"state": "CREATE_ERROR", "configuration": {"a": 1}}',
            "a configuration does not go with the state CREATE_ERROR",
        ),
    ],
)
def test_a_body_that_is_no_report_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidData) as refusal:
        Report.read(body)

    assert refusal.value.facts == {"reason": reason}


async def test_the_state_may_be_left_out_by_an_administrator_only(pair: Pair) -> None:
    text = await pair.refused(InvalidData, pair.report, configuration={"a": 1})
    assert text == "Invalid data [reason=the state is missing]"

    await pair.report(caller=pair.director.caller, configuration={"a": 1})

    row = await pair.row()
    assert row is not None
    assert (row["state"], row["configuration"]) == ("INITIAL", '{"a":1}')
    await pair.refused(InvalidData, pair.report, caller=pair.director.caller)

    broker = replace(pair.director.caller, consumer=Consumer.BUSINESS_INTEGRATION, consumer_id="b")
    await pair.report(caller=broker, configuration={"a": 2})
    row = await pair.row()
    assert row is not None
    assert row["configuration"] == '{"a":2}'
    await pair.refused(
        InvalidData, pair.report, caller=replace(broker, consumer=Consumer.SUPER_ADMIN), configuration={"a": 3}
    )


# Who


async def test_only_the_target_its_manager_and_the_administrator_may_report(pair: Pair) -> None:
    director = pair.director
    other = await application(director, "other")
    system = 'mutation { result: registerIntegrationSystem(in: {name: "s"}) { id } }'
    manager, stranger = [(await director.data(system.replace('"s"', f'"{name}"')))["result"]["id"] for name in "mn"]
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test.manage\nUPDATE application SET integration_system_id = %(m)s WHERE id = %(a)s",
            m=manager,
            a=pair.app,
        )
    managing = replace(director.caller, consumer=Consumer.INTEGRATION_SYSTEM, consumer_id=manager)
    beside = replace(managing, tenant=None, external_tenant=None)
    weak = replace(director.caller, scopes=frozenset({"formation:read"}))
    nowhere = replace(
        director.caller,
        tenant=None,
        external_tenant=None,
        scopes=frozenset({"formation:write", "formation:global_write"}),
    )
    not_global = replace(nowhere, scopes=frozenset({"formation:write"}))

    for caller, kind in (
        (director.runtime(pair.cluster), Unauthorized),
        (director.application(other), Unauthorized),
        (replace(managing, consumer_id=stranger), Unauthorized),
        (replace(beside, consumer_id=stranger), NotFound),
        (replace(managing, scopes=frozenset()), Unauthorized),
        (weak, Unauthorized),
        (replace(weak, consumer=Consumer.FORMATION_VIEWER), Unauthorized),
        (replace(director.other, consumer=Consumer.SUPER_ADMIN), NotFound),
        (not_global, NotFound),
        (director.other, NotFound),
        (director.application(other, director.other), NotFound),
    ):
        await pair.refused(kind, pair.report, caller=caller, state="READY")
    for number, caller in enumerate((managing, beside, director.caller, nowhere, director.application(pair.app))):
        await pair.report(caller=caller, state="READY", configuration={"n": number})
        row = await pair.row()
        assert row is not None
        assert row["configuration"] == f'{{"n":{number}}}'


@pytest.mark.parametrize("id_", [NOBODY, "no-uuid"])
async def test_an_assignment_that_is_not_there_is_not_found(pair: Pair, id_: str) -> None:
    assert await pair.refused(NotFound, pair.report, assignment=id_, state="READY") == (
        "Object not found [object=formationAssignment]"
    )
    pair.formation = id_
    await pair.refused(NotFound, pair.report, state="READY")


# Twice, late, in any order

FIVE: Sequence[dict[str, Any]] = (
    {"state": "CONFIG_PENDING"},
    {"state": "CONFIG_PENDING", "configuration": {"half": True}},
    {"state": "CREATE_ERROR", "error": "not yet"},
    {"state": "CREATE_READY", "configuration": {"url": "https://a.example"}},
    {"state": "READY", "configuration": {"url": "https://a.example"}},
)


async def test_every_order_of_five_reports_and_their_duplicates_ends_in_the_same_state(pair: Pair) -> None:
    caller = pair.director.application(pair.app)
    given = [Report.read(orjson.dumps(said)) for said in FIVE]
    outcomes = set()
    for order in permutations(given):
        for sent in ((*order, *order), (*order, *reversed(order)), tuple(each for each in order for _ in "12")):
            async with pair.director.database.transaction() as tx:
                await formation_assignment.reset(tx, FormationId(pair.formation))
                for said in sent:
                    await assignment_status.report(tx, caller, pair.formation, pair.of_app, said)
                row = await tx.row(
                    "-- test.row\nSELECT state, configuration, error FROM formation_assignment WHERE id = %(id)s",
                    id=pair.of_app,
                )
            outcomes.add(tuple(row))

    assert outcomes == {("READY", '{"url":"https://a.example"}', None)}


async def test_every_order_of_reports_about_an_end_ends_it(pair: Pair) -> None:
    given: Sequence[dict[str, Any]] = (
        {"state": "DELETE_ERROR", "error": "a"},
        {"state": "DELETE_ERROR", "error": "b"},
        {"state": "DELETE_READY"},
    )
    for order in permutations(given):
        await unassign(pair.director, "g", application=pair.app)
        for said in (*order, *order):
            with suppress(NotFound):
                await pair.report(**said)
        assert await pair.state() is None
        await assign(pair.director, "g", application=pair.app)
        pair = await again(pair)


async def again(pair: Pair) -> Pair:
    return await paired(pair.director, app=pair.app, cluster=pair.cluster)


async def test_a_late_report_is_recorded_and_changes_nothing(pair: Pair, announced: Announced) -> None:
    await pair.report(state="READY", configuration={"a": 1})
    before, told = await pair.row(), await announced()

    for _ in range(3):
        await pair.report(state="CREATE_ERROR", error="late")
        await pair.report(state="CONFIG_PENDING", configuration={"b": 1})

    assert await pair.row() == before
    assert await announced() == told
    async with pair.director.database.transaction() as tx:
        rows = await tx.rows("-- test.reports\nSELECT state, applied FROM assignment_report ORDER BY id")
    assert [tuple(row) for row in rows] == [("READY", True), ("CREATE_ERROR", False), ("CONFIG_PENDING", False)]


async def test_the_same_report_twice_is_told_to_the_other_side_once(pair: Pair, announced: Announced) -> None:
    for _ in range(3):
        await pair.report(state="CONFIG_PENDING", configuration={"a": 1})

    assert (await announced()).count("ConfigurationReceived") == 1


async def test_reports_that_come_at_once_end_in_the_same_state_as_one_after_the_other(
    pair: Pair, announced: Announced
) -> None:
    await asyncio.gather(*(pair.report(**said) for said in (*FIVE, *reversed(FIVE), *FIVE)))

    row = await pair.row()
    assert row is not None
    assert (row["state"], row["value"]) == ("READY", '{"url":"https://a.example"}')
    assert (await announced()).count("ConfigurationReceived") <= 2


async def test_of_a_flood_of_reports_a_bounded_number_is_kept(pair: Pair) -> None:
    for number in range(130):
        await pair.report(state="CREATE_ERROR", error=str(number))

    async with pair.director.database.transaction() as tx:
        assert await tx.value("-- test.count\nSELECT count(*) FROM assignment_report") == 100


async def test_a_new_notification_begins_a_new_attempt(pair: Pair) -> None:
    await pair.report(state="CREATE_ERROR", error="no")
    await pair.director.data(RESYNCHRONIZE, id=pair.formation)
    await relayed(pair.director)

    await pair.report(state="CONFIG_PENDING")
    assert await pair.state() == "CONFIG_PENDING"
    await pair.report(state="CREATE_ERROR", error="no")
    assert await pair.state() == "CREATE_ERROR"


async def test_what_is_reported_while_the_call_fails_stands(director: Any) -> None:
    pair: Pair | None = None

    async def reports_and_hangs_up(_call: Call) -> bytes:
        nonlocal pair
        if pair is None:
            pair = await paired(director, app=app, cluster=cluster)
            await pair.report(state="CONFIG_PENDING")
            return b""
        return answer(202)

    async with receiving(reports_and_hangs_up) as receiver, working(director, relaying=False):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, receiver.url(), application=app, mode="ASYNC_CALLBACK")
        await group(director, "g", applications=[app], runtimes=[cluster])
        await relayed(director)
        await idle(director)

    assert pair is not None
    assert await pair.state() == "CONFIG_PENDING"
    assert len(receiver.calls) == 2


# Calls that are answered later


async def test_an_accepted_call_leaves_the_assignment_waiting_and_can_be_made_again(director: Any) -> None:
    async def accepts(_call: Call) -> bytes:
        return answer(202)

    async with receiving(accepts) as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, receiver.url(), application=app, mode="ASYNC_CALLBACK")
        formation = await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        pair = await paired(director, app=app, cluster=cluster)
        assert (await pair.state(), await condition(director, "g")) == ("INITIAL", "IN_PROGRESS")
        told = orjson.loads(receiver.calls[0].body)["data"]
        assert told["formationAssignment"] == {"id": pair.of_app}
        assert told["formation"]["id"] == formation

        await director.data(RESYNCHRONIZE, id=formation)
        await idle(director)
        assert len(receiver.calls) == 2
        assert await pair.operations() == [("ASSIGN", "RESYNC", False)]

        await pair.report(state="CONFIG_PENDING")
        await director.data(RESYNCHRONIZE, id=formation)
        await idle(director)
        assert len(receiver.calls) == 2  # whoever waits for a configuration knows already

        await pair.report(state="READY")
        assert await condition(director, "g") == "READY"
        await unassign(director, "g", application=app)
        await idle(director)
        assert (await pair.state(), len(receiver.calls)) == ("DELETING", 3)
        assert (await pair.operations())[-1] == ("UNASSIGN", "UNASSIGN_OBJECT", False)
        await director.data(RESYNCHRONIZE, id=formation)
        await idle(director)
        assert len(receiver.calls) == 4
        await pair.report(state="DELETE_READY")

    assert await states(director, "g") == []


async def test_an_end_is_reported_while_the_receiver_hangs(director: Any) -> None:
    async with receiving() as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, receiver.url(), application=app, mode="ASYNC_CALLBACK")
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        pair = await paired(director, app=app, cluster=cluster)
        receiver.behaviour = hangs
        await unassign(director, "g", runtime=cluster)
        await receiver.has(2)
        await pair.report(state="DELETE_ERROR", error="busy")
        assert await pair.state() == "DELETE_ERROR"
        await pair.report(state="DELETE_READY")

    assert await states(director, "g") == []


# Configurations


class Sides:
    """Both receivers: what each is told, and what each answers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.answers: dict[str, Callable[[Any], dict[str, Any]]] = {"/app": lambda _: {}, "/cluster": lambda _: {}}

    async def __call__(self, call: Call) -> bytes:
        theirs = orjson.loads(call.body)["theirs"]
        self.told.append((call.path, theirs))
        return answer(200, orjson.dumps(self.answers[call.path](theirs)))


async def exchanging(director: Any, receiver: Any, **more: str) -> Pair:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, None, application=app, **adapter(receiver, "/app"), **more)
    await webhook(director, None, runtime=cluster, **adapter(receiver, "/cluster"), **more)
    await group(director, "g", applications=[app], runtimes=[cluster])
    return await paired(director, app=app, cluster=cluster)


async def test_configurations_in_answers_go_back_and_forth_until_both_are_ready(director: Any) -> None:
    sides = Sides()
    sides.answers["/app"] = lambda theirs: (
        {"state": "READY", "config": {"app": 2}} if theirs else {"state": "CONFIG_PENDING", "config": {"app": 1}}
    )
    sides.answers["/cluster"] = lambda theirs: (
        {"state": "READY", "config": {"cluster": theirs["app"]}} if theirs else {"state": "CONFIG_PENDING"}
    )
    async with receiving(sides) as receiver, working(director):
        pair = await exchanging(director, receiver)
        await idle(director)

    of_app, of_cluster = await pair.row(), await pair.row(pair.of_cluster)
    assert of_app is not None
    assert of_cluster is not None
    assert (of_app["state"], of_app["configuration"]) == ("READY", '{"app":2}')
    assert (of_cluster["state"], of_cluster["configuration"]) == ("READY", '{"cluster":2}')
    assert await condition(director, "g") == "READY"
    assert ("/cluster", {"app": 1}) in sides.told
    assert ("/app", {"cluster": 2}) in sides.told


async def test_two_that_never_agree_are_told_of_ten_configurations_in_a_row_and_no_more(director: Any) -> None:
    sides = Sides()
    sides.answers["/app"] = lambda theirs: {"config": {"n": theirs["n"] + 1}} if theirs else {"config": {"n": 1}}
    sides.answers["/cluster"] = lambda theirs: {"config": {"n": theirs["n"] + 1}} if theirs else {}
    async with receiving(sides) as receiver, working(director):
        await exchanging(director, receiver)
        await idle(director)

    assert len([told for told in sides.told if told[1] is not None]) <= 11
    assert max(theirs["n"] for _, theirs in sides.told if theirs) == 10
    assert await condition(director, "g") == "READY"


async def test_reported_configurations_are_told_to_the_other_side(director: Any) -> None:
    sides = Sides()
    async with receiving(sides) as receiver, working(director):
        pair = await exchanging(director, receiver, mode="ASYNC_CALLBACK")
        await idle(director)
        assert sorted(sides.told) == [("/app", None), ("/cluster", None)]
        sides.told.clear()

        await pair.report(state="CONFIG_PENDING", configuration={"app": 1})
        await idle(director)
        assert sides.told == [("/cluster", {"app": 1})]
        await pair.report_of_cluster(state="READY", configuration={"cluster": 1})
        await idle(director)
        assert sides.told[1:] == [("/app", {"cluster": 1})]
        await pair.report(state="READY")
        await idle(director)

    assert len(sides.told) == 2
    row = await pair.row()
    assert row is not None
    assert (row["state"], row["configuration"]) == ("READY", '{"app":1}')
    assert await condition(director, "g") == "READY"


async def test_one_that_was_ready_is_not_while_it_has_a_new_configuration_to_take(director: Any) -> None:
    sides = Sides()
    async with receiving(sides) as receiver, working(director):
        pair = await exchanging(director, receiver, mode="ASYNC_CALLBACK")
        await idle(director)
        await pair.report_of_cluster(state="READY")
        await pair.report(state="READY", configuration={"app": 1})
        await idle(director)
        assert (await pair.state(), await pair.state(pair.of_cluster)) == ("READY", "INITIAL")
        await pair.report_of_cluster(state="READY")

    assert await condition(director, "g") == "READY"


async def test_a_configuration_for_one_that_left_is_told_to_nobody(pair: Pair) -> None:
    await pair.report(state="READY", configuration={"a": 1})
    before = len(await deliveries(pair.director))
    await unassign(pair.director, "g", runtime=pair.cluster)
    await relayed(pair.director)

    assert [d["operation"] for d in await deliveries(pair.director)][:-before] == ["unassign", "unassign"]


# Beginning anew


async def test_a_reset_configures_anew_what_both_sides_were_done_with(pair: Pair, announced: Announced) -> None:
    await pair.report(state="READY")
    text = await pair.refused(InvalidOperation, pair.reset, state="READY", configuration={"a": 1})
    assert text.endswith("[reason=only an assignment that is READY in both directions can be reset]")
    await pair.report_of_cluster(state="READY")
    for said in ({"state": "READY"}, {"state": "CREATE_ERROR", "error": "x"}, {"configuration": {"a": 1}}):
        await pair.refused(InvalidData, pair.reset, **said)
    await pair.refused(
        Unauthorized,
        pair.reset,
        caller=pair.director.runtime(pair.cluster),
        state="READY",
        configuration={"a": 1},
    )

    await pair.reset(state="CONFIG_PENDING", configuration={"a": 1})

    assert (await pair.state(), await pair.state(pair.of_cluster)) == ("CONFIG_PENDING", "INITIAL")
    assert (await announced())[-1] == "ConfigurationReceived"
    assert await pair.operations() == [("ASSIGN", "ASSIGN_OBJECT", True), ("ASSIGN", "RESET", False)]
    await relayed(pair.director)
    await pair.report_of_cluster(state="READY")
    await pair.report(state="READY")
    assert await condition(pair.director, "g") == "READY"
    assert await pair.operations() == [("ASSIGN", "ASSIGN_OBJECT", True), ("ASSIGN", "RESET", True)]


async def test_a_reset_towards_one_without_a_webhook_settles_by_itself(director: Any) -> None:
    apps = [await application(director, name) for name in ("one", "two")]
    await group(director, "g", applications=apps)
    pair = await paired(director, app=apps[0], cluster=apps[1])

    await pair.reset(state="READY", configuration={"a": 1})
    assert await pair.state(pair.of_cluster) == "INITIAL"
    await relayed(director)

    assert await condition(director, "g") == "READY"


async def test_resetting_a_group_begins_every_assignment_anew_where_the_template_lets_it(pair: Pair) -> None:
    await pair.report(state="READY", configuration={"a": 1})
    async with pair.director.database.transaction() as tx:
        await tx.run("-- test.reset\nUPDATE formation_template SET supports_reset = true")

    await pair.director.data(RESYNCHRONIZE, id=pair.formation, reset=True)

    row = await pair.row()
    assert row is not None
    assert (row["state"], row["configuration"]) == ("INITIAL", None)
    assert await pair.operations() == [("ASSIGN", "ASSIGN_OBJECT", True), ("ASSIGN", "RESET", False)]


# Drafts


async def test_in_a_draft_nobody_is_told_before_it_is_finalized(director: Any) -> None:
    async with receiving() as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, receiver.url(), application=app)
        data = await director.data(CREATE_FORMATION, **{"in": {"name": "g", "state": "DRAFT"}})
        draft = data["result"]["id"]
        await assign(director, "g", application=app)
        assert (await assign(director, "g", runtime=cluster))["state"] == "DRAFT"
        await idle(director)
        assert await condition(director, "g") == "DRAFT"
        assert {state for _, _, state in await states(director, "g")} == {"INITIAL"}
        assert (await labels(director, app))["scenarios"] == ["g"]
        async with director.database.transaction() as tx:
            await runtime_noun.connect(tx, RuntimeId(cluster))
        await idle(director)
        assert receiver.calls == []
        pair = await paired(director, app=app, cluster=cluster)
        text = await pair.refused(InvalidOperation, pair.report, state="READY")
        assert text.endswith("[reason=the formation is in state DRAFT, it must be READY]")
        error = await director.refusal(RESYNCHRONIZE, id=draft)
        assert f'formation with ID "{draft}" is in state DRAFT; finalize it first' in error["message"]

        assert await director.data(FINALIZE, id=draft) == {"result": {"id": draft, "state": "READY"}}
        await idle(director)

    assert len(receiver.calls) == 1
    assert await condition(director, "g") == "READY"
    error = await director.refusal(FINALIZE, id=draft)
    assert f'formation with ID "{draft}" is in state READY; only a DRAFT can be finalized' in error["message"]
    for caller, id_ in ((director.other, draft), (director.caller, NOBODY)):
        error = await director.refusal(FINALIZE, caller=caller, id=id_)
        assert error["message"] == "Object not found [object=formations]"


async def test_one_that_leaves_a_draft_is_gone_without_a_word(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, URL, application=app)
    await director.data(CREATE_FORMATION, **{"in": {"name": "g", "state": "DRAFT"}})
    await assign(director, "g", application=app)
    await assign(director, "g", runtime=cluster)

    await unassign(director, "g", application=app)
    await relayed(director)

    assert await states(director, "g") == []
    assert await deliveries(director) == []
    await unassign(director, "g", runtime=cluster)
    gone = await director.data(
        DELETE_FORMATION.replace("id name", "state status { condition }"), **{"in": {"name": "g"}}
    )
    assert gone["result"] == {"state": "DRAFT", "status": {"condition": "DRAFT"}}


# Of any tenant


async def test_an_object_can_be_taken_out_of_a_group_of_any_tenant(pair: Pair) -> None:
    director = pair.director
    everywhere = replace(director.other, scopes=director.other.scopes | {"formation:global_write"})
    given = {"id": pair.app, "type": "APPLICATION", "group": pair.formation}

    error = await director.refusal(UNASSIGN_GLOBAL, **given)
    assert error["extensions"]["error_code"] == 23
    for wrong, message in (
        ({"group": NOBODY}, "Object not found [object=formations]"),
        ({"id": NOBODY}, "Object not found [object=application]"),
    ):
        error = await director.refusal(UNASSIGN_GLOBAL, caller=everywhere, **(given | wrong))
        assert error["message"] == message

    await director.data(UNASSIGN_GLOBAL, caller=everywhere, **given)

    assert "scenarios" not in await labels(director, pair.app)
    assert await pair.state() == "DELETING"
    await director.data(UNASSIGN_GLOBAL, caller=everywhere, **given)
    assert await director.data(UNASSIGN, id=pair.app, type="APPLICATION", group="g")
