"""What an event is."""

from dataclasses import FrozenInstanceError, dataclass

import orjson
import pytest

from compass.director import application
from compass.ids import ApplicationId, TenantId
from compass.outbox.events import Event

TENANT = TenantId("00000000-0000-4000-8000-000000000001")


@dataclass(frozen=True)
class LampLit(Event):
    """A lamp was lit."""

    lamp: str
    watts: int


def test_the_facts_of_an_event_are_its_fields_without_the_tenant() -> None:
    assert LampLit(TENANT, "red", 40).facts() == {"lamp": "red", "watts": 40}


def test_an_event_is_known_by_its_name_and_made_again_of_its_facts() -> None:
    lit = LampLit(TENANT, "red", 40)
    assert Event.known["LampLit"](tenant=TENANT, **orjson.loads(orjson.dumps(lit.facts()))) == lit
    assert Event.known["ApplicationRegistered"] is application.ApplicationRegistered


def test_an_event_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        LampLit(TENANT, "red", 40).lamp = "blue"  # type: ignore[misc]  # that is the point


def test_two_events_of_one_name_are_a_mistake() -> None:
    with pytest.raises(TypeError, match="two events are named ApplicationRegistered"):
        type("ApplicationRegistered", (Event,), {})
    assert application.ApplicationRegistered(TENANT, ApplicationId("a")).facts() == {"application": "a"}
