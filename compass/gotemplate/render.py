"""Evaluates the tree of a template over plain data, inside a budget."""

from dataclasses import dataclass, field

from compass.gotemplate.errors import TemplateOutputTooLarge, TemplateRecursionTooDeep, TemplateTooDeep
from compass.gotemplate.formatting import printed, sorted_items, utf8
from compass.gotemplate.functions import AND, OR, described
from compass.gotemplate.nodes import (
    ROOT_SLOT,
    Action,
    Body,
    Break,
    Call,
    Continue,
    Dot,
    Fields,
    If,
    Include,
    Literal,
    Node,
    Operand,
    Pipeline,
    Range,
    Source,
    Text,
    Variable,
    With,
)
from compass.gotemplate.run import Limits, Run
from compass.gotemplate.values import NO_VALUE, Record, TextMap, is_true

_Jump = type[Break] | type[Continue] | None


def rendered(source: Source, data: object, limits: Limits) -> str:
    """The output of the template over the data. Raises TemplateError."""
    rendering = _Rendering(source, limits)
    rendering.call(source.main, data)
    output = "".join(rendering.output)
    size = utf8(output)
    if len(size) > limits.max_output_bytes:
        rendering.refuse_output()
    return size.decode()


@dataclass(frozen=True, slots=True)
class _Frame:
    """One template being rendered."""

    variables: list[object] = field(repr=False)


