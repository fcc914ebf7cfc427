"""The change feed over real TLS: who is told what, at once, without gaps over a kill, and to the end of a right."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from compass.agent.loop import Agent, State
from compass.agent.pair import pair
from compass.client.events import Happened, events
from compass.client.graphql import ClientCertificate
from compass.files import private_folder, write_private, write_private_json
from tests.e2e.plane import CONNECTOR, DEFAULT_TENANT, Plane, Tables

PATH: Final = "/v1/events"
WRITE_TENANT: Final = """mutation { result: writeTenant(in: {
    name: "other", externalTenant: "other", type: "customer", provider: "test"}) }"""
LABEL: Final = """mutation ($id: ID!, $value: Any!) {
    result: setApplicationLabel(applicationID: $id, key: "k", value: $value) { key } }"""
UNASSIGN: Final = """mutation ($id: ID!, $type: FormationObjectType!, $name: String!) {
    result: unassignFormation(objectID: $id, objectType: $type, formation: {name: $name}) { id } }"""
AUTHS: Final = "query ($id: ID!) { result: application(id: $id) { auths { id } } }"
DELETE_AUTH: Final = "mutation ($id: ID!) { result: deleteSystemAuthForApplication(authID: $id) { id } }"
CREDENTIALS: Final = """mutation ($id: ID!) { result: requestClientCredentialsForApplication(id: $id) {
    auth { credential { ... on OAuthCredentialData { clientId clientSecret } } } } }"""
ADD_API: Final = """mutation ($id: ID!, $url: String!) {
    result: addBundle(applicationID: $id, in: {name: "sales", apiDefinitions: [{name: "orders", targetURL: $url}]}) {
        id } }"""


@dataclass
class Heard:
    """What came over one stream so far."""

    answer: aiohttp.ClientResponse
    happened: list[Happened] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        try:
            async for one in events(self.answer.content):
                if one.name:
                    self.happened.append(one)
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            self.over.set()

    @property
    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and subjects of every event but resets."""
        return [
            (one.name, {"id": json.loads(one.data)["id"], **json.loads(one.data)["subjects"]})
            for one in self.happened
            if one.name != "reset"
        ]

    def about(self, name: str) -> list[dict[str, Any]]:
        """The subjects of the events of one kind."""
        return [{k: v for k, v in subjects.items() if k != "id"} for kind, subjects in self.told if kind == name]

    async def until(self, name: str, **subjects: Any) -> Happened:
        """The first such event."""
        async with asyncio.timeout(10):
            while True:
                for one in self.happened:
                    if one.name == name and subjects.items() <= json.loads(one.data).get("subjects", {}).items():
                        return one
                await asyncio.sleep(0.005)


@asynccontextmanager
async def following(
    plane: Plane,
    *,
    certificate: ClientCertificate | None = None,
    headers: Mapping[str, str] | None = None,
    after: str | None = None,
) -> AsyncIterator[Heard]:
    """A stream: the administrator's, or whoever's the certificate or the headers are."""
    base = plane.token_url if certificate is None else plane.mtls_url
    context: ssl.SSLContext = plane.trust.context(certificate)
    if headers is None:
        headers = {**await plane.bearer(), "Tenant": DEFAULT_TENANT} if certificate is None else {}
    sent = {**headers, **({} if after is None else {"Last-Event-ID": after})}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(f"{base}{PATH}", headers=sent, timeout=aiohttp.ClientTimeout(total=None)) as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "text/event-stream"), await answer.text()
        heard = Heard(answer)
        task = asyncio.create_task(heard.listen())
        try:
            yield heard
        finally:
            task.cancel()
            await asyncio.wait({task})


async def paired(plane: Plane, folder: Path, **whose: str) -> ClientCertificate:
    private_folder(folder)
    token = await plane.token(**whose)
    await pair(folder, connector_url=f"{plane.token_url}{CONNECTOR}", token=token, trust=plane.trust)
    return ClientCertificate(folder / "chain.crt", folder / "client.key")


