"""What is kept of texts, and what is forgotten first."""

from compass.reads.kept import Kept


def test_what_is_kept_is_found_and_anything_else_is_not() -> None:
    kept = Kept[str, int]()
    kept.keep("a", 1, 1)

    assert (kept.get("a"), kept.get("b"), len(kept)) == (1, None, 1)


def test_the_characters_of_all_texts_together_are_bounded() -> None:
    kept = Kept[str, int](characters=3_000, longest=3_000)
    for number, name in enumerate("abc"):
        kept.keep(name, number, 1_000)
    assert [kept.get(name) for name in "abc"] == [0, 1, 2]

    kept.keep("d", 3, 1_001)

    assert [kept.get(name) for name in "abcd"] == [None, None, 2, 3]


def test_what_was_not_looked_up_for_longest_is_forgotten_first() -> None:
    kept = Kept[str, int](characters=3_000, longest=3_000)
    for number, name in enumerate("abc"):
        kept.keep(name, number, 1_000)
    kept.get("a")

    kept.keep("d", 3, 1_000)

    assert [kept.get(name) for name in "abcd"] == [0, None, 2, 3]


def test_a_text_that_is_longer_than_any_that_comes_twice_is_not_kept_and_displaces_nothing() -> None:
    kept = Kept[str, int]()
    kept.keep("usual", 1, 64_000)

    kept.keep("long", 2, 64_001)

    assert (kept.get("usual"), kept.get("long")) == (1, None)


def test_what_short_texts_made_is_bounded_in_number() -> None:
    kept = Kept[int, int]()
    for number in range(1_001):
        kept.keep(number, number, 5)

    assert (len(kept), kept.get(0), kept.get(1)) == (1_000, None, 1)


def test_keeping_again_replaces_and_counts_once() -> None:
    kept = Kept[str, int](characters=3_000, longest=3_000)
    kept.keep("a", 1, 1_000)
    kept.keep("b", 2, 1_000)

    for _ in range(5):
        kept.keep("a", 3, 2_000)

    assert len(kept) == 2
    kept.keep("c", 4, 1)
    assert [kept.get(name) for name in "abc"] == [3, None, 4]
