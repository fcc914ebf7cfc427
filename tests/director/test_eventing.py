"""To which runtime an application sends its events."""

import asyncio
from typing import Any

import pytest

from tests.director import catalogue
from tests.director.groups import (
    SET_RUNTIME_LABEL,
    Announced,
    application,
    assign,
    group,
    runtime,
    unassign,
)

SET = """
mutation ($app: String!, $runtime: String!) {
  result: setDefaultEventingForApplication(appID: $app, runtimeID: $runtime) { defaultURL }
}
"""
DELETE = "mutation ($app: String!) { result: deleteDefaultEventingForApplication(appID: $app) { defaultURL } }"


async def url(director: Any, app: str) -> str:
    data = await director.data(
        "query ($id: ID!) { application(id: $id) { eventingConfiguration { defaultURL } } }", id=app
    )
    return str(data["application"]["eventingConfiguration"]["defaultURL"])


async def chosen(director: Any, app: str) -> list[str]:
    async with director.database.transaction() as tx:
        rows = await tx.rows(
            "-- test.chosen\nSELECT runtime_id FROM runtime_label WHERE key = %(app)s || '_defaultEventing'", app=app
        )
    return [row["runtime_id"] for row in rows]


async def cluster(director: Any, name: str) -> str:
    id_ = await runtime(director, name)
    await director.data(SET_RUNTIME_LABEL, id=id_, key="runtime_eventServiceUrl", value=f"https://{name}.example/any?x")
    return id_


async def test_the_oldest_runtime_that_joins_is_the_default_and_stays_it(director: Any) -> None:
    app = await application(director, "One App")
    old, new = await cluster(director, "old"), await cluster(director, "new")
    await group(director, "g", applications=[app])
    assert (await url(director, app), await chosen(director, app)) == ("", [])

    await assign(director, "g", runtime=new)
    await assign(director, "g", runtime=old)

    assert await chosen(director, app) == [new]
    assert await url(director, app) == "https://new.example/mp-one-app/v1/events"


async def test_an_application_that_joins_gets_the_oldest(director: Any) -> None:
    old, new = await cluster(director, "old"), await cluster(director, "new")
    app = await application(director, "one")

    await group(director, "g", runtimes=[new, old])
    await assign(director, "g", application=app)

    assert await chosen(director, app) == [old]
    data = await director.data("query ($id: ID!) { runtime(id: $id) { labels } }", id=old)
    assert [key for key in data["runtime"]["labels"] if "defaultEventing" in key] == []


async def test_the_choice_goes_with_the_last_shared_group_and_another_takes_over(director: Any) -> None:
    app = await application(director, "one")
    first, second = await cluster(director, "first"), await cluster(director, "second")
    await group(director, "g", applications=[app], runtimes=[first, second])
    await group(director, "h", applications=[app], runtimes=[first])

    await unassign(director, "g", runtime=first)
    assert await chosen(director, app) == [first]
    await unassign(director, "h", runtime=first)
    assert await chosen(director, app) == [second]
    await unassign(director, "g", application=app)
    assert (await chosen(director, app), await url(director, app)) == ([], "")


