"""Templates as their callers see them: parse once, render often."""

import json
from collections.abc import Mapping

import orjson

from compass.gotemplate.documents import DOCUMENTS
from compass.gotemplate.errors import TemplateResultNotJson
from compass.gotemplate.functions import BUILT_IN
from compass.gotemplate.nodes import Function, Source
from compass.gotemplate.parser import parse_source
from compass.gotemplate.render import rendered
from compass.gotemplate.run import Limits
from compass.gotemplate.sprig import REFUSED, SPRIG
from compass.gotemplate.values import NO_VALUE

FUNCTIONS: Mapping[str, Function] = {**BUILT_IN, **SPRIG, **DOCUMENTS}
"""All functions a template may call; where two sources have a name, the later one wins, as in the original."""
_NILS = ("<nil>", NO_VALUE)
_DEFAULT_LIMITS = Limits()
_EXCERPT = 60


class Template:
    """A parsed template. Immutable, so it can be kept and rendered by many at once."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def render(self, data: object, *, limits: Limits = _DEFAULT_LIMITS) -> str:
        """The text of the template over the data, which is left as it is.

        Data are None, bool, int, float, str, list and dict, see `values`. Raises TemplateFailed,
        TemplateStepsExhausted, TemplateOutputTooLarge, TemplateTooDeep, TemplateRecursionTooDeep.
        """
        return rendered(self._source, data, limits)


def parse(source: str) -> Template:
    """The template of a source of up to 64 KiB. Raises TemplateSyntaxError, TemplateTooLarge, TemplateTooDeep."""
    return Template(parse_source(source, FUNCTIONS, REFUSED))


def render_json(template: str | Template, data: object, *, limits: Limits = _DEFAULT_LIMITS) -> object:
    """The JSON value the template makes of the data.

    nil in quotes becomes the empty text and nil without quotes null, before the text is read as JSON.
    Source: contract/director.md §16. That holds for Go's `<no value>`, nil taken from a map, as well.
    Raises TemplateResultNotJson and whatever `parse` and `render` raise.
    """
    parsed = parse(template) if isinstance(template, str) else template
    text = parsed.render(data, limits=limits)
    for nil in _NILS:
        text = text.replace(f'"{nil}"', '""').replace(nil, "null")
    if not text.strip():
        raise TemplateResultNotJson("the template renders to nothing, and JSON was expected")
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _not_json(text) from None
    return value


def _not_json(text: str) -> TemplateResultNotJson:
    """Say where the text stops being JSON and what stands there."""
    try:
        json.loads(text)
    except json.JSONDecodeError as wrong:
        start = max(0, wrong.pos - _EXCERPT // 2)
        around = text[start : start + _EXCERPT]
        what = f"the rendered text is not JSON: {wrong.msg}, column {wrong.colno}, near {around!r}"
        return TemplateResultNotJson(what, line=wrong.lineno)
    except RecursionError:
        return TemplateResultNotJson("the rendered text is nested too deeply for JSON")
    # What Python's reader lets pass and JSON does not know: NaN, Infinity and numbers out of range.
    return TemplateResultNotJson("the rendered text holds a number that JSON does not know")
