"""The states of an assignment: what happens to it, and what it is then, driven through deliveries to a real receiver.

Each case is a row of a table: what one participant does or the receiver answers, step by step, and the state that the
pair is in after each step.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import pytest

from compass.access.caller import Caller
from compass.delivery.enqueue import Delivery
from compass.director.assignment_status import Reports
from compass.director.webhook_delivery import Calls
from compass.errors import InvalidOperation
from compass.outbound.door import Door, Response
from tests.delivery.receiver import Behaviour, Call, Receiver, answer, hangs, receiving
from tests.director.groups import (
    CREATE_FORMATION,
    LOOPBACK,
    STATUS,
    application,
    assign,
    context,
    deliveries,
    idle,
    relayed,
    runtime,
    unassign,
    until,
    webhook,
    working,
)

RESYNCHRONIZE = """
mutation ($id: ID!, $reset: Boolean) { resynchronizeFormationNotifications(formationID: $id, reset: $reset) { id } }
"""
DELETE_WEBHOOK = "mutation ($id: ID!) { deleteWebhook(webhookID: $id) { id } }"
FINALIZE = "mutation ($id: ID!) { finalizeDraftFormation(formationID: $id) { id } }"
OPERATIONS = """
query ($name: String!, $id: ID!) { formationByName(name: $name) { formationAssignment(id: $id) {
  assignmentOperations { data { operationType triggeredBy finishedAtTimestamp } }
} } }
"""
ADAPTER: Final = {
    "inputTemplate": '{"about": "{{.Assignment.Source}}", "to": "{{.Assignment.Target}}"}',
    "outputTemplate": '{"success_status_code": 200, "incomplete_status_code": 206, "gone_status_code": 404,'
    ' "error": "{{.Body.error}}", "state": "{{.Body.state}}", "config": "{{.Body.config}}"}',
}
TECHNICAL, CLIENT = 1, 2
FIRST, SECOND = "/hook", "/second"

# What a receiver does


def says(status: int = 200, **body: Any) -> Behaviour:
    async def behaviour(_call: Call) -> bytes:
        return answer(status, orjson.dumps(body))

    return behaviour


async def answers_too_late(_call: Call) -> bytes:
    await asyncio.sleep(0.9)  # the plane waits 0.6
    return answer(200, b"{}")


async def breaks_off(_call: Call) -> bytes:
    return b""


TAKES: Final = says()

# What happens


@dataclass(frozen=True)
class Report:
    """The target says by itself how far it is."""

    state: str
    refused: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


Deed = Callable[["Scene"], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """Something is done, the receiver answers in a certain way from now on, and the pair is in a state."""

    state: str | None
    """None: it is gone."""
    answers: Behaviour = TAKES
    do: Deed | Report | None = None
    error: int | None = None
    configuration: str | None = None
    keeps_trying: bool = False
    """The plane goes on calling: there is no end to wait for."""
    calls: int = 0
    """Look at it when so many calls about the pair have arrived since the beginning."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    steps: tuple[Step, ...]
    told: int
    """How many notifications about the pair were owed, however often they were tried."""
    mode: str = "SYNC"
    state: str = "READY"
    """Of the group when it is created."""


