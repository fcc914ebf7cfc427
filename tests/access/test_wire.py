# Documents stand on one line, as they are sent.
"""Who is asking, over the wire: the whole plane, both listeners, real TLS, a real provider of sign-on."""

import asyncio
import base64
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from compass.access.tokens import thumbprint
from compass.agent.pair import pair
from compass.app import Started, plane
from compass.client.graphql import Trust
from compass.connector.certificate import fingerprint
from compass.settings import (
    ExternalCertificateSettings,
    OidcSettings,
    OutboundSettings,
    SettingRefused,
    Settings,
)
from tests.test_app import TENANT, TOKEN, VIEWER, Client, Reply, administrator, client, paired
from tests.test_app import settings as usual

from .fake_provider import AUDIENCE, OTHER_RSA, FakeProvider, answer, fake_provider
from .foreign import BROKER_TEXT, ForeignAuthority, Leaf

MAP = """
mutation ($kind: String!, $consumer: String, $levels: [String!]!) {
  result: createCertificateSubjectMapping(in: {
    subject: "%s", consumerType: $kind, internalConsumerID: $consumer, tenantAccessLevels: $levels
  }) { id }
}
""" % BROKER_TEXT.replace("\\", "\\\\")
UNMAP = "mutation ($id: ID!) { deleteCertificateSubjectMapping(id: $id) { id } }"
APPLICATIONS = "{ applications { totalCount } }"
SECRET = """
mutation ($id: ID!) {
  result: requestClientCredentialsForApplication(id: $id) {
    auth { credential { ... on OAuthCredentialData { clientId clientSecret } } }
  }
}
"""
INVALID = "Unauthorized [reason=invalid bearer token]"


@dataclass(frozen=True)
class Shown:
    """A certificate on disk, as a paired client has it."""

    folder: Path


def on_disk(leaf: Leaf, folder: Path) -> Any:
    folder.mkdir(parents=True)
    (folder / "chain.crt").write_text(leaf.pem)
    (folder / "client.key").write_text(leaf.key_pem)
    (folder / "client.key").chmod(0o600)
    return Shown(folder)


def trusting(folder: Path, dsn: str, *others: ForeignAuthority) -> Settings:
    file = folder / "others.pem"
    file.write_bytes(b"".join(one.pem for one in others))
    return replace(usual(folder, dsn), external_certificates=ExternalCertificateSettings(ca_file=file))


async def status(where: Client, text: str = VIEWER, **more: Any) -> tuple[int, str]:
    reply = await where.ask(text, **more)
    return reply.status, reply.error["message"] if "errors" in reply.json else ""


async def access_token(where: Client, **form: str) -> Reply:
    return await where.request("POST", "/oauth2/token", data={"grant_type": "client_credentials", **form})


def claims(token: str) -> Any:
    return orjson.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


# --- certificates of other authorities ---


async def test_a_certificate_of_another_authority_speaks_for_whom_it_is_mapped_to(dsn: str, tmp_path: Path) -> None:
    authority = ForeignAuthority()
    async with plane(trusting(tmp_path, dsn, authority)) as started, administrator(started) as admin:
        application, _ = await paired(started, admin, tmp_path / "app")
        shown = on_disk(authority.issue(), tmp_path / "broker")
        async with client(started.mtls_url, started.ca_pem, certificate=shown) as broker:
            refused = "Unauthorized [reason=the certificate belongs to nobody]"
            assert await status(broker) == (401, refused)

            made = await admin.data(MAP, kind="External Certificate", consumer="b", levels=["account"])
            seen = await broker.ask(APPLICATIONS, headers={"Tenant": TENANT})
            assert seen.json == {"data": {"applications": {"totalCount": 1}}}
            assert await status(broker) == (400, "Tenant is required")
            assert (await status(broker, "{ formations { totalCount } }", headers={"Tenant": TENANT}))[1].startswith(
                "insufficient scopes provided"
            )
            # The Connector is for those whom the plane gave a certificate.
            for text in ("{ configuration { token { token } } }", "mutation { revokeCertificate }"):
                assert (await status(broker, text, path="/connector/graphql"))[0] == 401

            await admin.data(UNMAP, id=made["result"]["id"])
            assert await status(broker, APPLICATIONS, headers={"Tenant": TENANT}) == (401, refused)

            await admin.data(MAP, kind="Application", consumer=application, levels=["account"])
            assert await broker.data(VIEWER) == {"viewer": {"id": application, "type": "APPLICATION"}}
            shown_of = "query ($id: ID!) { application(id: $id) { status { condition } } }"
            assert (await admin.data(shown_of, id=application))["application"]["status"]["condition"] == "CONNECTED"


