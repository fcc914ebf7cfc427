import asyncio
import hashlib
import shutil
import ssl
import subprocess
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from compass.connector import authority as authority_module
from compass.connector import certificate, issuer, one_time_token, revocation, rotation
from compass.connector.authority import Authority, Replica
from compass.connector.certificate import AuthorityReplaced, Issued
from compass.connector.rotation import (
    NotDistributed,
    NothingPrepared,
    ReplicasBehind,
    RotationUnfinished,
    StillInUse,
)
from compass.ids import SystemAuthId
from compass.postgres.pool import Database, Tx
from compass.settings import AuthoritySettings
from compass.vault import Vault

SETTINGS = AuthoritySettings()
OPENSSL = shutil.which("openssl") or ""

Phase = Callable[[Tx], Awaitable[None]]


async def activate(tx: Tx) -> None:
    await rotation.activate(tx)


async def distribute(tx: Tx) -> None:
    await rotation.distribute(tx)


async def abort(tx: Tx) -> None:
    await rotation.abort(tx)


async def retire(tx: Tx) -> None:
    await rotation.retire(tx, force=False)


async def retire_by_force(tx: Tx) -> None:
    await rotation.retire(tx, force=True)


@pytest.fixture
def prepare(vault: Vault) -> Phase:
    async def prepare(tx: Tx) -> None:
        await rotation.prepare(tx, vault, SETTINGS)

    return prepare


async def states(tx: Tx) -> list[str]:
    """Of roots and issuing certificates; the two of a pair are always equally far."""
    rows = await tx.rows("SELECT kind, state FROM authority ORDER BY created_at, kind, state")
    found = {kind: [row["state"] for row in rows if row["kind"] == kind] for kind in ("root", "issuing")}
    assert sorted(found["root"]) == sorted(found["issuing"])
    return found["issuing"]


async def told(tx: Tx) -> list[str]:
    rows = await tx.rows(
        "SELECT facts->>'phase' AS phase FROM outbox_event WHERE name = 'AuthorityRotated' ORDER BY id"
    )
    return [row["phase"] for row in rows]


async def again(tx: Tx, vault: Vault) -> Authority:
    """As another process sees it."""
    return await Authority.open(tx, vault, SETTINGS)


# --- the phases ---


async def test_a_rotation_goes_through_its_phases_and_each_is_announced_once(
    tx: Tx, vault: Vault, authority: Authority, prepare: Phase
) -> None:
    first = authority.serial
    steps: list[tuple[Phase, list[str], int]] = [
        (prepare, ["active", "prepared"], 1),
        (distribute, ["active", "distributed"], 2),
        (activate, ["active", "replaced"], 2),
        (retire, ["active", "retired"], 1),
    ]
    for number, (phase, expected, trusted) in enumerate(steps, start=1):
        for _ in range(2):  # repeated, it changes and announces nothing more
            await phase(tx)
            assert sorted(await states(tx)) == expected
            assert await told(tx) == ["prepared", "distributed", "activated", "retired"][:number]
        now = await again(tx, vault)
        assert len(now.trusted) == trusted
        assert (now.serial == first) is (number < 3)
    assert (await again(tx, vault)).serial != first


async def test_a_phase_out_of_turn_is_refused_and_changes_nothing(tx: Tx, authority: Authority, prepare: Phase) -> None:
    for phase in (distribute, activate):
        with pytest.raises(NothingPrepared):
            await phase(tx)
    await prepare(tx)
    with pytest.raises(NotDistributed):
        await activate(tx)
    assert sorted(await states(tx)) == ["active", "prepared"]
    await retire(tx)  # there is nothing to retire
    await distribute(tx)
    await activate(tx)
    with pytest.raises(RotationUnfinished, match=authority.serial):
        await prepare(tx)
    assert sorted(await states(tx)) == ["active", "replaced"]
    assert await told(tx) == ["prepared", "distributed", "activated"]