class Scene:
    """A group, a receiver, and the pair of which the target is told by it."""

    def __init__(self, director: Any, receiver: Receiver, case: Case, formation: str) -> None:
        self.director, self.receiver, self.case, self.formation = director, receiver, case, formation
        self.source = self.target = self.moves = ""
        self.stays: str | None = None
        self.kinds: dict[str, str] = {}
        self.caller: Caller = director.caller
        self.behaviour: Behaviour = TAKES
        self.at: dict[str, Behaviour] = {}
        """What a webhook of its own path does."""
        self.owner: dict[str, str] = {}
        receiver.behaviour = self._behave
        self.assignment = ""

    async def _behave(self, call: Call) -> bytes:
        return await (self.at.get(call.path, self.behaviour) if self._is_about_the_pair(call) else TAKES)(call)

    def _is_about_the_pair(self, call: Call) -> bool:
        read = orjson.loads(call.body)
        return (read["about"], read["to"]) == (self.source, self.target)

    def calls(self, path: str | None = None) -> list[Call]:
        found = [call for call in self.receiver.calls if self._is_about_the_pair(call)]
        return [call for call in found if path in (None, call.path)]

    def member(self, which: str) -> dict[str, str]:
        return {self.kinds[which]: which}

    async def hook(self, path: str = FIRST, *, mode: str | None = None, **owner: str) -> str:
        """Where the target is told."""
        url = f'{{"method": "POST", "path": "{self.receiver.url(path)}"}}'
        mapping = self.kinds[self.source] == self.kinds[self.target] == "application"
        self.owner = owner
        added = await webhook(
            self.director,
            None,
            type="APPLICATION_TENANT_MAPPING" if mapping else "CONFIGURATION_CHANGED",
            mode=mode or self.case.mode,
            urlTemplate=url,
            **ADAPTER,
            **owner,
        )
        return str(added["id"])

    async def row(self) -> dict[str, Any] | None:
        rows = (await self.director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
        found = [row for row in rows if (row["source"], row["target"]) == (self.source, self.target)]
        self.assignment = found[0]["id"] if found else self.assignment
        return found[0] if found else None

    async def is_in(self, step: Step) -> bool:
        row = await self.row()
        return (row and row["state"]) == step.state and len(self.calls()) >= step.calls

    async def report(self, report: Report) -> None:
        reports = Reports(self.director.database)
        path = {"ucl-formation-id": self.formation, "ucl-assignment-id": self.assignment}
        said = reports.report(self.caller, path, orjson.dumps({"state": report.state, **report.more}))
        if not report.refused:
            await said
            return
        with pytest.raises(InvalidOperation):
            await said


async def join(scene: Scene) -> None:
    await assign(scene.director, "g", **scene.member(scene.moves))


async def leave(scene: Scene) -> None:
    await unassign(scene.director, "g", **scene.member(scene.moves))


async def resynchronize(scene: Scene) -> None:
    await scene.director.data(RESYNCHRONIZE, id=scene.formation)


async def reset(scene: Scene) -> None:
    await scene.director.data(RESYNCHRONIZE, id=scene.formation, reset=True)


async def finalize(scene: Scene) -> None:
    await scene.director.data(FINALIZE, id=scene.formation)


# Who is told of whom


async def runtime_to_application(scene: Scene) -> None:
    scene.source, scene.target = await runtime(scene.director, "cluster"), await application(scene.director, "app")
    scene.kinds = {scene.source: "runtime", scene.target: "application"}
    scene.moves, scene.stays = scene.source, scene.target
    scene.caller = scene.director.application(scene.target)
    await scene.hook(application=scene.target)


async def application_to_runtime(scene: Scene) -> None:
    scene.source, scene.target = await application(scene.director, "app"), await runtime(scene.director, "cluster")
    scene.kinds = {scene.source: "application", scene.target: "runtime"}
    scene.moves, scene.stays = scene.target, scene.source
    scene.caller = scene.director.runtime(scene.target)
    await scene.hook(runtime=scene.target)


async def context_to_application(scene: Scene) -> None:
    cluster = await runtime(scene.director, "cluster")
    scene.source = await context(scene.director, cluster, "blue")
    scene.target = await application(scene.director, "app")
    scene.kinds = {scene.source: "context", scene.target: "application"}
    scene.moves, scene.stays = scene.target, scene.source
    scene.caller = scene.director.application(scene.target)
    await scene.hook(application=scene.target)


async def application_to_context(scene: Scene) -> None:
    cluster = await runtime(scene.director, "cluster")
    scene.source = await application(scene.director, "app")
    scene.target = await context(scene.director, cluster, "blue")
    scene.kinds = {scene.source: "application", scene.target: "context"}
    scene.moves, scene.stays = scene.target, scene.source
    scene.caller = scene.director.runtime(cluster)
    await scene.hook(runtime=cluster)


async def application_to_another(scene: Scene) -> None:
    scene.source, scene.target = [await application(scene.director, name) for name in ("one", "two")]
    scene.kinds = {scene.source: "application", scene.target: "application"}
    scene.moves, scene.stays = scene.source, scene.target
    scene.caller = scene.director.application(scene.target)
    await scene.hook(application=scene.target)


async def application_to_itself(scene: Scene) -> None:
    scene.source = scene.target = scene.moves = await application(scene.director, "one")
    scene.kinds = {scene.source: "application"}
    scene.caller = scene.director.application(scene.target)
    await scene.hook(application=scene.target)


# The table


TAKEN = Step("READY", do=join)
BEGINNINGS: Final = (
    Case("a beginning is taken", (TAKEN,), told=1),
    Case(
        "a beginning is taken with a configuration",
        (Step("READY", says(config={"a": 1}), join, configuration='{"a":1}'),),
        told=1,
    ),
    Case("READY is said of a beginning", (Step("READY", says(state="READY"), join),), told=1),
    Case("CREATE_READY is said of a beginning", (Step("READY", says(state="CREATE_READY"), join),), told=1),
    Case(
        "CONFIG_PENDING is said of a beginning", (Step("CONFIG_PENDING", says(state="CONFIG_PENDING"), join),), told=1
    ),
    Case("a beginning is incomplete", (Step("CONFIG_PENDING", says(206), join),), told=1),
    Case(
        "a beginning is incomplete and has a configuration",
        (Step("CONFIG_PENDING", says(206, config={"a": 1}), join, configuration='{"a":1}'),),
        told=1,
    ),
    Case(
        "CREATE_ERROR is said of a beginning",
        (Step("CREATE_ERROR", says(state="CREATE_ERROR"), join, error=CLIENT),),
        told=1,
    ),
    Case("a beginning is refused", (Step("CREATE_ERROR", says(error="no"), join, error=CLIENT),), told=1),
    Case(
        "an error beside a configuration is an error",
        (Step("CREATE_ERROR", says(error="no", config={"a": 1}), join, error=CLIENT),),
        told=1,
    ),
    Case(
        "the state of an end is said of a beginning",
        (Step("CREATE_ERROR", says(state="DELETE_ERROR"), join, error=CLIENT),),
        told=1,
    ),
    Case("a receiver is gone", (Step("CREATE_ERROR", says(404), join, error=TECHNICAL),), told=1),
    Case(
        "a receiver is gone and is back when it is told anew",
        (Step("CREATE_ERROR", says(404), join, error=TECHNICAL), Step("READY", TAKES, resynchronize)),
        told=2,
    ),
    Case(
        "a beginning was refused and is taken when it is told anew",
        (Step("CREATE_ERROR", says(error="no"), join, error=CLIENT), Step("READY", TAKES, resynchronize)),
        told=2,
    ),
    Case(
        "a beginning fails until it is taken",
        (Step("CREATE_ERROR", says(500), join, error=TECHNICAL, keeps_trying=True, calls=3), Step("READY")),
        told=1,
    ),
    Case(
        "a beginning fails with an error of the receiver until it is taken",
        (Step("CREATE_ERROR", says(500, error="no"), join, error=CLIENT, keeps_trying=True), Step("READY")),
        told=1,
    ),
    Case(
        "a receiver hangs until it takes it",
        (Step("CREATE_ERROR", hangs, join, error=TECHNICAL, keeps_trying=True), Step("READY")),
        told=1,
    ),
    Case(
        "a receiver answers too late and takes it the second time",
        (Step("CREATE_ERROR", answers_too_late, join, error=TECHNICAL, keeps_trying=True, calls=2), Step("READY")),
        told=1,
    ),
    Case(
        "a receiver breaks off until it takes it",
        (Step("CREATE_ERROR", breaks_off, join, error=TECHNICAL, keeps_trying=True), Step("READY")),
        told=1,
    ),
    Case(
        "what waits for a configuration is not told anew",
        (Step("CONFIG_PENDING", says(206), join), Step("CONFIG_PENDING", TAKES, resynchronize)),
        told=1,
    ),
    Case("what is ready is not told anew", (TAKEN, Step("READY", says(500), resynchronize)), told=1),
    Case(
        "what fails and is told anew is told once",
        (
            Step("CREATE_ERROR", says(500), join, error=TECHNICAL, keeps_trying=True),
            Step("READY", TAKES, resynchronize),
        ),
        told=1,
    ),
    Case("a reset tells anew", (TAKEN, Step("READY", TAKES, reset)), told=2),
    Case(
        "a reset forgets the configuration",
        (
            Step("READY", says(config={"a": 1}), join, configuration='{"a":1}'),
            Step("CREATE_ERROR", says(404), reset, error=TECHNICAL),
        ),
        told=2,
    ),
    Case(
        "a reset goes on from an error",
        (Step("CREATE_ERROR", says(404), join, error=TECHNICAL), Step("READY", TAKES, reset)),
        told=2,
    ),
    Case(
        "a draft tells nobody until it is finalized",
        (Step("INITIAL", TAKES, join), Step("READY", TAKES, finalize)),
        told=1,
        state="DRAFT",
    ),
    Case(
        "who leaves a draft is gone at once", (Step("INITIAL", TAKES, join), Step(None, TAKES, leave)), 0, state="DRAFT"
    ),
)
ENDINGS: Final = (
    Case("an end is taken", (TAKEN, Step(None, TAKES, leave)), told=2),
    Case("READY is said of an end", (TAKEN, Step(None, says(state="READY"), leave)), told=2),
    Case("DELETE_READY is said of an end", (TAKEN, Step(None, says(state="DELETE_READY"), leave)), told=2),
    Case("an end is incomplete", (TAKEN, Step("DELETING", says(206), leave)), told=2),
    Case(
        "an end is incomplete and is reported later",
        (TAKEN, Step("DELETING", says(206), leave), Step(None, TAKES, Report("READY"))),
        told=2,
    ),
    Case(
        "an end is incomplete and is told anew",
        (TAKEN, Step("DELETING", says(206), leave), Step(None, TAKES, resynchronize)),
        told=3,
    ),
    Case("an end is refused", (TAKEN, Step("DELETE_ERROR", says(error="no"), leave, error=CLIENT)), told=2),
    Case(
        "DELETE_ERROR is said of an end",
        (TAKEN, Step("DELETE_ERROR", says(state="DELETE_ERROR"), leave, error=CLIENT)),
        told=2,
    ),
    Case(
        "the state of a beginning is said of an end",
        (TAKEN, Step("DELETE_ERROR", says(state="CONFIG_PENDING"), leave, error=CLIENT)),
        told=2,
    ),
    Case(
        "a receiver is gone at the end and is back when it is told anew",
        (TAKEN, Step("DELETE_ERROR", says(404), leave, error=TECHNICAL), Step(None, TAKES, resynchronize)),
        told=3,
    ),
    Case(
        "an end was refused and is taken when it is told anew",
        (TAKEN, Step("DELETE_ERROR", says(error="no"), leave, error=CLIENT), Step(None, TAKES, resynchronize)),
        told=3,
    ),
    Case(
        "an end fails until it is taken",
        (TAKEN, Step("DELETE_ERROR", says(500), leave, error=TECHNICAL, keeps_trying=True), Step(None)),
        told=2,
    ),
    Case(
        "a receiver hangs at the end until it takes it",
        (TAKEN, Step("DELETE_ERROR", hangs, leave, error=TECHNICAL, keeps_trying=True), Step(None)),
        told=2,
    ),
    Case(
        "a receiver answers an end too late and takes it the second time",
        (TAKEN, Step("DELETE_ERROR", answers_too_late, leave, error=TECHNICAL, keeps_trying=True), Step(None)),
        told=2,
    ),
    Case(
        "what was configured is cleared at the end",
        (
            Step("READY", says(config={"a": 1}), join, configuration='{"a":1}'),
            Step("DELETE_ERROR", says(404), leave, error=TECHNICAL),
        ),
        told=2,
    ),
    Case(
        "what was in error ends",
        (Step("CREATE_ERROR", says(404), join, error=TECHNICAL), Step(None, TAKES, leave)),
        told=2,
    ),
    Case(
        "what waited for a configuration ends",
        (Step("CONFIG_PENDING", says(206), join), Step(None, TAKES, leave)),
        told=2,
    ),
    Case(
        "one leaves while its beginning is still tried",
        (
            Step("CREATE_ERROR", says(500), join, error=TECHNICAL, keeps_trying=True),
            Step("DELETING", hangs, leave, keeps_trying=True),
            Step(None),
        ),
        told=2,
    ),
    Case(
        "one comes back while its end is still tried",
        (
            TAKEN,
            Step("DELETE_ERROR", says(500), leave, error=TECHNICAL, keeps_trying=True),
            Step("INITIAL", says(500), join, keeps_trying=True),
            Step("READY"),
        ),
        told=3,
    ),
    Case(
        "one comes back after its end was given up",
        (TAKEN, Step("DELETE_ERROR", says(404), leave, error=TECHNICAL), Step("READY", TAKES, join)),
        told=3,
    ),
    Case("one that left comes back", (TAKEN, Step(None, TAKES, leave), TAKEN), told=3),
    Case(
        "an end is not reset",
        (TAKEN, Step("DELETE_ERROR", says(404), leave, error=TECHNICAL), Step(None, TAKES, reset)),
        told=3,
    ),
)
WAITS = Step("INITIAL", TAKES, join)
LEAVES = Step("DELETING", TAKES, leave)
CALLING_BACK: Final = tuple(
    Case(name, steps, told, mode="ASYNC_CALLBACK")
    for name, told, steps in (
        ("what was taken waits for a report", 1, (WAITS,)),
        ("READY is reported", 1, (WAITS, Step("READY", do=Report("READY")))),
        ("CREATE_READY is reported", 1, (WAITS, Step("READY", do=Report("CREATE_READY")))),
        ("CONFIG_PENDING is reported", 1, (WAITS, Step("CONFIG_PENDING", do=Report("CONFIG_PENDING")))),
        ("CREATE_ERROR is reported", 1, (WAITS, Step("CREATE_ERROR", do=Report("CREATE_ERROR"), error=CLIENT))),
        (
            "a configuration is reported",
            1,
            (WAITS, Step("READY", do=Report("READY", more={"configuration": {"a": 1}}), configuration='{"a":1}')),
        ),
        ("READY is reported twice", 1, (WAITS, Step("READY", do=Report("READY")), Step("READY", do=Report("READY")))),
        (
            "an error that is reported after READY comes too late",
            1,
            (WAITS, Step("READY", do=Report("READY")), Step("READY", do=Report("CREATE_ERROR"))),
        ),
        (
            "READY that is reported after an error counts",
            1,
            (WAITS, Step("CREATE_ERROR", do=Report("CREATE_ERROR"), error=CLIENT), Step("READY", do=Report("READY"))),
        ),
        (
            "CONFIG_PENDING that is reported after READY comes too late",
            1,
            (WAITS, Step("READY", do=Report("READY")), Step("READY", do=Report("CONFIG_PENDING"))),
        ),
        (
            "the state of an end is not reported of a beginning",
            1,
            (WAITS, Step("INITIAL", do=Report("DELETE_READY", refused=True))),
        ),
        (
            "a report that overtakes the answer counts, whatever becomes of the call",
            1,
            (
                Step("INITIAL", hangs, join, keeps_trying=True, calls=1),
                Step("READY", hangs, Report("READY"), keeps_trying=True, calls=3),
                Step("READY"),
            ),
        ),
        (
            "CONFIG_PENDING that overtakes the answer counts, whatever becomes of the call",
            1,
            (
                Step("INITIAL", hangs, join, keeps_trying=True, calls=1),
                Step("CONFIG_PENDING", hangs, Report("CONFIG_PENDING"), keeps_trying=True, calls=3),
                Step("CONFIG_PENDING"),
            ),
        ),
        (
            "a receiver that hung is in error until it reports",
            1,
            (
                Step("CREATE_ERROR", hangs, join, error=TECHNICAL, keeps_trying=True),
                Step("CREATE_ERROR", error=TECHNICAL),
                Step("READY", do=Report("READY")),
            ),
        ),
        ("what was never reported is told anew", 2, (WAITS, Step("INITIAL", do=resynchronize))),
        (
            "a state in the answer decides at once",
            1,
            (Step("READY", says(state="READY"), join),),
        ),
        (
            "a reset begins a new attempt, in which less may be reported",
            2,
            (
                WAITS,
                Step("READY", do=Report("READY")),
                Step("INITIAL", do=reset),
                Step("CONFIG_PENDING", do=Report("CONFIG_PENDING")),
                Step("READY", do=Report("READY")),
            ),
        ),
        ("an end that was taken waits for a report", 2, (WAITS, LEAVES)),
        ("READY is reported of an end", 2, (WAITS, LEAVES, Step(None, do=Report("READY")))),
        ("DELETE_READY is reported of an end", 2, (WAITS, LEAVES, Step(None, do=Report("DELETE_READY")))),
        (
            "DELETE_ERROR is reported of an end, then READY",
            2,
            (
                WAITS,
                LEAVES,
                Step("DELETE_ERROR", do=Report("DELETE_ERROR"), error=CLIENT),
                Step(None, do=Report("READY")),
            ),
        ),
        (
            "the state of a beginning is not reported of an end",
            2,
            (WAITS, LEAVES, Step("DELETING", do=Report("CREATE_ERROR", refused=True))),
        ),
        (
            "a receiver that hangs at the end is in error until it reports",
            2,
            (
                WAITS,
                Step("DELETE_ERROR", hangs, leave, error=TECHNICAL, keeps_trying=True),
                Step("DELETE_ERROR", error=TECHNICAL),
                Step(None, do=Report("READY")),
            ),
        ),
        ("an end that was never reported is told anew", 3, (WAITS, LEAVES, Step("DELETING", do=resynchronize))),
        ("one comes back before its end was reported", 3, (WAITS, LEAVES, WAITS, Step("READY", do=Report("READY")))),
    )
)
CASES: Final = (*BEGINNINGS, *ENDINGS, *CALLING_BACK)
SHORT: Final = tuple(
    case
    for case in CASES
    if case.name
    in (
        "a beginning is taken with a configuration",
        "a beginning fails until it is taken",
        "a reset tells anew",
        "a draft tells nobody until it is finalized",
        "who leaves a draft is gone at once",
        "an end is taken",
        "an end fails until it is taken",
        "an end was refused and is taken when it is told anew",
        "one comes back while its end is still tried",
        "READY is reported twice",
        "DELETE_ERROR is reported of an end, then READY",
    )
)
"""What every kind of pair has to go through; the whole table is gone through by two of them."""
KINDS: Final = {
    runtime_to_application: CASES,
    application_to_another: CASES,
    application_to_runtime: SHORT,
    application_to_itself: SHORT,
    context_to_application: SHORT,
    application_to_context: SHORT,
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


async def resettable(director: Any) -> str:
    """A template whose groups can be reset."""
    async with director.database.transaction() as tx:
        await tx.run(
            "INSERT INTO formation_template (name, application_types, runtime_types, supports_reset) "
            "VALUES ('resettable', '{ANY}', '{ANY}', true)"
        )
    return "resettable"


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        pytest.param(kind, case, id=f"{kind.__name__}: {case.name}".replace("_", " "))
        for kind, cases in KINDS.items()
        for case in cases
    ],
)
async def test_the_states_of_a_pair(
    director: Any, receiver: Receiver, kind: Callable[[Scene], Awaitable[None]], case: Case
) -> None:
    new = {"name": "g", "state": case.state, "templateName": await resettable(director)}
    formation = (await director.data(CREATE_FORMATION, **{"in": new}))["result"]["id"]
    scene = Scene(director, receiver, case, formation)
    await kind(scene)
    if scene.stays is not None:
        await assign(director, "g", **scene.member(scene.stays))
    async with working(director):
        for number, step in enumerate(case.steps):
            await _take(scene, step, f"step {number + 1} of {case.name!r}")

    owed = await deliveries(director)
    about_the_pair = {call.id for call in scene.calls()}
    assert len(about_the_pair) == case.told
    assert about_the_pair <= {delivery["id"] for delivery in owed}
    await _operations_are_those_of(scene, case)