async def test_the_viewer_of_another_kind_than_the_contract_has_is_refused(dsn: str, tmp_path: Path) -> None:
    authority = ForeignAuthority()
    async with plane(trusting(tmp_path, dsn, authority)) as started, administrator(started) as admin:
        await admin.data(MAP, kind="Super Admin", consumer="b", levels=["global"])
        shown = on_disk(authority.issue(), tmp_path / "broker")
        async with client(started.mtls_url, started.ca_pem, certificate=shown) as broker:
            reply = await broker.ask(VIEWER)
            assert (reply.status, reply.error["extensions"]["error_code"]) == (200, 10)
            assert "tenants" in await broker.data("{ tenants { totalCount } }")


async def test_an_authority_that_calls_itself_as_ours_gets_nobody_in(dsn: str, tmp_path: Path) -> None:
    namesake = ForeignAuthority((("C", "DE"), ("O", "Org"), ("CN", "Compass Issuing CA")))
    async with plane(trusting(tmp_path, dsn, namesake)) as started, administrator(started) as admin:
        _, connection = await paired(started, admin, tmp_path / "app")
        own = x509.load_pem_x509_certificate((connection.folder / "chain.crt").read_bytes())
        assert own.issuer == namesake.name
        parts = [(attribute.rfc4514_attribute_name, str(attribute.value)) for attribute in own.subject]
        shown = on_disk(namesake.issue(parts), tmp_path / "thief")
        async with (
            client(started.mtls_url, started.ca_pem, certificate=shown) as thief,
            client(started.mtls_url, started.ca_pem, certificate=connection) as owner,
        ):
            assert await status(thief) == (401, "Unauthorized [reason=the certificate belongs to nobody]")
            assert (await access_token(thief)).status == 401
            assert (await status(thief, "{ configuration { token { token } } }", path="/connector/graphql"))[0] == 401
            assert (await status(owner))[0] == 200
            # And one of ours is revoked as ever.
            assert (await owner.ask("mutation { revokeCertificate }", path="/connector/graphql")).status == 200
            async with asyncio.timeout(30):
                while (await status(owner))[0] != 401:
                    await asyncio.sleep(0.02)


