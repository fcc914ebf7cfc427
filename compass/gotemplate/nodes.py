"""The parsed form of a template. Variables are numbered slots, so rendering never searches for a name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

ROOT_SLOT = 0
"""The slot of `$`, the data a template was called with."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function templates may call. `call` gets the run, then the arguments."""

    call: Callable[..., object]
    least: int
    most: int | None
    """None when there is no upper bound."""


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`, the present value."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant, nil included."""

    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Fields:
    """`.A.B`, `$x.A.B` or `(…).A.B`: fields looked up one after another in a value."""

    of: "Operand"
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x`."""

    slot: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments; the value of the previous stage of the pipeline, if any, becomes the last one."""

    name: str
    function: Function
    arguments: tuple["Operand", ...]
    line: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages joined by `|`, of which the last one's value is the result. Every stage after the first is a Call."""

    first: "Operand"
    calls: tuple[Call, ...]
    slots: tuple[int, ...]
    """Variables that get the value. A `range` may name two: index, then element."""
    line: int


Operand: TypeAlias = Dot | Literal | Fields | Variable | Call | Pipeline


@dataclass(frozen=True, slots=True)
class Text:
    """Text between actions, written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is written, unless it goes to a variable."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """One condition of an `if` or `with` chain, and what is rendered when it is true."""

    condition: Pipeline
    body: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class If:
    """`if … else if … else … end`."""

    branches: tuple[Branch, ...]
    otherwise: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class With:
    """`with … else with … else … end`: like `if`, but the condition becomes `.` in its body."""

    branches: tuple[Branch, ...]
    otherwise: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Range:
    """`range … else … end` over a list, a map or the numbers below an int."""

    over: Pipeline
    body: tuple["Node", ...]
    otherwise: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Include:
    """`template "name" pipeline`."""

    name: str
    argument: Pipeline | None
    line: int


@dataclass(frozen=True, slots=True)
class Break:
    """`break`: leave the innermost `range`."""


@dataclass(frozen=True, slots=True)
class Continue:
    """`continue`: go on with the next round of the innermost `range`."""


Node: TypeAlias = Text | Action | If | With | Range | Include | Break | Continue


@dataclass(frozen=True, slots=True)
class Body:
    """One template: what it consists of and how many variable slots it needs."""

    nodes: tuple[Node, ...]
    slots: int


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source: the template itself and those it defines by name."""

    main: Body
    defined: Mapping[str, Body]
