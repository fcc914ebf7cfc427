"""The Connector through its own API, on a real database with a real authority; the network in front is left out."""

import asyncio
import base64
import hashlib
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from compass.access.caller import Caller, Consumer, Flow
from compass.api.request import Endpoint
from compass.app import connector_surface
from compass.connector import one_time_token
from compass.connector.authority import Authority
from compass.connector.one_time_token import Purpose
from compass.connector.urls import PublicUrls
from compass.ids import SystemAuthId, TenantId
from compass.postgres.pool import Database
from compass.settings import LandscapeSettings, TokenSettings
from tests.director.catalogue import counted

CONFIGURATION = """
{ result: configuration {
  token { token } certificateSigningRequestInfo { subject keyAlgorithm }
  managementPlaneInfo { directorURL certificateSecuredConnectorURL } } }
"""
SUBJECT = "{ configuration { certificateSigningRequestInfo { subject } } }"
SIGN = """
mutation ($csr: String!) {
  result: signCertificateSigningRequest(csr: $csr) { certificateChain caCertificate clientCertificate }
}
"""
REVOKE = "mutation { revokeCertificate }"
TOKEN_REFUSED = {"error": "Unauthorized", "error_code": 26}
NOT_PAIRED = (
    "Failed to authenticate with token: Failed to authenticate request. Token authentication error: "
    "Failed to authenticate with one time token. Certificate authentication error: "
    "Failed to authenticate with Certificate. Invalid subject."
)
TABLES = "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


