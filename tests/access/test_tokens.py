# ruff: noqa: E501
# Documents and statements stand on one line, as they are sent.
"""Access tokens: issued by us, verified by us, and by nobody else."""

import asyncio
import base64
import hashlib
import hmac
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from compass.access.tokens import LIFE, AccessTokens, Bearer, digest, same
from compass.errors import Unauthorized
from compass.postgres.pool import Database
from compass.vault import Vault

BEARER = Bearer("client", is_account=False, scopes=frozenset({"b:read", "a:read"}))


@pytest.fixture
def key() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": "one"}, private=True)


@pytest.fixture
def tokens(key: ECKey) -> AccessTokens:
    return AccessTokens([key])


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": "compass", "aud": "compass", "sub": "client", "iat": now, "exp": now + 60, "account": False, "scopes": "a:read",
        **changes,
    }  # fmt: skip


def signed(key: ECKey, header: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode({"alg": "ES256", "kid": "one"} | (header or {}), claims(**changes), key)


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("bearer", [BEARER, Bearer("admin", is_account=True, scopes=frozenset())])
def test_a_token_says_who_it_speaks_for(tokens: AccessTokens, bearer: Bearer) -> None:
    assert tokens.verify(tokens.issue(bearer)) == bearer


def test_a_token_ends_after_an_hour(key: ECKey, tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.issue(BEARER)
    body = orjson.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert body["exp"] - body["iat"] == LIFE.total_seconds() == 3600

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600 + 29)
    assert tokens.verify(token) == BEARER  # clocks differ a little
    monkeypatch.setattr(time, "time", lambda: now + 3600 + 32)
    with pytest.raises(Unauthorized):
        tokens.verify(token)


def test_two_tokens_are_never_the_same(tokens: AccessTokens) -> None:
    assert tokens.issue(BEARER) != tokens.issue(BEARER)


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "somebody"}, {"aud": "somebody"}, {"exp": 1}, {"exp": None}, {"iss": None}, {"aud": None}, {"sub": None},
        {"account": None, "scopes": None}, {"exp": "soon"},
    ],
)  # fmt: skip
def test_a_token_with_other_claims_is_refused(key: ECKey, tokens: AccessTokens, wrong: dict[str, Any]) -> None:
    chosen = {name: value for name, value in claims(**wrong).items() if value is not None}
    token = jwt.encode({"alg": "ES256", "kid": "one"}, chosen, key)
    with pytest.raises(Unauthorized, match="invalid bearer token"):
        tokens.verify(token)


def test_a_token_of_ours_in_this_form_is_accepted(key: ECKey, tokens: AccessTokens) -> None:
    assert tokens.verify(signed(key)).client == "client"  # the claims that the refusals above change one by one


def test_a_token_signed_by_another_key_is_refused(tokens: AccessTokens) -> None:
    other = ECKey.generate_key("P-256", {"kid": "one"}, private=True)
    with pytest.raises(Unauthorized):
        tokens.verify(signed(other))


def test_a_token_without_a_signature_is_refused(tokens: AccessTokens) -> None:
    head, body = unpadded(orjson.dumps({"alg": "none", "kid": "one"})), unpadded(orjson.dumps(claims()))
    for text in (f"{head}.{body}.", f"{head}.{body}", f"{head}.{body}.{unpadded(b'x')}"):
        with pytest.raises(Unauthorized):
            tokens.verify(text)


def test_a_token_that_uses_our_public_key_as_a_shared_secret_is_refused(key: ECKey, tokens: AccessTokens) -> None:
    public = key.as_pem(private=False)
    head, body = unpadded(orjson.dumps({"alg": "HS256", "kid": "one"})), unpadded(orjson.dumps(claims()))
    seal = hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()
    with pytest.raises(Unauthorized):
        tokens.verify(f"{head}.{body}.{unpadded(seal)}")


