"""The proof `safe-start`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "safe-start",
    ("G37",),
    "the plane refuses to start insecurely, and says why",
    ("tests/test_starting.py", "tests/test_settings.py"),
    (
        Bug(
            "keys are safe with whoever is in the plane's group",
            "compass/starting.py",
            "    if _mode(keys) & _OTHERS:\n",
            "    if _mode(keys) & _WORLD_READS:\n",
            ("tests/test_starting.py",),
        ),
        Bug(
            "developers' switches are left on",
            "compass/starting.py",
            "    yield from _of_environment(os.environ if environment is None else environment)\n",
            "",
            ("tests/test_starting.py",),
        ),
        Bug(
            "well-known passwords are known in one spelling only",
            "compass/starting.py",
            "unquote(password).lower() in _WELL_KNOWN",
            "unquote(password) in _WELL_KNOWN",
            ("tests/test_starting.py",),
        ),
    ),
)
