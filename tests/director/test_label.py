"""Labels of applications and runtimes through the Director's API."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

SET = {
    "application": "mutation ($id: ID!, $key: String!, $value: Any!) { "
    "result: setApplicationLabel(applicationID: $id, key: $key, value: $value) { key value } }",
    "runtime": "mutation ($id: ID!, $key: String!, $value: Any!) { "
    "result: setRuntimeLabel(runtimeID: $id, key: $key, value: $value) { key value } }",
}
DELETE = {
    "application": "mutation ($id: ID!, $key: String!) { "
    "result: deleteApplicationLabel(applicationID: $id, key: $key) { key value } }",
    "runtime": "mutation ($id: ID!, $key: String!) { "
    "result: deleteRuntimeLabel(runtimeID: $id, key: $key) { key value } }",
}
REGISTER = {
    "application": 'mutation { result: registerApplication(in: {name: "orders", labels: {tier: "gold"}}) { id } }',
    "runtime": 'mutation { result: registerRuntime(in: {name: "kyma", labels: {tier: "gold"}}) { id } }',
}
SHOWN = {
    "application": "query ($id: ID!, $key: String) { result: application(id: $id) { labels(key: $key) } }",
    "runtime": "query ($id: ID!, $key: String) { result: runtime(id: $id) { labels(key: $key) } }",
}
EVENT = {"application": "ApplicationLabelled", "runtime": "RuntimeLabelled"}
BOTH = pytest.mark.parametrize("kind", ["application", "runtime"])

Announced = Callable[[], Awaitable[Sequence[str]]]


async def register(director: Any, kind: str, **more: Any) -> str:
    return str((await director.data(REGISTER[kind], **more))["result"]["id"])


async def labels(director: Any, kind: str, id_: str, key: str | None = None) -> Any:
    return (await director.data(SHOWN[kind], id=id_, key=key))["result"]["labels"]


@BOTH
@pytest.mark.parametrize("value", ["text", 1, 1.5, True, ["a", {"b": None}], {"deep": {"er": [0]}}, "🎈"])
async def test_a_label_holds_any_json_and_is_answered_as_it_was_given(
    director: Any, announced: Announced, kind: str, value: Any
) -> None:
    id_ = await register(director, kind)

    data = await director.data(SET[kind], id=id_, key="tier", value=value)

    assert data == {"result": {"key": "tier", "value": value}}
    assert await labels(director, kind, id_, "tier") == {"tier": value}
    assert (await announced())[1:] == [EVENT[kind]]


@BOTH
async def test_a_label_is_removed_and_answered_as_it_was(director: Any, announced: Announced, kind: str) -> None:
    id_ = await register(director, kind)

    data = await director.data(DELETE[kind], id=id_, key="tier")

    assert data == {"result": {"key": "tier", "value": "gold"}}
    assert await labels(director, kind, id_, "tier") == {}
    assert (await announced())[1:] == [EVENT[kind]]


async def test_a_runtimes_label_that_keeps_its_value_is_no_news(director: Any, announced: Announced) -> None:
    runtime = await register(director, "runtime")

    await director.data(SET["runtime"], id=runtime, key="tier", value="gold")

    assert await announced() == ["RuntimeRegistered"]


@BOTH
@pytest.mark.parametrize(
    ("key", "value", "facts"),
    [
        ("", "v", "key=cannot be blank"),
        ("a-b", "v", "key=must be in a valid format"),
        ("tier\n", "v", "key=must be in a valid format"),
        ("ä", "v", "key=must be in a valid format"),
        ("k" * 257, "v", "key=the length must be no more than 256"),
        ("tier", "", "value=cannot be blank"),
        ("tier", [], "value=cannot be blank"),
        ("tier", {}, "value=cannot be blank"),
        ("tier", 0, "value=cannot be blank"),
        ("tier", 0.0, "value=cannot be blank"),
        ("tier", False, "value=cannot be blank"),
        ("a b", "", "key=must be in a valid format; value=cannot be blank"),
    ],
)
async def test_a_key_of_odd_characters_and_a_value_that_says_nothing_are_refused(
    director: Any, kind: str, key: str, value: Any, facts: str
) -> None:
    id_ = await register(director, kind)

    error = await director.refusal(SET[kind], id=id_, key=key, value=value)

    assert error["message"] == f"Invalid data LabelInput [{facts}]"
    assert error["extensions"] == {"error": "InvalidData", "error_code": 22}


@BOTH
async def test_the_longest_key_is_accepted(director: Any, kind: str) -> None:
    id_ = await register(director, kind)

    await director.data(SET[kind], id=id_, key="k" * 256, value=1)

    assert await labels(director, kind, id_, "k" * 256) == {"k" * 256: 1}


@BOTH
async def test_the_label_of_the_groups_is_neither_set_nor_removed_by_hand(director: Any, kind: str) -> None:
    id_ = await register(director, kind)

    refused_set = await director.refusal(SET[kind], id=id_, key="scenarios", value=["a"])
    refused_delete = await director.refusal(DELETE[kind], id=id_, key="scenarios")

    assert "reason: label with key scenarios cannot be set explicitly]" in refused_set["message"]
    assert "reason: label with key scenarios cannot be deleted explicitly]" in refused_delete["message"]
    assert refused_set["extensions"] == refused_delete["extensions"] == {"error": "InternalError", "error_code": 10}


@pytest.mark.parametrize("key", ["runtimeType", "xsappnameCMPClone", "CMPSaaSAppName", "x_defaultEventing"])
async def test_labels_of_the_plane_on_a_runtime_are_not_changed_from_outside(director: Any, key: str) -> None:
    runtime = await register(director, "runtime")

    refused_set = await director.refusal(SET["runtime"], id=runtime, key=key, value="v")
    refused_delete = await director.refusal(DELETE["runtime"], id=runtime, key=key)

    assert refused_set["message"] == f"Invalid data [reason=could not set unmodifiable label with key {key}]"
    assert refused_delete["message"] == f"Invalid data [reason=could not delete unmodifiable label with key {key}]"
    assert refused_set["extensions"]["error_code"] == refused_delete["extensions"]["error_code"] == 22


async def test_an_application_may_have_labels_of_the_same_names(director: Any) -> None:
    application = await register(director, "application")

    await director.data(SET["application"], id=application, key="runtimeType", value="v")

    assert await labels(director, "application", application, "runtimeType") == {"runtimeType": "v"}


@BOTH
async def test_an_absent_label_cannot_be_removed(director: Any, kind: str) -> None:
    id_ = await register(director, kind)

    error = await director.refusal(DELETE[kind], id=id_, key="nothing")

    assert error["message"] == "Object not found [object=label]"


@BOTH
async def test_a_foreign_unknown_or_malformed_object_is_refused_alike(director: Any, kind: str) -> None:
    foreign = await register(director, kind, caller=director.other)
    ids = [foreign, "8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid", ""]

    refused_set = [(await director.refusal(SET[kind], id=id_, key="tier", value=1))["message"] for id_ in ids]
    refused_delete = [(await director.refusal(DELETE[kind], id=id_, key="tier"))["message"] for id_ in ids]

    if kind == "application":
        assert set(refused_set) == {"Object not found [object=application]"}
        assert [message.rpartition("reason: ")[2] for message in refused_delete] == [
            f"application with ID {id_} doesn't exist]" for id_ in ids
        ]
    else:
        expected = [f"Runtime with ID {id_} doesn't exist]" for id_ in ids]
        assert [message.rpartition("reason: ")[2] for message in refused_set] == expected
        assert [message.rpartition("reason: ")[2] for message in refused_delete] == expected


@BOTH
async def test_a_program_labels_itself_and_no_other_of_its_kind(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    itself = getattr(director, kind)(id_)
    other = getattr(director, kind)("8fd7f7f4-3d6c-4a9a-8f3c-000000000000")

    await director.data(SET[kind], caller=itself, id=id_, key="tier", value="silver")
    await director.data(SET[kind], caller=itself, id=id_.upper(), key="tier", value="bronze")
    errors = [
        await director.refusal(SET[kind], caller=other, id=id_, key="tier", value=1),
        await director.refusal(DELETE[kind], caller=other, id=id_, key="tier"),
    ]

    assert {error["message"] for error in errors} == {
        "Unauthorized [reason=Owner access is needed for resource modification]"
    }
    assert await labels(director, kind, id_, "tier") == {"tier": "bronze"}


@BOTH
async def test_all_labels_or_the_one_asked_for_are_shown(director: Any, kind: str) -> None:
    id_ = await register(director, kind)

    everything = await labels(director, kind, id_)

    assert everything["tier"] == "gold"
    assert len(everything) == (3 if kind == "application" else 2)
    assert await labels(director, kind, id_, "tier") == {"tier": "gold"}
    assert await labels(director, kind, id_, "nothing") == {}


@BOTH
async def test_a_tenant_that_sees_and_does_not_own_labels_nothing(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    async with director.database.transaction() as tx:
        await tx.run(
            f"INSERT INTO {kind}_tenant (tenant_id, {kind}_id, owner) VALUES (%(t)s, %(id)s, false)",
            t=director.other.tenant,
            id=id_,
        )

    for key in ("tier", "none"):
        errors = [
            await director.refusal(SET[kind], caller=director.other, id=id_, key=key, value=1),
            await director.refusal(DELETE[kind], caller=director.other, id=id_, key=key),
        ]
        assert {error["message"] for error in errors} == {
            "Unauthorized [reason=Owner access is needed for resource modification]"
        }


async def test_labels_of_the_plane_are_hidden_and_those_that_only_end_alike_are_not(director: Any) -> None:
    runtime = await register(director, "runtime")
    async with director.database.transaction() as tx:
        for key in ("x_defaultEventing", "_defaultEventing", "mydefaultEventing", "x_defaultEventing2"):
            await tx.run(
                "INSERT INTO runtime_label (runtime_id, key, value) VALUES (%(id)s, %(key)s, '1')", id=runtime, key=key
            )

    shown = await labels(director, "runtime", runtime)

    assert shown.keys() == {"isNormalized", "tier", "mydefaultEventing", "x_defaultEventing2"}
