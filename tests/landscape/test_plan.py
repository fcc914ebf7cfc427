"""What has to change, computed from what is there. Doing it: test_apply.py."""

from typing import Any

import pytest

from compass.cli.failures import CommandFailed
from compass.landscape.manifest import Kind, Manifest
from compass.landscape.plan import Landscape, pruned, steps


def there(**runtime: Any) -> Landscape:
    row = {"id": "r1", "name": "edge", "labels": {"scenarios": ["a", "b"], "team": "x"}, "webhooks": [], **runtime}
    row |= {"status": {"condition": "CONNECTED"}}
    found: dict[Kind, dict[str, Any]] = {
        Kind.GROUP: {"a": {"id": "g1"}, "b": {"id": "g2"}},
        Kind.RUNTIME: {"edge": row},
        Kind.APPLICATION: {},
        Kind.INTEGRATION_SYSTEM: {"p": {"id": "i1", "description": None}},
    }
    return Landscape(found, {(Kind.RUNTIME, "edge"): "r1"})


def lines(wanted: list[Manifest], now: Landscape) -> list[str]:
    return [step.line for step in steps(wanted, now)]


def runtime(**says: Any) -> list[Manifest]:
    return [Manifest(Kind.RUNTIME, "edge", says, "f:1")]


def test_what_is_not_mentioned_is_no_difference() -> None:
    assert lines(runtime(), there(description="d")) == []
    assert lines(runtime(labels={"team": "x"}), there()) == []
    assert lines(runtime(description=""), there(description=None)) == []


def test_a_list_that_is_mentioned_is_the_whole_list() -> None:
    assert lines(runtime(groups=["b", "c"]), there()) == [
        "+ group c",
        "+ runtime edge in group c",
        "- runtime edge in group a",
    ]
    assert lines(runtime(webhooks=[]), there(webhooks=[{"id": "w", "type": "T", "url": "u"}])) == [
        "- runtime edge: webhook T u"
    ]


def test_a_changed_webhook_keeps_what_the_file_does_not_say() -> None:
    sent: list[Any] = []

    class Plane:
        def ask(self, document: str, variables: Any) -> None:
            sent.append((document, variables))

    webhook = dict.fromkeys(
        [
            "correlationIdKey",
            "retryInterval",
            "timeout",
            "urlTemplate",
            "headerTemplate",
            "outputTemplate",
            "statusTemplate",
        ]
    ) | {"id": "w", "type": "T", "url": "u", "mode": "SYNC", "inputTemplate": "{}"}
    (step,) = steps(runtime(webhooks=[{"type": "T", "url": "u", "mode": "ASYNC_CALLBACK"}]), there(webhooks=[webhook]))

    step.act(Plane(), there())  # type: ignore[arg-type]  # all that a step does is ask

    assert step.line == '~ runtime edge: webhook T u: mode "SYNC" → "ASYNC_CALLBACK"'
    new = {"type": "T", "url": "u", "mode": "ASYNC_CALLBACK", "inputTemplate": "{}"}
    assert sent == [("UpdateWebhook", {"id": "w", "in": new})]


def test_an_integration_system_is_added_and_described() -> None:
    wanted = [Manifest(Kind.INTEGRATION_SYSTEM, name, {"description": "d"}, "f:1") for name in ("p", "q")]

    assert lines(wanted, there()) == [
        '~ integration system p: description (none) → "d"',
        "+ integration system q",
    ]


def test_pruning_asks_for_a_label_and_leaves_groups_first() -> None:
    with pytest.raises(CommandFailed, match="--prune needs a label"):
        pruned([], there(), {})

    assert pruned(runtime(), there(), {"team": "x"}) == []
    assert pruned([], there(), {"team": "x", "more": "y"}) == []
    assert [step.line for step in pruned([], there(), {"team": "x"})] == [
        "- runtime edge in group a",
        "- runtime edge in group b",
        "- runtime edge",
    ]
