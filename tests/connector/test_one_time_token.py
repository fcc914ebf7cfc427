import asyncio
import base64
from collections import Counter
from datetime import timedelta

import pytest

from compass.connector import one_time_token
from compass.connector.one_time_token import Holder, LifeNotAllowed, Purpose, TokenMisused, TokenRefused
from compass.errors import NotFound
from compass.ids import SystemAuthId
from compass.postgres.pool import Database, Tx
from compass.settings import TokenSettings
from tests.director.catalogue import counted

HOUR = timedelta(hours=1)
KEY_1, KEY_2 = "1" * 64, "2" * 64
NOBODY = SystemAuthId("00000000-0000-4000-8000-000000000001")


async def everything(tx: Tx) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await tx.rows("SELECT * FROM one_time_token ORDER BY created_at")]


async def expire(tx: Tx, token: str) -> None:
    changed = await tx.run(
        "UPDATE one_time_token SET expires_at = clock_timestamp() WHERE digest = %(digest)s",
        digest=one_time_token.digest(token),
    )
    assert changed == 1


async def test_a_token_is_64_random_bytes_of_which_only_the_digest_is_kept(tx: Tx, system_auth: SystemAuthId) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    assert len(token) == 88
    raw = base64.urlsafe_b64decode(token)
    assert len(raw) == 64
    kept = await tx.value("SELECT one_time_token::text FROM one_time_token")
    for spelling in (token[:20], token[:20].encode().hex(), raw[:20].hex()):
        assert spelling not in kept
    assert one_time_token.digest(token).hex() in kept


async def test_a_token_lives_as_long_as_it_was_given_by_the_clock_of_the_database(
    tx: Tx, system_auth: SystemAuthId
) -> None:
    await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=timedelta(minutes=5))
    state = await one_time_token.latest(tx, system_auth)
    assert state is not None
    assert state.purpose is Purpose.APPLICATION
    assert state.expires_at - state.created_at == timedelta(minutes=5)
    assert state.used_at is None
    assert abs(state.created_at - await tx.value("SELECT clock_timestamp()")) < timedelta(seconds=10)


def test_every_purpose_has_its_life() -> None:
    settings = TokenSettings()
    assert [purpose.life(settings) for purpose in Purpose] == [
        timedelta(minutes=5),
        timedelta(minutes=60),
        timedelta(minutes=5),
    ]


@pytest.mark.parametrize(
    ("longest", "asked", "lives"),
    [
        ("5m", None, 300),
        ("5m", 300, 300),
        ("5m", 299, 299),
        ("5m", 30, 30),
        ("1d", 86_400, 86_400),
        # Shorter than what is asked for otherwise, so that is what there is.
        ("10s", None, 10),
        ("10s", 10, 10),
    ],
)
def test_a_token_may_live_shorter_than_the_plane_allows(longest: str, asked: int | None, lives: int) -> None:
    settings = TokenSettings(application_validity=_spans[longest])
    assert Purpose.APPLICATION.life_of(asked, settings) == timedelta(seconds=lives)


@pytest.mark.parametrize(
    ("longest", "asked", "between"),
    [
        *(("5m", asked, "30 and 300") for asked in (301, 29, 0, -300, 2**31 - 1, -(2**31))),
        ("10s", 9, "10 and 10"),
        ("10s", 11, "10 and 10"),
        ("10s", 30, "10 and 10"),
        ("1d", 86_401, "30 and 86400"),
    ],
)
def test_no_token_lives_longer_than_the_plane_allows_or_ends_while_it_is_handed_over(
    longest: str, asked: int, between: str
) -> None:
    settings = TokenSettings(runtime_validity=_spans[longest])
    with pytest.raises(LifeNotAllowed) as refused:
        Purpose.RUNTIME.life_of(asked, settings)
    assert refused.value.wire_text() == (
        f"Invalid data [reason=validForSeconds must be between {between}: the plane's setting tokens.runtime_validity "
        "lets no one-time token live longer]"
    )


_spans = {"10s": timedelta(seconds=10), "5m": timedelta(minutes=5), "1d": timedelta(days=1)}


async def test_a_token_is_spent_once_and_stays_visible_as_used(tx: Tx, system_auth: SystemAuthId) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.RUNTIME, life=HOUR)
    assert await one_time_token.spend(tx, token) == Holder(system_auth, Purpose.RUNTIME, used=False)
    before = await everything(tx)

    with pytest.raises(TokenRefused):
        await one_time_token.spend(tx, token)

    assert await everything(tx) == before
    state = await one_time_token.latest(tx, system_auth)
    assert state is not None
    assert state.used_at is not None


