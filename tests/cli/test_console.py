"""`compass console`: a link for whoever is signed in."""

import re
from typing import Any

import pytest

from compass.cli.main import run


def test_it_prints_a_link_and_nothing_else(tenant: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["console"]) == 0

    shown = capsys.readouterr()
    assert re.fullmatch(r"https://localhost:\d+/console/sign-in\?code=[\w-]{43}\n", shown.out)
    assert shown.err == ""


def test_a_plane_without_a_console_says_so(plane: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from compass.cli import context
    from compass.cli.context import Context

    local = Context(name="local", url=plane.url, ca_pin=plane.pin, client_id="admin", tenant="default")
    context.keep(local, secret="correct", anchor=plane.ca_pem)

    assert run(["console"]) == 1
    assert "gave no sign-in link" in capsys.readouterr().err


def test_wrong_credentials_are_refused(plane: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from compass.cli import context
    from compass.cli.context import Context

    local = Context(name="local", url=plane.url, ca_pin=plane.pin, client_id="admin", tenant="default")
    context.keep(local, secret="wrong", anchor=plane.ca_pem)

    assert run(["console"]) == 7
    assert capsys.readouterr().out == ""
