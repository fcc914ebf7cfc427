"""Who the plane takes the caller for."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from compass.access.caller import Consumer
from compass.settings import TokenSettings


@pytest.mark.parametrize(
    ("consumer", "shown"),
    [
        (Consumer.APPLICATION, "APPLICATION"),
        (Consumer.RUNTIME, "RUNTIME"),
        (Consumer.INTEGRATION_SYSTEM, "INTEGRATION_SYSTEM"),
        (Consumer.STATIC_USER, "USER"),
    ],
)
async def test_every_kind_of_caller_sees_itself_without_scope_and_tenant(
    director: Any, consumer: Consumer, shown: str
) -> None:
    caller = replace(director.caller, consumer=consumer, consumer_id="me", scopes=frozenset(), tenant=None)

    assert await director.data("{ viewer { id type } }", caller=caller) == {"viewer": {"id": "me", "type": shown}}


async def test_a_kind_of_caller_that_the_contract_has_no_viewer_for_is_told_so(director: Any) -> None:
    caller = replace(director.caller, consumer=Consumer.SUPER_ADMIN)

    error = await director.refusal("{ viewer { id } }", caller=caller)

    assert error["extensions"] == {"error": "InternalError", "error_code": 10}
    assert error["message"].endswith("reason: viewer does not exist: Super Admin]")


async def test_an_id_with_quotes_is_shown_as_it_is(director: Any) -> None:
    caller = replace(director.caller, consumer_id='a "b" \\ ä')

    assert await director.data("{ viewer { id } }", caller=caller) == {"viewer": {"id": 'a "b" \\ ä'}}


async def test_there_are_no_health_checks(director: Any) -> None:
    query = "{ healthChecks { __typename data { type } totalCount pageInfo { startCursor endCursor hasNextPage } } }"

    data = await director.data(query)
    error = await director.refusal(query, caller=replace(director.caller, scopes=frozenset()))

    assert data["healthChecks"] == {
        "__typename": "HealthCheckPage",
        "data": [],
        "totalCount": 0,
        "pageInfo": {"startCursor": "", "endCursor": "", "hasNextPage": False},
    }
    assert error["message"] == "insufficient scopes provided [actual=; required=health_checks:read]"


async def test_whoever_asks_learns_what_it_may_do(director: Any) -> None:
    caller = replace(director.caller, scopes=frozenset({"b:read", "a:read"}), tenant=None, external_tenant=None)

    told = await director.data("{ signedIn { id consumer flow tenantID issuer scopes } }", caller=caller)

    assert told["signedIn"] == {
        "id": caller.consumer_id,
        "consumer": caller.consumer.value,
        "flow": caller.flow.value,
        "tenantID": None,
        "issuer": None,
        "scopes": ["a:read", "b:read"],
    }


async def test_whoever_asks_learns_how_long_one_time_tokens_may_live(director: Any) -> None:
    text = "{ signedIn { oneTimeTokenLives { shortestSeconds applicationSeconds runtimeSeconds } } }"
    nobody = replace(director.caller, scopes=frozenset(), tenant=None, external_tenant=None)
    chosen = TokenSettings(application_validity=timedelta(minutes=2), runtime_validity=timedelta(hours=8))

    usual = await director.data(text, caller=nobody)
    other = await director.lent({TokenSettings: chosen}).data(text)

    assert usual["signedIn"]["oneTimeTokenLives"] == {
        "shortestSeconds": 30,
        "applicationSeconds": 300,
        "runtimeSeconds": 3600,
    }
    assert other["signedIn"]["oneTimeTokenLives"] == {
        "shortestSeconds": 30,
        "applicationSeconds": 120,
        "runtimeSeconds": 28_800,
    }
