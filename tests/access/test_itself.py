import pytest

from compass.access import itself
from compass.access.caller import Caller, Consumer, Flow
from compass.errors import Unauthorized
from compass.ids import TenantId

ME = "8fd7f7f4-3d6c-4a9a-8f3c-0000000000aa"
OTHER = "8fd7f7f4-3d6c-4a9a-8f3c-0000000000bb"


def caller(consumer: Consumer) -> Caller:
    return Caller(consumer, ME, Flow.CERTIFICATE, frozenset(), TenantId("t"))


@pytest.mark.parametrize("consumer", [Consumer.APPLICATION, Consumer.RUNTIME])
def test_a_program_that_calls_as_itself_changes_itself_alone(consumer: Consumer) -> None:
    itself.require(caller(consumer), ME)
    itself.require(caller(consumer), ME.upper())
    for changed in (OTHER, "", "no-uuid", ME + " "):
        with pytest.raises(Unauthorized, match="Owner access is needed for resource modification"):
            itself.require(caller(consumer), changed)
    assert itself.only(caller(consumer)) == ME


@pytest.mark.parametrize("consumer", [Consumer.STATIC_USER, Consumer.INTEGRATION_SYSTEM])
def test_people_and_integration_systems_are_not_limited_to_one_object(consumer: Consumer) -> None:
    itself.require(caller(consumer), OTHER)
    assert itself.only(caller(consumer)) is None
