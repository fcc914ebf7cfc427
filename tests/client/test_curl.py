"""Requests as commands."""

import shlex

from compass.client.curl import curl


def test_a_request_becomes_a_command_of_which_no_part_is_run_by_a_shell() -> None:
    text = curl("POST", "https://a.example/$(reboot)", [("X-It's", "`id`")], '{"a": "b\'c"}\n@/etc/passwd')

    assert shlex.split(text) == [
        "curl",
        "--request",
        "POST",
        "--url",
        "https://a.example/$(reboot)",
        "--header",
        "X-It's: `id`",
        "--data-raw",
        '{"a": "b\'c"}\n@/etc/passwd',
    ]
    assert "'https://a.example/$(reboot)'" in text


def test_a_request_without_a_body_has_none() -> None:
    assert curl("GET", "https://a.example", [], "") == "curl --request GET --url https://a.example"
