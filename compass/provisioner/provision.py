"""`provisionRuntime`: a runtime registered at the Director, its cluster, and its agent paired with the plane.

Registering, the cluster's row and the start of the operation are one transaction, so the answer carries the runtime's
id and no crash can register twice. Everything outside happens in steps. When one fails for good, all that was made is
removed again, the registration too. Source: contract/connector-agent-provisioner.md §A.3, §D.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from compass.access.caller import Caller
from compass.access.tenancy import Reach
from compass.commands import command
from compass.director import runtime as director_runtime
from compass.director.runtime import NewRuntime
from compass.ids import OperationId, TenantId
from compass.inputs import input_from
from compass.operations.operation import Again, Go, Kind, Operation, Outcome, StepFailed, step
from compass.postgres.pool import Database, Tx
from compass.provisioner import cluster, status
from compass.provisioner.agent import connect_agent, issue_certificate, wait_for_agent
from compass.provisioner.cluster import AGENT_COMPONENT, Cluster
from compass.provisioner.deprovision import REMOVAL, deprovision_cluster
from compass.provisioner.infrastructure import (
    Absent,
    Broken,
    ClusterForeign,
    Creating,
    Drivers,
    Infrastructure,
    Ready,
)
from compass.provisioner.refusals import (
    INTERNAL_REASON,
    ClusterNameTaken,
    InputRefused,
    OperationRunning,
    tenant_of,
)

# Inputs


@dataclass(frozen=True)
class Asked:
    """What a runtime is provisioned with."""

    runtime: NewRuntime
    provider: str
    cluster_name: str
    whole: Mapping[str, Any]
    """The request in the names of the wire, without secrets: kept, shown, and compared with when it comes again."""


def read_config(config: Mapping[str, Any]) -> Asked:
    """Raises InputRefused, InvalidInput. Source of the rules and texts: contract §D.1."""
    gardener = config["clusterConfig"]["gardenerConfig"]
    kyma = config.get("kymaConfig")
    if kyma is not None:
        refuse_components(kyma)
    if gardener.get("machineImageVersion") and not gardener.get("machineImage"):
        raise InputRefused(reason="Machine Image Version passed while Machine Image is empty")
    if gardener["provider"] == "openstack" and (gardener.get("diskType") or gardener.get("volumeSizeGB") is not None):
        raise InputRefused(reason="OpenStack mutation does not accept diskType or volumeSizeGb parameters")
    if not gardener["name"].strip():
        raise InputRefused(reason="the name of the cluster is empty")
    wanted = {**config["runtimeInput"], "statusCondition": "PROVISIONING"}
    return Asked(
        input_from(NewRuntime, "RuntimeInput", wanted), gardener["provider"], gardener["name"], kept_of(config)
    )


def refuse_components(kyma: Mapping[str, Any]) -> None:
    """Refuse components without an agent. Raises InputRefused."""
    components = [entry["component"] for entry in kyma["components"] if entry is not None]
    if not components:
        raise InputRefused(reason="Kyma components list is empty")
    if AGENT_COMPONENT not in components:
        raise InputRefused(reason="Kyma components list does not contain Compass Runtime Agent")


def kept_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a request, in the names of the wire: all but secrets."""
    return {key: _without_secrets(value) for key, value in config.items()}


def _without_secrets(value: Any) -> Any:
    """The same, with every configuration entry that says it is secret emptied."""
    match value:
        case {"secret": True, "value": _}:
            return {**value, "value": ""}
        case Mapping():
            return {key: _without_secrets(inner) for key, inner in value.items()}
        case str():
            return value
        case Sequence():
            return [_without_secrets(inner) for inner in value]
        case _:
            return value


# Steps, the last of them first


