"""`compass config`: values, sources, forms."""

import json
from pathlib import Path

import pytest
import yaml

from compass.cli.main import run
from compass.settings import describe, load


def test_show_prints_every_setting_with_its_source_and_no_secret(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPASS_DATABASE__DSN", "postgresql://u:geheim@localhost/c")
    file = home / "own.toml"
    file.write_text("[listen]\ntoken_port = 9443\n", encoding="utf-8")

    assert run(["config", "show", "--config", str(file), "-o", "json"]) == 0

    shown = capsys.readouterr().out
    rows = {row["key"]: row for row in json.loads(shown)}
    assert len(rows) == len(list(describe(load(environment={}))))
    assert rows["listen.token_port"] == {"key": "listen.token_port", "value": "9443", "source": f"{file}:2"}
    assert rows["database.dsn"]["value"] == "(redacted)"
    assert "geheim" not in shown


def test_the_forms_hold_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    run(["config", "show", "-o", "json"])
    as_json = json.loads(capsys.readouterr().out)
    run(["config", "show", "-o", "yaml"])
    assert yaml.safe_load(capsys.readouterr().out) == as_json
    run(["config", "show", "-o", "name"])
    assert capsys.readouterr().out.splitlines() == [row["key"] for row in as_json]
    run(["config", "show"])
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["KEY", "VALUE", "SOURCE"]
    assert [line.split()[0] for line in lines] == [row["key"] for row in as_json]


def test_check_counts_what_differs_and_starts_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPASS_LISTEN__TOKEN_PORT", "9443")

    assert run(["config", "check"]) == 0

    assert capsys.readouterr().out == "ok: 1 setting differs from the defaults\n"
    assert list(home.iterdir()) == []


def test_check_refuses_a_wrong_file_with_its_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "compass.toml").write_text("[tokens]\ncsr_validity = 5\n", encoding="utf-8")

    assert run(["config", "check"]) == 2

    assert capsys.readouterr().err.splitlines()[0] == (
        "error[COMPASS-22]: setting tokens.csr_validity (compass.toml:2): "
        'expected a duration with its unit, such as "10s", "5m", "36h" or "2d", not 5'
    )
