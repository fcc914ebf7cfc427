"""What is read of a specification before it is sent. Sending it: test_api.py, test_event.py."""

from pathlib import Path

import pytest

from compass.cli.definition import API, EVENT, Kind, _specification, checked
from compass.cli.failures import CommandFailed, Exit


@pytest.mark.parametrize(
    ("kind", "name", "text", "expected", "said"),
    [
        (API, "a.yaml", "paths: {/a: {get: {}}}", ("OPEN_API", "YAML"), " (1 operations)"),
        (API, "a.json", '{"paths": {}}', ("OPEN_API", "JSON"), ""),
        (API, "a.edmx", "<edmx/>", ("ODATA", "XML"), ""),
        (API, "a", '{"paths": 5}', ("OPEN_API", "JSON"), ""),
        (EVENT, "e.yml", "channels: {a: {}}", ("ASYNC_API", "YAML"), " (1 channels)"),
        (EVENT, "e", "<x/>", ("ASYNC_API", "XML"), ""),
    ],
)
def test_type_and_format_are_those_of_the_file(
    kind: Kind, name: str, text: str, expected: tuple[str, str], said: str, home: Path
) -> None:
    (home / name).write_text(text)

    spec, about = _specification(kind, home / name, None)

    assert spec is not None
    assert ((spec["type"], spec["format"]), spec["data"], about) == (expected, text, said)


@pytest.mark.parametrize(("form", "text", "place"), [("JSON", '{\n"a": }', "f:2:6"), ("YAML", "a: 1\n b: 2", "f:2:3")])
def test_what_is_no_document_is_refused_with_its_place(form: str, text: str, place: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        checked(text, form, "f")

    assert refused.value.exit_code is Exit.USAGE
    assert str(refused.value).startswith(f"{place}: ")
