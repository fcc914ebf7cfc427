"""The flows of the management plane, run with real parts on this machine and verified step by step.

Three kinds of process speak over TLS: the plane (`compass up`), the sample Application "orders", and a Runtime that the
Provisioner makes. A step counts only when the *other* side shows it: the receiver, the certificate, the peer's own
records, never the caller's reply. Source of the flows: the project's founding document, `flows/flows.md`.
"""

import json
import os
import shutil
import ssl
import tempfile
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
from cryptography import x509
from cryptography.x509.oid import NameOID

from compass.agent import pair
from compass.client.graphql import ClientCertificate, Endpoint, Plane, PlaneRefused, Trust
from compass.demo.narration import Narration, StepNotVerified, eventually, expect
from compass.demo.orders_process import OrdersProcess, OrdersRefused
from compass.demo.plane_process import PlaneProcess

GROUP: Final = "demo"
SECOND_GROUP: Final = "demo-2"
SYNC_PERIOD: Final = timedelta(milliseconds=500)
ANNOUNCED: Final = ("runtime_eventServiceUrl", "runtime_consoleUrl")
REVOKED_WITHIN: Final = 1.0
"""Seconds from the acknowledgement of a revocation to the last request that is still answered."""
FAILURES: Final = 2
"""How often the receiver fails before it answers, to see that it is asked again."""

REGISTER_APPLICATION = """mutation ($name: String!) { result: registerApplication(in: {name: $name}) { id } }"""
APPLICATIONS = "{ applications { data { id name labels status { condition } } totalCount } }"
APPLICATION = """
query ($id: ID!) { application(id: $id) {
  name labels status { condition } auths { id auth { certCommonName } } eventingConfiguration { defaultURL }
  bundles { data { id name
    instanceAuths { id runtimeID status { condition } }
    apiDefinitions { data { id name targetURL
      spec { data type format fetchRequest { url status { condition message } } } } }
    eventDefinitions { data { id name spec { data type format } } }
    documents { data { title } } } }
} }"""
REQUEST_TOKEN = """mutation ($id: ID!) { result: requestOneTimeTokenForApplication(id: $id) { token connectorURL } }"""
DELETE_AUTH = """mutation ($id: ID!) { deleteSystemAuthForApplication(authID: $id) { id } }"""
CONNECTOR_TOKEN = """mutation ($id: ID!) { result: requestTokenForApplication(applicationID: $id) { token } }"""
CREATE_FORMATION = """mutation ($name: String!) { createFormation(formation: {name: $name}) { id } }"""
ASSIGN = """mutation ($id: ID!, $type: FormationObjectType!, $name: String!) {
  assignFormation(objectID: $id, objectType: $type, formation: {name: $name}) { name } }"""
UNASSIGN = """mutation ($id: ID!, $type: FormationObjectType!, $name: String!) {
  unassignFormation(objectID: $id, objectType: $type, formation: {name: $name}) { name } }"""
RUNTIME = """query ($id: ID!) { runtime(id: $id) {
  name labels status { condition } auths { id auth { certCommonName } } } }"""
PROVISION = """
mutation { result: provisionRuntime(config: {
  runtimeInput: {name: "edge-01", description: "made by the demo"}
  clusterConfig: {gardenerConfig: {
    name: "edge-01", kubernetesVersion: "-", provider: "local", targetSecret: "-", region: "-", machineType: "-",
    workerCidr: "10.250.0.0/19", autoScalerMin: 1, autoScalerMax: 1, maxSurge: 1, maxUnavailable: 0,
    providerSpecificConfig: {}
  }}
}) { id runtimeID operation state } }"""
OPERATION_STATUS = """query ($id: String!) { result: runtimeOperationStatus(id: $id) {
  state message operation lastError { errMessage } } }"""
DEPROVISION = """mutation ($id: String!) { result: deprovisionRuntime(id: $id) }"""


