"""What a document means for an object, from what is there and who applied what. Doing it: test_owned.py."""

from typing import Any

from compass.landscape.manifest import Kind, Manifest
from compass.landscape.offers import named
from compass.landscape.ownership import Judged, Owners, digest, fields, judge

ID = "a1"


def row(**more: Any) -> dict[str, Any]:
    return {"id": ID, "description": None, "labels": {}, "webhooks": [], **more}


def document(**says: Any) -> Manifest:
    return Manifest(Kind.APPLICATION, "crm", says, "f:1")


def applied(manager: str, replaces: Any = None, **values: Any) -> list[dict[str, Any]]:
    before = {} if replaces is None else {"replaces": replaces}
    return [
        {
            "name": name,
            "manager": manager,
            "digest": digest(ID, name, value),
            "replaces": digest(ID, name, replaces) if before else None,
        }
        for name, value in values.items()
    ]


def entries(manager: str, *names: str) -> list[dict[str, Any]]:
    return [{**each, "name": each["name"]} for name in names for each in applied(manager, **{name: True})]


def judged(one: Manifest, there: dict[str, Any], *rows: list[dict[str, Any]]) -> Judged:
    return judge(one, there, Owners(ID, [each for some in rows for each in some]), "me")


def reasons(result: Judged) -> dict[str, str]:
    return {conflict.name: conflict.reason for conflict in result.conflicts}


def test_a_field_has_one_name_in_a_document_and_in_the_plane() -> None:
    api = {
        "name": "v 1",
        "targetURL": "u",
        "version": {"value": "1"},
        "spec": {"type": "T", "format": "F", "data": "d"},
    }
    says = {"labels": {"team": 1}, "groups": ["g"], "bundles": [{"name": "b", "apis": [api]}], "description": "d"}

    assert {name: field.value for name, field in fields(says).items()} == {
        "labels.team": 1,
        "groups": True,
        "groups.g": True,
        "bundles": True,
        "bundles.b": True,
        "bundles.b.apis": True,
        'bundles.b.apis["v 1"]': True,
        'bundles.b.apis["v 1"].targetURL': "u",
        'bundles.b.apis["v 1"].version': "1",
        'bundles.b.apis["v 1"].spec': {"type": "T", "format": "F", "data": "d"},
        "description": "d",
    }
    assert named("a.b", "c") == '["a.b"].c'
    assert named("a", "b", "c") != named("a", "b.c")


def test_the_address_of_a_webhook_is_no_part_of_a_name() -> None:
    one = {"type": "CONFIGURATION_CHANGED", "url": "https://crm.example/?token=planted", "mode": "SYNC"}
    other = {**one, "url": "https://crm.example/?token=another"}

    (_, first, member, second, _) = fields({"webhooks": [one, other]})

    assert member == f"{first}.mode"
    assert first != second
    assert "crm.example" not in first + second
    assert first.startswith('webhooks["CONFIGURATION_CHANGED ')


def test_a_digest_says_nothing_of_another_object_or_field() -> None:
    assert digest("a", "description", "x") != digest("b", "description", "x") != digest("b", "providerName", "x")
    assert digest("a", "n", None) == digest("a", "n", "")
    assert digest("a", "n", {"x": 1.0, "y": [2]}) == digest("a", "n", {"y": [2.0], "x": 1})
    assert digest("a", "n", True) != digest("a", "n", 1)


def test_what_nobody_applied_is_taken_over() -> None:
    result = judged(document(description="new"), row(description="old"))

    assert (result.conflicts, result.is_recorded) == ((), False)
    assert result.done == ({"name": "description", "digest": digest(ID, "description", "new")},)


def test_what_we_applied_and_is_still_there_is_changed() -> None:
    assert reasons(judged(document(description="b"), row(description="a"), applied("me", description="a"))) == {}


def test_what_is_neither_what_we_applied_nor_what_the_file_says_was_changed_by_somebody() -> None:
    for present in ("theirs", "", None):
        result = judged(document(description="b"), row(description=present), applied("me", description="a"))
        assert reasons(result) == {"description": "changed since me applied it"}
    result = judged(document(description="theirs"), row(description="theirs"), applied("me", description="a"))
    assert (reasons(result), result.is_recorded) == ({}, False)


def test_what_another_manager_applied_is_its_own_also_when_we_applied_it_too() -> None:
    theirs, ours = applied("ci", description="a"), applied("me", description="a")
    assert reasons(judged(document(description="b"), row(description="a"), theirs)) == {"description": "owned by ci"}
    both = judged(document(description="b"), row(description="a"), theirs, ours)
    assert reasons(both) == {"description": "owned by ci"}
    same = judged(document(description="a"), row(description="a"), theirs, ours)
    assert (reasons(same), same.is_recorded) == ({}, True)
    stale = judged(document(description="b"), row(description="a"), applied("ci", description="x"), ours)
    assert reasons(stale) == {}  # what is there is ours
    neither = judged(document(description="b"), row(description="c"), applied("ci", description="x"))
    assert reasons(neither) == {"description": "changed since ci applied it"}


def test_another_manager_that_is_recorded_with_another_value_is_told_that_it_lost_the_field() -> None:
    result = judged(
        document(description="a"), row(description="a"), applied("me", description="a"), applied("ci", description="x")
    )

    assert (reasons(result), result.is_recorded) == ({}, False)


