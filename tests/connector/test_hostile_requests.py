"""Hostile signing requests, 200 made by hand and any number of mutants: none gets more than its own key certified.

`COMPASS_PROOF=1` makes a million mutants, on all processors. Each run prints its seed; `COMPASS_TEST_SEED` repeats it.
"""

import asyncio
import base64
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from compass.connector import certificate
from compass.connector.authority import Authority
from compass.connector.certificate import CsrRefused
from compass.connector.issuer import Issuer, new_generation, new_serial
from compass.connector.signer import HeldKey
from compass.errors import Code
from compass.ids import SystemAuthId
from compass.settings import AuthoritySettings
from tests.connector.test_certificate import (
    BAD_KEY,
    HOSTILE,
    KEY,
    ME,
    SHA256_RSA,
    SUBJECT,
    VICTIM,
    attribute,
    csr,
    ec_spki,
    info,
    mutant,
    name,
    oid,
    pem_of,
    rsa_spki,
    sent,
    signed,
    spki,
    tlv,
)
from tests.connector.test_pairing import SIGN, Connector, connector, decoded, paired

__all__ = ["connector"]  # the fixture

PROOF: Final = bool(os.environ.get("COMPASS_PROOF"))
SEED: Final = int(os.environ.get("COMPASS_TEST_SEED") or random.SystemRandom().getrandbits(32))
MUTANTS: Final = 1_000_000 if PROOF else 2_000
ASKED: Final = 20_000 if PROOF else 200
"""Mutants that go all the way through the API, with a database behind it."""
CHUNK: Final = 2_000
AT_LEAST_PER_SECOND: Final = 5_000
MOST_GROWTH_BYTES: Final = 20 * 1024 * 1024

