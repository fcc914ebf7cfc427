"""The words for orders, and what the plane calls them."""

from importlib.resources import files
from typing import get_args

import graphql
import pytest

from compass.client.order import Sort, order


def test_every_word_is_an_order_of_the_schema() -> None:
    schema = graphql.build_schema(files("compass.director").joinpath("schema.graphql").read_text())
    listed = schema.type_map["ListOrder"]
    assert isinstance(listed, graphql.GraphQLEnumType)
    assert {order(word) for word in get_args(Sort)} == set(listed.values)


@pytest.mark.parametrize("word", [None, "", "NAME", "nonsense", "name,created"])
def test_what_is_no_word_for_an_order_is_none(word: str | None) -> None:
    assert order(word) is None
