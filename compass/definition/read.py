"""A definition out of a text: which kind of document it is, and its model."""

from collections.abc import Mapping
from typing import Any

from compass.definition import asyncapi, odata, openapi
from compass.definition import text as texts
from compass.definition.model import Definition
from compass.definition.text import Unreadable


def read(text: str) -> Definition:
    """The model of a specification: OpenAPI 2 and 3, AsyncAPI 1 to 3, OData 2 to 4; in JSON, YAML or XML.

    Within a second or two, whatever the text. Raises Unreadable, also for a document that is of no such kind.
    """
    if texts.is_xml(text):
        root = texts.tree(text)
        found = odata.read(root)
        if not found.operations and not found.schemas:
            raise Unreadable("it is XML, but there is no OData service in it", line=1, column=1)
        return found
    return of(texts.document(text))


def of(document: Any) -> Definition:
    """The model of a document that was read from JSON or YAML. Raises Unreadable."""
    if not isinstance(document, Mapping):
        raise Unreadable("it is no object", line=1, column=1)
    if "asyncapi" in document:
        return asyncapi.read(document)
    if "openapi" in document or "swagger" in document:
        return openapi.read(document)
    if "$Version" in document or "$EntityContainer" in document:
        return odata.read_json(document)
    if "paths" in document:
        return openapi.read(document)
    if "channels" in document or "topics" in document:
        return asyncapi.read(document)
    raise Unreadable("it says neither openapi, swagger nor asyncapi, and is no OData", line=1, column=1)
