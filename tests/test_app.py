"""The whole plane in one process, over real TLS: what holds only when all parts are put together."""

import asyncio
import base64
import hashlib
import io
import logging
import os
import shutil
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from cryptography import x509

from compass.agent.pair import Connection, TokenRefused, pair, renew
from compass.api.tls import PortTaken
from compass.app import Started, _working, plane
from compass.cli.version import VERSION
from compass.client.graphql import ClientCertificate, PlaneRefused, Trust
from compass.connector import use
from compass.postgres.embedded import FolderNotWritable, PostgresFailed, running
from compass.postgres.migrate import MIGRATIONS, migrate, needed, pending
from compass.postgres.pool import Database
from compass.postgres.row_security import Unprotected
from compass.settings import (
    DatabaseSettings,
    LandscapeSettings,
    LimitSettings,
    ListenSettings,
    OutboundSettings,
    SettingRefused,
    Settings,
)

TENANT = "3e64ebae-38b5-46a0-b1ed-9ccee153a0ae"
OTHER = "1eba80dd-8ff6-54ee-be4d-77944d17b10b"
REGISTER = 'mutation { result: registerApplication(in: {name: "orders"}) { id } }'
TOKEN = "mutation ($id: ID!) { result: requestOneTimeTokenForApplication(id: $id) { token connectorURL } }"
VIEWER = "{ viewer { id type } }"
APPLICATION = """
query ($id: ID!) { result: application(id: $id) { status { condition } auths { id auth { certCommonName } } } }
"""
ASSIGN = """
mutation ($id: ID!) {
  result: assignFormation(objectID: $id, objectType: APPLICATION, formation: {name: "g"}) {
    id formationAssignments { data { id } }
  }
}
"""
BUSY = """
{
  system {
    replicas {
      gauges {
        release memoryMegabytes requestsPerMinute requestMicroseconds slowestMicroseconds errors lastErrorAt
        connections { used of } deliveries { used of } operations { used of }
        reads { of } searches { of } writes { of }
      }
    }
  }
}
"""
UNREACHABLE = "the plane cannot reach its database; nothing was changed, try again in a moment"


def settings(folder: Path, dsn: str | None) -> Settings:
    return Settings(
        data_folder=folder / "data",
        database=DatabaseSettings(dsn=dsn),
        listen=ListenSettings(token_port=0, mtls_port=0),
    )


@dataclass
class Reply:
    status: int
    headers: Any
    text: str
    json: Any = None

    @property
    def error(self) -> Any:
        return self.json["errors"][0]


@dataclass
class Client:
    """A client on one port, which keeps its connections."""

    base: str
    session: aiohttp.ClientSession
    connections: list[int] = field(default_factory=list)
    """An entry for each connection that was opened."""

    async def request(self, method: str, path: str, **more: Any) -> Reply:
        async with self.session.request(method, f"{self.base}{path}", **more) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return Reply(answer.status, answer.headers, text, await answer.json() if is_json else None)

    async def ask(self, text: str, *, path: str = "/director/graphql", headers: Any = None, **variables: Any) -> Reply:
        return await self.request("POST", path, json={"query": text, "variables": variables}, headers=headers)

    async def data(self, text: str, **more: Any) -> Any:
        reply = await self.ask(text, **more)
        assert reply.status == 200, reply.text
        assert "errors" not in reply.json, reply.json
        return reply.json["data"]


@asynccontextmanager
async def client(
    base: str, ca_pem: str, *, certificate: Connection | None = None, **headers: str
) -> AsyncIterator[Client]:
    opened: list[int] = []
    trace = aiohttp.TraceConfig()

    async def on_create(*_: Any) -> None:
        opened.append(1)

    trace.on_connection_create_end.append(on_create)
    shown = (
        ClientCertificate(certificate.folder / "chain.crt", certificate.folder / "client.key") if certificate else None
    )
    context = Trust.to(ca_pem).context(shown)
    connector = aiohttp.TCPConnector(ssl=context, limit=1)
    async with aiohttp.ClientSession(connector=connector, headers=headers, trace_configs=[trace]) as session:
        yield Client(base, session, opened)


async def access_token(started: Started, secret: str | None, client_id: str = "admin") -> str:
    async with client(started.token_url, started.ca_pem) as anonymous:
        basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        reply = await anonymous.request(
            "POST",
            "/oauth2/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {basic}"},
        )
    assert reply.status == 200, reply.text
    return str(reply.json["access_token"])


@asynccontextmanager
async def administrator(started: Started, secret: str | None = None, tenant: str = TENANT) -> AsyncIterator[Client]:
    token = await access_token(started, secret or started.admin_secret)
    async with client(started.token_url, started.ca_pem, Authorization=f"Bearer {token}", Tenant=tenant) as admin:
        yield admin


async def paired(started: Started, admin: Client, folder: Path) -> tuple[str, Connection]:
    """A new application of the tenant, and its identity on disk."""
    application = (await admin.data(REGISTER))["result"]["id"]
    token = (await admin.data(TOKEN, id=application))["result"]
    connection = await pair(
        folder, connector_url=token["connectorURL"], token=token["token"], trust=Trust.to(started.ca_pem)
    )
    return application, connection