async def _take(scene: Scene, step: Step, name: str) -> None:
    scene.behaviour = step.answers
    match step.do:
        case None:
            pass
        case Report():
            await scene.report(step.do)
        case deed:
            await deed(scene)
    if step.keeps_trying:
        await until(lambda: scene.is_in(step))
    else:
        await idle(scene.director)
    row = await scene.row()
    if row is None or step.state is None:
        assert (row and row["state"]) == step.state, name
        return
    assert (row["state"], _code(row), row["configuration"]) == (step.state, step.error, step.configuration), name


async def _operations_are_those_of(scene: Scene, case: Case) -> None:
    """What was begun about a pair is finished when it is ready, and not before."""
    row = await scene.row()
    if row is None:
        return
    found = await scene.director.data(OPERATIONS, name="g", id=row["id"])
    last = found["formationByName"]["formationAssignment"]["assignmentOperations"]["data"][-1]
    assert (last["finishedAtTimestamp"] is not None) == (case.steps[-1].state == "READY")
    assert last["operationType"] == ("UNASSIGN" if row["state"].startswith("DELET") else "ASSIGN")


# Several webhooks of the target

SEVERAL: Final = (runtime_to_application, application_to_another, application_to_runtime, application_to_itself)
SAYS_NO: Final = says(error="no")


