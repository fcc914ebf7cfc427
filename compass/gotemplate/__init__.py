"""Go's text/template with the functions webhook templates use, in pure Python and inside a budget.

Nothing in a template reaches the network, the file system, the clock or a Python object's attributes.
"""

from compass.gotemplate.errors import (
    TemplateError,
    TemplateFailed,
    TemplateOutputTooLarge,
    TemplateRecursionTooDeep,
    TemplateResultNotJson,
    TemplateStepsExhausted,
    TemplateSyntaxError,
    TemplateTooDeep,
    TemplateTooLarge,
)
from compass.gotemplate.run import Limits
from compass.gotemplate.template import Template, parse, render_json
from compass.gotemplate.values import Absent, Record, TextMap

__all__ = [
    "Absent",
    "Limits",
    "Record",
    "Template",
    "TemplateError",
    "TemplateFailed",
    "TemplateOutputTooLarge",
    "TemplateRecursionTooDeep",
    "TemplateResultNotJson",
    "TemplateStepsExhausted",
    "TemplateSyntaxError",
    "TemplateTooDeep",
    "TemplateTooLarge",
    "TextMap",
    "parse",
    "render_json",
]
