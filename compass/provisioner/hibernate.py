"""`hibernateRuntime` and `wakeRuntime`: a runtime is put to sleep, and woken up again.

Asleep, nothing of it runs and nothing of it is lost: its folder, its identity, its groups. The Director is told by the
operation's end, in the transaction that records it, so that it does not miss the agent. The original had no way to wake
a runtime up. Source of the stage: contract/connector-agent-provisioner.md §D.2, §D.5. See docs/adr/0027.
"""

from datetime import timedelta
from typing import Any, Final

from compass.access.caller import Caller
from compass.commands import command
from compass.director import heartbeat
from compass.ids import RuntimeId
from compass.operations.operation import Again, Done, Go, Kind, Operation, Outcome, State, StepFailed, step
from compass.postgres.pool import Database, Tx
from compass.provisioner import cluster, status
from compass.provisioner.agent import wait_until_in_sync
from compass.provisioner.infrastructure import Absent, Broken, Drivers, Infrastructure, Ready, Sleeping
from compass.provisioner.refusals import INTERNAL_REASON, HibernationImpossible, NotSupported, tenant_of
from compass.provisioner.status import Look

# Steps, the last of them first


@step("WaitForHibernation", timeout=timedelta(hours=1))
async def wait_for_hibernation(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Have it put to sleep, and ask once whether it is."""
    made = await database.run(lambda tx: cluster.at_work(tx, op))
    driver = drivers.of(made.provider)
    await _sleeping(driver, made.provider).sleep(made.runtime)
    match await driver.observe(made.runtime):
        case Ready(asleep=True):
            return Done()
        case Absent():
            raise StepFailed(INTERNAL_REASON, "the cluster is gone", component=made.provider)
        case Broken(why):
            raise StepFailed(INTERNAL_REASON, why, component=made.provider)
        case _:
            return Again(driver.pace)


@step("WaitForAgentToSync", timeout=timedelta(hours=1))
async def wait_for_sync(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Ask once whether its agent is in sync again."""
    return await wait_until_in_sync(op, database, drivers) or Done()


@step("WakeRuntime", timeout=timedelta(minutes=20))
async def wake_runtime(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Have it woken up. Of one that is awake nothing changes."""
    made = await database.run(lambda tx: cluster.at_work(tx, op))
    await _sleeping(drivers.of(made.provider), made.provider).wake(made.runtime)
    return Go(wait_for_sync)


def _sleeping(driver: Infrastructure, provider: str) -> Sleeping:
    if not isinstance(driver, Sleeping):
        raise StepFailed(INTERNAL_REASON, "the driver cannot put to sleep", component=provider)
    return driver


async def fell_asleep(tx: Tx, op: Operation) -> None:
    """Its agent is silent from now on."""
    if op.state is State.SUCCEEDED:
        await heartbeat.rest(tx, RuntimeId(op.subject))


async def awoke(tx: Tx, op: Operation) -> None:
    """Its agent is to be heard, and is missed when it did not come back."""
    await heartbeat.rise(tx, RuntimeId(op.subject))


HIBERNATE: Final = Kind("hibernate", (wait_for_hibernation,), finished=fell_asleep)
WAKE: Final = Kind("wake", (wake_runtime, wait_for_sync), finished=awoke)

# Commands


@command("hibernateRuntime", scope="provisioner:write", prepare=status.look)
async def hibernate(tx: Tx, caller: Caller, runtime: RuntimeId, *, prepared: Look) -> dict[str, Any]:
    """Begin to put it to sleep. Raises ClusterNotFound, NotSupported, HibernationImpossible, OperationRunning."""
    return await _begun(tx, caller, runtime, HIBERNATE, "hibernateRuntime", prepared)


@command("wakeRuntime", scope="provisioner:write", prepare=status.look)
async def wake(tx: Tx, caller: Caller, runtime: RuntimeId, *, prepared: Look) -> dict[str, Any]:
    """Begin to wake a runtime up. Raises ClusterNotFound, NotSupported, OperationRunning."""
    return await _begun(tx, caller, runtime, WAKE, "wakeRuntime", prepared)


async def _begun(tx: Tx, caller: Caller, runtime: RuntimeId, kind: Kind, mutation: str, looked: Look) -> dict[str, Any]:
    tenant = tenant_of(caller)
    await cluster.hold(tx, tenant, runtime)
    if not looked.can_sleep:
        raise NotSupported(mutation=mutation, why="the driver's runtimes cannot sleep")
    operation = await cluster.operate(tx, kind, tenant, runtime)  # before: what is being made is not asked about sleep
    why = status.why_awake(looked.seen)
    if kind is HIBERNATE and why is not None:
        raise HibernationImpossible(why=why)
    return await status.of_operation(tx, tenant, operation)
