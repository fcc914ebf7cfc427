"""GraphQL documents: parsed, checked and walked. The only module that knows the GraphQL library.

`graphql-core` parses, validates and coerces (`limits.py` counts before it validates); what is selected is then handed
on as `Selected` fields, so that neither the compiler nor the API depends on the library's syntax tree.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import graphql
import orjson
from graphql import language as syntax

from compass.errors import Refused
from compass.reads.kept import Kept
from compass.reads.limits import LIMITS, check, check_text

_KNOWN_VARIABLES: Final = 16
"""Values of variables that are remembered per operation; a client that pages has a few."""
_SMALL_VARIABLES: Final = 256
"""Bytes of JSON up to which they are."""
_KNOWN_ARGUMENTS: Final = 64
_LONGEST_PROBLEM: Final = 1_000
"""Characters. It repeats names of the document, which may be of any length."""
_REPEATED: Final = re.compile(
    r", found: .*|(?<=[^d] value): .*|(?<=found String) [\"'].*|(?<=Unexpected String) [\"'].*"
    r"|(?<=Value) [\"'].*(?= does not exist in)",
    re.DOTALL,
)
"""Where a problem repeats a value: it may be a secret in the wrong place, and answers are logged on their way."""
_EMPTY_PARENTHESES: Final = re.compile(r"(\w)\s*\(\s*\)")


class DocumentRefused(Refused):
    """The document is not GraphQL, or asks for what the schema does not offer."""


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise graphql.GraphQLError("a string is expected")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise graphql.GraphQLError("a JSON object is expected")
    return value


def _lists_by_name(value: Any) -> dict[str, list[str]]:
    items = _object(value)
    if not all(isinstance(entry, list) and all(isinstance(text, str) for text in entry) for entry in items.values()):
        raise graphql.GraphQLError("an object of string lists is expected")
    return items


_SCALARS: Final[Mapping[str, Any]] = {
    "CLOB": _string,
    "JSON": _string,
    "JSONSchema": _string,
    "PageCursor": _string,
    "HttpHeadersSerialized": _string,
    "QueryParamsSerialized": _string,
    "Labels": _object,
    "HttpHeaders": _lists_by_name,
    "QueryParams": _lists_by_name,
}


class Schema:
    """A GraphQL schema written as SDL, and the documents that were checked against it."""

    def __init__(self, sdl: str) -> None:
        self.graphql = graphql.build_schema(sdl)
        for name, coerce in _SCALARS.items():
            scalar = self.graphql.type_map.get(name)
            if isinstance(scalar, graphql.GraphQLScalarType):
                _strict(scalar, coerce)
        self._documents: Kept[str, Document] = Kept()

    def fields(self, type_name: str) -> Mapping[str, graphql.GraphQLField]:
        """The fields of an object or interface type, by name."""
        kind = self.graphql.type_map[type_name]
        if not isinstance(kind, graphql.GraphQLObjectType | graphql.GraphQLInterfaceType):
            raise TypeError(f"{type_name} has no fields")
        fields: Mapping[str, graphql.GraphQLField] = kind.fields
        return fields

    def type_of(self, type_name: str, field_name: str) -> str:
        """The name of a field's type, without list and non-null marks."""
        return str(graphql.get_named_type(self.fields(type_name)[field_name].type).name)

    def input_fields(self, type_name: str) -> dict[str, str]:
        """The fields of an input type, each with the name of its type without list and non-null marks."""
        kind = self.graphql.type_map[type_name]
        if not isinstance(kind, graphql.GraphQLInputObjectType):
            raise TypeError(f"{type_name} is no input type")
        return {name: str(graphql.get_named_type(field.type).name) for name, field in kind.fields.items()}

    def argument_types(self, type_name: str, field_name: str) -> dict[str, str]:
        """The arguments of a field, each with the name of its type without list and non-null marks."""
        definition = self.fields(type_name)[field_name]
        return {name: str(graphql.get_named_type(argument.type).name) for name, argument in definition.args.items()}

    def is_input(self, type_name: str) -> bool:
        """Whether it is an input type, which has fields."""
        return isinstance(self.graphql.type_map[type_name], graphql.GraphQLInputObjectType)

    def is_scalar(self, type_name: str) -> bool:
        """Whether nothing can be selected below it."""
        return graphql.is_leaf_type(self.graphql.type_map[type_name])

    def possible(self, type_name: str) -> frozenset[str]:
        """The object types a value of this type may be: itself, or the members of a union or interface."""
        kind = self.graphql.type_map[type_name]
        if graphql.is_abstract_type(kind):
            return frozenset(member.name for member in self.graphql.get_possible_types(kind))
        return frozenset([type_name])

    def document(self, text: str) -> "Document":
        """The parsed and validated document; a repeated text costs a look-up.

        Raises DocumentRefused with the first problem and where it is.
        """
        known = self._documents.get(text)
        if known is not None:
            return known
        document = Document(self, text)
        self._documents.keep(text, document, len(text))
        return document


