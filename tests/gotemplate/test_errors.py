from compass.errors import Code, CompassError
from compass.gotemplate import errors
from compass.gotemplate.errors import TemplateError, TemplateStepsExhausted, TemplateSyntaxError


def test_every_error_is_one_a_client_sees_as_invalid_data() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TemplateError)]

    assert len(kinds) == 9
    assert {(kind.code, issubclass(kind, CompassError), kind.retryable) for kind in kinds} == {
        (Code.INVALID_DATA, True, False)
    }


def test_the_reason_begins_with_the_line_and_ends_with_advice() -> None:
    assert TemplateSyntaxError("unexpected x", line=7).reason == "line 7: unexpected x"
    assert TemplateStepsExhausted("too much").reason == "too much; loop over less, or do less in each round"
    assert TemplateSyntaxError("unexpected x", line=7).wire_text() == "Invalid data [reason=line 7: unexpected x]"


def test_a_reason_stays_short_and_can_be_sent_whatever_the_template_put_into_it() -> None:
    reason = TemplateError("\ud800" * 5_000).reason

    assert reason == "?" * 300
