"""What must hold between operations: what was made keeps running, what nobody knows is removed.

Every round looks at the infrastructures first and at the database afterwards. A cluster's row is committed before
anything of it is made and deleted after all of it is gone, so what is seen there and not known here is nobody's (I7).
"""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from compass.connector.authority import Authority
from compass.errors import CompassError
from compass.ids import RuntimeId, TenantId
from compass.operations.operation import Done, Kind, Operation, OperationInProgress, Outcome, start, step
from compass.postgres.pool import AWAY, Database, Tx
from compass.provisioner.agent import exchange_certificate
from compass.provisioner.deprovision import remove_abandoned
from compass.provisioner.infrastructure import Drivers, Infrastructure

log = logging.getLogger(__name__)

ROUND_EVERY: Final = timedelta(seconds=2)
"""A process that died is missing for this long at most, and the look costs a few milliseconds."""

IDENTITY = """
-- provisioner.identity
INSERT INTO provisioner DEFAULT VALUES
-- An update that changes nothing: it sees the row of another replica that was faster.
ON CONFLICT (one) DO UPDATE SET one = true
RETURNING id
"""
KNOWN = """
-- cluster.known
SELECT runtime_id FROM cluster WHERE provider = %(provider)s AND runtime_id = ANY(%(runtimes)s::uuid[])
"""
DUE = """
-- cluster.certificate_due
SELECT runtime_id, tenant_id FROM cluster
-- Also when another authority signs now: nothing may hang on the former when that is retired.
WHERE (
      certificate_renew_at < clock_timestamp()
      OR certificate_renew_at IS NOT NULL AND certificate_signed_by IS DISTINCT FROM (
          SELECT serial FROM authority WHERE kind = 'issuing' AND state = 'active'
      )
  )
  AND NOT EXISTS (
      SELECT 1 FROM operation WHERE operation.subject = cluster.runtime_id AND operation.finished_at IS NULL
  )
"""


async def identity(tx: Tx) -> str:
    """The name this plane writes on what it makes; the same for all its replicas, for ever."""
    return str(await tx.value(IDENTITY))


@step("RenewCertificate", timeout=timedelta(minutes=5))
async def renew_certificate(op: Operation, database: Database, drivers: Drivers, authority: Authority) -> Outcome:
    """Exchange the certificate of the event endpoint, long before it ends."""
    return await exchange_certificate(op, database, drivers, authority) or Done()


RENEWAL: Final = Kind("renewal", (renew_certificate,))


class Supervision:
    """Rounds over all drivers of this process. Run it as a task of the plane."""

    def __init__(self, database: Database, drivers: Drivers, *, every: timedelta = ROUND_EVERY) -> None:
        self._database = database
        self._drivers = drivers
        self._every = every

    async def run(self) -> None:
        """Round after round until cancelled, the first at once. What goes wrong in one is tried in the next."""
        while True:
            try:
                await self.once()
            except AWAY as error:
                log.warning("a round over the clusters was broken off: %s: %s", type(error).__name__, error)
            except Exception:
                log.exception("a round over the clusters was broken off")
            await asyncio.sleep(self._every.total_seconds())

    async def once(self) -> None:
        """One round."""
        for provider, driver in self._drivers.by_provider.items():
            await self._over(provider, driver)
        await self._database.run(remove_abandoned)
        await self._database.run(_begin_renewals)

    async def _over(self, provider: str, driver: Infrastructure) -> None:
        there = await driver.existing()
        if not there:
            return
        known = await self._database.run(lambda tx: _known(tx, provider, there))
        for runtime in there:
            try:
                if runtime in known:
                    await driver.keep(runtime)
                else:
                    log.warning("the cluster of runtime %s belongs to nobody and is removed", runtime)
                    await driver.delete(runtime)
            except (CompassError, OSError) as error:
                log.warning("the cluster of runtime %s: %s", runtime, error)


async def _known(tx: Tx, provider: str, runtimes: set[RuntimeId]) -> set[RuntimeId]:
    return {RuntimeId(row["runtime_id"]) for row in await tx.rows(KNOWN, provider=provider, runtimes=list(runtimes))}


async def _begin_renewals(tx: Tx) -> None:
    for row in await tx.rows(DUE):
        try:
            await start(tx, RENEWAL, row["runtime_id"], tenant=TenantId(row["tenant_id"]))
        except OperationInProgress:
            continue  # whatever it is, the next round looks again
