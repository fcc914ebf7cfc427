"""Bad input against a running plane: an error in the contract's exact form, nothing changed, nothing announced."""

import asyncio
import base64
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from compass.settings import LimitSettings
from tests.delivery.receiver import Call, receiving
from tests.delivery.receiver import answer as answered
from tests.delivery.receiver import hangs as hangs_up
from tests.e2e.field import CONFIGURATION, SIGN, FieldClient, encoded, request_pem, subject_parts
from tests.e2e.plane import ADD_WEBHOOK, CONNECTOR, DEFAULT_TENANT, DIRECTOR, PROVISIONER, Answer, Plane, Tables
from tests.outbound.hostile import Behaviour, answers, drips, floods, hangs, ok, receiver

SETTINGS = {
    "COMPASS_OUTBOUND__CONNECT_TIMEOUT": "1s",
    "COMPASS_OUTBOUND__TOTAL_TIMEOUT": "1s",
    "COMPASS_DELIVERY__ATTEMPT_TIMEOUT": "400ms",
    "COMPASS_DELIVERY__FIRST_RETRY_AFTER": "200ms",
    "COMPASS_DELIVERY__RETRY_AT_MOST_EVERY": "400ms",
    "COMPASS_TOKENS__RUNTIME_VALIDITY": "1s",
}
UNKNOWN: Final = "11111111-1111-4111-8111-111111111111"
OVERVIEW = """{
  applications { totalCount data {
    id name description labels status { condition timestamp } updatedAt auths { id } webhooks { id url }
    bundles { data { id name apiDefinitions { data { id name spec { data fetchRequest { status { condition } } } } } } }
  } }
  runtimes { totalCount data { id name labels status { condition } auths { id } } }
  formations { totalCount data { name state formationAssignments { data { id state } } } }
  webhookDeliveries { totalCount data { id state attempts { number } } }
}"""
_ERROR_ID: Final = re.compile(r"errorID=[0-9a-f-]{36}")
_numbers = count(1)

Unchanged = Callable[[], AbstractAsyncContextManager[None]]


@dataclass
class World:
    """What there is before any test: an application with a bundle, and another one in another tenant."""

    application: str
    bundle: str
    runtime: str
    other_tenant: str
    foreign: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
async def world(plane: Plane) -> World:
    other = str(uuid.uuid4())
    await plane.post(
        'mutation { writeTenant(in: {name: "other", externalTenant: "%s", type: "account", provider: "t"}) }' % other
    )
    bundle = 'mutation ($id: ID!) { result: addBundle(applicationID: $id, in: {name: "sales"}) { id } }'
    application, runtime = await plane.application("orders"), await plane.runtime("edge")
    world = World(application, (await plane.ask(bundle, id=application))["id"], runtime, other)
    for kind in ("application", "runtime"):
        document = 'mutation { result: register%s(in: {name: "theirs"}) { id } }' % kind.title()
        world.foreign[kind] = (await plane.post(document, tenant=other)).data["result"]["id"]
    theirs = await plane.post(bundle, {"id": world.foreign["application"]}, tenant=other)
    world.foreign["bundle"] = theirs.data["result"]["id"]
    await plane.group("quiet", applications=[application], runtimes=[runtime])
    return world


@pytest.fixture
def unchanged(plane: Plane, tables: Tables, world: World) -> Unchanged:
    """A block after which every table and the Director's answer are what they were, and the plane is well."""

    @asynccontextmanager
    async def watching() -> AsyncIterator[None]:
        await tables.settled()
        before, shown = await tables.contents(), (await plane.post(OVERVIEW)).data
        logged = len(plane.log)
        yield
        assert (await plane.post(OVERVIEW)).data == shown
        after = await tables.contents()
        assert after == before
        assert "Traceback" not in plane.log[logged:], plane.log[logged:]

    return watching


def refusal(name: str, code: int, message: str, *path: str) -> dict[str, Any]:
    """The contract's envelope with one error; numbers of errors are compared by their form only."""
    error: dict[str, Any] = {"message": message, "extensions": {"error": name, "error_code": code}}
    return {"errors": [error | ({"path": list(path)} if path else {})], "data": None}


def shape(answer: Answer) -> Any:
    """The answer with the numbers of errors left out."""
    return json.loads(_ERROR_ID.sub("errorID=*", answer.text))


# Ids