class Connector:
    """Answers a document for a caller."""

    def __init__(self, database: Database, endpoint: Endpoint, tenant: TenantId, system_auth: SystemAuthId) -> None:
        self.database = database
        self.endpoint = endpoint
        self.system_auth = system_auth
        self.admin = Caller(
            Consumer.STATIC_USER, "admin", Flow.JWT, frozenset({"application:write", "runtime:write"}), tenant
        )
        self.nobody = Caller(Consumer.STATIC_USER, "", Flow.ONE_TIME_TOKEN, frozenset(), None)

    def holding(self, token: str, key: str = "") -> Caller:
        headers = (("connector-token", token), ("connector-key-digest", key))
        return replace(self.nobody, consumer=Consumer.APPLICATION, headers=headers)

    def certified(self, certificate: str, consumer: Consumer = Consumer.APPLICATION) -> Caller:
        return replace(
            self.nobody,
            consumer=consumer,
            flow=Flow.CERTIFICATE,
            tenant=self.admin.tenant,
            system_auth=self.system_auth,
            certificate=certificate,
        )

    async def __call__(self, caller: Caller, text: str, **variables: Any) -> Any:
        decoded: Any = orjson.loads((await self.endpoint.answer(caller, text, variables)).body)
        return decoded

    async def data(self, caller: Caller, text: str, **variables: Any) -> Any:
        answer = await self(caller, text, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def refusal(self, caller: Caller, text: str, **variables: Any) -> Any:
        """The first error; fails the test when there is none or when anything changed."""
        before = await self.state()
        answer = await self(caller, text, **variables)
        assert await self.state() == before, "a refused request changed something"
        return answer["errors"][0]

    async def misuse(self, caller: Caller, text: str, **variables: Any) -> Any:
        """A refusal that is announced; fails the test when anything else changed."""
        before, announced = await self.state(), await self.announced()
        answer = await self(caller, text, **variables)
        after = await self.state()
        assert {name for name in before if before[name] != after[name]} == {"one_time_token", "outbox_event"}
        assert await self.announced() == [*announced, "OneTimeTokenMisused"]
        return answer["errors"][0]

    async def announced(self) -> list[str]:
        async with self.database.transaction() as tx:
            return [row["name"] for row in await tx.rows("SELECT name FROM outbox_event ORDER BY id")]

    async def state(self) -> dict[str, str]:
        async with self.database.transaction() as tx:
            return {
                entry["name"]: await tx.value(
                    f"SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {entry['name']} t"
                )
                for entry in await tx.rows(TABLES)
            }

    async def token(self, purpose: Purpose = Purpose.APPLICATION, life: timedelta = timedelta(minutes=5)) -> str:
        async with self.database.transaction() as tx:
            return await one_time_token.issue(tx, self.system_auth, purpose=purpose, life=life)

    async def count(self, table: str) -> int:
        async with self.database.transaction() as tx:
            counted: int = await tx.value(f"SELECT count(*) FROM {table}")
            return counted


@pytest.fixture
async def connector(
    database: Database, committed_authority: Authority, committed_system_auth: SystemAuthId
) -> Connector:
    """The Connector, an application's system auth, and an administrator of its tenant."""
    parts: dict[type, Any] = {
        Authority: committed_authority,
        PublicUrls: PublicUrls("https://plane.test:8443", "https://plane.test:8444"),
        TokenSettings: TokenSettings(),
        LandscapeSettings: LandscapeSettings(),
    }
    async with database.transaction() as tx:
        tenant = TenantId(await tx.value("SELECT tenant_id FROM system_auth"))
    return Connector(database, Endpoint(connector_surface(parts), database), tenant, committed_system_auth)


def decoded(wire: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(base64.b64decode(wire, validate=True))


def named(statements: list[str]) -> list[str]:
    """Each statement's own name, which begins it."""
    return [statement.strip().splitlines()[0].removeprefix("-- ") for statement in statements]


async def paired(connector: Connector, request_for: Any) -> tuple[Caller, x509.Certificate]:
    """A client that has its certificate."""
    signed = await connector.data(
        connector.holding(await connector.token()), SIGN, csr=request_for(connector.system_auth)
    )
    [certificate] = decoded(signed["result"]["clientCertificate"])
    async with connector.database.transaction() as tx:
        fingerprint = await tx.value("SELECT fingerprint FROM certificate")
    return connector.certified(fingerprint), certificate


# --- with a one-time token ---


async def test_a_token_is_exchanged_for_the_next_and_all_that_a_request_needs(connector: Connector) -> None:
    token = await connector.token()

    result = (await connector.data(connector.holding(token), CONFIGURATION))["result"]

    assert len(result["token"]["token"]) == 88
    assert result["token"]["token"] != token
    assert result["certificateSigningRequestInfo"] == {
        "subject": f"O=Org,OU=OrgUnit,L=locality,ST=province,C=DE,CN={connector.system_auth}",
        "keyAlgorithm": "rsa2048",
    }
    assert result["managementPlaneInfo"] == {
        "directorURL": "https://plane.test:8444/director/graphql",
        "certificateSecuredConnectorURL": "https://plane.test:8444/connector/graphql",
    }


async def test_the_token_for_the_signing_request_has_its_own_life_however_short_the_first_was(
    connector: Connector,
) -> None:
    token = await connector.token(life=timedelta(seconds=30))

    await connector.data(connector.holding(token), CONFIGURATION)

    async with connector.database.transaction() as tx:
        state = await one_time_token.latest(tx, connector.system_auth)
    assert state is not None
    assert (state.purpose, state.expires_at - state.created_at) == (Purpose.CSR, timedelta(minutes=5))


@pytest.mark.parametrize(
    "text", ["{ configuration() { token { token } } }", "query {\n result: configuration( ) { token { token } }\n}"]
)
async def test_the_empty_parentheses_of_clients_in_the_field_are_understood(connector: Connector, text: str) -> None:
    data = await connector.data(connector.holding(await connector.token()), text)

    [result] = data.values()
    assert len(result["token"]["token"]) == 88


async def test_the_whole_pairing_gives_a_chain_of_two_for_the_clients_own_key(
    connector: Connector, request_for: Any, client_key: ec.EllipticCurvePrivateKey, committed_authority: Authority
) -> None:
    first = await connector.token()
    second = (await connector.data(connector.holding(first), CONFIGURATION))["result"]["token"]["token"]

    result = (await connector.data(connector.holding(second), SIGN, csr=request_for(connector.system_auth)))["result"]

    leaf, issuing = decoded(result["certificateChain"])
    assert decoded(result["clientCertificate"]) == [leaf]
    assert decoded(result["caCertificate"]) == [issuing]
    leaf.verify_directly_issued_by(issuing)
    assert issuing == x509.load_pem_x509_certificate(committed_authority.ca_pem.encode())
    assert leaf.public_key() == client_key.public_key()
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == [connector.system_auth]


@pytest.mark.parametrize("document", [CONFIGURATION, SIGN])
async def test_a_spent_token_is_refused_at_both_steps(connector: Connector, request_for: Any, document: str) -> None:
    token = await connector.token()
    await connector.data(connector.holding(token), CONFIGURATION)
    variables = {"csr": request_for(connector.system_auth)} if document is SIGN else {}

    error = await connector.refusal(connector.holding(token), document, **variables)

    assert error["message"] == "Failed to authenticate with one time token."
    assert error["extensions"] == TOKEN_REFUSED


async def test_the_second_token_is_spent_by_the_certificate(connector: Connector, request_for: Any) -> None:
    token = await connector.token()
    csr = request_for(connector.system_auth)
    signed = await connector.data(connector.holding(token), SIGN, csr=csr)

    other_key = request_for(connector.system_auth, key=ec.generate_private_key(ec.SECP256R1()))
    refused = await connector.misuse(connector.holding(token), SIGN, csr=other_key)
    refused_configuration = await connector.refusal(connector.holding(token), CONFIGURATION)
    again = await connector.data(connector.holding(token), SIGN, csr=csr)

    assert refused["extensions"] == refused_configuration["extensions"] == TOKEN_REFUSED
    assert again == signed  # the reply may have been lost: the same key gets the same certificate
    assert await connector.count("certificate WHERE kind = 'client'") == 1


async def test_tokens_that_are_unknown_expired_or_replaced_are_refused_alike(
    connector: Connector, request_for: Any
) -> None:
    replaced = await connector.token()
    expired = await connector.token(life=timedelta(seconds=-1))
    csr = request_for(connector.system_auth)

    errors = [
        await connector.refusal(connector.holding(token), document, **variables)
        for token in (replaced, expired, "unknown", "x" * 10_000, "ä\udcff")
        for document, variables in ((CONFIGURATION, {}), (SIGN, {"csr": csr}))
    ]

    assert {error["message"] for error in errors} == {"Failed to authenticate with one time token."}


async def test_the_token_from_a_configuration_lives_as_long_as_a_request_needs(connector: Connector) -> None:
    await connector.data(connector.holding(await connector.token(Purpose.RUNTIME, timedelta(hours=1))), CONFIGURATION)

    async with connector.database.transaction() as tx:
        state = await one_time_token.latest(tx, connector.system_auth)
    assert state is not None
    assert (state.purpose, state.expires_at - state.created_at) == (Purpose.CSR, timedelta(minutes=5))


async def test_two_configurations_in_one_document_spend_one_token_once(connector: Connector) -> None:
    text = "{ a: configuration { token { token } } b: configuration { token { token } } }"

    answer = await connector(connector.holding(await connector.token()), text)

    assert answer["data"] is None
    assert answer["errors"][0]["path"] == ["b"]
    assert answer["errors"][0]["extensions"] == TOKEN_REFUSED


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            "%%%",
            (
                "Error while decoding Certificate Signing Request: "
                "Error while parsing base64 content. Incorrect value provided."
            ),
        ),
        (
            base64.b64encode(b"no pem").decode(),
            "Error while signing Certificate Signing Request: Error while decoding pem block.",
        ),
    ],
)
async def test_a_broken_request_leaves_the_token_usable(
    connector: Connector, request_for: Any, broken: str, message: str
) -> None:
    caller = connector.holding(await connector.token())

    error = await connector.refusal(caller, SIGN, csr=broken)

    assert error["message"] == message
    assert error["extensions"] == {"error": "InvalidData", "error_code": 22}
    assert (await connector.data(caller, SIGN, csr=request_for(connector.system_auth)))["result"]


