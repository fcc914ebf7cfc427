import logging
import re
import time
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from graphql import parse, validate

from compass.client.graphql import (
    Bearer,
    CertificateUnusable,
    ClientCertificate,
    DocumentUnknown,
    Endpoint,
    OneTimeToken,
    Plane,
    PlaneAnswerUnreadable,
    PlaneNotTrusted,
    PlaneRefused,
    PlaneUnreachable,
    Trust,
    document,
    fetch_anchor,
)
from tests.agent.plane import CONNECTOR, DIRECTOR, Authority, FakePlane, free_port_url

AGENT_DOCUMENTS = (
    "Configuration",
    "ManagementPlane",
    "RevokeCertificate",
    "RuntimeConfiguration",
    "RuntimeConfigurationApis",
    "RuntimeConfigurationBundles",
    "RuntimeConfigurationEvents",
    "SetRuntimeLabel",
    "SignCertificateSigningRequest",
)


def fingerprint(authority: Authority) -> str:
    from cryptography.hazmat.primitives import hashes

    return authority.certificate.fingerprint(hashes.SHA256()).hex()


async def test_an_answer_is_the_data_of_the_document_sent(plane: FakePlane) -> None:
    token = plane.new_token("client-1")
    async with Plane(plane.token_url, trust=Trust.to(plane.authority.pem), credentials=OneTimeToken(token)) as asked:
        answer = await asked.send("Configuration")
    assert answer["configuration"]["certificateSigningRequestInfo"] == {
        "subject": "O=Org,OU=OrgUnit,L=Locality,ST=State,C=DE,CN=client-1",
        "keyAlgorithm": "rsa2048",
    }
    assert plane.seen[0]["headers"]["Connector-Token"] == token


async def test_the_tenant_and_the_bearer_token_travel_as_headers(plane: FakePlane) -> None:
    async with Plane(
        plane.token_url, trust=Trust.to(plane.authority.pem), credentials=Bearer("b3arer"), tenant="t1"
    ) as asked:
        with pytest.raises(PlaneRefused):
            await asked.send("Configuration")
    headers = plane.seen[0]["headers"]
    assert (headers["Tenant"], headers["Authorization"]) == ("t1", "Bearer b3arer")


async def test_a_refusal_carries_the_first_message_and_code(plane: FakePlane) -> None:
    async with Plane(plane.token_url, trust=Trust.to(plane.authority.pem), credentials=OneTimeToken("x")) as asked:
        with pytest.raises(PlaneRefused) as refusal:
            await asked.send("Configuration")
    assert refusal.value.error_code == 26
    assert str(refusal.value) == "Unauthorized [reason=the token is not valid]"
    assert refusal.value.unauthorized


async def test_an_error_without_a_code_is_a_refusal_without_one(plane: FakePlane) -> None:
    async with Plane(plane.token_url, trust=Trust.to(plane.authority.pem)) as asked:
        with pytest.raises(PlaneRefused) as refusal:
            await asked.ask(Endpoint.CONNECTOR, "query Wrong { nothing }")
    assert refusal.value.error_code is None
    assert not refusal.value.unauthorized


@pytest.mark.parametrize(
    ("fault", "why"),
    [("500", "not JSON"), ("garbage", "not JSON"), ("nothing", "neither data nor errors"), ("redirect", "not JSON")],
)
async def test_an_answer_that_is_no_graphql_answer_is_told_apart(plane: FakePlane, fault: str, why: str) -> None:
    plane.fault = fault
    async with Plane(plane.token_url, trust=Trust.to(plane.authority.pem)) as asked:
        with pytest.raises(PlaneAnswerUnreadable, match=why):
            await asked.send("Configuration")


async def test_a_plane_that_asks_for_patience_is_asked_again_when_it_said(plane: FakePlane) -> None:
    plane.fault, plane.busy_for = "busy", 2
    async with Plane(plane.token_url, trust=Trust.to(plane.authority.pem), credentials=OneTimeToken("x")) as asked:
        began = time.monotonic()
        with pytest.raises(PlaneRefused) as refusal:
            await asked.send("Configuration")
    assert refusal.value.error_code == 26  # the plane's own answer
    assert len(plane.seen) == 3
    assert time.monotonic() - began >= 2


async def test_patience_ends_with_the_time_of_the_call(plane: FakePlane) -> None:
    plane.fault, plane.busy_for = "busy", 100
    async with Plane(plane.token_url, trust=Trust.to(plane.authority.pem), timeout=timedelta(seconds=0.9)) as asked:
        with pytest.raises(PlaneRefused, match="too many"):
            await asked.send("Configuration")
    assert len(plane.seen) == 1


