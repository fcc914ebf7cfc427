"""`compass server status`: each replica, and how busy it is."""

import json
import re
import time

import pytest

from compass.cli.version import VERSION
from tests.cli.conftest import Cli


def replica(cli: Cli, *output: str) -> list[str]:
    """The lines about the only one. It says that it serves a moment after it began, and again when a stall is over."""
    until = time.monotonic() + 60
    while len(lines := cli("server", "status", *output).out.splitlines()) < 2:
        assert time.monotonic() < until
    return lines


@pytest.mark.usefixtures("tenant")
def test_each_replica_is_shown_with_what_it_does(cli: Cli) -> None:
    short, wide = replica(cli), replica(cli, "-o", "wide")
    (told,) = json.loads("\n".join(replica(cli, "-o", "json")))

    assert len(short) == len(wide) == 2
    assert short[0].split()[:3] == ["PLACE", "RELEASE", "STARTED"]
    assert short[1].split()[:2] == [told["place"], VERSION]
    assert "/8000" in short[1]
    assert "FEED BEHIND MS" in wide[0]
    assert re.search(r"\b\d+/128\b", wide[1])  # tests beside this one have calls under way
    assert told["gauges"]["release"] == VERSION
