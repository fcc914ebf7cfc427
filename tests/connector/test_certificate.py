import asyncio
import base64
import hashlib
import math
import os
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from compass.connector import certificate, one_time_token
from compass.connector.authority import Authority
from compass.connector.certificate import CsrRefused, CsrUndecodable, Issued
from compass.connector.issuer import ServerNameRefused
from compass.connector.one_time_token import Purpose, TokenRefused
from compass.connector.signer import HeldKey
from compass.errors import NotFound
from compass.ids import SystemAuthId
from compass.postgres.pool import Database, Tx

HOUR = timedelta(hours=1)
ME = SystemAuthId("11111111-1111-4111-8111-111111111111")
VICTIM = "22222222-2222-4222-8222-222222222222"
SEED = int(os.environ.get("COMPASS_TEST_SEED", "20261123"))
MUTANTS = 20_000

NOT_BASE64 = (
    "Error while decoding Certificate Signing Request: Error while parsing base64 content. Incorrect value provided."
)
TOO_LARGE = "Error while decoding Certificate Signing Request: it is larger than 16384 bytes."
SIGNING = "Error while signing Certificate Signing Request: "
NOT_PEM = SIGNING + "Error while decoding pem block."
NOT_DER = SIGNING + "Error while parsing CSR: it is not a PKCS#10 certification request."
BAD_KEY = SIGNING + "CSR: Invalid key provided. Use RSA of 2048 to 4096 bits with exponent 65537, or P-256, or P-384."
BAD_SIGNATURE = (
    SIGNING + "CSR signature invalid: it was not made with the key of the request and SHA-256, SHA-384 or SHA-512."
)
BAD_CN = SIGNING + "CSR: Invalid common name provided."

SUBJECT = [
    (NameOID.ORGANIZATION_NAME, "Org"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "OrgUnit"),
    (NameOID.LOCALITY_NAME, "locality"),
    (NameOID.STATE_OR_PROVINCE_NAME, "province"),
    (NameOID.COUNTRY_NAME, "DE"),
]


# --- a request written byte by byte: what a library refuses to build, an attacker sends ---


def tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray([first * 40 + second])
    for arc in rest:
        seven = [arc & 0x7F]
        while arc := arc >> 7:
            seven.append(arc & 0x7F | 0x80)
        out += bytes(reversed(seven))
    return tlv(0x06, bytes(out))


def attribute(kind: ObjectIdentifier, value: bytes, tag: int = 0x0C) -> bytes:
    return tlv(0x30, oid(kind.dotted_string), tlv(tag, value))


def name(*parts: tuple[ObjectIdentifier, str]) -> bytes:
    return tlv(0x30, *[tlv(0x31, attribute(kind, value.encode())) for kind, value in parts])


MY_NAME = name(*SUBJECT, (NameOID.COMMON_NAME, ME))
SHA256_ECDSA = tlv(0x30, oid("1.2.840.10045.4.3.2"))
SHA256_RSA = tlv(0x30, oid("1.2.840.113549.1.1.11"), b"\x05\x00")
KEY = ec.generate_private_key(ec.SECP256R1())


def spki(key: Any) -> bytes:
    der: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der


def rsa_spki(n: int, e: int = 65537) -> bytes:
    return tlv(
        0x30,
        tlv(0x30, oid("1.2.840.113549.1.1.1"), b"\x05\x00"),
        tlv(0x03, b"\0", tlv(0x30, integer(n), integer(e))),
    )


def ec_spki(curve: bytes, point: bytes) -> bytes:
    return tlv(0x30, tlv(0x30, oid("1.2.840.10045.2.1"), curve), tlv(0x03, b"\0", point))


def info(
    *, subject: bytes = MY_NAME, key: bytes | None = None, version: bytes = integer(0), attributes: bytes = b"\xa0\x00"
) -> bytes:
    return tlv(0x30, version, subject, spki(KEY.public_key()) if key is None else key, attributes)


def signed(tbs: bytes, *, algorithm: bytes = SHA256_ECDSA, signature: bytes | None = None) -> bytes:
    made = KEY.sign(tbs, ec.ECDSA(hashes.SHA256())) if signature is None else signature
    return tlv(0x30, tbs, algorithm, tlv(0x03, b"\0", made))


def pem_of(der: bytes, label: str = "CERTIFICATE REQUEST", end: str | None = None) -> str:
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{lines}-----END {end or label}-----\n"