def _strict(scalar: graphql.GraphQLScalarType, coerce: Any) -> None:
    """Have a custom scalar refuse values of the wrong JSON type, whether written as literal or sent as variable."""

    def coerce_literal(node: syntax.ConstValueNode) -> Any:
        return coerce(graphql.value_from_ast_untyped(node))

    scalar.coerce_input_value = coerce
    scalar.coerce_input_literal = coerce_literal


class Document:
    """One text: its operations and fragments."""

    def __init__(self, schema: Schema, text: str) -> None:
        self.schema = schema
        self.text = text
        check_text(text)
        try:
            self.syntax = _parse(text)
        except graphql.GraphQLError as error:
            raise DocumentRefused(_where(error)) from None
        check(self.syntax, LIMITS)
        problems = graphql.validate(schema.graphql, self.syntax, max_errors=5)
        if problems:
            raise DocumentRefused(_where(problems[0]))
        self.fragments = {
            node.name.value: node for node in self.syntax.definitions if isinstance(node, syntax.FragmentDefinitionNode)
        }
        self.operations = {
            node.name.value if node.name else None: Operation(self, node)
            for node in self.syntax.definitions
            if isinstance(node, syntax.OperationDefinitionNode)
        }

    def operation(self, name: str | None) -> "Operation":
        """The operation to run. Raises DocumentRefused when the name is unknown, or missing among several."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        operation = self.operations.get(name)
        if operation is None:
            raise DocumentRefused(
                f"the document has no operation named {name!r}"
                if name
                else "operationName must say which operation to run"
            )
        return operation


def _parse(text: str) -> syntax.DocumentNode:
    try:
        return graphql.parse(text, no_location=False, max_tokens=LIMITS.tokens)
    except graphql.GraphQLSyntaxError:
        # Clients in the field write `configuration()`, which the grammar forbids and the original's parser let pass.
        # Source: contract/connector-agent-provisioner.md §B.1.
        relaxed = _without_empty_parentheses(text)
        if relaxed == text:
            raise
        return graphql.parse(relaxed, max_tokens=LIMITS.tokens)


def _without_empty_parentheses(text: str) -> str:
    """Drop `()` after a name, outside strings and comments."""
    pieces = re.split(r'("""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|#[^\n]*)', text)
    return "".join(piece if index % 2 else _EMPTY_PARENTHESES.sub(r"\1", piece) for index, piece in enumerate(pieces))


def _where(error: graphql.GraphQLError) -> str:
    problem = _REPEATED.sub("", error.message)
    if len(problem) > _LONGEST_PROBLEM:
        problem = f"{problem[:_LONGEST_PROBLEM]}…"
    if not error.locations:
        return problem
    place = error.locations[0]
    return f"{problem} (line {place.line}, column {place.column})"


def _remembered_as(given: Mapping[str, Any]) -> bytes:
    """What small variables are known by; nothing for large ones, and for those too deep to be written."""
    try:
        text = orjson.dumps(given)
    except TypeError:
        return b""
    return text if len(text) <= _SMALL_VARIABLES else b""


class Variables:
    """Coerced variables, and the arguments that were made of them. `coerced` is by name."""

    def __init__(self, values: Any = None) -> None:
        self.values = values
        self.coerced: Mapping[str, Any] = {} if values is None else values.coerced
        self._arguments: dict[Selected, dict[str, Any]] = {}

    def arguments(self, of: "Selected") -> dict[str, Any]:
        """The coerced arguments of a field that belongs to a plan, worked out once. Raises DocumentRefused."""
        known = self._arguments.get(of)
        if known is None:
            if len(self._arguments) >= _KNOWN_ARGUMENTS:
                self._arguments.clear()
            known = self._arguments[of] = of.arguments(self)
        return known


