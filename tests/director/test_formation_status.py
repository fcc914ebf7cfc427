"""Leading products that report about groups: twice, late, in any order, and about what is not theirs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import permutations
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller, Consumer
from compass.director.formation_status import Report, Reports
from compass.errors import CompassError, InvalidData, InvalidOperation, NotFound, Unauthorized
from tests.delivery.receiver import Call, answer, receiving
from tests.director.catalogue import counted
from tests.director.groups import (
    Announced,
    application,
    assign,
    deliveries,
    idle,
    relayed,
    runtime,
    states,
    webhook,
    working,
)

URL = "https://receiver.example"
NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
PRODUCT = "leading-product"
CREATE_TEMPLATE = "mutation ($in: FormationTemplateRegisterInput!) { result: createFormationTemplate(in: $in) { id } }"
CREATE = """
mutation ($state: String) {
  result: createFormation(formation: {name: "g", templateName: "led", state: $state}) { id state }
}
"""
DELETE = 'mutation { result: deleteFormation(formation: {name: "g"}) { state } }'
RESYNCHRONIZE = "mutation ($id: ID!) { resynchronizeFormationNotifications(formationID: $id) { id } }"
SHOWN = """
query { formationByName(name: "g") { state error { message errorCode } lastStateChangeTimestamp } }
"""


class Led:
    """The group `g` of the template `led`, whose leading product is PRODUCT and which has one webhook."""

    def __init__(self, director: Any, formation: str) -> None:
        self.director, self.formation = director, formation
        self.product = replace(
            director.other, consumer=Consumer.INTEGRATION_SYSTEM, consumer_id=PRODUCT, scopes=frozenset()
        )
        """Of another tenant, and without any scope."""
        self.reports = Reports(director.database)

    async def report(self, *, caller: Caller | None = None, formation: str | None = None, **said: Any) -> None:
        path = {"ucl-formation-id": formation or self.formation}
        await self.reports.report(caller or self.product, path, orjson.dumps(said))

    async def refused(self, kind: type[CompassError], **said: Any) -> str:
        """The text of the refusal, after which nothing is different and nothing was announced."""
        before = await self.director.state()
        with pytest.raises(kind) as refusal:
            await self.report(**said)
        assert await self.director.state() == before
        return refusal.value.wire_text()

    async def shown(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = ((await self.director(SHOWN))["data"] or {}).get("formationByName")
        return found

    async def outcome(self) -> tuple[str, str, int] | None:
        """State, message and code; None when the group is gone."""
        shown = await self.shown()
        return None if shown is None else (shown["state"], shown["error"]["message"], shown["error"]["errorCode"])

    async def delete(self) -> None:
        await self.director.data(DELETE)


async def led(director: Any, *, url: str = URL, state: str | None = None) -> Led:
    hook = {"type": "FORMATION_LIFECYCLE", "url": url, "mode": "ASYNC_CALLBACK"}
    given = {
        "name": "led",
        "applicationTypes": ["ANY"],
        "runtimeTypes": ["ANY"],
        "runtimeTypeDisplayName": "Runtime",
        "runtimeArtifactKind": "SUBSCRIPTION",
        "leadingProductIDs": ["another", PRODUCT],
        "webhooks": [hook],
    }
    await director.data(CREATE_TEMPLATE, **{"in": given})
    return await begun(director, state=state)


async def begun(director: Any, *, state: str | None = None) -> Led:
    data = await director.data(CREATE, state=state)
    return Led(director, data["result"]["id"])


async def records(director: Any) -> Sequence[tuple[str, bool]]:
    async with director.database.transaction() as tx:
        rows = await tx.rows("-- test.reports\nSELECT state, applied FROM formation_report ORDER BY id")
    return [tuple(row) for row in rows]


async def changed(director: Any) -> datetime:
    """When the state of the group changed last."""
    async with director.database.transaction() as tx:
        at: datetime = await tx.value("-- test.changed\nSELECT last_state_change_timestamp FROM formation")
    return at


# Which states


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ({"state": "READY"}, ("READY", "", 0)),
        ({"state": "READY", "error": ""}, ("READY", "", 0)),
        ({"state": "READY", "error": None}, ("READY", "", 0)),
        ({"state": "CREATE_ERROR", "error": "no \0"}, ("CREATE_ERROR", "no �", 2)),
        ({"state": "CREATE_ERROR"}, ("CREATE_ERROR", "the leading product reported CREATE_ERROR", 2)),
    ],
)
async def test_what_is_reported_of_a_beginning_is_the_state(
    director: Any, announced: Announced, said: dict[str, Any], outcome: tuple[str, str, int]
) -> None:
    group = await led(director)
    before = await changed(director)

    await group.report(**said)

    assert await group.outcome() == outcome
    assert await changed(director) > before
    assert (await announced()).count("FormationResynchronized") == (outcome[0] == "READY")
    assert await records(director) == [(said["state"], True)]


@pytest.mark.parametrize(
    ("said", "outcome", "events"),
    [
        ({"state": "READY"}, None, ["FormationDeleted"]),
        ({"state": "DELETE_ERROR", "error": "busy"}, ("DELETE_ERROR", "busy", 2), []),
        ({"state": "DELETE_ERROR"}, ("DELETE_ERROR", "the leading product reported DELETE_ERROR", 2), []),
    ],
)
async def test_what_is_reported_of_an_end_ends_the_group_or_says_why_not(
    director: Any, announced: Announced, said: dict[str, Any], outcome: tuple[str, str, int] | None, events: list[str]
) -> None:
    group = await led(director)
    await group.report(state="READY")
    await group.delete()
    before = len(await announced())

    await group.report(**said)

    assert await group.outcome() == outcome
    assert (await announced())[before:] == events


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (False, "DELETE_ERROR"),
        (False, "CREATE_READY"),
        (False, "CONFIG_PENDING"),
        (False, "INITIAL"),
        (False, "DRAFT"),
        (False, "x" * 1000),
        (True, "CREATE_ERROR"),
        (True, "DELETE_READY"),
        (True, "DELETING"),
    ],
)
async def test_a_state_that_does_not_go_with_the_operation_is_refused(director: Any, ending: bool, state: str) -> None:
    group = await led(director)
    if ending:
        await group.delete()

    text = await group.refused(InvalidOperation, state=state)

    operation = "deleteFormation" if ending else "createFormation"
    assert text.endswith(f"[reason=the state {state[:100]} does not go with the operation {operation}]")


async def test_about_a_draft_there_is_nothing_to_report(director: Any) -> None:
    group = await led(director, state="DRAFT")

    text = await group.refused(InvalidOperation, state="READY")

    assert text.endswith("[reason=the formation is in state DRAFT, of which nobody was told yet]")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON"),
        (b'{"state": "READY"} {}', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "the body must be one JSON object"),
        (b"null", "the body must be one JSON object"),
        (b"{}", "the state is missing"),
        (b'{"state": ""}', "the state is missing"),
        (b'{"error": "x"}', "the state is missing"),
        (b'{"state": "READY", "configuration": {}}', "the body has the unknown field 'configuration'"),
        (b'{"state": 1}', "state must be a text"),
        (b'{"state": "CREATE_ERROR", "error": {"message": "x"}}', "error must be a text"),
        (b'{"state": "READY", "error": "x"}', "an error goes with the states CREATE_ERROR and DELETE_ERROR only"),
    ],
)
def test_a_body_that_is_no_report_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidData) as refusal:
        Report.read(body)

    assert refusal.value.facts == {"reason": reason}


# Who


async def test_only_a_leading_product_of_the_template_may_report(director: Any) -> None:
    group = await led(director)
    app = await application(director, "one")
    await assign(director, "g", application=app)
    everywhere = replace(
        director.caller,
        tenant=None,
        external_tenant=None,
        scopes=director.caller.scopes | {"formation:global_write"},
    )

    for caller, kind in (
        (director.caller, Unauthorized),
        (director.application(app), Unauthorized),
        (replace(group.product, consumer_id="leading"), NotFound),
        (replace(group.product, consumer_id=""), NotFound),
        (replace(group.product, consumer_id="other", tenant=director.caller.tenant), Unauthorized),
        (director.other, NotFound),
        (everywhere, NotFound),
    ):
        await group.refused(kind, caller=caller, state="READY")
    named = replace(director.caller, consumer_id="another")
    await group.report(caller=named, state="CREATE_ERROR")
    await group.report(caller=replace(group.product, tenant=None, external_tenant=None), state="READY")

    assert await group.outcome() == ("READY", "", 0)


async def test_a_template_without_leading_products_has_nobody_who_may_report(director: Any) -> None:
    data = await director.data('mutation { result: createFormation(formation: {name: "g"}) { id } }')
    group = Led(director, data["result"]["id"])

    await group.refused(NotFound, state="READY")
    await group.refused(Unauthorized, caller=director.caller, state="READY")


@pytest.mark.parametrize("id_", [NOBODY, "no-uuid", ""])
async def test_a_group_that_is_not_there_is_not_found(director: Any, id_: str) -> None:
    group = await led(director)
    group.formation = id_

    assert await group.refused(NotFound, state="READY") == "Object not found [object=formations]"


# Twice, late, in any order

SAID: Sequence[Mapping[str, Any]] = (
    {"state": "CREATE_ERROR", "error": "a"},
    {"state": "CREATE_ERROR", "error": "b"},
    {"state": "CREATE_ERROR"},
    {"state": "READY"},
)


async def test_every_order_of_reports_and_their_duplicates_ends_in_the_same_state(
    director: Any, announced: Announced
) -> None:
    group = await led(director)
    for number, order in enumerate(permutations(SAID)):
        for said in (*order, *reversed(order)):
            await group.report(**said)
        assert await group.outcome() == ("READY", "", 0)
        assert (await announced()).count("FormationResynchronized") == number + 1
        async with director.database.transaction() as tx:
            await tx.run("-- test.gone\nDELETE FROM formation")
        group = await begun(director)


async def test_every_order_of_reports_about_an_end_ends_it_once(director: Any, announced: Announced) -> None:
    group = await led(director)
    given: Sequence[Mapping[str, Any]] = (
        {"state": "DELETE_ERROR", "error": "a"},
        {"state": "DELETE_ERROR"},
        {"state": "READY"},
    )
    for number, order in enumerate(permutations(given)):
        await group.delete()
        for said in (*order, *order):
            try:
                await group.report(**said)
            except NotFound:
                assert await group.outcome() is None
        assert await group.outcome() is None
        assert (await announced()).count("FormationDeleted") == number + 1
        group = await begun(director)


async def test_a_late_report_is_recorded_and_changes_nothing(director: Any, announced: Announced) -> None:
    group = await led(director)
    await group.report(state="READY")
    before, events = await group.shown(), await announced()

    for _ in range(3):
        await group.report(state="CREATE_ERROR", error="late")
        await group.report(state="READY")

    assert (await group.shown(), await announced()) == (before, events)
    assert await records(director) == [("READY", True), ("CREATE_ERROR", False)]


async def test_an_error_that_is_repeated_does_not_come_back_over_a_later_one(director: Any) -> None:
    group = await led(director)

    for error in ("a", "b", "a"):
        await group.report(state="CREATE_ERROR", error=error)

    assert await group.outcome() == ("CREATE_ERROR", "b", 2)


async def test_what_is_told_anew_may_fail_of_the_same_again(director: Any) -> None:
    async with receiving() as receiver, working(director):
        group = await led(director, url=receiver.url())
        await idle(director)
        await group.report(state="CREATE_ERROR", error="a")
        await director.data(RESYNCHRONIZE, id=group.formation)
        await idle(director)
        assert await group.outcome() == ("INITIAL", "", 0) or len(receiver.calls) == 2
        await group.report(state="CREATE_ERROR", error="a")

    assert await group.outcome() == ("CREATE_ERROR", "a", 2)


async def test_reports_that_come_at_once_end_in_the_same_state_as_one_after_the_other(
    director: Any, announced: Announced
) -> None:
    group = await led(director)

    await asyncio.gather(*(group.report(**said) for said in (*SAID, *reversed(SAID), *SAID)))

    assert await group.outcome() == ("READY", "", 0)
    assert (await announced()).count("FormationResynchronized") == 1


async def test_of_a_flood_of_reports_a_bounded_number_is_kept(director: Any) -> None:
    group = await led(director)
    for number in range(130):
        await group.report(state="CREATE_ERROR", error=str(number))

    assert len(await records(director)) == 100


async def test_a_report_costs_four_statements_whatever_the_size_of_the_group(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = await led(director)
    for number in range(5):
        await assign(director, "g", application=await application(director, f"app-{number}"))

    with counted(monkeypatch) as statements:
        await group.report(state="READY")

    assert len(statements) == 4


# With receivers


async def test_a_report_begins_the_group_and_has_its_participants_told(director: Any) -> None:
    async with receiving() as receiver, working(director):
        group = await led(director, url=receiver.url("/lifecycle"))
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, receiver.url("/app"), application=app)
        await assign(director, "g", application=app)
        await assign(director, "g", runtime=cluster)
        await idle(director)
        assert [call.path for call in receiver.calls] == ["/lifecycle"]
        await group.report(state="CREATE_ERROR", error="not yet")
        await idle(director)
        assert len(receiver.calls) == 1
        await group.report(state="READY")
        await idle(director)
        assert [call.path for call in receiver.calls] == ["/lifecycle", "/app"]

    assert {state for _, _, state in await states(director, "g")} == {"READY"}


async def test_what_is_reported_during_the_call_stands_whatever_becomes_of_the_call(director: Any) -> None:
    group: Led | None = None

    async def reports_first(call: Call) -> bytes:
        if len(receiver.calls) == 1:
            assert group is not None
            said = orjson.loads(call.body)["data"]
            assert said["formation"]["id"] == group.formation
            await group.report(state="READY")
            return b""
        return answer(410)

    async with receiving(reports_first) as receiver:
        group = await led(director, url=receiver.url())
        async with working(director):
            await idle(director)
            assert len(receiver.calls) == 2
            assert [d["state"] for d in await deliveries(director)] == ["DEAD"]
            assert await group.outcome() == ("READY", "", 0)
            receiver.calls.clear()
            await group.delete()
            await idle(director)

    assert await group.outcome() is None


async def test_a_report_decides_also_before_anybody_was_told(director: Any) -> None:
    group = await led(director)
    await group.report(state="READY")
    await relayed(director)
    assert await deliveries(director) == []
    await group.delete()
    await group.report(state="READY")
    await relayed(director)

    assert await group.outcome() is None
    assert await deliveries(director) == []