async def run(*, folder: Path | None, keep: bool) -> int:
    """Run all flows in a folder of their own and return the exit code: 0 when every step was verified."""
    place = Path(tempfile.mkdtemp(prefix="compass-demo-")) if folder is None else folder
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    narration = Narration()
    failed: str | None = None
    try:
        await Demo(place, narration).run()
    except StepNotVerified as missed:
        failed = str(missed)
    narration.end(failed)
    if keep or failed is not None:
        print(f"  Everything is still in {place}")  # noqa: T201  # the demo speaks to a person
    else:
        shutil.rmtree(place, ignore_errors=True)
    return 0 if failed is None else 1


class Demo:
    """The cast and what has been established so far."""

    def __init__(self, folder: Path, narration: Narration) -> None:
        self._folder = folder
        self._tell = narration
        self._orders = OrdersProcess(folder / "orders", poll_every=timedelta(milliseconds=500))
        self._plane = PlaneProcess(folder, applications_ca=self._orders.company_ca, runtime_sync_period=SYNC_PERIOD)
        self._application = ""
        self._runtime = ""

    async def run(self) -> None:
        """All flows, in order. Raises StepNotVerified at the first that is not what it should be."""
        try:
            await self._raise_the_curtain()
            await self._application_pairing()
            await self._api_registration()
            await self._runtime_creation()
            await self._runtime_ready()
            await self._application_configuration()
            await self._runtime_configuration()
            await self._change_and_end()
        finally:
            await self._orders.stop()
            await self._plane.stop()
            self._end_runtimes()

    def _end_runtimes(self) -> None:
        """Runtimes outlive the plane by design; the demo's own must not outlive the demo, however it ended."""
        for status in self._plane.runtimes.glob("*/status.json"):
            try:
                os.kill(json.loads(status.read_text())["pid"], 15)
            except (OSError, ValueError, KeyError):
                continue

    async def _ask(self, text: str, **variables: Any) -> Any:
        return await self._plane.as_administrator(Endpoint.DIRECTOR, text, **variables)

    async def _provisioner(self, text: str, **variables: Any) -> Any:
        return (await self._plane.as_administrator(Endpoint.PROVISIONER, text, **variables))["result"]

    async def _raise_the_curtain(self) -> None:
        self._tell.chapter("The cast")
        async with self._tell.step('The Application "orders" serves its API over TLS') as evidence:
            await self._orders.start()
            evidence.append(f"{self._orders.service_url}, process {self._orders.pid}, a certificate of its own company")
        async with self._tell.step("The plane starts and is ready") as evidence:
            took = await self._plane.start()
            evidence.append(f"{self._plane.token_url} and {self._plane.mtls_url}, process {self._plane.pid}")
            evidence.append(f"{took:.2f} s to readyz, its database and authority made on the way")

    # 1

    async def _application_pairing(self) -> None:
        self._tell.chapter("1  Application pairing")
        async with self._tell.step("The Administrator registers the Application at the Director") as evidence:
            registered = await self._ask(REGISTER_APPLICATION, name="orders")
            self._application = registered["result"]["id"]
            listed = (await self._ask(APPLICATIONS))["applications"]
            expect(listed["totalCount"] == 1, "the Director does not list the application")
            expect(listed["data"][0]["status"]["condition"] == "INITIAL", "a new application is not INITIAL")
            evidence.append(f"the Director lists {self._application}, INITIAL, labels {listed['data'][0]['labels']}")
        token = (await self._ask(REQUEST_TOKEN, id=self._application))["result"]
        async with self._tell.step("The Application pairs: token, configuration, CSR, certificate") as evidence:
            await self._orders.pair(
                connector_url=token["connectorURL"], token=token["token"], trust_anchor=self._plane.anchor
            )
            certificate = _certificate(self._folder / "orders")
            name = str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
            known = (await self._ask(APPLICATION, id=self._application))["application"]["auths"]
            expect(
                [entry["id"] for entry in known] == [name], f"the certificate names {name}, the Director knows {known}"
            )
            evidence.append(f"certificate for {certificate.subject.rfc4514_string()}")
            evidence.append(f"issued by {certificate.issuer.rfc4514_string()}, serial {certificate.serial_number:x}")
        async with self._tell.step(
            "It speaks with its certificate only, and the Director sees it CONNECTED"
        ) as evidence:
            await self._orders.poll()
            seen = (await self._ask(APPLICATION, id=self._application))["application"]
            expect(seen["status"]["condition"] == "CONNECTED", f"the status is {seen['status']}")
            expect(seen["auths"][0]["auth"]["certCommonName"], "the Director has not noted the certificate")
            evidence.append(f"status CONNECTED, known as {seen['auths'][0]['auth']['certCommonName']}")
        async with self._tell.step("The same token with another key is refused") as evidence:
            trust = Trust.to(self._plane.anchor.read_text())
            thief = self._folder / "thief"
            try:
                await pair.pair(thief, connector_url=token["connectorURL"], token=token["token"], trust=trust)
            except pair.TokenRefused as refusal:
                evidence.append(f"“{refusal}”")
            else:
                raise StepNotVerified("a spent token gave another certificate")
            known = (await self._ask(APPLICATION, id=self._application))["application"]["auths"]
            expect(len(known) == 1, "the refused attempt left something behind at the Director")

    # 2

    async def _api_registration(self) -> None:
        self._tell.chapter("2  API registration")
        async with self._tell.step("The Application registers its API, events, document and credentials") as evidence:
            await self._orders.register()
            bundle = await self._bundle()
            api, event = bundle["apiDefinitions"]["data"][0], bundle["eventDefinitions"]["data"][0]
            fetched = api["spec"]["fetchRequest"]
            expect(fetched["status"]["condition"] == "SUCCEEDED", f"the fetch says {fetched['status']}")
            published = await self._fetch("/openapi.json")
            expect(
                json.loads(api["spec"]["data"]) == published, "the Director's specification is not the Application's"
            )
            expect(json.loads(event["spec"]["data"])["asyncapi"].startswith("3."), "the event API is no AsyncAPI 3")
            expect(bundle["documents"]["data"], "the document is missing")
            evidence.append(
                f"the Director fetched {fetched['url']}: OpenAPI {published['openapi']}, equal to the original"
            )
            evidence.append(
                f"API {api['name']!r}, event API {event['name']!r}, text {bundle['documents']['data'][0]['title']!r}"
            )
        async with self._tell.step("Wrong registrations get the contract's errors and change nothing") as evidence:
            before = await self._bundle()
            answers = await self._orders.register_wrong()
            for name, answer in answers.items():
                if not answer["accepted"]:
                    evidence.append(f"{name}: {answer['error'][:110]}")
            accepted = [name for name, answer in answers.items() if answer["accepted"]]
            expect(not accepted, f"accepted although wrong: {accepted}")
            expect(await self._bundle() == before, "a refused registration changed the catalogue")

    # 3

    async def _runtime_creation(self) -> None:
        self._tell.chapter("3  Runtime creation")
        await self._ask(CREATE_FORMATION, name=GROUP)
        async with self._tell.step("The Administrator groups the Application") as evidence:
            await self._ask(ASSIGN, id=self._application, type="APPLICATION", name=GROUP)
            labels = (await self._ask(APPLICATION, id=self._application))["application"]["labels"]
            expect(labels.get("scenarios") == [GROUP], f"the labels are {labels}")
            evidence.append(f"label scenarios {labels['scenarios']}")
        async with self._tell.step("The Provisioner makes a Runtime, and its agent pairs") as evidence:
            operation = await self._provisioner(PROVISION)
            self._runtime = operation["runtimeID"]
            await self._ask(ASSIGN, id=self._runtime, type="RUNTIME", name=GROUP)
            stages = await self._finished(operation["id"])
            certificate = _certificate(self._folder_of_runtime())
            name = str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
            runtime = (await self._ask(RUNTIME, id=self._runtime))["runtime"]
            expect([entry["id"] for entry in runtime["auths"]] == [name], "the certificate is not the Runtime's")
            expect(runtime["status"]["condition"] == "CONNECTED", f"the Runtime is {runtime['status']}")
            expect(_alive(self._status()["pid"]), "there is no process")
            evidence.append(" → ".join(stages))
            evidence.append(f"process {self._status()['pid']}, certificate for {name}, Director says CONNECTED")

    async def _finished(self, operation: str) -> list[str]:
        stages: list[str] = []

        async def look() -> bool:
            status = await self._provisioner(OPERATION_STATUS, id=operation)
            shown = status["message"].removeprefix("Operation in progress. ")
            if not stages or stages[-1] != shown:
                stages.append(shown)
            expect(status["state"] != "Failed", f"the operation failed: {status}")
            return bool(status["state"] == "Succeeded")

        await eventually(look, "the operation does not end", within=60)
        return stages

    # 4

    async def _runtime_ready(self) -> None:
        self._tell.chapter("4  Runtime ready")
        async with self._tell.step("The Application is told once, over its signed webhook") as evidence:
            told = await eventually(
                lambda: self._told("ready"), "the Application was not told that the Runtime is ready"
            )
            expect(len(told) == 1, f"the Application was told {len(told)} times")
            evidence.append(
                f"{told[0]['body']['type']}, {_header(told[0], 'webhook-id')}, signature verified by the receiver"
            )
        async with self._tell.step("The Runtime says where it is reached, and the Application is told") as evidence:

            async def both() -> bool:
                return len(await self._told("changed")) == len(ANNOUNCED)

            await eventually(both, f"the Application was not told once for each of {', '.join(ANNOUNCED)}")
            labels = (await self._ask(RUNTIME, id=self._runtime))["runtime"]["labels"]
            evidence.extend(f"{name} {labels[name]}" for name in ANNOUNCED)
        async with self._tell.step("A receiver that fails is tried again until it answers") as evidence:
            await self._ask(CREATE_FORMATION, name=SECOND_GROUP)
            await self._ask(ASSIGN, id=self._application, type="APPLICATION", name=SECOND_GROUP)
            before = len(await self._told("assign"))
            await self._orders.misbehave("fail", requests=FAILURES)
            await self._ask(ASSIGN, id=self._runtime, type="RUNTIME", name=SECOND_GROUP)

            async def look() -> list[dict[str, Any]]:
                return (await self._told("assign"))[before:]

            told = await eventually(look, "the assignment was never told", within=45)
            attempts = [
                entry
                for entry in (await self._orders.state())["notificationAttempts"]
                if entry["id"] == _header(told[-1], "webhook-id")
            ]
            expect(len(attempts) > FAILURES, f"there were only {len(attempts)} attempts")
            evidence.append(
                f"{len(attempts)} attempts under one id: {', '.join(str(entry['outcome']) for entry in attempts)}"
            )

    async def _told(self, operation: str) -> list[dict[str, Any]]:
        return [
            entry
            for entry in (await self._orders.state())["notifications"]
            if entry["body"].get("data", {}).get("operation") == operation
            and entry["body"]["data"].get("runtimeID") == self._runtime
        ]

    # 5

    async def _application_configuration(self) -> None:
        self._tell.chapter("5  Application configuration update")
        events_url = self._status()["events_url"]
        async with self._tell.step("By polling: the Application learns where its events go") as evidence:

            async def look() -> str:
                url: str = (await self._orders.state())["defaultURL"]
                return url if url.startswith(events_url) else ""

            url = await eventually(look, f"the Application does not know {events_url}")
            evidence.append(url)
        async with self._tell.step(
            "By webhook: it sets credentials for this Runtime, and the Runtime gets those"
        ) as evidence:

            async def configured() -> str:
                stored = self._folder_of_runtime() / "applied.json"
                return f"runtime-{self._runtime}" if f"runtime-{self._runtime}" in stored.read_text() else ""

            user = await eventually(configured, "the Runtime did not get its own credentials")
            # By now a second notice of the same news would have come.
            expect(len(await self._told("ready")) == 1, "the Application was told more than once that it is ready")
            auths = (await self._bundle())["instanceAuths"]
            expect([entry["runtimeID"] for entry in auths] == [self._runtime], f"the Director has {auths}")
            evidence.append(f"the Runtime's configuration names user {user}, not the default")

    # 6

    async def _runtime_configuration(self) -> None:
        self._tell.chapter("6  Runtime configuration update")
        async with self._tell.step("A call through the Runtime's gateway reaches the Application's API") as evidence:
            order = await self._order_through_gateway()
            expect(order["createdBy"] == f"runtime-{self._runtime}", f"the order was created by {order['createdBy']}")
            evidence.append(f"order {order['id']} at {order['receivedAt']}, created by {order['createdBy']}")
        async with self._tell.step("An event of the Application arrives in the Runtime") as evidence:
            evidence.append(f"event {await self._event_arrives()} is in the Runtime's records")
        async with self._tell.step("An event under another Application's certificate is refused") as evidence:
            evidence.append(await self._stranger_refused())
        async with self._tell.step("With the plane away (SIGKILL) both go on working") as evidence:
            pid = self._status()["pid"]
            before = (await self._ask(APPLICATIONS))["applications"]["totalCount"]
            await self._plane.kill()
            order = await self._order_through_gateway()
            evidence.append(
                f"order {order['id']} created by {order['createdBy']}, event {await self._event_arrives()} arrived"
            )
            restart = await self._plane.start()
            expect(self._status()["pid"] == pid and _alive(pid), "the Runtime did not survive the plane")
            expect((await self._ask(APPLICATIONS))["applications"]["totalCount"] == before, "the plane forgot")
            evidence.append(
                f"the plane is back after {restart:.2f} s with its data; the Runtime is still process {pid}"
            )

    async def _order_through_gateway(self) -> dict[str, Any]:
        path = await eventually(self._gateway_path, "the gateway has no path to the Application")
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{path}/orders", json={"customer": "Ada", "item": "book", "quantity": 1}) as answer,
        ):
            created = await answer.json()
            expect(answer.status == HTTPStatus.CREATED, f"the gateway answered {answer.status}: {created}")
        orders = (await self._orders.state())["orders"]
        return next(entry for entry in orders if entry["id"] == created["id"])

    async def _gateway_path(self) -> str:
        """Where the Runtime's gateway offers the orders API, from the Runtime's own configuration."""
        applied = json.loads((self._folder_of_runtime() / "applied.json").read_text())
        for application in applied["applications"]:
            if application["id"] == self._application:
                for service in application["services"]:
                    for api in service["apis"]:
                        return f"{self._status()['gateway_url']}{api['path']}"
        return ""

    async def _event_arrives(self) -> str:
        sent = await self._orders.publish(customer="Ada", item="book", quantity=1)

        async def look() -> str:
            with suppress(
                OrdersRefused
            ):  # asking the plane fails while it is away; waiting events are sent all the same
                await self._orders.poll()
            recorded = (self._folder_of_runtime() / "events.jsonl").read_text()
            event: str = sent["event"]["id"]
            return event if event in recorded else ""

        return str(await eventually(look, f"event {sent['event']['id']} did not arrive"))

    async def _stranger_refused(self) -> str:
        stranger = (await self._ask(REGISTER_APPLICATION, name="stranger"))["result"]["id"]
        # This time the Administrator asks the Connector itself.
        token = (await self._plane.as_administrator(Endpoint.CONNECTOR, CONNECTOR_TOKEN, id=stranger))["result"][
            "token"
        ]
        folder = self._folder / "stranger"
        trust = Trust.to(self._plane.anchor.read_text())
        connector = f"{self._plane.token_url}/connector/graphql"
        await pair.pair(folder, connector_url=connector, token=token, trust=trust)
        before = (self._folder_of_runtime() / "events.jsonl").read_bytes()
        url = (await self._orders.state())["defaultURL"]
        context = trust.context(ClientCertificate(folder / "chain.crt", folder / "client.key"))
        event = {
            "specversion": "1.0",
            "id": "forged",
            "source": "stranger",
            "type": "sales.order.created.v1",
            "data": {},
        }
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.post(url, json=event, headers={"content-type": "application/cloudevents+json"}) as answer,
        ):
            expect(answer.status == HTTPStatus.FORBIDDEN, f"the Runtime answered {answer.status}")
            said = (await answer.text())[:120]
        expect(
            (self._folder_of_runtime() / "events.jsonl").read_bytes() == before, "the Runtime kept a stranger's event"
        )
        return f"403 {said}"

    # 7

    async def _change_and_end(self) -> None:
        self._tell.chapter("7  Change and end")
        async with self._tell.step("A changed target URL reaches the Runtime") as evidence:
            changed = await self._orders.change_target_url()

            async def look() -> bool:
                return changed["targetURL"] in (self._folder_of_runtime() / "applied.json").read_text()

            await eventually(look, "the Runtime does not know the new target URL")
            order = await self._order_through_gateway()
            evidence.append(f"the next order arrived at {order['receivedAt']}")
        async with self._tell.step(
            "Unassigned: the Runtime loses the Application, which withdraws its credentials"
        ) as evidence:
            path = await self._gateway_path()
            await self._ask(UNASSIGN, id=self._runtime, type="RUNTIME", name=SECOND_GROUP)
            expect(not await self._told("unassign"), "the Application was told of an end while a group is still shared")
            await self._ask(UNASSIGN, id=self._runtime, type="RUNTIME", name=GROUP)
            await eventually(lambda: self._gateway_says(path, HTTPStatus.NOT_FOUND), "the gateway still serves it")
            await eventually(lambda: self._told("unassign"), "the Application was not told")

            async def withdrawn() -> bool:
                credentials = (await self._orders.state())["credentials"]
                return all(entry["revokedAt"] for entry in credentials if entry["runtimeID"] == self._runtime)

            await eventually(withdrawn, "the Application still accepts the Runtime's credentials")
            evidence.append("gateway 404, notification unassign received, credentials revoked at the Application")
        async with self._tell.step("Assigned again: the Runtime has the Application back") as evidence:
            await self._ask(ASSIGN, id=self._runtime, type="RUNTIME", name=GROUP)

            async def with_credentials_of_its_own() -> Any:
                # Until the Application has heard of the Runtime and answered, the Runtime has the default ones.
                order = await self._order_through_gateway()
                return order if order["createdBy"] == f"runtime-{self._runtime}" else None

            order = await eventually(with_credentials_of_its_own, "the Runtime's orders are created by default")
            evidence.append(f"order {order['id']} created by new credentials of {order['createdBy']}")
        async with self._tell.step("The Application's certificate is revoked: plane and Runtime refuse it") as evidence:
            await self._revoked(evidence)
        async with self._tell.step("Deprovisioned: process, folder, registration and token are gone") as evidence:
            pid, place = self._status()["pid"], self._folder_of_runtime()
            kept = self._keep_identity()
            await self._finished(await self._provisioner(DEPROVISION, id=self._runtime))
            gone = (await self._ask(RUNTIME, id=self._runtime))["runtime"]
            expect(gone is None, "the Director still knows the Runtime")
            expect(not _alive(pid), f"process {pid} is alive")
            expect(not place.exists() and not list(self._plane.runtimes.glob("*")), f"{place} is still there")
            await eventually(lambda: self._told("unregister"), "the Application was not told that the Runtime is gone")
            evidence.append(f"process {pid} ended, {place.name} removed, the Director knows no such Runtime")
            evidence.append("notification unregister received")
            evidence.append(f"its certificate, kept aside: {await self._refused_at_the_director(kept)}")

    def _keep_identity(self) -> ClientCertificate:
        """A copy of the Runtime's certificate and key, as a thief would have taken it."""
        place = self._folder / "kept"
        place.mkdir(mode=0o700)
        for name in ("chain.crt", "client.key"):
            (place / name).write_bytes((self._folder_of_runtime() / name).read_bytes())
        return ClientCertificate(place / "chain.crt", place / "client.key")

    async def _refused_at_the_director(self, identity: ClientCertificate) -> str:
        trust = Trust.to(self._plane.anchor.read_text())

        async def look() -> str:
            try:
                async with Plane(self._plane.mtls_url, trust=trust, credentials=identity) as plane:
                    await plane.ask(Endpoint.DIRECTOR, "{ viewer { id } }")
            except PlaneRefused as refusal:
                return str(refusal) if refusal.unauthorized else ""
            return ""

        return str(await eventually(look, "what the Runtime was known by still works", within=REVOKED_WITHIN))

    async def _revoked(self, evidence: list[str]) -> None:
        await self._orders.revoke_certificate()

        async def refused() -> str:
            with suppress(OrdersRefused):
                await self._orders.poll()
            connection = (await self._orders.state())["connection"]
            return str(connection["reason"]) if connection["state"] == "REFUSED" else ""

        # A revocation is acknowledged when it is committed; every replica knows it within the second.
        reason = await eventually(refused, "the plane still answers the revoked certificate", within=REVOKED_WITHIN)
        evidence.append(f"the plane: “{reason}”")
        for known in (await self._ask(APPLICATION, id=self._application))["application"]["auths"]:
            await self._ask(DELETE_AUTH, id=known["id"])

            async def forgotten(client: str = known["id"]) -> bool:
                return client not in (self._folder_of_runtime() / "applied.json").read_text()

            await eventually(forgotten, "the Runtime still accepts the revoked client")
        sent = await self._orders.publish(customer="Ada", item="book", quantity=1)
        recorded = (self._folder_of_runtime() / "events.jsonl").read_text()
        expect(sent["event"]["id"] not in recorded, "the Runtime took an event of a revoked client")
        evidence.append(f"the Runtime: {sent['event']['status']} for event {sent['event']['id']}")

    async def _gateway_says(self, path: str, status: HTTPStatus) -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"{path}/orders") as answer:
            return answer.status == status

    # What the parts show of themselves

    async def _bundle(self) -> Any:
        return (await self._ask(APPLICATION, id=self._application))["application"]["bundles"]["data"][0]

    async def _fetch(self, path: str) -> Any:
        context = ssl.create_default_context(cafile=str(self._orders.company_ca))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(f"{self._orders.service_url}{path}") as answer,
        ):
            return await answer.json(content_type=None)

    def _folder_of_runtime(self) -> Path:
        return self._plane.runtimes / self._runtime

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads((self._folder_of_runtime() / "status.json").read_text())
        return status


def _certificate(folder: Path) -> x509.Certificate:
    """The client certificate below the folder."""
    found = sorted(folder.rglob("client.crt"))
    expect(found, f"there is no certificate in {folder}")
    return x509.load_pem_x509_certificate(found[0].read_bytes())


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return not Path("/proc").is_dir()
    return stat.rpartition(") ")[2][0] != "Z"


def _header(notification: dict[str, Any], name: str) -> str:
    headers = {key.lower(): value for key, value in notification["headers"].items()}
    return str(headers.get(name, ""))
