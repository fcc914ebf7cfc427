"""Commands that people type all day stay quick. What they import is counted: a stopwatch depends on the machine.

Processor time on the machine it was made on: `compass version` 80 ms, of which 60 are cyclopts, `app list` 160 ms.
"""

import json
import subprocess
import sys

from compass.cli import context
from compass.cli.context import Context
from tests.cli.conftest import Answering
from tests.cli.test_version import HEAVY

PROGRAM = """
import json, sys
from compass.cli.main import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""
MOST_MODULES = 260
"""A little more than `compass app list` loads today. Look at what was added before you raise it."""


def test_a_list_loads_no_library_of_the_server_and_few_modules(plane: Answering) -> None:
    local = Context(name="local", url=plane.url, ca_pin=plane.pin, client_id="admin", tenant="default")
    context.keep(local, secret="correct", anchor=plane.ca_pem)
    page = {"data": [], "pageInfo": {"hasNextPage": False, "endCursor": ""}, "totalCount": 0}
    plane.answer = {"data": {"applications": page}}

    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "app", "list", "-o", "json"], capture_output=True, text=True, check=True
    )

    code, modules = json.loads(ended.stderr)
    assert (code, ended.stdout) == (0, "[]\n")
    assert HEAVY & {name.partition(".")[0] for name in modules} == set()
    assert len(modules) <= MOST_MODULES
    assert [path for path, _, _ in plane.heard] == ["/oauth2/token", "/director/graphql"]
