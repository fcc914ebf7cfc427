import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.agent.loop import VERSION, Agent, Injected, InjectedUnreadable, State, Trouble
from compass.agent.reconcile import Configuration
from compass.files import write_private_json
from tests.agent.plane import RUNTIME, TENANT, FakePlane, api, application, basic, bundle, free_port_url

LABELS = {"runtime_eventServiceUrl": "https://127.0.0.1:1", "runtime_consoleUrl": "http://127.0.0.1:2"}


def injected(folder: Path, plane: FakePlane, *, token: str | None, **others: Any) -> Path:
    folder.mkdir(exist_ok=True)
    told = {
        "connector_url": plane.connector_url,
        "runtime_id": RUNTIME,
        "tenant": TENANT,
        "sync_period_seconds": 0.05,
        "name": "edge",
    }
    (folder / "configuration.json").write_text(json.dumps(told | ({"token": token} if token else {}) | others))
    (folder / "plane_ca.pem").write_text(plane.authority.pem)
    return folder


class Applied(list[Configuration]):
    """Every configuration put to use, in order."""

    @property
    def names(self) -> list[str]:
        return [kept.name for kept in self[-1].applications]


def agent_in(folder: Path, applied: Applied, **options: Any) -> Agent:
    async def labels() -> Mapping[str, str]:
        return LABELS

    return Agent(folder, labels=labels, apply=applied.append, **options)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def applied() -> Applied:
    return Applied()


async def test_a_pass_pairs_applies_and_reports_labels(plane: FakePlane, tmp_path: Path, applied: Applied) -> None:
    plane.applications = [application("a1", "mp-orders", bundle("b1", "b", basic()))]
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("client-1"))
    agent = agent_in(folder, applied)

    status = await agent.once()
    await agent.close()

    assert (status.state, status.revision, status.applications, status.error) == (State.SYNCHRONIZED, 1, 1, None)
    assert status.last_sync == status.last_success
    assert applied.names == ["mp-orders"]
    assert plane.labels == LABELS | {"isNormalized": "true"}
    assert plane.calls == [
        "Configuration",
        "SignCertificateSigningRequest",
        "ManagementPlane",
        "RuntimeConfiguration",
        "SetRuntimeLabel",
        "SetRuntimeLabel",
    ]
    assert {seen["headers"].get("Tenant") for seen in plane.seen[2:]} == {TENANT}
    assert {seen["client_id"] for seen in plane.seen[2:]} == {"client-1"}


async def test_a_spent_token_leaves_the_folder(plane: FakePlane, tmp_path: Path, applied: Applied) -> None:
    token = plane.new_token("client-1")
    folder = injected(tmp_path / "rt", plane, token=token)
    agent = agent_in(folder, applied)
    await agent.once()
    await agent.close()
    for file in folder.rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes(), file
    assert stat.S_IMODE((folder / "configuration.json").stat().st_mode) == 0o600


async def test_labels_are_set_only_when_absent_or_different(plane: FakePlane, tmp_path: Path, applied: Applied) -> None:
    plane.labels |= LABELS | {"runtime_consoleUrl": "http://old"}
    agent = agent_in(injected(tmp_path / "rt", plane, token=plane.new_token("c")), applied)
    await agent.once()
    await agent.once()
    await agent.close()
    assert plane.calls.count("SetRuntimeLabel") == 1
    assert plane.labels["runtime_consoleUrl"] == LABELS["runtime_consoleUrl"]


async def test_what_the_plane_changes_is_taken_over(plane: FakePlane, tmp_path: Path, applied: Applied) -> None:
    plane.applications = [application("a1", "one"), application("a2", "two")]
    agent = agent_in(injected(tmp_path / "rt", plane, token=plane.new_token("c")), applied)
    await agent.once()
    await agent.once()
    assert len(applied) == 1
    plane.applications = [application("a2", "two"), application("a3", "three")]
    status = await agent.once()
    await agent.close()
    assert applied.names == ["two", "three"]
    assert status.revision == 2


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        ("500", Trouble.UNREADABLE),
        ("garbage", Trouble.UNREADABLE),
        ("nothing", Trouble.UNREADABLE),
        ("errors", Trouble.REFUSED),
    ],
)
async def test_a_misbehaving_plane_changes_nothing_and_is_named(
    plane: FakePlane, tmp_path: Path, applied: Applied, fault: str, trouble: Trouble
) -> None:
    plane.applications = [application("a1", "one")]
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    agent = agent_in(folder, applied)
    good = await agent.once()
    kept = (folder / "applied.json").read_bytes()
    plane.fault = fault
    status = await agent.once()
    assert (status.state, status.trouble) == (State.CONNECTION_MAINTENANCE_FAILED, trouble)
    assert status.last_success == good.last_success
    assert len(applied) == 1
    assert (folder / "applied.json").read_bytes() == kept
    plane.fault = None
    assert (await agent.once()).state is State.SYNCHRONIZED
    await agent.close()