async def test_a_request_in_anothers_name_leaves_the_token_usable(connector: Connector, request_for: Any) -> None:
    caller = connector.holding(await connector.token())

    error = await connector.refusal(caller, SIGN, csr=request_for("8fd7f7f4-3d6c-4a9a-8f3c-000000000000"))

    assert error["message"] == ("Error while signing Certificate Signing Request: CSR: Invalid common name provided.")
    assert (await connector.data(caller, SIGN, csr=request_for(connector.system_auth)))["result"]


@pytest.mark.timeout(60)
async def test_a_request_of_fifty_megabytes_is_refused_before_it_is_read(connector: Connector) -> None:
    caller = connector.holding(await connector.token())
    huge = "A" * (50 * 1024 * 1024)

    began = time.perf_counter()
    answer = await connector(caller, SIGN, csr=huge)
    took = time.perf_counter() - began

    assert answer["errors"][0]["message"] == (
        "Error while decoding Certificate Signing Request: it is larger than 16384 bytes."
    )
    assert took < 1.0
    assert (await connector.data(caller, CONFIGURATION))["result"]["token"]


async def test_of_many_clients_racing_for_one_token_one_gets_a_certificate(
    connector: Connector, request_for: Any
) -> None:
    caller = connector.holding(await connector.token())
    requests = [request_for(connector.system_auth, key=ec.generate_private_key(ec.SECP256R1())) for _ in range(32)]

    answers = await asyncio.gather(*(connector(caller, SIGN, csr=csr) for csr in requests))

    won = [answer for answer in answers if "errors" not in answer]
    assert len(won) == 1
    assert {a["errors"][0]["message"] for a in answers if a not in won} == {
        "Failed to authenticate with one time token."
    }
    assert await connector.count("certificate WHERE kind = 'client'") == 1


