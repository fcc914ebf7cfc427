"""`compass app` against a real plane: what it prints is what the plane has, and a refusal changes nothing."""

import json

import pytest
import yaml

from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")


def names(cli: Cli, *more: str) -> list[str]:
    return cli("app", "list", "-o", "name", *more).out.splitlines()


def test_a_created_application_is_listed_with_its_groups_and_labels(cli: Cli) -> None:
    made = cli("app", "create", "shop-crm", "--group", "retail", "-l", "team=finance", "-l", "size=3")

    assert made.code == 0
    assert made.err.splitlines() == [
        "✓ application shop-crm created",
        "✓ group retail created",
        "✓ in group retail",
        "→ compass app connect shop-crm",
    ]
    (row,) = cli("app", "list", "-o", "json").json
    assert row["id"] == made.out.strip()
    assert (row["labels"]["team"], row["labels"]["size"], row["labels"]["scenarios"]) == ("finance", 3, ["retail"])
    header, line = cli("app", "list", "-o", "wide").out.splitlines()
    assert header.split()[:2] == ["NAME", "STATUS"]
    assert header.split()[-6:] == ["GROUPS", "PROVIDER", "DESCRIPTION", "LABELS", "SINCE", "ID"]
    assert line.split()[:2] == ["shop-crm", "INITIAL"]
    assert line.split()[-4:-2] == ["retail", "size=3,team=finance"]


def test_every_form_of_the_list_holds_the_same(cli: Cli) -> None:
    for name in ("a", "b"):
        cli("app", "create", name, "--description", f"the {name}, and more")

    rows = cli("app", "list", "-o", "json").json
    assert [row["name"] for row in rows] == ["a", "b"]
    assert yaml.safe_load(cli("app", "list", "-o", "yaml").out) == rows
    assert names(cli) == ["a", "b"]
    assert cli("app", "list", "-o", "jsonpath=[*].id").out.splitlines() == [row["id"] for row in rows]
    csv = cli("app", "list", "-o", "csv").out.splitlines()
    assert csv[0].startswith("name,status,")
    assert csv[0].endswith(",groups,provider,description,labels,since,id")
    assert csv[1].startswith("a,INITIAL,")
    assert csv[1].endswith(f',,,"the a, and more",,{rows[0]["status"]["timestamp"]},{rows[0]["id"]}')


def test_labels_select_and_limits_limit(cli: Cli) -> None:
    cli("app", "create", "a", "-l", "team=x")
    cli("app", "create", "b", "-l", "team=y")

    assert names(cli, "-l", "team=y") == ["b"]
    assert names(cli, "-l", "team") == ["a", "b"]
    assert len(names(cli, "--limit", "1")) == 1


def test_an_application_is_found_by_name_and_by_id(cli: Cli) -> None:
    identity = cli("app", "create", "Shop CRM", "--base-url", "https://shop.example").out.strip()

    by_name, by_id = cli("app", "get", "Shop CRM", "-o", "json").json, cli("app", "get", identity, "-o", "json").json

    assert by_name == by_id
    assert by_name["baseUrl"] == "https://shop.example"
    shown = dict(line.split(maxsplit=1) for line in cli("app", "get", identity).out.splitlines())
    assert (shown["name"], shown["status"], shown["id"]) == ("Shop CRM", "INITIAL", identity)


def test_a_misspelt_name_is_not_found_and_the_one_that_was_meant_is_named(cli: Cli) -> None:
    cli("app", "create", "shop-crm")

    ended = cli("app", "get", "shop-cmr")

    assert (ended.code, ended.out) == (4, "")
    assert ended.err == "error: there is no application 'shop-cmr'\nhint: did you mean shop-crm?\n"


def test_an_id_of_nothing_is_not_found(cli: Cli) -> None:
    assert cli("app", "get", "00000000-0000-4000-8000-000000000000").code == 4


def test_a_name_that_is_taken_is_a_conflict_with_the_planes_code_and_request(cli: Cli) -> None:
    cli("app", "create", "a")

    ended = cli("app", "create", "A")

    assert (ended.code, ended.out) == (6, "")
    first, hint, request = ended.err.splitlines()
    assert first.startswith("error[COMPASS-31]: ")
    assert hint == "hint: compass explain 31"
    assert request.startswith("request: ")
    assert names(cli) == ["a"]


