"""Webhook templates: what a webhook's Go templates are given, and what they must make of it.

Templates see the records built here and nothing else: asking for a field that is not listed is the template's error.
Source: contract/director.md §16.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from compass.errors import Code, CompassError
from compass.gotemplate import Absent, Record, TextMap, parse, render_json


class TemplateResultUnusable(CompassError):
    """A template renders to JSON, but not to what its kind must be; `reason` says what is missing."""

    code = Code.INVALID_DATA
    message = "Invalid data"


# What templates are given


def application(row: Mapping[str, Any], labels: Mapping[str, Any], tenant: Record) -> Record:
    """An application, from its row."""
    return Record(
        ID=row.get("id") or "",
        Name=row.get("name") or "",
        ProviderName=row.get("provider_name"),
        Description=row.get("description"),
        BaseURL=row.get("base_url"),
        SystemNumber=row.get("system_number"),
        LocalTenantID=row.get("local_tenant_id"),
        HealthCheckURL=row.get("health_check_url"),
        IntegrationSystemID=row.get("integration_system_id"),
        ApplicationTemplateID=row.get("application_template_id"),
        ApplicationNamespace=row.get("application_namespace"),
        SystemStatus=row.get("system_status"),
        Status=Record(Condition=row.get("status_condition")),
        Labels=_texts(labels),
        Tenant=tenant,
    )


def application_template(row: Mapping[str, Any], labels: Mapping[str, Any]) -> Record:
    """What an application was made from. Made from nothing, it is false to `if` and all its fields are empty."""
    kind = Record if row else Absent
    return kind(
        ID=row.get("id") or "",
        Name=row.get("name") or "",
        Description=row.get("description") or "",
        ApplicationNamespace=row.get("application_namespace") or "",
        AccessLevel=row.get("access_level") or "",
        Labels=_texts(labels),
    )


def runtime(row: Mapping[str, Any], labels: Mapping[str, Any], tenant: Record) -> Record:
    """A runtime, from its row or what is remembered of it."""
    return Record(
        ID=row.get("id") or "",
        Name=row.get("name") or "",
        Description=row.get("description"),
        ApplicationNamespace=row.get("application_namespace"),
        Status=Record(Condition=row.get("status_condition")),
        Labels=_texts(labels),
        Tenant=tenant,
    )


def runtime_context(row: Mapping[str, Any], labels: Mapping[str, Any], tenant: Record) -> Record:
    """A runtime's context, from its row or what is remembered of it."""
    return Record(
        ID=row.get("id") or "",
        RuntimeID=row.get("runtime_id") or "",
        Key=row.get("key") or "",
        Value=row.get("value") or "",
        Labels=_texts(labels),
        Tenant=tenant,
    )


def tenant(row: Mapping[str, Any], labels: Mapping[str, Any]) -> Record:
    """A tenant, from its row."""
    return Record(
        ID=row.get("id") or "",
        Name=row.get("name") or "",
        ExternalTenant=row.get("external_id") or "",
        Type=row.get("type") or "",
        Labels=_texts(labels),
    )


def formation(row: Mapping[str, Any]) -> Record:
    """A group, from its row."""
    return Record(
        ID=row.get("id") or "",
        Name=row.get("name") or "",
        TenantID=row.get("tenant_id") or "",
        FormationTemplateID=row.get("formation_template_id") or "",
        State=row.get("state") or "",
    )


def assignment(row: Mapping[str, Any]) -> Record:
    """One direction of a pair, from its row. `Value` is its configuration."""
    return Record(
        ID=row.get("id") or "",
        FormationID=row.get("formation_id") or "",
        Source=row.get("source") or "",
        SourceType=row.get("source_type") or "",
        Target=row.get("target") or "",
        TargetType=row.get("target_type") or "",
        State=row.get("state") or "",
        Value=row.get("configuration") or "",
        Error=row.get("error") or "",
    )


def customer(ancestors: Mapping[str, str], path: str) -> Record:
    """Whose the tenant is, by the external ids of its ancestors, by type."""
    return Record(
        CustomerID=ancestors.get("customer", ""),
        CostObjectID=ancestors.get("cost-object", ""),
        AccountID=ancestors.get("account", ""),
        Path=path,
    )


def of_pair(operation: str, *, formation: Record, assignment: Record, reverse: Record, customer: Record) -> Record:
    """What every notification about a pair of a group has, whoever the two are."""
    return Record(
        Operation=operation,
        FormationID=formation["ID"],
        Formation=formation,
        CustomerTenantContext=customer,
        Assignment=assignment,
        ReverseAssignment=reverse,
    )