async def within(seconds: float, holds: Callable[[], Any]) -> float:
    """Wait until the condition holds; how long it took."""
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


# --- up ---


async def test_the_plane_comes_up_and_says_who_it_is(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started:
        async with client(started.token_url, started.ca_pem) as anonymous:
            for path in ("/healthz", "/livez", "/readyz"):
                reply = await anonymous.request("GET", path)
                assert (reply.status, reply.text) == (200, "ok")
            anchor = await anonymous.request("GET", "/ca.pem")
            info = await anonymous.request("GET", "/v1/info")
            published = await anonymous.request("GET", "/director/v1/info")
            posted = await anonymous.request("POST", "/v1/info")
        assert anchor.text == started.ca_pem == info.json["rootCA"]
        assert anchor.headers["content-type"].startswith("application/x-pem-file")
        der = ssl.PEM_cert_to_DER_cert(started.ca_pem)
        assert started.ca_fingerprint == f"sha256:{hashlib.sha256(der).hexdigest()}"
        assert info.json.keys() == {"certIssuer", "certSubject", "rootCA", "ordAggregatorVersion"}
        assert (published.json, posted.status, posted.headers["allow"]) == (info.json, 405, "GET, HEAD")
        assert info.json["certSubject"] == "O=Org,OU=OrgUnit,L=locality,ST=province,C=DE,CN=*"
        assert started.tenant == TENANT
        assert started.admin_client_id == "admin"


async def test_a_database_without_what_this_release_needs_is_not_ready(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, client(started.token_url, started.ca_pem) as anonymous:
        async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
            await tx.run("DELETE FROM migration WHERE name = %(name)s", name=needed())
        reply = await anonymous.request("GET", "/readyz")

    assert (reply.status, reply.text) == (503, f"the database misses the migration {needed()}")


async def test_the_administrator_signs_in_and_works_in_the_default_tenant(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        assert await admin.data(VIEWER) == {"viewer": {"id": "admin", "type": "USER"}}
        assert (await admin.data("{ tenants { data { id name } } }"))["tenants"]["data"] == [
            {"id": TENANT, "name": "default"}
        ]
        assert (await admin.data(REGISTER))["result"]["id"]


async def test_an_application_pairs_and_is_known_by_its_certificate(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application, connection = await paired(started, admin, tmp_path / "app")
        [before] = (await admin.data(APPLICATION, id=application))["result"]["auths"]
        assert before == {"id": connection.client_id, "auth": {"certCommonName": ""}}
        assert connection.director_url == f"{started.mtls_url}/director/graphql"
        assert connection.connector_url == f"{started.mtls_url}/connector/graphql"

        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            assert await app.data(VIEWER) == {"viewer": {"id": application, "type": "APPLICATION"}}

        shown = (await admin.data(APPLICATION, id=application))["result"]
        assert shown["status"] == {"condition": "CONNECTED"}
        assert shown["auths"] == [{"id": connection.client_id, "auth": {"certCommonName": connection.client_id}}]


async def test_an_application_reports_how_far_an_assignment_is_at_both_ports(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application, connection = await paired(started, admin, tmp_path / "app")
        await admin.data('mutation { createFormation(formation: {name: "g"}) { id } }')
        assigned = await admin.data(ASSIGN, id=application)
        formation = assigned["result"]["id"]
        [assignment] = [row["id"] for row in assigned["result"]["formationAssignments"]["data"]]
        path = f"/v1/businessIntegrations/{formation}/assignments/{assignment}/status"

        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            replies = [
                await each.request(
                    "PATCH", f"{prefix}{path}{suffix}", json={"state": "READY", "configuration": {"a": 1}}
                )
                for each in (app, admin)
                for prefix in ("", "/director")
                for suffix in ("", "/reset")
            ]
            refused = await app.request("PATCH", path, json={"state": "DELETE_READY"}, headers={"X-Request-Id": "r-1"})
        async with client(started.token_url, started.ca_pem) as anonymous:
            unknown = await anonymous.request("PATCH", path, json={"state": "READY"})

    assert [(reply.status, reply.text) for reply in replies] == [(200, "")] * 8
    assert refused.status == 400
    assert refused.json["error"].endswith("does not go with the operation ASSIGN]. X-Request-Id: r-1")
    assert unknown.status == 401


async def test_whoever_began_an_operation_in_the_background_sees_how_far_it_is_at_both_ports(
    dsn: str, tmp_path: Path
) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        accepted = await admin.ask('mutation { registerApplication(in: {name: "later"}, mode: ASYNC) { id } }')
        assert accepted.json["data"] == {}
        [location] = accepted.json["extensions"]["locations"]
        assert location.startswith(f"{started.token_url}/director/last_operation/application/")
        path = location.removeprefix(started.token_url)

        async def has_ended() -> bool:
            return bool((await admin.request("GET", path)).json["status"] != "IN_PROGRESS")

        await within(20, has_ended)
        ended = [await admin.request("GET", each) for each in (path, path.removeprefix("/director"))]
        application, connection = await paired(started, admin, tmp_path / "app")
        own = f"/last_operation/application/{application}"
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            seen = [await app.request("GET", f"{prefix}{own}") for prefix in ("", "/director")]
            foreign = await app.request("GET", path, headers={"X-Request-Id": "r-1"})
        async with client(started.token_url, started.ca_pem) as anonymous:
            unknown = await anonymous.request("GET", path)
        wrong = [
            await admin.request("GET", "/last_operation/application/nonsense"),
            await admin.request("GET", f"/last_operation/runtime/{application}"),
            await admin.request("POST", path),
        ]

    id_ = path.rpartition("/")[2]
    for reply in ended:
        assert reply.status == 200
        assert reply.json == {
            "operation_type": "Create",
            "resource_id": id_,
            "resource_type": "application",
            "creation_time": reply.json["creation_time"],
            "status": "SUCCEEDED",
            "error": None,
        }
    assert [(reply.status, reply.json["resource_id"]) for reply in seen] == [(200, application)] * 2
    assert foreign.status == 404
    assert foreign.json == {"error": "Object not found [object=application]. X-Request-Id: r-1"}
    assert unknown.status == 401
    assert [reply.status for reply in wrong] == [400, 400, 405]
    assert wrong[2].headers["allow"] == "GET"


async def test_a_leading_product_reports_about_a_formation_at_both_ports(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application, connection = await paired(started, admin, tmp_path / "app")
        hook = '{type: FORMATION_LIFECYCLE, mode: ASYNC_CALLBACK, url: "http://127.0.0.1:1/"}'
        await admin.data(
            "mutation ($products: [String!]) { createFormationTemplate(in: { "
            f'name: "led", applicationTypes: ["ANY"], leadingProductIDs: $products, webhooks: [{hook}]'
            "}) { id } }",
            products=[application],
        )
        created = await admin.data(
            'mutation { result: createFormation(formation: {name: "g", templateName: "led"}) { id state } }'
        )
        path = f"/v1/businessIntegrations/{created['result']['id']}/status"
        ready = {"state": "READY"}

        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            replies = [await app.request("PATCH", f"{prefix}{path}", json=ready) for prefix in ("", "/director")]
            refusals = [
                await app.request("PATCH", path, json={"state": "DELETE_ERROR"}, headers={"X-Request-Id": "r-1"}),
                await app.request("PATCH", path, data=b"{}", headers={"Content-Type": "text/plain"}),
                await app.request("PATCH", path, data=b" " * 1_000_001, headers={"Content-Type": "application/json"}),
                await app.request("PATCH", path.replace("-", "0"), json=ready),
                await app.request("POST", path, json=ready),
                await admin.request("PATCH", path, json=ready),
            ]
        async with client(started.token_url, started.ca_pem) as anonymous:
            refusals.append(await anonymous.request("PATCH", path, json=ready))
        shown = await admin.data('{ result: formationByName(name: "g") { state } }')

    assert created["result"]["state"] == "INITIAL"
    assert [(reply.status, reply.text) for reply in replies] == [(200, "")] * 2
    assert shown == {"result": {"state": "READY"}}
    assert [reply.status for reply in refusals] == [400, 415, 413, 404, 405, 401, 401]
    assert all(list(reply.json) == ["error"] for reply in refusals)
    assert refusals[0].json["error"].endswith("does not go with the operation createFormation]. X-Request-Id: r-1")


async def test_a_paired_client_renews_and_both_certificates_work(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application, connection = await paired(started, admin, tmp_path / "app")
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as old:
            await old.data(VIEWER)
            renewed = await renew(connection, trust=Trust.to(started.ca_pem))
            async with client(started.mtls_url, started.ca_pem, certificate=renewed) as new:
                for one in (old, new):
                    assert (await one.data(VIEWER))["viewer"]["id"] == application


@pytest.mark.parametrize(
    ("listen", "token_url", "mtls_url"),
    [
        ({"public_names": ("::1", "localhost")}, "https://[::1]:", "https://[::1]:"),
        (
            {"public_token_url": "https://plane.test/", "public_mtls_url": "https://mtls.test:444/compass/"},
            "https://plane.test",
            "https://mtls.test:444/compass",
        ),
    ],
)
async def test_clients_are_told_the_public_addresses(
    dsn: str, tmp_path: Path, listen: dict[str, Any], token_url: str, mtls_url: str
) -> None:
    config = settings(tmp_path, dsn)
    async with plane(replace(config, listen=replace(config.listen, **listen))) as started:
        assert started.token_url.startswith(token_url)
        assert started.mtls_url.startswith(mtls_url)
        assert not started.token_url.endswith("/")
        assert not started.mtls_url.endswith("/")


async def test_a_token_pairs_one_client_only(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application = (await admin.data(REGISTER))["result"]["id"]
        token = (await admin.data(TOKEN, id=application))["result"]
        trust = Trust.to(started.ca_pem)
        await pair(tmp_path / "first", connector_url=token["connectorURL"], token=token["token"], trust=trust)

        with pytest.raises(TokenRefused):
            await pair(tmp_path / "second", connector_url=token["connectorURL"], token=token["token"], trust=trust)


async def test_a_token_may_stand_in_the_address(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application = (await admin.data(REGISTER))["result"]["id"]
        token = (await admin.data(TOKEN, id=application))["result"]["token"]
        async with client(started.token_url, started.ca_pem) as anonymous:
            text = "{ result: configuration() { token { token } } }"
            reply = await anonymous.ask(text, path=f"/connector/graphql?token={token}")

        assert len(reply.json["data"]["result"]["token"]["token"]) == 88


async def test_an_administrator_gets_tokens_from_the_connector_too(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application = (await admin.data(REGISTER))["result"]["id"]
        text = "mutation ($id: ID!) { result: requestTokenForApplication(applicationID: $id) { token } }"
        token = (await admin.data(text, path="/connector/graphql", id=application))["result"]["token"]

        url = f"{started.token_url}/connector/graphql"
        connection = await pair(tmp_path / "a", connector_url=url, token=token, trust=Trust.to(started.ca_pem))
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            assert (await app.data(VIEWER))["viewer"]["id"] == application


async def test_a_client_with_a_secret_works_on_the_token_port(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application = (await admin.data(REGISTER))["result"]["id"]
        made = await admin.data(
            "mutation ($id: ID!) { result: requestClientCredentialsForApplication(id: $id) "
            "{ id auth { credential { ... on OAuthCredentialData { clientSecret url } } } } }",
            id=application,
        )
        credential = made["result"]["auth"]["credential"]
        assert credential["url"] == f"{started.token_url}/oauth2/token"
        token = await access_token(started, credential["clientSecret"], made["result"]["id"])

        async with client(started.token_url, started.ca_pem, Authorization=f"Bearer {token}") as app:
            assert await app.data(VIEWER) == {"viewer": {"id": application, "type": "APPLICATION"}}
            assert (await app.ask("{ tenants { totalCount } }")).error["extensions"]["error_code"] == 23
            await admin.data(
                "mutation ($id: ID!) { deleteSystemAuthForApplication(authID: $id) { id } }", id=made["result"]["id"]
            )
            refused = await app.ask(VIEWER)
        assert (refused.status, refused.error["message"]) == (401, "Unauthorized [reason=invalid bearer token]")


# --- who is asking ---


async def test_a_foreign_tenant_in_the_header_is_refused(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        await admin.data(
            "mutation ($in: BusinessTenantMappingInput!) { writeTenant(in: $in) }",
            **{"in": {"name": "foo", "externalTenant": OTHER, "type": "account", "provider": "test"}},
        )
        _, connection = await paired(started, admin, tmp_path / "app")
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            foreign = await app.ask(VIEWER, headers={"Tenant": OTHER})
            unknown = await app.ask(VIEWER, headers={"Tenant": "nobody"})
            own = await app.ask(VIEWER, headers={"Tenant": TENANT})
        of_admin = await admin.ask(VIEWER, headers={"Tenant": "nobody"})

    for reply, external in ((foreign, OTHER), (unknown, "nobody"), (of_admin, "nobody")):
        assert reply.status == 400
        assert reply.json == {
            "errors": [
                {
                    "message": f"Tenant not found [externalTenant={external}]",
                    "extensions": {"error": "TenantNotFound", "error_code": 25},
                }
            ],
            "data": None,
        }
    assert own.json["data"]["viewer"]["type"] == "APPLICATION"


FORGED = {
    "Client-Id-From-Certificate": "{id}",
    "Client-Id-From-Token": "{id}",
    "Subject-From-Certificate": "CN={id}",
    "Client-Certificate-Hash": "00",
    "Client-Certificate-Issuer": "connector",
    "Certificate-Data": 'Hash=00;Subject="CN={id},O=Org,OU=OrgUnit,L=locality,ST=province,C=DE";URI=',
    "X-Forwarded-Client-Cert": 'By=x;Hash=00;Subject="CN={id},O=Org,OU=OrgUnit,L=locality,ST=province,C=DE";URI=',
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Proto": "https",
    "X-Flow-Identity": "Application",
    "X-SSL-Client-Cert": "{id}",
    "X-Consumer-Id": "{id}",
}


async def test_headers_that_claim_an_identity_have_no_effect(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        _, connection = await paired(started, admin, tmp_path / "app")
        runtime, other = await paired_runtime(started, admin, tmp_path / "runtime")
        forged = {name: value.format(id=connection.client_id) for name, value in FORGED.items()}
        async with (
            client(started.token_url, started.ca_pem) as anonymous,
            client(started.mtls_url, started.ca_pem, certificate=other) as paired_as_runtime,
        ):
            for headers in (*({name: value} for name, value in forged.items()), forged):
                unknown = await anonymous.ask(VIEWER, headers=headers)
                revoking = await anonymous.ask(
                    "mutation { revokeCertificate }", path="/connector/graphql", headers=headers
                )
                shown = await paired_as_runtime.data(VIEWER, headers=headers)
                subject = await paired_as_runtime.data(
                    "{ configuration { certificateSigningRequestInfo { subject } } }",
                    path="/connector/graphql",
                    headers=headers,
                )

                assert (unknown.status, unknown.error["extensions"]["error_code"]) == (400, 26), headers
                assert revoking.error["extensions"]["error_code"] == 26, headers
                assert shown == {"viewer": {"id": runtime, "type": "RUNTIME"}}, headers
                told = subject["configuration"]["certificateSigningRequestInfo"]["subject"]
                assert told.endswith(f",CN={other.client_id}"), headers
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            assert (await app.data(VIEWER))["viewer"]["type"] == "APPLICATION"


async def paired_runtime(started: Started, admin: Client, folder: Path) -> tuple[str, Connection]:
    runtime = (await admin.data('mutation { result: registerRuntime(in: {name: "kyma"}) { id } }'))["result"]["id"]
    token = await admin.data(
        "mutation ($id: ID!) { result: requestOneTimeTokenForRuntime(id: $id) { token connectorURL } }", id=runtime
    )
    connection = await pair(
        folder,
        connector_url=token["result"]["connectorURL"],
        token=token["result"]["token"],
        trust=Trust.to(started.ca_pem),
    )
    return runtime, connection


async def test_a_wrong_token_and_none_are_refused_with_the_contracts_status(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started:
        good = await access_token(started, started.admin_secret)
        head, claims, signature = good.split(".")
        unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
        wrong = [
            "nonsense",
            f"{head}.{claims}.{signature[:-4]}AAAA",
            f"{head}.{claims}.",
            f"{unsigned}.{claims}.",
        ]
        async with client(started.token_url, started.ca_pem) as anonymous:
            for token in wrong:
                reply = await anonymous.ask(VIEWER, headers={"Authorization": f"Bearer {token}"})
                assert (reply.status, reply.error["extensions"]["error_code"]) == (401, 26)
            for headers in (
                {},
                {"Authorization": f"Basic {good}"},
                {"Authorization": good},
                {"Authorization": "Bearer"},
            ):
                reply = await anonymous.ask(VIEWER, headers=headers)
                assert (reply.status, reply.error["message"]) == (400, "Unauthorized [reason=invalid bearer token]")


async def test_the_mutual_port_lets_nobody_in_without_a_certificate(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started:
        token = await access_token(started, started.admin_secret)
        async with client(started.mtls_url, started.ca_pem, Authorization=f"Bearer {token}") as anonymous:
            with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
                await anonymous.ask(VIEWER)


async def test_a_bearer_beside_a_certificate_changes_nothing(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application, connection = await paired(started, admin, tmp_path / "app")
        token = await access_token(started, started.admin_secret)
        async with client(
            started.mtls_url, started.ca_pem, certificate=connection, Authorization=f"Bearer {token}"
        ) as app:
            assert await app.data(VIEWER) == {"viewer": {"id": application, "type": "APPLICATION"}}


async def test_revoking_refuses_the_certificate_on_the_open_connection_at_once(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        _, connection = await paired(started, admin, tmp_path / "app")
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            await app.data(VIEWER)
            assert await app.data("mutation { revokeCertificate }", path="/connector/graphql") == {
                "revokeCertificate": True
            }

            async def refused() -> bool:
                return (await app.ask(VIEWER)).status == 401

            took = await within(1.0, refused)
            reply = await app.ask("{ configuration { token { token } } }", path="/connector/graphql")

            assert took < 1.0
            assert reply.status == 401
            assert reply.error["message"] == "Unauthorized [reason=the certificate was revoked]"
            assert len(app.connections) == 1


async def test_every_replica_refuses_what_one_revoked_within_a_second(dsn: str, tmp_path: Path) -> None:
    config = settings(tmp_path, dsn)
    async with plane(config) as one, plane(config) as two, administrator(one) as admin:
        assert two.admin_secret is None
        assert two.ca_pem == one.ca_pem
        _, connection = await paired(one, admin, tmp_path / "app")
        async with (
            client(one.mtls_url, one.ca_pem, certificate=connection) as here,
            client(two.mtls_url, two.ca_pem, certificate=connection) as there,
        ):
            await there.data(VIEWER)
            await here.data("mutation { revokeCertificate }", path="/connector/graphql")

            async def refused() -> bool:
                return (await there.ask(VIEWER)).status == 401

            assert await within(1.0, refused) < 1.0
            assert len(there.connections) == 1
        async with administrator(two, one.admin_secret) as elsewhere:
            assert (await elsewhere.data(VIEWER))["viewer"]["type"] == "USER"


async def test_every_replica_tells_how_busy_each_is(dsn: str, tmp_path: Path) -> None:
    limited = replace(settings(tmp_path, dsn), limits=LimitSettings(connections=500))
    async with plane(settings(tmp_path, dsn)) as one, plane(limited) as two, administrator(one) as admin:
        _, connection = await paired(one, admin, tmp_path / "app")
        async with client(two.mtls_url, two.ca_pem, certificate=connection) as app:
            await app.data(VIEWER)
            logging.getLogger("compass.test").error("noted")
            said: dict[int, Any] = {}

            async def all_said() -> Any:
                for each in (await admin.data(BUSY))["system"]["replicas"]:
                    said[each["gauges"]["connections"]["of"]] = each["gauges"]
                return len(said) == 2 and all(each["errors"] and each["connections"]["used"] for each in said.values())

            await within(30.0, all_said)
        asked, used = said[8000], said[1000]
        assert used["connections"]["used"] == 1  # of the application, at the port for certificates
        for each in (asked, used):
            assert each["requestsPerMinute"] > 0
            assert 0 < each["requestMicroseconds"] <= each["slowestMicroseconds"]
            assert each["lastErrorAt"] is not None
            assert each["release"] == VERSION
            assert each["memoryMegabytes"] > 0
            assert (each["deliveries"], each["operations"]["of"]) == ({"used": 0, "of": 128}, 40)
            assert (each["reads"]["of"], each["searches"]["of"], each["writes"]["of"]) == (8, 4, 8)


async def test_a_deleted_system_auth_is_refused_on_the_open_connection(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        _, connection = await paired(started, admin, tmp_path / "app")
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            await app.data(VIEWER)
            await admin.data(
                "mutation ($id: ID!) { deleteSystemAuthForApplication(authID: $id) { id } }", id=connection.client_id
            )

            reply = await app.ask(VIEWER)

            assert (reply.status, reply.error["extensions"]["error_code"]) == (401, 26)
            assert len(app.connections) == 1


# --- bodies and methods over the wire ---


async def test_a_body_that_is_too_large_is_refused_without_being_kept(dsn: str, tmp_path: Path) -> None:
    config = replace(settings(tmp_path, dsn), limits=LimitSettings(max_request_bytes=100_000))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 1024 * 1024

    async with plane(config) as started, administrator(started) as admin:
        just_too_large = await admin.request("POST", "/director/graphql", data=b"x" * 100_001)
        began = time.monotonic()
        for body in (io.BytesIO(b"x" * 50 * 1024 * 1024), pieces()):
            try:
                reply = await admin.request("POST", "/director/graphql", data=body)
                assert reply.status == 413
            except aiohttp.ClientError:
                pass  # the plane hung up while we were still sending
        took = time.monotonic() - began
        assert (await admin.data(VIEWER))["viewer"]["id"] == "admin"

    assert just_too_large.status == 413
    assert just_too_large.error["extensions"]["error_code"] == 22
    assert took < 5.0


async def test_a_mutation_in_an_address_changes_nothing(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        reply = await admin.request("GET", "/director/graphql", params={"query": REGISTER})
        allowed = await admin.request("GET", "/director/graphql", params={"query": VIEWER})
        assert (await admin.data("{ applications { totalCount } }"))["applications"]["totalCount"] == 0

    assert reply.status == 422
    assert allowed.json["data"]["viewer"]["id"] == "admin"


# --- starts that cannot be, and further ones ---


@pytest.mark.parametrize("which", ["token_port", "mtls_port"])
async def test_a_taken_port_is_named_and_the_secret_is_not_lost(dsn: str, tmp_path: Path, which: str) -> None:
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    config = settings(tmp_path, dsn)
    try:
        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken"):
            async with plane(replace(config, listen=replace(config.listen, **{which: port}))):
                pytest.fail("it came up")
    finally:
        taken.close()
        await taken.wait_closed()

    async with plane(config) as started:
        assert started.admin_secret is not None


async def test_a_data_folder_that_cannot_be_made_is_named(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    for folder in (tmp_path / "data", tmp_path / "data" / "below"):
        with pytest.raises(FolderNotWritable, match=f"the folder {folder} cannot be used"):
            async with plane(replace(settings(tmp_path, dsn), data_folder=folder)):
                pytest.fail("it came up")


async def test_what_goes_wrong_while_it_is_up_is_raised_as_itself(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="ours"):
        async with plane(settings(tmp_path, dsn)):
            raise LookupError("ours")


async def test_the_tables_of_an_external_database_are_left_to_its_operator(empty_dsn: str, tmp_path: Path) -> None:
    with pytest.raises(Unprotected, match="run compass server migrate"):
        async with plane(settings(tmp_path, empty_dsn)):
            pytest.fail("it came up")

    assert await pending(empty_dsn) == sorted(path.stem for path in MIGRATIONS.glob("*.sql"))


async def test_a_plane_whose_own_database_ends_says_so_and_ends(tmp_path: Path) -> None:
    with pytest.raises(PostgresFailed, match="ended while the plane was up"):
        async with plane(settings(tmp_path, None)), asyncio.timeout(30):
            pid = (tmp_path / "data" / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
            os.kill(int(pid), signal.SIGKILL)
            await asyncio.get_running_loop().create_future()


async def test_background_work_that_fails_ends_the_plane_with_its_error() -> None:
    ended: list[str] = []

    async def failing() -> None:
        raise LookupError("gone")

    async def lasting() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("lasting")

    with pytest.raises(LookupError, match="gone"):
        async with _working([failing, lasting]):
            await asyncio.sleep(10)

    assert ended == ["lasting"]


async def test_a_second_start_finds_authority_data_and_clients_and_shows_no_secret(dsn: str, tmp_path: Path) -> None:
    config = settings(tmp_path, dsn)
    async with plane(config) as first, administrator(first) as admin:
        application, connection = await paired(first, admin, tmp_path / "app")

    async with plane(config) as second, administrator(second, first.admin_secret) as admin:
        assert second.admin_secret is None
        assert second.ca_pem == first.ca_pem
        assert (await admin.data("{ applications { totalCount } }"))["applications"]["totalCount"] == 1
        async with client(second.mtls_url, second.ca_pem, certificate=connection) as app:
            assert (await app.data(VIEWER))["viewer"]["id"] == application


async def test_no_secret_that_was_shown_is_kept_in_clear(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application, connection = await paired(started, admin, tmp_path / "app")
        token = (await admin.data(TOKEN, id=application))["result"]["token"]
        made = await admin.data(
            "mutation ($id: ID!) { result: requestClientCredentialsForApplication(id: $id) "
            "{ auth { credential { ... on OAuthCredentialData { clientSecret } } } } }",
            id=application,
        )
        secrets = [
            str(started.admin_secret),
            token,
            made["result"]["auth"]["credential"]["clientSecret"],
            "PRIVATE KEY",
            (connection.folder / "client.key").read_text().splitlines()[1],
        ]
        kept = await everything(dsn) + "".join(
            path.read_bytes().decode("latin-1") for path in (tmp_path / "data").rglob("*") if path.is_file()
        )

    assert TENANT in kept
    assert [secret for secret in secrets if secret in kept] == []


async def everything(dsn: str) -> str:
    """The text of every row of every table."""
    connection = await asyncpg.connect(dsn)
    try:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        texts = [
            await connection.fetchval(f"SELECT coalesce(string_agg(t::text, ''), '') FROM {row['relname']} t")
            for row in names
        ]
    finally:
        await connection.close()
    return "".join(texts)


async def test_background_work_outlives_a_database_that_lets_nobody_in(
    dsn: str, tmp_path: Path, cluster: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    name = urlsplit(dsn).path[1:]
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        await cluster.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        # Longer than the plane's own loops wait between two looks at the database.
        await asyncio.sleep(3)
        assert (await admin.request("GET", "/readyz")).status == 503
        await cluster.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        async def healed() -> bool:
            return (await admin.request("GET", "/readyz")).status == 200

        await within(10.0, healed)
        await admin.data(REGISTER)

        async def relayed() -> bool:
            return "ApplicationRegistered" in await relayed_events(dsn)

        await within(10.0, relayed)


async def relayed_events(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT name FROM outbox_event WHERE relayed_at IS NOT NULL")
    finally:
        await connection.close()
    return [row["name"] for row in rows]


@pytest.mark.timeout(120)
async def test_without_its_database_the_plane_refuses_and_it_heals_when_the_database_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "pg"
    async with asyncio.timeout(100):
        postgres = running(folder, settings={"fsync": "off"})
        dsn = await postgres.__aenter__()
        try:
            await migrate(dsn)
            async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
                application, connection = await paired(started, admin, tmp_path / "app")
                async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
                    await app.data(VIEWER)

                    await postgres.__aexit__(None, None, None)

                    for one in (admin, app):
                        for text in (VIEWER, REGISTER):
                            reply = await one.ask(text)
                            assert (reply.status, reply.error["message"]) == (503, UNREACHABLE)
                            assert reply.error["extensions"] == {"error": "OperationTimeout", "error_code": 28}
                    ready = await admin.request("GET", "/readyz")
                    alive = await admin.request("GET", "/livez")
                    assert (ready.status, alive.status) == (503, 200)
                    assert ready.text.startswith("the database does not answer")
                    # Longer than the plane's own loops wait between two looks at the database.
                    await asyncio.sleep(3)

                    postgres = running(folder, settings={"fsync": "off"})
                    assert await postgres.__aenter__() == dsn

                    async def healed() -> bool:
                        return (await admin.request("GET", "/readyz")).status == 200

                    await within(10.0, healed)
                    assert (await app.data(VIEWER))["viewer"]["id"] == application
                    assert (await admin.data("{ applications { totalCount } }"))["applications"]["totalCount"] == 1
                    await app.data("mutation { revokeCertificate }", path="/connector/graphql")

                    async def refused() -> bool:
                        return (await app.ask(VIEWER)).status == 401

                    await within(1.0, refused)
        finally:
            await postgres.__aexit__(None, None, None)


async def test_an_adapter_whose_templates_cannot_work_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    chosen = LandscapeSettings(kyma_adapter_url_template='{"method": "POST"}')
    wanted = replace(settings(tmp_path, None), landscape=chosen)

    with pytest.raises(SettingRefused, match=r"setting landscape\.kyma_adapter_url_template"):
        async with plane(wanted):
            pass

    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  # an empty folder of a test


async def test_a_client_certificate_that_cannot_be_read_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    chosen = OutboundSettings(
        client_certificate_file=tmp_path / "none.pem",
        client_key_file=tmp_path / "none.key",
        client_certificate_hosts=("*",),
    )
    wanted = replace(settings(tmp_path, None), outbound=chosen)

    with pytest.raises(
        SettingRefused, match=r"outbound\.client_certificate_file \(.*none\.pem\): the file cannot be read"
    ):
        async with plane(wanted):
            pass

    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  # an empty folder of a test


async def test_what_the_settings_hide_is_kept_from_runtimes(dsn: str, tmp_path: Path) -> None:
    chosen = LandscapeSettings(hidden_applications=("secret=s",))
    register = """mutation {
      createFormation(formation: {name: "g"}) { id }
      shown: registerApplication(in: {name: "shown", labels: {secret: "other"}}) { id }
      hidden: registerApplication(in: {name: "hidden", labels: {secret: "s"}}) { id }
      runtime: registerRuntime(in: {name: "kyma"}) { id }
    }"""
    assign = """mutation ($id: ID!, $type: FormationObjectType!) {
      assignFormation(objectID: $id, objectType: $type, formation: {name: "g"}) { id }
    }"""
    async with (
        plane(replace(settings(tmp_path, dsn), landscape=chosen)) as started,
        administrator(started, started.admin_secret) as admin,
    ):
        made = await admin.data(register)
        for name in ("shown", "hidden", "runtime"):
            kind = "RUNTIME" if name == "runtime" else "APPLICATION"
            await admin.data(assign, id=made[name]["id"], type=kind)
        seen = await admin.data(
            "query ($id: ID!) { applicationsForRuntime(runtimeID: $id) { data { name } totalCount } }",
            id=made["runtime"]["id"],
        )

    assert seen == {"applicationsForRuntime": {"data": [{"name": "mp-shown"}], "totalCount": 1}}


# --- certificates, as administrators and others see them ---

CERTIFICATES = "{ result: certificates { data { serial clientID state lastUsedAt revokedBy } } }"


def thief_of(connection: Connection, folder: Path) -> Connection:
    """Somebody else with a copy of the key and the certificate."""
    shutil.copytree(connection.folder, folder, symlinks=True)
    return Connection.read(folder)


async def test_a_thiefs_renewals_end_with_the_stolen_certificate_on_open_connections_too(
    dsn: str, tmp_path: Path
) -> None:
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        application, stolen = await paired(started, admin, tmp_path / "app")
        trust = Trust.to(started.ca_pem)
        second = await renew(thief_of(stolen, tmp_path / "thief"), trust=trust)
        third = await renew(second, trust=trust)
        async with (
            client(started.mtls_url, started.ca_pem, certificate=stolen) as owner,
            client(started.mtls_url, started.ca_pem, certificate=third) as thief,
        ):
            for each in (owner, thief):
                assert (await each.data(VIEWER))["viewer"]["id"] == application
            serial = x509.load_pem_x509_certificate((stolen.folder / "client.crt").read_bytes()).serial_number
            revoking = "mutation ($serial: String!) { result: revokeCertificates(serial: $serial) }"
            ended = await admin.data(revoking, path="/connector/graphql", serial=f"{serial:X}")

            async def refused() -> bool:
                return [(await each.ask(VIEWER)).status for each in (owner, thief)] == [401, 401]

            assert ended == {"result": 3}
            assert await within(1.0, refused) < 1.0
            assert len(thief.connections) == 1
        with pytest.raises(PlaneRefused, match="revoked"):
            await renew(third, trust=trust)
        shown = (await admin.data(CERTIFICATES, path="/connector/graphql"))["result"]["data"]
        assert {(one["clientID"], one["state"], one["revokedBy"]) for one in shown} == {
            (stolen.client_id, "REVOKED", "admin")
        }
        assert len(shown) == 3
        async with client(started.token_url, started.ca_pem) as anonymous:
            listed = x509.load_pem_x509_crl((await anonymous.request("GET", "/crl.pem")).text.encode())
            issuing = x509.load_pem_x509_certificate((await anonymous.request("GET", "/issuing.pem")).text.encode())
        assert {f"{entry.serial_number:x}" for entry in listed} == {one["serial"] for one in shown}
        issuer_key: Any = issuing.public_key()
        assert listed.is_signature_valid(issuer_key)


async def test_the_revocation_list_is_published_in_both_forms(dsn: str, tmp_path: Path) -> None:
    async with plane(settings(tmp_path, dsn)) as started, client(started.token_url, started.ca_pem) as anonymous:
        async with anonymous.session.get(f"{started.token_url}/crl.der") as answer:
            der = x509.load_der_x509_crl(await answer.read())
            content_type = answer.headers["content-type"]
        text = await anonymous.request("GET", "/crl.pem")
        posted = await anonymous.request("POST", "/crl.der")
    assert content_type.startswith("application/pkix-crl")
    assert x509.load_pem_x509_crl(text.text.encode()) == der
    assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD")


async def test_the_last_use_of_a_certificate_is_seen_by_the_administrator(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use, "WRITE_EVERY_SECONDS", 0.05)
    async with plane(settings(tmp_path, dsn)) as started, administrator(started) as admin:
        _, connection = await paired(started, admin, tmp_path / "app")

        async def last_used() -> Any:
            [one] = (await admin.data(CERTIFICATES, path="/connector/graphql"))["result"]["data"]
            return one["lastUsedAt"]

        assert await last_used() is None
        async with client(started.mtls_url, started.ca_pem, certificate=connection) as app:
            await app.data(VIEWER)
        await within(2.0, last_used)
