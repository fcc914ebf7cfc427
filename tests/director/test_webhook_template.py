"""What webhook templates are given and must make of it, without a database; and notifications that templates made."""

from typing import Any

import orjson
import pytest

from compass.director import webhook_template
from compass.director.webhook_template import Output, Target, TemplateResultUnusable, answer, output, try_out, url
from compass.errors import CompassError
from compass.gotemplate import Record, TemplateError
from tests.delivery.receiver import Call, receiving
from tests.delivery.receiver import answer as reply
from tests.director.groups import (
    STATUS,
    application,
    condition,
    deliveries,
    group,
    idle,
    runtime,
    states,
    unassign,
    webhook,
    working,
)

OUTPUT = '{"error": "{{.Body.error}}", "success_status_code": 200, "incomplete_status_code": 204}'
NOTHING: dict[str, str | None] = {
    "url_template": None,
    "input_template": None,
    "header_template": None,
    "output_template": None,
    "status_template": None,
}


def adapter(port: int) -> dict[str, str]:
    """Templates as an adapter of a runtime environment has them: one path per group, one method per operation."""
    return {
        "urlTemplate": (
            '{"method": "{{if eq .Operation "assign"}}PATCH{{else}}DELETE{{end}}", '
            f'"path": "http://127.0.0.1:{port}/v1/groups/{{{{.FormationID}}}}"}}'
        ),
        "inputTemplate": (
            '{"context": {"operation": "{{.Operation}}", "group": "{{.Formation.Name}}", '
            '"account": "{{.CustomerTenantContext.AccountID}}"}, '
            '"application": {"id": "{{.Application.ID}}", "name": {{.Application.Name | toJson}}, '
            '"region": "{{.Application.Labels.region}}"'
            '{{if .ApplicationTemplate}}, "template": "{{.ApplicationTemplate.ID}}"{{end}}}, '
            '"runtime": {"id": "{{.Runtime.ID}}", "name": "{{.Runtime.Name}}", '
            '"url": "{{.Runtime.Labels.runtime_consoleUrl}}"}, '
            '"assignment": {"id": "{{.Assignment.ID}}", '
            '"reverse": {{if .ReverseAssignment.Value}}{{.ReverseAssignment.Value}}{{else}}{}{{end}}}}'
        ),
        "headerTemplate": '{"X-Group": ["{{.Formation.Name}}"], "Content-Type": ["application/json"]}',
        "outputTemplate": (
            '{"error": "{{.Body.error}}", "state": "{{.Body.state}}", "config": "{{.Body.configuration}}", '
            '"success_status_code": 200, "incomplete_status_code": 204, "gone_status_code": 404}'
        ),
    }