def sent(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def csr(der: bytes) -> str:
    return sent(pem_of(der))


def prime(bits: int, randomness: random.Random) -> int:
    while True:
        candidate = randomness.getrandbits(bits) | 3 << bits - 2 | 1
        if all(candidate % p for p in range(3, 2000, 2)) and pow(2, candidate - 1, candidate) == 1:
            return candidate


def next_prime(number: int) -> int:
    number += 2
    while pow(2, number - 1, number) != 1:
        number += 2
    return number


def roca_like(bits: int) -> int:
    """A number with the fingerprint of the faulty library: a power of 65537 modulo every prime up to 167."""
    primorial = math.prod(p for p in range(3, 168) if all(p % q for q in range(2, math.isqrt(p) + 1)))
    number = pow(65537, 4711, primorial) + primorial * (1 << bits - primorial.bit_length())
    while number % 2 == 0 or number.bit_length() != bits or math.gcd(number, math.factorial(10_000)) != 1:
        number += primorial
    return number


def hostile() -> Iterator[tuple[str, str, str]]:
    """(what it is, what is sent, what is answered)."""
    good = signed(info())
    text = pem_of(good)

    # base64
    yield "a word", "csr", NOT_BASE64
    yield "PEM without base64", text, NOT_BASE64
    yield "URL-safe alphabet", sent(b"\xfb\xff\xfe" * 3).replace("+", "-").replace("/", "_"), NOT_BASE64
    padded = text + "\n" * ((1 - len(text)) % 3)  # its base64 ends with ==
    yield "padding missing", sent(padded).rstrip("="), NOT_BASE64
    yield "not ASCII", "é" + sent(text), NOT_BASE64
    yield "a NUL", sent(text) + "\0", NOT_BASE64
    yield "a lone surrogate", "\ud800" + sent(text), NOT_BASE64
    yield "blanks", "    ", NOT_BASE64
    yield "16 kB and one byte", sent(text + " " * (16 * 1024 + 1 - len(text))), TOO_LARGE
    yield "50 MB", "A" * 50_000_000, TOO_LARGE

    # PEM
    yield "nothing", "", NOT_PEM
    yield "DER without PEM", sent(good), NOT_PEM
    yield "another label", sent(pem_of(good, "CERTIFICATE")), NOT_PEM
    yield "a label in lower case", sent(pem_of(good, "certificate request")), NOT_PEM
    yield "labels that differ", sent(pem_of(good, end="NEW CERTIFICATE REQUEST")), NOT_PEM
    yield "no end", sent(text.partition("-----END")[0]), NOT_PEM
    yield "no beginning", sent(text.partition("\n")[2]), NOT_PEM
    yield "two requests", sent(text * 2), NOT_PEM
    yield "a private key before it", sent(pem_of(b"key", "PRIVATE KEY") + text), NOT_PEM
    yield "headers inside", sent(text.replace("\n", "\nProc-Type: 4,ENCRYPTED\n\n", 1)), NOT_PEM
    yield "a body that is no base64", sent(text.replace("\nMII", "\nM=I", 1)), NOT_PEM
    yield "a body with bad padding", sent(text.replace("-----END", "A\n-----END")), NOT_PEM
    yield "UTF-16", sent(text.encode("utf-16")), NOT_PEM

    # DER
    yield "an empty body", sent(pem_of(b"")), NOT_DER
    yield "one byte", csr(b"\x30"), NOT_DER
    yield "an empty sequence", csr(tlv(0x30)), NOT_DER
    yield "random bytes", csr(random.Random(SEED).randbytes(900)), NOT_DER  # noqa: S311
    yield "data behind it", csr(good + b"\0"), NOT_DER
    yield "data behind the attributes", csr(signed(tlv(0x30, info()[4:], b"\x05\x00"))), NOT_DER
    yield "cut short", csr(good[:-1]), NOT_DER
    yield "indefinite length", csr(b"\x30\x80" + good[4:] + b"\0\0"), NOT_DER
    yield "a length of 2^32", csr(b"\x30\x84\xff\xff\xff\xff" + good[4:]), NOT_DER
    yield "a length longer than needed", csr(b"\x30\x83\0" + good[2:]), NOT_DER
    deep = b"\x05\x00"
    for _ in range(2000):
        deep = tlv(0x30, deep)
    yield "2000 levels", csr(deep), NOT_DER
    yield "version 2", csr(signed(info(version=integer(1)))), NOT_DER
    yield "version -1", csr(signed(info(version=integer(-1)))), NOT_DER
    yield "version missing", csr(signed(info(version=b""))), NOT_DER
    yield "attributes that are none", csr(signed(info(attributes=b"\xa0\x03abc"))), NOT_DER
    yield "a subject that is none", csr(signed(info(subject=integer(7)))), NOT_DER
    yield (
        "a name part that is a number",
        csr(signed(info(subject=tlv(0x30, tlv(0x31, attribute(NameOID.COMMON_NAME, b"\x01", 0x02)))))),
        NOT_DER,
    )
    yield (
        "a common name that is no UTF-8",
        csr(signed(info(subject=tlv(0x30, tlv(0x31, attribute(NameOID.COMMON_NAME, b"\xff\xfe")))))),
        NOT_DER,
    )
    good_point = KEY.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    yield "a key without its curve", csr(signed(info(key=ec_spki(b"", good_point)))), NOT_DER
    yield "a curve of one's own", csr(signed(info(key=ec_spki(tlv(0x30, integer(1)), good_point)))), NOT_DER
    yield "a key in place of a request", csr(spki(KEY.public_key())), NOT_DER

    # keys, each without a signature that could be computed: it is refused before
    randomness = random.Random(SEED)  # noqa: S311
    p, q = prime(1024, randomness), prime(1024, randomness)
    sound = p * q
    for what, n, e in [
        ("RSA-512", prime(256, randomness) * prime(256, randomness), 65537),
        ("RSA-1024", prime(512, randomness) * prime(512, randomness), 65537),
        ("RSA-2047", sound >> 1 | 1, 65537),
        ("RSA-4097", 1 << 4096 | sound, 65537),
        ("RSA-8192", 1 << 8191 | sound, 65537),
        ("RSA-16384 with a huge exponent", 1 << 16383 | sound, 1 << 16000 | 1),
        ("RSA with e = 3", sound, 3),
        ("RSA with e = 1", sound, 1),
        ("RSA with an even e", sound, 65536),
        ("RSA with e = 0", sound, 0),
        ("RSA with a negative e", sound, -65537),
        ("RSA with a huge e", sound, sound - 2),
        ("RSA with an even modulus", sound & ~1, 65537),
        ("RSA with a factor of 9973", prime(2036, randomness) * 9973, 65537),
        ("RSA with factors close together", p * next_prime(p), 65537),
        ("RSA with a square modulus", p * p, 65537),
        ("RSA with a negative modulus", -sound, 65537),
        ("RSA with a modulus of 0", 0, 65537),
        ("RSA of the faulty library (ROCA)", roca_like(2048), 65537),
    ]:
        yield what, csr(signed(info(key=rsa_spki(n, e)), algorithm=SHA256_RSA, signature=bytes(256))), BAD_KEY
    p256, p384 = oid("1.2.840.10045.3.1.7"), oid("1.3.132.0.34")
    for what, key in [
        ("P-192", ec_spki(oid("1.2.840.10045.3.1.1"), b"\x04" + bytes(48))),
        ("P-224", spki(ec.generate_private_key(ec.SECP224R1()).public_key())),
        ("P-521", spki(ec.generate_private_key(ec.SECP521R1()).public_key())),
        ("secp256k1", spki(ec.generate_private_key(ec.SECP256K1()).public_key())),
        ("brainpool", spki(ec.generate_private_key(ec.BrainpoolP256R1()).public_key())),
        ("a point off the curve", ec_spki(p256, good_point[:-1] + bytes([good_point[-1] ^ 1]))),
        ("the point at infinity", ec_spki(p256, b"\0")),
        ("a point of another curve", ec_spki(p384, good_point)),
        ("a point of zeros", ec_spki(p256, b"\x04" + bytes(64))),
        ("a point cut short", ec_spki(p256, good_point[:-1])),
        ("an unknown curve", ec_spki(oid("1.2.3.4"), good_point)),
        ("Ed25519", spki(ed25519.Ed25519PrivateKey.generate().public_key())),
        ("Ed448", spki(ed448.Ed448PrivateKey.generate().public_key())),
        ("X25519", spki(x25519.X25519PrivateKey.generate().public_key())),
        ("DSA", spki(dsa.generate_private_key(2048).public_key())),
        ("an unknown kind of key", tlv(0x30, tlv(0x30, oid("1.2.3.4")), tlv(0x03, b"\0abc"))),
        ("an RSA key that is none", tlv(0x30, tlv(0x30, oid("1.2.840.113549.1.1.1"), b"\x05\0"), tlv(0x03, b"\0abc"))),
    ]:
        yield what, csr(signed(info(key=key))), BAD_KEY

    # signatures
    made = KEY.sign(info(), ec.ECDSA(hashes.SHA256()))
    yield (
        "a signature with one bit flipped",
        csr(signed(info(), signature=made[:-1] + bytes([made[-1] ^ 1]))),
        BAD_SIGNATURE,
    )
    yield "an empty signature", csr(signed(info(), signature=b"")), BAD_SIGNATURE
    yield "a signature of zeros", csr(signed(info(), signature=tlv(0x30, integer(0), integer(0)))), BAD_SIGNATURE
    yield (
        "a key that is not the signer's",
        csr(signed(info(key=spki(ec.generate_private_key(ec.SECP256R1()).public_key())))),
        BAD_SIGNATURE,
    )
    yield (
        "the signature of another subject",
        csr(signed(info(), signature=KEY.sign(info(subject=name()), ec.ECDSA(hashes.SHA256())))),
        BAD_SIGNATURE,
    )
    yield (
        "SHA-1",
        csr(
            signed(
                info(),
                algorithm=tlv(0x30, oid("1.2.840.10045.4.1")),
                signature=KEY.sign(info(), ec.ECDSA(hashes.SHA1())),  # noqa: S303
            )
        ),
        BAD_SIGNATURE,
    )
    yield (
        "SHA-224",
        csr(
            signed(
                info(),
                algorithm=tlv(0x30, oid("1.2.840.10045.4.3.1")),
                signature=KEY.sign(info(), ec.ECDSA(hashes.SHA224())),
            )
        ),
        BAD_SIGNATURE,
    )
    yield "MD5", csr(signed(info(), algorithm=tlv(0x30, oid("1.2.840.113549.1.1.4"), b"\x05\0"))), BAD_SIGNATURE
    yield "an RSA algorithm for an EC key", csr(signed(info(), algorithm=SHA256_RSA)), BAD_SIGNATURE
    yield "an unknown algorithm", csr(signed(info(), algorithm=tlv(0x30, oid("1.2.3.4")))), BAD_SIGNATURE

    # subjects
    for what, common in [
        ("somebody else", VICTIM),
        ("upper case", ME.upper() + "A"),
        ("a blank behind it", ME + " "),
        ("a blank before it", " " + ME),
        ("a NUL behind it", ME + "\0"),
        ("a NUL and a victim behind it", f"{ME}\0{VICTIM}"),
        ("a homoglyph", ME.replace("1", "１", 1)),
        ("a control character", ME + "\x07"),
        ("a right-to-left mark", "\u200f" + ME),
        ("65 bytes", ME + "1" * 29),
        ("4 kB", "1" * 4096),
        ("without hyphens", ME.replace("-", "")),
        ("a subject inside it", f"{ME},CN={VICTIM}"),
        ("an escaped one", f"\\{ME}"),
    ]:
        yield (
            f"a common name of {what}",
            csr(signed(info(subject=name(*SUBJECT, (NameOID.COMMON_NAME, common))))),
            BAD_CN,
        )
    yield "no common name", csr(signed(info(subject=name(*SUBJECT)))), BAD_CN
    yield "an empty subject", csr(signed(info(subject=name()))), BAD_CN
    yield (
        "a victim's common name before mine",
        csr(signed(info(subject=name((NameOID.COMMON_NAME, VICTIM), *SUBJECT, (NameOID.COMMON_NAME, ME))))),
        BAD_CN,
    )
    wire = {"O": "organization", "OU": "organizational unit", "L": "locality", "ST": "province", "C": "country"}
    for (kind, value), word in zip(SUBJECT, wire.values(), strict=True):
        rest = [part for part in SUBJECT if part[0] != kind]
        me = (NameOID.COMMON_NAME, ME)
        wrong = "FR" if word == "country" else value.upper() + "x"
        yield f"no {word}", csr(signed(info(subject=name(*rest, me)))), f"{SIGNING}CSR: No {word} provided."
        yield (
            f"a wrong {word}",
            csr(signed(info(subject=name(*rest, (kind, wrong), me)))),
            f"{SIGNING}CSR: Invalid {word} provided.",
        )
        yield (
            f"a wrong {word} before the right one",
            csr(signed(info(subject=name((kind, wrong), *SUBJECT, me)))),
            f"{SIGNING}CSR: Invalid {word} provided.",
        )


HOSTILE = list(hostile())


def test_the_corpus_is_as_large_as_promised_and_without_repetition() -> None:
    assert len(HOSTILE) >= 100
    assert len({what for what, _, _ in HOSTILE}) == len(HOSTILE)


async def test_every_hostile_request_is_refused_in_time_with_its_own_words(authority: Authority) -> None:
    for what, text, answer in HOSTILE:
        began = time.process_time()
        with pytest.raises(CsrRefused) as refusal:
            certificate.read(authority, ME, text)
        spent = time.process_time() - began
        assert str(refusal.value) == answer, what
        assert spent < 0.05, f"{what} took {spent:.3f} s"


async def test_the_contracts_order_of_checks_decides_between_several_faults(authority: Authority) -> None:
    nothing_right = [(kind, "x") for kind, _ in SUBJECT]
    expected = [("country", 4), ("organization", 0), ("organizational unit", 1), ("locality", 2), ("province", 3)]
    for word, index in expected:
        subject = name(*nothing_right, (NameOID.COMMON_NAME, ME))
        with pytest.raises(CsrRefused) as refusal:
            certificate.read(authority, ME, csr(signed(info(subject=subject))))
        assert str(refusal.value) == f"{SIGNING}CSR: Invalid {word} provided."
        nothing_right[index] = SUBJECT[index]


def mutant(randomness: random.Random, original: bytes) -> bytes:
    changed = bytearray(original)
    for _ in range(randomness.choice((1, 1, 1, 2, 4, 16))):
        at = randomness.randrange(len(changed))
        match randomness.randrange(6):
            case 0:
                changed[at] ^= 1 << randomness.randrange(8)
            case 1:
                changed[at] = randomness.choice((0, 1, 0x7F, 0x80, 0xFF, 0x30, 0x31, 0x02, 0x06, 0x0C, 0x13, 0xA0))
            case 2:
                del changed[at : at + randomness.randrange(1, 9)]
            case 3:
                changed[at:at] = randomness.randbytes(randomness.randrange(1, 9))
            case 4:
                changed[at:at] = changed[randomness.randrange(len(changed)) :][: randomness.randrange(1, 40)]
            case 5:
                end = randomness.randrange(at, min(at + 20, len(changed)))
                changed[at:end] = reversed(changed[at:end])
        if not changed:
            changed = bytearray(original)
    return bytes(changed)


async def test_no_mutant_of_a_request_escapes_the_checks(authority: Authority) -> None:
    """Half of the mutants are signed again by the key's owner, so that they reach the checks behind the signature."""
    randomness = random.Random(SEED)  # noqa: S311
    rsa_key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(kind, value) for kind, value in [*SUBJECT, (NameOID.COMMON_NAME, ME)]])
    )
    rich = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(
        x509.SubjectAlternativeName([x509.DNSName("victim.example")]), critical=False
    )
    originals = [
        signed(info()),
        builder.sign(rsa_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER),
        rich.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER),
    ]
    known = {hashlib.sha256(spki(key.public_key())).hexdigest() for key in (KEY, rsa_key)}
    outcomes: Counter[str] = Counter()
    for number in range(MUTANTS):
        again = signed(mutant(randomness, info())) if number % 2 else None
        der = again or mutant(randomness, randomness.choice(originals))
        text = pem_of(der)
        if number % 10 == 0:
            text = mutant(randomness, text.encode()).decode("latin-1")
        try:
            request = certificate.read(authority, ME, sent(text.encode("latin-1")))
        except CsrRefused as refusal:
            outcomes[str(refusal)] += 1
        except BaseException as escaped:
            raise AssertionError(f"seed {SEED}, mutant {number}: {sent(text.encode('latin-1'))}") from escaped
        else:
            outcomes["accepted"] += 1
            assert request.key_thumbprint in known, f"seed {SEED}, mutant {number}"
    assert sum(outcomes.values()) == MUTANTS
    # The mutants reached every check, not just the first.
    assert {NOT_PEM, NOT_DER, BAD_KEY, BAD_SIGNATURE, BAD_CN, "accepted"} <= set(outcomes)


