"""Credentials of one runtime for one bundle, through the Director's API."""

import asyncio
import uuid
from typing import Any

import pytest

from compass.access.caller import Caller
from tests.director import catalogue
from tests.director.catalogue import BASIC, NOT_OWNER, UNKNOWN

FIELDS = """{ id context inputParams runtimeID runtimeContextID status { condition timestamp message reason }
  auth { credential { ... on BasicCredentialData { username password } ... on OAuthCredentialData { clientId } } } }"""
REQUEST = (
    "mutation ($b: ID!, $in: BundleInstanceAuthRequestInput!) "
    "{ result: requestBundleInstanceAuthCreation(bundleID: $b, in: $in) %s }"
) % FIELDS
RELEASE = "mutation ($id: ID!) { result: requestBundleInstanceAuthDeletion(authID: $id) %s }" % FIELDS
CREATE = (
    "mutation ($b: ID!, $in: BundleInstanceAuthCreateInput!) "
    "{ result: createBundleInstanceAuth(bundleID: $b, in: $in) %s }" % FIELDS
)
UPDATE = (
    "mutation ($id: ID!, $b: ID!, $in: BundleInstanceAuthUpdateInput!) "
    "{ result: updateBundleInstanceAuth(id: $id, bundleID: $b, in: $in) %s }"
) % FIELDS
SET = (
    "mutation ($id: ID!, $in: BundleInstanceAuthSetInput!) { result: setBundleInstanceAuth(authID: $id, in: $in) %s }"
    % FIELDS
)
DELETE = "mutation ($id: ID!) { result: deleteBundleInstanceAuth(authID: $id) %s }" % FIELDS
READ = (
    "query ($id: ID!) { result: bundleInstanceAuth(id: $id) %s bundle: bundleByInstanceAuth(authID: $id) { id } }"
    % FIELDS
)
OF_BUNDLE = """query ($app: ID!, $b: ID!) { application(id: $app) { bundle(id: $b) { instanceAuths { id }
  defaultInstanceAuth { credential { ... on BasicCredentialData { username password } } } } } }"""
OWN = {"credential": {"basic": {"username": "own", "password": "planted-secret-3"}}}
OWN_SHOWN = {"credential": {"username": "own", "password": "planted-secret-3"}}
UNGROUPED = (
    "The operation is not allowed "
    "[reason=requesting runtime should be in same scenario as the requested application resource]"
)
NOBODYS = (
    "Invalid data BundleInstanceAuthCreateInput [runtimeID=exactly one of runtimeID and runtimeContextID must be given]"
)


async def made(director: Any, **more: Any) -> tuple[str, str, str, Caller]:
    """An application with a bundle, and a runtime of a common group with its caller."""
    application = await catalogue.register(director)
    bundle = await catalogue.bundle(director, application, **more)
    runtime = await catalogue.runtime(director)
    await catalogue.group(director, application, runtime)
    return application, bundle, runtime, director.runtime(runtime)


async def requested(director: Any, bundle: str, caller: Caller, **more: Any) -> Any:
    return (await director.data(REQUEST, b=bundle, caller=caller, **{"in": more}))["result"]


async def changes(director: Any) -> list[tuple[str, Any]]:
    facts = await catalogue.facts(director, "BundleInstanceAuthChanged")
    return [(fact["condition"], fact["runtime"]) for fact in facts]


async def test_a_request_waits_until_the_application_answers_it(director: Any) -> None:
    application, bundle, runtime, caller = await made(director)

    asked = await requested(director, bundle, caller, context='{"for": "x"}', inputParams='{"a": 1}')
    as_application = director.application(application)
    given = (await director.data(SET, id=asked["id"], caller=as_application, **{"in": {"auth": OWN}}))["result"]

    assert asked["status"].pop("timestamp").endswith("Z")
    assert asked == {
        "id": asked["id"],
        "context": '{"for": "x"}',
        "inputParams": '{"a": 1}',
        "runtimeID": runtime,
        "runtimeContextID": None,
        "auth": None,
        "status": {
            "condition": "PENDING",
            "message": "Credentials were not yet provided.",
            "reason": "CredentialsNotProvided",
        },
    }
    assert given["auth"] == OWN_SHOWN
    assert given["status"]["condition"] == "SUCCEEDED"
    assert (given["status"]["reason"], given["status"]["message"]) == (
        "CredentialsProvided",
        "Credentials were provided.",
    )
    facts = await catalogue.facts(director, "BundleInstanceAuthChanged")
    common = {"application": application, "bundle": bundle, "bundle_instance_auth": asked["id"], "runtime": runtime}
    assert facts == [{**common, "condition": "PENDING"}, {**common, "condition": "SUCCEEDED"}]
    again = await director.refusal(SET, id=asked["id"], **{"in": {"auth": OWN}})
    assert (again["message"], again["extensions"]["error_code"]) == (
        "The operation is not allowed [reason=auth can be set only on BundleInstanceAuths in PENDING state]", 27
    )  # fmt: skip