async def test_unknown_expired_used_and_replaced_tokens_are_refused_alike(tx: Tx, system_auth: SystemAuthId) -> None:
    replaced = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    used = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    await one_time_token.spend(tx, used)
    other = SystemAuthId(
        await tx.value("INSERT INTO system_auth (application_id) SELECT id FROM application RETURNING id")
    )
    expired = await one_time_token.issue(tx, other, purpose=Purpose.CSR, life=HOUR)
    await expire(tx, expired)
    before = await everything(tx)
    texts = set()

    for token in ("", "x", "\0", "\ud800", "A" * 88, used[:-1], used + "=", replaced, used, expired):
        with pytest.raises(TokenRefused) as spending:
            await one_time_token.spend(tx, token)
        with pytest.raises(TokenRefused) as redeeming:
            await one_time_token.redeem(tx, token, key_thumbprint=KEY_1)
        texts |= {str(spending.value), str(redeeming.value)}

    assert texts == {"Failed to authenticate with one time token."}
    assert await everything(tx) == before


async def test_a_newer_token_makes_the_older_ones_unusable_used_or_not(tx: Tx, system_auth: SystemAuthId) -> None:
    redeemed = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    await one_time_token.redeem(tx, redeemed, key_thumbprint=KEY_1)
    unused = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    newest = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)

    for token in (redeemed, unused):
        with pytest.raises(TokenRefused):
            await one_time_token.redeem(tx, token, key_thumbprint=KEY_1)
    assert (await one_time_token.spend(tx, newest)).system_auth == system_auth


@pytest.mark.parametrize("nobody", [NOBODY, SystemAuthId("no uuid"), SystemAuthId("")])
async def test_a_token_for_nobody_is_refused(tx: Tx, nobody: SystemAuthId) -> None:
    with pytest.raises(NotFound, match=r"\[object=systemAuth\]"):
        await one_time_token.issue(tx, nobody, purpose=Purpose.CSR, life=HOUR)
    assert await everything(tx) == []


async def test_a_token_certifies_one_key_and_that_one_again(tx: Tx, system_auth: SystemAuthId) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    assert await one_time_token.redeem(tx, token, key_thumbprint=KEY_1) == system_auth
    before = await everything(tx)
    assert await one_time_token.redeem(tx, token, key_thumbprint=KEY_1) == system_auth

    with pytest.raises(TokenRefused):
        await one_time_token.redeem(tx, token, key_thumbprint=KEY_2)
    with pytest.raises(TokenRefused):
        await one_time_token.spend(tx, token)

    assert await everything(tx) == before


async def test_a_lost_reply_cannot_be_asked_for_after_the_tokens_life(tx: Tx, system_auth: SystemAuthId) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    await one_time_token.redeem(tx, token, key_thumbprint=KEY_1)
    await expire(tx, token)
    with pytest.raises(TokenRefused):
        await one_time_token.redeem(tx, token, key_thumbprint=KEY_1)


async def test_a_token_spent_on_a_configuration_certifies_nothing(tx: Tx, system_auth: SystemAuthId) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    await one_time_token.spend(tx, token)
    with pytest.raises(TokenRefused):
        await one_time_token.redeem(tx, token, key_thumbprint=KEY_1)


async def test_a_token_goes_with_its_system_auth(tx: Tx, system_auth: SystemAuthId) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    await tx.run("DELETE FROM system_auth WHERE id = %(id)s", id=system_auth)
    with pytest.raises(TokenRefused):
        await one_time_token.spend(tx, token)
    assert await one_time_token.latest(tx, system_auth) is None


async def test_tokens_replaced_a_week_ago_are_forgotten_and_no_other(tx: Tx, system_auth: SystemAuthId) -> None:
    first, second, third = [
        await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR) for _ in range(3)
    ]
    for token, age in ((first, "7 days 1 minute"), (second, "6 days 23 hours")):
        await tx.run(
            "UPDATE one_time_token SET replaced_at = clock_timestamp() - %(age)s::text::interval "
            "WHERE digest = %(digest)s",
            age=age,
            digest=one_time_token.digest(token),
        )
    await tx.run("UPDATE one_time_token SET created_at = created_at - interval '90 days'")

    assert await one_time_token.forget_replaced(tx) == 1

    kept = {row["digest"] for row in await tx.rows("SELECT digest FROM one_time_token")}
    assert kept == {one_time_token.digest(second), one_time_token.digest(third)}
    assert (await one_time_token.holder(tx, third)).system_auth == system_auth


