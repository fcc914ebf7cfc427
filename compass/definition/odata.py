"""OData services. Source: OData CSDL XML, versions 2 to 4, and CSDL JSON."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from lxml import etree

from compass.definition.model import Content, Definition, Operation, Parameter, Schema
from compass.definition.schemas import MOST_PARTS, Map, mapping, name, text

_BODY: Final = "value"
_MOST_MEMBERS: Final = 5000
"""Of one object."""
_NAMING: Final = ("Type", "EntityType", "BaseType", "ReturnType", "UnderlyingType", "Function", "Action")
"""Attributes that name a type, or a function or action."""
_OF_LIST: Final = ("Collection(", ")")


def read(root: etree._Element) -> Definition:
    """The model of an EDMX document, however little of one it is."""
    _spell_out(root)
    schemas: dict[str, Schema] = {}
    operations: list[Operation] = []
    kinds = {local: _all(root, local) for local in ("EntityType", "ComplexType", "EnumType", "TypeDefinition")}
    for local, found in kinds.items():
        for element in found[: MOST_PARTS // 4]:
            schemas[_qualified(element)] = _type(element, local)
    bound = {_qualified(element): element for local in ("Function", "Action") for element in _all(root, local)}
    for element in root.iter(etree.Element):
        operation = _operation(element, bound)
        if operation is not None and len(operations) < MOST_PARTS // 10:
            operations.append(operation)
    version = name(root.get("Version"))
    older = next((value for key, value in _attributes(root, "DataServices") if _local(key) == "DataServiceVersion"), "")
    return Definition(
        standard=f"OData {older if version == '1.0' and older else version}".strip(),
        title=next((name(each.get("Namespace")) for each in _all(root, "Schema")), ""),
        operations=tuple(operations),
        schemas=schemas,
        is_cut=sum(len(found) for found in kinds.values()) > MOST_PARTS // 4 or len(operations) == MOST_PARTS // 10,
    )


def _spell_out(root: etree._Element) -> None:
    """Types by the name of their namespace instead of its alias."""
    spaces = {
        name(each.get("Alias")): name(each.get("Namespace")) for each in _all(root, "Schema") if each.get("Alias")
    }
    if not spaces:
        return
    for element in root.iter(etree.Element):
        for key in _NAMING:
            given = element.get(key)
            if given is not None:
                kind = given.removeprefix(_OF_LIST[0])
                alias, dot, rest = kind.rpartition(".")
                if dot and alias in spaces:
                    element.set(key, f"{given[: len(given) - len(kind)]}{spaces[alias]}.{rest}")


def _all(root: etree._Element, local: str) -> list[etree._Element]:
    return [element for element in root.iter(etree.Element) if etree.QName(element).localname == local]


def _attributes(root: etree._Element, local: str) -> Iterator[tuple[str, str]]:
    for element in _all(root, local)[:1]:
        for key, value in element.attrib.items():
            yield str(key), str(value)


def _local(key: str) -> str:
    return key.rpartition("}")[2]


def _qualified(element: etree._Element) -> str:
    parent = element.getparent()
    space = name(parent.get("Namespace")) if parent is not None else ""
    return f"{space}.{name(element.get('Name'))}" if space else name(element.get("Name"))


def _children(element: etree._Element, *locals_: str) -> Iterator[etree._Element]:
    for child in element.iterchildren(etree.Element):
        if etree.QName(child).localname in locals_:
            yield child


def _type(element: etree._Element, local: str) -> Schema:
    if local == "EnumType":
        return Schema(type="string", enum=tuple(name(each.get("Name")) for each in _children(element, "Member"))[:500])
    if local == "TypeDefinition":
        return _named(element.get("UnderlyingType"))
    properties = {
        name(each.get("Name")): _property(each) for each in _children(element, "Property", "NavigationProperty")
    }
    keys = {
        name(reference.get("Name")) for key in _children(element, "Key") for reference in _children(key, "PropertyRef")
    }
    needed = {
        name(each.get("Name"))
        for each in _children(element, "Property")
        if each.get("Nullable") == "false" and each.get("DefaultValue") is None
    }
    base = element.get("BaseType")
    return Schema(
        type="object",
        text=f"key: {', '.join(sorted(keys))}" if keys else "",
        required=frozenset(needed | keys),
        properties=properties,
        parts=(_named(base),) if base else (),
    )


def _property(element: etree._Element) -> Schema:
    if etree.QName(element).localname == "NavigationProperty":
        # Version 2 names a relationship instead of a type.
        return (
            _named(element.get("Type"))
            if element.get("Type")
            else Schema(type="navigation", format=name(element.get("ToRole")))
        )
    return _named(element.get("Type"))


def _named(given: str | None) -> Schema:
    kind = name(given)
    if kind.startswith(_OF_LIST[0]) and kind.endswith(_OF_LIST[1]):
        return Schema(type="array", items=_named(kind[len(_OF_LIST[0]) : -1]))
    return Schema(type=kind.removeprefix("Edm.")) if kind.startswith("Edm.") or not kind else Schema(reference=kind)


def _operation(element: etree._Element, bound: dict[str, etree._Element]) -> Operation | None:
    called = name(element.get("Name"))
    match etree.QName(element).localname:
        case "EntitySet":
            return Operation(
                "entity set",
                called,
                summary=name(element.get("EntityType")),
                gives=_body(element.get("EntityType"), many=True),
            )
        case "Singleton":
            return Operation("singleton", called, summary=name(element.get("Type")), gives=_body(element.get("Type")))
        case "FunctionImport" | "ActionImport" as local:
            # Version 2 says it here, version 4 in a function or action of its own.
            declared = bound.get(name(element.get("Function") or element.get("Action")), element)
            returned = element.get("ReturnType") or next(
                (each.get("Type") for each in _children(declared, "ReturnType")), None
            )
            parameters = tuple(
                Parameter(
                    name(each.get("Name")),
                    "query",
                    _named(each.get("Type")),
                    is_required=each.get("Nullable") == "false",
                )
                for each in _children(declared, "Parameter")
            )
            verb = "function" if local == "FunctionImport" else "action"
            return Operation(verb, called, summary=name(returned), parameters=parameters, gives=_body(returned))
    return None


def _body(kind: str | None, *, many: bool = False) -> tuple[Content, ...]:
    if not kind:
        return ()
    schema = _named(f"Collection({kind})" if many else kind)
    return (Content(_BODY, types={_BODY: schema}),)


def read_json(document: Map) -> Definition:
    """The model of a CSDL JSON document: its container's sets, functions and actions, and its types."""
    schemas: dict[str, Schema] = {}
    operations: list[Operation] = []
    for space, members in _own(document):
        for key, value in _own(members):
            given = mapping(value)
            match given.get("$Kind"):
                case "EntityType" | "ComplexType":
                    schemas[f"{space}.{key}"] = _json_type(given)
                case "EnumType":
                    schemas[f"{space}.{key}"] = Schema(type="string", enum=tuple(each for each, _ in _own(given)))
                case "EntityContainer":
                    operations += _json_container(given)
                case _:
                    continue
    return Definition(
        standard=f"OData {name(document.get('$Version'))}".strip(),
        title=name(document.get("$EntityContainer")).rpartition(".")[0],
        operations=tuple(operations[: MOST_PARTS // 10]),
        schemas=schemas,
    )


def _own(given: object) -> Iterator[tuple[str, Any]]:
    """The members of an object that are no properties of the format itself."""
    for spelled, value in islice(mapping(given).items(), _MOST_MEMBERS):
        key = name(spelled)  # of a YAML text it may be no text
        if key and not key.startswith("$") and "@" not in key:
            yield key, value


def _json_type(given: Map) -> Schema:
    own = {key: mapping(value) for key, value in _own(given)}
    needed = {
        key
        for key, value in own.items()
        if value.get("$Nullable") is not True and "$DefaultValue" not in value and value.get("$Kind") is None
    }
    base = given.get("$BaseType")
    return Schema(
        type="object",
        text=text(given.get("@Core.Description")),
        required=frozenset(needed),
        properties={key: _json_named(value) for key, value in own.items()},
        parts=(_named(base),) if isinstance(base, str) else (),
    )


def _json_named(given: Map) -> Schema:
    kind = name(given.get("$Type")) or "Edm.String"
    return _named(f"Collection({kind})" if given.get("$Collection") is True else kind)


def _json_container(given: Map) -> Iterator[Operation]:
    for key, value in _own(given):
        each = mapping(value)
        kind = name(each.get("$Type"))
        if each.get("$Collection") is True:
            yield Operation("entity set", key, summary=kind, gives=_body(kind, many=True))
        elif "$Function" in each or "$Action" in each:
            verb = "function" if "$Function" in each else "action"
            yield Operation(verb, key, summary=name(each.get("$Function") or each.get("$Action")))
        elif kind:
            yield Operation("singleton", key, summary=kind, gives=_body(kind))