async def test_a_request_is_answered_at_once_with_a_copy_of_the_default_credentials(director: Any) -> None:
    _, bundle, runtime, caller = await made(director, defaultInstanceAuth=BASIC)

    result = await requested(director, bundle.upper(), caller)

    assert result["auth"] == {"credential": {"username": "ann", "password": "planted-secret-1"}}
    assert (result["status"]["condition"], result["runtimeID"]) == ("SUCCEEDED", runtime)
    # It is a copy: another default changes nothing for those who have theirs.
    update = 'mutation ($id: ID!) { updateBundle(id: $id, in: {name: "x"}) { id } }'
    await director.data(update, id=bundle)
    assert (await director.data(READ, id=result["id"]))["result"] == result


async def test_a_person_asks_for_no_runtime_and_may_choose_the_id(director: Any) -> None:
    _, bundle, _, caller = await made(director)
    wanted = str(uuid.uuid4())

    result = (await director.data(REQUEST, b=bundle, **{"in": {"id": wanted.upper()}}))["result"]

    assert (result["id"], result["runtimeID"]) == (wanted, None)
    error = await director.refusal(REQUEST, b=bundle, caller=caller, **{"in": {"id": wanted}})
    assert error["message"] == "Object is not unique [object=bundleInstanceAuth]"
    bad = await director.refusal(REQUEST, b=bundle, **{"in": {"id": "mine"}})
    assert bad["message"] == "Invalid data BundleInstanceAuthRequestInput [id=must be a valid UUID]"


async def test_a_runtime_without_a_common_group_gets_nothing(director: Any) -> None:
    _, bundle, _, caller = await made(director)
    stranger = director.runtime(await catalogue.runtime(director, "stranger"))
    asked = await requested(director, bundle, caller)

    error = await director.refusal(REQUEST, b=bundle, caller=stranger, **{"in": {}})

    assert (error["message"], error["extensions"]["error_code"]) == (UNGROUPED, 27)
    # A neighbour's credentials are not there for it.
    assert (await director.refusal(RELEASE, id=asked["id"], caller=stranger))["message"] == (
        "Object not found [object=bundleInstanceAuth]"
    )
    assert await director.data(READ, id=asked["id"], caller=stranger) == {"result": None, "bundle": None}
    # And its own are out of reach once the group is.
    async with director.database.transaction() as tx:
        await tx.run("UPDATE formation_assignment SET state = 'DELETING'")
    assert (await director.refusal(RELEASE, id=asked["id"], caller=caller))["message"] == UNGROUPED


async def test_the_bundles_schema_is_held_against_the_parameters(director: Any) -> None:
    schema = '{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}'
    application, bundle, runtime, caller = await made(director, instanceAuthRequestInputSchema=schema)

    missing = await director.refusal(REQUEST, b=bundle, caller=caller, **{"in": {}})
    wrong = await director.refusal(REQUEST, b=bundle, caller=caller, **{"in": {"inputParams": '{"id": "x"}'}})
    no_json = await director.refusal(REQUEST, b=bundle, caller=caller, **{"in": {"inputParams": "{", "context": "}"}})
    good = await requested(director, bundle, caller, inputParams='{"id": 1}')
    given = {"auth": OWN, "runtimeID": runtime, "inputParams": "{}"}
    created = await director.refusal(CREATE, b=bundle, **{"in": given})
    updated = await director.refusal(UPDATE, id=good["id"], b=bundle, **{"in": {"inputParams": "{}"}})

    assert missing["message"] == (
        "Invalid data [reason=json schema for input parameters was defined for the bundle "
        "but no input parameters were provided]"
    )
    assert wrong["extensions"]["error_code"] == 10
    assert 'input parameters do not satisfy the bundle\'s JSON schema: "x" is not of type "integer"' in wrong["message"]
    assert no_json["message"] == (
        "Invalid data BundleInstanceAuthRequestInput [context=must be valid JSON; inputParams=must be valid JSON]"
    )
    for error in (created, updated):
        assert '"id" is a required property' in error["message"]
    assert application