class Operation:
    """One operation of a document, ready to be walked once its variables are known."""

    def __init__(self, document: Document, node: syntax.OperationDefinitionNode) -> None:
        self.document = document
        self.node = node
        self.name = node.name.value if node.name else None
        self.kind = node.operation.value
        kinds = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}
        self.root_type = kinds[self.kind]
        self.decisive = _decisive_variables(document.syntax)
        """The variables that some `@include`, `@skip`, label filter or order reads: their values select the plan."""

        self.root_names = frozenset(_root_names(document, node.selection_set))
        """The fields that may be at its root, whatever `@include` and `@skip` decide."""
        self._known: dict[bytes, Variables] = {}

    def variables(self, given: Mapping[str, Any]) -> "Variables":
        """The variables, coerced to their declared types with defaults applied.

        Clients ask the same question again and again: small variables that came before are not coerced again.
        Raises DocumentRefused naming the variable and what was expected.
        """
        if not self.node.variable_definitions:
            return Variables()
        text = _remembered_as(given)
        known = self._known.get(text)
        if known is not None:
            return known
        values = graphql.get_variable_values(
            self.document.schema.graphql, self.node.variable_definitions, dict(given), max_errors=1
        )
        if isinstance(values, list):
            raise DocumentRefused(_where(values[0]))
        made = Variables(values)
        if text:
            if len(self._known) >= _KNOWN_VARIABLES:
                self._known.clear()
            self._known[text] = made
        return made

    def walk(self, variables: "Variables") -> "Walk":
        """The selection under given variables: `@include` and `@skip` are decided here."""
        return Walk(self.document, self.node, variables)


@dataclass(eq=False)
class Selected:
    """One response key of a selection: a field, its arguments, and what is selected below it."""

    walk: "Walk"
    parent: str
    """The object type that the field belongs to."""
    key: str
    """The alias, or the name."""
    name: str
    nodes: list[syntax.FieldNode]
    path: tuple[str, ...]
    type_name: str = field(init=False)
    """The name of the field's type without list and non-null marks."""
    has_selection: bool = field(init=False)

    def __post_init__(self) -> None:
        self.definition: Any = None
        if self.name != "__typename":
            self.definition = self.walk.document.schema.graphql.type_map[self.parent].fields.get(self.name)  # type: ignore[attr-defined]  # parents are object types
        self.type_name = graphql.get_named_type(self.definition.type).name if self.definition else "String"
        self.has_selection = self.nodes[0].selection_set is not None

    @property
    def required(self) -> bool:
        """Whether the schema says that the field is never null."""
        return bool(self.definition) and graphql.is_non_null_type(self.definition.type)

    @property
    def fixed(self) -> bool:
        """Whether the arguments are the same whatever the variables are."""
        return not any(_mentions_variable(argument.value) for argument in self.nodes[0].arguments or ())

    def given(self, argument: str) -> bool:
        """Whether the text of the document passes this argument at all."""
        return any(node.name.value == argument for node in self.nodes[0].arguments or ())

    def lacks(self, argument: str) -> bool:
        """Whether the argument is null whatever the variables are: not passed, and without a default."""
        declared = self.definition.args.get(argument)
        return not self.given(argument) and (declared is None or declared.default is None)

    def arguments(self, variables: Variables | None) -> dict[str, Any]:
        """The coerced arguments, defaults applied. Raises DocumentRefused."""
        if self.definition is None:  # what every type has without declaring it: __typename, __schema, __type
            return {}
        try:
            values = None if variables is None else variables.values
            return graphql.get_argument_values(self.definition, self.nodes[0], values)
        except graphql.GraphQLError as error:
            raise DocumentRefused(_where(error)) from None

    def below(self, type_name: str) -> "list[Selected]":
        """The fields selected on a value of that object type, fragments applied."""
        sets = [node.selection_set for node in self.nodes if node.selection_set is not None]
        return self.walk.collect(sets, type_name, self.path)


def _mentions_variable(value: syntax.ValueNode) -> bool:
    match value:
        case syntax.VariableNode():
            return True
        case syntax.ListValueNode():
            return any(_mentions_variable(item) for item in value.values)
        case syntax.ObjectValueNode():
            return any(_mentions_variable(item.value) for item in value.fields)
        case _:
            return False