class Answers:
    """A receiver that answers one thing until told another."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {}

    async def __call__(self, _call: Call) -> bytes:
        return reply(
            self.status, b"" if self.status == 204 else orjson.dumps(self.body), content_type="application/json"
        )


# Alone


def test_a_url_is_a_method_and_an_address() -> None:
    data = Record(Name="x")

    assert url('{"method": "post", "path": "https://a.example/{{.Name}}"}', data) == Target(
        "POST", "https://a.example/x"
    )
    for bad in ('{"path": "https://a.example"}', '{"method": "GET"}', "[]", "{"):
        with pytest.raises(CompassError):
            url(bad, data)


def test_headers_are_lists_of_texts() -> None:
    assert webhook_template.headers('{"A": ["1", "2"]}', Record()) == {"A": "1, 2"}
    with pytest.raises(TemplateResultUnusable, match="string lists"):
        webhook_template.headers('{"A": "1"}', Record())


@pytest.mark.parametrize(
    ("template", "body", "expected"),
    [
        (OUTPUT, b"{}", Output(200, "", 204)),
        (OUTPUT, b"not json", Output(200, "", 204)),
        (OUTPUT, b'{"error": "no \\"quota\\""}', Output(200, 'no "quota"', 204)),
        ('{"error": null, "success_status_code": "201"}', b"", Output(201, "")),
        (
            (
                '{"error": "", "success_status_code": 200, "state": "{{.Body.state}}", '
                '"config": "{{.Body.configuration}}"}'
            ),
            b'{"state": "READY", "configuration": {"a": "\\"b\\""}}',
            Output(200, "", state="READY", configuration='{"a":"\\"b\\""}'),
        ),
        (
            '{"error": "", "success_status_code": 200, "config": "{{.Body.configuration}}"}',
            b'{"configuration": {}}',
            Output(200, ""),
        ),
        ('{"error": "{{.Headers.Location}}", "success_status_code": 200}', b"", Output(200, "/there")),
    ],
)
def test_an_output_is_read_from_the_response(template: str, body: bytes, expected: Output) -> None:
    assert output(template, answer(body, {"location": "/there"})) == expected


@pytest.mark.parametrize(
    "template", ['{"error": ""}', '{"success_status_code": 200}', '{"error": "", "success_status_code": "x"}', "1"]
)
def test_an_output_that_does_not_say_what_success_is_is_unusable(template: str) -> None:
    with pytest.raises(TemplateResultUnusable):
        output(template, answer(b"{}", {}))


@pytest.mark.parametrize(
    ("type_", "given", "problem"),
    [
        ("CONFIGURATION_CHANGED", {"input_template": '{"id": "{{.Runtime.ID}}"}'}, None),
        ("CONFIGURATION_CHANGED", {"input_template": '{"id": "{{.RuntimeContext.Value}}"}'}, None),
        ("APPLICATION_TENANT_MAPPING", {"input_template": '{"id": "{{.SourceApplication.ID}}"}'}, None),
        ("FORMATION_LIFECYCLE", {"input_template": '{"n": "{{.Formation.Name}}"}'}, None),
        (
            "OPEN_RESOURCE_DISCOVERY",
            {"input_template": "{}"},
            "missing template input for type: OPEN_RESOURCE_DISCOVERY",
        ),
        ("CONFIGURATION_CHANGED", {"input_template": "{{.Runtime.Secret}}"}, "inputTemplate: "),
        ("CONFIGURATION_CHANGED", {"input_template": "{{.Vault}}"}, "inputTemplate: "),
        ("CONFIGURATION_CHANGED", {"input_template": "{{if}"}, "inputTemplate: line 1"),
        ("CONFIGURATION_CHANGED", {"input_template": "hello"}, "inputTemplate: "),
        ("CONFIGURATION_CHANGED", {"url_template": '{"path": "x"}'}, "urlTemplate: urlTemplate must render a method"),
        ("CONFIGURATION_CHANGED", {"header_template": '{"A": 1}'}, "headerTemplate: "),
        ("CONFIGURATION_CHANGED", {"output_template": "{}"}, "outputTemplate: "),
        ("REGISTER_APPLICATION", {"status_template": "{}"}, "statusTemplate: statusTemplate must render status"),
        (
            "CONFIGURATION_CHANGED",
            {"input_template": "{{range until 100000}}{{range until 100000}}x{{end}}{{end}}"},
            "inputTemplate: ",
        ),
    ],
)
def test_templates_are_tried_out_before_they_are_accepted(
    type_: str, given: dict[str, str], problem: str | None
) -> None:
    found = try_out(type_, **(NOTHING | given))

    assert found == problem if problem is None else (found or "").startswith(problem)


def test_a_template_sees_the_listed_fields_and_no_others() -> None:
    data = webhook_template.application({"id": "1", "name": "n", "secret": "s"}, {}, webhook_template.tenant({}, {}))

    assert "s" not in data.values()
    with pytest.raises(TemplateError):
        webhook_template.body('{"x": "{{.Secret}}"}', data)


# With the whole plane


async def test_a_templated_notification_is_what_the_templates_make_of_the_data(director: Any) -> None:
    async with receiving(Answers()) as receiver, working(director):
        app = await application(director, 'the "one"', labels={"region": "eu", "tier": ["gold"]})
        hook = await webhook(director, None, application=app, mode="SYNC", **adapter(receiver.port))
        cluster = await runtime(director, "cluster", labels={"runtime_consoleUrl": "https://console.example"})
        formation = await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        rows = (await director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
        await unassign(director, "g", application=app)
        await idle(director)

    told, ended = receiver.calls
    pair = next(row["id"] for row in rows if (row["source"], row["target"]) == (cluster, app))
    assert told.path == ended.path == f"/v1/groups/{formation}"
    assert told.headers["x-group"] == "g"
    assert orjson.loads(told.body) == {
        "context": {"operation": "assign", "group": "g", "account": "tenant-mine"},
        "application": {"id": app, "name": 'the "one"', "region": "eu"},
        "runtime": {"id": cluster, "name": "cluster", "url": "https://console.example"},
        "assignment": {"id": pair, "reverse": {}},
    }
    assert orjson.loads(ended.body)["context"]["operation"] == "unassign"
    assert await states(director, "g") == []
    assert [delivery["webhookID"] for delivery in await deliveries(director)] == [hook["id"]] * 2


async def test_readiness_and_changes_render_as_assign_and_unregistration_as_unassign(director: Any) -> None:
    async with receiving(Answers()) as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, None, application=app, **adapter(receiver.port))
        formation = await group(director, "g", applications=[app], runtimes=[cluster])
        await director.data(
            'mutation ($id: ID!) { updateRuntime(id: $id, in: {name: "cluster", statusCondition: CONNECTED, '
            'labels: {runtime_consoleUrl: "https://a.example"}}) { id } }',
            id=cluster,
        )
        await idle(director)
        await director.data("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=cluster)
        await idle(director)

    bodies = [orjson.loads(call.body) for call in receiver.calls]
    assert [body["context"]["operation"] for body in bodies] == ["assign", "assign", "assign", "unassign"]
    assert {call.path for call in receiver.calls} == {f"/v1/groups/{formation}"}
    assert bodies[-1]["runtime"] == {"id": cluster, "name": "cluster", "url": "https://a.example"}
    assert [d["operation"] for d in await deliveries(director)] == ["unregister", "ready", "changed", "assign"]


@pytest.mark.parametrize(
    ("status", "body", "state", "delivery", "error"),
    [
        (200, {}, "READY", "DELIVERED", None),
        (204, {}, "CONFIG_PENDING", "DELIVERED", None),
        (200, {"state": "CONFIG_PENDING"}, "CONFIG_PENDING", "DELIVERED", None),
        (200, {"state": "CREATE_READY"}, "READY", "DELIVERED", None),
        (
            200,
            {"state": "CREATE_ERROR"},
            "CREATE_ERROR",
            "DELIVERED",
            ("the receiver answered with state CREATE_ERROR", 2),
        ),
        (
            200,
            {"state": "DELETE_READY"},
            "CREATE_ERROR",
            "DELIVERED",
            ("Invalid transition from state assign to DELETE_READY", 2),
        ),
        (200, {"error": "no quota"}, "CREATE_ERROR", "DELIVERED", ("no quota", 2)),
        (404, {}, "CREATE_ERROR", "DEAD", ("the receiver answered 404, which says that it is gone", 1)),
        (500, {"error": "no quota"}, "CREATE_ERROR", "PENDING", ("no quota", 2)),
        (
            500,
            {},
            "CREATE_ERROR",
            "PENDING",
            ("response success status code was not met - expected success status code '200', got '500'", 1),
        ),
    ],
)
async def test_the_answer_decides_about_the_assignment(
    director: Any, status: int, body: dict[str, Any], state: str, delivery: str, error: tuple[str, int] | None
) -> None:
    answers = Answers()
    answers.status, answers.body = status, body
    async with receiving(answers) as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, None, application=app, **adapter(receiver.port))
        await group(director, "g", applications=[app], runtimes=[cluster])
        await (receiver.has(2) if delivery == "PENDING" else idle(director))

    rows = (await director.data(STATUS, name="g"))["formationByName"]
    found = next(r for r in rows["formationAssignments"]["data"] if (r["source"], r["target"]) == (cluster, app))
    assert (found["state"], (await deliveries(director))[0]["state"]) == (state, delivery)
    assert [(e["message"], e["errorCode"]) for e in rows["status"]["errors"]] == ([error] if error else [])
    assert rows["status"]["condition"] == {"READY": "READY", "CONFIG_PENDING": "IN_PROGRESS"}.get(state, "ERROR")


@pytest.mark.parametrize(
    ("status", "body", "left"),
    [
        (200, {}, []),
        (204, {}, ["DELETING"]),
        (200, {"state": "DELETE_ERROR"}, ["DELETE_ERROR"]),
        (500, {}, ["DELETE_ERROR"]),
    ],
)
async def test_the_answer_decides_about_the_end_too(
    director: Any, status: int, body: dict[str, Any], left: list[str]
) -> None:
    answers = Answers()
    async with receiving(answers) as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, None, application=app, **adapter(receiver.port))
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        answers.status, answers.body = status, body
        await unassign(director, "g", runtime=cluster)
        await (receiver.has(3) if status == 500 else idle(director))

    assert [state for _, _, state in await states(director, "g")] == left


async def test_a_configuration_in_the_answer_is_kept_with_the_assignment(director: Any) -> None:
    answers = Answers()
    answers.body = {"configuration": {"url": "https://a.example"}}
    async with receiving(answers) as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, None, application=app, **adapter(receiver.port))
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    rows = (await director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
    assert [row["value"] for row in rows if row["value"]] == ['{"url":"https://a.example"}']


async def test_a_receiver_that_calls_back_leaves_the_assignment_as_it_is(director: Any) -> None:
    async with receiving(Answers()) as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, None, application=app, mode="ASYNC_CALLBACK", **adapter(receiver.port))
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    assert (cluster, app, "INITIAL") in await states(director, "g")
    assert await condition(director, "g") == "IN_PROGRESS"


async def test_what_an_application_was_made_from_is_told_and_empty_for_one_that_was_made_from_nothing(
    director: Any,
) -> None:
    create = """mutation { r: createApplicationTemplate(in: {
      name: "Shop", description: "all shops", accessLevel: GLOBAL, applicationNamespace: "example.shop",
      labels: {tier: "gold"}, applicationInput: {name: "shop"} }) { id } }"""
    template = (await director.data(create))["r"]["id"]
    made = 'mutation { r: registerApplicationFromTemplate(in: {templateName: "Shop", values: []}) { id } }'
    shop = (await director.data(made))["r"]["id"]
    reading = {
        "inputTemplate": (
            '{"id": "{{.ApplicationTemplate.ID}}", "name": "{{.ApplicationTemplate.Name}}", '
            '"description": "{{.ApplicationTemplate.Description}}", '
            '"namespace": "{{.ApplicationTemplate.ApplicationNamespace}}", '
            '"tier": "{{.ApplicationTemplate.Labels.tier}}"}'
        )
    }
    async with receiving(Answers()) as receiver, working(director):
        plain, cluster = await application(director, "plain"), await runtime(director, "cluster")
        for app in (shop, plain):
            url = receiver.url(f"/{app}")
            await webhook(director, url, application=app, **reading)
        await group(director, "g", applications=[shop, plain], runtimes=[cluster])
        await idle(director)

    told = {call.path: orjson.loads(call.body) for call in receiver.calls}
    assert {d["state"] for d in await deliveries(director)} == {"DELIVERED"}
    whole = {
        "id": template, "name": "Shop", "description": "all shops", "namespace": "example.shop", "tier": "gold",
    }  # fmt: skip
    assert told == {f"/{shop}": whole, f"/{plain}": dict.fromkeys(whole, "")}


async def test_a_template_that_fails_on_the_real_data_is_seen_and_sends_nothing(director: Any) -> None:
    async with receiving(Answers()) as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        broken = adapter(receiver.port) | {"inputTemplate": '{"c": "{{.RuntimeContext.ID}}"}'}
        await webhook(director, None, application=app, **broken)
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    [delivery] = await deliveries(director)
    assert delivery["state"] == "DEAD"
    assert delivery["error"].startswith("the webhook's template cannot be used: Invalid data [reason=line 1: ")
    assert (cluster, app, "CREATE_ERROR") in await states(director, "g")
    assert receiver.calls == []


@pytest.mark.parametrize(
    "name", ['x", "admin": "yes', "a\r\nX-Evil: 1", "a\u2028b", "{{.Vault}}", "a\\", '"}]}'], ids=ascii
)
async def test_a_hostile_name_never_becomes_a_header_or_a_template(director: Any, name: str) -> None:
    async with receiving(Answers()) as receiver, working(director):
        app, cluster = await application(director, name), await runtime(director, "cluster")
        templates = adapter(receiver.port) | {"headerTemplate": '{"X-Name": [{{.Application.Name | toJson}}]}'}
        await webhook(director, None, application=app, **templates)
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    for call in receiver.calls:
        assert "x-evil" not in call.headers
        assert orjson.loads(call.body)["application"]["name"] == name
    assert {d["state"] for d in await deliveries(director)} <= {"DELIVERED", "DEAD"}