async def test_a_failure_says_why_and_has_no_credentials(director: Any) -> None:
    _, bundle, _, caller = await made(director)
    asked = await requested(director, bundle, caller)
    failed = {"condition": "FAILED", "message": "no seats left", "reason": "Quota"}

    both = await director.refusal(SET, id=asked["id"], **{"in": {"auth": OWN, "status": failed}})
    neither = await director.refusal(SET, id=asked["id"], **{"in": {}})
    blank = await director.refusal(SET, id=asked["id"], **{"in": {"status": {**failed, "reason": ""}}})
    result = (await director.data(SET, id=asked["id"], **{"in": {"status": failed}}))["result"]

    kind = "Invalid data BundleInstanceAuthSetInput"
    assert both["message"] == f"{kind} [auth=cannot be given together with the status condition FAILED]"
    assert neither["message"] == f"{kind} [auth=must be given unless the status condition is FAILED]"
    assert blank["message"] == f"{kind} [status.reason=cannot be blank]"
    assert {name: result["status"][name] for name in failed} == failed
    assert result["auth"] is None


async def test_given_back_a_copy_is_deleted_and_others_wait_for_the_application(director: Any) -> None:
    _, bundle, runtime, caller = await made(director)
    own = await requested(director, bundle, caller)
    own = (await director.data(SET, id=own["id"], **{"in": {"auth": OWN}}))["result"]

    unused = (await director.data(RELEASE, id=own["id"], caller=caller))["result"]

    assert unused["status"]["condition"] == "UNUSED"
    assert unused["status"]["reason"] == "PendingDeletion"
    assert unused["status"]["message"] == (
        "Credentials for given Bundle Instance Auth are ready for being deleted by Application or Integration System."
    )
    copied = await catalogue.bundle(director, await catalogue.register(director, "second"), defaultInstanceAuth=BASIC)
    copy = (await director.data(REQUEST, b=copied, **{"in": {}}))["result"]
    deleted = (await director.data(RELEASE, id=copy["id"]))["result"]
    assert deleted == copy  # what was there, credentials included
    assert (await director.data(READ, id=copy["id"]))["result"] is None
    assert await changes(director) == [
        ("PENDING", runtime), ("SUCCEEDED", runtime), ("UNUSED", runtime), ("SUCCEEDED", None), ("DELETED", None)
    ]  # fmt: skip


async def test_an_application_gives_a_runtime_credentials_unasked_and_it_gets_those(director: Any) -> None:
    application, bundle, runtime, caller = await made(director, defaultInstanceAuth=BASIC)
    as_application = director.application(application)

    async def credentials(who: Caller) -> Any:
        data = await director.data(OF_BUNDLE, caller=who, app=application, b=bundle)
        return data["application"]["bundle"]["defaultInstanceAuth"]["credential"]

    default = {"username": "ann", "password": "planted-secret-1"}
    assert await credentials(caller) == default
    given = {"auth": OWN, "runtimeID": runtime.upper(), "context": "1"}
    result = (await director.data(CREATE, b=bundle.upper(), caller=as_application, **{"in": given}))["result"]

    assert (result["runtimeID"], result["status"]["condition"], result["context"]) == (runtime, "SUCCEEDED", "1")
    assert await credentials(caller) == {"username": "own", "password": "planted-secret-3"}
    # Everybody else sees the default ones, a neighbour of the same group too.
    neighbour = await catalogue.runtime(director, "neighbour")
    await catalogue.group(director, application, neighbour)
    assert await credentials(director.runtime(neighbour)) == default
    assert await credentials(director.caller) == default
    seen = await director.data(OF_BUNDLE, caller=director.runtime(neighbour), app=application, b=bundle)
    assert seen["application"]["bundle"]["instanceAuths"] == []
    mine = await director.data(OF_BUNDLE, caller=caller, app=application, b=bundle)
    assert mine["application"]["bundle"]["instanceAuths"] == [{"id": result["id"]}]
    everybodys = await director.data(OF_BUNDLE, app=application, b=bundle)
    assert everybodys["application"]["bundle"]["instanceAuths"] == [{"id": result["id"]}]
    # Given back, they are no longer what it gets.
    async with director.database.transaction() as tx:
        await tx.run("UPDATE bundle_instance_auth SET status_condition = 'UNUSED'")
    assert await credentials(caller) == default
    assert "planted-secret" not in await catalogue.everything(director)


