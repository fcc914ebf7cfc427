"""What the demo says, and that it cannot be talked into a success."""

import pytest

from compass.demo.narration import Narration, StepNotVerified, eventually, expect


async def test_a_verified_step_is_counted_and_shown_with_its_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    narration = Narration()

    async with narration.step("The sun rises") as evidence:
        evidence.append("seen in the east")
    narration.end(None)

    shown = capsys.readouterr().out
    assert "✓ The sun rises" in shown
    assert "      seen in the east" in shown
    assert "All 1 steps verified from the other side" in shown


async def test_a_step_that_raises_is_not_verified_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    narration = Narration()

    with pytest.raises(StepNotVerified, match="The sun rises"):
        async with narration.step("The sun rises"):
            raise ValueError("it is dark")
    narration.end("The sun rises")

    assert narration.verified == 0
    shown = capsys.readouterr().out
    assert "✗ The sun rises" in shown
    assert "it is dark" in shown
    assert "Not verified: The sun rises. 0 steps before it were." in shown


async def test_what_never_appears_is_not_verified() -> None:
    async def look() -> bool:
        return False

    with pytest.raises(StepNotVerified, match=r"nobody came \(waited 0 s\)"):
        await eventually(look, "nobody came", within=0.1)


async def test_what_appears_late_is_returned() -> None:
    seen = iter(["", "", "here"])

    async def look() -> str:
        return next(seen)

    assert await eventually(look, "nobody came", within=5) == "here"


def test_an_expectation_that_fails_says_its_sentence() -> None:
    expect([1], "never said")

    with pytest.raises(StepNotVerified, match="there is nothing"):
        expect([], "there is nothing")
