"""Webhook trials: what a webhook's templates make of example data, and a call that shows whether it answers.

A test is a notification like any other, by the same worker: signed, recorded with its attempt, and shown among the
webhook's deliveries as `test`. It is called once, and no group changes with the answer. All of this is ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import orjson

from compass.access.caller import Caller
from compass.access.tenancy import Reach
from compass.commands import command
from compass.connector.urls import PublicUrls
from compass.delivery.enqueue import enqueue
from compass.director import webhook, webhook_call, webhook_template
from compass.director.webhook_delivery import TEST
from compass.director.webhook_template import Target
from compass.errors import CompassError, InvalidOperation
from compass.gotemplate import Record, TemplateError, TemplateResultNotJson, parse
from compass.ids import WebhookId
from compass.inputs import web_address
from compass.postgres.pool import Tx
from compass.reads.plan import Filling, Hole, Query

_T = TypeVar("_T")

MARK: Final = "Compass-Test"
"""The header by which a receiver with templates, too, can tell a test from a notification."""


# Example data


def _id(digit: int) -> str:
    """An id that nobody has, and that is recognized at a glance."""
    return f"{str(digit) * 8}-0000-4000-8000-{'0' * 12}"


_TENANT: Final = webhook_template.tenant(
    {"id": _id(1), "name": "example tenant", "external_id": _id(2), "type": "account"}, {"region": "example"}
)
_SHOP: Final = webhook_template.application(
    {
        "id": _id(3),
        "name": "example-shop",
        "provider_name": "Example",
        "description": "An example",
        "base_url": "https://shop.example",
        "system_number": "4711",
        "local_tenant_id": "example-tenant",
        "status_condition": "CONNECTED",
    },
    {"scenarios": ["example group"]},
    _TENANT,
)
_STORE: Final = webhook_template.application(
    {"id": _id(4), "name": "example-store", "base_url": "https://store.example", "status_condition": "CONNECTED"},
    {"scenarios": ["example group"]},
    _TENANT,
)
_KIND: Final = webhook_template.application_template(
    {"id": _id(5), "name": "Example template", "application_namespace": "example", "access_level": "GLOBAL"},
    {"applicationType": "Example template"},
)
_RUNTIME: Final = webhook_template.runtime(
    {"id": _id(6), "name": "example-runtime", "description": "An example", "status_condition": "CONNECTED"},
    {"runtime_eventServiceUrl": "https://events.runtime.example", "scenarios": ["example group"]},
    _TENANT,
)
_CONTEXT: Final = webhook_template.runtime_context(
    {"id": _id(7), "runtime_id": _id(6), "key": "tenant", "value": "example-context"}, {}, _TENANT
)
_GROUP: Final = webhook_template.formation(
    {"id": _id(8), "name": "example group", "tenant_id": _id(1), "formation_template_id": _id(9), "state": "READY"}
)
_CUSTOMER: Final = webhook_template.customer({"customer": "example-customer", "account": _id(2)}, "")


def _pair(source: tuple[str, str], target: tuple[str, str]) -> Record:
    def direction(digit: int, one: tuple[str, str], other: tuple[str, str]) -> Record:
        sides = {"source": one[0], "source_type": one[1], "target": other[0], "target_type": other[1]}
        return webhook_template.assignment({"id": _id(digit), "formation_id": _id(8), "state": "INITIAL", **sides})

    return webhook_template.of_pair(
        "assign",
        formation=_GROUP,
        assignment=direction(0, source, target),
        reverse=direction(1, target, source),
        customer=_CUSTOMER,
    )


EXAMPLES: Final[Mapping[str, Record]] = {
    webhook.CONFIGURATION_CHANGED: webhook_template.configuration_changed(
        _pair((_id(6), "RUNTIME"), (_id(3), "APPLICATION")),
        application_template=_KIND,
        application=_SHOP,
        runtime=_RUNTIME,
        runtime_context=_CONTEXT,
    ),
    "APPLICATION_TENANT_MAPPING": webhook_template.application_tenant_mapping(
        _pair((_id(4), "APPLICATION"), (_id(3), "APPLICATION")),
        source_template=_KIND,
        source=_STORE,
        target_template=_KIND,
        target=_SHOP,
    ),
    webhook.FORMATION_LIFECYCLE: webhook_template.formation_lifecycle(
        "createFormation", formation=_GROUP, customer=_CUSTOMER
    ),
    "REGISTER_APPLICATION": webhook_template.of_application(_SHOP, _id(1), {}),
    "UNREGISTER_APPLICATION": webhook_template.of_application(_SHOP, _id(1), {}),
}
"""What templates are filled in with, for each type of webhook that is ever called. The context is there although most
notifications have none, so that what a template reads behind an `if` is seen as well."""


def _event(source: str, about: str) -> dict[str, Any]:
    return webhook_call.cloud_event(
        source, "io.compass.webhook.test.v1", subject=about, data={"operation": "test", "webhookID": about}
    )


# A preview


class _Made:
    """What the templates of one webhook make of example data, and what is wrong with those that cannot be used."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._type = given["type"]
        self._given = given
        self.problems: list[dict[str, Any]] = []

    def of(self, name: str, how: Callable[[str, Record], _T], data: Record | None, otherwise: _T) -> _T:
        """What one template makes of the data; `otherwise` when there is none, or it cannot be used."""
        template = self._given.get(name)
        if template is None:
            return otherwise
        if data is None:
            self.wrong(name, f"missing template input for type: {self._type}")
            return otherwise
        try:
            made = how(template, data)
        except TemplateResultNotJson as error:
            self.wrong(name, error.reason, line=error.line, rendered=parse(template).render(data))
            return otherwise
        except TemplateError as error:
            self.wrong(name, error.reason, line=error.line)
            return otherwise
        except CompassError as error:
            self.wrong(name, str(error.facts["reason"]))
            return otherwise
        only = {tried: self._given[told] if told == name else None for told, tried in _TRIED.items()}
        reason = webhook_template.try_out(self._type, **only)
        if reason is not None:
            # Good for the example, but tried out with data without content when it is stored.
            self.wrong(name, f"with data without content, {reason.removeprefix(f'{name}: ')}")
        return made

    def wrong(self, name: str, message: str, *, line: int | None = None, rendered: str | None = None) -> None:
        """Note what cannot be used."""
        self.problems.append({"template": name, "line": line, "message": message, "rendered": rendered})