async def test_a_runtime_sees_and_gives_back_the_credentials_of_its_contexts(director: Any) -> None:
    application, bundle, runtime, caller = await made(director, defaultInstanceAuth=BASIC)
    text = 'mutation ($id: ID!) { result: registerRuntimeContext(runtimeID: $id, in: {key: "k", value: "v"}) { id } }'
    inside = (await director.data(text, id=runtime))["result"]["id"]
    given = {"auth": OWN, "runtimeContextID": inside}
    result = (await director.data(CREATE, b=bundle, **{"in": given}))["result"]
    neighbour = await catalogue.runtime(director, "neighbour")
    await catalogue.group(director, application, neighbour)

    assert (result["runtimeID"], result["runtimeContextID"]) == (None, inside)
    assert await director.data(READ, id=result["id"], caller=caller) == {"result": result, "bundle": {"id": bundle}}
    of_bundle = (await director.data(OF_BUNDLE, caller=caller, app=application, b=bundle))["application"]["bundle"]
    assert of_bundle["instanceAuths"] == [{"id": result["id"]}]
    # What calls as the runtime itself still gets the runtime's.
    assert of_bundle["defaultInstanceAuth"]["credential"]["username"] == "ann"
    other = director.runtime(neighbour)
    assert await director.data(READ, id=result["id"], caller=other) == {"result": None, "bundle": None}
    assert (await director.data(OF_BUNDLE, caller=other, app=application, b=bundle))["application"]["bundle"][
        "instanceAuths"
    ] == []
    refused = await director.refusal(RELEASE, id=result["id"], caller=other)
    assert refused["message"] == "Object not found [object=bundleInstanceAuth]"
    assert (await director.data(RELEASE, id=result["id"], caller=caller))["result"] == result


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"runtimeID": UNKNOWN}, "Object not found [object=runtime]"),
        ({"runtimeID": "no-uuid"}, "Object not found [object=runtime]"),
        ({"runtimeContextID": UNKNOWN}, "Object not found [object=runtimeContext]"),
        ({}, NOBODYS),
        ({"runtimeID": UNKNOWN, "runtimeContextID": UNKNOWN}, NOBODYS),
    ],
)
async def test_credentials_are_somebodys(director: Any, given: dict[str, Any], message: str) -> None:
    _, bundle, _, _ = await made(director)

    assert (await director.refusal(CREATE, b=bundle, **{"in": {"auth": OWN, **given}}))["message"] == message


async def test_a_foreign_tenants_runtime_is_not_found(director: Any) -> None:
    _, bundle, _, _ = await made(director)
    text = 'mutation { registerRuntime(in: {name: "theirs"}) { id } }'
    theirs = (await director.data(text, caller=director.other))["registerRuntime"]["id"]

    error = await director.refusal(CREATE, b=bundle, **{"in": {"auth": OWN, "runtimeID": theirs}})

    assert error["message"] == "Object not found [object=runtime]"