def test_different_fields_of_one_object_have_different_owners() -> None:
    there = row(description="d", labels={"team": "shop", "tier": "gold"})
    theirs = applied("ci", **{"description": "d", "labels.tier": "gold"})

    assert (
        reasons(judged(document(labels={"team": "web"}), there, theirs, applied("me", **{"labels.team": "shop"}))) == {}
    )


def test_who_says_a_list_owns_that_there_is_nothing_else_in_it() -> None:
    mine = entries("me", "groups", "groups.a")
    added = row(labels={"scenarios": ["a", "theirs"]})
    assert reasons(judged(document(groups=["a"]), added, mine)) == {"groups.theirs": "changed since me applied it"}
    removed = row(labels={"scenarios": []})
    assert reasons(judged(document(groups=["a"]), removed, mine)) == {"groups.a": "changed since me applied it"}
    own = row(labels={"scenarios": ["a"]})
    assert reasons(judged(document(groups=["b"]), own, mine)) == {}
    assert reasons(judged(document(groups=["a", "b"]), own, entries("ci", "groups", "groups.a"))) == {
        "groups.b": "owned by ci"
    }
    assert reasons(judged(document(groups=["b"]), own)) == {}  # nobody says the list


def test_what_comes_with_an_entry_that_is_not_there_is_no_conflict_of_its_own() -> None:
    bundle = {"name": "b", "description": "d"}
    mine = [*entries("me", "bundles", "bundles.b"), *applied("me", **{"bundles.b.description": "d"})]
    offers: dict[str, Any] = {"bundles": [], "apis": [], "events": []}

    result = judged(document(bundles=[bundle]), row(offers=offers), mine)

    assert reasons(result) == {"bundles.b": "changed since me applied it"}


def test_what_was_cut_off_is_our_own_work_on_both_sides_whatever_the_file_says_by_then() -> None:
    cut_off = applied("me", replaces="a", description="b")
    for present in ("a", "b"):
        for wanted in ("a", "b", "c"):
            result = judged(document(description=wanted), row(description=present), cut_off)
            assert reasons(result) == {}, (present, wanted)
            assert not result.is_recorded
    assert reasons(judged(document(description="b"), row(description="x"), cut_off)) != {}


def test_before_a_change_both_values_are_recorded_and_afterwards_the_new_one() -> None:
    mine = [*applied("me", description="a"), *entries("me", "groups", "groups.x")]
    there = row(description="a", labels={"scenarios": ["x"]})

    result = judged(document(description="b", groups=["y"]), there, mine)

    def said(name: str, value: Any) -> dict[str, str]:
        return {"name": name, "digest": digest(ID, name, value)}

    def replaced(name: str, value: Any, before: Any) -> dict[str, str]:
        return said(name, value) | {"replaces": digest(ID, name, before)}

    assert result.under_way == (
        replaced("description", "b", "a"),
        said("groups", value=True),
        replaced("groups.x", None, before=True),
        replaced("groups.y", True, None),
    )
    assert result.done == (said("description", "b"), said("groups", value=True), said("groups.y", value=True))


def test_what_the_file_says_no_more_is_removed_when_it_was_ours_alone() -> None:
    there = row(description="d", labels={"team": "shop", "scenarios": ["a", "b"]})
    mine = [*applied("me", **{"description": "d", "labels.team": "shop"}), *entries("me", "groups", "groups.a")]

    result = judged(document(), there, mine)

    assert (result.says, result.labels_gone) == ({"description": "", "groups": ["b"]}, ("team",))
    assert (result.conflicts, result.done, result.is_recorded) == ((), (), False)


def test_what_the_file_says_no_more_is_given_up_when_somebody_else_changed_or_owns_it() -> None:
    there = row(description="theirs", labels={"team": "shop"})
    mine = applied("me", **{"description": "d", "labels.team": "shop"})

    result = judged(document(), there, mine, applied("ci", **{"labels.team": "shop"}))

    assert (result.says, result.labels_gone, result.under_way) == ({}, (), ())


def test_of_offers_that_a_file_says_no_more_only_ours_go() -> None:
    spec = {"type": "T", "format": "F", "data": "d"}
    api = {"name": "v1", "targetURL": "u", "group": "g", "version": {"value": "1"}, "spec": spec}
    bundle = {"name": "b", "description": "d", "apis": [api, {**api, "name": "theirs"}], "events": []}
    there = row(offers={"bundles": [bundle], "apis": [], "events": []})
    before = {"bundles": [{"name": "b", "description": "d", "apis": [api]}]}
    mine = [each for name, field in fields(before).items() for each in applied("me", **{name: field.value})]

    lists = judged(document(bundles=[{"name": "b"}]), there, mine)
    assert lists.says == {"bundles": [{"name": "b", "description": "", "apis": [{"name": "theirs"}]}]}
    own = judged(document(bundles=[{"name": "b", "apis": [{"name": "v1", "targetURL": "u"}]}]), there, mine)
    assert own.says["bundles"][0]["apis"] == [{"name": "v1", "targetURL": "u", "group": ""}]  # its specification stays
    assert judged(document(), there, mine).says == {"bundles": []}
