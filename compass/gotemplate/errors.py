"""What can go wrong with a template, one class per thing its author can do about it."""

from typing import ClassVar

from compass.errors import Code, CompassError

_MAX_SENTENCE = 300


class TemplateError(CompassError):
    """The template cannot be used as it is; `reason` says why, beginning with the line when there is one."""

    code = Code.INVALID_DATA
    message = "Invalid data"
    advice: ClassVar[str] = ""
    """What the author can do, appended to the reason of every error of the class."""

    def __init__(self, what: str, *, line: int | None = None) -> None:
        self.line = line
        """Counted from 1; None when the fault belongs to no single line."""
        # Parts of the template and of its data get in here: they may be huge, or hold what UTF-8 cannot.
        said = what[:_MAX_SENTENCE].encode("utf-8", "replace").decode()
        self.reason = (f"line {line}: " if line else "") + said + (f"; {self.advice}" if self.advice else "")
        super().__init__(reason=self.reason)


class TemplateSyntaxError(TemplateError):
    """The source is no template: `reason` says what was expected in which line."""


class TemplateTooLarge(TemplateError):
    """The source is longer than any template may be."""


class TemplateTooDeep(TemplateError):
    """Blocks, parentheses or values are nested deeper than allowed."""

    advice = "nest less deeply"


class TemplateRecursionTooDeep(TemplateError):
    """Templates call each other in a chain longer than allowed."""

    advice = "a template that calls itself needs a condition that ends"


class TemplateFailed(TemplateError):
    """The template meets a value it cannot work with, or asks for something that is not there."""


class TemplateStepsExhausted(TemplateError):
    """Rendering takes more steps than allowed."""

    advice = "loop over less, or do less in each round"


class TemplateOutputTooLarge(TemplateError):
    """The output, or a single text made on the way, is longer than allowed."""

    advice = "render less"


class TemplateResultNotJson(TemplateError):
    """The rendered text is not JSON; `line` counts in the rendered text, not in the template."""