@pytest.mark.parametrize("reached", [0, 1, 2])
async def test_what_was_not_activated_is_given_up_without_a_trace_in_trust(
    tx: Tx, vault: Vault, authority: Authority, prepare: Phase, reached: int
) -> None:
    for phase in [prepare, distribute][:reached]:
        await phase(tx)
    await abort(tx)
    await abort(tx)
    now = await again(tx, vault)
    assert (now.knows, now.version, now.issuer.cross) == (authority.knows, authority.version, None)
    assert (await told(tx))[reached:] == ["aborted"] * (reached > 0)
    await prepare(tx)  # and another one may begin
    assert sorted(await states(tx)) == sorted(["active", "prepared", *["aborted"] * (reached > 0)])


async def test_an_activated_authority_is_aborted_by_having_the_former_one_sign_again(
    tx: Tx, vault: Vault, authority: Authority, prepare: Phase, system_auth: SystemAuthId, request_for: Any
) -> None:
    for phase in (prepare, distribute, activate):
        await phase(tx)
    new = await again(tx, vault)
    await certificate.issue(tx, new, system_auth, request_for(system_auth))
    await abort(tx)
    now = await again(tx, vault)
    assert now.serial == authority.serial
    assert {each.serial for each in now.trusted} == {authority.serial, new.serial}
    with pytest.raises(StillInUse, match="1 clients"):
        await retire(tx)
    await retire_by_force(tx)
    assert (await again(tx, vault)).knows == authority.knows


