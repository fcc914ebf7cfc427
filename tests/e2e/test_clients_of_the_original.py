"""Clients written for the original Compass work here as they are."""

import base64
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.e2e.field import CONFIGURATION, SIGN, FieldClient, certificates, subject_parts
from tests.e2e.plane import DEFAULT_TENANT, DIRECTOR, Plane, Tables

TOKEN_REFUSED = {
    "message": "Failed to authenticate with one time token.",
    "path": ["result"],
    "extensions": {"error": "Unauthorized", "error_code": 26},
}
SYNCHRONIZATION = """query {
    result: applicationsForRuntime(runtimeID: "%s") {
        data {
            id
            name
            providerName
            description
            labels
            auths { id }
            bundles {
                data {
                    id
                    name
                    description
                    instanceAuthRequestInputSchema
                    apiDefinitions {
                        data {
                            id name description targetURL group
                            version { value deprecated deprecatedSince forRemoval }
                        }
                        pageInfo { startCursor endCursor hasNextPage }
                        totalCount
                    }
                    eventDefinitions {
                        data { id name description group version { value deprecated deprecatedSince forRemoval } }
                        pageInfo { startCursor endCursor hasNextPage }
                        totalCount
                    }
                    defaultInstanceAuth {
                        credential {
                            ... on BasicCredentialData { username password }
                            ... on OAuthCredentialData { clientId clientSecret url }
                        }
                        additionalHeaders
                        additionalQueryParams
                        requestAuth { csrf { tokenEndpointURL } }
                    }
                }
                pageInfo { startCursor endCursor hasNextPage }
                totalCount
            }
        }
        pageInfo { startCursor endCursor hasNextPage }
        totalCount
    }
    runtime: runtime(id: "%s") { labels }
}"""
LAST_PAGE = {"startCursor": "", "endCursor": "", "hasNextPage": False}
_numbers = count(1)


@pytest.fixture(scope="module")
def agent_key() -> rsa.RSAPrivateKey:
    """The real agent makes RSA keys of 4096 bits, whatever `keyAlgorithm` says."""
    return rsa.generate_private_key(public_exponent=65537, key_size=4096)


@pytest.fixture
def client(plane: Plane, tmp_path: Path) -> Callable[..., FieldClient]:
    """Makes clients; the key by keyword, otherwise a quick one."""

    def make(key: Any = None) -> FieldClient:
        return FieldClient(plane, tmp_path / f"client{next(_numbers)}", key or ec.generate_private_key(ec.SECP256R1()))

    return make


@pytest.fixture
async def runtime(plane: Plane) -> str:
    return await plane.runtime(f"edge-{next(_numbers)}")


@pytest.fixture
async def agent(plane: Plane, client: Callable[..., FieldClient], runtime: str) -> FieldClient:
    """A paired agent of `runtime`."""
    agent = client()
    await agent.pair(await plane.token(runtime=runtime))
    return agent


