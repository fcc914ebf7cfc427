import pytest

from compass.gotemplate.errors import TemplateOutputTooLarge, TemplateStepsExhausted, TemplateTooDeep
from compass.gotemplate.run import Limits, Run


def test_small_values_cost_nothing_and_large_ones_in_proportion() -> None:
    run = Run(Limits(max_steps=100))

    for value in ("a" * 63, "a" * 640, [0] * 15, [0] * 160, {"a": 1}, 7, None):
        run.spend_on(value)

    assert run.steps_left == 100 - 10 - 10


def test_a_budget_is_used_up_to_the_last_step() -> None:
    run = Run(Limits(max_steps=2))
    run.line = 4
    run.spend(2)

    with pytest.raises(TemplateStepsExhausted, match="line 4: rendering takes more than 2 steps"):
        run.spend()


def test_sizes_and_depths_are_refused_before_the_value_is_made() -> None:
    run = Run(Limits(max_output_bytes=10))
    run.check_size(10)
    run.check_value_depth(64)

    with pytest.raises(TemplateOutputTooLarge):
        run.check_size(11)
    with pytest.raises(TemplateTooDeep):
        run.check_value_depth(65)


def test_a_failure_names_the_line_and_the_function_at_work() -> None:
    run = Run(Limits())
    run.line, run.calling = 3, "upper"

    assert run.failure("expected a string").reason == "line 3: upper: expected a string"
