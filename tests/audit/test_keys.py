"""Keys of the audit log: shared by all replicas, and of no use to who has the database alone."""

import asyncio
from pathlib import Path

import pytest

from compass.audit.keys import Key, Keys, PublicKey
from compass.postgres.pool import Database, Tx
from compass.vault import SealBroken, Vault


async def test_replicas_that_start_at_once_share_one_key(database: Database, tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.keys")

    async def start() -> Keys:
        return await database.run(lambda tx: Keys.open(tx, vault))

    opened = await asyncio.gather(*(start() for _ in range(5)))

    assert len({(keys.current.name, keys.current.text) for keys in opened}) == 1
    async with database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM audit_key") == 1


async def test_without_the_vault_a_key_does_not_open(tx: Tx, tmp_path: Path) -> None:
    await Keys.open(tx, Vault.at(tmp_path / "vault.keys"))

    with pytest.raises(SealBroken):
        await Keys.known(tx, Vault.at(tmp_path / "other.keys"))


async def test_a_log_without_keys_has_none(tx: Tx, tmp_path: Path) -> None:
    assert await Keys.known(tx, Vault.at(tmp_path / "vault.keys")) is None


async def test_the_newest_key_signs_and_the_older_ones_still_verify(tx: Tx, tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.keys")
    old = (await Keys.open(tx, vault)).current
    await tx.run(
        "INSERT INTO audit_key (id, sealed_key) VALUES ('new', %(sealed)s)",
        sealed=vault.seal("audit_key/new", (b"\7" * 32).hex().encode()),
    )

    keys = await Keys.open(tx, vault)

    assert keys.current.name == "new"
    assert keys[old.name].signed("text", old.sign("text"))


def test_a_signature_is_of_one_text_by_one_key() -> None:
    key, other = Key("a", bytes(32)), Key("a", bytes(31) + b"\1")
    public = PublicKey.read("a", key.text)

    assert public.signed("text", key.sign("text"))
    assert not public.signed("other", key.sign("text"))
    assert not public.signed("text", other.sign("text"))
    assert not public.signed("text", b"")


def test_the_mark_of_a_record_is_of_its_id_and_its_body() -> None:
    key = Key("a", bytes(32))

    marks = {key.mac("1", b"x"), key.mac("1", b"y"), key.mac("2", b"x"), Key("a", b"\1" * 32).mac("1", b"x")}

    assert len(marks) == 4
    assert key.mac("1", b"x") == key.mac("1", b"x")