async def test_of_many_clients_racing_for_one_configuration_one_gets_the_next_token(connector: Connector) -> None:
    caller = connector.holding(await connector.token())

    answers = await asyncio.gather(*(connector(caller, CONFIGURATION) for _ in range(32)))

    assert sum("errors" not in answer for answer in answers) == 1
    assert await connector.count("one_time_token WHERE replaced_at IS NULL") == 1


async def test_racing_with_one_key_all_get_the_same_certificate(connector: Connector, request_for: Any) -> None:
    caller = connector.holding(await connector.token())
    csr = request_for(connector.system_auth)

    answers = await asyncio.gather(*(connector(caller, SIGN, csr=csr) for _ in range(8)))

    assert len({answer["data"]["result"]["clientCertificate"] for answer in answers}) == 1
    assert await connector.count("certificate WHERE kind = 'client'") == 1


async def test_pairing_takes_four_statements_for_the_configuration_and_five_for_the_certificate(
    connector: Connector, request_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):  # what was there before costs no statement more
        await connector.token()
    first = await connector.token()

    with counted(monkeypatch) as configuring:
        data = await connector.data(connector.holding(first), CONFIGURATION)
    second = connector.holding(data["result"]["token"]["token"])
    csr = request_for(connector.system_auth)
    with counted(monkeypatch) as signing:
        await connector.data(second, SIGN, csr=csr)
    with counted(monkeypatch) as signing_again:
        await connector.data(second, SIGN, csr=csr)

    assert named(configuring) == [
        "one_time_token.spend",
        "one_time_token.lock",
        "one_time_token.replace",
        "one_time_token.issue",
    ]
    redeeming = ["one_time_token.holder", "one_time_token.redeem", "certificate.issued_for_token"]
    assert named(signing) == [*redeeming, "certificate.intend_client", "certificate.record"]
    assert named(signing_again) == redeeming


# --- with a certificate ---


async def test_looking_at_the_configuration_with_a_certificate_writes_nothing(
    connector: Connector, request_for: Any
) -> None:
    client, _ = await paired(connector, request_for)
    before = await connector.state()

    data = await connector.data(client, SUBJECT)

    assert data["configuration"]["certificateSigningRequestInfo"]["subject"].endswith(f"CN={connector.system_auth}")
    assert await connector.state() == before