@pytest.fixture(params=SEVERAL, ids=lambda kind: kind.__name__.replace("_", " "))
async def pair(request: pytest.FixtureRequest, director: Any, receiver: Receiver) -> Scene:
    """A pair whose target is told by two webhooks, and that has not begun."""
    return await _two_webhooks(director, receiver, request.param)


@pytest.fixture
async def mapped(director: Any, receiver: Receiver) -> Scene:
    """The same, of two applications only."""
    return await _two_webhooks(director, receiver, application_to_another)


async def _two_webhooks(director: Any, receiver: Receiver, kind: Callable[[Scene], Awaitable[None]]) -> Scene:
    new = {"name": "g", "templateName": await resettable(director)}
    formation = (await director.data(CREATE_FORMATION, **{"in": new}))["result"]["id"]
    scene = Scene(director, receiver, Case("several", (), 0), formation)
    await kind(scene)
    if scene.stays is not None:
        await assign(director, "g", **scene.member(scene.stays))
    await scene.hook(SECOND, **scene.owner)
    return scene


class Held:
    """Answers when it is let go, and not before."""

    def __init__(self, then: Behaviour = TAKES) -> None:
        self.go, self._then = asyncio.Event(), then

    async def __call__(self, call: Call) -> bytes:
        async with asyncio.timeout(0.5):  # the plane waits 0.6
            await self.go.wait()
        return await self._then(call)