async def test_a_rolled_back_use_leaves_the_token_usable(
    database: Database, committed_system_auth: SystemAuthId
) -> None:
    async with database.transaction() as tx:
        token = await one_time_token.issue(tx, committed_system_auth, purpose=Purpose.CSR, life=HOUR)

    class Lost(Exception):
        pass

    async def spend_and_fail(tx: Tx) -> None:
        await one_time_token.spend(tx, token)
        raise Lost

    with pytest.raises(Lost):
        await database.run(spend_and_fail)
    async with database.transaction() as tx:
        assert (await one_time_token.spend(tx, token)).system_auth == committed_system_auth


async def test_of_32_racing_uses_of_one_token_exactly_one_wins(dsn: str, committed_system_auth: SystemAuthId) -> None:
    async with Database.open(dsn, connections=32) as database:

        async def use(token: str) -> str:
            try:
                async with database.transaction() as tx:
                    await one_time_token.spend(tx, token)
                    await asyncio.sleep(0.001)  # hold the row while the others arrive
            except TokenRefused:
                return "refused"
            return "spent"

        for _ in range(20):
            async with database.transaction() as tx:
                token = await one_time_token.issue(tx, committed_system_auth, purpose=Purpose.CSR, life=HOUR)
            outcomes = Counter(await asyncio.gather(*[use(token) for _ in range(32)]))
            assert outcomes == {"spent": 1, "refused": 31}


async def test_of_racing_requests_for_a_token_only_the_last_one_is_in_force(
    dsn: str, committed_system_auth: SystemAuthId
) -> None:
    async with Database.open(dsn, connections=16) as database:

        async def request() -> str:
            async with database.transaction() as tx:
                return await one_time_token.issue(tx, committed_system_auth, purpose=Purpose.CSR, life=HOUR)

        tokens = await asyncio.gather(*[request() for _ in range(16)])
        usable = []
        for token in tokens:
            try:
                async with database.transaction() as tx:
                    await one_time_token.spend(tx, token)
            except TokenRefused:
                continue
            usable.append(token)
        assert len(usable) == 1


async def test_a_token_is_issued_in_three_statements_and_used_in_one(
    tx: Tx, system_auth: SystemAuthId, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):  # what was there before costs no statement more
        await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)

    with counted(monkeypatch) as issuing:
        spent = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    with counted(monkeypatch) as spending:
        await one_time_token.spend(tx, spent)
    with counted(monkeypatch) as spending_again, pytest.raises(TokenRefused):
        await one_time_token.spend(tx, spent)
    redeemed = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    with counted(monkeypatch) as redeeming:
        await one_time_token.redeem(tx, redeemed, key_thumbprint=KEY_1)
    with counted(monkeypatch) as redeeming_again:
        await one_time_token.redeem(tx, redeemed, key_thumbprint=KEY_1)
    with counted(monkeypatch) as redeeming_another_key, pytest.raises(TokenRefused):
        await one_time_token.redeem(tx, redeemed, key_thumbprint=KEY_2)

    assert issuing == [one_time_token.LOCK, one_time_token.REPLACE, one_time_token.ISSUE]
    assert spending == spending_again == [one_time_token.SPEND]
    assert redeeming == redeeming_again == [one_time_token.REDEEM]
    assert redeeming_another_key == [one_time_token.REDEEM, one_time_token.BELONGS_TO_ANOTHER]


# --- a key announced with the first step ---


async def configured(tx: Tx, token: str, key: str | None) -> str:
    """The token that follows, as `configuration` hands it out."""
    return await one_time_token.issue_next(
        tx, await one_time_token.spend(tx, token, key=key), token, key=key, life=HOUR
    )


