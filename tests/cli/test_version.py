"""`compass version` must stay the quickest thing the program can do."""

import json
import subprocess
import sys
from importlib.metadata import version as installed_version

from compass.cli.version import VERSION

HEAVY = {"aiohttp", "asyncio", "asyncpg", "cryptography", "graphql", "lxml", "orjson", "rich", "uvicorn", "yaml"}


def test_the_version_is_the_installed_one() -> None:
    assert installed_version("compass-plane") == VERSION


def test_asking_for_the_version_loads_nothing_of_the_server() -> None:
    """An import budget, not a stopwatch: each of these costs more than the whole command may (80 ms)."""
    program = (
        "import json, sys; from compass.cli.main import run; code = run(['version']);"
        "print(json.dumps([code, sorted({name.partition('.')[0] for name in sys.modules}),"
        "sorted(name for name in sys.modules if name.startswith('compass'))]))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    said, facts = shown.splitlines()
    code, loaded, ours = json.loads(facts)

    assert said == f"compass {VERSION}"
    assert code == 0
    assert HEAVY & set(loaded) == set()
    assert ours == [
        "compass",
        "compass.cli",
        "compass.cli.failures",
        "compass.cli.jsonpath",
        "compass.cli.main",
        "compass.cli.output",
        "compass.cli.version",
        "compass.errors",
    ]
