"""What every client of a plane shares. Trust and refusals over real connections: test_graphql.py, test_blocking.py."""

from importlib.resources import files

import graphql
import pytest

from compass.client.protocol import DocumentUnknown, Endpoint, PlaneAnswerUnreadable, PlaneRefused, data_of, document

DOCUMENTS = sorted(
    path.name.removesuffix(".graphql")
    for path in files("compass.client.documents").iterdir()
    if path.name.endswith(".graphql")
)


@pytest.fixture(scope="module")
def schemas() -> dict[Endpoint, graphql.GraphQLSchema]:
    return {
        endpoint: graphql.build_schema(files(f"compass.{endpoint}").joinpath("schema.graphql").read_text())
        for endpoint in Endpoint
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_is_valid_at_its_endpoint_and_is_called_like_its_file(
    name: str, schemas: dict[Endpoint, graphql.GraphQLSchema]
) -> None:
    found = document(name)

    parsed = graphql.parse(found.text)
    assert graphql.validate(schemas[found.endpoint], parsed) == []
    (operation,) = [one for one in parsed.definitions if isinstance(one, graphql.OperationDefinitionNode)]
    assert operation.name is not None
    assert operation.name.value == name


def test_an_unknown_document_is_said_so() -> None:
    with pytest.raises(DocumentUnknown):
        document("../graphql")


def test_a_refusal_keeps_code_and_request() -> None:
    with pytest.raises(PlaneRefused) as refused:
        data_of(b'{"errors":[{"message":"no","extensions":{"error_code":20}}]}', status=200, url="u", request_id="r")

    assert (refused.value.error_code, refused.value.request_id, str(refused.value)) == (20, "r", "no")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"data":5}', b'{"data":{},"errors":"x"}'])
def test_what_is_no_answer_is_not_taken_for_one(body: bytes) -> None:
    with pytest.raises(PlaneAnswerUnreadable):
        data_of(body, status=502, url="u")
