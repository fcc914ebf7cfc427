"""`compass status`: what it counts, and what it calls trouble."""

import asyncio

import asyncpg
import pytest

from tests.cli.conftest import Cli
from tests.e2e.plane import Plane

BEAT = """
INSERT INTO heartbeat (runtime_id, seen_at, missed_from, version, revision, applications, synced_at, looks_every)
VALUES ($1::text::uuid, now() - $2::text::interval, now() - $2::text::interval + interval '12 seconds', '1.2.3', 7, 0,
    now(), '20 seconds')
"""
FAIL = "mutation ($id: ID!) { updateApplication(id: $id, in: {statusCondition: FAILED}) { id } }"


@pytest.mark.usefixtures("tenant")
def test_trouble_is_named_with_the_command_that_looks_closer(cli: Cli) -> None:
    identity = cli("app", "create", "crm", "--group", "retail").out.strip()
    cli("runtime", "register", "edge")
    well = cli("status")
    assert (well.code, well.out.splitlines()) == (
        0,
        [
            "applications      1  · 1 waiting",
            "runtimes          1  · 1 waiting",
            "groups            1  1 ready",
            "✓ ok  1 application ok · 1 runtime ok · 0 need attention",
        ],
    )

    cli("graphql", "-q", FAIL, "--var", f"id={identity}")

    ended = cli("status")
    assert ended.code == 3
    assert ended.out.splitlines()[3].startswith("✗ application crm: FAILED since ")
    assert ended.out.splitlines()[4] == f"    compass app get {identity}"
    assert ended.out.splitlines()[5] == "! degraded  0 applications ok · 1 runtime ok · 1 needs attention"
    whole = cli("status", "-o", "jsonpath=.attention[*].what")
    assert (whole.code, whole.out) == (3, "application crm\n")


def beaten(plane: Plane, runtime: str, ago: str) -> None:
    """Have the agent of a runtime have been heard then and no more."""

    async def written() -> None:
        connection = await asyncpg.connect(plane.dsn)
        try:
            await connection.execute(BEAT, runtime, ago)
        finally:
            await connection.close()

    asyncio.run(written())


@pytest.mark.usefixtures("tenant")
def test_a_silent_agent_is_named_with_what_to_check(cli: Cli, running_plane: Plane) -> None:
    runtime = cli("runtime", "register", "edge-01").out.strip()
    beaten(running_plane, runtime, "10 minutes")

    ended = cli("status")

    assert ended.code == 3
    lines = ended.out.splitlines()
    assert lines[1] == "runtimes          1  ✗ 1 bad"
    assert lines[3] == "✗ runtime edge-01: no heartbeat for 10 min"
    assert [line.split()[1] for line in lines[4:10]] == ["that", "the", "DNS:", "the", "the", "compass"]
    assert all(line.startswith("    check ") for line in lines[4:10])
    assert lines[10] == f"    compass runtime get {runtime}"
    assert lines[-1] == "! degraded  0 applications ok · 0 runtimes ok · 1 needs attention"
    (one,) = cli("status", "-o", "jsonpath=.attention[*].state").out.split()
    assert one == "MISSING"
