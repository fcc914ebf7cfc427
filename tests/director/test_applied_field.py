"""Which fields of an object files say, and who applied them, through the Director's API."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from compass.director import applied_field
from compass.director.applied_field import MOST_FIELDS, MOST_MANAGERS
from compass.ids import ApplicationId
from tests.director.catalogue import NOT_OWNER, UNKNOWN, counted, register, runtime, seen_not_owned

SET = {
    "application": "mutation ($id: ID!, $in: AppliedFieldsInput!) "
    "{ result: setApplicationAppliedFields(applicationID: $id, in: $in) { id appliedFields { name manager } } }",
    "runtime": "mutation ($id: ID!, $in: AppliedFieldsInput!) "
    "{ result: setRuntimeAppliedFields(runtimeID: $id, in: $in) { id appliedFields { name manager } } }",
}
SHOWN = (
    "query ($id: ID!) {{ result: {kind}(id: $id) {{ appliedFields {{ name manager digest replaces appliedAt }} }} }}"
)
BOTH = pytest.mark.parametrize("kind", ["application", "runtime"])


def digest(value: str) -> str:
    return f"sha256:{sha256(value.encode()).hexdigest()}"


def said(manager: str, replaces: str | None = None, **values: str) -> dict[str, Any]:
    before = {} if replaces is None else {"replaces": digest(replaces)}
    fields = [{"name": name, "digest": digest(value), **before} for name, value in values.items()]
    return {"in": {"manager": manager, "fields": fields}}


async def made(director: Any, kind: str) -> str:
    return await (register(director) if kind == "application" else runtime(director))


async def shown(director: Any, kind: str, id_: str, **more: Any) -> Any:
    return (await director.data(SHOWN.format(kind=kind), id=id_, **more))["result"]["appliedFields"]


async def owners(director: Any, kind: str, id_: str) -> list[tuple[str, str, str]]:
    return [(row["name"], row["manager"], row["digest"]) for row in await shown(director, kind, id_)]


@BOTH
async def test_what_a_manager_says_is_remembered_and_replaces_what_it_said_before(
    director: Any, announced: Any, kind: str
) -> None:
    id_ = await made(director, kind)
    before = await announced()

    answer = await director.data(SET[kind], id=id_, **said("ci", description="a", baseUrl="u"))
    assert answer["result"] == {
        "id": id_,
        "appliedFields": [{"name": "baseUrl", "manager": "ci"}, {"name": "description", "manager": "ci"}],
    }
    (first, second) = await shown(director, kind, id_)
    assert (first["digest"], first["replaces"], second["digest"]) == (digest("u"), None, digest("a"))

    await director.data(SET[kind], id=id_, **said("ci", replaces="a", description="b"))
    (now,) = await shown(director, kind, id_)
    assert (now["name"], now["digest"], now["replaces"]) == ("description", digest("b"), digest("a"))
    await director.data(SET[kind], id=id_, **said("ci"))
    assert await shown(director, kind, id_) == []
    assert await announced() == before  # nothing of the object became different


async def test_since_when_a_manager_says_a_value_stays_while_it_says_it_again(director: Any) -> None:
    id_ = await register(director)
    await director.data(SET["application"], id=id_, **said("ci", description="a"))
    async with director.database.transaction() as tx:
        await tx.run("-- test\nUPDATE applied_field SET applied_at = '2026-01-01T00:00:00Z'")

    await director.data(SET["application"], id=id_, **said("ci", description="a", baseUrl="u"))

    new, old = await shown(director, "application", id_)
    assert old["appliedAt"] == "2026-01-01T00:00:00Z" < new["appliedAt"]
    for before in ("x", None):  # a change to what it says already, under way and done
        await director.data(SET["application"], id=id_, **said("ci", replaces=before, description="a"))
        assert (await shown(director, "application", id_))[0]["appliedAt"] == "2026-01-01T00:00:00Z"
    await director.data(SET["application"], id=id_, **said("ci", description="b"))
    assert (await shown(director, "application", id_))[0]["appliedAt"] > old["appliedAt"]


@BOTH
async def test_the_same_value_has_several_owners_and_another_one_takes_the_field_over(director: Any, kind: str) -> None:
    id_ = await made(director, kind)
    await director.data(SET[kind], id=id_, **said("ci", description="a", baseUrl="u"))
    await director.data(SET[kind], id=id_, **said("ops", description="a"))
    a, b, u = digest("a"), digest("b"), digest("u")
    both = [("baseUrl", "ci", u), ("description", "ci", a), ("description", "ops", a)]
    assert await owners(director, kind, id_) == both

    await director.data(SET[kind], id=id_, **said("ops", replaces="a", description="b"))
    under_way = [("baseUrl", "ci", u), ("description", "ci", a), ("description", "ops", b)]
    assert await owners(director, kind, id_) == under_way  # it may still be cut off

    await director.data(SET[kind], id=id_, **said("ops", description="b"))
    assert await owners(director, kind, id_) == [("baseUrl", "ci", u), ("description", "ops", b)]


async def test_they_are_the_objects_own_and_go_with_it(director: Any) -> None:
    kept, gone, other = [await register(director, name) for name in ("kept", "gone", "other")]
    runtime_id = await runtime(director)
    for id_ in (kept, gone):
        await director.data(SET["application"], id=id_, **said("ci", description="a"))
    await director.data(SET["runtime"], id=runtime_id, **said("ci", description="a"))
    assert await shown(director, "application", other) == []

    await director.data("mutation ($id: ID!) { unregisterApplication(id: $id) { id } }", id=gone)
    await director.data("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=runtime_id)

    async with director.database.transaction() as tx:
        assert await tx.value("-- test\nSELECT array_agg(application_id::text) FROM applied_field") == [kept]


@BOTH
async def test_another_tenants_object_is_not_there_and_nothing_is_recorded(director: Any, kind: str) -> None:
    id_ = await made(director, kind)
    await director.data(SET[kind], id=id_, **said("ci", description="a"))
    for unknown, who in ((id_, director.other), (UNKNOWN, director.caller), ("no id", director.caller)):
        refused = await director.refusal(SET[kind], id=unknown, caller=who, **said("ci", description="b"))
        assert (refused["extensions"]["error_code"], refused["message"]) == (20, f"Object not found [object={kind}]")
    data = await director.data(SHOWN.format(kind=kind), id=id_, caller=director.other)
    assert data == {"result": None}


async def test_whoever_sees_an_application_and_does_not_own_it_records_nothing(director: Any) -> None:
    id_ = await register(director)
    await director.data(SET["application"], id=id_, **said("ci", description="a"))
    guest = await seen_not_owned(director, id_)

    refused = await director.refusal(SET["application"], id=id_, caller=guest, **said("ci", description="b"))

    assert (refused["extensions"]["error_code"], refused["message"]) == (26, NOT_OWNER)
    assert len(await shown(director, "application", id_, caller=guest)) == 1


async def test_an_application_records_and_sees_its_own_and_no_neighbours(director: Any) -> None:
    own, neighbour = await register(director, "own"), await register(director, "neighbour")
    await director.data(SET["application"], id=neighbour, **said("ci", description="a"))
    itself = director.application(own)

    await director.data(SET["application"], id=own, caller=itself, **said("me", description="a"))
    refused = await director.refusal(SET["application"], id=neighbour, caller=itself, **said("me", description="a"))

    assert refused["message"] == NOT_OWNER
    assert len(await shown(director, "application", own, caller=itself)) == 1
    assert await shown(director, "application", neighbour, caller=itself) is None


@BOTH
async def test_without_the_scope_nothing_is_recorded(director: Any, kind: str) -> None:
    id_ = await made(director, kind)
    reader = replace(director.caller, scopes=director.caller.scopes - {f"{kind}:write"})

    refused = await director.refusal(SET[kind], id=id_, caller=reader, **said("ci", description="a"))

    assert refused["extensions"]["error_code"] == 23


GOOD = {"name": "description", "digest": digest("a")}


@pytest.mark.parametrize(
    ("manager", "fields", "place"),
    [
        ("", [GOOD], "manager"),
        ("two\nlines", [GOOD], "manager"),
        (129 * "m", [GOOD], "manager"),
        ("ci", [GOOD, GOOD], "fields"),
        ("ci", [{**GOOD, "name": ""}], "fields.0.name"),
        ("ci", [{**GOOD, "name": 1025 * "n"}], "fields.0.name"),
        ("ci", [{**GOOD, "digest": "a"}], "fields.0.digest"),
        ("ci", [{**GOOD, "digest": ""}], "fields.0.digest"),
        ("ci", [{**GOOD, "digest": digest("a").upper()}], "fields.0.digest"),
        ("ci", [{**GOOD, "replaces": "the value itself"}], "fields.0.replaces"),
        ("ci", [{**GOOD, "name": str(number)} for number in range(MOST_FIELDS + 1)], "fields"),
    ],
)
async def test_what_is_no_name_or_no_digest_is_refused(
    director: Any, manager: str, fields: list[dict[str, str]], place: str
) -> None:
    id_ = await register(director)

    refused = await director.refusal(SET["application"], id=id_, **{"in": {"manager": manager, "fields": fields}})

    assert refused["extensions"]["error_code"] == 22
    assert f"{place}=" in refused["message"]


async def test_an_object_has_so_many_managers_and_no_more(director: Any) -> None:
    id_ = await register(director)
    for number in range(MOST_MANAGERS):
        await director.data(SET["application"], id=id_, **said(f"ci-{number}", description="a"))

    refused = await director.refusal(SET["application"], id=id_, **said("one more", description="a"))

    assert refused["extensions"]["error_code"] == 27
    await director.data(SET["application"], id=id_, **said("ci-0", description="b"))
    # All others said another value: they have nothing left, and there is room again.
    await director.data(SET["application"], id=id_, **said("one more", description="b"))


async def test_as_many_fields_as_there_may_be_cost_one_statement(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = ApplicationId(await register(director))
    fields = tuple(applied_field.NewAppliedField(f"labels.{number}", digest("a")) for number in range(MOST_FIELDS))
    async with director.database.transaction() as tx:
        with counted(monkeypatch) as ran:
            await applied_field.set_on_application(
                tx, director.caller, id_, applied_field.NewAppliedFields("ci", fields)
            )
    assert len(ran) == 1, ran

    assert len(await shown(director, "application", id_)) == MOST_FIELDS