async def stands(scene: Scene) -> tuple[str, int | None] | None:
    """The state and the error of the pair, once nothing is on its way."""
    await idle(scene.director)
    row = await scene.row()
    return None if row is None else (row["state"], _code(row))


async def one_after_the_other(scene: Scene, *said: tuple[str, Behaviour], do: Deed) -> None:
    """Both are told, and the second answers when what the first said has arrived."""
    (first, behaviour), (second, later) = said
    held = Held(later)
    scene.at = {first: behaviour, second: held}
    before = len(scene.calls(second))
    await do(scene)

    async def is_answered() -> bool:
        owed = await deliveries(scene.director)
        ids = {call.id for call in scene.calls(first)}
        done = {delivery["id"] for delivery in owed if delivery["state"] != "PENDING"}
        return ids <= done and bool(ids) and len(scene.calls(second)) > before

    await until(is_answered)
    held.go.set()
    await idle(scene.director)


@pytest.mark.parametrize(("against", "in_favour"), [(FIRST, SECOND), (SECOND, FIRST)])
async def test_a_no_of_one_is_not_overruled_by_another(pair: Scene, against: str, in_favour: str) -> None:
    async with working(pair.director):
        await one_after_the_other(pair, (against, SAYS_NO), (in_favour, TAKES), do=join)
        for asked in (1, 2):
            assert await stands(pair) == ("CREATE_ERROR", CLIENT)
            # Whoever agreed is not asked again.
            assert (len(pair.calls(against)), len(pair.calls(in_favour))) == (asked, 1)
            await resynchronize(pair)
        pair.at = {}
        await idle(pair.director)
        await resynchronize(pair)
        assert await stands(pair) == ("READY", None)
        asked = len(pair.calls(against))
        assert len(pair.calls(in_favour)) == 1

        await one_after_the_other(pair, (against, SAYS_NO), (in_favour, TAKES), do=leave)
        assert await stands(pair) == ("DELETE_ERROR", CLIENT)
        pair.at = {}
        await resynchronize(pair)
        assert await stands(pair) is None
        assert (len(pair.calls(against)), len(pair.calls(in_favour))) == (asked + 2, 2)