async def test_an_agent_with_a_4096_bit_key_pairs_by_its_own_documents(
    plane: Plane, runtime: str, client: Callable[..., FieldClient], agent_key: rsa.RSAPrivateKey
) -> None:
    agent, token = client(agent_key), await plane.token(runtime=runtime)

    configuration = await agent.configuration(token)

    known = await plane.ask("query ($id: ID!) { runtime(id: $id) { auths { id } } }", id=runtime)
    (auth,) = known["runtime"]["auths"]
    assert configuration["certificateSigningRequestInfo"] == {
        "subject": f"O=Org,OU=OrgUnit,L=locality,ST=province,C=DE,CN={auth['id']}",
        "keyAlgorithm": "rsa2048",
    }
    assert configuration["managementPlaneInfo"] == {
        "directorURL": f"{plane.mtls_url}/director/graphql",
        "certificateSecuredConnectorURL": f"{plane.mtls_url}/connector/graphql",
    }
    second = configuration["token"]["token"]
    assert len(second) == 88
    assert second != token

    csr = agent.csr(configuration["certificateSigningRequestInfo"]["subject"])
    signed = (await agent.call(SIGN % csr, token=second)).data["result"]

    assert set(signed) == {"certificateChain", "caCertificate", "clientCertificate"}
    chain, authority = certificates(signed["certificateChain"]), certificates(signed["caCertificate"])
    assert chain == certificates(signed["clientCertificate"]) + authority
    leaf, issuer = chain  # exactly two, the leaf first
    assert leaf.issuer == issuer.subject
    leaf.verify_directly_issued_by(issuer)
    assert _names(leaf) == subject_parts(configuration["certificateSigningRequestInfo"]["subject"])
    assert _public(leaf) == agent_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    validity = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert abs(validity - timedelta(hours=2160)) < timedelta(minutes=10)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def _names(certificate: x509.Certificate) -> dict[str, str]:
    short = {
        NameOID.COUNTRY_NAME: "C", NameOID.ORGANIZATION_NAME: "O", NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
        NameOID.LOCALITY_NAME: "L", NameOID.STATE_OR_PROVINCE_NAME: "ST", NameOID.COMMON_NAME: "CN",
    }  # fmt: skip
    assert len(list(certificate.subject)) == len(short)
    return {short[attribute.oid]: str(attribute.value) for attribute in certificate.subject}


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def test_a_used_token_is_refused_at_either_step_and_with_any_other_key(
    plane: Plane, runtime: str, client: Callable[..., FieldClient], tables: Tables
) -> None:
    agent, thief, token = client(), client(), await plane.token(runtime=runtime)
    configuration = await agent.configuration(token)
    subject, second = configuration["certificateSigningRequestInfo"]["subject"], configuration["token"]["token"]
    signed = (await agent.call(SIGN % agent.csr(subject), token=second)).data["result"]
    before = await tables.contents()

    for shown in (token, second):
        again = await agent.call(CONFIGURATION, token=shown)
        stolen = await thief.call(SIGN % thief.csr(subject), token=shown)
        assert (again.status, again.body) == (200, {"errors": [TOKEN_REFUSED], "data": None})
        assert (stolen.status, stolen.body) == (200, {"errors": [TOKEN_REFUSED], "data": None})

    after = await tables.contents()
    # That another key was shown is announced and recorded, once; nothing else changed.
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"one_time_token", "outbox_event", "audit_record"}
    told = "SELECT count(*) FROM outbox_event WHERE name = 'OneTimeTokenMisused'"
    assert await tables.value(told) == 1
    # A client whose reply was lost asks again, and strands nowhere. That it asked is recorded.
    await tables.settled()
    before = await tables.contents()
    assert (await agent.call(SIGN % agent.csr(subject), token=second)).data["result"] == signed
    after = await tables.contents()
    assert {name for name in before if before[name] != after[name]} == {"audit_record"}
    assert len(after["audit_record"]) == len(before["audit_record"]) + 1


async def test_the_token_may_come_in_the_query_of_the_url(
    plane: Plane, runtime: str, client: Callable[..., FieldClient]
) -> None:
    token = await plane.token(runtime=runtime)

    answer = await client().call(CONFIGURATION, path=f"/connector/graphql?token={token}")

    assert answer.data["result"]["token"]["token"]


async def test_an_agent_renews_over_its_certificate_and_the_old_one_stays_good(
    agent: FieldClient, plane: Plane, client: Callable[..., FieldClient]
) -> None:
    old = (agent.folder / "crtChain").read_bytes()
    configuration = await agent.configuration(None)
    subject = configuration["certificateSigningRequestInfo"]["subject"]
    assert configuration["managementPlaneInfo"]["directorURL"] == f"{plane.mtls_url}/director/graphql"
    newer = client()

    signed = (await agent.call(SIGN % newer.csr(subject), paired=True)).data["result"]

    newer.keep(signed)
    leaf, _ = certificates(signed["certificateChain"])
    assert _names(leaf) == _names(x509.load_pem_x509_certificate(old))
    assert _public(leaf) != _public(x509.load_pem_x509_certificate(old))
    for each in (agent, newer):
        assert (await each.director("{ viewer { id type } }")).data["viewer"]["type"] == "RUNTIME"


