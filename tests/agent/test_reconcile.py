import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.agent.reconcile import (
    NOTHING,
    Basic,
    CertificateOAuth,
    Configuration,
    Csrf,
    OAuth,
    normalized,
    reconcile,
)


def api(id_: str, name: str, url: str = "https://orders.example/api") -> dict[str, Any]:
    return {"id": id_, "name": name, "description": None, "targetURL": url}


def bundle(id_: str, name: str, *apis: dict[str, Any], auth: Any = None, events: Any = ()) -> dict[str, Any]:
    return {
        "id": id_,
        "name": name,
        "defaultInstanceAuth": auth,
        "apiDefinitions": {"data": list(apis)},
        "eventDefinitions": {"data": list(events)},
    }


def application(id_: str, name: str, *bundles: dict[str, Any], clients: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"id": id_, "name": name, "auths": [{"id": id_} for id_ in clients], "bundles": {"data": list(bundles)}}


def paths(configuration: Configuration) -> list[str]:
    return [api.path for app in configuration.applications for service in app.services for api in service.apis]


def test_a_new_application_is_applied_with_everything_the_runtime_keeps() -> None:
    auth = {
        "credential": {"__typename": "BasicCredentialData", "username": "u", "password": "p"},
        "additionalHeaders": {"X-A": ["1", "2"]},
        "additionalQueryParams": {"q": ["z"]},
        "requestAuth": {"csrf": {"tokenEndpointURL": "https://orders.example/csrf"}},
    }
    event = {"id": "e1", "name": "order.created", "description": "d"}
    fetched = application(
        "a1", "mp-orders", bundle("b1", "Sales & Orders", api("i1", "Orders v1"), auth=auth, events=[event]),
        clients=("c2", "c1"),
    )  # fmt: skip
    result = reconcile([fetched], NOTHING)

    assert (result.applied, result.changed, result.removed, result.failed) == (("mp-orders",), (), (), {})
    kept = result.configuration.applications[0]
    assert (kept.id, kept.name, kept.client_ids) == ("a1", "mp-orders", ("c1", "c2"))
    service = kept.services[0]
    assert (service.name, service.display_name) == ("sales-orders-7e83c", "Sales & Orders")
    assert service.credentials == Basic("u", "p")
    assert (service.headers, service.query) == ((("X-A", "1"), ("X-A", "2")), (("q", "z"),))
    assert service.csrf == Csrf("https://orders.example/csrf", None, (), ())
    assert service.apis[0].path == "/mp-orders/sales-orders/orders-v1"
    assert (service.events[0].id, service.events[0].name) == ("e1", "order.created")


@pytest.mark.parametrize(
    ("credential", "kept"),
    [
        (None, None),
        ({"username": "u", "password": "p"}, Basic("u", "p")),
        ({"clientId": "i", "clientSecret": "s", "url": "https://t"}, OAuth("i", "s", "https://t")),
        ({"clientId": "i", "certificate": "PEM", "url": "https://t"}, CertificateOAuth("i", "PEM", "https://t")),
    ],
)
def test_credentials_are_told_apart_by_their_fields(credential: Any, kept: Any) -> None:
    fetched = application("a1", "app", bundle("b1", "b", auth={"credential": credential}))
    assert reconcile([fetched], NOTHING).configuration.applications[0].services[0].credentials == kept


def test_the_same_again_is_no_difference_and_no_new_revision() -> None:
    fetched = [application("a1", "app", bundle("b1", "b", api("i1", "x")))]
    first = reconcile(fetched, NOTHING)
    second = reconcile(fetched, first.configuration)
    assert not second.differs
    assert second.configuration == first.configuration
    assert second.configuration.revision == 1


def test_changed_and_removed_applications_are_named() -> None:
    before = reconcile([application("a1", "one", bundle("b1", "b", api("i1", "x"))), application("a2", "two")], NOTHING)
    moved = api("i1", "x", "https://elsewhere.example")
    after = reconcile([application("a1", "one", bundle("b1", "b", moved))], before.configuration)
    assert (after.applied, after.changed, after.removed) == ((), ("one",), ("two",))
    assert after.configuration.revision == 2


def test_a_difference_is_told_an_application_at_a_time_with_how_much_there_is_of_it() -> None:
    crm = application("a2", "crm", bundle("b2", "all", api("i3", "customers")))
    before = reconcile([application("a1", "orders"), crm], NOTHING)
    assert before.told() == "+ orders, + crm (1 API)"

    happened = {"id": "e1", "name": "billed", "description": None}
    billing = application("a3", "billing", bundle("b1", "all", api("i1", "one"), api("i2", "two"), events=[happened]))
    more = application("a2", "crm", bundle("b2", "all", api("i3", "customers"), api("i4", "visits")))
    after = reconcile([more, billing], before.configuration)

    assert after.told() == "+ billing (2 APIs, 1 event), ~ crm (2 APIs), - orders"


def test_more_than_one_page_of_applications_is_kept_whole() -> None:
    fetched = [application(f"a{number:04}", f"app-{number}") for number in range(450)]
    before = reconcile(fetched, NOTHING)
    assert len(before.configuration.applications) == 450
    assert reconcile(fetched, before.configuration).removed == ()