@pytest.mark.parametrize("header", [{"kid": "two"}, {"jku": "https://evil.example/keys"}])
def test_a_token_that_names_keys_of_its_own_gets_nothing_from_it(tokens: AccessTokens, header: dict[str, Any]) -> None:
    other = ECKey.generate_key("P-256", {"kid": "two"}, private=True)
    with pytest.raises(Unauthorized):
        tokens.verify(jwt.encode({"alg": "ES256", "kid": "one"} | header, claims(), other))


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "x" * 9_000, "é.é.é", "\0", "e30.e30.e30"])
def test_any_other_text_is_refused(tokens: AccessTokens, text: str) -> None:
    with pytest.raises(Unauthorized, match="invalid bearer token"):
        tokens.verify(text)


CERTIFICATE = hashlib.sha256(b"a certificate").hexdigest()
BOUND = Bearer("client", is_account=False, scopes=frozenset(), certificate=CERTIFICATE)


@pytest.mark.parametrize("bearer", [BOUND, replace(BOUND, by_certificate=True)])
def test_a_token_says_what_certificate_it_is_bound_to(tokens: AccessTokens, bearer: Bearer) -> None:
    text = tokens.issue(bearer)

    assert tokens.verify(text) == bearer
    body = orjson.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
    assert body["cnf"] == {"x5t#S256": unpadded(bytes.fromhex(CERTIFICATE))}


@pytest.mark.parametrize(
    "cnf",
    [
        None, "", "x", [], {}, {"jkt": "x"}, {"x5t#S256": None}, {"x5t#S256": ""}, {"x5t#S256": "AAAA"}, {"x5t#S256": "é"},
        {"x5t#S256": unpadded(bytes(32)), "jkt": "x"}, {"x5t#S256": unpadded(bytes(32)) + "="}, {"x5t": unpadded(bytes(20))},
    ],
)  # fmt: skip
def test_a_token_bound_to_something_that_is_not_understood_is_refused(
    key: ECKey, tokens: AccessTokens, cnf: Any
) -> None:
    with pytest.raises(Unauthorized):
        tokens.verify(signed(key, cnf=cnf))


async def test_replicas_that_start_together_share_one_key(database: Database, tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.keys")

    async def start() -> AccessTokens:
        async with database.transaction() as tx:
            return await AccessTokens.open(tx, vault)

    one, *others = await asyncio.gather(*(start() for _ in range(5)))

    for other in (*others, await start()):
        assert other.verify(one.issue(BEARER)) == BEARER
    async with database.transaction() as tx:
        (row,) = await tx.rows("-- test\nSELECT sealed_key FROM signing_key")
    assert "PRIVATE" not in row["sealed_key"]


async def test_the_newest_key_signs_and_all_of_them_verify(database: Database, tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.keys")
    async with database.transaction() as tx:
        old = await AccessTokens.open(tx, vault)
        newer = ECKey.generate_key("P-256", {"kid": "newer"}, private=True)
        await tx.run(
            "-- test\nINSERT INTO signing_key (id, sealed_key) VALUES ('newer', %(sealed)s)",
            sealed=vault.seal("signing_key/newer", newer.as_pem(private=True)),
        )
        both = await AccessTokens.open(tx, vault)

    assert both.verify(old.issue(BEARER)) == BEARER
    assert AccessTokens([newer]).verify(both.issue(BEARER)) == BEARER


def test_digests_are_compared_whole() -> None:
    assert same(digest("a"), digest("a"))
    assert not same(digest("a"), digest("b"))
    assert not same(digest("a"), digest("a")[:16])
    assert len(digest("\ud800")) == 32  # a lone surrogate is no reason to fail


async def test_when_all_tokens_are_ended_the_next_start_makes_another_key(database: Database, tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.keys")
    before = (await database.run(lambda tx: AccessTokens.open(tx, vault))).issue(BEARER)

    await database.run(AccessTokens.end_all)

    after = await database.run(lambda tx: AccessTokens.open(tx, vault))
    with pytest.raises(Unauthorized):
        after.verify(before)
    assert after.verify(after.issue(BEARER)) == BEARER
