"""Scopes per kind of caller. Source of the lists: contract/director.md §2."""

import pytest

from compass.access.caller import Consumer
from compass.access.scopes import BY_CONSUMER
from compass.app import DIRECTOR_NOUNS
from compass.commands import commands_in

CONTRACT = {
    Consumer.APPLICATION: """
        application:read application:write application.auths:read application.webhooks:read
        application.application_template:read bundle.instance_auths:read document.fetch_request:read
        event_spec.fetch_request:read api_spec.fetch_request:read fetch-request.auth:read webhook:write
    """,
    Consumer.RUNTIME: """
        runtime:read runtime:write application:read runtime.auths:read bundle.instance_auths:read runtime.webhooks:read
        webhook:write
    """,
    Consumer.INTEGRATION_SYSTEM: """
        application:read application:write application.local_tenant_id:write application.application_template:read
        application_template:read application_template:write runtime:read runtime:write integration_system:read
        label_definition:read label_definition:write automatic_scenario_assignment:read integration_system.auths:read
        application_template.webhooks:read formation.state:write formation:read formation:write internal_visibility:read
        application.auths:read webhook:write formation_template:read formation_template.webhooks:read
    """,
}
OURS = {
    Consumer.APPLICATION: {"bundle_instance_auth:write"},
    Consumer.RUNTIME: set(),
    Consumer.INTEGRATION_SYSTEM: {"application.webhooks:read"},
}


@pytest.mark.parametrize("kind", list(CONTRACT))
def test_a_kind_of_caller_has_the_contracts_scopes_and_the_few_of_ours(kind: Consumer) -> None:
    contract = set(CONTRACT[kind].split())
    assert contract <= BY_CONSUMER[kind]
    assert BY_CONSUMER[kind] - contract <= OURS[kind] | {"bundle_instance_auth:write"}


def test_only_people_may_do_what_concerns_the_plane() -> None:
    plane = {
        scope
        for scope in BY_CONSUMER[Consumer.STATIC_USER]
        if scope.startswith(("tenant", "provisioner", "certificate"))
    }
    assert len(plane) >= 3
    for kind in (Consumer.APPLICATION, Consumer.RUNTIME, Consumer.INTEGRATION_SYSTEM):
        assert not plane & BY_CONSUMER[kind]


def test_nobody_has_the_scope_of_the_originals_own_machinery() -> None:
    assert not any("ory_internal" in scopes for scopes in BY_CONSUMER.values())


def test_every_scope_that_a_command_asks_for_is_held_by_an_administrator_or_by_nobody() -> None:
    asked = {getattr(command, "compass_command").scope for command in commands_in(*DIRECTOR_NOUNS)}  # noqa: B009  # the decorator's mark
    assert asked - {"", "ory_internal"} <= BY_CONSUMER[Consumer.STATIC_USER]
