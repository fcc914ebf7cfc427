"""`compass webhook` against a real plane, which may reach no address of this machine: what it tries, it gives up."""

import json
import shlex
import time
from pathlib import Path
from typing import Any

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

    assert cli("webhook", "edit", made["id"][-8:], "--url", "https://c.example").code == 0
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


def test_a_test_says_what_became_of_it_and_the_notification_is_shown(cli: Cli) -> None:
    cli("app", "create", "crm")
    webhook = cli("webhook", "create", "https://127.0.0.1:1/hook?token=s3cr3t", "--app", "crm").out.strip()

    waited = cli("webhook", "test", "config-changed", "--wait", "--timeout", "60s", "-o", "json")
    again = cli("webhook", "test", webhook[-8:])

    assert waited.code == 1
    assert "the webhook did not take it: The URL cannot be used" in waited.err
    [tested] = json.loads(waited.out)
    assert (tested["state"], tested["operation"], tested["webhookID"]) == ("DEAD", "test", webhook)
    assert isinstance(tested["attempts"][0]["elapsedMilliseconds"], int)
    shown = cli("webhook", "delivery", tested["id"])
    assert (shown.code, "io.compass.webhook.test.v1" in shown.out, "s3cr3t" in shown.out) == (0, True, False)
    words = shlex.split(cli("webhook", "delivery", tested["id"], "--curl").out)
    assert words[:5] == ["curl", "--request", "POST", "--url", "https://127.0.0.1:1/hook"]
    assert "Compass-Test: true" in words
    assert (again.code, again.out.strip() != tested["id"]) == (0, True)
    assert cli("webhook", "test", webhook, "--dry-run").code == 0
    assert len(cli("webhook", "deliveries", webhook, "-o", "json").json) == 2
    assert cli("webhook", "delivery", "00000000-0000-4000-8000-000000000000").code == 4
    assert cli("webhook", "delivery", "nonsense").code == 4


def test_notifications_are_narrowed_and_the_attempts_of_one_are_told_and_compared(cli: Cli) -> None:
    cli("app", "create", "crm", "--group", "retail")
    webhook = cli("webhook", "create", "https://127.0.0.1:1/hook?token=s3cr3t", "--app", "crm").out.strip()
    cli("runtime", "register", "edge", "--group", "retail")
    [first] = given_up(cli, webhook, attempts=1)
    delivery = first["id"]

    def listed(*narrowed: str) -> list[str]:
        return cli("webhook", "deliveries", webhook, "-o", "name", *narrowed).out.split()

    assert listed("--type", "CONFIGURATION_CHANGED", "--since", "1h") == [delivery]
    assert listed("--type", "FORMATION_LIFECYCLE") == []
    assert listed("--until", "1h") == []
    assert cli("webhook", "deliveries", "--until", "soon").code == 2
    told = cli("webhook", "delivery", delivery, "-o", "json").json["attempts"][0]
    assert told["url"] == "https://127.0.0.1:1/hook"
    assert {"name": "webhook-signature", "value": "***"} in told["requestHeaders"]
    assert told["responseHeaders"] is None
    assert cli("webhook", "delivery", delivery, "--diff").code == 4
    assert cli("webhook", "resend", delivery).code == 0
    given_up(cli, webhook, attempts=2)
    compared = cli("webhook", "delivery", delivery, "--diff", "-o", "json")
    assert compared.code == 0
    assert {one["what"] for one in compared.json} <= {"took"}


def given_up(cli: Cli, webhook: str, *, attempts: int) -> list[dict[str, Any]]:
    """The notifications of a webhook, once one of them was given up after so many attempts."""
    deadline = time.monotonic() + 60
    while True:
        rows: list[dict[str, Any]] = cli("webhook", "deliveries", webhook, "-o", "json").json
        if rows and rows[0]["state"] == "DEAD" and len(rows[0]["attempts"]) == attempts:
            return rows
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_several_webhooks_of_a_type_are_told_apart_by_their_ids(cli: Cli) -> None:
    cli("app", "create", "crm")
    for number in (1, 2):
        cli("webhook", "create", f"https://a{number}.example", "--app", "crm")

    assert cli("webhook", "test", "configuration-changed").code == 6
    assert cli("webhook", "test", "tenant-mapping").code == 4
    assert cli("webhook", "deliveries", "-o", "json").json == []


def test_templates_are_previewed_and_faults_are_told_by_their_lines(cli: Cli, home: Path) -> None:
    (home / "good.yaml").write_text('url: https://a.example\ninputTemplate: \'{"for": "{{.Application.Name}}"}\'\n')
    (home / "bad.yaml").write_text("url: https://a.example\ninputTemplate: |\n  {\n  {{if}}\n  }\n")

    good = cli("webhook", "preview", "-f", "good.yaml")
    bad = cli("webhook", "preview", "-f", "bad.yaml")

    assert (good.code, '{"for":"example-shop"}' in good.out) == (0, True)
    assert (bad.code, "inputTemplate, line 2: " in bad.err) == (1, True)
    assert cli("webhook", "list", "-o", "json").json == []


@pytest.mark.parametrize("arguments", [["--app", "a", "--runtime", "b"], []])
def test_a_webhook_has_one_owner(cli: Cli, arguments: list[str]) -> None:
    assert cli("webhook", "create", "https://a.example", *arguments).code == 2


def test_an_unknown_webhook_is_not_found(cli: Cli) -> None:
    assert cli("webhook", "get", "0000").code == 4


def test_a_webhook_is_paused_and_resumed(cli: Cli) -> None:
    cli("app", "create", "crm")
    webhook = cli("webhook", "create", "https://127.0.0.1:1/hook", "--app", "crm").out.strip()

    assert cli("webhook", "pause", webhook, "--dry-run").code == 0
    assert cli("webhook", "get", webhook, "-o", "json").json["pausedSince"] is None
    paused = cli("webhook", "pause", "config-changed")
    assert (paused.code, f"compass webhook resume {webhook}" in paused.err) == (0, True)
    assert cli("webhook", "get", webhook, "-o", "json").json["pausedSince"]
    refused = cli("webhook", "test", webhook)
    assert (refused.code, "resume it first" in refused.err) == (1, True)
    assert cli("webhook", "resume", webhook).code == 0
    assert cli("webhook", "get", webhook, "-o", "json").json["pausedSince"] is None
    assert cli("webhook", "pause", "00000000-0000-4000-8000-000000000000").code == 4
