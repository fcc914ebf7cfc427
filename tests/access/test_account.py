"""The administrator's account."""

from compass.access import account
from compass.access.tokens import digest
from compass.postgres.pool import Tx

DIGEST = "-- test\nSELECT secret_digest FROM account WHERE name = 'admin'"


async def test_the_first_start_makes_an_administrator_and_later_ones_do_not(tx: Tx) -> None:
    secret = await account.first(tx)

    assert secret is not None
    assert len(secret) >= 43  # 256 bits
    assert await account.first(tx) is None
    assert await tx.value(DIGEST) == digest(secret)


async def test_the_secret_itself_is_not_kept(tx: Tx) -> None:
    secret = await account.first(tx)

    assert secret is not None
    assert secret not in str(await tx.rows("-- test\nSELECT account::text FROM account"))


async def test_a_new_secret_replaces_the_old_one(tx: Tx) -> None:
    old = await account.first(tx)
    new = await account.replaced(tx)

    assert new != old
    assert await tx.value(DIGEST) == digest(new)


async def test_a_lost_account_is_made_again_with_its_secret(tx: Tx) -> None:
    new = await account.replaced(tx)

    assert await tx.value(DIGEST) == digest(new)
    assert await account.first(tx) is None
