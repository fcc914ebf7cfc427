from compass.ids import RuntimeId, TenantId
from compass.provisioner import cluster
from tests.provisioner.conftest import Provisioner, asked


async def test_a_cluster_is_its_own_tenants_and_keeps_what_was_asked(provisioner: Provisioner) -> None:
    begun = await provisioner.begun()
    runtime = RuntimeId(begun["runtimeID"])

    async with provisioner.database.transaction() as tx:
        made = await cluster.of_runtime(tx, runtime)

    assert made == cluster.Cluster(runtime, TenantId(str(provisioner.caller.tenant)), "local", asked())
