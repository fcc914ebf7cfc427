"""What needs a service of one vendor: in the schema, and refused with one clear error."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.director.catalogue import register, without

Announced = Callable[[], Awaitable[Sequence[str]]]

SUBSCRIPTION = (
    'providerID: "p", subaccountID: "s", providerSubaccountID: "t", consumerTenantID: "c", region: "r", '
    'subscriptionPayload: "{}"'
)
REFUSED = {
    "scheduleOperation": (
        'mutation { result: scheduleOperation(operationID: "x") { id status } }',
        "operation:schedule",
        "an aggregator of Open Resource Discovery",
    ),
    "subscribeTenant": (
        f'mutation {{ result: subscribeTenant({SUBSCRIPTION}, subscriptionAppName: "a") }}',
        "tenant_subscription:write",
        "a subscription service",
    ),
    "unsubscribeTenant": (
        f"mutation {{ result: unsubscribeTenant({SUBSCRIPTION}) }}",
        "tenant_subscription:write",
        "a subscription service",
    ),
}


@pytest.mark.parametrize("mutation", list(REFUSED))
async def test_what_needs_a_vendors_service_is_refused_by_name(
    director: Any, announced: Announced, mutation: str
) -> None:
    document, scope, needs = REFUSED[mutation]
    allowed = replace(director.caller, scopes=frozenset({scope}), tenant=None, external_tenant=None)

    error = await director.refusal(document, caller=allowed)
    without_scope = await director.refusal(document, caller=replace(allowed, scopes=frozenset()))

    assert error == {
        "message": f"The operation is not allowed [reason={mutation} is not offered by this plane: it needs {needs}]",
        "path": ["result"],
        "extensions": {"error": "InvalidOperation", "error_code": 27},
    }
    assert without_scope["message"] == f"insufficient scopes provided [actual=; required={scope}]"
    assert await announced() == []


async def test_there_are_no_scheduled_operations(director: Any) -> None:
    application = await register(director)
    query = "query ($id: ID!) { operation(id: $id) { id operationType status error errorSeverity createdAt } }"

    for unknown in (application, "no-uuid", ""):
        error = await director.refusal(query, id=unknown)
        assert error["message"] == "Object not found [object=operation]"
        assert error["extensions"] == {"error": "NotFound", "error_code": 20}
    refused = await director.refusal(query, id=application, caller=without(director.caller, "operation:read"))
    assert refused["extensions"]["error_code"] == 23
    shown = await director.data("query ($id: ID!) { application(id: $id) { operations { id } } }", id=application)
    assert shown == {"application": {"operations": []}}