async def test_a_person_is_told_of_the_tenant_and_of_no_other(plane: Plane) -> None:
    await plane.ask(WRITE_TENANT)
    bearer = await plane.bearer()
    async with (
        following(plane) as mine,
        following(plane, headers={**bearer, "Tenant": "other"}) as other,
    ):
        application = await plane.application("told")
        foreign = await plane.post(
            'mutation { result: registerApplication(in: {name: "foreign"}) { id } }', tenant="other"
        )
        await other.until("ApplicationRegistered", application=foreign.data["result"]["id"])
        event = await mine.until("ApplicationRegistered", application=application)
        last = await plane.application("last")
        await mine.until("ApplicationRegistered", application=last)

    data = json.loads(event.data)
    assert set(data) == {"id", "type", "tenant", "time", "subjects"}
    assert (data["id"], data["type"], data["tenant"]) == (event.id, "ApplicationRegistered", DEFAULT_TENANT)
    assert mine.about("ApplicationRegistered") == [{"application": application}, {"application": last}]
    assert other.about("ApplicationRegistered") == [{"application": foreign.data["result"]["id"]}]
    assert mine.happened[0].name == other.happened[0].name == "reset"

    async with following(plane, headers={**bearer, "Tenant": "other"}, after=mine.happened[0].id) as back:
        await back.until("ApplicationRegistered")
        await asyncio.sleep(0.1)
    assert back.told == other.told


async def test_an_application_is_told_of_itself_and_not_of_its_neighbours(plane: Plane, tmp_path: Path) -> None:
    own, neighbour, runtime = await plane.application("own"), await plane.application("next"), await plane.runtime("r1")
    await plane.group("neighbours", applications=[own, neighbour], runtimes=[runtime])
    certificate = await paired(plane, tmp_path / "own", application=own)
    async with following(plane, certificate=certificate) as heard:
        await plane.ask(LABEL, id=neighbour, value="1")
        await plane.ask(LABEL, id=own, value="1")
        await heard.until("ApplicationLabelled")
        await plane.ask(LABEL, id=neighbour, value="2")
        await plane.ask(LABEL, id=own, value="2")
        async with asyncio.timeout(10):
            while len(heard.about("ApplicationLabelled")) < 2:
                await asyncio.sleep(0.01)
    assert heard.about("ApplicationLabelled") == [{"application": own}] * 2
    assert neighbour not in str(heard.happened)
    async with following(plane, certificate=certificate, after=heard.happened[0].id) as back:
        await back.until("ApplicationLabelled")
    assert neighbour not in str(back.happened)


async def test_a_runtime_is_told_of_the_applications_of_its_groups_and_when_they_leave(
    plane: Plane, tmp_path: Path
) -> None:
    inside, outside = await plane.application("inside"), await plane.application("outside")
    runtime, elsewhere = await plane.runtime("r2"), await plane.runtime("r3")
    await plane.group("with", applications=[inside], runtimes=[runtime])
    await plane.group("without", applications=[outside], runtimes=[elsewhere])
    async with following(plane, certificate=await paired(plane, tmp_path / "rt", runtime=runtime)) as heard:
        await plane.ask(LABEL, id=outside, value="1")
        await plane.ask(LABEL, id=inside, value="1")
        await heard.until("ApplicationLabelled", application=inside)
        await plane.ask(UNASSIGN, id=inside, type="APPLICATION", name="with")
        await heard.until("FormationUnassigned", participant=inside)
        await plane.ask(LABEL, id=inside, value="2")
        await plane.ask(UNASSIGN, id=runtime, type="RUNTIME", name="with")
        await heard.until("FormationUnassigned", participant=runtime)
    assert heard.about("ApplicationLabelled").count({"application": inside}) == 1
    assert outside not in str(heard.happened)
    assert elsewhere not in str(heard.happened)


async def test_whoever_may_not_ask_is_refused_with_an_ordinary_answer(plane: Plane) -> None:
    bearer = await plane.bearer()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=plane.trust.context())) as session:
        answers = {}
        for name, headers in (
            ("nobody", {}),
            ("no tenant", bearer),
            ("unknown tenant", {**bearer, "Tenant": "nowhere"}),
        ):
            async with session.get(f"{plane.token_url}{PATH}", headers=headers) as answer:
                answers[name] = (answer.status, (await answer.json())["error"].partition(".")[0])
        async with session.post(f"{plane.token_url}{PATH}", headers=bearer) as answer:
            answers["post"] = (answer.status, answer.headers["allow"])
    assert answers == {
        "nobody": (401, "Unauthorized [reason=invalid bearer token]"),
        "no tenant": (400, "Tenant is required"),
        "unknown tenant": (400, "Tenant not found [externalTenant=nowhere]"),
        "post": (405, "GET"),
    }


