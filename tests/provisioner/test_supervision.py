import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from compass.connector import rotation
from compass.connector.authority import Authority
from compass.ids import RuntimeId
from compass.postgres.pool import Database
from compass.provisioner.infrastructure import Drivers
from compass.provisioner.supervision import Supervision, identity
from compass.settings import AuthoritySettings
from compass.vault import Vault
from tests.provisioner.cloud import Cloud
from tests.provisioner.conftest import Provisioner

DUE = "UPDATE cluster SET certificate_renew_at = now() - interval '1 second' RETURNING 1 AS one"


def supervision(provisioner: Provisioner, cloud: Cloud | None = None) -> Supervision:
    return Supervision(provisioner.database, Drivers({"local": cloud or provisioner.cloud}))


async def orphan(provisioner: Provisioner) -> RuntimeId:
    runtime = RuntimeId(str(uuid4()))
    await provisioner.row("INSERT INTO fake_cluster (runtime) VALUES (%(id)s) RETURNING 1 AS one", id=runtime)
    return runtime


async def test_what_is_known_is_kept_and_what_nobody_knows_is_removed(provisioner: Provisioner) -> None:
    async with provisioner.working():
        known = await provisioner.provisioned()
    await orphan(provisioner)

    await supervision(provisioner).once()

    assert await provisioner.cloud.existing() == {known}
    assert provisioner.lies.kept == [known]


async def test_a_cluster_in_the_making_is_no_orphan(provisioner: Provisioner) -> None:
    begun = await provisioner.begun()
    await provisioner.row(
        "INSERT INTO fake_cluster (runtime) VALUES (%(id)s) RETURNING 1 AS one", id=begun["runtimeID"]
    )

    await supervision(provisioner).once()

    assert await provisioner.cloud.existing() == {begun["runtimeID"]}


async def test_one_that_cannot_be_removed_does_not_stop_the_others_from_being_kept(provisioner: Provisioner) -> None:
    async with provisioner.working():
        known = {RuntimeId(await provisioner.provisioned(name)) for name in ("a", "b")}
    stuck = await orphan(provisioner)

    class Stuck(Cloud):
        async def delete(self, runtime: RuntimeId) -> None:
            assert runtime == stuck
            raise PermissionError(1, "not yours")

    cloud = Stuck(provisioner.database)
    await supervision(provisioner, cloud).once()

    assert set(cloud.lies.kept) == known
    assert stuck in await cloud.existing()


async def test_a_certificate_that_is_due_is_exchanged_and_no_operation_of_that_is_shown(
    provisioner: Provisioner,
) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
        await provisioner.row(DUE)
        for _ in range(2):
            await supervision(provisioner).once()
        async with asyncio.timeout(10):
            while (await provisioner.row("SELECT identities AS n FROM fake_cluster"))["n"] < 2:
                await asyncio.sleep(0.02)
            unfinished = "SELECT count(*) AS n FROM operation WHERE finished_at IS NULL"
            while (await provisioner.row(unfinished))["n"]:
                await asyncio.sleep(0.02)
    await supervision(provisioner).once()

    renewals = await provisioner.row("SELECT count(*) AS n FROM operation WHERE kind = 'renewal'")
    assert renewals == {"n": 1}
    due = await provisioner.row("SELECT certificate_renew_at > now() + interval '200 days' AS far FROM cluster")
    assert due == {"far": True}
    last = "query ($id: String!) { result: runtimeStatus(id: $id) { lastOperationStatus { operation } } }"
    assert await provisioner.result(last, id=runtime) == {"lastOperationStatus": {"operation": "Provision"}}


async def test_a_certificate_of_an_authority_that_was_replaced_is_exchanged_once(
    provisioner: Provisioner, tmp_path: Path
) -> None:
    authority: Authority = provisioner.parts[Authority]
    signed = "SELECT certificate_signed_by AS serial FROM cluster"
    async with provisioner.working():
        await provisioner.provisioned()
        assert await provisioner.row(signed) == {"serial": authority.serial}
        vault = Vault.at(tmp_path / "vault.keys")
        await provisioner.database.run(lambda tx: rotation.prepare(tx, vault, AuthoritySettings()))
        for phase in (rotation.distribute, rotation.activate):
            await provisioner.database.run(phase)
        await authority.reload(provisioner.database)
        await supervision(provisioner).once()
        async with asyncio.timeout(20):
            while await provisioner.row(signed) != {"serial": authority.serial}:
                await asyncio.sleep(0.02)
            unfinished = "SELECT count(*) AS n FROM operation WHERE finished_at IS NULL"
            while (await provisioner.row(unfinished))["n"]:
                await asyncio.sleep(0.02)
        await supervision(provisioner).once()
    assert (await provisioner.row("SELECT count(*) AS n FROM operation WHERE kind = 'renewal'")) == {"n": 1}
    assert (await provisioner.row("SELECT identities AS n FROM fake_cluster")) == {"n": 2}


async def test_a_round_that_fails_is_followed_by_another(
    provisioner: Provisioner, caplog: pytest.LogCaptureFixture
) -> None:
    async with provisioner.working():
        known = await provisioner.provisioned()

    class Away(Cloud):
        rounds = 0

        async def existing(self) -> set[RuntimeId]:
            self.rounds += 1
            if self.rounds == 1:
                raise RuntimeError("planted")
            return await super().existing()

    cloud = Away(provisioner.database)
    rounds = Supervision(provisioner.database, Drivers({"local": cloud}), every=provisioner.cloud.pace)
    task = asyncio.create_task(rounds.run())
    async with asyncio.timeout(5):
        while known not in cloud.lies.kept:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert "broken off" in caplog.text


async def test_all_replicas_of_a_plane_have_one_name(database: Database) -> None:
    async def named() -> str:
        async with database.transaction() as tx:
            return await identity(tx)

    names = await asyncio.gather(*(named() for _ in range(5)))
    names += [await named()]

    assert len(set(names)) == 1
    assert len(names[0]) == 36
