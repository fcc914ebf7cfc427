"""The proof `bounded-cost`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "bounded-cost",
    ("I9", "A17", "A18", "A19"),
    "what a request costs is bounded before it is paid, and no browser sends one unasked",
    ("tests/reads/test_limits.py", "tests/director/test_hostile_input.py", "tests/api", "tests/definition"),
    (
        Bug(
            "what a specification said before is kept without end",
            "compass/director/spec_revision.py",
            " AND (back > %(most)s OR together > %(most_bytes)s)",
            " AND back > %(most)s",
            ("tests/director/test_spec_revision.py",),
        ),
        Bug(
            "the text that a specification has now is forgotten with the others",
            "compass/director/spec_revision.py",
            "WHERE back > 1 AND (",
            "WHERE (",
            ("tests/director/test_spec_revision.py",),
        ),
        Bug(
            "a specification may declare entities",
            "compass/definition/text.py",
            "if found := _DOCTYPE.search(text):",
            "if found := None:",
            ("tests/definition/test_text.py",),
        ),
        Bug(
            "schemas that have each other are compared again and again",
            "compass/definition/changes.py",
            "            if pair not in self._seen:\n",
            "            if True:\n",
            ("tests/definition/test_read.py",),
        ),
        Bug(
            "a fragment costs one field wherever it is put",
            "compass/reads/limits.py",
            "                    fields += more\n",
            "                    fields += min(more, 1)\n",
            ("tests/reads/test_limits.py",),
        ),
        Bug(
            "what stands in fragments has no depth",
            "compass/reads/limits.py",
            "                    deepest = max(deepest, depth + below - 1)",
            "                    deepest = max(deepest, depth)",
            ("tests/reads/test_limits.py",),
        ),
        Bug(
            "a GET may change something",
            "compass/api/request.py",
            "                if queries_only:\n",
            "                if queries_only and not caller.scopes:\n",
            ("tests/api/test_request.py", "tests/api/test_http.py"),
        ),
        Bug(
            "a form of another site may ask",
            "compass/api/http.py",
            'if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:',
            'if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in (JSON, "text/plain"):',
            ("tests/api/test_http.py",),
        ),
    ),
    {
        "test_what_is_written_to_hurt_is_refused_before_it_costs_much": 400,
        "test_no_document_of_a_client_is_refused_as_too_costly": 150,
    },
)
