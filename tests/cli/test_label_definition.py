"""`compass label-def` against a real plane."""

import pytest

from tests.cli.conftest import Cli


@pytest.mark.usefixtures("tenant")
def test_the_names_of_the_groups_are_its_values(cli: Cli) -> None:
    assert cli("label-def", "get").code == 4  # a tenant without groups has none
    cli("group", "create", "retail")

    assert cli("label-def", "edit", "--add", "trial").code == 0
    assert cli("label-def", "list").out.splitlines()[1].split() == ["scenarios", "retail,trial"]
    assert cli("group", "list", "-o", "name").out.split() == ["retail", "trial"]

    assert cli("label-def", "edit", "--remove", "trial").code == 0
    assert cli("group", "list", "-o", "name").out.split() == ["retail"]