async def test_with_a_certificate_looking_takes_no_statement_and_renewing_takes_three(
    connector: Connector, request_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = await paired(connector, request_for)
    csr = request_for(connector.system_auth)

    with counted(monkeypatch) as looking:
        await connector.data(client, SUBJECT)
    with counted(monkeypatch) as renewing:
        await connector.data(client, SIGN, csr=csr)
    with counted(monkeypatch) as revoking:
        await connector.data(client, REVOKE)

    assert looking == []
    assert named(renewing) == ["certificate.hold_line", "certificate.intend_client", "certificate.record"]
    assert named(revoking) == [
        "revocation.line_of",
        "revocation.hold_lines",
        "revocation.revoke",
        "outbox.append",
    ]


async def test_a_client_with_a_certificate_gets_a_token_when_it_asks_for_one(
    connector: Connector, request_for: Any
) -> None:
    client, _ = await paired(connector, request_for)

    token = (await connector.data(client, CONFIGURATION))["result"]["token"]["token"]

    assert (await connector.data(connector.holding(token), SIGN, csr=request_for(connector.system_auth)))["result"]


async def test_a_token_asked_for_inside_a_fragment_is_given_too(connector: Connector, request_for: Any) -> None:
    client, _ = await paired(connector, request_for)
    text = "{ configuration { ...all } } fragment all on Configuration { ... { renamed: token { token } } }"

    data = await connector.data(client, text)

    assert len(data["configuration"]["renamed"]["token"]) == 88


async def test_a_renewal_gives_a_further_certificate_and_the_old_one_stays(
    connector: Connector, request_for: Any
) -> None:
    client, old = await paired(connector, request_for)
    key = ec.generate_private_key(ec.SECP256R1())

    result = (await connector.data(client, SIGN, csr=request_for(connector.system_auth, key=key)))["result"]

    [renewed] = decoded(result["clientCertificate"])
    assert renewed.serial_number != old.serial_number
    assert renewed.public_key() == key.public_key()
    async with connector.database.transaction() as tx:
        row = await tx.row("SELECT renewal_of, revoked_at FROM certificate WHERE renewal_of IS NOT NULL")
        assert row is not None
        assert (row["renewal_of"], row["revoked_at"]) == (client.certificate, None)
        assert await tx.value("SELECT count(*) FROM certificate WHERE revoked_at IS NOT NULL") == 0


async def test_a_renewal_in_anothers_name_is_refused(connector: Connector, request_for: Any) -> None:
    client, _ = await paired(connector, request_for)

    error = await connector.refusal(client, SIGN, csr=request_for("8fd7f7f4-3d6c-4a9a-8f3c-000000000000"))

    assert error["message"].endswith("CSR: Invalid common name provided.")


async def test_a_client_revokes_the_certificate_of_the_call_with_its_renewals_and_no_other(
    connector: Connector, request_for: Any
) -> None:
    client, _ = await paired(connector, request_for)
    await connector.data(client, SIGN, csr=request_for(connector.system_auth))
    async with connector.database.transaction() as tx:
        line = {row["fingerprint"] for row in await tx.rows("SELECT fingerprint FROM certificate")}
    await connector.data(connector.holding(await connector.token()), SIGN, csr=request_for(connector.system_auth))

    assert await connector.data(client, REVOKE) == {"revokeCertificate": True}
    assert await connector.data(client, REVOKE) == {"revokeCertificate": True}  # twice is as good as once

    async with connector.database.transaction() as tx:
        revoked = await tx.rows("SELECT fingerprint, revocation_reason FROM certificate WHERE revoked_at IS NOT NULL")
    assert {tuple(row) for row in revoked} == {(one, "revoked by its holder") for one in line}
    assert len(line) == 2
    assert await connector.announced() == ["CertificatesRevoked"]


async def test_a_revoked_certificate_is_not_renewed_and_its_token_pairs_nobody(
    connector: Connector, request_for: Any
) -> None:
    """A thief who asked for a token with the certificate, or is in the middle of a renewal, has nothing of it."""
    client, _ = await paired(connector, request_for)
    asked_for = (await connector.data(client, CONFIGURATION))["result"]["token"]["token"]
    second = (await connector.data(connector.holding(asked_for), CONFIGURATION))["result"]["token"]["token"]
    await connector.data(client, REVOKE)
    csr = request_for(connector.system_auth)

    renewing = await connector.refusal(client, SIGN, csr=csr)
    pairing = await connector.refusal(connector.holding(second), SIGN, csr=csr)

    assert renewing["message"] == "Unauthorized [reason=the certificate was revoked]"
    assert pairing["extensions"] == TOKEN_REFUSED
    # Whoever is asked by the administrator to pair anew, pairs.
    token = await connector.token()
    assert (await connector.data(connector.holding(token), SIGN, csr=csr))["result"]["clientCertificate"]


async def test_what_was_paired_with_a_token_asked_for_with_a_certificate_is_of_its_line(
    connector: Connector, request_for: Any
) -> None:
    client, _ = await paired(connector, request_for)
    asked_for = (await connector.data(client, CONFIGURATION))["result"]["token"]["token"]
    second = (await connector.data(connector.holding(asked_for), CONFIGURATION))["result"]["token"]["token"]
    await connector.data(connector.holding(second), SIGN, csr=request_for(connector.system_auth))

    await connector.data(client, REVOKE)

    assert await connector.count("certificate WHERE kind = 'client' AND revoked_at IS NOT NULL") == 2
    assert await connector.count("certificate WHERE kind = 'client' AND revoked_at IS NULL") == 0


async def test_a_token_for_another_client_ends_with_the_certificate_that_asked_for_it(
    connector: Connector, request_for: Any
) -> None:
    client, _ = await paired(connector, request_for)
    application = await application_of(connector)
    await own(connector, application)
    itself = replace(client, consumer_id=application, scopes=frozenset({"application:write"}))
    token = (await connector.data(itself, FOR_APPLICATION, id=application))["result"]["token"]
    async with connector.database.transaction() as tx:
        made = await tx.value(
            "SELECT system_auth_id FROM one_time_token WHERE digest = %(d)s", d=one_time_token.digest(token)
        )
    await connector.data(client, REVOKE)

    error = await connector.refusal(connector.holding(token), SIGN, csr=request_for(made))

    assert made != connector.system_auth
    assert error["extensions"] == TOKEN_REFUSED


async def test_only_applications_and_runtimes_get_tokens(connector: Connector, request_for: Any) -> None:
    client, _ = await paired(connector, request_for)

    error = await connector.refusal(replace(client, consumer=Consumer.INTEGRATION_SYSTEM), CONFIGURATION)

    assert error["message"] == (
        "Failed to get one-time token during fetching configuration process: could not get one time token: "
        "No token generation for consumer type Integration System"
    )


# --- a lost answer ---


def named_key(key: ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


async def test_both_steps_may_be_repeated_by_a_client_that_says_which_key_it_has(
    connector: Connector, request_for: Any, client_key: ec.EllipticCurvePrivateKey
) -> None:
    first, key, csr = await connector.token(), named_key(client_key), request_for(connector.system_auth)

    configured = await connector.data(connector.holding(first, key), CONFIGURATION)
    before = await connector.state()
    assert await connector.data(connector.holding(first, key), CONFIGURATION) == configured
    assert await connector.state() == before
    second = configured["result"]["token"]["token"]
    signed = await connector.data(connector.holding(second, key), SIGN, csr=csr)
    before = await connector.state()
    assert await connector.data(connector.holding(second, key), SIGN, csr=csr) == signed
    assert await connector.data(connector.holding(first, key), CONFIGURATION) == configured
    after = await connector.state()
    assert after == before
    assert await connector.count("certificate WHERE kind = 'client'") == 1
    assert await connector.announced() == []


async def test_many_repetitions_at_once_get_one_answer(
    connector: Connector, client_key: ec.EllipticCurvePrivateKey
) -> None:
    holding = connector.holding(await connector.token(), named_key(client_key))

    answers = await asyncio.gather(*(connector.data(holding, CONFIGURATION) for _ in range(16)))

    assert len({answer["result"]["token"]["token"] for answer in answers}) == 1
    assert await connector.count("one_time_token") == 2


async def test_a_repetition_with_another_key_is_refused_and_announced_at_every_step(
    connector: Connector, request_for: Any, client_key: ec.EllipticCurvePrivateKey
) -> None:
    thief = ec.generate_private_key(ec.SECP256R1())
    key, stolen = named_key(client_key), request_for(connector.system_auth, key=thief)

    async def configured() -> tuple[str, str]:
        first = await connector.token()
        answer = await connector.data(connector.holding(first, key), CONFIGURATION)
        return first, answer["result"]["token"]["token"]

    first, _ = await configured()
    errors = [await connector.misuse(connector.holding(first, named_key(thief)), CONFIGURATION)]
    first, _ = await configured()
    errors += [await connector.misuse(connector.holding(first), SIGN, csr=stolen)]
    _, second = await configured()
    errors += [await connector.misuse(connector.holding(second), SIGN, csr=stolen)]
    _, second = await configured()
    errors += [await connector.misuse(connector.holding(second, named_key(thief)), CONFIGURATION)]
    _, second = await configured()
    signed = await connector.data(connector.holding(second, key), SIGN, csr=request_for(connector.system_auth))
    errors += [await connector.misuse(connector.holding(second, named_key(thief)), SIGN, csr=stolen)]
    # Told once; a further attempt changes nothing at all.
    errors += [await connector.refusal(connector.holding(second, named_key(thief)), SIGN, csr=stolen)]

    assert {error["message"] for error in errors} == {"Failed to authenticate with one time token."}
    assert [error["extensions"] for error in errors] == [TOKEN_REFUSED] * 6
    again = await connector.data(connector.holding(second, key), SIGN, csr=request_for(connector.system_auth))
    assert again == signed
    assert await connector.count("certificate WHERE kind = 'client'") == 1


async def test_a_bare_repetition_is_refused_also_after_a_key_was_announced(
    connector: Connector, client_key: ec.EllipticCurvePrivateKey
) -> None:
    first = await connector.token()
    second = (await connector.data(connector.holding(first, named_key(client_key)), CONFIGURATION))["result"]["token"]

    for token in (first, second["token"]):
        error = await connector.refusal(connector.holding(token), CONFIGURATION)
        assert error["extensions"] == TOKEN_REFUSED


@pytest.mark.parametrize("document", [CONFIGURATION, SIGN])
@pytest.mark.parametrize(
    "digest", ["A" * 64, "a" * 63, "a" * 65, "x" * 64, "sha256:" + "a" * 64, "a" * 64 + "\n", "٣" * 64]
)
async def test_a_digest_in_another_form_is_refused_and_the_token_stays_usable(
    connector: Connector, request_for: Any, document: str, digest: str
) -> None:
    token = await connector.token()
    variables = {"csr": request_for(connector.system_auth)} if document is SIGN else {}

    error = await connector.refusal(connector.holding(token, digest), document, **variables)

    assert error["extensions"]["error_code"] == 22
    assert "64 lower-case hexadecimal digits" in error["message"]
    assert await connector.data(connector.holding(token), CONFIGURATION)


async def test_a_request_for_another_key_than_the_announced_one_leaves_the_token_usable(
    connector: Connector, request_for: Any
) -> None:
    token, csr = await connector.token(), request_for(connector.system_auth)

    error = await connector.refusal(connector.holding(token, "a" * 64), SIGN, csr=csr)

    assert error["message"].endswith("CSR: Connector-Key-Digest is not the SHA-256 of its public key.")
    assert (await connector.data(connector.holding(token), SIGN, csr=csr))["result"]


# --- with neither ---


async def test_without_token_and_certificate_nothing_is_told(connector: Connector, request_for: Any) -> None:
    csr = request_for(connector.system_auth)

    for caller in (connector.nobody, connector.admin):
        asked = await connector.refusal(caller, CONFIGURATION)
        signed = await connector.refusal(caller, SIGN, csr=csr)
        assert asked["message"] == signed["message"] == NOT_PAIRED
        assert asked["extensions"] == signed["extensions"] == TOKEN_REFUSED


async def test_only_the_holder_of_a_certificate_revokes_it(connector: Connector) -> None:
    token = await connector.token()

    errors = [
        await connector.refusal(caller, REVOKE)
        for caller in (connector.nobody, connector.admin, connector.holding(token))
    ]

    assert {error["message"] for error in errors} == {
        "Failed to authenticate with certificate: Failed to authenticate with Certificate. Invalid subject."
    }


# --- an administrator ---


async def application_of(connector: Connector) -> str:
    async with connector.database.transaction() as tx:
        return str(await tx.value("SELECT application_id FROM system_auth"))


async def runtime_of(connector: Connector) -> str:
    async with connector.database.transaction() as tx:
        return str(
            await tx.value(
                """
                WITH kyma AS (
                    INSERT INTO runtime (tenant_id, name) VALUES (%(tenant)s, 'kyma') RETURNING id, tenant_id
                )
                INSERT INTO runtime_tenant (tenant_id, runtime_id, owner) SELECT tenant_id, id, true FROM kyma
                RETURNING runtime_id
                """,
                tenant=connector.admin.tenant,
            )
        )


async def own(connector: Connector, application: str) -> None:
    async with connector.database.transaction() as tx:
        await tx.run(
            "INSERT INTO application_tenant (tenant_id, application_id, owner) VALUES (%(t)s, %(a)s, true)",
            t=connector.admin.tenant,
            a=application,
        )


FOR_APPLICATION = "mutation ($id: ID!) { result: requestTokenForApplication(applicationID: $id) { token } }"
FOR_RUNTIME = "mutation ($id: ID!) { result: requestTokenForRuntime(runtimeID: $id) { token } }"


@pytest.mark.parametrize(("document", "minutes"), [(FOR_APPLICATION, 5), (FOR_RUNTIME, 60)])
async def test_an_administrator_gets_a_token_that_pairs(
    connector: Connector, request_for: Any, document: str, minutes: int
) -> None:
    if document is FOR_APPLICATION:
        id_ = await application_of(connector)
        await own(connector, id_)
    else:
        id_ = await runtime_of(connector)

    token = (await connector.data(connector.admin, document, id=id_))["result"]["token"]

    async with connector.database.transaction() as tx:
        row = await tx.row(
            "SELECT system_auth_id, expires_at - created_at AS life FROM one_time_token WHERE digest = %(digest)s",
            digest=one_time_token.digest(token),
        )
    assert row is not None
    assert row["life"] == timedelta(minutes=minutes)
    assert row["system_auth_id"] != connector.system_auth
    data = await connector.data(connector.holding(token), CONFIGURATION)
    second = data["result"]["token"]["token"]
    signed = await connector.data(connector.holding(second), SIGN, csr=request_for(row["system_auth_id"]))
    assert signed["result"]["clientCertificate"]


@pytest.mark.parametrize(("document", "kind"), [(FOR_APPLICATION, "application"), (FOR_RUNTIME, "runtime")])
async def test_no_token_for_what_the_tenant_does_not_see(connector: Connector, document: str, kind: str) -> None:
    async with connector.database.transaction() as tx:
        other = await tx.value(
            "INSERT INTO tenant (external_id, name, type, provider) VALUES ('o', 'o', 'account', 'o') RETURNING id"
        )
    id_ = await (application_of if kind == "application" else runtime_of)(connector)
    foreign = replace(connector.admin, tenant=TenantId(other))

    errors = [
        await connector.refusal(foreign, document, id=one)
        for one in (id_, "8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid")
    ]

    assert {error["message"] for error in errors} == {f"Object not found [object={kind}]"}


@pytest.mark.parametrize("document", [FOR_APPLICATION, FOR_RUNTIME])
async def test_a_token_for_others_needs_scope_and_tenant(connector: Connector, document: str) -> None:
    id_ = await application_of(connector)

    scopeless = await connector.refusal(replace(connector.admin, scopes=frozenset()), document, id=id_)
    tenantless = await connector.refusal(replace(connector.admin, tenant=None), document, id=id_)
    nobody = await connector.refusal(connector.nobody, document, id=id_)

    assert scopeless["extensions"]["error_code"] == nobody["extensions"]["error_code"] == 23
    assert tenantless["message"] == "Tenant is required"


@pytest.mark.parametrize("document", [FOR_APPLICATION, FOR_RUNTIME])
async def test_a_program_gets_no_token_to_become_another(connector: Connector, document: str) -> None:
    application = await application_of(connector)
    await own(connector, application)
    id_ = application if document is FOR_APPLICATION else await runtime_of(connector)
    consumer = Consumer.APPLICATION if document is FOR_APPLICATION else Consumer.RUNTIME
    attacker = replace(connector.admin, consumer=consumer, consumer_id="8fd7f7f4-3d6c-4a9a-8f3c-000000000000")

    error = await connector.refusal(attacker, document, id=id_)

    assert error["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"
    assert (await connector.data(replace(attacker, consumer_id=id_), document, id=id_))["result"]["token"]
