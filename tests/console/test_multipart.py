"""Forms with files, as browsers send them and as nobody should."""

import pytest

from compass.console.multipart import boundary, parts

SENT = (
    b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\norders\r\n'
    b'--x\r\ncontent-disposition: form-data; name="how"\r\n\r\ntext\r\n'
    b'--x\r\nContent-Disposition: form-data; name="how"\r\n\r\nurl\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a b.yaml"\r\nContent-Type: text/yaml\r\n\r\n'
    b"a: 1\r\n\r\nb: \xff\r\n--x--\r\n"
)


@pytest.mark.parametrize(
    ("content_type", "between"),
    [
        ("multipart/form-data; boundary=----WebKitFormBoundaryab1", "----WebKitFormBoundaryab1"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b"', "a b"),
        ("multipart/form-data", None),
        ("multipart/mixed; boundary=x", None),
        ("application/x-www-form-urlencoded", None),
        (f"multipart/form-data; boundary={'x' * 71}", None),
        ("", None),
    ],
)
def test_such_a_form_is_told_by_its_kind(content_type: str, between: str | None) -> None:
    assert boundary(content_type) == between


def test_fields_and_files_are_told_apart() -> None:
    assert parts(SENT, "x") == ({"name": ["orders"], "how": ["text", "url"]}, {"file": b"a: 1\r\n\r\nb: \xff"})


def test_a_file_that_was_not_chosen_is_none() -> None:
    empty = b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--x--\r\n'

    assert parts(empty, "x") == ({}, {})


def test_a_line_like_the_one_between_ends_a_part_only_at_its_beginning() -> None:
    text = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\none --x two\n--x three\r\n--x--\r\n'

    assert parts(text, "x") == ({"a": ["one --x two\n--x three"]}, {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x--",
        b"no such thing",
        b"\r\n".join([b"--x"] * 10_000),
        b"--x\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--x--",
        b'--x\r\nContent-Disposition: attachment; name="a"\r\n\r\nno field\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nno empty line\r\n--x--',
        b'--x\r\nX: form-data; name="a"\r\n\r\nno disposition\r\n--x--',
    ],
)
def test_what_is_malformed_is_as_if_it_was_not_sent(body: bytes) -> None:
    assert parts(body, "x") == ({}, {})


def test_what_comes_after_the_end_or_after_two_hundred_parts_is_not_read() -> None:
    more = SENT + b'--x\r\nContent-Disposition: form-data; name="late"\r\n\r\nno\r\n--x--\r\n'
    assert "late" not in parts(more, "x")[0]

    each = b'--x\r\nContent-Disposition: form-data; name="%d"\r\n\r\n1\r\n'
    fields, _ = parts(b"".join(each % number for number in range(1000)), "x")
    assert len(fields) == 200
