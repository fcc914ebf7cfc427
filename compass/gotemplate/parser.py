"""Builds the tree of a template from its tokens. Source: Go 1.26, package text/template/parse (the grammar)."""

from collections.abc import Mapping
from typing import Literal as OneOf

from compass.gotemplate import literals
from compass.gotemplate.errors import TemplateSyntaxError, TemplateTooDeep, TemplateTooLarge
from compass.gotemplate.lexer import Kind, Token, tokens
from compass.gotemplate.nodes import (
    ROOT_SLOT,
    Action,
    Body,
    Branch,
    Break,
    Call,
    Continue,
    Dot,
    Fields,
    Function,
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

MAX_SOURCE_BYTES = 64 * 1024
MAX_NESTING = 50
_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "nil": None}
_BLOCK_ENDS = ("else", "end")
_CONTROLS = ("if", "with", "range", "block", "define", "template", "break", "continue")


def parse_source(source: str, functions: Mapping[str, Function], refused: Mapping[str, str]) -> Source:
    """The tree of a template that may call `functions`.

    `refused` names functions that exist in Go or sprig and are left out on purpose, each with the reason.
    Raises TemplateTooLarge, TemplateTooDeep, TemplateSyntaxError.
    """
    if len(source) > MAX_SOURCE_BYTES or len(source.encode("utf-8", "replace")) > MAX_SOURCE_BYTES:
        raise TemplateTooLarge(f"the template is longer than {MAX_SOURCE_BYTES} bytes")
    return _Parser(tokens(source), functions, refused).source()


