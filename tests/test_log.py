"""Log lines for machines and for people."""

import logging
from collections.abc import Iterator

import orjson
import pytest

from compass.log import write_as
from compass.settings import LogFormat, LogSettings


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_machine_gets_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_as(LogSettings(format=LogFormat.AUTO))  # no terminal here

    logging.getLogger("compass.test").warning("two\nlines and a %s", 'quote "')
    [line] = capsys.readouterr().err.splitlines()

    entry = orjson.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {"level": "WARNING", "logger": "compass.test", "message": 'two\nlines and a quote "'}


def test_a_defect_comes_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    write_as(LogSettings(format=LogFormat.JSON))

    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("compass.test").exception("request failed")

    entry = orjson.loads(capsys.readouterr().err)
    assert "ValueError: broken" in entry["traceback"]


def test_a_person_gets_text(capsys: pytest.CaptureFixture[str]) -> None:
    write_as(LogSettings(format=LogFormat.TEXT))

    logging.getLogger("compass.test").info("ready")

    assert capsys.readouterr().err.rstrip().endswith("INFO compass.test ready")


def test_the_notes_of_libraries_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    write_as(LogSettings(format=LogFormat.JSON))

    logging.getLogger("uvicorn.error").info("Started server process")

    assert capsys.readouterr().err == ""
