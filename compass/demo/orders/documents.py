"""What the service says about itself: its OpenAPI 3.1 and AsyncAPI 3.0 documents, and a page for people."""

from typing import Any

from compass.demo.orders.order import CREATED, LARGEST_QUANTITY, LONGEST_TEXT

ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "customer", "item", "quantity", "createdAt", "createdBy"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "customer": {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT},
        "item": {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT},
        "quantity": {"type": "integer", "minimum": 1, "maximum": LARGEST_QUANTITY},
        "createdAt": {"type": "string", "format": "date-time"},
        "createdBy": {"type": "string", "description": "The credential that placed the order."},
    },
}
NEW_ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["customer", "item"],
    "properties": {
        "customer": ORDER["properties"]["customer"],
        "item": ORDER["properties"]["item"],
        "quantity": {**ORDER["properties"]["quantity"], "default": 1},
    },
}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["title", "status"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string"},
        "source": {"type": "string", "format": "uri-reference"},
        "type": {"const": CREATED},
        "subject": {"type": "string", "description": "The id of the order."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "data": {
            "type": "object",
            "required": ["id", "customer", "item", "quantity", "createdAt"],
            "properties": {key: value for key, value in ORDER["properties"].items() if key != "createdBy"},
        },
    },
}
HANDBOOK = """# Orders

Place an order with `POST /orders`, read it with `GET /orders/{id}`, list the newest with `GET /orders`.
Every stored order is announced by the event `sales.order.created.v1`, sent as a CloudEvent.

Sign in with a name and secret (HTTP Basic), or exchange them at `/oauth/token` for a bearer.
"""


def openapi(base_url: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the API as it is served under `base_url`."""
    order = {"$ref": "#/components/schemas/Order"}
    refused = {"401": _problem("The credential is missing, unknown or revoked.")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Orders", "version": "1.0.0", "description": "Sales orders of the company."},
        "servers": [{"url": base_url}, {"url": f"{base_url}/v2", "description": "The same API at its next address."}],
        "security": [{"basic": []}, {"oauth": []}],
        "paths": {
            "/orders": {
                "get": {
                    "operationId": "listOrders",
                    "summary": "The newest orders, newest first",
                    "parameters": [
                        {
                            "name": "limit",
                            "in": "query",
                            "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 100},
                        }
                    ],
                    "responses": {
                        "200": _json(
                            "Orders.",
                            {
                                "type": "object",
                                "required": ["orders"],
                                "properties": {"orders": {"type": "array", "items": order}},
                            },
                        ),
                        "400": _problem("The limit is not a whole number from 1 to 200."),
                        **refused,
                    },
                },
                "post": {
                    "operationId": "placeOrder",
                    "summary": "Place an order",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewOrder"}}},
                    },
                    "responses": {
                        "201": _json("The stored order.", order),
                        "400": _problem("The order breaks a rule; the detail says which."),
                        "413": _problem("The body is larger than a mebibyte."),
                        **refused,
                    },
                },
            },
            "/orders/{id}": {
                "get": {
                    "operationId": "readOrder",
                    "summary": "One order",
                    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                    "responses": {
                        "200": _json("The order.", order),
                        "404": _problem("There is no such order."),
                        **refused,
                    },
                }
            },
        },
        "components": {
            "schemas": {"Order": ORDER, "NewOrder": NEW_ORDER, "Problem": PROBLEM},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "oauth": {
                    "type": "oauth2",
                    "flows": {"clientCredentials": {"tokenUrl": f"{base_url}/oauth/token", "scopes": {}}},
                },
            },
        },
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of the events the service sends."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Orders events", "version": "1.0.0"},
        "defaultContentType": "application/cloudevents+json",
        "channels": {
            "orderCreated": {
                "address": CREATED,
                "messages": {"orderCreated": {"$ref": "#/components/messages/orderCreated"}},
            }
        },
        "operations": {
            "sendOrderCreated": {
                "action": "send",
                "channel": {"$ref": "#/channels/orderCreated"},
                "messages": [{"$ref": "#/channels/orderCreated/messages/orderCreated"}],
            }
        },
        "components": {
            "messages": {
                "orderCreated": {
                    "name": CREATED,
                    "title": "An order was stored",
                    "contentType": "application/cloudevents+json",
                    "payload": EVENT,
                }
            }
        },
    }


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": description, "content": content}
