"""The caller, who decides every read and command."""

from dataclasses import replace

import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.errors import InsufficientScopes, TenantNotFound, TenantRequired
from compass.ids import RuntimeId, TenantId

PERSON = Caller(Consumer.STATIC_USER, "admin", Flow.JWT, frozenset(), None)


def test_a_caller_works_in_its_tenant() -> None:
    assert replace(PERSON, tenant=TenantId("t")).in_tenant() == "t"


def test_a_caller_that_named_no_tenant_is_asked_for_one() -> None:
    with pytest.raises(TenantRequired, match=r"^Tenant is required$"):
        PERSON.in_tenant()


def test_a_caller_that_named_an_unknown_tenant_is_told_which() -> None:
    with pytest.raises(TenantNotFound, match=r"^Tenant not found \[externalTenant=nowhere\]$"):
        replace(PERSON, external_tenant="nowhere").in_tenant()


def test_a_caller_without_the_scope_is_told_which_it_has_and_which_it_needs() -> None:
    caller = replace(PERSON, scopes=frozenset({"b:read", "a:read"}))

    caller.require("a:read")
    caller.require("")
    with pytest.raises(
        InsufficientScopes, match=r"^insufficient scopes provided \[actual=a:read;b:read; required=c\]$"
    ):
        caller.require("c")


@pytest.mark.parametrize("kind", list(Consumer))
def test_only_a_runtime_asks_as_a_runtime(kind: Consumer) -> None:
    caller = replace(PERSON, consumer=kind, consumer_id="r")
    assert caller.runtime == (RuntimeId("r") if kind is Consumer.RUNTIME else None)


def test_a_header_that_was_not_sent_is_empty() -> None:
    caller = replace(PERSON, headers=(("client_user", "ann"),))
    assert (caller.header("client_user"), caller.header("suggest_token")) == ("ann", "")


def test_kinds_and_flows_are_spelled_as_on_the_wire() -> None:
    assert [str(kind) for kind in Consumer] == [
        "Application", "Runtime", "Integration System", "Static User", "External Certificate", "Super Admin",
        "Technical Client", "Business Integration", "Managed Application Provider Operator",
        "Managed Application Consumer", "Application Provider", "Landscape Resource Operator",
        "Tenant Discovery Operator", "Instance Creator", "Formation Viewer",
    ]  # fmt: skip
    assert [str(flow) for flow in Flow] == ["Certificate", "OneTimeToken", "OAuth2", "JWT"]