def configuration_changed(
    pair: Record, *, application_template: Record, application: Record, runtime: Record, runtime_context: Record | None
) -> Record:
    """The data of a CONFIGURATION_CHANGED notification; without a context it is about the runtime itself."""
    return Record(
        pair,
        ApplicationTemplate=application_template,
        Application=application,
        Runtime=runtime,
        RuntimeContext=runtime_context,
    )


def application_tenant_mapping(
    pair: Record, *, source_template: Record, source: Record, target_template: Record, target: Record
) -> Record:
    """The data of an APPLICATION_TENANT_MAPPING notification; the target is told of the source."""
    return Record(
        pair,
        SourceApplicationTemplate=source_template,
        SourceApplication=source,
        TargetApplicationTemplate=target_template,
        TargetApplication=target,
    )


def formation_lifecycle(operation: str, *, formation: Record, customer: Record) -> Record:
    """The data of a FORMATION_LIFECYCLE notification."""
    return Record(Operation=operation, Formation=formation, CustomerTenantContext=customer)


def of_application(application: Record, tenant: str, headers: Mapping[str, str]) -> Record:
    """The data of REGISTER_APPLICATION and UNREGISTER_APPLICATION; the headers by their usual spelling."""
    return Record(Application=application, TenantID=tenant, Headers=_headers(headers))


def _headers(headers: Mapping[str, str]) -> TextMap:
    return TextMap({"-".join(part.capitalize() for part in name.split("-")): text for name, text in headers.items()})


def _texts(labels: Mapping[str, Any]) -> TextMap:
    """Labels as texts: those that are none are shown as JSON."""
    return TextMap(
        {key: value if isinstance(value, str) else orjson.dumps(value).decode() for key, value in labels.items()}
    )


_NOBODY: Final = tenant({}, {})
_EMPTY_APPLICATION: Final = application({}, {}, _NOBODY)
_EMPTY_TEMPLATE: Final = application_template({"id": ""}, {})
_EMPTY_FORMATION: Final = formation({})
_EMPTY_CUSTOMER: Final = customer({}, "")
_EMPTY_PAIR: Final = of_pair(
    "", formation=_EMPTY_FORMATION, assignment=assignment({}), reverse=assignment({}), customer=_EMPTY_CUSTOMER
)
_EMPTY: Final[Mapping[str, Record]] = {
    # Other than when it is sent, everything is there: what a template reads behind an `if` is tried out as well.
    "CONFIGURATION_CHANGED": configuration_changed(
        _EMPTY_PAIR,
        application_template=_EMPTY_TEMPLATE,
        application=_EMPTY_APPLICATION,
        runtime=runtime({}, {}, _NOBODY),
        runtime_context=runtime_context({}, {}, _NOBODY),
    ),
    "APPLICATION_TENANT_MAPPING": application_tenant_mapping(
        _EMPTY_PAIR,
        source_template=_EMPTY_TEMPLATE,
        source=_EMPTY_APPLICATION,
        target_template=_EMPTY_TEMPLATE,
        target=_EMPTY_APPLICATION,
    ),
    "FORMATION_LIFECYCLE": formation_lifecycle("", formation=_EMPTY_FORMATION, customer=_EMPTY_CUSTOMER),
    "REGISTER_APPLICATION": of_application(_EMPTY_APPLICATION, "", {}),
    "UNREGISTER_APPLICATION": of_application(_EMPTY_APPLICATION, "", {}),
}
"""Data without content for each type of webhook whose templates are rendered, to try a template out with."""


