from importlib.resources import files

import pytest
from graphql import build_schema, parse, validate

from compass.demo.orders import queries

DOCUMENTS = sorted(name for name in vars(queries) if name.isupper())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_everything_the_service_says_is_in_the_directors_contract(name: str) -> None:
    contract = build_schema(files("compass.director").joinpath("schema.graphql").read_text(), assume_valid=True)
    assert validate(contract, parse(getattr(queries, name))) == []