NOT_FOUND: Final = "Object not found [object=%s]"
NO_CLUSTER: Final = {"error": "NotFound", "error_code": 2, "error_reason": "err_db_not_found"}
BY_ID: Final = {
    'updateApplication(id: $id, in: {description: "x"}) { id }': (20, NOT_FOUND % "application"),
    "unregisterApplication(id: $id) { id }": (20, NOT_FOUND % "application"),
    "unpairApplication(id: $id) { id }": (20, NOT_FOUND % "application"),
    'setApplicationLabel(applicationID: $id, key: "a", value: "b") { key }': (20, NOT_FOUND % "application"),
    'deleteApplicationLabel(applicationID: $id, key: "a") { key }': (10, "application with ID %(id)s doesn't exist"),
    "requestOneTimeTokenForApplication(id: $id) { token }": (20, NOT_FOUND % "application"),
    "requestClientCredentialsForApplication(id: $id) { id }": (10, "Application with ID '%(id)s' not found"),
    "deleteSystemAuthForApplication(authID: $id) { id }": (20, NOT_FOUND % "systemAuth"),
    'addAPIDefinitionToBundle(bundleID: $id, in: {name: "a", targetURL: "https://a.example"}) { id }': (
        22, "Invalid data [reason=cannot add API to not existing bundle]",
    ),
    'addWebhook(applicationID: $id, in: {type: CONFIGURATION_CHANGED, url: "https://a.example"}) { id }': (
        22, "Invalid data [reason=cannot add Webhook due to not existing reference entity]",
    ),
    "deleteWebhook(webhookID: $id) { id }": (20, NOT_FOUND % "webhook"),
    "resendWebhookDelivery(id: $id) { id }": (20, NOT_FOUND % "webhookDelivery"),
    "deleteBundleInstanceAuth(authID: $id) { id }": (20, NOT_FOUND % "bundleInstanceAuth"),
    'updateRuntime(id: $id, in: {name: "x"}) { id }': (20, NOT_FOUND % "runtime"),
    "unregisterRuntime(id: $id) { id }": (20, NOT_FOUND % "runtime"),
    'setRuntimeLabel(runtimeID: $id, key: "a", value: "b") { key }': (10, "Runtime with ID %(id)s doesn't exist"),
    "requestOneTimeTokenForRuntime(id: $id) { token }": (20, NOT_FOUND % "runtime"),
}  # fmt: skip


@pytest.mark.parametrize("whose", ["unknown", "another tenant's", "no id at all"])
@pytest.mark.parametrize("mutation", BY_ID)
async def test_an_id_that_is_not_the_tenants_own_is_not_found(
    plane: Plane, world: World, unchanged: Unchanged, mutation: str, whose: str
) -> None:
    kind = next((kind for kind in ("bundle", "runtime") if kind in mutation.lower()), "application")
    id_ = {"unknown": UNKNOWN, "another tenant's": world.foreign[kind], "no id at all": "'; DROP TABLE tenant"}[whose]
    code, message = BY_ID[mutation]
    message %= {"id": id_} if "%" in message else ()
    if code == 10:
        message = f"Internal Server Error [errorID=*, reason: {message}]"
    name = {10: "InternalError", 20: "NotFound", 22: "InvalidData"}[code]
    async with unchanged():
        answer = await plane.post("mutation ($id: ID!) { result: %s }" % mutation, {"id": id_})

    assert answer.status == 200
    assert shape(answer) == refusal(name, code, message, "result")


@pytest.mark.parametrize("whose", ["unknown", "another tenant's"])
async def test_what_is_asked_for_by_an_id_that_is_not_the_tenants_own_is_null(
    plane: Plane, world: World, whose: str
) -> None:
    for kind in ("application", "runtime"):
        id_ = UNKNOWN if whose == "unknown" else world.foreign[kind]
        answer = await plane.post("query ($id: ID!) { result: %s(id: $id) { id name } }" % kind, {"id": id_})
        assert (answer.status, answer.body) == (200, {"data": {"result": None}})
    pages = await plane.post("{ applications { data { name } } runtimes { data { name } } }")
    assert "theirs" not in pages.text