_TRIED: Final = {
    "urlTemplate": "url_template",
    "inputTemplate": "input_template",
    "headerTemplate": "header_template",
    "outputTemplate": "output_template",
    "statusTemplate": "status_template",
}
"""The templates by their names in the schema and in `try_out`."""


def _preview(filling: Filling, _payload: str) -> dict[str, Any]:
    given = filling.arguments
    made = _Made(given)
    data, response = EXAMPLES.get(given["type"]), webhook_template.answer(b"{}", {})
    target = made.of("urlTemplate", webhook_template.url, data, Target("POST", given.get("url") or ""))
    if wrong := web_address(target.url) if target.url else None:
        made.wrong("url" if given.get("urlTemplate") is None else "urlTemplate", wrong)
    # As `webhook_call.owed` decides it.
    is_event = given.get("inputTemplate") is None and given.get("urlTemplate") is None
    event = orjson.dumps(_event(filling.parts[PublicUrls].token_port, _id(0))).decode()
    headers = {"Content-Type": webhook_call.CLOUD_EVENTS if is_event else "application/json"}
    body = made.of("inputTemplate", webhook_template.body, data, event if is_event else "{}")
    none: dict[str, str] = {}
    headers |= made.of("headerTemplate", webhook_template.headers, data, none)
    made.of("outputTemplate", webhook_template.output, response, None)
    made.of("statusTemplate", webhook_template.progress, response, None)
    return {
        "method": target.method,
        "url": target.url,
        "headers": [{"name": name, "value": value} for name, value in headers.items()],
        "body": body,
        "problems": made.problems,
    }


QUERIES: Final = (Query("webhookPreview", scope="webhook:write", read=Hole("''", _preview)),)

# A test

HOOK: Final = """
-- webhook_trial.hook
SELECT id AS webhook, type, mode, url, correlation_id_key, url_template, input_template, header_template,
    CASE WHEN num_nonnulls(url_template, input_template, header_template) > 0 THEN '{}'::jsonb END AS data,
    paused_at IS NOT NULL AS is_paused
FROM webhook WHERE id = %(webhook)s
"""


@command("testWebhook", scope="webhook:write", reach=Reach.ABOVE)
async def test(tx: Tx, caller: Caller, of: WebhookId, *, urls: PublicUrls) -> str:
    """Owe a webhook one call with example data. Three statements, and the answer.

    Raises NotFound, Unauthorized, InvalidOperation (it is paused, or the plane never calls webhooks of its type).
    """
    await webhook.lock(tx, caller, of)
    hook = await tx.row(HOOK, webhook=of)
    if hook is None:
        raise AssertionError("a webhook that is held does not go away")
    example = EXAMPLES.get(hook["type"])
    if example is None:
        raise InvalidOperation(reason=f"webhooks of type {hook['type']} are never called, so there is nothing to test")
    if hook["is_paused"]:
        raise InvalidOperation(reason="the webhook is paused, so it is not called: resume it first")
    event = _event(urls.token_port, of)
    call = webhook_call.owed(
        hook,
        kind=TEST,
        # Of its own, so that no test waits for another.
        subject=f"test/{event['id']}",
        tenant=caller.in_tenant(),
        event=event,
        rendered=lambda _: example,
        facts={"operation": "test"},
    )
    [delivery] = await enqueue(tx, [replace(call, headers={**call.headers, MARK: "true"})])
    return delivery
