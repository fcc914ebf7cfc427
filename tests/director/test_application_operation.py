"""Applications registered, unpaired and unregistered in the background, with receivers good and bad."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.access.caller import Flow
from compass.director import application
from compass.director.application_operation import LastOperations, Receivers
from compass.errors import CompassError
from compass.ids import ApplicationId
from compass.operations.worker import OperationWork, Worker
from compass.outbound.door import Door, DoorSettings
from compass.postgres.pool import Database
from compass.postgres.queue import WorkSettings
from compass.settings import ApplicationSettings
from tests.delivery.receiver import Call, Receiver, answer, hangs, receiving
from tests.director.catalogue import counted, without
from tests.director.groups import ASSIGN, LOOPBACK, PLANE, assign, group, runtime, until, webhook
from tests.director.groups import application as registered
from tests.outbound.hostile import mutual_tls

REGISTER = """
mutation ($in: ApplicationRegisterInput!, $mode: OperationMode) { a: registerApplication(in: $in, mode: $mode) { id } }
"""
UNREGISTER = """
mutation ($id: ID!, $mode: OperationMode) { a: unregisterApplication(id: $id, mode: $mode) { id name } }
"""
UNPAIR = "mutation ($id: ID!, $mode: OperationMode) { a: unpairApplication(id: $id, mode: $mode) { id } }"
SHOWN = "query ($id: ID!) { a: application(id: $id) { status { condition } error deletedAt auths { id } } }"
UPDATE = 'mutation ($id: ID!) { a: updateApplication(id: $id, in: {description: "x"}) { status { condition } } }'
TOKEN = "mutation ($id: ID!) { a: requestOneTimeTokenForApplication(id: $id) { token } }"

SETTINGS = ApplicationSettings(
    attempt_timeout=timedelta(seconds=0.4), retry_after=timedelta(milliseconds=30), give_up_after=timedelta(seconds=1)
)
QUICK = OperationWork(
    first_retry_after=timedelta(milliseconds=30),
    work=WorkSettings(
        concurrency=16, lease=timedelta(seconds=3), poll=timedelta(milliseconds=100), grace=timedelta(seconds=2)
    ),
)
OUTPUT = (
    '{"success_status_code": 200, "incomplete_status_code": 202, "gone_status_code": 404, "error": "{{.Body.error}}"}'
)
LOCATED = '{"success_status_code": 202, "location": "{{index .Headers "Location"}}", "error": "{{.Body.error}}"}'
STATUS = (
    '{"status": "{{.Body.status}}", "success_status_code": {{if .Body.code}}"x"{{else}}200{{end}}, '
    '"success_status_identifier": "{{if .Body.blank}}{{else}}done{{end}}", '
    '"in_progress_status_identifier": "working", "failed_status_identifier": "failed", "error": "{{.Body.error}}"}'
)

Announced = Callable[[], Awaitable[Sequence[str]]]


@pytest.fixture
def plane() -> ApplicationSettings:
    return SETTINGS


@asynccontextmanager
async def working(
    director: Any, settings: ApplicationSettings = SETTINGS, *, outbound: DoorSettings = LOOPBACK
) -> AsyncIterator[None]:
    """Operations go on while the block runs."""
    stopping = asyncio.Event()
    async with Door(outbound) as door:
        receivers = Receivers(director.vault, door, source=PLANE, settings=settings)
        parts = {Database: director.database, Receivers: receivers}
        worker = Worker(director.database, kinds=application.OPERATIONS, parts=parts, settings=QUICK)
        task = asyncio.create_task(worker.run(stopping))
        try:
            yield
        finally:
            stopping.set()
            await task


async def accepted(director: Any, document: str, *, caller: Any = None, **variables: Any) -> str:
    """The location of a mutation that was accepted; nothing else is in its answer."""
    answered = await director(document, caller=caller, mode="ASYNC", **variables)
    assert answered.keys() == {"data", "extensions"}, answered
    assert answered["data"] == {}
    [location] = answered["extensions"]["locations"]
    return str(location)


async def begun(director: Any, name: str = "app", **more: Any) -> str:
    """The id of an application whose registration goes on in the background."""
    location = await accepted(director, REGISTER, **{"in": {"name": name, **more}})
    return location.rpartition("/")[2]


async def shown(director: Any, id_: str) -> Any:
    return (await director.data(SHOWN, id=id_))["a"]


async def condition(director: Any, id_: str) -> str:
    """How it says that it is; that of an application that is gone is gone."""
    seen = await shown(director, id_)
    return "gone" if seen is None else str(seen["status"]["condition"])


async def last(director: Any, id_: str, *, type_: str = "application", caller: Any = None) -> Any:
    parts = {"resource_type": type_, "resource_id": id_}
    return await LastOperations(director.database).look_up(caller or director.caller, parts)


async def refused(director: Any, id_: str, **more: Any) -> str:
    with pytest.raises(CompassError) as refusal:
        await last(director, id_, **more)
    return refusal.value.wire_text()


async def ended(director: Any, id_: str) -> tuple[str, str | None]:
    """The condition at the end, and the error."""

    async def is_over() -> bool:
        async with director.database.transaction() as tx:
            return not await tx.value("-- test\nSELECT count(*) FROM operation WHERE finished_at IS NULL")

    await until(is_over)
    return await condition(director, id_), (await shown(director, id_) or {"error": None})["error"]


def hook(url: str | None, type_: str = "REGISTER_APPLICATION", **more: Any) -> dict[str, Any]:
    return {"type": type_, "url": url, "outputTemplate": OUTPUT, **more}


Answer = Callable[[Call], Awaitable[bytes]]


def says(status: int, body: Any = None, **headers: str) -> Answer:
    async def behave(_call: Call) -> bytes:
        return answer(status, b"" if body is None else json.dumps(body).encode(), **headers)

    return behave


def one_after_the_other(*behaviours: Answer) -> Answer:
    """The last of them stays."""
    left = list(behaviours)

    async def behave(call: Call) -> bytes:
        return await (left.pop(0) if len(left) > 1 else left[0])(call)

    return behave


async def breaks_off(_call: Call) -> bytes:
    return b""


async def is_no_http(_call: Call) -> bytes:
    return b"nonsense\r\n\r\nbreaks-off"


# Without a receiver


async def test_a_registration_is_answered_at_once_and_ends_by_itself(director: Any, announced: Announced) -> None:
    location = await accepted(director, REGISTER, **{"in": {"name": "app", "statusCondition": "CONNECTED"}})
    id_ = location.rpartition("/")[2]

    assert location == f"https://plane.test:8443/director/last_operation/application/{id_}"
    assert await condition(director, id_) == "CREATING"
    began = await last(director, id_)
    assert began == {
        "operation_type": "Create",
        "resource_id": id_,
        "resource_type": "application",
        "creation_time": began["creation_time"],
        "status": "IN_PROGRESS",
        "error": None,
    }
    assert len(began["creation_time"]) == len("2026-11-23T08:04:54Z")
    async with working(director):
        assert await ended(director, id_) == ("CREATE_SUCCEEDED", None)
    assert await last(director, id_) == began | {"status": "SUCCEEDED"}
    assert await announced() == ["ApplicationRegistered", "ApplicationStatusChanged", "ApplicationStatusChanged"]


async def test_an_application_goes_when_its_operation_ends_and_not_before(director: Any, announced: Announced) -> None:
    id_ = await registered(director, "app")
    await accepted(director, UNREGISTER, id=id_)

    seen = await shown(director, id_)
    assert (seen["status"]["condition"], seen["deletedAt"] is None) == ("DELETING", False)
    assert (await last(director, id_))["operation_type"] == "Delete"
    async with working(director):
        assert await ended(director, id_) == ("gone", None)
    assert await refused(director, id_) == "Object not found [object=application]"
    assert await announced() == ["ApplicationRegistered", "ApplicationStatusChanged", "ApplicationUnregistered"]


async def test_credentials_are_void_as_soon_as_unpairing_was_asked_for(director: Any, announced: Announced) -> None:
    id_ = await registered(director, "app")
    await director.data(TOKEN, id=id_)
    assert len((await shown(director, id_))["auths"]) == 1

    await accepted(director, UNPAIR, id=id_)

    seen = await shown(director, id_)
    assert (seen["status"]["condition"], seen["auths"]) == ("UNPAIRING", [])
    assert (await last(director, id_))["operation_type"] == "Update"
    async with working(director):
        assert await ended(director, id_) == ("INITIAL", None)
    assert (await announced())[-3:] == ["ApplicationUnpaired", "ApplicationStatusChanged", "ApplicationStatusChanged"]


async def test_of_a_document_only_what_is_asynchronous_has_no_member(director: Any) -> None:
    answered = await director(
        'mutation { x: registerApplication(in: {name: "x"}, mode: ASYNC) { id }'
        ' y: registerApplication(in: {name: "y"}) { name }'
        ' z: registerApplication(in: {name: "z"}, mode: ASYNC) { id } }'
    )

    assert answered["data"] == {"y": {"name": "y"}}
    assert len(answered["extensions"]["locations"]) == 2


async def test_what_was_accepted_before_a_refusal_can_still_be_found(director: Any) -> None:
    answered = await director(
        'mutation { x: registerApplication(in: {name: "x"}, mode: ASYNC) { id }'
        ' y: registerApplication(in: {name: "X"}) { id } }'
    )

    assert answered["data"] is None
    assert [error["path"] for error in answered["errors"]] == [["y"]]
    [location] = answered["extensions"]["locations"]
    assert await condition(director, location.rpartition("/")[2]) == "CREATING"


async def test_who_has_a_certificate_is_sent_to_the_port_where_it_counts(director: Any) -> None:
    id_ = await registered(director, "app")

    location = await accepted(director, UNPAIR, caller=director.application(id_), id=id_)

    assert location == f"https://plane.test:8444/director/last_operation/application/{id_}"
    assert director.application(id_).flow is Flow.CERTIFICATE


async def test_what_was_registered_at_once_has_ended_long_ago(director: Any) -> None:
    id_ = await registered(director, "app")

    seen = await last(director, id_)

    assert (seen["operation_type"], seen["status"], seen["error"]) == ("Create", "SUCCEEDED", None)


async def test_beginning_takes_a_bounded_number_of_statements(director: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = await registered(director, "app", webhooks=[hook("http://127.0.0.1:9/", "UNREGISTER_APPLICATION")])

    with counted(monkeypatch) as ran:
        await accepted(director, UNREGISTER, id=id_)

    assert len(ran) == 6  # the reply not given, the lock, the groups, the beginning, the operation, the event


# What is refused


@pytest.mark.parametrize("document", [REGISTER, UNREGISTER, UNPAIR])
async def test_where_the_mode_is_switched_off_it_is_refused_and_not_ignored(
    director: Any, monkeypatch: pytest.MonkeyPatch, document: str
) -> None:
    id_ = await registered(director, "app")
    command = director.endpoint._offered.commands
    for name in ("registerApplication", "unregisterApplication", "unpairApplication"):
        off = {"settings": ApplicationSettings(async_mode=False)}
        monkeypatch.setattr(command[name], "_parts", {**command[name]._parts, **off})
        monkeypatch.setattr(command[name], "_prepare_parts", {**command[name]._prepare_parts, **off})

    given = {"in": {"name": "x"}} if "$in" in document else {"id": id_}
    error = await director.refusal(document, mode="ASYNC", **given)

    assert error["message"] == (
        "The operation is not allowed "
        "[reason=mode ASYNC is switched off at this plane; send the mutation without a mode]"
    )
    assert error["extensions"]["error_code"] == 27
    assert "errors" not in await director(document, mode="SYNC", **given)


@pytest.mark.parametrize(
    ("under_way", "reason"),
    [
        ("register", "create operation is in progress"),
        ("unregister", "delete operation is in progress"),
        ("unpair", "another operation is in progress"),
    ],
)
async def test_while_one_operation_is_under_way_nothing_else_begins(director: Any, under_way: str, reason: str) -> None:
    other = await registered(director, "other")
    await group(director, "g")
    if under_way == "register":
        id_ = await begun(director)
    else:
        id_ = await registered(director, "app")
        await accepted(director, UNREGISTER if under_way == "unregister" else UNPAIR, id=id_)
    before = await condition(director, id_)
    merge = "mutation ($a: ID!, $b: ID!) { mergeApplications(destinationID: $a, sourceID: $b) { id } }"

    errors = [
        await director.refusal(document, id=id_, mode=mode)
        for document in (UNREGISTER, UNPAIR)
        for mode in ("SYNC", "ASYNC", None)
    ]
    errors.append(await director.refusal(ASSIGN, id=id_, type="APPLICATION", group="g"))
    errors.append(await director.refusal(merge, a=id_, b=other))
    errors.append(await director.refusal(merge, a=other, b=id_))

    assert {error["message"] for error in errors} == {f"Concurrent operation [reason={reason}]"}
    assert {error["extensions"]["error_code"] for error in errors} == {32}
    # What may be done meanwhile does not hide it.
    assert (await director.data(UPDATE, id=id_))["a"]["status"]["condition"] == before
    async with director.database.transaction() as tx:
        await application.connect(tx, ApplicationId(id_))
    assert await condition(director, id_) == before
    async with working(director):
        await ended(director, id_)
    if under_way != "unregister":
        await assign(director, "g", application=id_)


async def test_of_many_that_begin_at_once_exactly_one_does(director: Any) -> None:
    id_ = await registered(director, "app")

    answers = await asyncio.gather(
        *(director(UNREGISTER if n % 2 else UNPAIR, id=id_, mode="ASYNC") for n in range(20))
    )

    refusals = [given["errors"][0]["extensions"]["error_code"] for given in answers if "errors" in given]
    assert refusals == [32] * 19
    async with working(director):
        await ended(director, id_)


async def test_what_is_in_a_group_is_not_unregistered_in_the_background_either(director: Any) -> None:
    id_, cluster = await registered(director, "app"), await runtime(director, "cluster")
    await group(director, "g", applications=[id_], runtimes=[cluster])

    unregistering = await director.refusal(UNREGISTER, id=id_, mode="ASYNC")
    unpairing = await director.refusal(UNPAIR, id=id_, mode="ASYNC")

    assert "System app is part of the following formations : g" in unregistering["message"]
    assert "System app is still used and cannot be deleted" in unpairing["message"]


async def test_two_webhooks_that_fit_are_refused(director: Any) -> None:
    two = [hook("https://a.example"), hook("https://b.example")]
    ends = [hook("https://a.example", "UNREGISTER_APPLICATION"), hook("https://b.example", "UNREGISTER_APPLICATION")]
    id_ = await registered(director, "ends", webhooks=ends)

    errors = [
        await director.refusal(REGISTER, mode="ASYNC", **{"in": {"name": "app", "webhooks": two}}),
        await director.refusal(UNREGISTER, mode="ASYNC", id=id_),
        await director.refusal(UNPAIR, mode="ASYNC", id=id_),
    ]

    for error in errors:
        assert "reason: multiple webhooks per operation are not supported]" in error["message"]
        assert error["extensions"]["error_code"] == 10


async def test_unknown_foreign_and_other_peoples_applications_are_not_found(director: Any) -> None:
    mine, other = await registered(director, "mine"), await registered(director, "other")
    foreign = await registered(director, "theirs", caller=director.other)
    cluster = await runtime(director, "cluster")
    missing = "Object not found [object=application]"

    assert await refused(director, foreign) == missing
    assert await refused(director, "8fd7f7f4-3d6c-4a9a-8f3c-000000000000") == missing
    assert await refused(director, mine, caller=director.other) == missing
    assert await refused(director, other, caller=director.application(mine)) == missing
    assert await refused(director, mine, caller=director.runtime(cluster)) == missing
    assert (await last(director, mine.upper(), caller=director.application(mine)))["resource_id"] == mine
    assert (await refused(director, mine, caller=without(director.caller, "application:read"))).startswith(
        "insufficient"
    )
    assert await refused(director, mine, type_="runtime") == (
        "Invalid data [reason=the type of resource must be application]"
    )
    assert await refused(director, "nonsense") == "Invalid data [reason=the id of the resource must be a UUID]"
    nowhere = replace(director.caller, tenant=None, external_tenant=None)
    assert await refused(director, mine, caller=nowhere) == "Tenant is required"


# What the receiver is told


async def test_templates_make_the_call_out_of_the_application_and_who_asked(director: Any) -> None:
    async with receiving(says(200)) as receiver, working(director):
        hook_ = {
            **hook(None),
            "urlTemplate": f'{{"method": "PUT", "path": "{receiver.url("/systems/{{.Application.ID}}")}"}}',
            "inputTemplate": '{"n": "{{.Application.Name}}", "l": "{{.Application.Labels.tier}}", '
            '"t": "{{.TenantID}}", "g": "{{.Application.Tenant.ExternalTenant}}", '
            '"c": "{{index .Headers "Client_user"}}"}',
            "headerTemplate": '{"X-System": ["{{.Application.Name}}"]}',
            "correlationIdKey": "X-Correlation",
            "auth": {"credential": {"basic": {"username": "u", "password": "p"}}},
        }
        who = replace(director.caller, headers=(("client_user", "ann"),))
        more = {"labels": {"tier": "gold"}, "webhooks": [hook_]}
        location = await accepted(director, REGISTER, caller=who, **{"in": {"name": "app", **more}})
        id_ = location.rpartition("/")[2]
        assert await ended(director, id_) == ("CREATE_SUCCEEDED", None)

    [call] = receiver.calls
    assert call.path == f"/systems/{id_}"
    assert json.loads(call.body) == {
        "n": "app", "l": "gold", "t": director.caller.tenant, "g": "tenant-mine", "c": "ann",
    }  # fmt: skip
    assert call.headers["x-system"] == "app"
    assert call.headers["authorization"] == f"Basic {base64.b64encode(b'u:p').decode()}"
    assert call.headers["x-correlation"] == call.id
    assert call.headers["webhook-signature"].startswith("v1,")


@pytest.mark.parametrize(("document", "operation"), [(REGISTER, "create"), (UNREGISTER, "delete"), (UNPAIR, "update")])
async def test_a_plain_url_gets_a_cloud_event(director: Any, document: str, operation: str) -> None:
    async with receiving(says(200)) as receiver, working(director):
        hooks = [hook(receiver.url()), hook(receiver.url(), "UNREGISTER_APPLICATION")]
        if document == REGISTER:
            id_ = await begun(director, webhooks=hooks)
        else:
            id_ = await registered(director, "app", webhooks=hooks)
            await accepted(director, document, id=id_)
        await ended(director, id_)

    [call] = receiver.calls
    event = json.loads(call.body)
    assert call.headers["content-type"] == "application/cloudevents+json"
    assert (event["id"], event["source"], event["subject"]) == (call.id, PLANE, id_)
    assert event["type"] == f"io.compass.application.{operation}.v1"
    assert event["data"] == {
        "operation": operation, "applicationID": id_, "application": {"id": id_, "name": "app"},
    }  # fmt: skip


async def test_the_templates_webhook_stands_in_where_the_application_has_none(director: Any) -> None:
    async with receiving(says(200)) as receiver, working(director):
        hooks = [hook(receiver.url("/templates"), "UNREGISTER_APPLICATION")]
        make = "mutation ($in: ApplicationTemplateInput!) { createApplicationTemplate(in: $in) { id } }"
        form = {"name": "T", "accessLevel": "GLOBAL", "applicationInput": {"name": "{{name}}"}, "webhooks": hooks}
        await director.data(make, **{"in": {**form, "placeholders": [{"name": "name"}]}})
        for name in ("lent", "own"):
            fill = (
                "mutation ($in: ApplicationFromTemplateInput!) { a: registerApplicationFromTemplate(in: $in) { id } }"
            )
            values = [{"placeholder": "name", "value": name}]
            made = await director.data(fill, **{"in": {"templateName": "T", "values": values}})
            if name == "own":
                own = {"type": "UNREGISTER_APPLICATION", "outputTemplate": OUTPUT}
                await webhook(director, receiver.url("/own"), application=made["a"]["id"], **own)
            await accepted(director, UNREGISTER, id=made["a"]["id"])
            assert await ended(director, made["a"]["id"]) == ("gone", None)

    assert [call.path for call in receiver.calls] == ["/templates", "/own"]


async def test_mutations_without_the_mode_tell_nobody(director: Any) -> None:
    async with receiving(says(500)) as receiver, working(director):
        hooks = [hook(receiver.url()), hook(receiver.url(), "UNREGISTER_APPLICATION")]
        id_ = await registered(director, "app", webhooks=hooks)
        assert (await director.data(UNPAIR, id=id_))["a"] == {"id": id_}
        assert (await director.data(UNREGISTER, id=id_, mode="SYNC"))["a"] == {"id": id_, "name": "app"}

    assert receiver.calls == []


# What the receiver answers


MET = "response success status code was not met - expected success status code '200', got"


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (says(200), None),
        (says(200, {"error": "no licence"}), "no licence"),
        (says(500), f"{MET} '500'"),
        (says(500, {"error": "out of order"}), "out of order"),
        (says(404), "the receiver answered 404, which says that it is gone"),
        (says(302, location="http://127.0.0.1:9/"), f"{MET} '302'"),
        (one_after_the_other(says(202), says(202), says(200)), None),
        (one_after_the_other(says(503), says(429), breaks_off, is_no_http, hangs, says(200)), None),
        (says(503, {"error": "closed for good"}), "closed for good"),
    ],
)
async def test_a_receivers_answer_decides_about_a_registration(
    director: Any, behaviour: Answer, error: str | None
) -> None:
    patient = replace(SETTINGS, give_up_after=timedelta(seconds=20))
    async with receiving(behaviour) as receiver, working(director, patient):
        id_ = await begun(director, webhooks=[hook(receiver.url())])
        expected = "CREATE_SUCCEEDED" if error is None else "CREATE_FAILED"
        assert await ended(director, id_) == (expected, error)

    status = await last(director, id_)
    assert (status["status"], status["error"]) == ("SUCCEEDED" if error is None else "FAILED", error)
    assert len({call.id for call in receiver.calls}) == 1  # however often it was told


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (hangs, "The receiver did not finish its answer in time"),
        (breaks_off, "The address could not be reached"),
        (is_no_http, "The receiver's answer is not valid HTTP"),
        (says(202), "it answered 202, which says that it is not done yet"),
        (says(503), f"{MET} '503'"),
    ],
)
async def test_a_receiver_that_is_never_done_has_failed_when_its_time_is_up(
    director: Any, behaviour: Answer, why: str
) -> None:
    async with receiving(behaviour) as receiver, working(director):
        id_ = await begun(director, webhooks=[hook(receiver.url(), timeout=1)])
        end = await ended(director, id_)

    assert end == ("CREATE_FAILED", f"the receiver was not done within 1 seconds; at last: {why}")
    assert len(receiver.calls) > 1


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("{{if .Body.surprise}}[{{else}}200{{end}}", "outputTemplate cannot be used: "),
        ("{{if .Body.surprise}}true{{else}}200{{end}}", "outputTemplate must render success_status_code as a number"),
    ],
)
async def test_an_answer_that_a_template_cannot_read_has_failed_at_once(director: Any, code: str, why: str) -> None:
    output = f'{{"success_status_code": {code}, "error": ""}}'
    async with receiving(says(200, {"surprise": 1})) as receiver, working(director):
        id_ = await begun(director, webhooks=[{**hook(receiver.url()), "outputTemplate": output}])
        end, error = await ended(director, id_)

    assert end == "CREATE_FAILED"
    assert error is not None
    assert why in error
    assert len(receiver.calls) == 1


async def test_a_template_that_this_application_breaks_fails_visibly_and_calls_nobody(director: Any) -> None:
    """Good without data, as it is tried out."""
    broken = '{"a": {{if .Application.Name}}[{{else}}1{{end}}}'
    async with receiving() as receiver, working(director):
        id_ = await begun(director, webhooks=[{**hook(receiver.url()), "inputTemplate": broken}])
        end, error = await ended(director, id_)

    assert end == "CREATE_FAILED"
    assert error is not None
    assert error.startswith("the webhook's template cannot be used: Invalid data [reason=")
    assert receiver.calls == []


async def test_an_address_that_must_not_be_called_fails_visibly(director: Any) -> None:
    async with working(director):
        id_ = await begun(director, webhooks=[hook("http://10.1.2.3/", timeout=1)])
        end = await ended(director, id_)

    assert end == (
        "CREATE_FAILED",
        "the receiver was not done within 1 seconds; at last: The address could not be reached",
    )


@pytest.mark.parametrize(
    ("document", "behaviour", "end"),
    [
        (UNREGISTER, says(200), "gone"),
        (UNREGISTER, says(404), "gone"),
        (UNREGISTER, says(404, {"error": "never heard of it"}), "DELETE_FAILED"),
        (UNREGISTER, says(500), "DELETE_FAILED"),
        (UNPAIR, says(200), "INITIAL"),
        (UNPAIR, says(404), "INITIAL"),
        (UNPAIR, says(500), "UNPAIR_FAILED"),
    ],
)
async def test_a_receivers_answer_decides_about_an_end(
    director: Any, document: str, behaviour: Answer, end: str
) -> None:
    async with receiving(behaviour) as receiver, working(director):
        id_ = await registered(director, "app", webhooks=[hook(receiver.url(), "UNREGISTER_APPLICATION")])
        await accepted(director, document, id=id_)
        assert (await ended(director, id_))[0] == end
        receiver.behaviour = says(200)
        if end != "gone":
            # Nothing is left over: it may be asked for again, in either mode.
            assert (await shown(director, id_))["deletedAt"] is None
            await accepted(director, UNREGISTER, id=id_)
            assert await ended(director, id_) == ("gone", None)


async def test_what_a_receiver_writes_about_its_failure_is_kept_whatever_it_is(director: Any) -> None:
    async with receiving(says(500, {"error": "a\0b" + "x" * 100_000})) as receiver, working(director):
        id_ = await begun(director, webhooks=[hook(receiver.url())])
        end, error = await ended(director, id_)

    assert end == "CREATE_FAILED"
    assert error is not None
    assert error == "a\N{REPLACEMENT CHARACTER}b" + "x" * (len(error) - 3)
    assert len(error.encode()) == 2048


async def test_nobody_is_waited_for_whose_webhook_is_gone(director: Any) -> None:
    async with receiving(says(202)) as receiver:
        patient = replace(SETTINGS, give_up_after=timedelta(seconds=60))
        async with working(director, patient):
            id_ = await begun(director, webhooks=[hook(receiver.url())])
            await receiver.has(2)
            async with director.database.transaction() as tx:
                await tx.run("-- test\nDELETE FROM webhook")
            assert await ended(director, id_) == ("CREATE_SUCCEEDED", None)


@pytest.mark.parametrize("document", [UNREGISTER, UNPAIR])
async def test_an_application_that_goes_otherwise_meanwhile_ends_its_operation(
    director: Any, announced: Announced, document: str
) -> None:
    patient = replace(SETTINGS, give_up_after=timedelta(seconds=60))
    async with receiving(says(202)) as receiver, working(director, patient):
        id_ = await registered(director, "app", webhooks=[hook(receiver.url(), "UNREGISTER_APPLICATION")])
        await accepted(director, document, id=id_)
        await receiver.has(1)
        before = await announced()
        async with director.database.transaction() as tx:
            await tx.run("-- test\nDELETE FROM application")
        assert await ended(director, id_) == ("gone", None)

    assert await announced() == before


# What the receiver answers later


class Later:
    """Accepts, says where to ask, and answers there one after the other; the last answer stays."""

    def __init__(self, *answers: Answer, location: str = "/jobs/7?of=mine") -> None:
        self.location = location
        self.asked = one_after_the_other(*answers)

    async def __call__(self, call: Call) -> bytes:
        if call.path.startswith("/hook"):
            return answer(202, b"", location=self.location)
        return await self.asked(call)


def located(receiver: Receiver, **more: Any) -> dict[str, Any]:
    later = {"mode": "ASYNC", "outputTemplate": LOCATED, "statusTemplate": STATUS}
    return {**hook(receiver.url()), **later, **more}


WORKING = says(200, {"status": "working"})


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([WORKING, WORKING, says(200, {"status": "done"})], None),
        ([hangs, breaks_off, says(503), says(200, {"status": "done"})], None),
        ([WORKING, says(200, {"status": "failed"})], "the receiver says failed"),
        ([WORKING, says(200, {"status": "failed", "error": "no disk"})], "no disk"),
        ([WORKING, says(200, {"status": "working", "error": "no disk"})], "no disk"),
        ([says(404)], f"{MET} '404'"),
        ([says(302, location="/elsewhere")], f"{MET} '302'"),
        (
            [says(200, {"status": "odd"})],
            "the receiver says odd, which is none of the identifiers of statusTemplate",
        ),
        (
            [says(200, {"status": "many", "code": "x"})],
            (
                "statusTemplate cannot be used: Invalid data "
                "[reason=statusTemplate must render success_status_code as a number]"
            ),
        ),
        ([says(200)], "the receiver does not say how far it is"),
        ([says(200, {"blank": "x"})], "the receiver does not say how far it is"),
    ],
)
async def test_a_receiver_is_asked_until_it_says_how_it_ended(
    director: Any, answers: list[Answer], error: str | None
) -> None:
    patient = replace(SETTINGS, give_up_after=timedelta(seconds=20))
    async with receiving(Later(*answers)) as receiver, working(director, patient):
        auth = {"credential": {"basic": {"username": "u", "password": "p"}}}
        more = {"auth": auth, "headerTemplate": '{"X-Key": ["k"]}'}
        id_ = await begun(director, webhooks=[located(receiver, **more)])
        expected = "CREATE_SUCCEEDED" if error is None else "CREATE_FAILED"
        assert await ended(director, id_) == (expected, error)

    assert [call.path for call in receiver.calls] == ["/hook", *["/jobs/7?of=mine"] * len(answers)]
    assert {call.headers["authorization"] for call in receiver.calls} == {"Basic dTpw"}
    assert {call.headers["x-key"] for call in receiver.calls} == {"k"}
    assert {call.body for call in receiver.calls[1:]} == {b""}
    assert len({call.id for call in receiver.calls}) == 1


@pytest.mark.parametrize("stuck", [WORKING, hangs])
async def test_a_receiver_that_is_asked_in_vain_has_failed_when_its_time_is_up(director: Any, stuck: Answer) -> None:
    async with receiving(Later(stuck)) as receiver, working(director):
        id_ = await begun(director, webhooks=[located(receiver, timeout=1)])
        end, error = await ended(director, id_)

    assert end == "CREATE_FAILED"
    assert error is not None
    assert error.startswith("the receiver was not done within 1 seconds; at last: ")


async def test_a_receiver_is_asked_as_often_as_its_webhook_says(director: Any) -> None:
    behaviour = Later(WORKING, says(200, {"status": "done"}))
    async with receiving(behaviour) as receiver, working(director):
        id_ = await begun(director, webhooks=[located(receiver, retryInterval=1, timeout=9)])
        assert await ended(director, id_) == ("CREATE_SUCCEEDED", None)

    _, first, second = receiver.calls
    assert 0.9 < second.at - first.at < 2.5


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("", "the receiver did not say where to ask how far it is"),
        ("ftp://127.0.0.1/x", "the receiver says to ask at what is no URL"),
        ("http://[bad", "the receiver says to ask at what is no URL"),
    ],
)
async def test_a_receiver_that_names_no_usable_location_has_failed(director: Any, location: str, error: str) -> None:
    async with receiving(Later(WORKING, location=location)) as receiver, working(director):
        id_ = await begun(director, webhooks=[located(receiver)])
        assert await ended(director, id_) == ("CREATE_FAILED", error)

    assert len(receiver.calls) == 1


async def test_credentials_go_to_no_other_origin(director: Any) -> None:
    later = Later(WORKING)
    async with receiving(says(200, {"status": "done"})) as other, receiving(later) as receiver, working(director):
        later.location = other.url("/job")
        auth = {"credential": {"basic": {"username": "u", "password": "p"}}}
        own = {"auth": auth, "headerTemplate": '{"X-Key": ["k"]}'}
        id_ = await begun(director, webhooks=[located(receiver, **own)])
        assert await ended(director, id_) == ("CREATE_SUCCEEDED", None)

    [call] = other.calls
    assert call.path == "/job"
    assert {"authorization", "x-key", "webhook-signature"}.isdisjoint(call.headers)


async def test_an_access_token_that_was_withdrawn_is_fetched_anew(director: Any) -> None:
    tokens = iter(["old", "new"])
    good = {"new"}

    async def behave(call: Call) -> bytes:
        if call.path == "/token":
            return answer(200, json.dumps({"access_token": next(tokens), "expires_in": 3600}).encode())
        return answer(200 if call.headers["authorization"].removeprefix("Bearer ") in good else 401)

    async with receiving(behave) as receiver, working(director):
        auth = {"credential": {"oauth": {"clientId": "c", "clientSecret": "s", "url": receiver.url("/token")}}}
        id_ = await begun(director, webhooks=[hook(receiver.url(), auth=auth)])
        assert await ended(director, id_) == ("CREATE_SUCCEEDED", None)

    assert [call.path for call in receiver.calls] == ["/token", "/hook", "/token", "/hook"]


async def test_a_receiver_that_demands_our_certificate_sees_it_when_it_is_called_and_when_it_is_asked(
    director: Any, tmp_path: Path
) -> None:
    chosen, demanding = mutual_tls(tmp_path)
    auth = {"accessStrategy": "sap:cmp-mtls:v1"}
    behaviour = Later(WORKING, says(200, {"status": "done"}))
    async with receiving(behaviour, tls=demanding) as receiver, working(director, outbound=replace(LOOPBACK, **chosen)):
        id_ = await begun(director, webhooks=[located(receiver, auth=auth)])
        assert await ended(director, id_) == ("CREATE_SUCCEEDED", None)

    assert [call.path for call in receiver.calls] == ["/hook", "/jobs/7?of=mine", "/jobs/7?of=mine"]


async def test_our_certificate_is_for_the_origin_that_was_called_and_for_no_other(
    director: Any, tmp_path: Path
) -> None:
    chosen, demanding = mutual_tls(tmp_path)
    auth = {"accessStrategy": "sap:cmp-mtls:v1"}
    async with (
        receiving(says(200, {"status": "done"}), tls=demanding) as elsewhere,
        receiving(Later(location=elsewhere.url("/job")), tls=demanding) as receiver,
        working(director, outbound=replace(LOOPBACK, **chosen)),
    ):
        id_ = await begun(director, webhooks=[located(receiver, auth=auth)])
        how, why = await ended(director, id_)

    assert how == "CREATE_FAILED"
    assert "The address could not be reached" in (why or "")
    assert ([call.path for call in receiver.calls], elsewhere.calls) == (["/hook"], [])


async def test_without_a_certificate_a_receiver_that_needs_it_is_not_called_and_the_error_says_why(
    director: Any,
) -> None:
    async with receiving() as receiver, working(director):
        id_ = await begun(director, webhooks=[hook(receiver.url(), auth={"accessStrategy": "sap:cmp-mtls:v1"})])
        how, why = await ended(director, id_)

    assert how == "CREATE_FAILED"
    assert "outbound.client_certificate_file is not set" in (why or "")
    assert receiver.calls == []
