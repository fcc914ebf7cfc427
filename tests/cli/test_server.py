"""`compass server`: one name for each thing it does."""

import pytest

from compass.cli.main import app, run


def test_the_verbs_of_the_noun() -> None:
    verbs = {"start", "check", "status", "migrate", "backup", "restore", "support-bundle"}

    assert {name for name in app["server"] if not name.startswith("-")} == verbs


@pytest.mark.parametrize("former", ["serve", "migrate", "support-bundle"])
def test_nothing_has_a_second_name(former: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([former]) == 2

    assert capsys.readouterr().err.startswith(f'error: Unknown command "{former}"')
