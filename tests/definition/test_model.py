"""What the model itself can tell."""

from compass.definition.model import ANYTHING, Definition, Operation, Schema


def test_a_reference_is_followed_to_its_end_and_circles_are_anything() -> None:
    text = Schema(type="string")
    known = {
        "a": Schema(reference="b"),
        "b": text,
        "c": Schema(reference="d"),
        "d": Schema(reference="c"),
    }
    definition = Definition("OpenAPI 3.0.0", schemas=known)

    found = [definition.found(Schema(reference=name)) for name in ("a", "b", "c", "none")]

    assert found == [text, text, ANYTHING, ANYTHING]
    assert definition.found(text) is text


def test_an_operation_is_named_by_its_verb_and_place() -> None:
    assert Operation("GET", "/orders/{id}").key == "GET /orders/{id}"
