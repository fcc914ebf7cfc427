"""JSON and compact tokens of exactly one meaning."""

import base64

import pytest

from compass.access.strict_json import LARGEST_TOKEN, NotStrict, mapping, unverified


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_an_object_is_read() -> None:
    assert mapping('{"a": [1, {"b": null}], "ä": 1.5}'.encode()) == {"a": [1, {"b": None}], "ä": 1.5}


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"1", b'"a"', b"null", b"{", b'{"a": 1,}', b"{'a': 1}", b'{"a": NaN}', b'{"a": -Infinity}',
        b'{"a": 1, "a": 1}', b'{"b": {"a": 1, "a": 2}}', b'{"b": [{"a": 1, "\\u0061": 2}]}', b'{"a": 1} {}',
        b"\xff\xfe{\x00}\x00", b'{"a": "\xff"}', b"[" * 9000, b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b'{"a": ' + b"9" * 5000 + b"}", b'\xef\xbb\xbf{"a": 1}',
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_object_or_says_something_twice_is_refused(text: bytes) -> None:
    with pytest.raises(NotStrict):
        mapping(text)


def test_the_parts_of_a_token_are_read_without_being_believed() -> None:
    found = unverified(_token())

    assert (found.unsafe_header, found.unsafe_claims) == ({"alg": "x"}, {"iss": "y"})
    assert "iss" not in repr(found)


def _token(header: bytes = b'{"alg":"x"}', claims: bytes = b'{"iss":"y"}', signature: str = "c2ln") -> str:
    return f"{part(header)}.{part(claims)}.{signature}"


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "a.b", "a.b.c.d", _token() + ".", " " + _token(), _token() + "\n", _token().replace(".", ".."),
        _token(signature=""), _token(signature="é"), _token(signature="a="), _token(signature="a+/"),
        f"{part(b'{}')}=.{part(b'{}')}.c2ln", f"e31.{part(b'{}')}.c2ln", f"{part(b'{}')}.e31.c2ln",
        f"a.{part(b'{}')}.c2ln", _token(claims=b"[]"), _token(header=b'{"alg":"a","alg":"b"}'),
        "A" * (LARGEST_TOKEN + 1), _token(claims=b'{"a":"' + b"x" * LARGEST_TOKEN + b'"}'), "\ud800.a.b",
        "\uff45" + _token()[1:],
    ],
)  # fmt: skip
def test_any_other_text_is_no_token(text: str) -> None:
    with pytest.raises(NotStrict):
        unverified(text)
