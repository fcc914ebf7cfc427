"""What files may say, and where they are wrong."""

import io
from pathlib import Path

import pytest

from compass.cli.failures import CommandFailed, Exit
from compass.cli.files import read
from compass.landscape.manifest import Kind


def test_documents_come_in_the_order_in_which_they_can_be_applied_from_files_and_folders(home: Path) -> None:
    (home / "all").mkdir()
    (home / "all/b.yaml").write_text("kind: Runtime\nname: r\n---\n---\nkind: Application\nname: b\n")
    (home / "all/a.json").write_text('{"apiVersion": "compass/v1", "kind": "Group", "name": "g"}')
    (home / "all/README.txt").write_text("not read")
    (home / "one.yml").write_text("kind: Application\nname: a\ndescription: d\n")

    found = read([home / "all", home / "one.yml"])

    assert [(one.kind, one.name) for one in found] == [
        (Kind.GROUP, "g"),
        (Kind.APPLICATION, "a"),
        (Kind.APPLICATION, "b"),
        (Kind.RUNTIME, "r"),
    ]
    assert (found[1].says, found[1].place) == ({"description": "d"}, f"{home / 'one.yml'}:1")


def test_standard_input_is_read_for_a_minus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("kind: Group\nname: g\n"))

    assert [one.place for one in read([Path("-")])] == ["-:1"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("\n- a", "f:2: a document is an object with `kind` and `name`", None),
        ("name: a", "f:1: `kind` is missing: one of IntegrationSystem, Group, Application, Runtime", None),
        ("kind: Grup\nname: a", "f:1: kind 'Grup' is none of IntegrationSystem, Group, Application, Runtime", "Group?"),
        ("kind: Group", "f:1: `name` is missing, or no text", None),
        ("kind: Group\nname: 5", "f:1: `name` is missing, or no text", None),
        ("kind: Application\nname: a\nlable: {}", "f:1: Application has no 'lable'", "did you mean labels?"),
        ("kind: Application\nname: a\nlabels: [x]", "f:1: 'labels' is no object", None),
        ("kind: Application\nname: a\ngroups: [5]", "f:1: 5 in `groups` is no name", None),
        (
            "kind: Application\nname: a\nwebhooks: [{url: u}]",
            "f:1: an entry of `webhooks` is an object with a `type`",
            None,
        ),
        ("kind: Runtime\nname: a\nwebhooks: [{type: T, ulr: u}]", "f:1: a webhook has no 'ulr'", "did you mean url?"),
        ("apiVersion: v2\nkind: Group\nname: a", "f:1: apiVersion 'v2' is not known, expected compass/v1", None),
        ("kind: Group\nname: a\n---\nkind: Group\nname: a", "f:4: Group 'a' is in f:1 already", None),
        ("kind: [", "f:1: expected the node content, but found '<stream end>'", None),
        ("# nothing", "there is no document in what was given", None),
        ("a: !!python/object/apply:os.system [id]", "f:1: could not determine a constructor", None),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str, hint: str | None, home: Path) -> None:
    (home / "f").write_text(text)

    with pytest.raises(CommandFailed) as refused:
        read([Path("f")])

    assert str(refused.value).startswith(message)
    assert refused.value.exit_code is Exit.USAGE
    assert (refused.value.hint or "").endswith(hint or (refused.value.hint or ""))