@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)])
async def test_one_that_answers_does_not_decide_for_one_that_reports_later(
    mapped: Scene, order: tuple[str, str]
) -> None:
    later = "/later"
    await mapped.hook(later, mode="ASYNC_CALLBACK", **mapped.owner)
    names = {FIRST: later, SECOND: FIRST}
    one, other = (names[path] for path in order)
    async with working(mapped.director):
        await one_after_the_other(mapped, (one, TAKES), (other, TAKES), do=join)
        assert await stands(mapped) == ("INITIAL", None)
        # It has not said how it is, so it is asked again.
        await resynchronize(mapped)
        assert await stands(mapped) == ("INITIAL", None)
        assert (len(mapped.calls(later)), len(mapped.calls(FIRST)), len(mapped.calls(SECOND))) == (2, 1, 1)
        await mapped.report(Report("READY"))
        assert await stands(mapped) == ("READY", None)

        await one_after_the_other(mapped, (one, TAKES), (other, TAKES), do=leave)
        assert await stands(mapped) == ("DELETING", None)
        await mapped.report(Report("READY"))
        assert await stands(mapped) is None


@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)])
async def test_one_that_waits_for_a_configuration_is_not_overruled_by_one_that_is_ready(
    mapped: Scene, order: tuple[str, str]
) -> None:
    said = {FIRST: says(206), SECOND: TAKES}
    async with working(mapped.director):
        await one_after_the_other(mapped, *((path, said[path]) for path in order), do=join)
        assert await stands(mapped) == ("CONFIG_PENDING", None)
        await resynchronize(mapped)
        assert await stands(mapped) == ("CONFIG_PENDING", None)

    assert (len(mapped.calls(FIRST)), len(mapped.calls(SECOND))) == (1, 1)