@pytest.mark.parametrize("name", ["prepare", "distribute", "activate", "retire", "abort"])
async def test_a_phase_that_is_killed_at_any_statement_has_changed_nothing(
    database: Database,
    vault: Vault,
    committed_authority: Authority,
    prepare: Phase,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phases = {"prepare": prepare, "distribute": distribute, "activate": activate, "retire": retire, "abort": abort}
    order = ["prepare", "distribute", "activate", "retire"]
    for before in order[: order.index(name)] if name in order else order[:3]:
        await database.run(phases[before])

    async def everything() -> str:
        async with database.transaction() as tx:
            return str(
                await tx.value(
                    "SELECT (SELECT string_agg(a::text, '' ORDER BY a::text) FROM authority a) || "
                    "(SELECT count(*) FROM outbox_event)"
                )
            )

    class Killed(BaseException):
        pass

    present, kills = await everything(), 0
    while True:
        left = kills
        with monkeypatch.context() as dying:
            for call in ("row", "rows", "value", "run"):
                original = getattr(Tx, call)

                async def dies(self: Tx, *a: Any, _original: Any = original, **k: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise Killed
                    return await _original(self, *a, **k)

                dying.setattr(Tx, call, dies)
            try:
                await database.run(phases[name])
                break
            except Killed:
                kills += 1
        assert await everything() == present
    assert kills >= 5
    assert await everything() != present


async def test_of_many_at_once_each_phase_happens_once(
    dsn: str, vault: Vault, committed_authority: Authority, prepare: Phase
) -> None:
    async with Database.open(dsn, connections=8) as database:
        for phase in (prepare, distribute, activate, retire):
            await asyncio.gather(*(database.run(phase) for _ in range(8)))
        async with database.transaction() as tx:
            assert await told(tx) == ["prepared", "distributed", "activated", "retired"]
            assert sorted(await states(tx)) == ["active", "retired"]


# --- who would be cut off ---


@pytest.fixture
async def replaced(tx: Tx, vault: Vault, authority: Authority, prepare: Phase) -> Authority:
    """The new one signs, and the former is still trusted."""
    for phase in (prepare, distribute, activate):
        await phase(tx)
    return await again(tx, vault)


async def used(tx: Tx, issued: Issued) -> None:
    await tx.run("UPDATE certificate SET last_used_at = now() WHERE serial = %(s)s", s=issued.serial)


async def test_an_authority_in_use_is_not_retired_and_who_uses_it_is_named(
    tx: Tx, vault: Vault, authority: Authority, prepare: Phase, system_auth: SystemAuthId, request_for: Any
) -> None:
    csr = request_for(system_auth)
    old = await certificate.issue(tx, authority, system_auth, csr)
    for phase in (prepare, distribute, activate):
        await phase(tx)
    new_authority = await again(tx, vault)
    with pytest.raises(StillInUse, match=f"1 clients.*application .*{system_auth}"):
        await retire(tx)
    # A renewal that was never shown proves nothing: its answer may have been lost.
    new = await certificate.issue(tx, new_authority, system_auth, csr, renewal_of=old.fingerprint)
    with pytest.raises(StillInUse):
        await retire(tx)
    assert sorted(await states(tx)) == ["active", "replaced"]
    assert await told(tx) == ["prepared", "distributed", "activated"]
    await used(tx, new)
    await retire(tx)
    assert sorted(await states(tx)) == ["active", "retired"]


@pytest.mark.parametrize("way", ["revoked", "expired", "forced"])
async def test_what_is_over_holds_nothing_up_and_force_locks_out_the_rest(
    tx: Tx, authority: Authority, prepare: Phase, system_auth: SystemAuthId, request_for: Any, way: str
) -> None:
    old = await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    for phase in (prepare, distribute, activate):
        await phase(tx)
    if way == "revoked":
        await revocation.revoke(tx, old.fingerprint, reason="not used", by="admin")
    if way == "expired":
        await tx.run("UPDATE certificate SET not_after = now()")
    await (retire_by_force if way == "forced" else retire)(tx)
    forced = await tx.value("SELECT facts->>'forced' FROM outbox_event WHERE facts->>'phase' = 'retired'")
    assert forced == ("true" if way == "forced" else "false")


async def test_a_renewal_of_another_client_proves_nothing(
    tx: Tx, vault: Vault, authority: Authority, prepare: Phase, new_system_auth: Any, request_for: Any
) -> None:
    one, two = await new_system_auth(tx), await new_system_auth(tx)
    await certificate.issue(tx, authority, one, request_for(one))
    for phase in (prepare, distribute, activate):
        await phase(tx)
    await used(tx, await certificate.issue(tx, await again(tx, vault), two, request_for(two)))
    with pytest.raises(StillInUse, match=one):
        await retire(tx)


# --- replicas ---


async def test_replicas_that_are_behind_hold_up_what_would_make_them_refuse_clients(
    tx: Tx, authority: Authority, prepare: Phase
) -> None:
    async def seen(knows: str, *, ago: int = 0) -> None:
        await tx.run("DELETE FROM authority_replica")
        await tx.run(
            "INSERT INTO authority_replica "
            "VALUES (%(id)s, 'here:1', %(knows)s, now() - make_interval(secs => %(ago)s))",
            id=str(uuid.uuid4()),
            knows=knows,
            ago=ago,
        )

    await prepare(tx)
    await distribute(tx)
    await seen(authority.knows)
    with pytest.raises(ReplicasBehind, match=r"1 of the replicas.*here:1"):
        await activate(tx)
    assert (await rotation.standing(tx)).replicas == [("here:1", False)]
    assert sorted(await states(tx)) == ["active", "distributed"]
    await seen(authority.knows, ago=60)  # it was killed
    await activate(tx)
    await seen(authority.knows)
    with pytest.raises(ReplicasBehind):
        await retire(tx)


async def test_a_replica_follows_within_seconds_and_says_so_only_when_its_listeners_have(
    dsn: str, database: Database, vault: Vault, committed_authority: Authority, prepare: Phase
) -> None:
    followed: list[str] = []
    broken = True

    async def taken_over() -> None:
        if broken:
            raise RuntimeError("the listener is in trouble")
        followed.append(committed_authority.knows)

    running = asyncio.create_task(Replica(database, committed_authority, taken_over=taken_over, gauges=dict).run())
    try:
        await database.run(prepare)
        await database.run(distribute)
        await asyncio.sleep(1.5)
        assert (await database.run(rotation.standing)).replicas == []  # it cannot say what is not so
        broken = False
        async with asyncio.timeout(20):
            while not followed or len(committed_authority.trusted) < 2:
                await asyncio.sleep(0.02)
            while not all(follows for _, follows in (await database.run(rotation.standing)).replicas or [("", False)]):
                await asyncio.sleep(0.02)
        await database.run(activate)
        async with asyncio.timeout(20):
            while len(followed) < 2:
                await asyncio.sleep(0.02)
        assert committed_authority.serial in followed[-1]
    finally:
        running.cancel()
        await asyncio.wait((running,))
    assert (await database.run(rotation.standing)).replicas == []  # it took its leave


async def test_a_replica_says_how_busy_it_is_whenever_it_says_that_it_lives(
    database: Database, committed_authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority_module, "SEEN_EVERY_SECONDS", 0.0)
    looks = iter(({"errors": 1}, {"errors": 2}))

    async def taken_over() -> None:
        pass

    replica = Replica(database, committed_authority, taken_over=taken_over, gauges=lambda: next(looks))
    said = "SELECT count(*) AS replicas, max(gauges ->> 'errors') AS errors FROM authority_replica"
    for errors in ("1", "2"):
        await replica.look()

        row = await database.read(said, [])
        assert (row["replicas"], row["errors"]) == (1, errors)


async def test_a_replica_that_is_late_signs_nothing_with_what_is_retired(
    tx: Tx, authority: Authority, prepare: Phase, system_auth: SystemAuthId, request_for: Any
) -> None:
    for phase in (prepare, distribute, activate):
        await phase(tx)
    # Still trusted: what a late replica signs is as good as before.
    await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    await retire_by_force(tx)
    before = await tx.value("SELECT count(*) FROM certificate")
    with pytest.raises(AuthorityReplaced):
        await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    with pytest.raises(AuthorityReplaced):
        await certificate.issue_server(tx, authority, names=["localhost"])
    assert await tx.value("SELECT count(*) FROM certificate") == before


async def test_whoever_is_just_being_signed_for_is_counted_before_an_authority_is_retired(
    database: Database,
    vault: Vault,
    committed_authority: Authority,
    committed_system_auth: SystemAuthId,
    prepare: Phase,
    request_for: Any,
) -> None:
    for phase in (prepare, distribute, activate):
        await database.run(phase)
    async with database.transaction() as tx:
        await certificate.issue(tx, committed_authority, committed_system_auth, request_for(committed_system_auth))
        retiring = asyncio.create_task(database.run(retire))
        await asyncio.sleep(0.3)
        assert not retiring.done()
    with pytest.raises(StillInUse):
        await retiring


# --- what clients see of it ---


async def shown_chain(tx: Tx, authority: Authority) -> list[x509.Certificate]:
    identity = await certificate.issue_server(tx, authority, names=["localhost"])
    return x509.load_pem_x509_certificates(identity.chain_pem.encode())


def openssl_accepts(folder: Path, chain: list[x509.Certificate], root_pem: str) -> str:
    texts = [issuer.pem(each) for each in chain]
    (folder / "leaf.pem").write_text(texts[0])
    (folder / "rest.pem").write_text("".join(texts[1:]) or texts[0])
    (folder / "root.pem").write_text(root_pem)
    checked = subprocess.run(
        [
            *(OPENSSL, "verify", "-x509_strict", "-purpose", "sslserver"),
            *("-CAfile", "root.pem", "-untrusted", "rest.pem", "leaf.pem"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if checked.returncode == 0 else checked.stderr


async def test_whoever_trusts_either_root_believes_the_plane_from_distribution_to_retirement(
    tx: Tx, vault: Vault, authority: Authority, prepare: Phase, tmp_path: Path
) -> None:
    old_root = authority.root_pem
    for phase in (prepare, distribute):
        await phase(tx)
    both = await again(tx, vault)
    new_root = next(each.root_pem for each in both.trusted if each.root_pem != old_root)
    for step in range(3):
        chain = await shown_chain(tx, await again(tx, vault))
        assert openssl_accepts(tmp_path, chain, old_root) == ""
        assert openssl_accepts(tmp_path, chain, new_root) == ""
        assert openssl_accepts(tmp_path, chain, old_root + new_root) == ""
        await (activate, abort, retire_by_force)[step](tx)
    chain = await shown_chain(tx, await again(tx, vault))
    assert openssl_accepts(tmp_path, chain, old_root) == ""  # the abort kept this one
    assert "unable to get local issuer" in openssl_accepts(tmp_path, chain, new_root)


async def test_after_the_retirement_the_former_root_vouches_for_nothing(
    tx: Tx, vault: Vault, authority: Authority, replaced: Authority, tmp_path: Path
) -> None:
    await retire(tx)
    now = await again(tx, vault)
    chain = await shown_chain(tx, now)
    assert [len(chain), now.roots_pem] == [2, replaced.root_pem]
    assert openssl_accepts(tmp_path, chain, replaced.root_pem) == ""
    assert openssl_accepts(tmp_path, chain, authority.root_pem) != ""


async def test_a_root_made_by_an_older_release_hands_over_too(
    tx: Tx, vault: Vault, prepare: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = issuer._authority_certificate
    with monkeypatch.context() as older:
        older.setattr(
            issuer,
            "_authority_certificate",
            lambda *a, path_length, **k: make(*a, path_length=min(path_length, 1), **k),
        )
        old = await Authority.open(tx, vault, SETTINGS)
    for phase in (prepare, distribute, activate):
        await phase(tx)
    chain = await shown_chain(tx, await again(tx, vault))
    assert openssl_accepts(tmp_path, chain, old.root_pem) == ""


async def test_the_same_token_and_key_give_the_same_certificate_and_issuer_after_the_new_one_signs(
    tx: Tx, vault: Vault, authority: Authority, prepare: Phase, system_auth: SystemAuthId, request_for: Any
) -> None:
    token = await one_time_token.issue(tx, system_auth, purpose=one_time_token.Purpose.CSR, life=timedelta(minutes=5))
    csr = request_for(system_auth)
    first = await certificate.pair(tx, authority, token, csr)
    for phase in (prepare, distribute, activate):
        await phase(tx)
    assert await certificate.pair(tx, await again(tx, vault), token, csr) == first
    assert first.ca_pem == authority.ca_pem


async def test_how_far_it_is_counts_whom_each_authority_has_and_who_follows(
    tx: Tx, vault: Vault, authority: Authority, prepare: Phase, new_system_auth: Any, request_for: Any
) -> None:
    clients = [await new_system_auth(tx) for _ in range(3)]
    for client in clients:
        await certificate.issue(tx, authority, client, request_for(client))
    await tx.run(
        "UPDATE certificate SET knows_authorities = %(v)s WHERE system_auth_id = ANY(%(ids)s::uuid[])",
        v=authority.version,
        ids=clients[:2],
    )
    now = await rotation.standing(tx)
    assert [(each.state, each.clients) for each in now.authorities] == [("active", 3)]
    assert (now.following, now.behind) == (2, 0)
    await prepare(tx)
    assert (await rotation.standing(tx)).behind == 0
    await distribute(tx)
    assert ((await rotation.standing(tx)).following, (await rotation.standing(tx)).behind) == (2, 2)
    await activate(tx)
    new = await again(tx, vault)
    renewed = await certificate.issue(tx, new, clients[0], request_for(clients[0]))
    await used(tx, renewed)
    now = await rotation.standing(tx)
    assert [(each.state, each.clients, each.is_ending) for each in now.authorities] == [
        ("active", 1, False),
        ("replaced", 3, False),
    ]
    assert now.authorities[0].pin == f"sha256:{ssl_fingerprint(new.root_pem)}"


def ssl_fingerprint(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