async def test_a_certificate_ends_also_on_a_connection_that_is_open(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = ForeignAuthority()
    async with plane(trusting(tmp_path, dsn, authority)) as started, administrator(started) as admin:
        await admin.data(MAP, kind="Static User", consumer="b", levels=["global"])
        _, mine = await paired(started, admin, tmp_path / "mine")
        shown = on_disk(authority.issue(), tmp_path / "broker")
        async with (
            client(started.mtls_url, started.ca_pem, certificate=shown) as broker,
            client(started.mtls_url, started.ca_pem, certificate=mine) as owner,
        ):
            for where in (broker, owner):
                assert (await status(where))[0] == 200
            later = datetime.now(UTC) + timedelta(days=100)
            monkeypatch.setattr("compass.access.external._now", lambda: later)
            for where in (broker, owner):
                assert await status(where) == (401, "Unauthorized [reason=the certificate is over]")
                assert (await access_token(where)).status == 401
                assert len(where.connections) == 1
            assert (await status(owner, "{ configuration { token { token } } }", path="/connector/graphql"))[0] == 401


async def test_who_is_put_on_its_authoritys_list_is_refused_also_on_a_connection_that_is_open(
    dsn: str, tmp_path: Path
) -> None:
    authority, leaf = ForeignAuthority(), (held := ForeignAuthority()).issue()
    trusted, file = trusting(tmp_path, dsn, authority, held), tmp_path / "held.crl"
    file.write_bytes(held.revoke())
    lists = replace(trusted.external_certificates, revocation_lists=(f"sha256:{held.pin}={file}",))
    seen = "{ system { revocationLists { authority source revoked isGood problem } } }"
    async with (
        plane(replace(trusted, external_certificates=lists)) as started,
        administrator(started) as admin,
        client(started.mtls_url, started.ca_pem, certificate=on_disk(leaf, tmp_path / "held")) as broker,
        client(started.mtls_url, started.ca_pem, certificate=on_disk(authority.issue(), tmp_path / "other")) as other,
    ):
        await admin.data(MAP, kind="Static User", consumer="b", levels=["global"])
        application, _ = await paired(started, admin, tmp_path / "app")
        credential = (await admin.data(SECRET, id=application))["result"]["auth"]["credential"]
        secret = {"client_id": credential["clientId"], "client_secret": credential["clientSecret"]}
        bound = {"Authorization": f"Bearer {(await access_token(broker, **secret)).json['access_token']}"}
        assert [(await status(broker))[0], (await status(broker, headers=bound))[0]] == [200, 200]

        file.write_bytes(held.revoke(x509.load_der_x509_certificate(leaf.der).serial_number))
        async with asyncio.timeout(30):
            while (await status(broker))[0] == 200:
                await asyncio.sleep(0.02)
        for headers in ({}, bound):
            assert await status(broker, headers=headers) == (401, "Unauthorized [reason=the certificate was revoked]")
        assert (await access_token(broker, **secret)).status == 401
        assert len(broker.connections) == 1
        assert (await status(other))[0] == 200
        known = {"authority": "CN=Example Issuing,O=Example", "source": str(file), "isGood": True, "problem": ""}
        assert (await admin.data(seen))["system"]["revocationLists"] == [{**known, "revoked": 1}]

    file.unlink()
    async with (
        plane(replace(trusted, external_certificates=lists)) as started,
        client(started.mtls_url, started.ca_pem, certificate=on_disk(leaf, tmp_path / "again")) as broker,
    ):
        reply = await broker.ask(VIEWER)
        assert (reply.status, reply.error["message"]) == (
            503,
            "it cannot be known whether the certificate was revoked; try again later",
        )


async def test_the_listener_lets_in_only_what_a_trusted_authority_signed_for_a_client(dsn: str, tmp_path: Path) -> None:
    authority, stranger = ForeignAuthority(), ForeignAuthority()
    wrong = {
        "a stranger's": stranger.issue(),
        "over": authority.issue(ends=timedelta(hours=-1)),
        "a server's": authority.issue(purpose=ExtendedKeyUsageOID.SERVER_AUTH),
    }
    async with plane(trusting(tmp_path, dsn, authority)) as started:
        for name, leaf in wrong.items():
            shown = on_disk(leaf, tmp_path / name)
            async with client(started.mtls_url, started.ca_pem, certificate=shown) as nobody:
                with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
                    await nobody.ask(VIEWER)
    async with plane(usual(tmp_path, dsn)) as started:
        shown = on_disk(authority.issue(), tmp_path / "no longer trusted")
        async with client(started.mtls_url, started.ca_pem, certificate=shown) as nobody:
            with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
                await nobody.ask(VIEWER)


# --- tokens that are bound to a certificate ---


async def test_a_token_asked_for_with_a_certificate_is_good_with_that_certificate_only(
    dsn: str, tmp_path: Path
) -> None:
    async with plane(usual(tmp_path, dsn)) as started, administrator(started) as admin:
        application, mine = await paired(started, admin, tmp_path / "mine")
        credential = (await admin.data(SECRET, id=application))["result"]["auth"]["credential"]
        secret = {"client_id": credential["clientId"], "client_secret": credential["clientSecret"]}
        register = 'mutation { result: registerApplication(in: {name: "other"}) { id } }'
        other_application = (await admin.data(register))["result"]["id"]
        other = await _pair(started, admin, other_application, tmp_path / "other")
        own = fingerprint(ssl.PEM_cert_to_DER_cert((mine.folder / "client.crt").read_text()))
        async with (
            client(started.mtls_url, started.ca_pem, certificate=mine) as with_mine,
            client(started.mtls_url, started.ca_pem, certificate=other) as with_other,
            client(started.token_url, started.ca_pem) as without,
        ):
            by_secret = await access_token(with_mine, scope="application:read", **secret)
            by_certificate = await access_token(with_mine, scope="application:read")
            unbound = await access_token(without, **secret)
            assert (by_secret.status, by_certificate.status, unbound.status) == (200, 200, 200)
            assert (await access_token(with_mine, client_id=credential["clientId"])).status == 401
            assert (await access_token(with_mine, client_secret="x", client_id=credential["clientId"])).status == 401
            for bound in (by_secret, by_certificate):
                token = bound.json["access_token"]
                assert claims(token)["cnf"] == {"x5t#S256": thumbprint(own)}
                header = {"Authorization": f"Bearer {token}"}
                assert await with_mine.data(VIEWER, headers=header) == {
                    "viewer": {"id": application, "type": "APPLICATION"}
                }
                # Its scopes hold, and not those of the certificate.
                denied = await status(
                    with_mine, 'mutation { registerApplication(in: {name: "x"}) { id } }', headers=header
                )
                assert denied[1].startswith("insufficient scopes provided [actual=application:read;")
                for elsewhere in (with_other, without):
                    assert await status(elsewhere, headers=header) == (401, INVALID)
            assert "cnf" not in claims(unbound.json["access_token"])
            # A token that is bound to nothing is nothing where a certificate decides.
            header = {"Authorization": f"Bearer {unbound.json['access_token']}"}
            assert (await with_other.data(VIEWER, headers=header))["viewer"]["id"] == other_application

            assert (await with_mine.ask("mutation { revokeCertificate }", path="/connector/graphql")).status == 200
            async with asyncio.timeout(30):
                while (await status(with_mine))[0] != 401:
                    await asyncio.sleep(0.02)
            for bound in (by_secret, by_certificate):
                header = {"Authorization": f"Bearer {bound.json['access_token']}"}
                assert (await status(with_mine, headers=header))[0] == 401
            assert (await access_token(with_mine, **secret)).status == 401
            assert (await access_token(with_mine)).status == 401


async def _pair(started: Started, admin: Client, application: str, folder: Path) -> Any:
    token = (await admin.data(TOKEN, id=application))["result"]
    return await pair(folder, connector_url=token["connectorURL"], token=token["token"], trust=Trust.to(started.ca_pem))


# --- single sign-on ---


@asynccontextmanager
async def signing_on(dsn: str, folder: Path) -> AsyncIterator[tuple[FakeProvider, Settings]]:
    async with fake_provider(folder / "provider") as fake:
        yield (
            fake,
            replace(
                usual(folder, dsn),
                outbound=OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),), ca_file=fake.ca_file),
                oidc=OidcSettings(
                    issuers=(fake.issuer,),
                    audience=AUDIENCE,
                    scopes=("people=operator", "chiefs=admin"),
                    tenants=(f"people={TENANT}", "chiefs=*"),
                ),
            ),
        )