async def test_a_slow_plane_is_unreachable_after_the_time_allowed(plane: FakePlane) -> None:
    plane.fault = "slow"
    async with Plane(plane.token_url, trust=Trust.to(plane.authority.pem), timeout=timedelta(seconds=0.2)) as asked:
        with pytest.raises(PlaneUnreachable, match="no answer in time"):
            await asked.send("Configuration")


async def test_a_plane_that_is_down_is_unreachable(plane: FakePlane) -> None:
    async with Plane(await free_port_url(), trust=Trust.to(plane.authority.pem)) as asked:
        with pytest.raises(PlaneUnreachable, match="Connect"):
            await asked.send("Configuration")


async def test_an_address_that_is_none_is_unreachable(plane: FakePlane) -> None:
    async with Plane({Endpoint.CONNECTOR: "https://"}, trust=Trust.to(plane.authority.pem)) as asked:
        with pytest.raises(PlaneUnreachable):
            await asked.send("Configuration")


async def test_a_server_of_another_authority_is_not_trusted_and_hears_nothing(plane: FakePlane) -> None:
    token = plane.new_token("client-1")
    other = Trust.to(Authority("Another").pem)
    async with Plane(plane.token_url, trust=other, credentials=OneTimeToken(token)) as asked:
        with pytest.raises(PlaneNotTrusted, match="nothing was sent"):
            await asked.send("Configuration")
    assert plane.calls == []


async def test_a_pin_picks_the_one_anchor_it_names(plane: FakePlane) -> None:
    other = Authority("Another")
    pin = fingerprint(plane.authority)
    coloned = "SHA256:" + ":".join(re.findall("..", pin.upper()))
    for spelled in (pin, f"sha256:{pin}", coloned):
        assert Trust.to(other.pem + plane.authority.pem, pin=spelled).anchors == plane.authority.pem
    with pytest.raises(PlaneNotTrusted, match=f"expected is sha256:{pin}"):
        Trust.to(other.pem, pin=pin)


@pytest.mark.parametrize("text", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_trust_anchor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PlaneNotTrusted):
        Trust.to(text).context()


async def test_the_anchor_can_be_taken_from_the_plane_by_its_pin(plane: FakePlane) -> None:
    trust = await fetch_anchor(plane.token_url, fingerprint(plane.authority))
    async with Plane(plane.token_url, trust=trust, credentials=OneTimeToken(plane.new_token("c"))) as asked:
        assert "configuration" in await asked.send("Configuration")


async def test_an_anchor_with_another_fingerprint_is_not_taken(plane: FakePlane) -> None:
    pin = "00" * 32
    with pytest.raises(PlaneNotTrusted, match=f"expected is sha256:{pin}; nothing was sent"):
        await fetch_anchor(plane.token_url, pin)
    assert plane.calls == []


async def test_a_client_certificate_is_presented(plane: FakePlane, tmp_path: Path) -> None:
    certificate = ClientCertificate(*plane.authority.write_client(tmp_path, "client-7"))
    async with Plane(plane.mtls_url, trust=Trust.to(plane.authority.pem), credentials=certificate) as asked:
        await asked.send("ManagementPlane")
    assert plane.seen[0]["client_id"] == "client-7"


async def test_an_unusable_certificate_file_is_named(plane: FakePlane, tmp_path: Path) -> None:
    missing = ClientCertificate(tmp_path / "none.crt", tmp_path / "none.key")
    async with Plane(plane.mtls_url, trust=Trust.to(plane.authority.pem), credentials=missing) as asked:
        with pytest.raises(CertificateUnusable, match=r"none\.crt"):
            await asked.send("ManagementPlane")


async def test_no_text_of_a_plane_or_its_errors_holds_a_secret(
    plane: FakePlane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for credentials in (OneTimeToken("t0psecret"), Bearer("t0psecret")):
        asked = Plane(plane.token_url, trust=Trust.to(plane.authority.pem), credentials=credentials)
        with pytest.raises(PlaneRefused) as refusal:
            await asked.send("Configuration")
        await asked.close()
        texts = (repr(asked), repr(credentials), str(refusal.value), repr(refusal.value), caplog.text)
        assert not [text for text in texts if "t0psecret" in text]


def test_every_document_names_its_endpoint_in_its_first_line() -> None:
    names = [file.name for file in files("compass.client.documents").iterdir() if file.name.endswith(".graphql")]
    assert {f"{name}.graphql" for name in AGENT_DOCUMENTS} <= set(names)
    for name in names:
        document(name.removesuffix(".graphql"))


@pytest.mark.parametrize("name", AGENT_DOCUMENTS)
def test_the_agents_documents_are_valid_by_the_contract(name: str) -> None:
    found = document(name)
    schema = CONNECTOR if found.endpoint is Endpoint.CONNECTOR else DIRECTOR
    assert validate(schema, parse(found.text)) == []


def test_a_document_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DocumentUnknown, match="'Nothing'"):
        document("Nothing")
