"""Several objects at once in and out of several groups, below the API."""

from typing import Any

import pytest

from compass.director import membership
from compass.director.formation_assignment import Configuration, Joining, Leaving
from compass.ids import FormationId
from tests.director.groups import Announced, application, group, runtime, states, webhook

URL = "https://receiver.example"


@pytest.fixture
async def landscape(director: Any) -> dict[str, str]:
    """Two groups `a` and `b`, each with the application, which is to be told; two runtimes that are in neither."""
    app = await application(director, "app")
    await webhook(director, URL, application=app)
    made = {"app": app, "one": await runtime(director, "one"), "two": await runtime(director, "two")}
    return made | {name: await group(director, name, applications=[app]) for name in ("a", "b")}


def joining(landscape: dict[str, str], *places: tuple[str, str]) -> list[Joining]:
    return [Joining(FormationId(landscape[name]), landscape[who], "RUNTIME", waits=False) for name, who in places]


def leaving(landscape: dict[str, str], *places: tuple[str, str]) -> list[Leaving]:
    return [Leaving(FormationId(landscape[name]), landscape[who], silently=False) for name, who in places]


ALL = (("a", "one"), ("a", "two"), ("b", "one"))


async def scenarios(director: Any) -> dict[str, Any]:
    data = await director.data('{ runtimes { data { id labels(key: "scenarios") } } }')
    return {entry["id"]: entry["labels"].get("scenarios") for entry in data["runtimes"]["data"]}


async def test_those_that_join_at_once_are_paired_with_the_others_and_each_other(
    director: Any, landscape: dict[str, str]
) -> None:
    app, one, two = landscape["app"], landscape["one"], landscape["two"]

    async with director.database.transaction() as tx:
        joined = await membership.join(tx, joining(landscape, *ALL))

    assert {(entry.formation, entry.member, entry.is_new, entry.paired) for entry in joined} == {
        (landscape["a"], one, True, ((one, app),)),
        (landscape["a"], two, True, ((two, app),)),
        (landscape["b"], one, True, ((one, app),)),
    }
    assert await states(director, "a") == sorted(
        [
            (app, one, "READY"),
            (app, two, "READY"),
            (one, app, "INITIAL"),
            (two, app, "INITIAL"),
            (one, two, "READY"),
            (two, one, "READY"),
        ]
    )
    assert await states(director, "b") == sorted([(app, one, "READY"), (one, app, "INITIAL")])
    assert await scenarios(director) == {one: ["a", "b"], two: ["a"]}


async def test_each_that_joins_or_leaves_is_announced_once(
    director: Any, landscape: dict[str, str], announced: Announced
) -> None:
    before = len(await announced())
    async with director.database.transaction() as tx:
        await membership.join(tx, joining(landscape, ("a", "one")))
    async with director.database.transaction() as tx:
        await membership.join(tx, joining(landscape, *ALL))
        await membership.join(tx, joining(landscape, *ALL))
    assert (await announced())[before:] == ["FormationAssigned"] * 3

    async with director.database.transaction() as tx:
        left = await membership.leave(tx, leaving(landscape, ("a", "one"), ("b", "one"), ("b", "two")))
        again = await membership.leave(tx, leaving(landscape, ("a", "one"), ("b", "one")))

    one = landscape["one"]
    parted = ((one, "RUNTIME", landscape["app"], "APPLICATION"),)
    assert {(entry.formation, entry.name, entry.member, entry.type, entry.parted) for entry in left} == {
        (landscape["a"], "a", one, "RUNTIME", parted),
        (landscape["b"], "b", one, "RUNTIME", parted),
    }
    assert again == []
    assert (await announced())[before + 3 :] == ["FormationUnassigned"] * 2
    assert await scenarios(director) == {one: None, landscape["two"]: ["a"]}


async def test_an_application_that_meets_a_runtime_has_a_default_one_until_they_part(
    director: Any, landscape: dict[str, str]
) -> None:
    async def default(tx: Any) -> Any:
        return await tx.value(
            "-- test.default\nSELECT runtime_id FROM runtime_label WHERE key = %(key)s",
            key=f"{landscape['app']}_defaultEventing",
        )

    async with director.database.transaction() as tx:
        await membership.join(tx, joining(landscape, *ALL))
        assert await default(tx) == landscape["one"]
        await membership.leave(tx, leaving(landscape, ("a", "one"), ("b", "one")))
        assert await default(tx) == landscape["two"]
        await membership.leave(tx, leaving(landscape, ("a", "two")))
        assert await default(tx) is None


async def test_a_configuration_for_somebody_who_is_not_there_finds_no_pair(
    director: Any, landscape: dict[str, str]
) -> None:
    given = [
        Configuration(landscape["one"], landscape["app"], '{"k": 1}'),
        Configuration(landscape["two"], landscape["app"], '{"k": 2}'),
    ]

    async with director.database.transaction() as tx:
        [joined] = await membership.join(tx, joining(landscape, ("a", "one")), initial=given)

    assert joined.placed == 1


async def test_those_of_whom_there_are_too_many_for_a_statement_are_paired_all_the_same(
    director: Any, landscape: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "_AT_ONCE", 2)
    five = {f"r{number}": await runtime(director, f"r{number}") for number in range(5)}
    everyone = [landscape["app"], *five.values()]
    places = [("a", name) for name in five]

    async with director.database.transaction() as tx:
        joined = await membership.join(tx, joining(landscape | five, *places))
    assert {entry.member for entry in joined} == set(five.values())
    assert {(source, target) for source, target, _ in await states(director, "a")} == {
        (source, target) for source in everyone for target in everyone if source != target
    }

    async with director.database.transaction() as tx:
        left = await membership.leave(tx, leaving(landscape | five, *places))
    assert {entry.member for entry in left} == set(five.values())
    # Who has to know that they left knows soon.
    assert {(target, state) for _, target, state in await states(director, "a")} == {(landscape["app"], "DELETING")}
    assert len(await states(director, "a")) == len(five)