async def test_one_that_waits_for_a_configuration_is_not_asked_again_because_another_said_no(mapped: Scene) -> None:
    async with working(mapped.director):
        await one_after_the_other(mapped, (FIRST, says(206)), (SECOND, SAYS_NO), do=join)
        assert await stands(mapped) == ("CREATE_ERROR", CLIENT)
        mapped.at = {}
        await resynchronize(mapped)
        assert await stands(mapped) == ("CONFIG_PENDING", None)

    assert (len(mapped.calls(FIRST)), len(mapped.calls(SECOND))) == (1, 2)


async def test_one_that_said_no_is_asked_again_while_another_is_still_tried(mapped: Scene) -> None:
    mapped.at = {FIRST: SAYS_NO, SECOND: says(503)}
    async with working(mapped.director):
        await join(mapped)
        await until(lambda: _is_settled(mapped, FIRST))
        mapped.at[FIRST] = TAKES
        await resynchronize(mapped)
        await until(lambda: _has_calls(mapped, FIRST, 2))
        mapped.at = {}
        assert await stands(mapped) == ("READY", None)

    assert len({call.id for call in mapped.calls(SECOND)}) == 1


async def _is_settled(scene: Scene, path: str) -> bool:
    ids = {call.id for call in scene.calls(path)}
    owed = {delivery["id"]: delivery["state"] for delivery in await deliveries(scene.director)}
    return bool(ids) and all(owed[id_] != "PENDING" for id_ in ids)


async def _has_calls(scene: Scene, path: str, calls: int) -> bool:
    return len(scene.calls(path)) >= calls


@pytest.mark.parametrize(("deed", "end"), [(join, ("READY", None)), (leave, None)])
@pytest.mark.parametrize("while_tried", [False, True])
async def test_a_webhook_that_said_no_and_is_gone_has_no_say_when_told_anew(
    mapped: Scene, deed: Deed, end: Any, while_tried: bool
) -> None:
    third = "/third"
    gone = await mapped.hook(third, **mapped.owner)
    async with working(mapped.director):
        if deed is leave:
            await join(mapped)
            await idle(mapped.director)
        mapped.at = {third: SAYS_NO, SECOND: says(503) if while_tried else TAKES}
        await deed(mapped)
        await until(lambda: _is_settled(mapped, third))
        if not while_tried:
            await idle(mapped.director)
        await mapped.director.data(DELETE_WEBHOOK, id=gone)
        await resynchronize(mapped)
        await until(lambda: _is_relayed(mapped.director))
        mapped.at = {}
        assert await stands(mapped) == end

    assert len(mapped.calls(FIRST)) == (2 if deed is leave else 1)


async def _is_relayed(director: Any) -> bool:
    async with director.database.transaction() as tx:
        waiting = await tx.value("-- test.events\nSELECT count(*) FROM outbox_event WHERE relayed_at IS NULL")
    return bool(waiting == 0)


async def test_a_reset_asks_everybody_again(mapped: Scene) -> None:
    async with working(mapped.director):
        await join(mapped)
        await idle(mapped.director)
        await one_after_the_other(mapped, (FIRST, SAYS_NO), (SECOND, TAKES), do=reset)
        assert await stands(mapped) == ("CREATE_ERROR", CLIENT)

    assert (len(mapped.calls(FIRST)), len(mapped.calls(SECOND))) == (2, 2)


def _about_the_pair(scene: Scene, due: Delivery) -> bool:
    said = orjson.loads(due.body)
    return (said["about"], said["to"]) == (scene.source, scene.target)


async def both_due(scene: Scene) -> list[Delivery]:
    """What the webhooks of the pair are to be told, as the worker sees it."""
    async with scene.director.database.transaction() as tx:
        rows = await tx.rows(
            "-- test.due\nSELECT id, sequence, tenant_id AS tenant, receiver, subject, kind, method, url, headers,"
            " body, facts, created_at FROM delivery WHERE state = 'PENDING' ORDER BY sequence"
        )
    due = [
        Delivery(**dict(row), attempt=1, failures=0, attempted_at=datetime.now(UTC), since_first=timedelta(0))
        for row in rows
    ]
    return [delivery for delivery in due if _about_the_pair(scene, delivery)]