@pytest.mark.parametrize("operation", ["deprovisionRuntime(id: $id)", "reconnectRuntimeAgent(id: $id)"])
async def test_a_runtime_that_was_not_made_here_cannot_be_removed_here(
    plane: Plane, world: World, unchanged: Unchanged, operation: str
) -> None:
    for id_ in (UNKNOWN, world.foreign["runtime"], world.runtime, "x"):
        async with unchanged():
            document = "mutation ($id: String!) { result: %s }" % operation
            answer = await plane.post(document, {"id": id_}, path=PROVISIONER)
        assert (answer.status, answer.body["data"]) == (200, None)
        assert answer.error["message"] == f"cannot find the cluster of Runtime {id_}"
        assert answer.error["extensions"] == NO_CLUSTER | {"error_component": "db - provisioner"}


async def test_neither_an_unknown_tenant_nor_none_is_served(plane: Plane, unchanged: Unchanged) -> None:
    document = 'mutation { result: registerApplication(in: {name: "nowhere"}) { id } }'
    async with unchanged():
        unknown = await plane.post(document, tenant=UNKNOWN)
        none = await plane.post(document, tenant=None)

    assert unknown.status == 400
    assert unknown.body == refusal("TenantNotFound", 25, f"Tenant not found [externalTenant={UNKNOWN}]")
    assert none.status == 200
    assert none.body == refusal("TenantRequired", 24, "Tenant is required", "result")


async def test_a_mutation_that_is_refused_halfway_leaves_nothing_of_its_first_half(
    plane: Plane, unchanged: Unchanged
) -> None:
    entry = '{name: "%s", externalTenant: "%s", type: "account", provider: "t", parents: ["%s"]}'
    entries = ", ".join([entry % ("first", "first", "second"), entry % ("second", "second", "first")])
    async with unchanged():
        answer = await plane.post("mutation { result: writeTenants(in: [%s]) }" % entries)

    assert answer.status == 200
    assert answer.body == refusal(
        "InvalidData", 22, "Invalid data [reason=tenant first cannot be its own ancestor]", "result"
    )


# Wrong types

BODIES: Final = {
    "": (400, "the body is not JSON"),
    "<xml/>": (400, "the body is not JSON"),
    '{"query": "\\ud800"}': (400, "the body is not JSON"),
    '{"query": "{ viewer { id } }", "variables": ' + '{"a":' * 2000 + "1" + "}" * 2001: (400, "the body is not JSON"),
    "[]": (400, 'the body must be a JSON object with the document as the text "query"'),
    "{}": (400, 'the body must be a JSON object with the document as the text "query"'),
    '{"query": 5}': (400, 'the body must be a JSON object with the document as the text "query"'),
    '{"query": "{ viewer { id } }", "variables": "x"}': (
        400, '"variables" must be a JSON object and "operationName" a text',
    ),
    '{"query": "{ viewer { id } }", "operationName": 5}': (
        400, '"variables" must be a JSON object and "operationName" a text',
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=[body[:40] or "nothing" for body in BODIES])
async def test_a_body_that_is_no_request_is_refused(plane: Plane, unchanged: Unchanged, body: str) -> None:
    status, reason = BODIES[body]
    async with unchanged():
        answer = await plane.send(DIRECTOR, body, {**await plane.bearer(), "Tenant": DEFAULT_TENANT})

    assert answer.status == status
    assert answer.body == refusal("InvalidData", 22, f"Invalid data [reason={reason}]")


DOCUMENTS: Final[dict[str, tuple[Mapping[str, Any], str]]] = {
    "{ viewer { id }": ({}, "Syntax Error: Expected Name, found <EOF>. (line 1, column 16)"),
    "{ nothing }": ({}, "Cannot query field 'nothing' on type 'Query'. (line 1, column 3)"),
    "{ " + "a { " * 3000: ({}, "Syntax Error: Document is nested too deeply. Parsing aborted. (line 1, column 801)"),
    "mutation { registerApplication(in: {name: 5}) { id } }": (
        {}, "String cannot represent a non string value (line 1, column 43)",
    ),
    "mutation { registerApplication(in: {}) { id } }": (
        {},
        (
            "Expected value of type 'ApplicationRegisterInput' to include required field 'name'"
            " (line 1, column 36)"
        ),
    ),
    "query ($n: Int) { applications(first: $n) { totalCount } }": (
        {"n": "ten"},
        "Variable '$n' has invalid value: Int cannot represent non-integer value (line 1, column 8)",
    ),
    "query ($id: ID!) { application(id: $id) { id } }": (
        {"id": {"a": 1}}, "Variable '$id' has invalid value: ID cannot represent value (line 1, column 8)",
    ),
    'mutation { registerApplication(in: {name: "x", labels: 5}) { id } }': ({}, "a JSON object is expected"),
}  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document[:40] for document in DOCUMENTS])
async def test_a_document_of_wrong_types_is_refused_as_a_whole(
    plane: Plane, unchanged: Unchanged, document: str
) -> None:
    variables, reason = DOCUMENTS[document]
    async with unchanged():
        answer = await plane.post(document, variables)

    assert answer.status == 422
    assert shape(answer) == refusal("InternalError", 10, f"Internal Server Error [errorID=*, reason: {reason}]")