async def test_people_sign_on_with_tokens_of_the_provider(dsn: str, tmp_path: Path) -> None:
    async with (
        signing_on(dsn, tmp_path) as (fake, chosen),
        plane(chosen) as started,
        client(started.token_url, started.ca_pem) as anybody,
    ):
        headers = {"Authorization": f"Bearer {fake.token()}", "Tenant": TENANT}
        assert await anybody.data(VIEWER, headers=headers) == {"viewer": {"id": f"{fake.issuer}#ann", "type": "USER"}}
        assert (await anybody.data(APPLICATIONS, headers=headers))["applications"]["totalCount"] == 0
        register = 'mutation { registerApplication(in: {name: "x"}) { id } }'
        assert (await status(anybody, register, headers=headers))[1].startswith("insufficient scopes provided")
        chief = {"Authorization": f"Bearer {fake.token(groups=['chiefs'])}", "Tenant": TENANT}
        assert (await status(anybody, register, headers=chief)) == (200, "")
        wrong = [fake.token(key=OTHER_RSA), fake.token(aud="other"), fake.token(exp=1), fake.token(iss="x")]
        bodies = set()
        for token in wrong:
            reply = await anybody.ask(VIEWER, headers={"Authorization": f"Bearer {token}", "Tenant": TENANT})
            bodies.add((reply.status, reply.text))
        assert [status for status, _ in bodies] == [401]
        assert INVALID in bodies.pop()[1]