async def is_waiting_for_a_lock(director: Any) -> bool:
    async with director.database.transaction() as tx:
        waiting = await tx.value(
            "-- test.locks\nSELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    return bool(waiting)


AGREES, REFUSES, PENDS = b"{}", b'{"error": "no"}', b'{"state": "CONFIG_PENDING"}'


@pytest.mark.parametrize(
    ("said", "begun", "ended"),
    [
        ((AGREES, AGREES), ("READY", None), None),
        ((AGREES, REFUSES), ("CREATE_ERROR", CLIENT), ("DELETE_ERROR", CLIENT)),
        ((REFUSES, AGREES), ("CREATE_ERROR", CLIENT), ("DELETE_ERROR", CLIENT)),
        ((PENDS, AGREES), ("CONFIG_PENDING", None), ("DELETE_ERROR", CLIENT)),
    ],
)
async def test_two_that_answer_at_the_same_moment_are_both_counted(
    pair: Scene, said: tuple[bytes, bytes], begun: Any, ended: Any
) -> None:
    director = pair.director
    async with Door(LOOPBACK) as door:
        calls = Calls(director.vault, door)

        async def judge(delivery: Delivery, body: bytes) -> None:
            async with director.database.transaction() as tx:
                await calls.judge(tx, delivery, Response(200, {}, body, timedelta(0)))

        for deed, end in ((join, begun), (leave, ended)):
            await deed(pair)
            await relayed(director)
            one, other = await both_due(pair)
            async with director.database.transaction() as tx:
                await calls.judge(tx, one, Response(200, {}, said[0], timedelta(0)))
                second = asyncio.create_task(judge(other, said[1]))
                await until(lambda: is_waiting_for_a_lock(director), within=5)
            await second
            row = await pair.row()
            assert (row and (row["state"], _code(row))) == end
            async with director.database.transaction() as tx:
                await tx.run("-- test.settled\nUPDATE delivery SET state = 'DELIVERED' WHERE state = 'PENDING'")


def _code(row: Mapping[str, Any]) -> int | None:
    return orjson.loads(row["error"])["error"]["errorCode"] if row["error"] else None


# A configuration that goes to and fro


ECHO: Final = {
    **ADAPTER,
    "inputTemplate": '{"about": "{{.Assignment.Source}}", "to": "{{.Assignment.Target}}",'
    ' "theirs": {{if .ReverseAssignment.Value}}{{.ReverseAssignment.Value}}{{else}}null{{end}}}',
}


@pytest.mark.parametrize("kind", ["runtime", "application", "context"])
async def test_a_configuration_of_one_side_is_told_to_the_other_until_both_are_ready(
    director: Any, receiver: Receiver, kind: str
) -> None:
    app = await application(director, "app")
    cluster = await runtime(director, "cluster")
    other = {"runtime": cluster, "application": "", "context": ""}[kind]
    if kind == "application":
        other = await application(director, "other")
    elif kind == "context":
        other = await context(director, cluster, "blue")
    type_ = "APPLICATION_TENANT_MAPPING" if kind == "application" else "CONFIGURATION_CHANGED"
    url = f'{{"method": "POST", "path": "{receiver.url()}"}}'
    for owner in ({"application": app}, {"application": other} if kind == "application" else {"runtime": cluster}):
        await webhook(director, None, type=type_, urlTemplate=url, **ECHO, **owner)

    async def negotiates(call: Call) -> bytes:
        """The application waits for the other's key, the other for the application's address."""
        said = orjson.loads(call.body)
        if said["about"] == said["to"]:
            return answer(200, b'{"config": {"of": "itself"}}')
        if said["to"] == other:
            return answer(200, b'{"config": {"key": 1}}' if said["theirs"] else b'{"state": "CONFIG_PENDING"}')
        if said["theirs"] is None:
            return answer(206, b'{"config": {"address": 1}}')
        return answer(200, b'{"config": {"address": 1}}')

    receiver.behaviour = negotiates
    async with working(director):
        await director.data(CREATE_FORMATION, **{"in": {"name": "g"}})
        await assign(director, "g", application=app)
        await assign(director, "g", **{kind: other})
        await idle(director)

    rows = (await director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
    shown = {(row["source"], row["target"]): (row["state"], row["configuration"]) for row in rows}
    assert shown[other, app] == ("READY", '{"address":1}')
    assert shown[app, other] == ("READY", '{"key":1}')
    if kind == "application":
        assert shown[app, app] == shown[other, other] == ("READY", '{"of":"itself"}')
    told = [said for call in receiver.calls if (said := orjson.loads(call.body))["about"] != said["to"]]
    assert [said["theirs"] for said in told if said["to"] == app][-1] == {"key": 1}
    assert [said["theirs"] for said in told if said["to"] == other][-1] == {"address": 1}
    of_itself = [call for call in receiver.calls if (said := orjson.loads(call.body))["about"] == said["to"]]
    assert len(of_itself) == (2 if kind == "application" else 0)
