"""What is read of a specification before it is sent, and what is refused. Sending it: test_api.py, test_event.py."""

from pathlib import Path

import pytest

from compass.cli.definition import API, EVENT, Kind, _specification, checked
from compass.cli.failures import CommandFailed, Exit
from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("kind", "name", "text", "expected", "said"),
    [
        (
            API,
            "a.yaml",
            "paths: {/a: {get: {}}}",
            ("OPEN_API", "YAML"),
            "1 operation, 3 to look at: compass api validate",
        ),
        (API, "a.json", '{"paths": {}}', ("OPEN_API", "JSON"), "0 operations, 2 to look at: compass api validate"),
        (API, "a.edmx", "<edmx/>", ("ODATA", "XML"), ""),
        (API, "a", '{"paths": 5}', ("OPEN_API", "JSON"), "0 operations, 3 to look at: compass api validate"),
        (
            EVENT,
            "e.yml",
            "channels: {a: {}}",
            ("ASYNC_API", "YAML"),
            "1 channel, 2 to look at: compass event validate",
        ),
        (EVENT, "e", "<x/>", ("ASYNC_API", "XML"), ""),
    ],
)
def test_type_and_format_are_those_of_the_file(
    kind: Kind, name: str, text: str, expected: tuple[str, str], said: str, home: Path
) -> None:
    (home / name).write_text(text)

    spec, about = _specification(kind, home / name, None)

    assert spec is not None
    whole = f" ({said} {home / name})" if said else ""
    assert ((spec["type"], spec["format"]), spec["data"], about) == (expected, text, whole)


@pytest.mark.parametrize(("form", "text", "place"), [("JSON", '{\n"a": }', "f:2:6"), ("YAML", "a: 1\n b: 2", "f:2:3")])
def test_what_is_no_document_is_refused_with_its_place(form: str, text: str, place: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        checked(text, form, "f")

    assert refused.value.exit_code is Exit.USAGE
    assert str(refused.value).startswith(f"{place}: ")


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize(("command", "more"), [("api", ("--url", "https://shop.example")), ("event", ())])
def test_what_cannot_be_done_to_a_definition_is_told_with_the_command_that_helps(
    command: str, more: tuple[str, ...], cli: Cli
) -> None:
    cli("app", "create", "shop")
    cli(command, "add", "orders", "--app", "shop", *more)

    nothing = cli(command, "update", "orders", "--app", "shop")
    assert (nothing.code, f"compass {command} update --help" in nothing.err) == (2, True)
    without = cli(command, "get", "orders", "--app", "shop", "--spec")
    assert (without.code, without.out) == (4, "")
    assert f"compass {command} update orders --app shop --spec FILE" in without.err
    rehearsed = cli(command, "delete", "orders", "--app", "shop", "--dry-run")
    assert (rehearsed.code, "would send Delete" in rehearsed.err) == (0, True)
    assert cli(command, "list", "shop", "-o", "name").out == "orders\n"
