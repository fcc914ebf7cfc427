"""The proof `console`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "console",
    ("console",),
    "the console shows and does what the person signed in may, in a real browser, and runs nothing that users wrote",
    ("tests/console", "tests/access/test_code_flow.py"),
    (
        Bug(
            "what users wrote is HTML on a page",
            "compass/console/page.py",
            "            autoescape=True,",
            "            autoescape=False,",
            ("tests/console/test_app.py",),
        ),
        Bug(
            "a sign-in link works twice",
            "compass/console/session.py",
            "self._links.pop(_digest(code), None)",
            "self._links.get(_digest(code))",
            ("tests/console/test_session.py",),
        ),
        Bug(
            "a form of another site is taken for one of ours",
            "compass/console/app.py",
            "            session.require(request.form)\n",
            "",
            ("tests/console/test_app.py",),
        ),
        Bug(
            "a provider's answer is taken whoever began the sign-in",
            "compass/access/code_flow.py",
            'if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):',
            'if not answer.get("state"):',
            ("tests/access/test_code_flow.py",),
        ),
        Bug(
            "a provider's token is taken whatever sign-in it is of",
            "compass/access/code_flow.py",
            "if not isinstance(said, str) or not hmac.compare_digest(said.encode(), begun.nonce.encode()):",
            "if not isinstance(said, str):",
            ("tests/access/test_code_flow.py",),
        ),
        Bug(
            "a sign-in at a provider is finished twice",
            "compass/console/session.py",
            "self._begun.pop(_digest(cookie), (None, 0.0))",
            "self._begun.get(_digest(cookie), (None, 0.0))",
            ("tests/console/test_sign_in.py",),
        ),
        Bug(
            "the explorer runs another change than the one that was confirmed",
            "compass/console/explorer.py",
            'form.get("confirmed") != _mark(asked):',
            'not form.get("confirmed"):',
            ("tests/console/test_explorer.py",),
        ),
        Bug(
            "an edit overwrites what somebody else said meanwhile",
            "compass/console/edit.py",
            "if field.name in mine and base[field.name] != now[field.name]",
            "if False",
            ("tests/console/test_edit.py",),
        ),
        Bug(
            "what was typed into a refused form is HTML",
            "compass/console/refill.py",
            "html.escape(self._typed[name])",
            "self._typed[name]",
            ("tests/console/test_refill.py",),
        ),
        Bug(
            "what is on its way to a webhook is told once more",
            "compass/console/replay.py",
            'if group["id"] not in on_their_way',
            "if True",
            ("tests/console/test_replay.py",),
        ),
        Bug(
            "a command to copy runs what a name says",
            "compass/console/commands.py",
            "return shlex.join(words)",
            'return " ".join(words)',
            ("tests/console/test_commands.py",),
        ),
        Bug(
            "a specification is replaced before anybody saw what that breaks",
            "compass/console/definition_form.py",
            'if visit.form("reviewed") != review:',
            'if not visit.form("reviewed"):',
            ("tests/console/test_definition_form.py",),
        ),
        Bug(
            "a specification is sent although it is wrong",
            "compass/console/definition_form.py",
            'if looked.is_too_long or (looked.errors and visit.form("as_it_is") != digest(text)):',
            "if looked.is_too_long:",
            ("tests/console/test_definition_form.py",),
        ),
        Bug(
            "a command to copy has a header that a specification made up",
            "compass/console/sample.py",
            'if each.place == "header" and _HEADER.fullmatch(each.name):',
            'if each.place == "header":',
            ("tests/console/test_sample.py",),
        ),
        Bug(
            "a file is read of whoever sends it",
            "compass/console/http.py",
            "most = MOST_UPLOAD_BYTES if is_known(request) else MOST_FORM_BYTES",
            "most = MOST_UPLOAD_BYTES",
            ("tests/console/test_definition_form.py",),
        ),
    ),
    # Axe looks at every page three times, in a browser.
    minutes=45,
)