def answer(body: bytes, headers: Mapping[str, str]) -> Record:
    """What an output template is given of a response.

    `.Body` has the top-level values of a JSON object as texts that fit between quotes, `.Headers` the headers by their
    usual spelling.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    values = document.items() if isinstance(document, dict) else ()
    return Record(
        Body=TextMap({key: _between_quotes(value) for key, value in values if value is not None}),
        Headers=_headers(headers),
    )


def _between_quotes(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return json.dumps(text, ensure_ascii=False)[1:-1]


# What templates must make of it


@dataclass(frozen=True)
class Target:
    """Where a notification goes."""

    method: str
    url: str


@dataclass(frozen=True)
class Output:
    """How a response is to be understood."""

    success: int
    error: str
    incomplete: int | None = None
    gone: int | None = None
    state: str = ""
    configuration: str | None = None
    location: str = ""
    """Where to ask later how far it is."""


@dataclass(frozen=True)
class Progress:
    """How far a receiver is that was asked later."""

    success_code: int
    """The HTTP status of an answer that says how far it is."""
    status: str
    succeeded: str
    in_progress: str
    failed: str
    error: str


def url(template: str, data: Record) -> Target:
    """What `urlTemplate` renders to. Raises TemplateError, TemplateResultUnusable."""
    made = _object("urlTemplate", template, data)
    method, path = made.get("method"), made.get("path")
    if not isinstance(method, str) or not method:
        raise TemplateResultUnusable(reason="urlTemplate must render a method")
    if not isinstance(path, str):
        raise TemplateResultUnusable(reason="urlTemplate must render a path, an absolute URL")
    return Target(method.upper(), path)


def body(template: str, data: Record) -> str:
    """What `inputTemplate` renders to, as JSON text. Raises TemplateError."""
    return orjson.dumps(render_json(template, data)).decode()


def headers(template: str, data: Record) -> dict[str, str]:
    """What `headerTemplate` renders to. Raises TemplateError, TemplateResultUnusable."""
    made = _object("headerTemplate", template, data)
    for value in made.values():
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise TemplateResultUnusable(reason="headerTemplate must render an object of string lists")
    return {name: ", ".join(values) for name, values in made.items()}


def output(template: str, data: Record) -> Output:
    """What `outputTemplate` renders to. Raises TemplateError, TemplateResultUnusable."""
    made = _object("outputTemplate", template, data)
    success, incomplete, gone = (
        _status(made, name) for name in ("success_status_code", "incomplete_status_code", "gone_status_code")
    )
    if success is None:
        raise TemplateResultUnusable(reason="outputTemplate must render success_status_code")
    if "error" not in made:
        raise TemplateResultUnusable(reason="outputTemplate must render error")
    return Output(
        success,
        _text(made["error"]),
        incomplete,
        gone,
        _text(made.get("state")),
        _text(made.get("config")) or None,
        _text(made.get("location")),
    )


def progress(template: str, data: Record) -> Progress:
    """What `statusTemplate` renders to. Raises TemplateError, TemplateResultUnusable."""
    made = _status_result(template, data)
    success = _status(made, "success_status_code", "statusTemplate")
    if success is None:
        raise TemplateResultUnusable(reason="statusTemplate must render success_status_code")
    return Progress(
        success,
        _text(made["status"]),
        _text(made["success_status_identifier"]),
        _text(made["in_progress_status_identifier"]),
        _text(made["failed_status_identifier"]),
        _text(made["error"]),
    )


def _object(kind: str, template: str, data: Record) -> dict[str, Any]:
    made = render_json(template, data)
    if not isinstance(made, dict):
        raise TemplateResultUnusable(reason=f"{kind} must render a JSON object")
    return made


def _status(made: Mapping[str, Any], name: str, kind: str = "outputTemplate") -> int | None:
    value = made.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:4])
    if isinstance(value, bool) or not isinstance(value, int | None):
        raise TemplateResultUnusable(reason=f"{kind} must render {name} as a number")
    return value


def _text(value: Any) -> str:
    """A text as it is, anything else but what is empty as JSON."""
    if value in (None, "", "null", "{}", "[]", '""') or value in ({}, []):
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_STATUS_FIELDS: Final = (
    "status",
    "success_status_code",
    "success_status_identifier",
    "in_progress_status_identifier",
    "failed_status_identifier",
    "error",
)


def try_out(
    type_: str,
    *,
    url_template: str | None,
    input_template: str | None,
    header_template: str | None,
    output_template: str | None,
    status_template: str | None,
) -> str | None:
    """Render every template that is given over data without content; what is wrong with the first that fails."""
    over = _EMPTY.get(type_)
    response = answer(b"{}", {})
    checks = (
        ("urlTemplate", url_template, url, over),
        ("inputTemplate", input_template, body, over),
        ("headerTemplate", header_template, headers, over),
        ("outputTemplate", output_template, output, response),
        ("statusTemplate", status_template, _status_result, response),
    )
    for kind, template, made, data in checks:
        if template is None:
            continue
        if data is None:
            return f"missing template input for type: {type_}"
        try:
            parse(template)
            made(template, data)
        except CompassError as error:
            return f"{kind}: {error.facts['reason']}"
    return None


def _status_result(template: str, data: Record) -> dict[str, Any]:
    made = _object("statusTemplate", template, data)
    missing = [name for name in _STATUS_FIELDS if name not in made]
    if missing:
        raise TemplateResultUnusable(reason=f"statusTemplate must render {missing[0]}")
    return made
