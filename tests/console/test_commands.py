"""What a page tells for the terminal: lines that the real command line takes, without secrets."""

import json
import re
import shlex
from importlib.resources import files
from typing import Any

import pytest
from graphql import parse
from graphql.language import OperationDefinitionNode, OperationType

from compass.cli.main import app
from compass.console.commands import COMMANDS, arguments, by_graphql, copies, line, once, without_secrets
from compass.console.plane import document, is_mutation
from tests.console.conftest import Site

ID = "5b0d1a9e-1111-4222-8333-444455556666"
NAMES = sorted(
    one.name.removesuffix(".graphql") for one in files("compass.console.documents").iterdir() if one.is_file()
)
NAMES = [name for name in NAMES if not name.endswith(".py")]
DEFINED = {"name": "orders", "targetURL": "https://a.example", "version": {"value": "1.0.0"}, "spec": {"data": "…"}}
DEFINING = [name for name in COMMANDS if re.fullmatch("(Add|Update|Delete|Refetch)(Api|Event).*", name)]
GIVEN: dict[str, dict[str, Any]] = {
    "Certificates": {"state": ["VALID", "EXPIRING"]},
    "WebhookDeliveries": {
        "webhook": ID,
        "state": "DEAD",
        "type": "CONFIGURATION_CHANGED",
        "since": "2026-01-01T00:00:00+00:00",
    },
    "Tenants": {"term": "east"},
    "AccessRequests": {"application": ID, "condition": "PENDING"},
    "GroupRuleEffects": {"group": "east wing", "subaccount": {"key": "k", "value": "sub"}, "change": "UNASSIGN"},
    "Assign": {"id": ID, "type": "APPLICATION", "group": "east wing"},
    "Unassign": {"id": ID, "type": "RUNTIME", "group": "east wing"},
    "RegisterApplication": {"in": {"name": "shop; rm", "providerName": "ACME", "description": 'says "hi"'}},
    **{name: {"id": ID, "application": ID, "bundle": ID, "in": DEFINED} for name in DEFINING},
    "RegisterIntegrationSystem": {"in": {"name": "bridge", "description": "a b"}},
    "RegisterRuntime": {"in": {"name": "edge", "description": "a b"}},
    "UpdateApplication": {"id": ID, "in": {"description": "", "baseUrl": "https://a.example"}},
    "SetApplicationLabel": {"id": ID, "key": "team", "value": ["a", "b"]},
    "SetRuntimeLabel": {"id": ID, "key": "team", "value": "a b"},
    "RevokeCertificate": {"fingerprint": "ab12", "reason": "lost"},
    "Webhooks": {"first": 50},
    "RecoverDeliveries": {"webhook": ID, "since": "2026-01-01T00:00:00+00:00"},
}


def variables(name: str) -> dict[str, Any]:
    """Something for every variable of a document."""
    operation = parse(document(name).text).definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    names = [one.variable.name.value for one in operation.variable_definitions or ()]
    usual = {"first": 5, "after": None, "term": None, "condition": None, "attention": None, "orderBy": "NAME_DESC"}
    return GIVEN.get(name) or {one: usual.get(one, ID) for one in names}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_one_of_the_command_line(name: str) -> None:
    words = arguments(name, variables(name))

    assert words[0] != "graphql"
    app.parse_args(words, print_error=False, exit_on_error=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_document_can_be_sent_by_the_command_line(name: str) -> None:
    words = by_graphql(document(name), variables(name))

    _, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    sent = parse(bound.arguments["query"]).definitions[0]
    assert isinstance(sent, OperationDefinitionNode)
    assert (sent.operation is OperationType.MUTATION) == is_mutation(name)
    assert bound.arguments.get("api", "director") == str(document(name).endpoint)


def test_every_registered_document_is_there() -> None:
    # Those that are of all clients alike are found, too.
    assert [name for name in COMMANDS if not document(name).text] == []


def test_what_a_command_cannot_say_is_sent_as_graphql() -> None:
    words = arguments("Applications", {"term": "shop crm", "condition": None, "first": 50, "after": None})

    assert words[:2] == ["graphql", "-q"]
    assert words[3:] == ["--var", 'term="shop crm"', "--var", "first=50"]
    assert arguments("Applications", {"term": None, "first": 50}) == ["app", "list"]
    assert arguments("Applications", {"orderBy": "CREATED_DESC"}) == ["app", "list", "--sort", "created-desc"]


def test_what_only_the_api_can_say_of_a_definition_is_sent_as_graphql() -> None:
    fetched = {"url": "https://a.example", "auth": {"credential": {"basic": {"username": "u", "password": "p4ss"}}}}
    for new in ({"spec": {"fetchRequest": fetched}}, {"version": {"value": "1.0.0", "deprecated": True}}):
        words = arguments("AddApiToApplication", {"application": ID, "in": {"name": "a", **new}})
        assert (words[0], "p4ss" in str(words)) == ("graphql", False)


def test_a_name_is_one_word_of_a_shell_whatever_it_holds() -> None:
    hostile = "a'; rm -rf / #$(id)`id`\n"

    text = line(arguments("CreateGroup", {"name": hostile}), tenant="east")

    assert shlex.split(text) == ["compass", "group", "create", hostile, "--tenant", "east"]


def test_nothing_that_is_called_a_secret_is_told() -> None:
    given = {
        "id": ID,
        "in": {"credential": {"basic": {"username": "u", "password": "p4ss"}}, "tokens": ["t0ken"], "name": None},
        "clientSecret": "s3cret",
        "many": [{"Authorization": "Bearer x"}],
    }

    told = json.dumps(without_secrets(given))

    assert all(one not in told for one in ("p4ss", "t0ken", "s3cret", "Bearer"))
    assert ID in told


def test_a_document_that_was_asked_in_parts_is_told_once() -> None:
    asked = [("Topology" + kind, {"after": after}) for after in (None, "x") for kind in ("Applications", "Groups")]

    told = copies(once(asked))

    assert [one.command for one in told] == ["compass topology", "compass topology"]
    assert json.loads(told[0].variables) == {"after": None}
    assert told[0].text.startswith("query")


async def test_a_page_tells_what_it_asked(site: Site) -> None:
    application, _ = await site.application()
    shown = await site.get(f"/applications/{application}")

    commands = [one.text_content() for one in shown.tree.xpath("//*[@id='commands-shown']//pre[@aria-label='Command']")]
    assert f"compass app get {application}" in commands
    texts = [one.text_content() for one in shown.tree.xpath("//*[@id='commands-shown']//pre[@aria-label='GraphQL']")]
    assert [parse(text) for text in texts]
    assert "compass app list" in (await site.get("/applications")).words


async def test_an_action_tells_how_the_terminal_does_it(site: Site) -> None:
    application, _ = await site.application()
    done = await site.post(f"/applications/{application}/label", key="team", value="shop")

    shown = await site.follow(done)

    commands = [one.text_content() for one in shown.tree.xpath("//*[@id='commands-did']//pre[@aria-label='Command']")]
    assert commands == [f"compass app label {application} team=shop"]
    again = await site.get(f"/applications/{application}?tab=labels")
    assert not again.tree.xpath("//*[@id='commands-did']")
