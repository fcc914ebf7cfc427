"""Runtimes through the Director's API."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from compass.access.caller import Consumer
from compass.director import runtime, tenant
from compass.settings import LandscapeSettings

FIELDS = """
  id name description labels applicationNamespace metadata { creationTimestamp }
  status { condition timestamp } eventingConfiguration { defaultURL } auths { id }
"""
REGISTER = "mutation ($in: RuntimeRegisterInput!) { result: registerRuntime(in: $in) { %s } }" % FIELDS
UPDATE = "mutation ($id: ID!, $in: RuntimeUpdateInput!) { result: updateRuntime(id: $id, in: $in) { %s } }" % FIELDS
UNREGISTER = "mutation ($id: ID!) { result: unregisterRuntime(id: $id) { %s } }" % FIELDS
ONE = "query ($id: ID!) { result: runtime(id: $id) { %s } }" % FIELDS
ALL = "query ($filter: [LabelFilter!]) { result: runtimes(filter: $filter) { data { name } totalCount } }"
WEBHOOKS = """query ($id: ID!) { result: runtime(id: $id) { webhooks {
  type mode url urlTemplate inputTemplate headerTemplate outputTemplate auth { accessStrategy }
} } }"""
UNKNOWN = ("8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid", "")

Announced = Callable[[], Awaitable[Sequence[str]]]


async def register(director: Any, name: str = "kyma", **more: Any) -> Any:
    caller = more.pop("caller", None)
    return (await director.data(REGISTER, caller=caller, **{"in": {"name": name, **more}}))["result"]


async def update(director: Any, id_: str, **given: Any) -> Any:
    return (await director.data(UPDATE, id=id_, **{"in": {"name": "kyma", **given}}))["result"]


async def add_label(director: Any, id_: str, key: str, value: Any) -> None:
    async with director.database.transaction() as tx:
        await tx.run(
            "INSERT INTO runtime_label (runtime_id, key, value) VALUES (%(id)s, %(key)s, %(value)s)",
            id=id_,
            key=key,
            value=value,
        )


async def subaccount(director: Any, external_id: str, parent: str = "tenant-mine", region: str | None = None) -> Any:
    """A caller in a new tenant below another."""
    new = tenant.NewTenant(external_id, external_id, "subaccount", "test", parents=[parent], region=region)
    async with director.database.transaction() as tx:
        return replace(director.caller, tenant=await tenant.write(tx, new), external_tenant=external_id)


async def facts(director: Any) -> Any:
    async with director.database.transaction() as tx:
        return (await tx.rows("SELECT name, facts FROM outbox_event ORDER BY id"))[-1]["facts"]


async def test_a_registered_runtime_answers_with_what_was_given_and_normalizes_names(
    director: Any, announced: Announced
) -> None:
    result = await register(
        director,
        description="d",
        applicationNamespace="ns",
        labels={"tier": ["gold", 1]},
        statusCondition="PROVISIONING",
    )

    created, changed = result.pop("metadata")["creationTimestamp"], result["status"].pop("timestamp")
    assert len(created) == len(changed) == len("2026-11-23T08:04:54Z")
    assert result == {
        "id": result["id"],
        "name": "kyma",
        "description": "d",
        "labels": {"tier": ["gold", 1], "isNormalized": "true"},
        "applicationNamespace": "ns",
        "status": {"condition": "PROVISIONING"},
        "eventingConfiguration": {"defaultURL": ""},
        "auths": [],
    }
    assert await announced() == ["RuntimeRegistered"]


async def test_a_new_runtime_is_initial_and_keeps_its_own_word_on_normalization(director: Any) -> None:
    result = await register(director, labels={"isNormalized": "false"})

    assert result["status"]["condition"] == "INITIAL"
    assert result["labels"] == {"isNormalized": "false"}


async def test_names_of_runtimes_are_not_unique(director: Any) -> None:
    await register(director)
    await register(director)

    page = (await director.data(ALL))["result"]
    assert page == {"data": [{"name": "kyma"}, {"name": "kyma"}], "totalCount": 2}


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"name": ""}, "name=cannot be blank"),
        ({"name": "a" * 257}, "name=the length must be between 1 and 256"),
        ({"name": "a b"}, "name=must be in a valid format"),
        ({"name": "ä"}, "name=must be in a valid format"),
        ({"name": "a\n"}, "name=must be in a valid format"),
        ({"name": "a", "description": "d" * 2001}, "description=the length must be no more than 2000"),
        ({"name": "a", "applicationNamespace": "d" * 257}, "applicationNamespace=the length must be no more than 256"),
        ({"name": "a", "labels": {"a-b": 1}}, "labels=label key 'a-b' must be in a valid format"),
    ],
)
async def test_input_that_breaks_a_rule_is_refused_by_field(director: Any, given: dict[str, Any], fact: str) -> None:
    id_ = (await register(director))["id"]

    registered = await director.refusal(REGISTER, **{"in": given})
    updated = await director.refusal(UPDATE, id=id_, **{"in": given})

    assert registered["message"] == f"Invalid data RuntimeRegisterInput [{fact}]"
    assert updated["message"] == f"Invalid data RuntimeUpdateInput [{fact}]"


async def test_the_label_of_the_groups_is_refused_and_labels_of_the_plane_are_dropped(director: Any) -> None:
    own = {"runtimeType": "x", "xsappnameCMPClone": "x", "CMPSaaSAppName": "x", "a_defaultEventing": "true", "tier": 1}
    result = await register(director, labels=own)

    refused = await director.refusal(REGISTER, **{"in": {"name": "a", "labels": {"scenarios": ["s"]}}})
    refused_update = await director.refusal(
        UPDATE, id=result["id"], **{"in": {"name": "a", "labels": {"scenarios": ["s"]}}}
    )

    assert result["labels"] == {"tier": 1, "isNormalized": "true"}
    assert "reason: label with key scenarios cannot be set explicitly]" in refused["message"]
    assert "reason: label with key scenarios cannot be set explicitly]" in refused_update["message"]


async def test_an_integration_systems_runtimes_are_kyma_runtimes(director: Any) -> None:
    caller = replace(director.caller, consumer=Consumer.INTEGRATION_SYSTEM, consumer_id="broker")

    result = await register(director, caller=caller, labels={"runtimeType": "other"}, applicationNamespace="other")

    assert result["labels"] == {"runtimeType": "kyma", "isNormalized": "true"}
    assert result["applicationNamespace"] == "sap.kyma"
    assert (await director.data(WEBHOOKS, id=result["id"]))["result"] == {"webhooks": []}


async def test_an_integration_systems_runtime_is_of_the_region_of_its_subaccount_and_told_to_the_adapter(
    director: Any,
) -> None:
    await subaccount(director, "sub", region="eu-1")
    chosen = LandscapeSettings(
        kyma_adapter_url_template='{"method": "POST", "path": "https://adapter.example/{{.Runtime.ID}}"}',
        kyma_adapter_input_template='{"operation": "{{.Operation}}"}',
        kyma_adapter_header_template='{"Content-Type": ["application/json"]}',
        kyma_adapter_output_template='{"error": "{{.Body.error}}", "success_status_code": 200}',
    )
    adapted = director.lent({LandscapeSettings: chosen})
    caller = replace(director.caller, consumer=Consumer.INTEGRATION_SYSTEM, consumer_id="broker")
    own = {"type": "CONFIGURATION_CHANGED", "url": "https://own.example/"}

    result = await register(adapted, caller=caller, labels={"global_subaccount_id": "sub"}, webhooks=[own])
    of_a_person = await register(adapted, webhooks=[own])

    assert result["labels"] == {
        "runtimeType": "kyma", "isNormalized": "true", "region": "eu-1", "global_subaccount_id": "sub",
    }  # fmt: skip
    shown = (await director.data(WEBHOOKS, id=result["id"]))["result"]["webhooks"]
    assert sorted(shown, key=lambda entry: entry["url"] or "") == [
        {
            "type": "CONFIGURATION_CHANGED",
            "mode": "SYNC",
            "url": None,
            "urlTemplate": chosen.kyma_adapter_url_template,
            "inputTemplate": chosen.kyma_adapter_input_template,
            "headerTemplate": chosen.kyma_adapter_header_template,
            "outputTemplate": chosen.kyma_adapter_output_template,
            "auth": {"accessStrategy": "sap:cmp-mtls:v1"},
        },
        {
            "type": "CONFIGURATION_CHANGED",
            "mode": None,
            "url": "https://own.example/",
            "urlTemplate": None,
            "inputTemplate": None,
            "headerTemplate": None,
            "outputTemplate": None,
            "auth": None,
        },
    ]
    shown = (await director.data(WEBHOOKS, id=of_a_person["id"]))["result"]["webhooks"]
    assert [entry["url"] for entry in shown] == ["https://own.example/"]


@pytest.mark.parametrize("named", ["sub", ["sub"]])
async def test_the_label_of_the_subaccount_moves_a_new_runtime_there(director: Any, named: Any) -> None:
    child = await subaccount(director, "sub")
    sibling = await subaccount(director, "sibling")

    result = await register(director, labels={"global_subaccount_id": named})
    own = await register(director, labels={"global_subaccount_id": "tenant-mine"})

    assert result["labels"]["global_subaccount_id"] == named
    for runtime_id, caller, seen in (
        (result["id"], director.caller, True),
        (result["id"], child, True),
        (result["id"], sibling, False),
        (own["id"], director.caller, True),
        (own["id"], child, False),
    ):
        shown = (await director.data(ONE, caller=caller, id=runtime_id))["result"]
        assert (shown is not None) is seen
    assert (await facts(director))["runtime"] == own["id"]
    renamed = (await director.data(UPDATE, caller=child, id=result["id"], **{"in": {"name": "renamed"}}))["result"]
    assert renamed["name"] == "renamed"


async def test_a_runtime_is_moved_to_no_other_tenant_than_a_child(director: Any) -> None:
    child = await subaccount(director, "sub")
    await subaccount(director, "grandchild", parent="sub")

    for caller, named in (
        (director.caller, "tenant-other"),
        (director.caller, "grandchild"),
        (director.caller, "nobody"),
        (director.caller, director.caller.tenant),
        (child, "tenant-mine"),
    ):
        error = await director.refusal(
            REGISTER, caller=caller, **{"in": {"name": "a", "labels": {"global_subaccount_id": named}}}
        )
        assert error["message"] == (
            "The operation is not allowed [reason=Tenant provided in global_subaccount_id label should be child of the "
            "caller tenant]"
        )
        assert error["extensions"] == {"error": "InvalidOperation", "error_code": 27}
    for odd in (1, None, [], ["sub", "sub"], [1], {"a": 1}):
        error = await director.refusal(REGISTER, **{"in": {"name": "a", "labels": {"global_subaccount_id": odd}}})
        assert error["message"] == "Invalid data [reason=label global_subaccount_id must be a text or a list of one]"


async def test_an_update_replaces_labels_but_those_of_the_groups_and_of_the_plane(director: Any) -> None:
    id_ = (await register(director, labels={"old": 1, "tier": "gold", "isNormalized": "false"}))["id"]
    for key, value in (("scenarios", ["s"]), ("x_defaultEventing", "true"), ("runtimeType", "kyma")):
        await add_label(director, id_, key, value)

    result = await update(director, id_, labels={"tier": "silver", "new": 2, "runtimeType": "x"})

    assert result["labels"] == {
        "scenarios": ["s"],
        "runtimeType": "kyma",
        "tier": "silver",
        "new": 2,
        "isNormalized": "true",
    }
    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM runtime_label WHERE key = 'x_defaultEventing'") == 1
    assert (await update(director, id_))["labels"] == {
        "scenarios": ["s"],
        "runtimeType": "kyma",
        "isNormalized": "true",
    }


async def test_an_update_without_status_returns_to_initial_and_keeps_what_is_not_given(
    director: Any, announced: Announced
) -> None:
    id_ = (await register(director, description="d", applicationNamespace="ns", statusCondition="CONNECTED"))["id"]

    result = (await director.data(UPDATE, id=id_, **{"in": {"name": "renamed"}}))["result"]

    assert (result["name"], result["description"], result["applicationNamespace"]) == ("renamed", "d", "ns")
    assert result["status"]["condition"] == "INITIAL"
    assert await announced() == ["RuntimeRegistered", "RuntimeUpdated"]
    assert await facts(director) == {"runtime": id_, "moved": False}


async def test_a_runtime_that_is_made_connected_is_announced_once(director: Any, announced: Announced) -> None:
    id_ = (await register(director))["id"]

    await update(director, id_, statusCondition="CONNECTED")
    await update(director, id_, statusCondition="CONNECTED")

    assert await announced() == ["RuntimeRegistered", "RuntimeUpdated", "RuntimeConnected", "RuntimeUpdated"]


@pytest.mark.parametrize("key", ["runtime_eventServiceUrl", "runtime_consoleUrl"])
async def test_a_runtime_that_is_reached_elsewhere_has_moved(director: Any, key: str) -> None:
    id_ = (await register(director, labels={key: "https://a.test", "tier": 1}))["id"]

    await update(director, id_, labels={key: "https://a.test", "tier": 2})
    stayed = await facts(director)
    await update(director, id_, labels={key: "https://b.test"})
    moved = await facts(director)
    await update(director, id_)
    left = await facts(director)

    assert [one["moved"] for one in (stayed, moved, left)] == [False, True, True]


async def test_where_events_go_is_what_the_runtime_says(director: Any) -> None:
    result = await register(director, labels={"runtime_eventServiceUrl": "https://gateway.test/x"})

    assert result["eventingConfiguration"] == {"defaultURL": "https://gateway.test/x"}


async def test_the_first_own_call_connects_and_further_ones_are_no_news(director: Any, announced: Announced) -> None:
    id_ = (await register(director))["id"]

    for _ in range(2):
        async with director.database.transaction() as tx:
            await runtime.connect(tx, id_)

    assert (await director.data(ONE, id=id_))["result"]["status"]["condition"] == "CONNECTED"
    assert await announced() == ["RuntimeRegistered", "RuntimeConnected"]


async def test_unregistering_answers_what_was_there_and_ends_what_hung_on_it(
    director: Any, announced: Announced
) -> None:
    id_ = (await register(director, labels={"tier": 1}))["id"]
    await director.data("mutation ($id: ID!) { requestOneTimeTokenForRuntime(id: $id) { token } }", id=id_)
    application = (await director.data('mutation { r: registerApplication(in: {name: "orders"}) { id } }'))["r"]["id"]
    async with director.database.transaction() as tx:
        await tx.run(
            """
            WITH grp AS (
                INSERT INTO formation (tenant_id, formation_template_id, name, state)
                SELECT %(tenant)s, id, 'g', 'READY' FROM formation_template RETURNING id
            ), pairs AS (
                INSERT INTO formation_assignment (formation_id, source, source_type, target, target_type, state)
                SELECT grp.id, p.s, p.st, p.t, p.tt, 'READY' FROM grp, (VALUES
                    (%(runtime)s::uuid, 'RUNTIME', %(runtime)s::uuid, 'RUNTIME'),
                    (%(runtime)s::uuid, 'RUNTIME', %(app)s::uuid, 'APPLICATION'),
                    (%(app)s::uuid, 'APPLICATION', %(runtime)s::uuid, 'RUNTIME'),
                    (%(app)s::uuid, 'APPLICATION', %(app)s::uuid, 'APPLICATION')) AS p (s, st, t, tt)
            ), bundled AS (
                INSERT INTO bundle (application_id, name) VALUES (%(app)s, 'b') RETURNING id
            )
            INSERT INTO bundle_instance_auth (
                bundle_id, owner_tenant_id, runtime_id, status_condition, status_message, status_reason
            ) SELECT id, %(tenant)s, %(runtime)s, 'SUCCEEDED', 'm', 'r' FROM bundled
            """,
            tenant=director.caller.tenant,
            runtime=id_,
            app=application,
        )

    result = (await director.data(UNREGISTER, id=id_))["result"]

    assert (result["id"], result["labels"]["tier"], len(result["auths"])) == (id_, 1, 1)
    assert (await director.data(ALL))["result"]["totalCount"] == 0
    assert (await announced())[-1] == "RuntimeUnregistered"
    told = await facts(director)
    assert (told["runtime"], told["name"], list(told["applications"])) == (id_, "kyma", [application])
    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM system_auth") == 0
        left = await tx.rows("SELECT source, target FROM formation_assignment")
        assert [tuple(row) for row in left] == [(application, application)]
        credential = await tx.row("SELECT * FROM bundle_instance_auth")
    assert credential["runtime_id"] is None
    assert (credential["status_condition"], credential["status_reason"]) == ("UNUSED", "PendingDeletion")
    assert credential["status_message"] == (
        "Credentials for given Bundle Instance Auth are ready for being deleted by Application or Integration System."
    )


async def test_a_foreign_unknown_or_malformed_runtime_is_null_when_read_and_not_found_when_changed(
    director: Any,
) -> None:
    foreign = (await register(director, caller=director.other))["id"]

    for id_ in (foreign, *UNKNOWN):
        assert await director.data(ONE, id=id_) == {"result": None}
        updated = await director.refusal(UPDATE, id=id_, **{"in": {"name": "a", "labels": {"x": 1}}})
        removed = await director.refusal(UNREGISTER, id=id_)
        assert updated["message"] == removed["message"] == "Object not found [object=runtime]"


async def test_a_tenant_that_sees_a_runtime_and_does_not_own_it_cannot_change_it(director: Any) -> None:
    id_ = (await register(director))["id"]
    async with director.database.transaction() as tx:
        await tx.run(
            "INSERT INTO runtime_tenant (tenant_id, runtime_id, owner) VALUES (%(tenant)s, %(id)s, false)",
            tenant=director.other.tenant,
            id=id_,
        )

    assert (await director.data(ONE, id=id_, caller=director.other))["result"]["name"] == "kyma"
    for document, more in ((UPDATE, {"in": {"name": "a", "labels": {"x": 1}}}), (UNREGISTER, {})):
        error = await director.refusal(document, id=id_, caller=director.other, **more)
        assert error["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"
        assert error["extensions"] == {"error": "Unauthorized", "error_code": 26}


async def test_a_runtime_changes_itself_and_no_other(director: Any) -> None:
    id_ = (await register(director))["id"]
    other = director.runtime("8fd7f7f4-3d6c-4a9a-8f3c-000000000000")

    for document, more in ((UPDATE, {"in": {"name": "a"}}), (UNREGISTER, {})):
        error = await director.refusal(document, id=id_, caller=other, **more)
        assert error["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"
    data = await director.data(UPDATE, id=id_, caller=director.runtime(id_), **{"in": {"name": "mine"}})
    assert data["result"]["name"] == "mine"


async def test_runtimes_are_filtered_by_label_and_by_type(director: Any) -> None:
    one, two = (await register(director, "one", labels={"tier": "gold"}))["id"], (await register(director, "two"))["id"]
    await add_label(director, one, "runtimeType", "kyma")
    await add_label(director, two, "runtimeType", "other")

    async def found(key: str, query: str | None = None) -> list[str]:
        page = (await director.data(ALL, filter=[{"key": key, "query": query}]))["result"]
        assert page["totalCount"] == len(page["data"])
        return sorted(entry["name"] for entry in page["data"])

    assert await found("tier", '"gold"') == ["one"]
    assert await found("runtimeType", '$[*] ? (@ == "kyma" || @ == "other")') == ["one", "two"]
    assert await found("runtimeType", '$[*] ? (@ == "kyma")') == ["one"]
    assert await found("isNormalized", '"true"') == ["one", "two"]


async def test_runtimes_need_their_scope_and_a_tenant(director: Any) -> None:
    id_ = (await register(director))["id"]
    scopeless = replace(director.caller, scopes=frozenset())
    tenantless = replace(director.caller, tenant=None, external_tenant=None)
    named = {"in": {"name": "a"}}

    for document, variables, scope in (
        (ALL, {}, "read"),
        (ONE, {"id": id_}, "read"),
        (REGISTER, named, "write"),
        (UPDATE, {"id": id_, **named}, "write"),
        (UNREGISTER, {"id": id_}, "write"),
    ):
        refused = await director.refusal(document, caller=scopeless, **variables)
        assert refused["message"] == f"insufficient scopes provided [actual=; required=runtime:{scope}]"
        refused = await director.refusal(document, caller=tenantless, **variables)
        assert refused["message"] == "Tenant is required"
