"""A specification as a document: read within limits, by parsers that fetch nothing, run nothing and repeat nothing.

Bounded by construction: bytes, values and depth are counted before a value is made of them; YAML has no anchors, tags
or numbers of its own here, XML no document types. The most that a hostile text costs is about a second.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import orjson
import yaml
from lxml import etree

from compass.errors import Code, CompassError

MOST_BYTES: Final = 10 * 1024 * 1024
MOST_VALUES: Final = 1_000_000
"""Of a JSON text: its commas, colons and brackets, also those in strings. Some 200 MB of objects at the very most."""
MOST_EVENTS: Final = 100_000
"""Names, values, and beginnings and ends of lists and objects in a YAML text: about a second."""
MOST_TAGS: Final = 150_000
"""Of an XML text: about a second."""
MOST_DEPTH: Final = 200
"""Of lists and objects in each other."""
_JSON: Final = re.compile(r'\ufeff?[ \t\r\n]*(\[|\{[ \t\r\n]*(["}\]\[{,:]|$))')
_DOCTYPE: Final = re.compile(r"<!(DOCTYPE|ENTITY)")
_TOO_MUCH: Final = "it has more parts than are taken apart"


class Unreadable(CompassError):
    """The text is no document of its kind, or one that is not taken apart; `line` and `column` say where, from 1."""

    code = Code.INVALID_DATA
    message = "the specification cannot be read: {why}"

    def __init__(self, why: str, *, line: int = 0, column: int = 0) -> None:
        self.why, self.line, self.column = why, line, column
        super().__init__(why=why)


class _Loader(yaml.CSafeLoader):
    """Texts, lists, objects, true, false and null. A number stays the text it is: nothing here calculates, and YAML's
    own numbers take hours to read when they are made for it.
    """

    # A class variable there too, which its types call one of the instance.
    yaml_implicit_resolvers: Any = {  # noqa: RUF012
        **{
            first: [("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"))]
            for first in "tTfF"
        },
        **{first: [("tag:yaml.org,2002:null", re.compile("^(?:~|null|Null|NULL|)$"))] for first in ("~", "n", "N", "")},
    }
    yaml_constructors: ClassVar[Any] = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (None, *(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "str", "seq", "map")))
    }


def is_xml(text: str) -> bool:
    """Whether the text is to be read as XML."""
    return text.lstrip("\ufeff \t\r\n")[:1] == "<"


def is_json(text: str) -> bool:
    """Whether the text is to be read as JSON. Every other text that is not XML is YAML, which has braces too."""
    return _JSON.match(text) is not None


def require_size(text: str) -> None:
    """Raises Unreadable for what is too long to be taken apart."""
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise Unreadable(f"it is longer than {MOST_BYTES // 1024 // 1024} MB, so it is not taken apart")


def document(text: str) -> Any:
    """The document that a JSON or YAML text holds; the numbers of a YAML text are texts. Raises Unreadable."""
    require_size(text)
    text = text.removeprefix("\ufeff")
    return _json(text) if is_json(text) else _yaml(text)


def _json(text: str) -> Any:
    if sum(text.count(sign) for sign in ",:[{") > MOST_VALUES:
        raise Unreadable(_TOO_MUCH)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Unreadable(error.msg, line=error.lineno, column=error.colno) from None


def _yaml(text: str) -> Any:
    try:
        _require_plain(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader that knows less
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = re.sub(r"\s+", " ", str(getattr(error, "problem", None) or "it is no YAML"))
        raise Unreadable(why[:200], line=mark.line + 1 if mark else 0, column=mark.column + 1 if mark else 0) from None
    except (ValueError, RecursionError):
        raise Unreadable("it is no YAML") from None


def _require_plain(text: str) -> None:
    """That a YAML text is no deeper than a specification is, and repeats nothing: nine lines of aliases are a billion
    entries. The loader would end the process over the depth; the events come one by one.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        mark = event.start_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        if isinstance(event, yaml.AliasEvent):
            raise Unreadable(f"*{event.anchor} repeats another part, which is not done here", line=line, column=column)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_DEPTH:
            raise Unreadable("it is nested too deeply", line=line, column=column)
        if number > MOST_EVENTS:
            raise Unreadable(_TOO_MUCH, line=line, column=column)


def tree(text: str) -> etree._Element:
    """The root of an XML text. Raises Unreadable, for every document type too: entities live there."""
    require_size(text)
    if found := _DOCTYPE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise Unreadable("it declares a document type, which could declare entities", line=line, column=1)
    if text.count("<") > MOST_TAGS:
        raise Unreadable(_TOO_MUCH)
    # Whatever encoding it claims: what was looked at above is what is read.
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
    )
    try:
        return etree.fromstring(text.removeprefix("\ufeff").lstrip().encode(), parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise Unreadable(
            re.sub(r", line \d+, column \d+.*", "", error.msg or "it is no XML"), line=line or 0, column=column or 0
        ) from None
    except ValueError:
        raise Unreadable("it is no XML") from None


class Lines:
    """On which lines the parts of a JSON or YAML text begin."""

    def __init__(self, text: str) -> None:
        self._root: Any = None
        try:
            require_size(text)
            _require_plain(text)
            self._root = yaml.compose(text, Loader=_Loader)
        except (yaml.YAMLError, Unreadable, ValueError, RecursionError):
            pass  # too long, or JSON that is no YAML: then there are no lines

    def at(self, path: Sequence[str | int]) -> int:
        """The line, from 1, of what stands at `path`; of a path that leads nowhere that of its last part that is there.

        0 when it cannot be told.
        """
        node, line = self._root, 0 if self._root is None else 1
        for step in path:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if getattr(key, "value", None) == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                found = (node.value[step], node.value[step])
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line