async def test_the_last_good_configuration_outlives_an_outage_and_a_restart(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.applications = [application("a1", "one", bundle("b1", "b", basic(), [api("i1", "x", "https://x.example")]))]
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    first = agent_in(folder, applied)
    await first.once()
    await first.close()
    await plane.stop()
    assert stat.S_IMODE((folder / "applied.json").stat().st_mode) == 0o600

    after = Applied()
    second = agent_in(folder, after)
    second.restore()
    assert after == applied
    status = await second.once()
    assert (status.state, status.trouble) == (State.CONNECTION_MAINTENANCE_FAILED, Trouble.UNREACHABLE)
    assert status.certificate_not_after is not None
    assert after == applied

    await plane.start()
    assert (await second.once()).state is State.SYNCHRONIZED
    await second.close()
    assert second.configuration.revision == 1


async def test_a_revoked_certificate_is_told_apart_from_an_unreachable_plane(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.applications = [application("a1", "one")]
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c1"))
    agent = agent_in(folder, applied)
    await agent.once()
    plane.revoked.add("c1")
    status = await agent.once()
    assert (status.state, status.trouble) == (State.CONNECTION_MAINTENANCE_FAILED, Trouble.UNAUTHORIZED)
    assert status.error == "Unauthorized [reason=certificate revoked]"
    assert applied.names == ["one"]

    injected(folder, plane, token=plane.new_token("c2"))
    assert (await agent.once()).state is State.SYNCHRONIZED
    await agent.close()
    assert plane.seen[-1]["client_id"] == "c2"


async def test_a_refused_token_is_not_tried_again_until_there_is_another(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    folder = injected(tmp_path / "rt", plane, token="spent")
    agent = agent_in(folder, applied)
    for _ in range(3):
        status = await agent.once()
        assert (status.state, status.trouble) == (State.CONNECTION_FAILED, Trouble.TOKEN_REFUSED)
    assert plane.calls == ["Configuration"]
    injected(folder, plane, token=plane.new_token("c"))
    assert (await agent.once()).state is State.SYNCHRONIZED
    await agent.close()


async def test_a_refused_new_token_does_not_stop_a_runtime_that_is_paired(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    agent = agent_in(folder, applied)
    await agent.once()
    injected(folder, plane, token="spent")
    assert (await agent.once()).state is State.SYNCHRONIZED
    assert (await agent.once()).state is State.SYNCHRONIZED
    await agent.close()
    assert plane.calls.count("Configuration") == 2


async def test_one_failing_application_is_reported_and_blocks_no_other(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    bad = application("a1", "bad", bundle("b1", "b", apis=[api("i1", "x", "gopher://x")]))
    plane.applications = [bad, application("a2", "good")]
    agent = agent_in(injected(tmp_path / "rt", plane, token=plane.new_token("c")), applied)
    status = await agent.once()
    await agent.close()
    assert (status.state, status.trouble) == (State.RESOURCE_APPLICATION_FAILED, Trouble.LOCAL)
    assert status.error == "not taken over: bad: API 'x' has no usable targetURL"
    assert applied.names == ["good"]
    assert plane.labels["runtime_eventServiceUrl"] == LABELS["runtime_eventServiceUrl"]


async def test_labels_that_cannot_be_set_do_not_undo_the_configuration(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.applications = [application("a1", "one")]
    agent = agent_in(injected(tmp_path / "rt", plane, token=plane.new_token("c")), applied)
    plane.lose_answer_of = "SetRuntimeLabel"
    status = await agent.once()
    assert (status.state, status.trouble) == (State.METADATA_UPDATE_FAILED, Trouble.UNREACHABLE)
    assert applied.names == ["one"]
    assert (await agent.once()).state is State.SYNCHRONIZED
    await agent.close()


async def test_a_runtime_the_plane_no_longer_knows_keeps_what_it_has(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.applications = [application("a1", "one")]
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    agent = agent_in(folder, applied)
    await agent.once()
    injected(folder, plane, token=None, runtime_id="00000000-0000-0000-0000-000000000000")
    status = await agent.once()
    await agent.close()
    assert (status.state, status.trouble) == (State.SYNCHRONIZATION_FAILED, Trouble.LOCAL)
    assert applied.names == ["one"]


async def test_a_certificate_is_renewed_before_it_ends(plane: FakePlane, tmp_path: Path, applied: Applied) -> None:
    plane.life = timedelta(days=100)
    ahead = timedelta()
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    agent = agent_in(folder, applied, clock=lambda: datetime.now(UTC) + ahead, randomness=lambda: 0.0)
    first = await agent.once()
    ahead = timedelta(days=69)
    await agent.once()
    assert len(plane.keys_signed) == 1
    ahead = timedelta(days=71)
    second = await agent.once()
    await agent.once()
    await agent.close()
    assert second.state is State.SYNCHRONIZED
    assert len(set(plane.keys_signed)) == len(plane.keys_signed) == 3  # still near its end by this clock: once a pass
    assert first.certificate_not_after is not None
    assert second.certificate_not_after is not None


async def test_a_certificate_that_ended_while_the_plane_was_away_is_named(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    ahead = timedelta()
    agent = agent_in(folder, applied, clock=lambda: datetime.now(UTC) + ahead)
    await agent.once()
    await agent.close()
    await plane.stop()
    ahead = timedelta(days=91)
    status = await agent.once()
    await agent.close()
    assert status.trouble is Trouble.UNAUTHORIZED
    assert status.error is not None
    assert "pair again" in status.error


async def test_a_plane_that_moved_is_followed_and_remembered(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    agent = agent_in(folder, applied)
    await agent.once()
    there = {
        "directorURL": plane.mtls_url.replace("localhost", "127.0.0.1") + "/director/graphql",
        "certificateSecuredConnectorURL": plane.mtls_url.replace("localhost", "127.0.0.1") + "/connector/graphql",
    }
    plane.override = {"managementPlaneInfo": there}
    assert (await agent.once()).state is State.SYNCHRONIZED
    await agent.close()
    assert plane.seen[-1]["headers"]["Host"].startswith("127.0.0.1")
    assert json.loads((folder / "connection.json").read_bytes())["director_url"] == there["directorURL"]


async def test_a_last_good_configuration_that_cannot_be_read_is_set_aside(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    (folder / "applied.json").write_text('{"revision": 3, "applica')
    agent = agent_in(folder, applied)
    agent.restore()
    assert applied == []
    assert (folder / "applied.json.unreadable").exists()
    assert (await agent.once()).state is State.SYNCHRONIZED
    await agent.close()


async def test_a_configuration_that_could_not_be_saved_is_saved_with_the_next_pass(
    plane: FakePlane, tmp_path: Path, applied: Applied, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.applications = [application("a1", "one")]
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    agent = agent_in(folder, applied)
    write = write_private_json

    def full(path: Path, content: Any) -> None:
        if path.name == "applied.json":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr("compass.agent.loop.write_private_json", full)
    status = await agent.once()
    assert (status.state, status.trouble) == (State.RESOURCE_APPLICATION_FAILED, Trouble.LOCAL)
    assert applied.names == ["one"]
    monkeypatch.undo()
    assert (await agent.once()).state is State.SYNCHRONIZED
    await agent.close()
    assert json.loads((folder / "applied.json").read_bytes())["applications"][0]["name"] == "one"


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), ("{", "not the expected JSON"), ("[]", "not the expected JSON"), ("{}", "is missing")],
)
async def test_an_unreadable_injected_configuration_is_a_state_and_no_crash(
    tmp_path: Path, applied: Applied, content: str | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "configuration.json").write_text(content)
    with pytest.raises(InjectedUnreadable, match=why):
        Injected.read(tmp_path)
    agent = agent_in(tmp_path, applied)
    status = await agent.once()
    assert (status.state, status.trouble) == (State.CONNECTION_FAILED, Trouble.REFUSED)
    assert agent.pause(0) == timedelta(seconds=1)


async def test_nothing_that_goes_wrong_inside_ends_the_loop(plane: FakePlane, tmp_path: Path) -> None:
    plane.applications = [application("a1", "one")]
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    tries = 0

    def broken(_: Configuration) -> None:
        nonlocal tries
        tries += 1
        raise ZeroDivisionError("a bug")

    async def labels() -> Mapping[str, str]:
        return {}

    agent = Agent(folder, labels=labels, apply=broken, randomness=lambda: 0.1)
    stop = asyncio.Event()
    running = asyncio.ensure_future(agent.run(stop))
    await until(lambda: tries >= 3)
    assert agent.status.state is State.RESOURCE_APPLICATION_FAILED
    assert agent.configuration.revision == 0
    stop.set()
    await running


async def test_the_loop_recovers_by_itself_when_the_plane_comes_back(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    agent = agent_in(folder, applied)
    stop = asyncio.Event()
    running = asyncio.ensure_future(agent.run(stop))
    await until(lambda: agent.status.state is State.SYNCHRONIZED)
    await plane.stop()
    await until(lambda: agent.status.trouble is Trouble.UNREACHABLE)
    plane.applications = [application("a1", "one")]
    await plane.start()
    await until(lambda: agent.status.applications == 1)
    stop.set()
    await running


async def test_stopping_does_not_wait_for_a_plane_that_hangs(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"))
    plane.fault = "slow"
    agent = agent_in(folder, applied)
    stop = asyncio.Event()
    running = asyncio.ensure_future(agent.run(stop))
    await until(lambda: bool(plane.calls))
    stop.set()
    async with asyncio.timeout(1):
        await running


async def test_pauses_grow_with_failures_and_are_spread(plane: FakePlane, tmp_path: Path, applied: Applied) -> None:
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("c"), sync_period_seconds=20)
    (folder / "configuration.json").write_text(
        (folder / "configuration.json").read_text().replace(plane.connector_url, await free_port_url())
    )
    agent = agent_in(folder, applied, randomness=lambda: 0.5)
    await agent.once()
    pauses = [agent.pause(failures).total_seconds() for failures in (0, 1, 2, 3, 30)]
    assert pauses == [20, 20, 40, 80, 150]


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


def passes(plane: FakePlane) -> int:
    return plane.calls.count("RuntimeConfiguration")


async def test_an_agent_that_is_told_of_a_change_does_not_wait_for_its_turn(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.tells = True
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("client-1"), sync_period_seconds=3600)
    async with running(agent_in(folder, applied)):
        await until(lambda: passes(plane) == 2)  # at the start, and once it is told of all that comes after
        plane.applications = [application("a1", "mp-orders")]
        await plane.tell("1-1")
        await until(lambda: bool(applied) and applied.names == ["mp-orders"])
        await asyncio.sleep(0.3)
        assert passes(plane) == 3


async def test_many_changes_become_few_passes(plane: FakePlane, tmp_path: Path, applied: Applied) -> None:
    plane.tells = True
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("client-1"), sync_period_seconds=3600)
    async with running(agent_in(folder, applied)):
        await until(lambda: passes(plane) == 2)
        for number in range(50):
            plane.applications = [application("a1", f"mp-orders-{number}")]
            await plane.tell(f"1-{number}")
            await asyncio.sleep(0.005)
        await until(lambda: bool(applied) and applied.names == ["mp-orders-49"])
        assert passes(plane) <= 8


async def test_after_an_outage_an_agent_goes_on_where_it_was_and_looks_at_once(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.tells = True
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("client-1"), sync_period_seconds=3600)
    agent = agent_in(folder, applied, randomness=lambda: 0.5)
    async with running(agent):
        await until(lambda: passes(plane) == 2)
        await plane.tell("4-2")
        await until(lambda: passes(plane) == 3)
        await plane.stop()
        await asyncio.sleep(0.3)
        await plane.start()
        await until(lambda: len(plane.followed) == 2)
        plane.applications = [application("a1", "mp-orders")]
        await plane.tell("4-3")
        await until(lambda: bool(applied) and applied.names == ["mp-orders"])
    assert plane.followed == [None, "4-2"]


async def test_an_agent_that_failed_tries_again_as_soon_as_the_plane_is_heard(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.tells = True
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("client-1"), sync_period_seconds=3600)
    agent = agent_in(folder, applied)
    async with running(agent):
        await until(lambda: passes(plane) == 2)
        plane.fault = "500"
        await plane.tell("4-2")
        await until(lambda: agent.status.trouble is Trouble.UNREADABLE)
        await plane.stop()
        plane.fault = None
        await plane.start()
        await until(lambda: agent.status.state is State.SYNCHRONIZED)


async def test_a_plane_without_a_feed_is_looked_at_every_period(
    plane: FakePlane, tmp_path: Path, applied: Applied, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("client-1"))
    async with running(agent_in(folder, applied)):
        await until(lambda: passes(plane) >= 8)
        plane.applications = [application("a1", "mp-orders")]
        await until(lambda: bool(applied) and applied.names == ["mp-orders"])
    assert caplog.text.count("changes are looked for once per period only") == 1
    assert "Traceback" not in caplog.text


async def test_a_plane_that_moved_is_followed_where_it_is_now(
    plane: FakePlane, tmp_path: Path, applied: Applied, caplog: pytest.LogCaptureFixture
) -> None:
    plane.tells = True
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("client-1"), sync_period_seconds=3600)
    async with running(agent_in(folder, applied)):
        await until(lambda: passes(plane) == 2)
        there = plane.mtls_url.replace("localhost", "127.0.0.1")
        plane.override = {
            "managementPlaneInfo": {
                "directorURL": f"{there}/director/graphql",
                "certificateSecuredConnectorURL": f"{there}/connector/graphql",
            }
        }
        await plane.tell("4-2")  # the pass that it asks for closes the connection it came on
        await until(lambda: len(plane.followed) == 2)
        plane.applications = [application("a1", "mp-orders")]
        await plane.tell("4-3")
        await until(lambda: bool(applied) and applied.names == ["mp-orders"])
    assert plane.followed == [None, "4-2"]
    assert "unexpected" not in caplog.text


async def test_the_plane_hears_that_the_agent_lives_and_what_troubles_it(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.applications = [application("a1", "one", bundle("b1", "b", basic()))]
    plane.beat_every = 1.0
    folder = injected(tmp_path / "rt", plane, token=plane.new_token("client-1"), sync_period_seconds=0.2)
    agent = agent_in(folder, applied)
    stop = asyncio.Event()
    running = asyncio.ensure_future(agent.run(stop))

    await until(lambda: bool(plane.beats) and plane.beats[-1]["lookedSecondsAgo"] is not None)
    well = plane.beats[-1]
    assert {**well, "lookedSecondsAgo": 0} == {
        "version": VERSION,
        "revision": 1,
        "applications": 1,
        "lookedSecondsAgo": 0,
        "looksEverySeconds": 0.2,
        "trouble": None,
        "error": None,
    }
    assert 0 <= well["lookedSecondsAgo"] < 60
    assert agent.status.last_heartbeat is not None
    plane.fault = "errors"
    await until(lambda: plane.beats[-1]["trouble"] == "refused")
    assert "Internal Server Error" in plane.beats[-1]["error"]
    # It goes on while nothing new is to be said.
    heard = len(plane.beats)
    await until(lambda: len(plane.beats) > heard + 1)
    stop.set()
    await running
    silent = len(plane.beats)
    await asyncio.sleep(0)
    assert len(plane.beats) == silent


async def test_a_plane_that_takes_no_heartbeats_is_served_all_the_same(
    plane: FakePlane, tmp_path: Path, applied: Applied
) -> None:
    plane.applications = [application("a1", "one")]
    agent = agent_in(injected(tmp_path / "rt", plane, token=plane.new_token("c")), applied)
    stop = asyncio.Event()
    running = asyncio.ensure_future(agent.run(stop))

    await until(lambda: agent.status.state is State.SYNCHRONIZED)
    stop.set()
    await running

    assert agent.status.last_heartbeat is None
    assert agent.status.trouble is None
