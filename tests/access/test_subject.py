"""Subjects of certificates, written so that each has one form and no two have the same."""

import pytest

from compass.access.subject import of_certificate, of_text

from .foreign import BROKER, BROKER_TEXT, ForeignAuthority, Parts

AUTHORITY = ForeignAuthority()
PLAIN = "CN=a, OU=b, O=c, L=d, C=DE"


def subject_of(parts: Parts) -> str | None:
    return of_certificate(AUTHORITY.issue(parts).der)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (PLAIN, PLAIN),
        ("C=DE,L=d,O=c,OU=b,CN=a", PLAIN),
        (" c = DE , l=d ,o=c,ou= b,cn=a ", PLAIN),
        ("CN=a,OU=z,OU=b,O=c,L=d,C=DE", "CN=a, OU=b, OU=z, O=c, L=d, C=DE"),
        (r"CN=a\, OU=x,OU=b,O=c,L=d,C=DE", r"CN=a\, OU=x, OU=b, O=c, L=d, C=DE"),
        (r"CN=a\\,OU=b,O=c,L=d,C=DE", r"CN=a\\, OU=b, O=c, L=d, C=DE"),
        (r"CN=a\2C\C3\A4,OU=b,O=c,L=d,C=DE", r"CN=a\,ä, OU=b, O=c, L=d, C=DE"),
        ("CN=a+OU=x,OU=b,O=c=d,L=d,C=DE", "CN=a+OU=x, OU=b, O=c=d, L=d, C=DE"),
    ],
)
def test_a_written_subject_has_one_form(written: str, kept: str) -> None:
    assert of_text(written) == kept
    assert of_text(kept) == kept


@pytest.mark.parametrize(
    "written",
    [
        "", ",", "CN=a", PLAIN + ",", "," + PLAIN, PLAIN + ", ST=x", PLAIN + ", CN=a", PLAIN.replace("OU=b, ", ""),
        PLAIN.replace("CN=a", "CN="), PLAIN.replace("CN=a", "CN"), PLAIN.replace("CN=a", r"CN=\00"),
        PLAIN.replace("CN=a", r"CN=\FF"), PLAIN.replace("CN=a", r"CN=\20a"), PLAIN.replace("CN=a", "CN=a\nb"),
        PLAIN.replace(", OU", r"\, OU"),
    ],
)  # fmt: skip
def test_a_subject_that_does_not_have_exactly_these_parts_is_none(written: str) -> None:
    assert of_text(written) is None


def test_a_certificate_and_its_mapping_have_the_same_text() -> None:
    assert subject_of(BROKER) == BROKER_TEXT == of_text(BROKER_TEXT)


def test_a_value_that_looks_like_several_parts_is_one_value() -> None:
    smuggled = (("CN", "broker, OU=area"), ("OU", "zone"), ("O", "Example, Inc."), ("L", "Walldorf"), ("C", "DE"))
    escaped = (("CN", "broker\\"), ("OU", "OU=area, OU=zone"), ("O", "Example, Inc."), ("L", "Walldorf"), ("C", "DE"))

    assert subject_of(smuggled) == r"CN=broker\, OU=area, OU=zone, O=Example\, Inc., L=Walldorf, C=DE"
    assert subject_of(escaped) == r"CN=broker\\, OU=OU=area\, OU=zone, O=Example\, Inc., L=Walldorf, C=DE"


USUAL: Parts = (("CN", "a"), ("OU", "b"), ("O", "c"), ("L", "d"), ("C", "DE"))


@pytest.mark.parametrize(
    "parts",
    [
        USUAL[1:], USUAL[:-1], (*USUAL, ("ST", "x")), (*USUAL, ("CN", "a")), (*USUAL, ("O", "c")),
        (("CN", " a"), *USUAL[1:]), (("CN", "a\0"), *USUAL[1:]), (("CN", "a\u202eb"), *USUAL[1:]),
        (("CN", "a\u00a0"), *USUAL[1:]),
    ],
    ids=repr,
)  # fmt: skip
def test_a_certificate_that_no_mapping_can_fit_has_no_subject(parts: Parts) -> None:
    assert subject_of(parts) is None


def test_what_is_no_certificate_has_no_subject() -> None:
    assert of_certificate(b"") is None
    assert of_certificate(b"\x30\x82\x00\x00") is None