@step("WaitForClusterCreation", timeout=timedelta(hours=1))
async def wait_for_cluster(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Ask once whether the cluster is ready. One that is not there after all is asked for again: it is made once."""
    made = await database.run(lambda tx: cluster.at_work(tx, op))
    driver = drivers.of(made.provider)
    match await driver.observe(made.runtime):
        case Ready():
            return Go(issue_certificate)
        case Broken(why):
            raise StepFailed(INTERNAL_REASON, f"cluster provisioning failed. {why}", component=made.provider)
        case Absent():
            await _create(driver, made)
        case Creating():
            pass
    return Again(driver.pace)


@step("CreateCluster", timeout=timedelta(minutes=20))
async def create_cluster(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Have the cluster made, unless it is there: an earlier call may have worked although it failed."""
    made = await database.run(lambda tx: cluster.at_work(tx, op))
    driver = drivers.of(made.provider)
    if isinstance(await driver.observe(made.runtime), Absent):
        await _create(driver, made)
    return Go(wait_for_cluster)


async def _create(driver: Infrastructure, made: Cluster) -> None:
    try:
        await driver.create(made.runtime, made.asked["clusterConfig"]["gardenerConfig"])
    except ClusterForeign as foreign:
        raise StepFailed(INTERNAL_REASON, foreign.wire_text(), component=made.provider) from foreign


@step("FetchRuntimeConfiguration", timeout=timedelta(minutes=5))
async def fetch_configuration(op: Operation, database: Database) -> Outcome:
    """Take the runtime's configuration from the Director: its name there and what its tenant is called."""
    known = await database.run(lambda tx: cluster.registered(tx, op))
    return Go(create_cluster, name=known.name, tenant=known.tenant)


BUILDING: Final = (
    fetch_configuration,
    create_cluster,
    wait_for_cluster,
    issue_certificate,
    connect_agent,
    wait_for_agent,
)
PROVISION: Final = Kind("provision", (*BUILDING, *REMOVAL), on_failure=deprovision_cluster)

# The command

RESERVE = """
-- cluster.reserve
INSERT INTO cluster (tenant_id, provider, name, asked) VALUES (%(tenant)s, %(provider)s, %(name)s, %(asked)s)
ON CONFLICT (tenant_id, name) DO NOTHING
RETURNING id
"""
ASSIGN = """
-- cluster.assign
UPDATE cluster SET runtime_id = %(runtime)s WHERE id = %(cluster)s
"""
SAME = """
-- cluster.same
SELECT cluster.runtime_id, cluster.asked = %(asked)s::jsonb AS same,
    (
        SELECT id FROM operation WHERE subject = cluster.runtime_id AND kind = 'provision'
        ORDER BY created_at DESC LIMIT 1
    ) AS operation,
    EXISTS (
        SELECT 1 FROM operation WHERE subject = cluster.runtime_id AND kind = 'deprovision' AND finished_at IS NULL
    ) AS leaving
FROM cluster WHERE tenant_id = %(tenant)s AND name = %(name)s
"""


@command("provisionRuntime", scope="provisioner:write", reach=Reach.ABOVE)
async def provision(tx: Tx, caller: Caller, config: dict[str, Any], *, drivers: Drivers) -> dict[str, Any]:
    """Register a runtime and begin to make it. The same request again gets the same operation.

    Raises InputRefused, InvalidInput, ProviderUnknown, ClusterNameTaken, OperationRunning. Emits RuntimeRegistered.
    """
    tenant = tenant_of(caller)
    asked = read_config(config)
    drivers.of(asked.provider)
    # The index decides who is first; the second waits here until the first has committed.
    reserved = await tx.value(
        RESERVE, tenant=tenant, provider=asked.provider, name=asked.cluster_name, asked=asked.whole
    )
    if reserved is None:
        return await status.of_operation(tx, tenant, await _earlier(tx, tenant, asked))
    runtime = await director_runtime.register(tx, caller, asked.runtime)
    await tx.run(ASSIGN, cluster=reserved, runtime=runtime)
    operation = await cluster.operate(tx, PROVISION, tenant, runtime)
    return await status.of_operation(tx, tenant, operation)


async def _earlier(tx: Tx, tenant: TenantId, asked: Asked) -> OperationId:
    """The operation that the same request began. Raises ClusterNameTaken, OperationRunning."""
    known = await tx.row(SAME, tenant=tenant, name=asked.cluster_name, asked=asked.whole)
    if known is None or known["leaving"]:
        # Removed while we waited for it, or about to be.
        raise OperationRunning(runtime=known["runtime_id"] if known is not None else asked.cluster_name)
    if not known["same"]:
        raise ClusterNameTaken(name=asked.cluster_name)
    return OperationId(known["operation"])
