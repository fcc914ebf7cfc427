"""The reference says what the code does: writing it anew changes nothing, and nothing is left out."""

import re
import tomllib
from pathlib import Path

from compass.cli.failures import Exit
from compass.errors import Code
from compass.settings import Settings, describe
from docs import generate

ROOT = Path(__file__).parent.parent.parent
REFERENCE = ROOT / "docs/reference"
PAGES = generate.pages()


def test_writing_the_reference_anew_changes_nothing() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")}
    assert sorted(on_disk) == sorted(PAGES)
    assert [name for name, text in PAGES.items() if on_disk[name] != text] == [], "`make docs` writes them"


def test_every_setting_stands_in_the_reference_with_its_reason() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| [^|]+ \| [^|]+ \| (.+) \|$", PAGES["settings.md"], re.MULTILINE)
    assert [key for key, _ in rows] == [one.key for one in describe(Settings())]
    assert [key for key, reason in rows if len(reason) < 10] == []


def test_no_default_of_this_machine_stands_in_the_reference() -> None:
    assert str(Path.home()) not in "".join(PAGES.values())


def test_every_error_code_and_exit_code_stands_in_the_reference() -> None:
    codes = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGES["errors.md"], re.MULTILINE)
    assert codes == [(str(code.value), code.wire_name) for code in sorted(Code)]
    exits = re.findall(r"^\| (\d+) \| [a-z ]+ \|$", PAGES["cli.md"], re.MULTILINE)
    assert exits == [str(code.value) for code in Exit]


def test_every_operation_of_the_original_is_compared() -> None:
    compared = tomllib.loads((ROOT / "docs/compatibility.toml").read_text(encoding="utf-8"))
    # Counted in the original's last published schemas; a name that is lost here would be lost for good.
    assert {api: [len(compared[api][kind]) for kind in ("queries", "mutations")] for api in generate.APIS} == {
        "director": [44, 94],
        "connector": [1, 2],
        "provisioner": [2, 7],
    }
    states = re.findall(r"^\| `\w+` \| (?:query|mutation) \| ([a-z ]+) \|", PAGES["compatibility.md"], re.MULTILINE)
    assert len(states) == 150
    assert set(states) == {"works", "differs on purpose", "not offered"}


def test_every_operation_of_the_original_is_in_the_schema() -> None:
    compared = tomllib.loads((ROOT / "docs/compatibility.toml").read_text(encoding="utf-8"))
    for name in generate.APIS:
        wanted = set(compared[name]["queries"]) | set(compared[name]["mutations"])
        assert wanted - generate.api(name).operations.keys() == set()


def test_what_is_answered_has_its_scope_in_the_reference() -> None:
    for name in generate.APIS:
        api = generate.api(name)
        for operation in api.operations.values():
            assert re.search(rf"^\| `{operation.name}` \| {operation.kind} \| ", PAGES["scopes.md"], re.MULTILINE)


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
        assert [target for target in targets if not (page.parent / target).exists()] == [], page.name