async def test_a_configuration_that_announced_its_key_is_repeated_with_the_same_token(
    tx: Tx, system_auth: SystemAuthId
) -> None:
    first = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    second = await configured(tx, first, KEY_1)
    assert len(base64.urlsafe_b64decode(second)) == 64
    before = await everything(tx)

    assert await one_time_token.repeated(tx, first, KEY_1) == (system_auth, second)
    assert await everything(tx) == before
    assert await one_time_token.redeem(tx, second, key_thumbprint=KEY_1) == system_auth
    # The certificate is there, its answer may be lost too: both steps can be asked for again.
    assert await one_time_token.repeated(tx, first, KEY_1) == (system_auth, second)
    assert await one_time_token.redeem(tx, second, key_thumbprint=KEY_1) == system_auth


async def test_the_token_of_an_announced_key_certifies_that_key_alone_and_configures_nobody_else(
    tx: Tx, system_auth: SystemAuthId
) -> None:
    first = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    second = await configured(tx, first, KEY_1)
    before = await everything(tx)

    with pytest.raises(TokenMisused):
        await one_time_token.redeem(tx, second, key_thumbprint=KEY_2)
    for other in (KEY_2, None):
        with pytest.raises(TokenRefused):
            await one_time_token.spend(tx, second, key=other)

    assert await everything(tx) == before
    third = await configured(tx, second, KEY_1)
    with pytest.raises(TokenMisused):
        await one_time_token.redeem(tx, third, key_thumbprint=KEY_2)


async def test_a_configuration_is_repeated_for_nobody_else_and_not_for_ever(tx: Tx, system_auth: SystemAuthId) -> None:
    async def spent() -> tuple[str, str]:
        first = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
        return first, await configured(tx, first, KEY_1)

    first, _ = await spent()
    with pytest.raises(TokenMisused):
        await one_time_token.repeated(tx, first, KEY_2)
    await expire(tx, first)
    with pytest.raises(TokenRefused):
        await one_time_token.repeated(tx, first, KEY_1)
    first, second = await spent()
    await expire(tx, second)
    with pytest.raises(TokenRefused):
        await one_time_token.repeated(tx, first, KEY_1)
    first, _ = await spent()
    await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    with pytest.raises(TokenRefused):
        await one_time_token.repeated(tx, first, KEY_1)
    bare = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    await configured(tx, bare, None)
    before = await everything(tx)
    for token in (bare, "unknown"):
        with pytest.raises(TokenRefused) as refusal:
            await one_time_token.repeated(tx, token, KEY_1)
        assert not isinstance(refusal.value, TokenMisused)
    assert await everything(tx) == before


async def test_nothing_in_the_database_makes_the_following_token(tx: Tx, system_auth: SystemAuthId) -> None:
    first = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    second = await configured(tx, first, KEY_1)
    kept = await tx.value("SELECT string_agg(one_time_token::text, ' ') FROM one_time_token")
    for token in (first, second):
        for spelling in (token[:20], token[:20].encode().hex(), base64.urlsafe_b64decode(token)[:20].hex()):
            assert spelling not in kept


async def test_a_token_says_for_whom_it_was_asked_also_after_a_configuration(tx: Tx, system_auth: SystemAuthId) -> None:
    for key in (None, KEY_1):
        first = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR, asked_with="f" * 64)
        second = await configured(tx, first, key)
        assert (await one_time_token.holder(tx, second)).asked_with == "f" * 64


async def test_a_misuse_is_announced_once_per_token(tx: Tx, system_auth: SystemAuthId) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.CSR, life=HOUR)
    await one_time_token.redeem(tx, token, key_thumbprint=KEY_1)
    with pytest.raises(TokenMisused) as refusal:
        await one_time_token.redeem(tx, token, key_thumbprint=KEY_2)
    assert refusal.value.wire_text() == TokenRefused().wire_text()
    for _ in range(2):
        await refusal.value.record(tx)
    [event] = await tx.rows("SELECT tenant_id, name, facts FROM outbox_event")
    tenant = await tx.value("SELECT tenant_id FROM system_auth")
    assert tuple(event) == (tenant, "OneTimeTokenMisused", {"system_auth": system_auth})


async def test_after_a_restore_no_token_can_be_used_for_the_first_time(tx: Tx, system_auth: SystemAuthId) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)

    assert await one_time_token.end_all(tx) == 1

    with pytest.raises(TokenRefused):
        await one_time_token.spend(tx, token)
    assert await one_time_token.end_all(tx) == 0
    newer = await one_time_token.issue(tx, system_auth, purpose=Purpose.APPLICATION, life=HOUR)
    assert (await one_time_token.spend(tx, newer)).system_auth == system_auth
