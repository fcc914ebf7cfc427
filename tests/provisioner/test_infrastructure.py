from datetime import timedelta

import pytest

from compass.ids import RuntimeId
from compass.postgres.pool import Database
from compass.provisioner.infrastructure import AgentConfiguration, Drivers, EndpointIdentity, ProviderUnknown
from tests.provisioner.cloud import Cloud


def test_a_driver_is_found_by_its_provider_and_an_unknown_one_is_told_what_there_is(database: Database) -> None:
    cloud = Cloud(database)
    drivers = Drivers({"local": cloud, "azure": cloud})

    assert drivers.of("local") is cloud
    with pytest.raises(ProviderUnknown, match="unknown provider 'gcp': this plane provisions on azure, local"):
        drivers.of("gcp")


def test_what_a_driver_is_given_does_not_show_its_secrets() -> None:
    configuration = AgentConfiguration(
        RuntimeId("r"), "t", "n", "https://c", "hidden-7", timedelta(seconds=1), "ca", None
    )

    assert "hidden-7" not in repr(configuration)
    assert "hidden-8" not in repr(EndpointIdentity("hidden-8", "chain"))
