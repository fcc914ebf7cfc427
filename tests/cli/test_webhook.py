"""`compass webhook` against a real plane, which may reach no address of this machine: what it tries, it gives up."""

import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")


def test_a_webhook_is_added_edited_and_deleted(cli: Cli, home: Path) -> None:
    cli("app", "create", "crm")
    (home / "hook.yaml").write_text('urlTemplate: \'{"method":"POST","path":"https://b.example"}\'\nmode: SYNC\n')
    made = cli("webhook", "create", "https://a.example", "--app", "crm", "-o", "json").json
    assert made["signingSecret"].startswith("whsec_")
    second = cli("webhook", "create", "--app", "crm", "-f", "hook.yaml").out.strip()

    rows = {row["id"]: row for row in cli("webhook", "list", "-o", "json").json}
    assert rows.keys() == {made["id"], second}
    assert rows[made["id"]]["owner"] == "application crm"
    assert cli("webhook", "list", "--app", "crm", "-o", "name").out.split() == [*rows]

    assert cli("webhook", "edit", made["id"][:8], "--url", "https://c.example").code == 0
    shown = cli("webhook", "get", made["id"], "-o", "json").json
    assert (shown["url"], shown["type"]) == ("https://c.example", "CONFIGURATION_CHANGED")

    assert cli("webhook", "delete", second).code == 2
    assert cli("webhook", "delete", second, "--yes").code == 0
    assert cli("webhook", "list", "-o", "name").out.split() == [made["id"]]


def test_what_was_given_up_is_listed_with_its_attempts_and_tried_again(cli: Cli) -> None:
    cli("app", "create", "crm", "--group", "retail")
    webhook = cli("webhook", "create", "https://127.0.0.1:1/hook", "--app", "crm").out.strip()
    cli("runtime", "register", "edge", "--group", "retail")
    deadline = time.monotonic() + 60
    while not (rows := cli("webhook", "deliveries", webhook, "-o", "json").json) or not rows[0]["attempts"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert (rows[0]["webhookID"], rows[0]["url"], rows[0]["operation"]) == (
        webhook,
        "https://127.0.0.1:1/hook",
        "assign",
    )
    assert cli("webhook", "deliveries", "--state", "delivered", "-o", "json").json == []
    assert cli("webhook", "resend", "00000000-0000-4000-8000-000000000000").code == 4
    assert cli("webhook", "recover", webhook, "--since", "1h").out.strip().isdigit()
    assert cli("webhook", "recover", webhook, "--since", "soon").code == 2


@pytest.mark.parametrize("arguments", [["--app", "a", "--runtime", "b"], []])
def test_a_webhook_has_one_owner(cli: Cli, arguments: list[str]) -> None:
    assert cli("webhook", "create", "https://a.example", *arguments).code == 2


def test_an_unknown_webhook_is_not_found(cli: Cli) -> None:
    assert cli("webhook", "get", "0000").code == 4