async def test_another_takes_over_when_the_default_is_unregistered(director: Any) -> None:
    app = await application(director, "one")
    first, second = await cluster(director, "first"), await cluster(director, "second")
    await group(director, "g", applications=[app], runtimes=[first, second])

    await director.data("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=first)

    assert await chosen(director, app) == [second]
    assert await url(director, app) == "https://second.example/mp-one/v1/events"


async def test_somebody_may_choose_among_the_runtimes_of_the_groups(director: Any, announced: Announced) -> None:
    app = await application(director, "one")
    first, second = await cluster(director, "first"), await cluster(director, "second")
    outside = await cluster(director, "outside")
    await group(director, "g", applications=[app], runtimes=[first, second])

    data = await director.data(SET, app=app, runtime=second)

    assert data == {"result": {"defaultURL": "https://second.example/mp-one/v1/events"}}
    assert (await announced())[-1] == "DefaultEventingChanged"
    for wrong in (outside, app, "no-uuid"):
        error = await director.refusal(SET, app=app, runtime=wrong)
        assert f"does not find the given runtime [ID={wrong}] assigned to the application scenarios" in error["message"]
    error = await director.refusal(SET, caller=director.other, app=app, runtime=second)
    assert error["message"] == "Object not found [object=application]"


async def test_giving_up_the_choice_answers_what_it_was(director: Any, announced: Announced) -> None:
    app = await application(director, "one")
    first, second = await cluster(director, "first"), await cluster(director, "second")
    await group(director, "g", applications=[app], runtimes=[first, second])
    await director.data(SET, app=app, runtime=second)

    gone = await director.data(DELETE, app=app)
    before = await announced()
    again = await director.data(DELETE, app=app)

    assert gone == {"result": {"defaultURL": "https://second.example/mp-one/v1/events"}}
    assert again == {"result": {"defaultURL": ""}}
    assert await url(director, app) == "https://first.example/mp-one/v1/events"
    assert await announced() == before
    assert (await director.refusal(DELETE, caller=director.other, app=app))["extensions"]["error_code"] == 20


async def test_runtimes_that_join_at_once_make_one_choice(director: Any) -> None:
    app = await application(director, "one")
    clusters = [await cluster(director, f"c{number}") for number in range(6)]
    for number in range(6):
        await group(director, f"g{number}", applications=[app])

    await asyncio.gather(*(assign(director, f"g{number}", runtime=id_) for number, id_ in enumerate(clusters)))

    assert len(await chosen(director, app)) == 1


async def test_a_runtime_that_says_so_hears_the_plain_name_and_a_system_number_follows_either(director: Any) -> None:
    app, kyma = await application(director, "One App"), await cluster(director, "kyma")
    await group(director, "g", applications=[app], runtimes=[kyma])

    async def with_number(number: str | None) -> str:
        async with director.database.transaction() as tx:
            await tx.run("UPDATE application SET system_number = %(number)s", number=number)
        return await url(director, app)

    assert await with_number(None) == "https://kyma.example/mp-one-app/v1/events"
    assert await with_number("17") == "https://kyma.example/mp-one-app-17/v1/events"
    await director.data(SET_RUNTIME_LABEL, id=kyma, key="isNormalized", value="false")
    assert await with_number("17") == "https://kyma.example/One App-17/v1/events"
    assert await with_number(None) == "https://kyma.example/One App/v1/events"


async def test_a_default_runtime_that_has_not_said_where_leads_nowhere(director: Any) -> None:
    app, silent = await application(director, "one"), await runtime(director, "silent")
    await group(director, "g", applications=[app], runtimes=[silent])

    data = await director.data(SET, app=app, runtime=silent)

    assert data == {"result": {"defaultURL": ""}}
    assert (await url(director, app), await chosen(director, app)) == ("", [silent])


@pytest.mark.parametrize(("text", "more"), [(SET, {"runtime": "x"}), (DELETE, {})])
async def test_choosing_needs_the_scope_for_it_and_the_application(
    director: Any, text: str, more: dict[str, str]
) -> None:
    app = await application(director, "one")
    seer = await catalogue.seen_not_owned(director, app)

    missing = await director.refusal(
        text, caller=catalogue.without(director.caller, "eventing:manage"), app=app, **more
    )
    foreign = await director.refusal(text, caller=seer, app=app, **more)

    assert (missing["extensions"]["error_code"], missing["message"][-16:]) == (23, "eventing:manage]")
    assert foreign["message"] == catalogue.NOT_OWNER
    for unknown in ("8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid"):
        error = await director.refusal(text, app=unknown, **more)
        assert error["message"] == "Object not found [object=application]"
