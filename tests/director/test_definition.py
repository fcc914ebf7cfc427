"""What holds for API and event definitions alike."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.delivery.receiver import answer, receiving
from tests.director import catalogue
from tests.director.catalogue import NOT_OWNER, UNKNOWN


@dataclass(frozen=True)
class Definitions:
    """One kind of definition, as documents and errors name it."""

    type: str
    object: str
    refetch: str
    word: str
    spec: dict[str, str]
    more: dict[str, str]

    def add_to_bundle(self) -> str:
        return self._mutation(f"add{self.type}ToBundle", "bundleID")

    def add_to_application(self) -> str:
        return self._mutation(f"add{self.type}ToApplication", "appID")

    def update(self, *, in_bundle: bool = True) -> str:
        return self._mutation(f"update{self.type}{'' if in_bundle else 'ForApplication'}", "id")

    def _mutation(self, name: str, argument: str) -> str:
        return f"""mutation ($id: ID!, $in: {self.type}Input!) {{
          result: {name}({argument}: $id, in: $in) {{
            id name group spec {{ id data fetchRequest {{ url status {{ condition }} }} }}
          }}
        }}"""

    def delete(self) -> str:
        return f"mutation ($id: ID!) {{ result: delete{self.type}(id: $id) {{ id name }} }}"

    def refetched(self) -> str:
        return f"mutation ($id: ID!) {{ result: {self.refetch}: $id) {{ id data }} }}"

    def given(self, name: str = "orders", **more: Any) -> dict[str, Any]:
        return {"in": {"name": name, **self.more, **more}}


API = Definitions(
    "APIDefinition", "api", "refetchAPISpec(apiID", "API", {"type": "OPEN_API", "format": "JSON"},
    {"targetURL": "https://orders.example/"},
)  # fmt: skip
EVENT = Definitions(
    "EventDefinition", "eventDefinition", "refetchEventDefinitionSpec(eventID", "Event",
    {"type": "ASYNC_API", "format": "YAML"}, {},
)  # fmt: skip
BOTH = pytest.mark.parametrize("kind", [API, EVENT], ids=["api", "event"])


async def added(director: Any, kind: Definitions, **more: Any) -> tuple[str, str, str]:
    """An application, its bundle, and a definition in the bundle."""
    application = await catalogue.register(director)
    bundle = await catalogue.bundle(director, application)
    data = await director.data(kind.add_to_bundle(), id=bundle, **kind.given(**more))
    return application, bundle, str(data["result"]["id"])


@BOTH
async def test_each_change_is_announced_once_with_what_changed(director: Any, kind: Definitions) -> None:
    application, _, first = await added(director, kind)
    second = (await director.data(kind.add_to_application(), id=application, **kind.given()))["result"]["id"]

    await director.data(kind.update(), id=first, **kind.given("renamed"))
    await director.data(kind.update(in_bundle=False), id=second, **kind.given("renamed"))
    deleted = [(await director.data(kind.delete(), id=id_))["result"] for id_ in (first.upper(), second)]

    assert deleted == [{"id": first, "name": "renamed"}, {"id": second, "name": "renamed"}]
    facts = (await catalogue.facts(director))[1:]  # the first is the bundle's
    assert [(fact["application"], fact["object"], fact["id"], fact["change"]) for fact in facts] == [
        (application, kind.object, id_, change)
        for change, ids in (("added", (first, second)), ("updated", (first, second)), ("deleted", (first, second)))
        for id_ in ids
    ]


@BOTH
async def test_each_update_is_for_what_is_held_its_own_way(director: Any, kind: Definitions) -> None:
    application, _, in_bundle = await added(director, kind)
    alone = (await director.data(kind.add_to_application(), id=application, **kind.given()))["result"]["id"]

    for id_, is_in_bundle in ((in_bundle, False), (alone, True), (UNKNOWN, True), ("no-uuid", False), ("", True)):
        error = await director.refusal(kind.update(in_bundle=is_in_bundle), id=id_, **kind.given("x"))
        assert error["message"] == f"Object not found [object={kind.object}]"
        assert error["extensions"] == {"error": "NotFound", "error_code": 20}


@BOTH
async def test_nobody_but_the_owner_changes_it(director: Any, kind: Definitions) -> None:
    application, _, id_ = await added(director, kind, spec={**kind.spec, "data": "x"})
    neighbour = director.application(await catalogue.register(director, "neighbour"))
    absent = f"Object not found [object={kind.object}]"
    no_spec = f'reason: spec for {kind.word} with id "{id_}" not found]'
    changes: list[tuple[str, dict[str, Any], str]] = [
        (kind.update(), kind.given("x"), absent),
        (kind.delete(), {}, absent),
        (kind.refetched(), {}, no_spec),
    ]

    for text, given, unseen in changes:
        for caller in (director.other, neighbour):
            assert (await director.refusal(text, id=id_, caller=caller, **given))["message"].endswith(unseen)
    seer = await catalogue.seen_not_owned(director, application)
    for text, given, _ in changes:
        assert (await director.refusal(text, id=id_, caller=seer, **given))["message"] == NOT_OWNER


@BOTH
async def test_an_update_without_a_specification_keeps_it_and_one_with_it_replaces_all_of_it(
    director: Any, kind: Definitions
) -> None:
    async def fetched(_: object) -> bytes:
        return answer(200, b"fetched")

    async with receiving(fetched) as source:
        url = source.url()
        _, _, id_ = await added(director, kind, spec={**kind.spec, "fetchRequest": {"url": url}})
    kept = (await director.data(kind.update(), id=id_, **kind.given(group="g")))["result"]
    replaced = (await director.data(kind.update(), id=id_, **kind.given(spec={**kind.spec, "data": "new"})))["result"]

    assert (kept["group"], kept["spec"]["data"], kept["spec"]["fetchRequest"]) == (
        "g", "fetched", {"url": url, "status": {"condition": "SUCCEEDED"}},
    )  # fmt: skip
    assert (replaced["group"], replaced["spec"]["data"], replaced["spec"]["fetchRequest"]) == (None, "new", None)


@BOTH
async def test_each_change_costs_a_bounded_number_of_statements(
    director: Any, kind: Definitions, monkeypatch: Any
) -> None:
    application, bundle, id_ = await added(director, kind, spec={**kind.spec, "data": "x"})
    spec = {**kind.spec, "data": "y"}

    for text, subject, given, most in (
        (kind.add_to_bundle(), bundle, kind.given(spec=spec), 4),
        (kind.add_to_application(), application, kind.given(spec=spec), 4),
        (kind.update(), id_, kind.given(spec=spec), 6),
        (kind.delete(), id_, {}, 4),
    ):
        with catalogue.counted(monkeypatch) as ran:
            await director.data(text, id=subject, **given)
        assert len(ran) == most
