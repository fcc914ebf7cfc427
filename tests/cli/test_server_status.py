"""`compass server status`: each replica, and how busy it is."""

import time

import pytest

from compass.cli.version import VERSION
from tests.cli.conftest import Cli, Ended


def said(cli: Cli) -> Ended:
    """A replica says so a moment after it began to serve."""
    until = time.monotonic() + 60
    while not (answer := cli("server", "status", "-o", "json")).json:
        assert time.monotonic() < until
    return answer


@pytest.mark.usefixtures("tenant")
def test_each_replica_is_shown_with_what_it_does(cli: Cli) -> None:
    assert [one["gauges"]["release"] for one in said(cli).json] == [VERSION]

    short = cli("server", "status").out.splitlines()
    wide = cli("server", "status", "-o", "wide").out.splitlines()

    assert len(short) == len(wide) == 2
    assert short[0].split()[:3] == ["PLACE", "RELEASE", "STARTED"]
    assert short[1].split()[1] == VERSION
    assert "/8000" in short[1]
    assert "FEED BEHIND MS" in wide[0]
    assert "0/128" in wide[1]
    assert cli("server", "status", "-o", "name").out.split() == [short[1].split()[0]]
