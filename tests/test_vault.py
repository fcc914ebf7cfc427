import base64
import json
import pickle
import stat
import string
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from compass.vault import KeyFileUnusable, SealBroken, Secret, Vault

KEY_A = base64.urlsafe_b64encode(bytes(range(32))).decode()
KEY_B = base64.urlsafe_b64encode(bytes(range(32, 64))).decode()


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


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", "%s" % secret, repr([secret])]
    try:
        raise ValueError(secret)
    except ValueError as error:
        shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert not [text for text in shown if "hunter2" in text]
    for dump in (json.dumps, orjson.dumps, pickle.dumps):
        with pytest.raises(TypeError):
            dump(secret)
    with pytest.raises(TypeError):
        vars(secret)
    assert secret.reveal() == "hunter2"


def test_secrets_are_equal_by_their_text_and_never_equal_to_text() -> None:
    assert Secret("ä") == Secret("ä")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    with pytest.raises(TypeError):
        hash(Secret("a"))
