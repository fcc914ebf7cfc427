"""How large pages may be and what a cursor says."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.errors import Code, CompassError
from compass.reads import paging


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_cursor_is_what_clients_of_the_original_know() -> None:
    assert paging.cursor(200) == encoded("DpKtJ4j9jDq200")


@given(st.integers(0, 2**62))
def test_a_cursor_means_what_it_was_made_of(rows: int) -> None:
    assert paging.offset(paging.cursor(rows)) == rows
    assert paging.offset(encoded(str(rows))) == rows  # the prefix may be missing


@pytest.mark.parametrize("empty", ["", None])
def test_no_cursor_is_the_beginning(empty: str | None) -> None:
    assert paging.offset(empty) == 0


@pytest.mark.parametrize(
    ("cursor", "code"),
    [
        ("not base64", Code.INTERNAL),
        ("MQ", Code.INTERNAL),
        ("é", Code.INTERNAL),
        ("//79", Code.INTERNAL),
        (encoded("DpKtJ4j9jDq"), Code.INTERNAL),
        (encoded("DpKtJ4j9jDqx"), Code.INTERNAL),
        (encoded("1.5"), Code.INTERNAL),
        (encoded("1_0"), Code.INTERNAL),
        (encoded(" 1"), Code.INTERNAL),
        (encoded("DpKtJ4j9jDqDpKtJ4j9jDq1"), Code.INTERNAL),
        (encoded("DpKtJ4j9jDq-1"), Code.INVALID_DATA),
        (encoded(str(2**62 + 1)), Code.INVALID_DATA),
        (encoded("9" * 5000), Code.INTERNAL),
    ],
)
def test_a_wrong_cursor_is_refused(cursor: str, code: Code) -> None:
    with pytest.raises(CompassError, match="cursor is not correct") as refused:
        paging.offset(cursor)
    assert refused.value.code is code


@given(st.text())
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    try:
        assert paging.offset(text) >= 0
    except CompassError as refusal:
        assert "cursor is not correct" in refusal.wire_text()  # noqa: PT017  # either outcome is right, no other is


@pytest.mark.parametrize(
    ("first", "largest", "wording"),
    [
        (0, 200, "page size must be between 1 and 200"),
        (201, 200, "page size must be between 1 and 200"),
        (-3, 300, "page size must be between 1 and 300"),
        (0, None, "page size cannot be smaller than 1"),
        (None, 200, "missing required parameter 'first'"),
        (None, None, "missing required parameter 'first'"),
    ],
)
def test_a_wrong_size_is_refused_in_the_contracts_words(first: int | None, largest: int | None, wording: str) -> None:
    with pytest.raises(CompassError) as refused:
        paging.size(first, largest)
    assert refused.value.wire_text() == f"Invalid data [reason={wording}]"


@pytest.mark.parametrize(("first", "largest"), [(1, 200), (200, 200), (1, None), (2**31 - 1, None)])
def test_sizes_up_to_the_largest_are_accepted(first: int, largest: int | None) -> None:
    assert paging.size(first, largest) == first
