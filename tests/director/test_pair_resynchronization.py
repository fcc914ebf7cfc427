"""One pair of a group is told anew, and nobody else."""

from typing import Any

from tests.delivery.receiver import Call, answer, receiving, takes_it
from tests.director.catalogue import without
from tests.director.groups import (
    CREATE_FORMATION,
    PATIENT,
    STATUS,
    Announced,
    application,
    assign,
    condition,
    group,
    idle,
    runtime,
    states,
    webhook,
    working,
)

RESYNC = "mutation ($id: ID!) { result: resynchronizeFormationAssignment(id: $id) { id state } }"
NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"


async def gone(_call: Call) -> bytes:
    return answer(410)


async def pairs(director: Any, name: str) -> dict[tuple[str, str], str]:
    """The ids of a group's assignments, by source and target."""
    found = (await director.data(STATUS, name=name))["formationByName"]["formationAssignments"]["data"]
    return {(one["source"], one["target"]): one["id"] for one in found}


async def test_only_the_target_of_the_pair_is_told_anew(director: Any, announced: Announced) -> None:
    async with receiving(gone) as first, receiving(gone) as second, working(director, settings=PATIENT):
        one, two = await application(director, "one"), await application(director, "two")
        cluster = await runtime(director, "cluster")
        for app, receiver in ((one, first), (two, second)):
            await webhook(director, receiver.url(), application=app)
        await group(director, "g", applications=[one, two], runtimes=[cluster])
        await idle(director)
        assert [state for _, _, state in await states(director, "g")].count("CREATE_ERROR") == 2
        first.behaviour = second.behaviour = takes_it

        pair = (await pairs(director, "g"))[cluster, one]
        answered = (await director.data(RESYNC, id=pair))["result"]
        await idle(director)

    assert answered == {"id": pair, "state": "CREATE_ERROR"}
    assert (len(first.calls), len(second.calls)) == (2, 1)
    assert (cluster, one, "READY") in await states(director, "g")
    assert (cluster, two, "CREATE_ERROR") in await states(director, "g")
    assert await condition(director, "g") == "ERROR"
    assert (await announced()).count("FormationAssignmentResynchronized") == 1


async def test_what_is_known_or_cannot_be_told_yet_is_refused(director: Any, announced: Announced) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await director.data(CREATE_FORMATION, **{"in": {"name": "draft", "state": "DRAFT"}})
    await assign(director, "draft", application=app)
    await assign(director, "draft", runtime=cluster)
    ready = (await pairs(director, "g"))[cluster, app]
    waiting = (await pairs(director, "draft"))[cluster, app]
    before = await announced()

    refused = [(await director.refusal(RESYNC, id=one))["message"] for one in (ready, waiting, NOBODY)]
    theirs = await director.refusal(RESYNC, caller=director.other, id=ready)
    unable = await director.refusal(RESYNC, caller=without(director.caller, "formation:write"), id=ready)

    assert "the assignment is READY: there is nothing to tell anew" in refused[0]
    assert "is in state DRAFT: nobody is told yet" in refused[1]
    assert refused[2] == theirs["message"] == "Object not found [object=formationAssignment]"
    assert "formation:write" in unable["message"]
    assert await announced() == before
