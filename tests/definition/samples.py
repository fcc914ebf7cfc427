"""Specifications of every kind, as small as they come."""

import json
from typing import Any, Final

ORDER: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string"},
        "total": {"type": "number"},
        "state": {"type": "string", "enum": ["new", "paid"]},
        "parent": {"$ref": "#/components/schemas/Order"},
    },
}
OPENAPI_3: Final[dict[str, Any]] = {
    "openapi": "3.0.3",
    "info": {"title": "Orders", "version": "2", "description": "All of them."},
    "servers": [{"url": "https://shop.example"}],
    "paths": {
        "/orders": {
            "get": {
                "operationId": "list",
                "summary": "List orders",
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer"}},
                    {"$ref": "#/components/parameters/Trace"},
                ],
                "responses": {"200": {"description": "all", "content": {"application/json": {
                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}}}}}},
            },
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}},
                "responses": {"201": {"$ref": "#/components/responses/Made"}},
            },
        },
        "/orders/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {"responses": {"200": {"description": "one"}, "404": {"description": "none"}}},
        },
    },
    "components": {
        "schemas": {"Order": ORDER},
        "parameters": {"Trace": {"name": "X-Trace", "in": "header", "schema": {"type": "string"}}},
        "responses": {"Made": {"description": "made"}},
    },
}  # fmt: skip
OPENAPI_31: Final = """\
openapi: 3.1.0
info: {title: Prices, version: 1.10}
paths:
  /prices:
    get:
      parameters: [{name: at, in: query, schema: {type: [string, 'null'], format: date}}]
"""
OPENAPI_2: Final = """\
swagger: '2.0'
info: {title: Old, version: '1'}
host: old.example
basePath: /v1
consumes: [application/json]
paths:
  /a:
    post:
      operationId: make
      parameters:
        - {name: b, in: body, required: true, schema: {$ref: '#/definitions/A'}}
        - {name: f, in: formData, type: string}
      responses: {200: {description: ok, schema: {$ref: '#/definitions/A'}}}
definitions:
  A: {type: object, properties: {n: {type: integer, format: int32, x-nullable: true}}}
"""
ASYNCAPI_1: Final = """\
asyncapi: 1.2.0
info: {title: T, version: '1'}
baseTopic: hitch
topics:
  signup: {publish: {$ref: '#/components/messages/Signup'}}
components:
  messages: {Signup: {summary: somebody came, payload: {type: object, properties: {who: {type: string}}}}}
"""
ASYNCAPI_2: Final = """\
asyncapi: 2.6.0
info: {title: Orders, version: '1'}
servers: {production: {url: 'mqtt://events.example'}}
channels:
  order/{id}/made:
    parameters: {id: {schema: {type: string}}}
    subscribe:
      operationId: made
      summary: told
      message:
        oneOf:
          - {name: Made, payload: {type: object, required: [id], properties: {id: {type: string}}}}
          - {name: Unmade, headers: {type: object}}
  silence: {description: nothing yet}
"""
ASYNCAPI_3: Final = """\
asyncapi: 3.0.0
info: {title: Orders, version: '1'}
channels:
  made:
    address: order/made
    messages: {Made: {payload: {schemaFormat: x, schema: {type: string}}}}
  unused: {address: a/b}
operations:
  tell: {action: send, channel: {$ref: '#/channels/made'}, summary: told}
"""
ODATA_4: Final = """\
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="shop" Alias="Self">
<EntityType Name="Order"><Key><PropertyRef Name="ID"/></Key><Property Name="ID" Type="Edm.Int32" Nullable="false"/>
<Property Name="Note" Type="Edm.String"/><NavigationProperty Name="Parent" Type="Self.Order"/></EntityType>
<EnumType Name="State"><Member Name="new"/><Member Name="paid"/></EnumType>
<Function Name="Best"><Parameter Name="n" Type="Edm.Int32" Nullable="false"/><ReturnType Type="Collection(Self.Order)"/>
</Function>
<EntityContainer Name="c"><EntitySet Name="Orders" EntityType="Self.Order"/><Singleton Name="Me" Type="shop.Order"/>
<FunctionImport Name="Best" Function="shop.Best"/></EntityContainer></Schema></edmx:DataServices></edmx:Edmx>
"""
ODATA_2: Final = """\
<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"
 xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">
<edmx:DataServices m:DataServiceVersion="2.0"><Schema Namespace="NS">
<EntityType Name="Order"><Property Name="ID" Type="Edm.Int32"/>
<NavigationProperty Name="Lines" Relationship="NS.A" ToRole="Line"/></EntityType>
<EntityContainer Name="c"><EntitySet Name="Orders" EntityType="NS.Order"/>
<FunctionImport Name="Best" ReturnType="NS.Order"><Parameter Name="n" Type="Edm.Int32"/></FunctionImport>
</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>
"""
ODATA_JSON: Final = json.dumps(
    {
        "$Version": "4.01",
        "$EntityContainer": "shop.C",
        "shop": {
            "Order": {"$Kind": "EntityType", "$Key": ["ID"], "ID": {"$Type": "Edm.Int32"}, "Note": {"$Nullable": True}},
            "State": {"$Kind": "EnumType", "new": 0, "paid": 1},
            "C": {"$Kind": "EntityContainer", "Orders": {"$Collection": True, "$Type": "shop.Order"}},
        },
    }
)
EVERY: Final = {
    "OpenAPI 3.0": json.dumps(OPENAPI_3),
    "OpenAPI 3.1": OPENAPI_31,
    "OpenAPI 2": OPENAPI_2,
    "AsyncAPI 1": ASYNCAPI_1,
    "AsyncAPI 2": ASYNCAPI_2,
    "AsyncAPI 3": ASYNCAPI_3,
    "OData 4": ODATA_4,
    "OData 2": ODATA_2,
    "OData JSON": ODATA_JSON,
}
LAUGHS: Final = "a: &a [x,x,x]\n" + "\n".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]" for n in range(20)
)
ENTITIES: Final = """<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY e SYSTEM "file:///etc/passwd">]><b Version="&c;"><EntitySet Name="x"/>&e;</b>"""
UNREADABLE: Final = {
    "a brace": "{",
    "a list": "[1]",
    "words": "just words",
    "a broken tag": "<a",
    "aliases": LAUGHS,
    "entities": ENTITIES,
    "an encoding of its own": '<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4-<a/>',
    "deep lists": "[" * 100_000,
    "deep objects": "{" * 100_000,
    "deep YAML": "- " * 100_000,
    "deep flow": "a: " + "[" * 300 + "]" * 300,
    "many entries": "- a\n" * 150_000,
    "many values": "[" + "1," * 1_200_000 + "1]",
    "many tags": "<a>" + "<b/>" * 150_001 + "</a>",
    "a program": "!!python/object/apply:os.system ['true']",
    "a number that takes hours": "a: !!int " + "1:" * 200_000 + "1",
    "too long": " " * (10 * 1024 * 1024 + 1),
    "deep XML": "<a>" * 5000,
    "no service": "<a/>",
    "half a character": "openapi: \ud800",
    "half a character in JSON": '{"openapi": "\ud800"}',
    "half a character in XML": "<a>\ud800</a>",
    "a null character": "a\x00b",
}