async def test_an_update_changes_what_is_given(director: Any) -> None:
    application, bundle, _, caller = await made(director)
    other_bundle = await catalogue.bundle(director, application, name="other")
    asked = await requested(director, bundle, caller, context='"kept"')
    as_application = director.application(application)

    parameters = {"inputParams": "2"}
    first = (
        await director.data(UPDATE, id=asked["id"], b=bundle.upper(), caller=as_application, **{"in": parameters})
    )["result"]
    second = (await director.data(UPDATE, id=asked["id"].upper(), b=bundle, **{"in": {"auth": OWN}}))["result"]
    await director.data(RELEASE, id=asked["id"], caller=caller)
    third = (await director.data(UPDATE, id=asked["id"], b=bundle, **{"in": {"auth": BASIC}}))["result"]

    assert (first["context"], first["inputParams"], first["status"]) == ('"kept"', "2", asked["status"])
    assert (second["auth"], second["status"]["condition"], second["inputParams"]) == (OWN_SHOWN, "SUCCEEDED", "2")
    assert (third["auth"]["credential"]["username"], third["status"]["condition"]) == ("ann", "UNUSED")
    error = await director.refusal(UPDATE, id=asked["id"], b=other_bundle, **{"in": {}})
    assert error["message"] == "Object not found [object=bundleInstanceAuth]"


async def test_deleting_answers_what_was_there(director: Any) -> None:
    application, bundle, runtime, caller = await made(director, defaultInstanceAuth=BASIC)
    asked = await requested(director, bundle, caller)

    result = (await director.data(DELETE, id=asked["id"], caller=director.application(application)))["result"]

    assert result == asked
    assert await director.data(READ, id=asked["id"]) == {"result": None, "bundle": None}
    assert await changes(director) == [("SUCCEEDED", runtime), ("DELETED", runtime)]


async def test_credentials_are_read_by_those_who_may(director: Any) -> None:
    application, bundle, runtime, caller = await made(director, defaultInstanceAuth=BASIC)
    asked = await requested(director, bundle, caller)

    for who in (director.caller, caller):
        assert await director.data(READ, id=asked["id"], caller=who) == {"result": asked, "bundle": {"id": bundle}}
    for id_, who in ((asked["id"], director.other), (UNKNOWN, None), ("no-uuid", None)):
        assert await director.data(READ, id=id_, caller=who) == {"result": None, "bundle": None}
    # The tenant that asked sees its credentials also when it does not see the application any more.
    async with director.database.transaction() as tx:
        await tx.run("UPDATE application_tenant SET tenant_id = %(t)s", t=director.other.tenant)
    assert await director.data(READ, id=asked["id"]) == {"result": asked, "bundle": None}
    assert runtime
    assert application