async def test_a_plane_starts_while_the_provider_is_away_and_says_so_to_its_people_only(
    dsn: str, tmp_path: Path
) -> None:
    async with signing_on(dsn, tmp_path) as (fake, chosen):
        fake.answers["/realm/.well-known/openid-configuration"] = answer({}, "503 Service Unavailable")
        async with plane(chosen) as started, administrator(started) as admin:
            assert (await status(admin))[0] == 200
            headers = {"Authorization": f"Bearer {fake.token()}"}
            said = (503, "the identity provider cannot be reached to check the token; try again in a moment")
            assert await status(admin, headers=headers) == said


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("oidc.scopes", {"oidc": OidcSettings(issuers=("https://a.example",), scopes=("g=nothing:read",))}),
        (
            "external_certificates.ca_file",
            {"external_certificates": ExternalCertificateSettings(ca_file=Path("/none"))},
        ),
        ("external_certificates.scopes", {"external_certificates": ExternalCertificateSettings(scopes=("X=a:read",))}),
    ],
)
async def test_a_plane_does_not_start_with_settings_that_mean_nothing(
    dsn: str, tmp_path: Path, setting: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(SettingRefused) as refused:
        async with plane(replace(usual(tmp_path, dsn), **changes)):
            pass
    assert refused.value.facts["setting"] == setting


# --- headers ---

IDENTITY_HEADERS = {
    "Certificate-Data": 'By=x;Hash={hash};Subject="CN={name},OU=OrgUnit,O=Org,L=locality,ST=province,C=DE";URI=',
    "X-Forwarded-Client-Cert": 'By=x;Hash={hash};Subject="CN={name},OU=OrgUnit,O=Org,L=locality,ST=province,C=DE";URI=',
    "Client-Id-From-Certificate": "{name}",
    "Client-Id-From-Token": "{name}",
    "Client-Certificate-Hash": "{hash}",
    "Client-Certificate-Issuer": "connector",
    "Subject-From-Certificate": "CN={name}",
    "X-Flow-Identity": "Super Admin",
    "X-Forwarded-For": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;proto=https",
    "X-SSL-Client-Cert": "{name}",
    "SSL-Client-S-DN": "CN={name}",
    "X-Remote-User": "admin",
    "Remote-User": "admin",
    "X-Forwarded-User": "admin",
    "X-Authenticated-Userid": "admin",
}
SPELLINGS = ("as it is", "in capitals", "with underscores", "twice", "joined by a comma", "with a blank", "trailing")


def spelled(name: str, value: str, spelling: str) -> tuple[bytes, bytes]:
    """What stands in the head, and what in the trailer."""
    line = f"{name}: {value}\r\n"
    match spelling:
        case "in capitals":
            line = f"{name.upper()}: {value}\r\n"
        case "with underscores":
            line = f"{name.replace('-', '_')}: {value}\r\n"
        case "twice":
            line = f"{name}: nobody\r\n{name.lower()}: {value}\r\n"
        case "joined by a comma":
            line = f"{name}: nobody,{value}\r\n"
        case "with a blank":
            line = f"{name} : {value}\r\n"
        case "trailing":
            return b"", line.encode()
        case _:
            pass
    return line.encode(), b""


async def raw(url: str, context: ssl.SSLContext, head: bytes, trailer: bytes) -> tuple[int, bytes]:
    """Status and body of one request that is written by hand."""
    where = urlsplit(url)
    assert where.hostname is not None
    reader, writer = await asyncio.open_connection(where.hostname, where.port, ssl=context)
    body = orjson.dumps({"query": VIEWER})
    try:
        writer.write(
            b"POST /director/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n" + head + b"\r\n"
            b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer)
        )
        text = await reader.read()
    finally:
        writer.close()
    first, _, rest = text.partition(b"\r\n\r\n")
    return int(first.split(b" ")[1]), rest


