"""The proof `certificates`."""

from typing import Final

from proof.promise import Bug, Proof

_CERTIFICATES = ("tests/connector/test_certificate.py",)

PROOF: Final = Proof(
    "certificates",
    ("I2", "A4", "A5", "A6", "A7", "A8"),
    "every certificate has our profile, a subject of our making and a record",
    (*_CERTIFICATES, "tests/connector/test_hostile_requests.py", "tests/connector/test_recorded.py"),
    (
        Bug(
            "a request that was signed with another key is taken",
            "compass/connector/certificate.py",
            " and request.is_signature_valid",
            "",
            _CERTIFICATES,
        ),
        Bug(
            "keys of 1024 bits are signed (original)",
            "compass/connector/certificate.py",
            "_RSA_BITS: Final = range(2048, 4097)",
            "_RSA_BITS: Final = range(1024, 4097)",
            _CERTIFICATES,
        ),
        Bug(
            "keys with a tiny exponent are signed (original)",
            "compass/connector/certificate.py",
            "if numbers.e == _RSA_EXPONENT and not _breakable(numbers.n):",
            "if not _breakable(numbers.n):",
            _CERTIFICATES,
        ),
    ),
    {
        "test_through_the_api_the_hostile_are_refused_and_what_is_smuggled_is_left_behind": 200,
        "test_no_mutant_escapes_the_checks_or_gets_a_certificate_outside_the_profile": 1_000_000,
        "test_mutants_through_the_api_are_answered_and_never_with_a_fault_of_ours": 20_000,
    },
    minutes=30,
)