class Walk:
    """A walk over one operation's selection with its variables."""

    def __init__(self, document: Document, node: syntax.OperationDefinitionNode, variables: Variables) -> None:
        self.document = document
        self.variables = variables
        self._node = node

    def roots(self, root_type: str) -> list[Selected]:
        """The root fields in the order of the document."""
        return self.collect([self._node.selection_set], root_type, ())

    def collect(self, sets: Sequence[syntax.SelectionSetNode], type_name: str, path: tuple[str, ...]) -> list[Selected]:
        """Merge selection sets on an object type into its response keys. Source: GraphQL spec, CollectFields."""
        found: dict[str, Selected] = {}
        for chosen in sets:
            for node in self._fields(chosen, type_name, set()):
                key = node.alias.value if node.alias else node.name.value
                if key in found:
                    found[key].nodes.append(node)
                else:
                    found[key] = Selected(self, type_name, key, node.name.value, [node], (*path, key))
        return list(found.values())

    def _fields(self, chosen: syntax.SelectionSetNode, type_name: str, visited: set[str]) -> Iterator[syntax.FieldNode]:
        for node in chosen.selections:
            if not self._included(node):
                continue
            match node:
                case syntax.FieldNode():
                    yield node
                case syntax.InlineFragmentNode():
                    if self._applies(node.type_condition, type_name):
                        yield from self._fields(node.selection_set, type_name, visited)
                case syntax.FragmentSpreadNode():
                    fragment = self.document.fragments[node.name.value]
                    if node.name.value not in visited and self._applies(fragment.type_condition, type_name):
                        visited.add(node.name.value)
                        yield from self._fields(fragment.selection_set, type_name, visited)

    def _applies(self, condition: syntax.NamedTypeNode | None, type_name: str) -> bool:
        return condition is None or type_name in self.document.schema.possible(condition.name.value)

    def _included(self, node: syntax.SelectionNode) -> bool:
        for directive in node.directives or ():
            if directive.name.value not in ("include", "skip"):
                continue
            values = graphql.get_directive_values(
                graphql.GraphQLIncludeDirective if directive.name.value == "include" else graphql.GraphQLSkipDirective,
                node,
                self.variables.values,
            )
            wanted = bool(values and values["if"])
            if wanted != (directive.name.value == "include"):
                return False
        return True


def _root_names(document: Document, chosen: syntax.SelectionSetNode) -> Iterator[str]:
    waiting, seen = [chosen], set[str]()
    while waiting:
        for node in waiting.pop().selections:
            match node:
                case syntax.FieldNode():
                    yield node.name.value
                case syntax.InlineFragmentNode():
                    waiting.append(node.selection_set)
                case syntax.FragmentSpreadNode() if node.name.value not in seen:
                    seen.add(node.name.value)
                    waiting.append(document.fragments[node.name.value].selection_set)


def _decisive_variables(document: syntax.DocumentNode) -> tuple[str, ...]:
    names: set[str] = set()

    class Reader(syntax.Visitor):
        def enter_directive(self, node: syntax.DirectiveNode, *_: Any) -> None:
            for argument in node.arguments or ():
                read(argument.value)

        def enter_argument(self, node: syntax.ArgumentNode, *_: Any) -> None:
            if node.name.value in ("filter", "orderBy"):
                read(node.value)

    class Variables(syntax.Visitor):
        def enter_variable(self, node: syntax.VariableNode, *_: Any) -> None:
            names.add(node.name.value)

    def read(value: syntax.Node) -> None:
        syntax.visit(value, Variables())

    syntax.visit(document, Reader())
    return tuple(sorted(names))


def introspect(operation: Operation, asked: Sequence[Selected], variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the schema says about itself, by response key, for the root fields `__schema` and `__type`."""
    only = syntax.OperationDefinitionNode(
        operation=operation.node.operation,
        variable_definitions=operation.node.variable_definitions,
        selection_set=syntax.SelectionSetNode(selections=tuple(node for field in asked for node in field.nodes)),
    )
    result = graphql.execute_sync(
        operation.document.schema.graphql,
        syntax.DocumentNode(definitions=(only, *operation.document.fragments.values())),
        variable_values=dict(variables),
    )
    return result.data or {}