async def test_a_certificate_that_its_holder_revoked_is_refused_everywhere_with_its_renewals_and_its_sibling_is_not(
    agent: FieldClient, plane: Plane, runtime: str, client: Callable[..., FieldClient]
) -> None:
    configuration = await agent.configuration(None)
    renewed, sibling = client(), client()
    csr = renewed.csr(configuration["certificateSigningRequestInfo"]["subject"])
    renewed.keep((await agent.call(SIGN % csr, paired=True)).data["result"])
    await sibling.pair(await plane.token(runtime=runtime))

    assert (await agent.call("mutation { result: revokeCertificate }", paired=True)).data == {"result": True}

    for answer in (
        await agent.director("{ viewer { id } }"),
        await agent.call(CONFIGURATION, paired=True),
        await renewed.director("{ viewer { id } }"),
        await renewed.call(CONFIGURATION, paired=True),
    ):
        assert answer.status == 401
        assert answer.error["extensions"] == {"error": "Unauthorized", "error_code": 26}
        assert answer.error["message"] == "Unauthorized [reason=the certificate was revoked]"
    assert (await sibling.director("{ viewer { type } }")).data["viewer"] == {"type": "RUNTIME"}


async def test_the_agents_whole_query_is_answered_in_the_shape_it_decodes(
    plane: Plane, agent: FieldClient, runtime: str
) -> None:
    basic = '{credential: {basic: {username: "ada", password: "secret"}} additionalHeaders: {X: ["1", "2"]}}'
    oauth = '{credential: {oauth: {clientId: "id", clientSecret: "s", url: "https://auth.example/token"}}}'
    application = await _registered(
        plane,
        f"""registerApplication(in: {{
          name: "Orders & Returns!" providerName: "shop" description: "sells" labels: {{tier: ["gold"]}}
          bundles: [
            {{name: "basic" defaultInstanceAuth: {basic}
              apiDefinitions: [{{name: "orders" targetURL: "https://orders.example/v1" version: {{value: "1.2.3"}}}}]
              eventDefinitions: [{{name: "placed" description: "an order was placed"}}]}}
            {{name: "oauth" defaultInstanceAuth: {oauth}}}
            {{name: "open"}}
          ]
        }})""",
    )
    hidden = await plane.application("elsewhere")
    await plane.group("agents", applications=[application], runtimes=[runtime])

    request = {"Tenant": DEFAULT_TENANT, "x-request-id": f"{runtime}_{uuid.uuid4()}"}
    answer = await agent.director(SYNCHRONIZATION % (runtime, runtime), **request)

    assert answer.headers["x-request-id"] == request["x-request-id"]
    assert set(answer.data) == {"result", "runtime"}
    assert isinstance(answer.data["runtime"]["labels"], dict)
    page = answer.data["result"]
    assert (page["totalCount"], page["pageInfo"]) == (1, LAST_PAGE)
    (found,) = page["data"]
    assert hidden not in answer.text
    assert found["name"] == "mp-orders-returns"
    assert {key: found[key] for key in ("id", "providerName", "description", "auths")} == {
        "id": application, "providerName": "shop", "description": "sells", "auths": [],
    }  # fmt: skip
    assert found["labels"]["tier"] == ["gold"]
    assert found["labels"]["scenarios"] == ["agents"]
    bundles = {bundle["name"]: bundle for bundle in found["bundles"]["data"]}
    assert found["bundles"]["totalCount"] == 3
    assert bundles["basic"]["defaultInstanceAuth"] == {
        "credential": {"username": "ada", "password": "secret"},  # the agent tells the kinds apart by the fields alone
        "additionalHeaders": {"X": ["1", "2"]},
        "additionalQueryParams": None,
        "requestAuth": None,
    }
    assert bundles["oauth"]["defaultInstanceAuth"]["credential"] == {
        "clientId": "id", "clientSecret": "s", "url": "https://auth.example/token",
    }  # fmt: skip
    assert bundles["open"]["defaultInstanceAuth"] is None
    (api,) = bundles["basic"]["apiDefinitions"]["data"]
    assert {key: value for key, value in api.items() if key != "id"} == {
        "name": "orders", "description": None, "targetURL": "https://orders.example/v1", "group": None,
        "version": {"value": "1.2.3", "deprecated": False, "deprecatedSince": None, "forRemoval": False},
    }  # fmt: skip
    (event,) = bundles["basic"]["eventDefinitions"]["data"]
    assert (event["name"], event["description"], event["version"]) == ("placed", "an order was placed", None)
    for empty in ("apiDefinitions", "eventDefinitions"):
        assert bundles["open"][empty] == {"data": [], "pageInfo": LAST_PAGE, "totalCount": 0}


