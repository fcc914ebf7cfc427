"""The budget of one rendering: how much a template may do, and where it is."""

from dataclasses import dataclass

from compass.gotemplate.errors import (
    TemplateFailed,
    TemplateOutputTooLarge,
    TemplateStepsExhausted,
    TemplateTooDeep,
)

CHARACTERS_PER_STEP = 64
ELEMENTS_PER_STEP = 16
MAX_VALUE_DEPTH = 64


@dataclass(frozen=True)
class Limits:
    """What one rendering may use."""

    max_steps: int = 20_000
    """One per action, operand, call and loop round; long texts and lists cost more, in proportion."""
    max_output_bytes: int = 256 * 1024
    """Of the whole output, and of any single text made on the way."""
    max_depth: int = 120
    """Blocks, parentheses and called templates open at the same time."""
    max_recursion: int = 32
    """Templates called by templates at the same time."""


class Run:
    """What is left of the budget, and the line being worked on. One per rendering."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.steps_left = limits.max_steps
        self.line = 1
        self.calling: str | None = None
        """The function at work, named in its failures."""

    def spend(self, steps: int = 1) -> None:
        """Pay for work about to be done. Raises TemplateStepsExhausted."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise TemplateStepsExhausted(f"rendering takes more than {self.limits.max_steps} steps", line=self.line)

    def spend_on(self, value: object) -> None:
        """Pay for reading or making the value, in proportion to its size. Raises TemplateStepsExhausted."""
        if isinstance(value, str):
            if len(value) >= CHARACTERS_PER_STEP:
                self.spend(len(value) // CHARACTERS_PER_STEP)
        elif isinstance(value, list | dict) and len(value) >= ELEMENTS_PER_STEP:
            self.spend(len(value) // ELEMENTS_PER_STEP)

    def check_size(self, characters: int) -> None:
        """Refuse to make a text of that many characters before it is made. Raises TemplateOutputTooLarge."""
        if characters > self.limits.max_output_bytes:
            raise TemplateOutputTooLarge(f"a text grows beyond {self.limits.max_output_bytes} bytes", line=self.line)

    def check_value_depth(self, depth: int) -> None:
        """Refuse to follow a value nested that deep. Raises TemplateTooDeep."""
        if depth > MAX_VALUE_DEPTH:
            raise TemplateTooDeep(f"a value is nested more than {MAX_VALUE_DEPTH} levels deep", line=self.line)

    def failure(self, what: str) -> TemplateFailed:
        """The error to raise for a value the template cannot work with, at the present line."""
        return TemplateFailed(f"{self.calling}: {what}" if self.calling else what, line=self.line)