async def test_an_application_reads_the_credentials_for_itself_and_not_its_neighbours(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    read = director.database.read

    async def counting(sql: str, parameters: Any, **more: Any) -> Any:
        ran.append(sql)
        return await read(sql, parameters, **more)

    application, bundle, _, caller = await made(director, defaultInstanceAuth=BASIC)
    neighbour = await catalogue.register(director, "neighbour")
    asked = await requested(director, bundle, caller)
    shown = {"credential": {"username": "ann", "password": "planted-secret-1"}}
    one = """query ($app: ID!, $b: ID!, $id: ID!) {
      application(id: $app) { bundle(id: $b) { instanceAuth(id: $id) { id } } }
    }"""

    for who in (director.caller, caller, director.application(application)):
        assert await director.data(READ, id=asked["id"], caller=who) == {"result": asked, "bundle": {"id": bundle}}
        of_bundle = await director.data(OF_BUNDLE, app=application, b=bundle, caller=who)
        assert of_bundle["application"]["bundle"] == {
            "instanceAuths": [{"id": asked["id"]}],
            "defaultInstanceAuth": shown,
        }
        single = await director.data(one, app=application, b=bundle, id=asked["id"], caller=who)
        assert single["application"]["bundle"]["instanceAuth"] == {"id": asked["id"]}
    other = director.application(neighbour)
    assert (await director.data(READ, id=asked["id"], caller=other))["result"] is None
    monkeypatch.setattr(director.database, "read", counting)
    of_bundle = await director.data(OF_BUNDLE, app=application, b=bundle, caller=other)
    assert of_bundle["application"]["bundle"] == {"instanceAuths": [], "defaultInstanceAuth": None}
    assert len(ran) == 1
    single = await director.data(one, app=application, b=bundle, id=asked["id"], caller=other)
    assert single["application"]["bundle"]["instanceAuth"] is None


@pytest.mark.parametrize(
    ("text", "given"), [(SET, {"in": {"auth": OWN}}), (DELETE, {}), (UPDATE, {"in": {"auth": OWN}}), (RELEASE, {})]
)
async def test_what_is_not_ones_own_cannot_be_changed(director: Any, text: str, given: dict[str, Any]) -> None:
    application, bundle, _, caller = await made(director)
    asked = await requested(director, bundle, caller)
    given = {**given, **({"b": bundle} if text is UPDATE else {})}
    neighbour = director.application(await catalogue.register(director, "neighbour"))
    others = [(UNKNOWN, None), ("no-uuid", None), (asked["id"], director.other)]
    if text is not RELEASE:  # which is for runtimes and people
        others.append((asked["id"], neighbour))

    for id_, who in others:
        error = await director.refusal(text, id=id_, caller=who, **given)
        assert error["message"] == "Object not found [object=bundleInstanceAuth]"
    seer = await catalogue.seen_not_owned(director, application)
    assert (await director.refusal(text, id=asked["id"], caller=seer, **given))["message"] == NOT_OWNER


async def test_missing_and_foreign_bundles_are_refused(director: Any) -> None:
    application, bundle, runtime, _ = await made(director)
    given = {"in": {"auth": OWN, "runtimeID": runtime}}
    neighbour = director.application(await catalogue.register(director, "neighbour"))

    errors = [await director.refusal(REQUEST, b=id_, **{"in": {}}) for id_ in (UNKNOWN, "no-uuid")]
    errors.append(await director.refusal(REQUEST, b=bundle, caller=director.other, **{"in": {}}))
    errors.append(await director.refusal(CREATE, b=UNKNOWN, **given))
    errors.append(await director.refusal(CREATE, b=bundle, caller=director.other, **given))
    errors.append(await director.refusal(CREATE, b=bundle, caller=neighbour, **given))

    assert {error["message"] for error in errors} == {"Object not found [object=bundle]"}
    seer = await catalogue.seen_not_owned(director, application)
    assert (await director.refusal(CREATE, b=bundle, caller=seer, **given))["extensions"]["error_code"] == 26


@pytest.mark.parametrize(
    ("text", "scope", "more"),
    [
        (REQUEST, "runtime:write", {"b": UNKNOWN, "in": {}}),
        (RELEASE, "runtime:write", {"id": UNKNOWN}),
        (CREATE, "bundle_instance_auth:write", {"b": UNKNOWN, "in": {"auth": OWN, "runtimeID": UNKNOWN}}),
        (UPDATE, "bundle_instance_auth:write", {"id": UNKNOWN, "b": UNKNOWN, "in": {}}),
        (SET, "application:write", {"id": UNKNOWN, "in": {"auth": OWN}}),
        (DELETE, "application:write", {"id": UNKNOWN}),
        (READ, "application:read", {"id": UNKNOWN}),
    ],
)
async def test_each_operation_needs_its_scope(director: Any, text: str, scope: str, more: dict[str, Any]) -> None:
    error = await director.refusal(text, caller=catalogue.without(director.caller, scope), **more)

    assert error["extensions"]["error_code"] == 23
    assert error["message"].endswith(f"required={scope}]")


async def test_of_many_answers_to_one_request_exactly_one_counts(director: Any) -> None:
    _, bundle, _, caller = await made(director)
    asked = await requested(director, bundle, caller)

    # All of them stand before the row before any may pass.
    async with director.database.transaction() as tx:
        await tx.run("SELECT 1 FROM bundle_instance_auth FOR UPDATE")
        calls = [asyncio.create_task(director(SET, id=asked["id"], **{"in": {"auth": OWN}})) for _ in range(6)]
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(10):
            while (await director.database.read(waiting, []))[0] < len(calls):
                await asyncio.sleep(0.01)
    answers = await asyncio.gather(*calls)

    assert sum("errors" not in answer for answer in answers) == 1
    assert [condition for condition, _ in await changes(director)] == ["PENDING", "SUCCEEDED"]


async def test_unregistering_the_runtime_leaves_its_credentials_unused(director: Any) -> None:
    _, bundle, runtime, caller = await made(director, defaultInstanceAuth=BASIC)
    asked = await requested(director, bundle, caller)

    await director.data("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=runtime)

    result = (await director.data(READ, id=asked["id"]))["result"]
    assert (result["runtimeID"], result["status"]["condition"]) == (None, "UNUSED")