PROFILE = [
    (ExtensionOID.BASIC_CONSTRAINTS, True),
    (ExtensionOID.KEY_USAGE, True),
    (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
    (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
    (ExtensionOID.EXTENDED_KEY_USAGE, False),
]


# --- made by hand ---


def bad_keys() -> Iterator[tuple[str, bytes]]:
    """Keys that nobody may have certified, besides those of `HOSTILE`."""
    sound = rsa.generate_private_key(65537, 2048).private_numbers()
    p, q = sound.p, sound.q
    for bits in (768, 1023, 1536, 2046, 4098, 5120, 6144, 8193, 12288):
        yield f"RSA of {bits} bits", rsa_spki((1 << bits - 1) | (p * q) % (1 << min(bits, 2047) - 1) | 1)
    for exponent in (5, 17, 257, 65535, 65538, 65539, 1 << 31, (1 << 32) + 1, 1 << 64, (p - 1) // 2, p * q, p * q + 2):
        yield f"RSA with e = {str(exponent)[:12]}", rsa_spki(p * q, exponent)
    for factor in (3, 5, 7, 11, 13, 101, 997, 4999, 7919):
        yield f"RSA with a factor of {factor}", rsa_spki(factor * (p * q // factor | 1))
    point = KEY.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    p256 = oid("1.2.840.10045.3.1.7")
    for what, bad in {
        "a compressed point with no square root": b"\x02" + b"\xff" * 32,
        "a hybrid point": b"\x06" + point[1:],
        "coordinates beyond the field": b"\x04" + b"\xff" * 64,
        "swapped coordinates": b"\x04" + point[33:] + point[1:33],
        "one coordinate": point[:33],
        "a byte more": point + b"\0",
        "another form": b"\x05" + point[1:],
        "no point": b"",
    }.items():
        yield what, ec_spki(p256, bad)
    for curve in ("1.3.132.0.10", "1.3.132.0.33", "1.3.132.0.35", "1.3.36.3.3.2.8.1.1.7", "1.2.840.10045.3.1.4"):
        yield f"a point on {curve}", ec_spki(oid(curve), point)


def smuggling() -> Iterator[tuple[str, bytes]]:
    """Requests that are sound and ask for more than a certificate of the client: (what, DER for the name `ME`)."""
    mine = (NameOID.COMMON_NAME, str(ME))
    further = [NameOID.SURNAME, NameOID.GIVEN_NAME, NameOID.TITLE, NameOID.PSEUDONYM, NameOID.USER_ID]
    further += [NameOID.DOMAIN_COMPONENT, NameOID.EMAIL_ADDRESS, NameOID.POSTAL_CODE, NameOID.UNSTRUCTURED_NAME]
    further += [NameOID.ORGANIZATION_IDENTIFIER, NameOID.JURISDICTION_COUNTRY_NAME, ObjectIdentifier("2.5.4.65.1")]
    for kind in further:
        text = "DE" if kind == NameOID.JURISDICTION_COUNTRY_NAME else VICTIM
        yield f"{kind.dotted_string} before", signed(info(subject=name((kind, text), *SUBJECT, mine)))
        yield f"{kind.dotted_string} behind", signed(info(subject=name(*SUBJECT, mine, (kind, text))))
    for kind, _ in [*SUBJECT, mine]:
        other = "FR" if kind == NameOID.COUNTRY_NAME else VICTIM
        yield f"a second {kind.dotted_string}", signed(info(subject=name(*SUBJECT, mine, (kind, other))))
    value = tlv(0x30, tlv(0x82, b"victim.example"))
    wants: dict[str, tuple[str, bytes]] = {
        "basicConstraints CA": ("2.5.29.19", tlv(0x30, b"\x01\x01\xff")),
        "keyUsage of an authority": ("2.5.29.15", b"\x03\x02\x01\x06"),
        "extKeyUsage of a server": ("2.5.29.37", tlv(0x30, oid("1.3.6.1.5.5.7.3.1"))),
        "any extKeyUsage": ("2.5.29.37", tlv(0x30, oid("2.5.29.37.0"))),
        "subjectAltName": ("2.5.29.17", value),
        "issuerAltName": ("2.5.29.18", value),
        "nameConstraints": ("2.5.29.30", tlv(0x30, tlv(0xA0, tlv(0x30, tlv(0x82, b"."))))),
        "policies": ("2.5.29.32", tlv(0x30, tlv(0x30, oid("2.5.29.32.0")))),
        "subjectKeyIdentifier": ("2.5.29.14", tlv(0x04, bytes(20))),
        "authorityKeyIdentifier": ("2.5.29.35", tlv(0x30, tlv(0x80, bytes(20)))),
        "an unknown one": ("1.2.3.4.5", b"\x05\x00"),
        "an unreadable one": ("2.5.29.17", b"\xff\xff\xff"),
        "an empty one": ("2.5.29.19", b""),
        "a private one of 8 kB": ("1.3.6.1.4.1.99999.1", tlv(0x04, bytes(8000))),
    }
    for wanted, content in wants.items():
        for critical in (b"\x01\x01\xff", b""):
            extension = tlv(0x30, oid(content[0]), critical, tlv(0x04, content[1]))
            asked = tlv(0x30, oid("1.2.840.113549.1.9.14"), tlv(0x31, tlv(0x30, extension)))
            yield f"{wanted}{', critical' if critical else ''}", signed(info(attributes=tlv(0xA0, asked)))
            twice = tlv(0x30, oid("1.2.840.113549.1.9.14"), tlv(0x31, tlv(0x30, extension, extension)))
            yield f"{wanted} twice{', critical' if critical else ''}", signed(info(attributes=tlv(0xA0, twice)))
    password = tlv(0x30, oid("1.2.840.113549.1.9.7"), tlv(0x31, tlv(0x0C, b"challenge")))
    yield "a challenge password", signed(info(attributes=tlv(0xA0, password)))
    both = tlv(0x31, attribute(NameOID.COMMON_NAME, str(ME).encode()), attribute(NameOID.UNSTRUCTURED_NAME, b"x" * 60))
    yield (
        "two attributes in one part",
        signed(info(subject=tlv(0x30, *[tlv(0x31, attribute(kind, text.encode())) for kind, text in SUBJECT], both))),
    )


BAD_KEYS = {what: csr(signed(info(key=key), algorithm=SHA256_RSA, signature=bytes(256))) for what, key in bad_keys()}
SMUGGLING = dict(smuggling())


def test_there_are_200_by_hand_and_60_bad_keys() -> None:
    keys = len(BAD_KEYS) + sum(answer == BAD_KEY for _, _, answer in HOSTILE)
    print(f"{len(HOSTILE) + len(BAD_KEYS) + len(SMUGGLING)} requests by hand, {keys} bad keys, seed {SEED}")  # noqa: T201
    assert keys >= 60
    assert len(HOSTILE) + len(BAD_KEYS) + len(SMUGGLING) >= 200


async def test_every_bad_key_is_refused_before_it_costs_anything(authority: Authority) -> None:
    for what, text in BAD_KEYS.items():
        began = time.process_time()
        with pytest.raises(CsrRefused):
            certificate.read(authority, ME, text)
        assert time.process_time() - began < 0.05, what


def assert_profile(leaf: x509.Certificate, issuer: Issuer, client: str, key: bytes) -> None:
    """The constant profile with that key, whatever was asked for."""
    assert [(part.oid, part.value) for part in leaf.subject] == [
        *issuer.subject_parts().items(),
        (NameOID.COMMON_NAME, client),
    ]
    assert [(extension.oid, extension.critical) for extension in leaf.extensions] == PROFILE
    of = leaf.extensions.get_extension_for_class
    assert not of(x509.BasicConstraints).value.ca
    assert list(of(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert (of(x509.KeyUsage).value.digital_signature, of(x509.KeyUsage).value.key_cert_sign) == (True, False)
    assert leaf.not_valid_after_utc <= issuer.not_after
    assert leaf.serial_number.bit_length() > 64
    assert spki(leaf.public_key()) == key
    leaf.verify_directly_issued_by(issuer.certificate)


async def test_through_the_api_the_hostile_are_refused_and_what_is_smuggled_is_left_behind(
    connector: Connector, committed_authority: Authority, request_for: Any, record_property: Any
) -> None:
    """One token for all that are refused: it is as good afterwards as before."""
    client, _ = await paired(connector, request_for)
    record_property("cases", len(HOSTILE) + len(BAD_KEYS) + len(SMUGGLING))
    me = connector.system_auth
    token = connector.holding(await connector.token())
    before = await connector.state()
    for what, text in [*((what, text) for what, text, _ in HOSTILE), *BAD_KEYS.items()]:
        if "\ud800" in text:
            continue  # such a text is no JSON: it ends before the resolver
        [error] = (await connector(token, SIGN, csr=text))["errors"]
        assert error["extensions"]["error_code"] == Code.INVALID_DATA, (what, error)
    assert await connector.state() == before, "a refused request changed something"
    known = spki(KEY.public_key())
    outcomes = Counter[str]()
    for what, der in SMUGGLING.items():
        # The name of this client has as many letters, so it takes the place of the other; then it is signed again.
        request = signed(x509_info(der).replace(str(ME).encode(), str(me).encode()))
        answer = await connector(client, SIGN, csr=sent(pem_of(request)))
        if "errors" in answer:
            assert answer["errors"][0]["extensions"]["error_code"] == Code.INVALID_DATA, (what, answer)
            outcomes["refused"] += 1
            continue
        [leaf] = decoded(answer["data"]["result"]["clientCertificate"])
        assert_profile(leaf, committed_authority.issuer, me, known)
        outcomes["accepted"] += 1
    assert outcomes["accepted"] >= 70, outcomes
    assert "errors" not in await connector(token, SIGN, csr=request_for(me))


def x509_info(der: bytes) -> bytes:
    """What of a request is signed."""
    return x509.load_der_x509_csr(der).tbs_certrequest_bytes


# --- mutants ---


def originals() -> list[bytes]:
    rsa_key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in [*SUBJECT, (NameOID.COMMON_NAME, ME)]])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    rich = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    requests = [
        builder.sign(rsa_key, hashes.SHA256()),
        builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
        rich.sign(KEY, hashes.SHA256()),
    ]
    return [signed(info()), *(each.public_bytes(serialization.Encoding.DER) for each in requests)]


def mutants(seed: str, count: int, given: list[bytes], *, client: str = ME) -> Iterator[str]:
    """As they are sent. Half are signed again by the key's owner, so that they reach what is behind the signature."""
    mine = (str(ME).encode(), client.encode())
    randomness = random.Random(seed)  # noqa: S311
    smuggled = list(SMUGGLING.values())
    for number in range(count):
        if number % 2:
            tbs = info() if number % 4 == 1 else x509_info(randomness.choice(smuggled))
            der = signed(mutant(randomness, tbs.replace(*mine)))
        else:
            der = mutant(randomness, randomness.choice(given))
        text = pem_of(der).encode()
        if number % 10 == 0:
            text = mutant(randomness, text)
        wire = base64.b64encode(text).decode()
        yield mutant(randomness, wire.encode()).decode("latin-1") if number % 25 == 0 else wire


def chunk(seed: str, count: int, given: list[bytes], key_der: bytes) -> tuple[Counter[str], int, float]:
    """How that many mutants ended, how much memory the process had at most, in bytes, and its processor's seconds."""
    began = time.process_time()
    key = serialization.load_der_private_key(key_der, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    settings = AuthoritySettings()
    made = new_generation(settings, key.public_key())
    issuer = Issuer(settings, made.root, made.issuing, HeldKey(key), "")
    # The checks ask the authority for nothing but the parts of the subject, which the issuer knows too.
    authority = cast("Authority", issuer)

    async def all_of_them() -> Counter[str]:
        outcomes: Counter[str] = Counter()
        for number, text in enumerate(mutants(seed, count, given)):
            try:
                request = certificate.read(authority, ME, text)
            except CsrRefused as refusal:
                outcomes[str(refusal)] += 1
                continue
            except BaseException as escaped:
                raise AssertionError(f"seed {seed}, mutant {number}: {text}") from escaped
            outcomes["accepted"] += 1
            if outcomes["accepted"] % 10 == 1:  # the key is all that is taken over: a part of them shows the rest
                leaf = await issuer.sign_client(request.public_key, common_name=ME, serial=new_serial())
                assert_profile(leaf, issuer, ME, spki(request.public_key))
        return outcomes

    outcomes = asyncio.run(all_of_them())
    return outcomes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.process_time() - began


@pytest.mark.timeout(1800)
def test_no_mutant_escapes_the_checks_or_gets_a_certificate_outside_the_profile(record_property: Any) -> None:
    record_property("cases", MUTANTS)
    record_property("seed", str(SEED))
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    given, outcomes = originals(), Counter[str]()
    parts = [(f"{SEED}-{n}", CHUNK if PROOF else MUTANTS // 2) for n in range(MUTANTS // CHUNK if PROOF else 2)]
    memory: list[int] = []
    spent = 0.0
    processes = os.cpu_count() or 1
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        list(pool.map(chunk, ["warm"] * processes, [10] * processes, [given] * processes, [key] * processes))
        work = [pool.submit(chunk, seed, count, given, key) for seed, count in parts]
        for done in work:
            counted, most, seconds = done.result()
            outcomes += counted
            memory.append(most)
            spent += seconds
    rate = outcomes.total() / spent
    accepted = outcomes["accepted"]
    print(f"{outcomes.total()} mutants, seed {SEED}, {rate:.0f}/s and processor, {accepted} accepted")  # noqa: T201
    assert outcomes.total() == MUTANTS
    words = ("pem block", "PKCS#10", "Invalid key", "signature invalid", "common name", "base64", "accepted")
    assert [word for word in words if not any(word in outcome for outcome in outcomes)] == []
    if PROOF:
        # After a tenth of the work nothing grows any more.
        assert max(memory) - max(memory[: len(memory) // 10]) < MOST_GROWTH_BYTES
        assert rate * 2 >= AT_LEAST_PER_SECOND  # of two processors, however busy they are with other things


@pytest.mark.timeout(1800)
async def test_mutants_through_the_api_are_answered_and_never_with_a_fault_of_ours(
    connector: Connector, committed_authority: Authority, request_for: Any, record_property: Any
) -> None:
    record_property("cases", ASKED)
    client, _ = await paired(connector, request_for)
    outcomes: Counter[str] = Counter()
    given = originals()
    for number, text in enumerate(mutants(f"{SEED}-api", ASKED, given, client=connector.system_auth)):
        answer = await connector(client, SIGN, csr=text)
        if "errors" in answer:
            error = answer["errors"][0]
            assert error["extensions"]["error_code"] == Code.INVALID_DATA, (SEED, number, error)
            outcomes["refused"] += 1
        else:
            [leaf] = decoded(answer["data"]["result"]["clientCertificate"])
            key = spki(leaf.public_key())
            assert_profile(leaf, committed_authority.issuer, SystemAuthId(connector.system_auth), key)
            outcomes["accepted"] += 1
    print(f"{outcomes} through the API, seed {SEED}")  # noqa: T201
    assert outcomes.total() == ASKED