async def _registered(plane: Plane, mutation: str) -> str:
    return str((await plane.post("mutation { result: %s { id } }" % mutation)).data["result"]["id"])


async def test_an_application_is_named_with_its_prefix_once_and_not_at_all_for_a_runtime_that_takes_raw_names(
    plane: Plane, agent: FieldClient, runtime: str
) -> None:
    application = await plane.application("mp-already")
    await plane.group("names", applications=[application], runtimes=[runtime])
    names = "query { result: applicationsForRuntime(runtimeID: %s) { data { name } } }" % json.dumps(runtime)

    assert (await agent.director(names)).data["result"]["data"] == [{"name": "mp-already"}]

    shouting = await plane.application("SHOUT it")
    await plane.post(
        'mutation { assignFormation(objectID: %s objectType: APPLICATION formation: {name: "names"}) { id } }'
        % json.dumps(shouting)
    )
    label = 'mutation { setRuntimeLabel(runtimeID: "%s" key: "isNormalized" value: "false") { key } }'
    await plane.post(label % runtime)
    raw = (await agent.director(names)).data["result"]["data"]
    assert sorted(entry["name"] for entry in raw) == ["SHOUT it", "mp-already"]


async def test_labels_are_set_without_alias_and_without_commas(agent: FieldClient, runtime: str) -> None:
    url = "https://gateway.kyma.local"
    mutation = (
        'mutation {\n setRuntimeLabel(runtimeID: "%s" key: "runtime_eventServiceUrl" value: "%s") {\n key value }\n}'
    )

    answer = await agent.director(mutation % (runtime, url), Tenant=DEFAULT_TENANT)

    assert answer.body == {"data": {"setRuntimeLabel": {"key": "runtime_eventServiceUrl", "value": url}}}
    labels = (await agent.director('query { result: runtime(id: "%s") { labels } }' % runtime)).data["result"]["labels"]
    assert labels["runtime_eventServiceUrl"] == url


async def test_a_paired_client_works_in_its_own_tenant_whether_it_names_it_or_not_and_in_no_other(
    plane: Plane, agent: FieldClient, tables: Tables, runtime: str
) -> None:
    other = str(uuid.uuid4())
    await plane.post(
        'mutation { writeTenant(in: {name: "other" externalTenant: "%s" type: "account" provider: "test"}) }' % other
    )
    question = 'query { result: runtime(id: "%s") { id } }' % runtime
    for headers in (
        {},
        {"Tenant": DEFAULT_TENANT},
        {"tenant": DEFAULT_TENANT},
        {"TENANT": DEFAULT_TENANT},
        {"Tenant": ""},
    ):
        assert (await agent.director(question, **headers)).data == {"result": {"id": runtime}}
    before = await tables.contents()

    for foreign in (other, str(uuid.uuid4())):
        answer = await agent.director(
            'mutation { setRuntimeLabel(runtimeID: "%s" key: "a" value: "b") { key } }' % runtime, Tenant=foreign
        )
        assert answer.status == 400
        assert answer.body == {
            "errors": [
                {
                    "message": f"Tenant not found [externalTenant={foreign}]",
                    "extensions": {"error": "TenantNotFound", "error_code": 25},
                }
            ],
            "data": None,
        }
    assert await tables.contents() == before


ALL_OF_A_TOKEN = """mutation { result: requestOneTimeTokenForApplication(id: "%s") {
  token connectorURL legacyConnectorURL used expiresAt createdAt usedAt type raw rawEncoded scenarioGroups } }"""


