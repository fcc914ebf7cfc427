"""The proof `command-line`."""

from typing import Final

from proof.promise import Bug, Proof

_COMPLETION = ("tests/cli/test_completion.py",)

PROOF: Final = Proof(
    "command-line",
    ("E1",),
    "every command completes in every shell, files leave what others own, and a person's first minutes go well",
    (*_COMPLETION, "tests/cli/test_owned.py", "tests/cli/test_journey.py"),
    (
        Bug(
            "whatever was begun, every name is suggested",
            "compass/cli/completion.py",
            " if name.startswith(context.incomplete)]",
            "]",
            _COMPLETION,
        ),
        Bug(
            "the names of objects are kept where everybody reads them",
            "compass/cli/completion.py",
            "        replace_private(kept, json.dumps(found).encode())\n",
            "        kept.write_text(json.dumps(found))\n",
            _COMPLETION,
        ),
    ),
)