@pytest.mark.parametrize(
    "broken",
    [
        application("a2", "bad", bundle("b1", "b", api("i1", "x", "ftp://x"))),
        application("a2", "bad", bundle("b1", "b", api("i1", "x", "https://"))),
        application("a2", "bad", bundle("b1", "b", auth={"credential": {"token": "?"}})),
        application("a2", "bad", bundle("b1", "")),
        application("a2", "bad", bundle("b1", "b", auth={"requestAuth": {"csrf": {"tokenEndpointURL": ""}}})),
        {"id": "a2", "name": "bad", "bundles": {"data": [None]}},
    ],
)
def test_an_application_that_cannot_be_taken_over_holds_up_no_other_and_keeps_its_last_good_form(
    broken: dict[str, Any],
) -> None:
    good = application("a2", "bad", bundle("b1", "b", api("i1", "x")))
    before = reconcile([good], NOTHING)
    after = reconcile([application("a1", "fine"), broken], before.configuration)
    assert after.applied == ("fine",)
    assert (after.changed, after.removed) == ((), ())
    assert list(after.failed) == ["bad"]
    assert after.configuration.applications[1] == before.configuration.applications[0]

    new = reconcile([application("a1", "fine"), broken], NOTHING)
    assert [kept.name for kept in new.configuration.applications] == ["fine"]
    assert list(new.failed) == ["bad"]


def test_names_that_look_alike_in_a_path_get_different_paths() -> None:
    twins = bundle("b1", "b", api("i1", "Orders!"), api("i2", "orders"), api("i3", "ORDERS?"))
    assert paths(reconcile([application("a1", "app", twins)], NOTHING).configuration) == [
        "/app/b/orders",
        "/app/b/orders-ce4e9",
        "/app/b/orders-c5f51",
    ]


def test_a_path_stays_while_its_api_does() -> None:
    before = reconcile([application("a1", "app", bundle("b1", "b", api("i5", "orders")))], NOTHING)
    joined = bundle("b1", "b", api("i1", "Orders"), api("i5", "orders"))
    after = reconcile([application("a1", "app", joined)], before.configuration)
    assert dict(zip(("i1", "i5"), paths(after.configuration), strict=True))["i5"] == "/app/b/orders"
    left = reconcile([application("a1", "app", bundle("b1", "b", api("i1", "Orders")))], after.configuration)
    assert paths(left.configuration) == [paths(after.configuration)[0]]


@pytest.mark.parametrize(
    ("name", "path"),
    [("Orders v1", "orders-v1"), ("--A__b--", "a-b"), ("x" * 80, "x" * 57), ("é", ""), ("a" * 56 + "!b", "a" * 56)],
)
def test_names_are_normalized(name: str, path: str) -> None:
    assert normalized(name) == path


names = st.text(min_size=1, max_size=70)
fetched_applications = st.dictionaries(
    st.uuids().map(str),
    st.tuples(names, st.dictionaries(st.uuids().map(str), names, max_size=4)),
    max_size=6,
).map(
    lambda found: [
        application(id_, name, bundle(f"b-{id_}", name, *(api(key, value) for key, value in apis.items())))
        for id_, (name, apis) in found.items()
    ]
)


@given(fetched_applications, fetched_applications)
def test_whatever_comes_paths_are_unique_nothing_is_lost_and_the_disk_form_is_faithful(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    before = reconcile(first, NOTHING).configuration
    after = reconcile(first[1:] + second, before)
    found = paths(after.configuration)
    assert len(found) == len(set(found))
    assert after.failed == {}
    assert {kept.id for kept in after.configuration.applications} == {one["id"] for one in first[1:] + second}
    assert Configuration.restored(json.loads(json.dumps(after.configuration.stored()))) == after.configuration
    again = reconcile(first[1:] + second, after.configuration)
    assert not again.differs


def test_every_kind_of_credentials_survives_the_disk() -> None:
    csrf = {"tokenEndpointURL": "https://c", "credential": {"username": "u", "password": "p"}}
    kinds = [
        {"credential": {"username": "u", "password": "p"}, "additionalHeaders": {"A": ["b"]}},
        {"credential": {"clientId": "i", "clientSecret": "s", "url": "https://t"}, "requestAuth": {"csrf": csrf}},
        {"credential": {"clientId": "i", "certificate": "PEM", "url": "https://t"}},
        None,
    ]
    bundles = [bundle(f"b{number}", "b", api(f"i{number}", "x"), auth=auth) for number, auth in enumerate(kinds)]
    kept = reconcile([application("a", "n", *bundles)], NOTHING).configuration
    assert Configuration.restored(json.loads(json.dumps(kept.stored()))) == kept


def test_no_text_of_a_configuration_holds_a_secret() -> None:
    secret = "t0psecret"
    kinds = [
        {"credential": {"username": "u", "password": secret}, "additionalHeaders": {"A": [secret]}},
        {"credential": {"clientId": "i", "clientSecret": secret, "url": "https://t"}},
        {"credential": {"clientId": "i", "certificate": secret, "url": "https://t"}},
    ]
    bundles = [bundle(f"b{number}", "b", auth=auth) for number, auth in enumerate(kinds)]
    assert secret not in repr(reconcile([application("a", "n", *bundles)], NOTHING))
