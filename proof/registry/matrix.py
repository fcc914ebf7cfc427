"""The proof `matrix`."""

from typing import Final

from proof.promise import Bug, Proof

_MATRIX = ("tests/access/test_matrix.py",)

PROOF: Final = Proof(
    "matrix",
    ("A14", "A15", "G30"),
    "who may do what is what the checked-in table says: every operation, 15 kinds of callers",
    (*_MATRIX, "tests/access/test_itself.py", "tests/access/test_scopes.py"),
    (
        Bug(
            "an application changes its siblings (original)",
            "compass/access/itself.py",
            "    if own is not None and own != changed.lower():",
            "    if own is not None and not changed:",
            _MATRIX,
        ),
        Bug(
            "a runtime reads what its siblings are to see (original)",
            "compass/director/application.py",
            "AND seen.runtime_id = {runtime} AND ({{runtime}} IS NULL OR {runtime} = {{runtime}}))",
            "AND seen.runtime_id = {runtime})",
            _MATRIX,
        ),
        Bug(
            "mutations ask for no scope",
            "compass/api/request.py",
            "        command.allowed(caller)\n",
            "",
            _MATRIX,
        ),
        Bug(
            "queries ask for no scope",
            "compass/api/request.py",
            "            caller.require(query.scope)\n",
            "",
            _MATRIX,
        ),
        Bug(
            "programs see how to sign in as others (original)",
            "compass/access/itself.py",
            '    return f"({{itself}} IS NULL OR {owner} = {{itself}})"',
            '    return f"({{itself}} IS NULL OR {owner} IS NOT NULL)"',
            ("tests/director/test_system_auth.py", "tests/director/test_webhook.py"),
        ),
    ),
)