def test_what_is_edited_changes_and_the_rest_stays(cli: Cli) -> None:
    identity = cli("app", "create", "a", "--description", "old", "--provider", "Acme").out.strip()
    failed = "mutation ($id: ID!) { updateApplication(id: $id, in: {statusCondition: FAILED}) { id } }"
    cli("graphql", "-q", failed, "--var", f"id={identity}")

    assert cli("app", "edit", "a", "--description", "new").code == 0

    row = cli("app", "get", "a", "-o", "json").json
    assert (row["description"], row["providerName"], row["status"]["condition"]) == ("new", "Acme", "FAILED")
    assert cli("app", "edit", "a").code == 2


def test_labels_are_set_and_removed_and_nothing_is_sent_for_what_is_so_already(cli: Cli) -> None:
    cli("app", "create", "a", "-l", "team=x")

    assert cli("app", "label", "a", "team-", 'list=["p","q"]').err == '✓ application a: team-, list=["p","q"]\n'
    assert cli("app", "label", "a", 'list=["p","q"]').err == "✓ application a: nothing to change\n"
    assert cli("app", "label", "a", "nonsense").code == 2

    labels = cli("app", "get", "a", "-o", "json").json["labels"]
    assert (labels["list"], "team" in labels) == (["p", "q"], False)


def test_nothing_is_deleted_without_a_yes_when_there_is_no_terminal(cli: Cli) -> None:
    cli("app", "create", "a")

    ended = cli("app", "delete", "a")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: Delete application a: not done, because there is no terminal to ask at\n"
        "hint: --yes does it without asking\n"
    )
    assert names(cli) == ["a"]
    assert cli("app", "delete", "a", "--yes").err == "✓ application a deleted\n"
    assert names(cli) == []


def test_a_rehearsal_says_what_would_be_sent_and_changes_nothing(cli: Cli) -> None:
    cli("app", "create", "a")

    created = cli("app", "create", "b", "--dry-run", "--group", "g")
    deleted = cli("app", "delete", "a", "--dry-run")

    assert (created.code, created.err) == (0, 'would send RegisterApplication {"in": {"name": "b"}}\n')
    assert (deleted.code, deleted.err.partition(" {")[0]) == (0, "would send UnregisterApplication")
    assert names(cli) == ["a"]
    assert cli("group", "list", "-o", "json").json == []


def test_an_application_of_a_template_gets_its_values(cli: Cli, tenant: str) -> None:
    template = {
        "name": f"form-{tenant}",
        "applicationInput": {"name": "{{name}}", "description": "in {{region}}"},
        "placeholders": [{"name": "name"}, {"name": "region"}],
    }
    with open("template.json", "w", encoding="utf-8") as file:  # noqa: PTH123  # the home is the working folder
        json.dump(template, file)
    cli("template", "create", "-f", "template.json")

    made = cli("app", "from-template", f"form-{tenant}", "--value", f"name=crm-{tenant}", "--value", "region=eu")

    assert made.code == 0, made.err
    assert cli("app", "get", f"crm-{tenant}", "-o", "json").json["description"] == "in eu"
    assert cli("app", "from-template", f"form-{tenant}", "--value", "name").code == 2


def test_an_application_outside_the_tenant_is_not_there(cli: Cli, tenant: str) -> None:
    cli("tenant", "create", f"{tenant}-other")
    identity = cli("app", "create", "theirs", "--tenant", f"{tenant}-other").out.strip()

    assert cli("app", "get", identity).code == 4
    assert cli("app", "delete", identity, "--yes").code == 4
    assert names(cli, "--tenant", f"{tenant}-other") == ["theirs"]


def test_an_unpaired_application_keeps_its_registration(cli: Cli) -> None:
    cli("app", "create", "a")
    cli("token", "create", "--app", "a")

    assert cli("app", "unpair", "a", "--yes").code == 0

    assert cli("app", "get", "a", "-o", "json").json["auths"] == []
    assert names(cli) == ["a"]


@pytest.mark.parametrize(("noun", "verb"), [("app", "create"), ("runtime", "register"), ("group", "create")])
def test_a_list_is_sorted_before_it_is_cut(cli: Cli, noun: str, verb: str) -> None:
    for name in ("b", "C", "a"):
        assert cli(noun, verb, name).code == 0

    def listed(*more: str) -> list[str]:
        return [row["name"] for row in cli(noun, "list", "-o", "json", *more).json]

    assert listed("--sort", "name") == ["a", "b", "C"]
    assert listed("--sort", "name-desc", "--limit", "1") == ["C"]
    assert listed("--sort", "created") == ["b", "C", "a"]
    assert listed("--sort", "created-desc", "--limit", "2") == ["a", "C"]
    refused = cli(noun, "list", "--sort", "size")
    assert (refused.code, "created-desc" in refused.err) == (2, True)