async def test_no_header_in_any_spelling_changes_who_is_asking(
    dsn: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with plane(usual(tmp_path, dsn)) as started, administrator(started) as admin:
        application, mine = await paired(started, admin, tmp_path / "mine")
        register = 'mutation { result: registerApplication(in: {name: "other"}) { id } }'
        victim = await _pair(started, admin, (await admin.data(register))["result"]["id"], tmp_path / "other")
        stolen = x509.load_pem_x509_certificate((victim.folder / "chain.crt").read_bytes())
        der = ssl.PEM_cert_to_DER_cert((victim.folder / "client.crt").read_text())
        facts = {
            "name": str(stolen.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value),
            "hash": fingerprint(der),
        }
        plain = ssl.create_default_context(cadata=started.ca_pem)
        mutual = ssl.create_default_context(cadata=started.ca_pem)
        mutual.load_cert_chain(mine.folder / "chain.crt", mine.folder / "client.key")
        listeners = {
            "token": (started.token_url, plain, 400, INVALID.encode()),
            "mutual": (started.mtls_url, mutual, 200, application.encode()),
        }
        changed = []
        every = list(itertools.product(listeners.items(), IDENTITY_HEADERS.items(), SPELLINGS))
        # A step that shares no factor with the lengths meets every header and every spelling on both listeners.
        cases = every if os.environ.get("COMPASS_PROOF") else every[::3]
        for (listener, (url, context, expected, told)), (name, value), spelling in cases:
            got, body = await raw(url, context, *spelled(name, value.format(**facts), spelling))
            # A head that breaks the rules of HTTP is refused whole, before anybody is looked up.
            as_ever = got == expected and told in body and facts["name"].encode() not in body
            if not as_ever and not (spelling == "with a blank" and got == 400 and b"data" not in body):
                changed.append((listener, name, spelling, got, body))
        assert changed == []
        record_property("cases", len(cases))


# --- what a browser sends by itself ---


async def test_only_a_json_post_changes_anything_from_whatever_page_it_comes(dsn: str, tmp_path: Path) -> None:
    """Source: design/guarantees.md A19."""
    async with plane(usual(tmp_path, dsn)) as started, administrator(started) as admin:
        methods = ("GET", "POST", "PUT", "DELETE", "HEAD")
        kinds = (
            "application/json",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        )
        origins = ("https://evil.example", "null", started.token_url)
        changes = 'mutation { result: registerApplication(in: {name: "by %s"}) { id } }'
        changed: list[tuple[str, str]] = []
        shared: list[str] = []
        for number, (method, kind, origin) in enumerate(itertools.product(methods, kinds, origins)):
            text = changes % number
            reply = await admin.request(
                method,
                "/director/graphql",
                params={"query": text} if method in ("GET", "HEAD") else None,
                data=None if method in ("GET", "HEAD") else orjson.dumps({"query": text}),
                headers={"Content-Type": kind, "Origin": origin},
            )
            shared += [name for name in reply.headers if name.lower().startswith("access-control")]
            if (await admin.data(APPLICATIONS))["applications"]["totalCount"] > len(changed):
                changed.append((method, kind))
        assert changed == [("POST", "application/json")] * len(origins)
        assert shared == []
        preflight = await admin.request(
            "OPTIONS",
            "/director/graphql",
            headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
        )
        assert [name for name in preflight.headers if name.lower().startswith("access-control")] == []
