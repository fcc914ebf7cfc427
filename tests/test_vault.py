import base64
import stat
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compass.secret import Secret
from compass.vault import KeyFileUnusable, Keys, SealBroken, Vault, add_next, forget, let_next_seal, parsed, read
from compass.vault import text as text_of

KEY_A = base64.urlsafe_b64encode(bytes(range(32))).decode()
KEY_B = base64.urlsafe_b64encode(bytes(range(32, 64))).decode()
KEY_C = base64.urlsafe_b64encode(bytes(range(64, 96))).decode()


def key_file(folder: Path, *lines: str) -> Path:
    path = folder / "vault.key"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def test_what_was_sealed_opens_at_its_place(tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.key")
    for secret in (b"", b"s3cret", bytes(range(256)) * 4096):
        assert vault.open("webhook.auth.1", vault.seal("webhook.auth.1", secret)) == secret


def test_a_sealed_text_names_its_key_and_differs_every_time(tmp_path: Path) -> None:
    vault = Vault.at(key_file(tmp_path, f"a1 {KEY_A}", f"b2 {KEY_B}"))
    first, second = vault.seal("p", b"secret"), vault.seal("p", b"secret")
    assert first != second
    version, key_id, body = first.split(".")
    assert (version, key_id, len(base64.urlsafe_b64decode(body))) == ("v1", "a1", 12 + 6 + 16)
    assert "secret" not in first


def test_a_sealed_text_moved_to_another_place_does_not_open(tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.key")
    with pytest.raises(SealBroken, match=r"kept at webhook\.auth\.2"):
        vault.open("webhook.auth.2", vault.seal("webhook.auth.1", b"secret"))


def test_no_altered_character_goes_unnoticed(tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.key")
    sealed = vault.seal("p", b"secret")
    for at in range(len(sealed)):
        for character in "Ax.=\n~é":
            if sealed[at] != character:
                with pytest.raises(SealBroken):
                    vault.open("p", sealed[:at] + character + sealed[at + 1 :])
    for cut in range(len(sealed)):
        with pytest.raises(SealBroken):
            vault.open("p", sealed[:cut])
    # The last character before the padding has unused bits: another spelling of the same bytes is refused too.
    last = len(sealed.rstrip("=")) - 1
    assert last < len(sealed) - 1
    for character in set(string.ascii_letters + string.digits + "-_") - {sealed[last]}:
        with pytest.raises(SealBroken):
            vault.open("p", sealed[:last] + character + sealed[last + 1 :])
    for text in (sealed + "=", sealed + "\n", " " + sealed, sealed.replace("v1", "v2"), ""):
        with pytest.raises(SealBroken):
            vault.open("p", text)


def test_an_older_key_still_opens_and_the_first_one_seals(tmp_path: Path) -> None:
    old = Vault.at(key_file(tmp_path, f"a1 {KEY_A}"))
    sealed = old.seal("p", b"secret")
    rotated = Vault.at(key_file(tmp_path, f"b2 {KEY_B}", f"a1 {KEY_A}"))
    assert rotated.open("p", sealed) == b"secret"
    assert rotated.seal("p", b"secret").startswith("v1.b2.")
    forgotten = Vault.at(key_file(tmp_path, f"b2 {KEY_B}"))
    with pytest.raises(SealBroken, match="a key that is not in the key file"):
        forgotten.open("p", sealed)


def test_a_key_under_another_id_does_not_open(tmp_path: Path) -> None:
    sealed = Vault.at(key_file(tmp_path, f"a1 {KEY_A}")).seal("p", b"secret")
    renamed = Vault.at(key_file(tmp_path, f"b2 {KEY_A}"))
    with pytest.raises(SealBroken):
        renamed.open("p", sealed.replace("v1.a1.", "v1.b2."))


def test_the_first_start_creates_a_private_key_file_and_later_ones_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    sealed = Vault.at(path).seal("p", b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.read_bytes()
    assert Vault.at(path).open("p", sealed) == b"secret"
    assert path.read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["vault.key"]


def test_many_first_starts_at_once_end_with_one_key(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    for _ in range(10):
        path.unlink(missing_ok=True)
        with ThreadPoolExecutor(16) as starts:
            vaults = list(starts.map(Vault.at, [path] * 16))
        sealed = vaults[0].seal("p", b"secret")
        assert [vault.open("p", sealed) for vault in vaults] == [b"secret"] * 16
    assert [path.name for path in tmp_path.iterdir()] == ["vault.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, f"a1 {KEY_A}")
    path.chmod(mode)
    with pytest.raises(KeyFileUnusable, match=f"others than its owner can read it; chmod 600 {path}"):
        Vault.at(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n \n",
        b"a1",
        b"a1 short",
        f"a1 {KEY_A}x".encode(),
        f"a1 {KEY_A} {KEY_A}".encode(),
        f"A1 {KEY_A}".encode(),
        f"a1.b {KEY_A}".encode(),
        f"a1 {KEY_A}\na1 {KEY_B}".encode(),
        f"a1 {KEY_A} next".encode(),
        f"a1 {KEY_A} next\nb2 {KEY_B}".encode(),
        f"a1 {KEY_A}\nb2 {KEY_B} later".encode(),
        f"a1 {KEY_A}\nb2 {KEY_B} next next".encode(),
        f"a1 {KEY_A}\nb2 {KEY_B}  next".encode(),
        f"a1 {KEY_A}\nb2 {KEY_B} next\nc3 {KEY_C} next".encode(),
        f"a1 {KEY_A}\ngarbage".encode(),
        b"\xff\xfe\x00",
        f"a1 é{KEY_A[1:]}".encode(),
    ],
)
def test_a_file_that_does_not_hold_keys_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vault.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileUnusable) as refusal:
        Vault.at(path)
    assert str(path) in str(refusal.value)
    assert KEY_A[1:20] not in str(refusal.value)
    assert path.read_bytes() == content


def test_a_missing_folder_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(KeyFileUnusable, match="No such file or directory; check the folder"):
        Vault.at(tmp_path / "missing" / "vault.key")
    with pytest.raises(KeyFileUnusable, match="Is a directory"):
        Vault.at(tmp_path)


def test_a_vault_shows_its_key_ids_only(tmp_path: Path) -> None:
    vault = Vault.at(key_file(tmp_path, f"a1 {KEY_A}", f"b2 {KEY_B}"))
    assert repr(vault) == "Vault(a1, b2)"


# --- a key that takes over ---


def test_a_key_that_is_to_take_over_opens_and_does_not_seal_yet(tmp_path: Path) -> None:
    path = key_file(tmp_path, f"a1 {KEY_A}")
    old = Vault.at(path)
    keys = add_next(path)
    assert (keys.seals, keys.former, list(keys.by_id)) == ("a1", [], ["a1", keys.next])
    vault = Vault.at(path)
    assert vault.seal("p", b"secret").startswith("v1.a1.")
    assert let_next_seal(path).seals == keys.next
    sealed = Vault.at(path).seal("p", b"secret")
    assert sealed.startswith(f"v1.{keys.next}.")
    # They have had no occasion to look into the file since.
    assert [one.open("p", sealed) for one in (old, vault)] == [b"secret", b"secret"]


def test_each_step_of_a_rotation_is_taken_once(tmp_path: Path) -> None:
    path = key_file(tmp_path, f"a1 {KEY_A}")
    first = add_next(path)
    assert add_next(path) == read(path) == first
    second = let_next_seal(path)
    assert let_next_seal(path) == add_next(path) == read(path) == second
    assert (second.seals, second.former, second.next) == (first.next, ["a1"], None)
    assert forget(path, [second.seals, "unknown"]) == second
    third = forget(path, ["a1"])
    assert forget(path, ["a1"]) == read(path) == third
    assert third.by_id == {second.seals: second.by_id[second.seals]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["vault.key"]


def test_many_who_begin_a_rotation_at_once_begin_one(tmp_path: Path) -> None:
    path = key_file(tmp_path, f"a1 {KEY_A}")
    with ThreadPoolExecutor(16) as starts:
        assert len({found.next for found in starts.map(add_next, [path] * 16)}) == 1
        assert len({found.seals for found in starts.map(let_next_seal, [path] * 16)}) == 1
    assert len(read(path).by_id) == 2


def test_what_a_killed_process_left_of_a_new_file_is_in_nobodys_way(tmp_path: Path) -> None:
    path = key_file(tmp_path, f"a1 {KEY_A}")
    (tmp_path / ".vault.key.new").write_text(f"b2 {KEY_B}\na1 ")
    assert Vault.at(path).key_ids == ["a1"]
    assert add_next(path).seals == "a1"
    assert [path.name for path in tmp_path.iterdir()] == ["vault.key"]


def test_a_key_file_that_cannot_be_replaced_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = key_file(tmp_path, f"a1 {KEY_A}")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KeyFileUnusable, match="No space left on device"):
        add_next(path)
    assert path.read_bytes() == before


def test_a_vault_follows_its_file_and_keeps_what_it_had_while_that_is_unusable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = key_file(tmp_path, f"a1 {KEY_A}")
    vault = Vault.at(path)
    vault.look()
    assert vault.key_ids == ["a1"]
    key_file(tmp_path, f"b2 {KEY_B}", f"a1 {KEY_A}")
    vault.look()
    assert vault.key_ids == ["b2", "a1"]
    for _ in range(3):
        path.write_text("garbage that may be a key")
        vault.look()
    path.chmod(0o644)
    vault.look()
    path.unlink()
    vault.look()
    assert vault.key_ids == ["b2", "a1"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "garbage" not in caplog.text
    key_file(tmp_path, f"b2 {KEY_B}")
    vault.look()
    assert vault.key_ids == ["b2"]
    Vault(Keys({"a1": Secret(KEY_A)})).look()  # it has no file


def test_keys_do_not_show_themselves(tmp_path: Path) -> None:
    shown = repr(read(key_file(tmp_path, f"a1 {KEY_A}")))
    assert KEY_A not in shown
    assert repr(bytes(range(32)))[2:20] not in shown


def test_a_fingerprint_tells_keys_of_one_name_apart(tmp_path: Path) -> None:
    key = Vault.at(tmp_path / "one.keys").key_ids[0]
    other = Vault.at(tmp_path / "two.keys").key_ids[0]
    same_name = text_of(read(tmp_path / "two.keys")).replace(other, key)

    prints = [read(tmp_path / "one.keys").fingerprint(key), parsed(tmp_path, same_name).fingerprint(key)]

    assert len(set(prints)) == 2
    assert [len(each) for each in prints] == [32, 32]
    assert prints[0] == read(tmp_path / "one.keys").fingerprint(key)
    assert prints[1] == read(tmp_path / "two.keys").fingerprint(other)


def test_keys_as_text_are_the_content_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "vault.keys"
    Vault.at(path)
    add_next(path)

    assert text_of(read(path)) == path.read_text()
    assert parsed(path, text_of(read(path))) == read(path)
