"""The flags of `serve`, `up` and `migrate` land in the settings."""

from pathlib import Path

import pytest

from compass.cli.failures import CommandFailed
from compass.cli.start import PlaneFlags
from compass.settings import SettingRefused, Settings


def test_flags_that_were_not_given_change_nothing() -> None:
    assert PlaneFlags().settings() == Settings()


def test_each_flag_is_its_setting_and_set_reaches_all_others(home: Path) -> None:
    flags = PlaneFlags(
        data_folder=home / "data",
        host="::1",
        token_port=1,
        mtls_port=2,
        set_=("tokens.csr_validity=1m", "log.format=json"),
    )

    settings = flags.settings()

    assert settings.data_folder == home / "data"
    assert (settings.listen.host, settings.listen.token_port, settings.listen.mtls_port) == ("::1", 1, 2)
    assert settings.tokens.csr_validity.total_seconds() == 60
    assert settings.log.format == "json"
    assert set(settings.sources.values()) == {"flag"}


def test_a_set_without_a_value_or_of_a_secret_is_refused() -> None:
    with pytest.raises(CommandFailed, match=r"'log\.format' is not"):
        PlaneFlags(set_=("log.format",)).settings()
    with pytest.raises(SettingRefused, match=r"database\.dsn"):
        PlaneFlags(set_=("database.dsn=postgresql://u@localhost/c",)).settings()