@pytest.mark.parametrize("first", [-1, 0, 201])
async def test_a_page_of_an_impossible_size_is_refused(plane: Plane, first: int) -> None:
    answer = await plane.post("query ($n: Int) { applications(first: $n) { totalCount } }", {"n": first})

    assert answer.status == 200
    assert answer.body == refusal(
        "InvalidData", 22, "Invalid data [reason=page size must be between 1 and 200]", "applications"
    )


@pytest.mark.parametrize(
    "given",
    [{"name": "a\0b"}, {"name": "ok", "description": "a\0b"}, {"name": "ok", "labels": {"key": "a\0b"}}],
    ids=["name", "description", "label"],
)
async def test_a_text_with_a_nul_character_is_refused_as_the_callers_mistake(
    plane: Plane, unchanged: Unchanged, given: Mapping[str, Any]
) -> None:
    document = "mutation ($in: ApplicationRegisterInput!) { result: registerApplication(in: $in) { id } }"
    async with unchanged():
        answer = await plane.post(document, {"in": given})

    assert answer.status == 200
    assert answer.error["extensions"] == {"error": "InvalidData", "error_code": 22}


# Tokens

TOKEN_REFUSED: Final = refusal("Unauthorized", 26, "Failed to authenticate with one time token.", "result")


@pytest.fixture
def client(plane: Plane, tmp_path: Path) -> FieldClient:
    return FieldClient(plane, tmp_path / "client", ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize("token", ["x", "A" * 88, "A" * 60_000, "ü", "%00"])
async def test_an_unknown_token_is_refused(client: FieldClient, unchanged: Unchanged, token: str) -> None:
    async with unchanged():
        for document in (CONFIGURATION, SIGN % "QUJD"):
            answer = await client.call(document, token=token)
            assert (answer.status, answer.body) == (200, TOKEN_REFUSED)


async def test_an_expired_token_is_refused_and_cannot_be_told_from_an_unknown_one(
    plane: Plane, client: FieldClient, world: World, unchanged: Unchanged
) -> None:
    token = await plane.token(runtime=world.runtime)
    await asyncio.sleep(1.05)  # its validity here is a second
    async with unchanged():
        for document in (CONFIGURATION, SIGN % "QUJD"):
            answer = await client.call(document, token=token)
            assert (answer.status, answer.body) == (200, TOKEN_REFUSED)


async def test_a_spent_token_and_one_that_a_newer_replaced_are_refused(
    plane: Plane, client: FieldClient, unchanged: Unchanged
) -> None:
    application = await plane.application(f"app-{next(_numbers)}")
    spent = await plane.token(application=application)
    configuration = await client.configuration(spent)
    subject, replaced = configuration["certificateSigningRequestInfo"]["subject"], configuration["token"]["token"]
    renewed = (
        await plane.ask(
            "mutation ($id: ID!, $auth: ID!) {"
            " result: requestOneTimeTokenForApplication(id: $id, systemAuthID: $auth) { token } }",
            id=application,
            auth=subject_parts(subject)["CN"],
        )
    )["token"]
    async with unchanged():
        for token in (spent, replaced):
            for document in (CONFIGURATION, SIGN % client.csr(subject)):
                answer = await client.call(document, token=token)
                assert (answer.status, answer.body) == (200, TOKEN_REFUSED)
    await client.pair(renewed)  # and the one in force is as good as ever


async def test_without_token_and_certificate_the_connector_says_so(client: FieldClient, unchanged: Unchanged) -> None:
    expected = refusal(
        "Unauthorized",
        26,
        "Failed to authenticate with token: Failed to authenticate request. Token authentication error: "
        "Failed to authenticate with one time token. Certificate authentication error: "
        "Failed to authenticate with Certificate. Invalid subject.",
        "result",
    )
    async with unchanged():
        for document in (CONFIGURATION, SIGN % "QUJD"):
            answer = await client.call(document)
            assert (answer.status, answer.body) == (200, expected)


@pytest.mark.parametrize(("header", "status"), [(None, 400), ("", 400), ("Basic YTpi", 400), ("Bearer a.b.c", 401)])
async def test_an_access_token_that_is_none_is_refused(
    plane: Plane, unchanged: Unchanged, header: str | None, status: int
) -> None:
    headers = {"Tenant": DEFAULT_TENANT} | ({} if header is None else {"Authorization": header})
    async with unchanged():
        answer = await plane.send(
            DIRECTOR, json.dumps({"query": 'mutation { registerApplication(in: {name: "x"}) { id } }'}), headers
        )
    assert answer.status == status
    assert answer.body == refusal("Unauthorized", 26, "Unauthorized [reason=invalid bearer token]")


# Signing requests


@dataclass
class Asking:
    """A client that has its second token and what to ask with."""

    client: FieldClient
    token: str
    parts: dict[str, str]


@pytest.fixture
async def asking(plane: Plane, client: FieldClient) -> Asking:
    configuration = await client.configuration(
        await plane.token(application=await plane.application(f"app-{next(_numbers)}"))
    )
    parts = subject_parts(configuration["certificateSigningRequestInfo"]["subject"])
    return Asking(client, configuration["token"]["token"], parts)


def _without(parts: Mapping[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in parts.items() if name != key}


def _broken_signature(pem: bytes) -> bytes:
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    der[-1] ^= 1
    body = base64.encodebytes(bytes(der))
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"


def _self_signed() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).replace(b" REQUEST", b"")


DECODING: Final = "Error while decoding Certificate Signing Request: "
SIGNING: Final = "Error while signing Certificate Signing Request: "
WEAK: Final = "Use RSA of 2048 to 4096 bits with exponent 65537, or P-256, or P-384."
BAD_REQUESTS: Final[dict[str, tuple[Callable[[Asking], str], str]]] = {
    "not base64": (
        lambda _: "!!!", DECODING + "Error while parsing base64 content. Incorrect value provided.",
    ),
    "not PEM": (lambda _: encoded(b"hello"), SIGNING + "Error while decoding pem block."),
    "a certificate": (lambda _: encoded(_self_signed()), SIGNING + "Error while decoding pem block."),
    "not DER": (
        lambda _: encoded(
            b"-----BEGIN CERTIFICATE REQUEST-----\naGVsbG8=\n-----END CERTIFICATE REQUEST-----\n"
        ),
        SIGNING + "Error while parsing CSR: it is not a PKCS#10 certification request.",
    ),
    "forged": (
        lambda to: encoded(_broken_signature(request_pem(to.client.key, to.parts))),
        SIGNING + "CSR signature invalid: it was not made with the key of the request and SHA-256, SHA-384 or SHA-512.",
    ),
    "a weak key": (
        lambda to: encoded(request_pem(rsa.generate_private_key(65537, 1024), to.parts)),  # noqa: S505
        SIGNING + f"CSR: Invalid key provided. {WEAK}",
    ),
    "no name": (
        lambda to: encoded(request_pem(to.client.key, _without(to.parts, "CN"))),
        SIGNING + "CSR: Invalid common name provided.",
    ),
    "no country": (
        lambda to: encoded(request_pem(to.client.key, _without(to.parts, "C"))), SIGNING + "CSR: No country provided.",
    ),
    "another organization": (
        lambda to: encoded(request_pem(to.client.key, to.parts | {"O": "Evil"})),
        SIGNING + "CSR: Invalid organization provided.",
    ),
    "larger than any": (
        lambda _: base64.b64encode(b"A" * 20_000).decode(), DECODING + "it is larger than 16384 bytes.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", BAD_REQUESTS)
async def test_a_signing_request_of_a_wrong_form_is_refused_and_its_token_stays_good(
    asking: Asking, unchanged: Unchanged, form: str
) -> None:
    make, message = BAD_REQUESTS[form]
    async with unchanged():
        answer = await asking.client.call(SIGN % make(asking), token=asking.token)
        assert (answer.status, answer.body) == (200, refusal("InvalidData", 22, message, "result"))

    good = encoded(request_pem(asking.client.key, asking.parts))
    assert "result" in (await asking.client.call(SIGN % good, token=asking.token)).data


async def test_a_signing_request_for_somebody_else_is_refused_with_a_token_and_with_a_certificate(
    plane: Plane, asking: Asking, unchanged: Unchanged, tmp_path: Path
) -> None:
    paired = FieldClient(plane, tmp_path / "paired", ec.generate_private_key(ec.SECP256R1()))
    await paired.pair(await plane.token(application=await plane.application(f"app-{next(_numbers)}")))
    await paired.director("{ viewer { id } }")  # its first call is noted; the next changes nothing
    theirs = await paired.configuration(None)
    victim = subject_parts(theirs["certificateSigningRequestInfo"]["subject"])
    expected = refusal("InvalidData", 22, SIGNING + "CSR: Invalid common name provided.", "result")
    async with unchanged():
        stolen = SIGN % encoded(request_pem(asking.client.key, victim))
        by_token = await asking.client.call(stolen, token=asking.token)
        assert (by_token.status, by_token.body) == (200, expected)
        reverse = SIGN % encoded(request_pem(paired.key, asking.parts))
        by_certificate = await paired.call(reverse, paired=True)
        assert (by_certificate.status, by_certificate.body) == (200, expected)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_signing_request_of_50_megabytes_is_refused_before_it_is_read(
    plane: Plane, asking: Asking, unchanged: Unchanged, announced: bool
) -> None:
    size, piece = 50 * 1024 * 1024, b"A" * 65536
    before = plane.resident_kilobytes
    async with unchanged(), asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(
            "localhost", int(plane.token_url.rpartition(":")[2]), ssl=plane.trust.context()
        )
        length = f"content-length: {size}" if announced else "transfer-encoding: chunked"
        writer.write(
            f"POST {CONNECTOR} HTTP/1.1\r\nhost: x\r\nconnector-token: {asking.token}\r\n{length}\r\n\r\n".encode()
        )
        answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        sent = taken = 0
        try:
            while sent < size:
                writer.write(piece if announced else b"10000\r\n" + piece + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)  # for the answer to be read: `drain` waits only when buffers are full
                sent += len(piece)
                if not answer.done():
                    taken = sent
        except ConnectionError:
            pass
        head, body = await answer, await reader.read()
        writer.transport.abort()

    assert head.startswith(b"HTTP/1.1 413 ")
    most = LimitSettings().max_request_bytes
    known = f"{size} bytes, at most {most} are" if announced else f"more than the {most} bytes that are"
    assert json.loads(body) == refusal("InvalidData", 22, f"Invalid data [reason=the body has {known} read]")
    assert taken < size * 3 / 4  # answered long before the end; what was on its way meanwhile filled buffers
    assert plane.resident_kilobytes - before < 8 * 1024 + (0 if announced else 2 * most // 1024)
    good = encoded(request_pem(asking.client.key, asking.parts))
    assert "result" in (await asking.client.call(SIGN % good, token=asking.token)).data


# Specifications

ADD_API = """mutation ($bundle: ID!, $url: String!) { result: addAPIDefinitionToBundle(bundleID: $bundle, in: {
  name: "orders", targetURL: "https://orders.example", spec: {type: OPEN_API, format: JSON, fetchRequest: {url: $url}}
}) { id spec { data fetchRequest { status { condition message } } } } }"""
REFETCH = """mutation ($id: ID!) { result: refetchAPISpec(apiID: $id) {
  data fetchRequest { status { condition message } } } }"""
MALFORMED: Final = "While fetching Spec: The receiver's answer is not valid HTTP"
LATE: Final = "While fetching Spec: The receiver did not finish its answer in time"
SOURCES: Final[dict[str, tuple[Behaviour, str]]] = {
    "hangs": (hangs, LATE),
    "drips": (drips(ok(b"{", length=100_000), b" "), LATE),
    "announces more than it sends": (answers(ok(b"{}", length=1000), then_closes=True), MALFORMED),
    "sends more than it announced": (answers(ok(b"{}" * 1000, length=2)), MALFORMED),
    "announces two lengths": (
        answers(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\n{}{}"), MALFORMED,
    ),
    "announces less than nothing": (answers(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}"), MALFORMED),
    "never ends": (
        floods(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b"x" * 65536),
        "While fetching Spec: The receiver's answer is too large",
    ),
    "is gone": (
        answers(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"), "While fetching Spec status code: 404",
    ),
    "is no text": (answers(ok(b"\xff\xfe\0")), "While fetching Spec: the answer is not UTF-8 text"),
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
async def test_a_source_that_misbehaves_fails_the_fetch_and_the_last_good_specification_stays(
    plane: Plane, world: World, source: str
) -> None:
    good = b'{"openapi": "3.1.0"}'
    behaviour, message = SOURCES[source]
    misbehaving = False

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (behaviour if misbehaving else answers(ok(good)))(reader, writer)

    memory = plane.resident_kilobytes
    async with receiver(behave) as serving:
        api = await plane.ask(ADD_API, bundle=world.bundle, url=f"http://127.0.0.1:{serving.port}/")
        assert api["spec"] == {
            "data": good.decode(), "fetchRequest": {"status": {"condition": "SUCCEEDED", "message": None}},
        }  # fmt: skip
        misbehaving = True

        refetched = await plane.ask(REFETCH, id=api["id"])

    assert refetched == {
        "data": good.decode(), "fetchRequest": {"status": {"condition": "FAILED", "message": message}},
    }  # fmt: skip
    assert plane.resident_kilobytes - memory < 32 * 1024


async def test_a_redirect_is_not_followed_wherever_it_leads(plane: Plane, world: World) -> None:
    async with receiver(answers(ok(b"{}"))) as target, receiver(answers(ok(b"{}")), address="127.0.0.2") as inside:
        for url in (f"http://127.0.0.1:{target.port}/", f"http://127.0.0.2:{inside.port}/"):
            moved = f"HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n".encode()
            async with receiver(answers(moved)) as source:
                api = await plane.ask(ADD_API, bundle=world.bundle, url=f"http://127.0.0.1:{source.port}/")
            assert api["spec"] == {
                "data": None,
                "fetchRequest": {"status": {"condition": "FAILED", "message": "While fetching Spec status code: 302"}},
            }
        assert (target.connections, inside.connections) == (0, 0)


NOT_REACHED: Final = "While fetching Spec: The address could not be reached"
ODD: Final = "While fetching Spec: The URL cannot be used: "
ADDRESSES: Final = {
    "127.0.0.2": NOT_REACHED,
    "[::1]": NOT_REACHED,
    "[::ffff:127.0.0.2]": NOT_REACHED,
    "0.0.0.0": NOT_REACHED,  # noqa: S104
    "10.0.0.1": NOT_REACHED,
    "169.254.169.254": NOT_REACHED,
    "[fe80::1]": NOT_REACHED,
    "[64:ff9b::7f00:2]": NOT_REACHED,
    "127.2": ODD + "an IPv4 address must be four decimal numbers without leading zeros",
    "0x7f000002": ODD + "an IPv4 address must be four decimal numbers without leading zeros",
    "2130706434": ODD + "an IPv4 address must be four decimal numbers without leading zeros",
    "user@127.0.0.2": ODD + "it contains a user name or password; use the authentication settings instead",
}


@pytest.mark.parametrize("address", ADDRESSES)
async def test_an_internal_address_is_never_connected_to(plane: Plane, world: World, address: str) -> None:
    async with (
        receiver(answers(ok(b"{}")), address="127.0.0.2") as four,
        receiver(answers(ok(b"{}")), address="::1", port=four.port) as six,
    ):
        watching = asyncio.create_task(_connection_to(four.port))
        api = await plane.ask(ADD_API, bundle=world.bundle, url=f"http://{address}:{four.port}/")
        assert not watching.done(), watching.result()
        watching.cancel()
        assert (four.connections, six.connections) == (0, 0)

    assert api["spec"] == {
        "data": None, "fetchRequest": {"status": {"condition": "FAILED", "message": ADDRESSES[address]}},
    }  # fmt: skip


UNDER_WAY: Final = ("01", "02")
"""Of the states in /proc/net/tcp: established, and asked for."""


async def _connection_to(port: int) -> str:
    """Ends when the kernel shows an attempt to connect to that port, at whatever address."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    while True:
        for line in (line for table in tables for line in table.read_text().splitlines()[1:]):
            _, _, remote, state, *_ = line.split()
            # At 127.0.0.1 somebody else may have the same port, and its last connections linger.
            if remote.endswith(f":{port:04X}") and remote != f"0100007F:{port:04X}" and state in UNDER_WAY:
                return line
        await asyncio.sleep(0.005)


# Webhooks


async def test_a_webhook_that_hangs_holds_up_nobody_else_and_is_told_when_it_answers_again(plane: Plane) -> None:
    slow, quick, runtime = await plane.application("slow"), await plane.application("quick"), await plane.runtime("r")
    async with receiving(hangs_up) as hanging, receiving() as answering:
        for application, place in ((slow, hanging), (quick, answering)):
            webhook = {"type": "CONFIGURATION_CHANGED", "url": place.url()}
            await plane.post(ADD_WEBHOOK, {"id": application, "in": webhook})
        await plane.group("webhooks", applications=[slow, quick], runtimes=[runtime])

        (told,) = await answering.has(1)
        assert json.loads(told.body)["data"]["operation"] == "assign"
        attempts = await hanging.has(2)
        owed = await _delivery(plane, slow)
        assert (owed["state"], owed["error"]) == ("PENDING", "The receiver did not finish its answer in time")

        async def takes_it(_call: Call) -> bytes:
            return answered()

        hanging.behaviour = takes_it
        async with asyncio.timeout(20):
            while (await _delivery(plane, slow))["state"] != "DELIVERED":
                await asyncio.sleep(0.05)
        assert {call.id for call in attempts} == {owed["id"]}
        assert {call.id for call in hanging.calls} == {owed["id"]}
        assert len(answering.calls) == 1


async def _delivery(plane: Plane, application: str) -> Any:
    """The one delivery to the application, as soon as there is one."""
    document = "{ webhookDeliveries { data { id applicationID state error } } }"
    async with asyncio.timeout(20):
        while True:
            known = (await plane.ask(document))["webhookDeliveries"]["data"]
            found = [entry for entry in known if entry["applicationID"] == application]
            if found:
                assert len(found) == 1
                return found[0]
            await asyncio.sleep(0.02)


async def test_a_webhook_at_an_internal_address_is_never_connected_to(plane: Plane) -> None:
    application, runtime = await plane.application("inward"), await plane.runtime("r2")
    async with receiver(answers(ok(b"{}")), address="127.0.0.2") as inside:
        webhook = {"type": "CONFIGURATION_CHANGED", "url": f"http://127.0.0.2:{inside.port}/"}
        hook = (await plane.post(ADD_WEBHOOK, {"id": application, "in": webhook})).data["result"]
        await plane.group("inward", applications=[application], runtimes=[runtime])
        async with asyncio.timeout(20):
            while (await _delivery(plane, application))["error"] != "The address could not be reached":
                await asyncio.sleep(0.05)
        assert inside.connections == 0
        await plane.post("mutation ($id: ID!) { deleteWebhook(webhookID: $id) { id } }", {"id": hook["id"]})
        async with asyncio.timeout(20):
            while (await _delivery(plane, application))["state"] != "CANCELLED":
                await asyncio.sleep(0.05)
        assert inside.connections == 0


TEMPLATES: Final = {
    "{{ .Nope": 'line 1: an action is not closed: expected "}}"',
    "{{ .Nope }}": "line 1: there is no field 'Nope' in .Nope",
    "{{ if }}": "line 1: unexpected \"}}\": expected a value after 'if'",
    "no JSON": "line 1: the rendered text is not JSON: Expecting value, column 1, near 'no JSON'",
    "{{ range until 100000000 }}x{{ end }}": (
        "line 1: rendering takes more than 20000 steps; loop over less, or do less in each round"
    ),
}


@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_template_that_does_not_parse_is_refused_with_the_place(
    plane: Plane, world: World, unchanged: Unchanged, template: str
) -> None:
    webhook = {"type": "CONFIGURATION_CHANGED", "url": "https://a.example", "inputTemplate": template}
    expected = refusal(
        "InvalidData", 22, f"Invalid data WebhookInput [reason=inputTemplate: {TEMPLATES[template]}]", "result"
    )
    async with unchanged():
        answer = await plane.post(ADD_WEBHOOK, {"id": world.application, "in": webhook})
        assert (answer.status, answer.body) == (200, expected)


async def test_after_all_of_it_the_plane_serves_as_before(plane: Plane) -> None:
    context = plane.trust.context()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(f"{plane.token_url}/readyz") as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "ok")
    assert await plane.application("and one more")