@pytest.mark.parametrize("suggest", [None, "true"])
async def test_a_token_comes_in_every_shape_that_people_paste(
    plane: Plane, client: Callable[..., FieldClient], suggest: str | None
) -> None:
    application = await plane.application(f"pasted-{suggest}")
    headers = {"scenario_groups": "one, two"} | ({} if suggest is None else {"suggest_token": suggest})

    token = (await plane.post(ALL_OF_A_TOKEN % application, headers=headers)).data["result"]

    raw = json.loads(token["raw"])
    assert list(raw) == [
        "token", "connectorURL", "used", "expiresAt", "createdAt", "usedAt", "type", "scenario_groups",
    ]  # fmt: skip
    assert base64.b64decode(token["rawEncoded"]).decode() == token["raw"]
    assert token["token"] == (raw["token"] if suggest is None else token["rawEncoded"])
    assert len(raw["token"]) == 88
    assert token["legacyConnectorURL"] == f"{plane.token_url}/v1/applications/signingRequests/info?token={raw['token']}"
    assert token["connectorURL"] == raw["connectorURL"] == f"{plane.token_url}/connector/graphql"
    assert (token["used"], token["type"], token["scenarioGroups"]) == (False, "Application", ["one", "two"])
    assert raw["scenario_groups"] == ["one", "two"]
    await client().pair(raw["token"])  # what is inside is the token itself, whatever it is wrapped in


async def test_the_suggestion_for_a_legacy_application_is_its_legacy_address(plane: Plane) -> None:
    application = await _registered(plane, 'registerApplication(in: {name: "old" labels: {legacy: true}})')

    token = (await plane.post(ALL_OF_A_TOKEN % application, headers={"suggest_token": "true"})).data["result"]

    assert token["token"] == token["legacyConnectorURL"]


async def test_a_provisioner_elsewhere_registers_updates_and_pairs_a_runtime_as_it_always_did(
    plane: Plane, client: Callable[..., FieldClient]
) -> None:
    system = await _registered(plane, 'registerIntegrationSystem(in: {name: "kcp-provisioner"})')
    credential = (
        await plane.post(
            'mutation { result: requestClientCredentialsForIntegrationSystem(id: "%s") { auth { credential {'
            " ... on OAuthCredentialData { clientId clientSecret url } } } } }" % system
        )
    ).data["result"]["auth"]["credential"]
    basic = base64.b64encode(f"{credential['clientId']}:{credential['clientSecret']}".encode()).decode()
    granted = await plane.send(
        credential["url"].removeprefix(plane.token_url),
        {"grant_type": "client_credentials", "scope": "runtime:read runtime:write"},
        {"Authorization": f"Basic {basic}"},
    )
    headers = {"Authorization": f"Bearer {granted.body['access_token']}", "Tenant": DEFAULT_TENANT}
    provisioner = client()

    async def call(document: str) -> Any:
        return (await provisioner.call(document, path=DIRECTOR, headers=headers)).data["result"]

    registered = await call(
        'mutation { result: registerRuntime(in: { name: "shoot" description: "made" labels: {a: "b",} }) { id } }'
    )
    known = await call('query { result: runtime(id: "%s") { id name description labels } }' % registered["id"])
    assert known["labels"] == {"a": "b", "isNormalized": "true", "runtimeType": "kyma"}
    # It sends back every label it read, the plane's own among them.
    labels = "".join(f'{key}: "{value}" ' for key, value in known["labels"].items())
    await call(
        'mutation { result: updateRuntime(id: "%s" in: { name: "shoot" description: "made"'
        ' labels: {%s gardenerClusterName: "c1"} statusCondition: PROVISIONING }) { id } }' % (registered["id"], labels)
    )
    token = await call(
        'mutation { result: requestOneTimeTokenForRuntime(id: "%s") { token connectorURL } }' % registered["id"]
    )
    assert token["connectorURL"] == f"{plane.token_url}/connector/graphql"
    agent = client()
    await agent.pair(token["token"])
    status = 'query { result: runtime(id: "%s") { labels status { condition } } }' % registered["id"]
    assert (await agent.director(status)).data["result"]["status"] == {"condition": "CONNECTED"}
    assert (await call(status))["labels"] == known["labels"] | {"gardenerClusterName": "c1"}
    # Its scopes are what it asked for: nothing of applications.
    refused = await provisioner.call("{ applications { totalCount } }", path=DIRECTOR, headers=headers)
    assert refused.error["extensions"] == {"error": "InsufficientScopes", "error_code": 23}
