"""What is said of a conflict, and who it is said of. Against a real plane: test_owned.py."""

import json
from typing import Any

import pytest

from compass.client.protocol import PlaneRefused
from compass.landscape.conflicts import Changes, brief, shown
from compass.landscape.manifest import Kind, Manifest
from compass.landscape.ownership import Conflict

ONE = Manifest(Kind.APPLICATION, "crm", {"labels": {"gone": "a"}}, "f:1")
ROW: dict[str, Any] = {
    "id": "a1",
    "labels": {"team": "x"},
    "offers": {"bundles": [{"id": "b1", "name": "orders", "apis": [{"id": "d1", "name": "v1"}], "events": []}]},
}


class Plane:
    """Answers with these records, by what they are asked for with."""

    def __init__(self, **records: list[dict[str, Any]]) -> None:
        self.records = records
        self.asked: list[str] = []

    def ask(self, document: str, variables: Any) -> Any:
        wanted = variables.get("object") or variables["operation"]
        self.asked.append(f"{document} {wanted}")
        return {"data": self.records.get(wanted, [])}


def record(number: int, operation: str, before: Any = None, after: Any = None, **arguments: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "happenedAt": f"at {number}",
        "operation": operation,
        "consumer": "User",
        "consumerID": "ann",
        "arguments": json.dumps(arguments),
        "before": None if before is None else json.dumps(before),
        "after": None if after is None else json.dumps(after),
    }


def last(plane: Plane, name: str) -> str | None:
    return Changes(plane).last(ONE, ROW, name)  # type: ignore[arg-type]  # all that is needed is to ask


def test_a_conflict_says_both_values_and_whose_they_are() -> None:
    owned = Conflict("description", "a", "b", ("ci", "ops"), ("ci", "me"))
    changed = Conflict("labels.team", {"x": 1}, None, (), ("me",))
    assert brief(owned) == 'description "b" → "a" (owned by ci, ops)'
    assert brief(changed) == 'labels.team (none) → {"x": 1} (changed since me applied it)'
    assert brief(Conflict("groups.x", None, present=True, owners=(), applied_by=("me",))) == (
        "groups.x is there, and not in the file (changed since me applied it)"
    )
    assert brief(Conflict("groups.x", wanted=True, present=None, owners=("ci",), applied_by=())) == (
        "groups.x is in the file, and not there (owned by ci)"
    )


def test_a_long_value_is_cut() -> None:
    assert shown(100 * "x") == f'"{78 * "x"}…'
    assert (shown(""), shown(None), shown(0), shown("é")) == ("(none)", "(none)", "0", '"é"')


def test_the_last_change_of_the_field_is_told_and_none_of_another() -> None:
    described = record(2, "updateApplication", {"description": "a"}, {"description": "b"})
    other = record(3, "updateApplication", {"description": "b"}, {"description": "b", "baseUrl": "u"})
    recorded = record(4, "setApplicationAppliedFields", {"description": "b"}, {"description": "b"})
    plane = Plane(a1=[recorded, other, described, record(1, "registerApplication", None, {"description": "a"})])

    assert last(plane, "description") == "User ann at at 2 (updateApplication)"
    assert last(plane, "baseUrl") == "User ann at at 3 (updateApplication)"
    assert last(plane, "healthCheckURL") is None


def test_labels_groups_and_offers_have_records_of_their_own() -> None:
    plane = Plane(
        a1=[record(1, "registerApplication", None, {"labels": {"team": "a"}})],
        setApplicationLabel=[
            record(5, "setApplicationLabel", applicationID="a2", key="team"),
            record(4, "setApplicationLabel", applicationID="a1", key="other"),
            record(3, "setApplicationLabel", applicationID="a1", key="team"),
        ],
        deleteApplicationLabel=[record(6, "deleteApplicationLabel", applicationID="a1", key="gone")],
        assignFormation=[record(7, "assignFormation", objectID="a1", formation={"name": "retail"})],
        b1=[record(8, "updateBundle", {"description": "a"}, {"description": "b"})],
        d1=[record(9, "updateAPIDefinition", {"targetURL": "a"}, {"targetURL": "b"})],
    )

    for name, number in {
        "labels.team": 3,
        "labels.gone": 6,
        "groups.retail": 7,
        "bundles.orders.description": 8,
        "bundles.orders.apis.v1.targetURL": 9,
    }.items():
        assert f" at at {number} (" in str(last(plane, name)), name
    assert last(plane, "groups.spare") is None


def test_each_log_is_read_once_and_whoever_may_not_read_it_is_told_nothing() -> None:
    plane = Plane(a1=[])
    changes = Changes(plane)  # type: ignore[arg-type]  # all that is needed is to ask
    assert [changes.last(ONE, ROW, "description") for _ in range(3)] == [None, None, None]
    assert plane.asked == ["Changes a1"]


@pytest.mark.parametrize(("code", "is_silent"), [(23, True), (26, True), (None, True), (10, False)])
def test_only_a_refusal_to_tell_is_passed_over(code: int | None, *, is_silent: bool) -> None:
    class Refusing(Plane):
        def ask(self, *_: object) -> Any:
            raise PlaneRefused([{"message": "no", "extensions": {"error_code": code}}], status=200)

    if is_silent:
        assert last(Refusing(), "description") is None
    else:
        with pytest.raises(PlaneRefused):
            last(Refusing(), "description")