# --- what becomes of a good one ---


def loaded(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.pem.encode())


def assert_client_profile(issued: Issued, authority: Authority, system_auth: SystemAuthId) -> None:
    """The constant profile: whatever was asked for, this and nothing else was signed."""
    leaf = loaded(issued)
    issuing = x509.load_pem_x509_certificate(authority.ca_pem.encode())
    assert [(part.oid, part.value) for part in leaf.subject] == [
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_NAME, "Org"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "OrgUnit"),
        (NameOID.LOCALITY_NAME, "locality"),
        (NameOID.STATE_OR_PROVINCE_NAME, "province"),
        (NameOID.COMMON_NAME, system_auth),
    ]
    assert {(extension.oid, extension.critical) for extension in leaf.extensions} == {
        (ExtensionOID.BASIC_CONSTRAINTS, True),
        (ExtensionOID.KEY_USAGE, True),
        (ExtensionOID.EXTENDED_KEY_USAGE, False),
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
    }
    of = leaf.extensions.get_extension_for_class
    assert of(x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    assert list(of(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    usage = of(x509.KeyUsage).value
    assert usage.digital_signature
    assert not any(
        (usage.key_cert_sign, usage.crl_sign, usage.key_encipherment, usage.key_agreement, usage.content_commitment)
    )
    issuer_key = issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert of(x509.AuthorityKeyIdentifier).value.key_identifier == issuer_key
    assert leaf.serial_number.bit_length() > 64
    assert leaf.version is x509.Version.v3
    assert leaf.not_valid_after_utc <= issuing.not_valid_after_utc
    now = datetime.now(UTC)
    assert timedelta(minutes=4) < now - leaf.not_valid_before_utc < timedelta(minutes=6)
    assert timedelta(hours=2159) < leaf.not_valid_after_utc - now <= timedelta(hours=2160)
    leaf.verify_directly_issued_by(issuing)


@pytest.fixture(scope="module")
def rsa_keys() -> dict[int, rsa.RSAPrivateKey]:
    return {bits: rsa.generate_private_key(65537, bits) for bits in (2048, 3072, 4096)}


SMUGGLED: list[tuple[str, Callable[[str], bytes]]] = [
    (
        "a second unit",
        lambda me: name(*SUBJECT, (NameOID.ORGANIZATIONAL_UNIT_NAME, "admin"), (NameOID.COMMON_NAME, me)),
    ),
    ("a second common name", lambda me: name(*SUBJECT, (NameOID.COMMON_NAME, me), (NameOID.COMMON_NAME, VICTIM))),
    ("an e-mail address", lambda me: name(*SUBJECT, (NameOID.COMMON_NAME, me), (NameOID.EMAIL_ADDRESS, "a@b.c"))),
    ("a serial number", lambda me: name((NameOID.SERIAL_NUMBER, "1"), *SUBJECT, (NameOID.COMMON_NAME, me))),
    ("a street", lambda me: name((NameOID.STREET_ADDRESS, "1"), *SUBJECT, (NameOID.COMMON_NAME, me))),
    ("an unknown attribute", lambda me: name((ObjectIdentifier("1.2.3.4"), "x"), *SUBJECT, (NameOID.COMMON_NAME, me))),
    ("another order", lambda me: name((NameOID.COMMON_NAME, me), *reversed(SUBJECT))),
    (
        "one set of several attributes",
        # The encoding sorts what stands in a set, and an e-mail address comes after a common name.
        lambda me: tlv(
            0x30,
            *[tlv(0x31, attribute(kind, value.encode())) for kind, value in SUBJECT],
            tlv(0x31, attribute(NameOID.COMMON_NAME, me.encode()), attribute(NameOID.EMAIL_ADDRESS, b"a" * 60)),
        ),
    ),
    (
        "printable strings",
        lambda me: tlv(
            0x30,
            *[tlv(0x31, attribute(k, v.encode(), 0x13)) for k, v in [*SUBJECT, (NameOID.COMMON_NAME, me)]],
        ),
    ),
]


@pytest.mark.parametrize(("what", "subject"), SMUGGLED)
async def test_whatever_else_stands_in_a_subject_does_not_reach_the_certificate(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, what: str, subject: Callable[[str], bytes]
) -> None:
    issued = await certificate.issue(tx, authority, system_auth, csr(signed(info(subject=subject(system_auth)))))
    assert_client_profile(issued, authority, system_auth)


EXTENSIONS: list[tuple[x509.ExtensionType, bool]] = [
    (x509.BasicConstraints(ca=True, path_length=None), True),
    (x509.SubjectAlternativeName([x509.DNSName("victim.example"), x509.RFC822Name("a@b.c")]), True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING]), True),
    (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\0"), True),
    (x509.SubjectKeyIdentifier(b"x" * 20), False),
    (
        x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=True,
            key_encipherment=True,
            data_encipherment=True,
            key_agreement=True,
            encipher_only=False,
            decipher_only=False,
        ),
        True,
    ),
]


@pytest.mark.parametrize("extensions", [*[[one] for one in EXTENSIONS], EXTENSIONS], ids=lambda e: str(len(e)))
async def test_no_requested_extension_reaches_the_certificate(
    tx: Tx,
    authority: Authority,
    system_auth: SystemAuthId,
    request_for: Any,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> None:
    issued = await certificate.issue(tx, authority, system_auth, request_for(system_auth, extensions=extensions))
    assert_client_profile(issued, authority, system_auth)


async def test_the_keys_that_clients_use_are_accepted(
    tx: Tx,
    authority: Authority,
    system_auth: SystemAuthId,
    request_for: Any,
    rsa_keys: dict[int, rsa.RSAPrivateKey],
) -> None:
    curves: list[ec.EllipticCurve] = [ec.SECP256R1(), ec.SECP384R1()]
    keys: list[rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = list(rsa_keys.values())
    keys += [ec.generate_private_key(curve) for curve in curves]
    for key in keys:
        for digest in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
            issued = await certificate.issue(
                tx, authority, system_auth, request_for(system_auth, key=key, digest=digest)
            )
            assert_client_profile(issued, authority, system_auth)
            assert spki(loaded(issued).public_key()) == spki(key.public_key())


async def test_the_spellings_that_clients_send_are_accepted(
    authority: Authority, system_auth: SystemAuthId, request_for: Any
) -> None:
    plain = request_for(system_auth)
    text = base64.b64decode(plain).decode()
    for spelling in (
        plain,
        base64.encodebytes(text.encode()).decode(),
        base64.encodebytes(text.encode()).decode().replace("\n", "\r\n"),
        sent(text.replace("\n", "\r\n")),
        sent(text.rstrip("\n")),
        sent("Certificate Request:\n    Data:\n" + text + "\n\n"),
        sent(text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")),
    ):
        expected = certificate.read(authority, system_auth, plain)
        assert certificate.read(authority, system_auth, spelling).key_thumbprint == expected.key_thumbprint


async def test_the_chain_is_the_leaf_and_its_issuer_as_base64_of_pem(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any
) -> None:
    issued = await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    chain = x509.load_pem_x509_certificates(base64.b64decode(issued.certificate_chain))
    leaf, issuing = chain
    assert [leaf] == x509.load_pem_x509_certificates(base64.b64decode(issued.client_certificate))
    assert [issuing] == x509.load_pem_x509_certificates(base64.b64decode(issued.ca_certificate))
    assert leaf.issuer == issuing.subject
    der = leaf.public_bytes(serialization.Encoding.DER)
    assert issued.fingerprint == hashlib.sha256(der).hexdigest() == certificate.fingerprint(der)
    assert certificate.common_name(der) == system_auth
    assert (issued.not_before, issued.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)


async def test_every_certificate_is_recorded_before_and_after_it_was_signed(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    intents: list[str] = []
    sign = HeldKey.sign

    async def watched(self: HeldKey, data: bytes) -> bytes:
        # What stands in the record while the key is being used.
        intents.extend([row[0] for row in await tx.rows("SELECT serial FROM certificate WHERE fingerprint IS NULL")])
        return await sign(self, data)

    monkeypatch.setattr(HeldKey, "sign", watched)
    first = await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    intents.clear()
    issued = await certificate.issue(tx, authority, system_auth, request_for(system_auth), renewal_of=first.fingerprint)
    row = await tx.row("SELECT * FROM certificate WHERE serial = %(serial)s", serial=issued.serial)
    assert row is not None
    assert intents == [issued.serial]
    assert {
        key: row[key] for key in ("serial", "kind", "signed_by", "system_auth_id", "names", "fingerprint", "pem")
    } == {
        "serial": issued.serial,
        "kind": "client",
        "signed_by": authority.serial,
        "system_auth_id": system_auth,
        "names": [system_auth],
        "fingerprint": issued.fingerprint,
        "pem": issued.pem,
    }
    assert row["key_thumbprint"] == hashlib.sha256(spki(loaded(issued).public_key())).hexdigest()
    assert (row["renewal_of"], row["token_digest"], row["revoked_at"]) == (first.fingerprint, None, None)
    assert row["lineage"] == first.serial
    owner = await tx.row("SELECT tenant_id, application_id FROM system_auth")
    assert owner is not None
    assert (row["tenant_id"], row["owner_kind"], row["owner_id"]) == (owner[0], "application", owner[1])
    assert (row["not_before"], row["not_after"]) == (issued.not_before, issued.not_after)


async def test_nobody_is_certified_who_does_not_exist(tx: Tx, authority: Authority, request_for: Any) -> None:
    with pytest.raises(NotFound):
        await certificate.issue(tx, authority, ME, request_for(ME))
    assert await tx.value("SELECT count(*) FROM certificate") == 0


async def test_a_token_becomes_a_certificate_and_is_used(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any
) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    issued = await certificate.pair(tx, authority, token, request_for(system_auth))
    assert_client_profile(issued, authority, system_auth)
    assert await tx.value("SELECT token_digest FROM certificate") == one_time_token.digest(token)
    with pytest.raises(TokenRefused):
        await one_time_token.spend(tx, token)


async def test_the_same_token_and_key_give_the_same_certificate_again(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any
) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    first = await certificate.pair(tx, authority, token, request_for(system_auth))
    # A request is signed anew each time, so the retry is not the same text; the key is what counts.
    assert await certificate.pair(tx, authority, token, request_for(system_auth)) == first
    assert await tx.value("SELECT count(*) FROM certificate") == 1


async def test_a_used_token_is_refused_for_another_key_and_tells_nothing(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any
) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    await certificate.pair(tx, authority, token, request_for(system_auth))
    other = ec.generate_private_key(ec.SECP256R1())
    for text in (request_for(system_auth, key=other), request_for(VICTIM), "no csr", ""):
        with pytest.raises(TokenRefused):
            await certificate.pair(tx, authority, token, text)
    assert await tx.value("SELECT count(*) FROM certificate") == 1


async def test_an_unknown_token_is_refused_before_its_request_is_looked_at(
    tx: Tx, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "read", lambda *_: pytest.fail("looked at"))
    with pytest.raises(TokenRefused):
        await certificate.pair(tx, authority, "A" * 88, "no csr")


async def test_a_refused_request_leaves_the_token_usable_and_no_trace(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any
) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    before = await tx.row("SELECT * FROM one_time_token")
    for text in (request_for(VICTIM), "é", sent("no pem"), request_for(system_auth, parts=SUBJECT[:-1])):
        with pytest.raises(CsrRefused):
            await certificate.pair(tx, authority, token, text)
    with pytest.raises(CsrUndecodable):
        await certificate.pair(tx, authority, token, "A" * 50_000_000)
    assert await tx.row("SELECT * FROM one_time_token") == before
    assert await tx.value("SELECT count(*) FROM certificate") == 0
    assert_client_profile(
        await certificate.pair(tx, authority, token, request_for(system_auth)), authority, system_auth
    )


async def test_a_signature_that_fails_leaves_the_token_usable(
    database: Database,
    committed_authority: Authority,
    committed_system_auth: SystemAuthId,
    request_for: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with database.transaction() as tx:
        token = await one_time_token.issue(tx, committed_system_auth, purpose=Purpose.CSR, life=HOUR)
    text = request_for(committed_system_auth)

    class SignerGone(Exception):
        pass

    async def fails(*_: object) -> bytes:
        raise SignerGone

    with monkeypatch.context() as broken:
        broken.setattr(HeldKey, "sign", fails)
        with pytest.raises(SignerGone):
            async with database.transaction() as tx:
                await certificate.pair(tx, committed_authority, token, text)
    async with database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM certificate") == 0
        await certificate.pair(tx, committed_authority, token, text)


async def test_of_32_keys_racing_with_one_token_exactly_one_is_certified(
    dsn: str, vault: Any, committed_authority: Authority, committed_system_auth: SystemAuthId, request_for: Any
) -> None:
    """Also each of them twice, as a client that retries: the winner's second try gets the winner's certificate."""
    texts = [request_for(committed_system_auth, key=ec.generate_private_key(ec.SECP256R1())) for _ in range(32)]
    async with Database.open(dsn, connections=16) as one, Database.open(dsn, connections=16) as other:

        async def attempt(database: Database, token: str, text: str) -> str | None:
            try:
                async with database.transaction() as tx:
                    return (await certificate.pair(tx, committed_authority, token, text)).fingerprint
            except TokenRefused:
                return None

        for round_number in range(20):
            async with one.transaction() as tx:
                token = await one_time_token.issue(tx, committed_system_auth, purpose=Purpose.CSR, life=HOUR)
            attempts = [attempt(database, token, text) for text in texts for database in (one, other)]
            outcomes = Counter(await asyncio.gather(*attempts))
            assert outcomes.pop(None) == 62
            assert list(outcomes.values()) == [2]
            async with one.transaction() as tx:
                assert await tx.value("SELECT count(*) FROM certificate") == round_number + 1
                assert await tx.value("SELECT count(DISTINCT token_digest) FROM certificate") == round_number + 1


async def test_a_server_certificate_names_its_listener_and_is_recorded(tx: Tx, authority: Authority) -> None:
    names = ["plane.example", "127.0.0.1", "::1", "localhost"]
    identity = await certificate.issue_server(tx, authority, names=names)
    leaf = loaded(identity.issued)
    of = leaf.extensions.get_extension_for_class
    alternatives = of(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == ["plane.example", "localhost"]
    assert [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert list(of(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert of(x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=397)
    life = identity.issued.not_after - identity.issued.not_before
    assert identity.renew_at - identity.issued.not_before == life * 2 / 3
    key = serialization.load_pem_private_key(identity.key_pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert spki(key.public_key()) == spki(leaf.public_key())
    assert identity.key_pem not in repr(identity)
    row = await tx.row("SELECT kind, names, system_auth_id, fingerprint FROM certificate")
    assert row is not None
    assert tuple(row) == ("server", names, None, identity.issued.fingerprint)


@pytest.mark.parametrize(
    "bad", ["", "a b", "-a", "a..b", "a/b", "*", "*.*.a", "1.2.3.4/8", "a" * 64, "ü.example", "a\n"]
)
async def test_a_server_name_that_is_none_is_refused(tx: Tx, authority: Authority, bad: str) -> None:
    with pytest.raises(ServerNameRefused):
        await certificate.issue_server(tx, authority, names=["localhost", bad])


async def test_the_certificates_hold_before_openssls_strict_rules(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any, client_key: ec.EllipticCurvePrivateKey
) -> None:
    """A second implementation judges: OpenSSL, with every strict check it has, in a handshake in memory."""
    identity = await certificate.issue_server(tx, authority, names=["localhost"])
    issued = await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    assert ssl.PEM_cert_to_DER_cert(issued.pem) == ssl.PEM_cert_to_DER_cert(
        issued.chain_pem.partition("\n-----BEGIN")[0]
    )
    from compass.api.tls import Identity, MutualDoor

    door = MutualDoor(
        Identity(authority.chain(identity.issued.pem), identity.key_pem), authorities_pem=authority.ca_pem
    )
    key_pem = client_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    client = ssl.create_default_context(cadata=authority.root_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    from compass.api.tls import _as_file

    with _as_file(issued.pem + key_pem) as path:
        client.load_cert_chain(path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = door.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    unfinished = [client_side, server_side]
    for _ in range(10):
        for side in list(unfinished):
            try:
                side.do_handshake()
                unfinished.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert unfinished == []
    peer = server_side.getpeercert(binary_form=True)
    assert peer is not None
    assert certificate.fingerprint(peer) == issued.fingerprint