class _Variables:
    """Which slot a variable name means, block by block, inside one template."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, int]] = [{"$": ROOT_SLOT}]
        self.used = 1

    def declare(self, name: str) -> int:
        self.scopes[-1][name] = self.used
        self.used += 1
        return self.used - 1

    def slot(self, name: str) -> int | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None


class _Parser:
    def __init__(self, found: list[Token], functions: Mapping[str, Function], refused: Mapping[str, str]) -> None:
        self.found = found
        self.at = 0
        self.functions = functions
        self.refused = refused
        self.variables = _Variables()
        self.defined: dict[str, Body] = {}
        self.nesting = 0
        self.ranges_open = 0

    def source(self) -> Source:
        nodes, stop = self.nodes(top_level=True)
        if stop.kind is not Kind.END:
            raise self.unexpected(stop, "text or an action: no block is open here")
        return Source(Body(nodes, self.variables.used), self.defined)

    # Tokens

    def peek(self) -> Token:
        return self.found[self.at]

    def next(self) -> Token:
        token = self.found[self.at]
        self.at += token.kind is not Kind.END
        return token

    def expect(self, kind: Kind, where: str) -> Token:
        token = self.next()
        if token.kind is not kind:
            raise self.unexpected(token, f"{kind} {where}")
        return token

    def unexpected(self, token: Token, expected: str) -> TemplateSyntaxError:
        return TemplateSyntaxError(f"unexpected {token}: expected {expected}", line=token.line)

    def enter(self, line: int) -> None:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise TemplateTooDeep(f"more than {MAX_NESTING} blocks or parentheses are open", line=line)

    # Blocks

    def nodes(self, *, top_level: bool = False) -> tuple[tuple[Node, ...], Token]:
        """The nodes up to `else`, `end` or the end of the template, and the token that stopped them."""
        nodes: list[Node] = []
        while True:
            token = self.next()
            if token.kind is Kind.TEXT:
                nodes.append(Text(token.text))
                continue
            if token.kind is Kind.END:
                return tuple(nodes), token
            word = self.peek()
            if word.kind is Kind.NAME and word.text in _BLOCK_ENDS:
                return tuple(nodes), self.next()
            if word.kind is Kind.NAME and word.text in _CONTROLS:
                node = self.control(self.next(), top_level=top_level)
                if node is not None:
                    nodes.append(node)
            else:
                nodes.append(Action(self.action_pipeline()))

    def control(self, word: Token, *, top_level: bool) -> Node | None:
        match word.text:
            case "if" | "with":
                return self.conditions(word.text)
            case "range":
                return self.range(word)
            case "template":
                return self.include(word)
            case "block":
                return self.block(word)
            case "define":
                if not top_level:
                    raise self.unexpected(word, "an action: templates are defined outside of all blocks")
                self.define(word)
                return None
            case _:
                return self.jump(word)

    def action_pipeline(self) -> Pipeline:
        pipeline = self.pipeline("in an action", declares="one")
        self.expect(Kind.CLOSE, "after an action")
        return pipeline

    def conditions(self, word: OneOf["if", "with"]) -> If | With:
        self.enter(self.peek().line)
        self.variables.scopes.append({})
        branches = []
        otherwise: tuple[Node, ...] = ()
        while True:
            condition = self.pipeline(f"after {word!r}", declares="one")
            self.expect(Kind.CLOSE, f"after the condition of {word!r}")
            body, stop = self.body(word, condition.line)
            branches.append(Branch(condition, body))
            if stop.text == "else" and self.peek().kind is Kind.NAME and self.peek().text == word:
                self.next()
                continue
            if stop.text == "else":
                otherwise = self.otherwise(word, condition.line)
            else:
                self.expect(Kind.CLOSE, 'after "end"')
            break
        self.variables.scopes.pop()
        self.nesting -= 1
        return If(tuple(branches), otherwise) if word == "if" else With(tuple(branches), otherwise)

    def body(self, word: str, line: int) -> tuple[tuple[Node, ...], Token]:
        self.variables.scopes.append({})
        nodes, stop = self.nodes()
        self.variables.scopes.pop()
        if stop.kind is Kind.END:
            raise TemplateSyntaxError(f'{word!r} is not closed: expected "{{{{end}}}}"', line=line)
        return nodes, stop

    def otherwise(self, word: str, line: int) -> tuple[Node, ...]:
        self.expect(Kind.CLOSE, 'after "else"')
        nodes, stop = self.body(word, line)
        if stop.text != "end":
            raise self.unexpected(stop, f'"end": {word!r} has only one last "else"')
        self.expect(Kind.CLOSE, 'after "end"')
        return nodes

    def range(self, word: Token) -> Range:
        self.enter(word.line)
        self.variables.scopes.append({})
        over = self.pipeline("after 'range'", declares="two")
        self.expect(Kind.CLOSE, "after the pipeline of 'range'")
        self.ranges_open += 1
        body, stop = self.body("range", word.line)
        self.ranges_open -= 1
        otherwise: tuple[Node, ...] = ()
        if stop.text == "else":
            otherwise = self.otherwise("range", word.line)
        else:
            self.expect(Kind.CLOSE, 'after "end"')
        self.variables.scopes.pop()
        self.nesting -= 1
        return Range(over, body, otherwise)

    def jump(self, word: Token) -> Break | Continue:
        self.expect(Kind.CLOSE, f"after {word.text!r}")
        if not self.ranges_open:
            raise self.unexpected(word, f"a 'range' around {word.text!r}")
        return Break() if word.text == "break" else Continue()

    def include(self, word: Token) -> Include:
        name = self.template_name(word)
        argument = None
        if self.peek().kind is not Kind.CLOSE:
            argument = self.pipeline("after the name of the template", declares="none")
        self.expect(Kind.CLOSE, "after 'template'")
        return Include(name, argument, word.line)

    def block(self, word: Token) -> Include:
        name = self.template_name(word)
        argument = self.pipeline("after the name of the block", declares="none")
        self.expect(Kind.CLOSE, "after 'block'")
        self.add_template(name, word)
        return Include(name, argument, word.line)

    def define(self, word: Token) -> None:
        name = self.template_name(word)
        self.expect(Kind.CLOSE, "after 'define'")
        self.add_template(name, word)

    def template_name(self, word: Token) -> str:
        return self.string(self.expect(Kind.STRING, f"with the name after {word.text!r}"))

    def add_template(self, name: str, word: Token) -> None:
        self.enter(word.line)
        outer, self.variables = self.variables, _Variables()
        outer_ranges, self.ranges_open = self.ranges_open, 0
        nodes, stop = self.body(word.text, word.line)
        if stop.text != "end":
            raise self.unexpected(stop, f'"end" of {word.text!r}')
        self.expect(Kind.CLOSE, 'after "end"')
        # Go lets a definition that consists of blanks only be replaced, and never replaces by one.
        present = self.defined.get(name)
        if present is None or _is_blank(present.nodes):
            self.defined[name] = Body(nodes, self.variables.used)
        elif not _is_blank(nodes):
            raise TemplateSyntaxError(f"the template {name!r} is defined twice", line=word.line)
        self.variables, self.ranges_open = outer, outer_ranges
        self.nesting -= 1

    # Pipelines

    def pipeline(self, where: str, *, declares: OneOf["none", "one", "two"]) -> Pipeline:
        line = self.peek().line
        slots, new = self.targets(declares)
        first = self.stage(where)
        calls: list[Call] = []
        while self.peek().kind is Kind.PIPE:
            bar = self.next()
            if self.peek().kind in (Kind.CLOSE, Kind.RIGHT):
                break  # Go ignores a "|" that nothing follows, so templates with one exist
            stage = self.stage('after "|"')
            if not isinstance(stage, Call):
                raise TemplateSyntaxError('expected a function after "|"', line=bar.line)
            calls.append(stage)
        # Declared only now: in `$x := $x` the right side means the outer variable.
        declared = tuple(self.variables.declare(name) for name in new)
        return Pipeline(first, tuple(calls), slots or declared, line)

    def targets(self, declares: OneOf["none", "one", "two"]) -> tuple[tuple[int, ...], list[str]]:
        """The existing slots to assign to, or the names to declare."""
        names = self.target_names(declares)
        if not names:
            return (), []
        if self.next().kind is Kind.DECLARE:
            return (), [name.text for name in names]
        return tuple(self.slot(name) for name in names), []

    def target_names(self, declares: OneOf["none", "one", "two"]) -> list[Token]:
        if declares == "none" or self.peek().kind is not Kind.VARIABLE:
            return []
        after = self.found[self.at + 1]
        if after.kind in (Kind.DECLARE, Kind.ASSIGN):
            return [self.next()]
        if after.kind is Kind.COMMA:
            first = self.next()
            self.next()
            if declares != "two":
                raise self.unexpected(after, "only one variable here")
            second = self.expect(Kind.VARIABLE, 'after ","')
            if self.peek().kind not in (Kind.DECLARE, Kind.ASSIGN):
                raise self.unexpected(self.peek(), '":=" or "="')
            return [first, second]
        return []

    def slot(self, variable: Token) -> int:
        slot = self.variables.slot(variable.text)
        if slot is None:
            raise TemplateSyntaxError(
                f"the variable {variable.text[:40]} is not defined: expected {variable.text[:40]} := … before",
                line=variable.line,
            )
        return slot

    def stage(self, where: str) -> Operand:
        token = self.peek()
        if token.kind is Kind.NAME and token.text not in _CONSTANTS:
            function = self.function(self.next())
            if self.peek().kind is Kind.FIELD and not self.peek().spaced:
                self.at -= 1
            else:
                return Call(token.text, function, self.arguments(), token.line)
        operand = self.operand(where)
        if operand == Literal(None):
            raise TemplateSyntaxError(
                "unexpected nil: expected a value, or a function that nil is given to", line=token.line
            )
        more = self.arguments()
        if more:
            raise self.unexpected(token, "a function before its arguments")
        return operand

    def arguments(self) -> tuple[Operand, ...]:
        arguments: list[Operand] = []
        while self.peek().kind not in (Kind.PIPE, Kind.RIGHT, Kind.CLOSE):
            token = self.peek()
            if not token.spaced or token.kind in (Kind.DECLARE, Kind.ASSIGN, Kind.COMMA, Kind.END):
                raise self.unexpected(token, 'a blank before the next argument, a value, "|" or the end of the action')
            arguments.append(self.operand("as an argument"))
        return tuple(arguments)

    def operand(self, where: str) -> Operand:
        """One value with the fields taken from it: `.a.b`, `$x.a`, `(…).a`."""
        token = self.next()
        operand = self.term(token, where)
        names: list[str] = []
        if token.kind is Kind.FIELD:
            names.append(token.text[1:])
        while self.peek().kind in (Kind.FIELD, Kind.DOT) and not self.peek().spaced:
            name = self.next()
            if name.kind is Kind.DOT or isinstance(operand, Literal) or token.kind is Kind.DOT:
                raise self.unexpected(name, "a blank")
            names.append(name.text[1:])
        return Fields(operand, tuple(names)) if names else operand

    def term(self, token: Token, where: str) -> Operand:
        match token.kind:
            case Kind.DOT | Kind.FIELD:
                return Dot()
            case Kind.VARIABLE:
                return Variable(self.slot(token))
            case Kind.NAME if token.text in _CONSTANTS:
                return Literal(_CONSTANTS[token.text])
            case Kind.NAME:
                return Call(token.text, self.function(token), (), token.line)
            case Kind.STRING:
                return Literal(self.string(token))
            case Kind.NUMBER | Kind.CHARACTER:
                return Literal(self.number(token))
            case Kind.LEFT:
                self.enter(token.line)
                pipeline = self.pipeline('after "("', declares="none")
                self.expect(Kind.RIGHT, "after a value in parentheses")
                self.nesting -= 1
                return pipeline
        raise self.unexpected(token, f"a value {where}")

    def function(self, name: Token) -> Function:
        function = self.functions.get(name.text)
        if function is not None:
            return function
        if name.text in self.refused:
            raise TemplateSyntaxError(
                f"the function {name.text!r} is left out: {self.refused[name.text]}", line=name.line
            )
        raise TemplateSyntaxError(f"there is no function {name.text[:40]!r}", line=name.line)

    def string(self, token: Token) -> str:
        try:
            return literals.string(token.text)
        except ValueError as wrong:
            raise self.wrong_constant(token, wrong) from None

    def number(self, token: Token) -> int | float:
        try:
            return literals.character(token.text) if token.kind is Kind.CHARACTER else literals.number(token.text)
        except ValueError as wrong:
            raise self.wrong_constant(token, wrong) from None

    def wrong_constant(self, token: Token, wrong: ValueError) -> TemplateSyntaxError:
        return TemplateSyntaxError(f"unexpected {token}: {wrong}", line=token.line)


def _is_blank(nodes: tuple[Node, ...]) -> bool:
    return all(isinstance(node, Text) and not node.text.strip() for node in nodes)
