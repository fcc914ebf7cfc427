"""OData services. All kinds together: test_read.py."""

from compass.definition.model import Schema
from compass.definition.read import read
from tests.definition.samples import ODATA_2, ODATA_4, ODATA_JSON


def test_version_4_has_types_sets_and_functions_by_their_whole_names() -> None:
    found = read(ODATA_4)

    assert found.schemas["shop.Order"] == Schema(
        type="object",
        text="key: ID",
        required=frozenset({"ID"}),
        properties={
            "ID": Schema(type="Int32"),
            "Note": Schema(type="String"),
            "Parent": Schema(reference="shop.Order"),
        },
    )
    assert found.schemas["shop.State"].enum == ("new", "paid")
    best = found.operations[2]
    assert best.gives[0].types["value"] == Schema(type="array", items=Schema(reference="shop.Order"))
    assert [(one.name, one.is_required) for one in best.parameters] == [("n", True)]


def test_version_2_says_functions_in_its_container() -> None:
    found = read(ODATA_2)

    [orders, best] = found.operations
    assert (found.title, orders.summary) == ("NS", "NS.Order")
    assert [(one.name, one.schema.type) for one in best.parameters] == [("n", "Int32")]
    assert found.schemas["NS.Order"].properties["Lines"] == Schema(type="navigation", format="Line")


def test_the_json_form_says_the_same() -> None:
    found = read(ODATA_JSON)

    assert found.schemas["shop.Order"].required == {"ID"}
    assert found.schemas["shop.Order"].properties == {"ID": Schema(type="Int32"), "Note": Schema(type="String")}
    assert found.schemas["shop.State"].enum == ("new", "paid")
    assert found.operations[0].gives[0].types["value"].items == Schema(reference="shop.Order")


def test_a_type_has_what_its_base_has() -> None:
    text = ODATA_4.replace(
        '<EnumType Name="State">', '<ComplexType Name="Big" BaseType="Self.Order"/><EnumType Name="State">'
    )

    assert read(text).schemas["shop.Big"].parts == (Schema(reference="shop.Order"),)
