"""`compass version` must stay the quickest thing the program can do."""

import json
import subprocess
import sys
from importlib.metadata import version as installed_version

from compass.cli.version import VERSION

HEAVY = {"aiohttp", "asyncio", "asyncpg", "cryptography", "graphql", "lxml", "orjson", "rich", "uvicorn", "yaml"}


def test_the_version_is_the_installed_one() -> None:
    assert installed_version("compass-plane") == VERSION


def test_asking_for_the_version_loads_nothing_but_python_and_a_page_of_ours() -> None:
    """An import budget, not a stopwatch: the parser of the other commands alone takes what this one may (80 ms)."""
    program = (
        "import sys; sys.argv = ['compass', 'version']\n"
        "from compass.__main__ import main\n"
        "try: main()\n"
        "finally: print(sorted(x for x in sys.modules if x.startswith(('compass', 'cyclopts'))), len(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    said, facts = shown.splitlines()
    loaded, _, count = facts.rpartition(" ")
    assert said == f"compass {VERSION}"
    assert loaded == "['compass', 'compass.__main__', 'compass.cli', 'compass.cli.version']"
    assert int(count) < 100


def test_other_commands_load_no_library_before_they_need_it() -> None:
    """As `compass version` with a word more: the parser is loaded, and nothing of the plane."""
    program = (
        "import json, sys; from compass.cli.main import run; code = run(['version']);"
        "print(json.dumps([code, sorted({name.partition('.')[0] for name in sys.modules}),"
        "sorted(name for name in sys.modules if name.startswith('compass'))]))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    said, facts = shown.splitlines()
    code, loaded, ours = json.loads(facts)

    assert (said, code) == (f"compass {VERSION}", 0)
    assert HEAVY & set(loaded) == set()
    assert ours == [
        "compass",
        "compass.cli",
        "compass.cli.failures",
        "compass.cli.jsonpath",
        "compass.cli.main",
        "compass.cli.output",
        "compass.cli.version",
        "compass.client",
        "compass.client.failed",
        "compass.errors",
    ]