class _Rendering:
    def __init__(self, source: Source, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.run = Run(limits)
        self.output: list[str] = []
        self.written = 0
        self.depth = 0
        self.included = 0

    # Nodes

    def call(self, body: Body, data: object) -> None:
        frame = _Frame([None] * body.slots)
        frame.variables[ROOT_SLOT] = data
        self.nodes(body.nodes, data, frame)

    def nodes(self, nodes: tuple[Node, ...], dot: object, frame: _Frame) -> _Jump:
        """Render the nodes in order; the answer says whether a `break` or `continue` ended them early."""
        self.deeper()
        jump: _Jump = None
        for node in nodes:
            match node:
                case Text(text):
                    self.run.spend()
                    self.write(text)
                case Action(pipeline):
                    self.action(pipeline, dot, frame)
                case If() | With():
                    jump = self.conditions(node, dot, frame)
                case Range():
                    jump = self.range(node, dot, frame)
                case Include():
                    self.include(node, dot, frame)
                case Break() | Continue():
                    jump = type(node)
            if jump is not None:
                break
        self.depth -= 1
        return jump

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > self.limits.max_depth:
            raise TemplateTooDeep(
                f"more than {self.limits.max_depth} blocks, parentheses and templates are open", line=self.run.line
            )

    def write(self, text: str) -> None:
        self.written += len(text)
        if self.written > self.limits.max_output_bytes:
            self.refuse_output()
        self.output.append(text)

    def refuse_output(self) -> None:
        raise TemplateOutputTooLarge(
            f"the output is longer than {self.limits.max_output_bytes} bytes", line=self.run.line
        )

    def action(self, pipeline: Pipeline, dot: object, frame: _Frame) -> None:
        value = self.pipeline(pipeline, dot, frame)
        if not pipeline.slots:
            self.write(NO_VALUE if value is None else printed(self.run, value))

    def conditions(self, node: If | With, dot: object, frame: _Frame) -> _Jump:
        for branch in node.branches:
            value = self.pipeline(branch.condition, dot, frame)
            if is_true(value):
                return self.nodes(branch.body, value if isinstance(node, With) else dot, frame)
        return self.nodes(node.otherwise, dot, frame)

    def range(self, node: Range, dot: object, frame: _Frame) -> _Jump:
        over = self.pipeline(node.over, dot, frame)
        rounds = self.rounds(over, node.over)
        if not rounds:
            return self.nodes(node.otherwise, dot, frame)
        slots = node.over.slots
        for index, element in rounds:
            self.run.spend()
            if slots:
                frame.variables[slots[-1]] = element
            if len(slots) > 1:
                frame.variables[slots[0]] = index
            # A `continue` ends the round and needs nothing more; a `break` ends the loop; both are used up here.
            if self.nodes(node.body, element, frame) is Break:
                break
        return None

    def rounds(self, over: object, pipeline: Pipeline) -> list[tuple[object, object]]:
        """Index and element of every round, which is paid for before the list is made."""
        match over:
            case None:
                return []
            case list():
                self.run.spend_on(over)
                return list(enumerate(over))
            case dict() if not isinstance(over, Record):
                self.run.spend_on(over)
                return [*sorted_items(self.run, over)]
            case int() if not isinstance(over, bool):
                if len(pipeline.slots) > 1:
                    raise self.run.failure("a range over a number has one variable, not two")
                self.run.spend(max(0, over))
                return [(number, number) for number in range(over)]
            case _:
                raise self.run.failure(f"range cannot go over {described(over)}: expected a list, a map or an int")

    def include(self, node: Include, dot: object, frame: _Frame) -> None:
        self.run.line = node.line
        self.run.spend()
        body = self.source.defined.get(node.name)
        if body is None:
            raise self.run.failure(f"there is no template {node.name!r}")
        data = self.pipeline(node.argument, dot, frame) if node.argument else None
        self.included += 1
        if self.included > self.limits.max_recursion:
            raise TemplateRecursionTooDeep(
                f"more than {self.limits.max_recursion} templates call each other", line=node.line
            )
        self.call(body, data)
        self.included -= 1

    # Values

    def pipeline(self, pipeline: Pipeline, dot: object, frame: _Frame) -> object:
        self.run.line = pipeline.line
        self.run.spend()
        value = self.operand(pipeline.first, dot, frame)
        for call in pipeline.calls:
            value = self.function(call, dot, frame, value)
        for slot in pipeline.slots:
            frame.variables[slot] = value
        return value

    def operand(self, operand: Operand, dot: object, frame: _Frame) -> object:
        match operand:
            case Fields(of, names):
                self.run.spend()
                value = self.operand(of, dot, frame)
                if value is None:
                    return None  # Go fails on a nil met inside the chain, but not on one the chain begins with
                for position, name in enumerate(names):
                    if isinstance(value, dict) and name in value:
                        value = value[name]
                    else:
                        value = self.absent(value, names, position)
                return value
            case Literal(value):
                return value
            case Call():
                return self.function(operand, dot, frame)
            case Variable(slot):
                return frame.variables[slot]
            case Dot():
                return dot
            case Pipeline():
                self.deeper()
                value = self.pipeline(operand, dot, frame)
                self.depth -= 1
                return value

    def absent(self, value: object, names: tuple[str, ...], position: int) -> object:
        """What `.A.B` is when there is no B: nil in a map, the empty text in a map of texts, otherwise a failure."""
        if isinstance(value, TextMap):
            return ""
        if isinstance(value, dict) and not isinstance(value, Record):
            return None
        chain = ".".join(names[: position + 1])
        if isinstance(value, Record):
            raise self.run.failure(f"there is no field {names[position]!r} in .{chain}")
        raise self.run.failure(f"{described(value)} has no field {names[position]!r} in .{chain}")

    def function(self, call: Call, dot: object, frame: _Frame, *piped: object) -> object:
        run = self.run
        run.line = call.line
        run.spend()
        function = call.function
        self.check_count(call, len(call.arguments) + len(piped))
        if function is AND or function is OR:
            return self.first_decisive(call, dot, frame, piped)
        arguments = [self.operand(argument, dot, frame) for argument in call.arguments]
        arguments += piped
        for argument in arguments:
            run.spend_on(argument)
        run.line = call.line
        run.calling = call.name
        result = function.call(run, *arguments)
        if isinstance(result, str):
            run.check_size(len(result))
        run.spend_on(result)
        run.calling = None
        return result

    def check_count(self, call: Call, given: int) -> None:
        least, most = call.function.least, call.function.most
        if given < least or (most is not None and given > most):
            upper = f" to {most}" if most is not None else " or more"
            expected = str(least) if least == most else f"{least}{upper}"
            raise self.run.failure(f"{call.name}: the number of arguments is {given}: expected {expected}")

    def first_decisive(self, call: Call, dot: object, frame: _Frame, piped: tuple[object, ...]) -> object:
        """`and` gives its first false argument, `or` its first true one, else the last; the rest is not evaluated."""
        stops_at = call.function is OR
        value: object = None
        for argument in call.arguments:
            value = self.operand(argument, dot, frame)
            if is_true(value) is stops_at:
                return value
        return piped[0] if piped else value
