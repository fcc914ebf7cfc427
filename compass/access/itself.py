"""A program that calls as itself may change itself and nothing else of its tenant.

The original let every application of a tenant change all others, and so become them: ask for a token of another and
pair with it. Source: design/guarantees.md A14.
"""

from typing import Final

from compass.access.caller import Caller, Consumer
from compass.access.tenancy import NotOwner

_ITSELF: Final = frozenset({Consumer.APPLICATION, Consumer.RUNTIME})


def only(caller: Caller) -> str | None:
    """The one object the caller may change, for a condition in SQL; None for people and integration systems."""
    return caller.consumer_id if caller.consumer in _ITSELF else None


def alone(owner: str) -> str:
    """SQL for a read plan: true unless an application or a runtime asks about another than itself.

    `owner` is SQL for an object's id. For what helps to sign in as another or to call it: the original showed all
    applications and runtimes of a tenant each other's system auths, webhooks and fetch requests.
    """
    return f"({{itself}} IS NULL OR {owner} = {{itself}})"


def require(caller: Caller, changed: str) -> None:
    """Raises NotOwner when an application or a runtime is about to change another object than itself.

    It does so whether or not there is such an object: nothing is learned by trying ids.
    """
    own = only(caller)
    if own is not None and own != changed.lower():
        raise NotOwner()