async def test_a_deleted_system_auth_ends_its_streams_within_a_second(plane: Plane, tmp_path: Path) -> None:
    application = await plane.application("ended")
    certificate = await paired(plane, tmp_path / "ended", application=application)
    credential = (await plane.ask(CREDENTIALS, id=application))["auth"]["credential"]
    form = {
        "grant_type": "client_credentials",
        "client_id": credential["clientId"],
        "client_secret": credential["clientSecret"],
    }
    granted = (await plane.send("/oauth2/token", aiohttp.FormData(form)())).body
    headers = {"Authorization": f"Bearer {granted['access_token']}"}
    async with (
        following(plane) as admin,
        following(plane, certificate=certificate) as by_certificate,
        following(plane, headers=headers) as by_token,
    ):
        for auth in (await plane.ask(AUTHS, id=application))["auths"]:
            await plane.ask(DELETE_AUTH, id=auth["id"])
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(5):
            await by_certificate.over.wait()
            await by_token.over.wait()
        assert asyncio.get_running_loop().time() - began < 1.5
        assert not admin.over.is_set()


async def test_the_plane_is_killed_and_nothing_is_lost_or_told_twice(tmp_path: Path, empty_dsn: str) -> None:
    async with Plane(tmp_path / "killed", settings={"COMPASS_DATABASE__DSN": empty_dsn}) as plane:
        application = await plane.application("survivor")
        heard: list[str] = []
        after: str | None = None
        for number in range(3):
            async with following(plane, after=after) as stream:
                for step in range(5):
                    await plane.ask(LABEL, id=application, value=str(number * 10 + step))
                    if step == 2:
                        async with asyncio.timeout(10):
                            while len(stream.about("ApplicationLabelled")) < 3:
                                await asyncio.sleep(0.005)
                await plane.kill()
                await stream.over.wait()
            assert [one.name for one in stream.happened].count("reset") == (after is None)
            heard += [subjects["id"] for kind, subjects in stream.told if kind == "ApplicationLabelled"]
            after = stream.happened[-1].id
            await plane.start()
        async with following(plane, after=after) as stream, Tables.of(empty_dsn) as tables:
            await plane.ask(LABEL, id=application, value="end")
            async with asyncio.timeout(10):
                while len(heard) + len(stream.about("ApplicationLabelled")) < 16:
                    await asyncio.sleep(0.005)
            heard += [subjects["id"] for kind, subjects in stream.told if kind == "ApplicationLabelled"]
            written = await tables.rows(
                "SELECT xid::text || '-' || id AS position FROM outbox_event "
                "WHERE name = 'ApplicationLabelled' AND facts ->> 'application' = $1 ORDER BY xid, id",
                application,
            )
    assert heard == [row["position"] for row in written]


async def test_a_stopped_plane_ends_its_streams_within_a_second(tmp_path: Path, empty_dsn: str) -> None:
    async with Plane(tmp_path / "stopped", settings={"COMPASS_DATABASE__DSN": empty_dsn}) as plane:
        async with following(plane) as one, following(plane) as two:
            began = asyncio.get_running_loop().time()
            stopping = asyncio.create_task(plane.stop())
            await asyncio.gather(one.over.wait(), two.over.wait())
            assert asyncio.get_running_loop().time() - began < 1
            await stopping
        assert "Traceback" not in plane.log


@pytest.mark.timeout(60)
async def test_an_agent_that_looks_every_hour_takes_a_change_over_at_once(plane: Plane, tmp_path: Path) -> None:
    application, runtime = await plane.application("followed"), await plane.runtime("edge")
    folder = tmp_path / "agent"
    private_folder(folder)
    told = {
        "connector_url": f"{plane.token_url}{CONNECTOR}",
        "token": await plane.token(runtime=runtime),
        "runtime_id": runtime,
        "tenant": DEFAULT_TENANT,
        "sync_period_seconds": 3600,
    }
    write_private_json(folder / "configuration.json", told)
    write_private(folder / "plane_ca.pem", plane.anchor.read_bytes())
    applied: list[list[str]] = []

    async def labels() -> Mapping[str, str]:
        return {}

    agent = Agent(folder, labels=labels, apply=lambda one: applied.append([app.name for app in one.applications]))
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))

    async def until(wanted: list[str]) -> float:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(15):
            while [kept.name for kept in agent.configuration.applications] != wanted:
                await asyncio.sleep(0.005)
        return asyncio.get_running_loop().time() - began

    try:
        async with asyncio.timeout(20):
            while agent.status.state is not State.SYNCHRONIZED:
                await asyncio.sleep(0.01)
        await plane.group("edges", applications=[application], runtimes=[runtime])
        await until(["mp-followed"])
        await plane.ask(ADD_API, id=application, url="https://orders.example/")
        async with asyncio.timeout(10):
            while not agent.configuration.applications[0].services:
                await asyncio.sleep(0.005)
        await plane.ask(UNASSIGN, id=application, type="APPLICATION", name="edges")
        assert await until([]) < 2
    finally:
        stop.set()
        await running
