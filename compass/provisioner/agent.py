"""How an operation has the agent in a cluster pair with the plane: the steps that provisioning and reconnecting share.

The one-time token is taken at the last moment, when there is somebody to read it, and another one when it was not used
in its time. That the agent is paired is read in the plane's own records, never in what the agent says.
"""

from datetime import timedelta
from typing import Final

from compass.connector import certificate, one_time_token, pairing
from compass.connector.authority import Authority
from compass.connector.one_time_token import Purpose
from compass.connector.urls import PublicUrls
from compass.ids import RuntimeId, SystemAuthId
from compass.operations.operation import Again, Done, Go, Operation, Outcome, StepFailed, step
from compass.postgres.pool import Database, Tx
from compass.provisioner import cluster
from compass.provisioner.cluster import Cluster
from compass.provisioner.infrastructure import (
    Absent,
    AgentConfiguration,
    Broken,
    Creating,
    Drivers,
    EndpointIdentity,
    Ready,
)
from compass.provisioner.refusals import INTERNAL_REASON, TIMEOUT_REASON
from compass.settings import Settings, TokenSettings

TOKEN_LIFE: Final = timedelta(minutes=5)
"""From injecting it. An agent that is there reads its configuration within seconds."""
TOKENS: Final = 3
"""How many are given to an agent that does not pair. Together a quarter of an hour. Source: contract §D.2."""

_COMPONENT: Final = "compass connection"

# What is known of the agent's pairing

PAIRING = """
-- cluster_agent.pairing
SELECT agent.system_auth_id, system_auth.cert_common_name <> '' AS paired,
    EXISTS (
        SELECT 1 FROM one_time_token token
        WHERE token.system_auth_id = system_auth.id AND token.replaced_at IS NULL
            AND token.expires_at > clock_timestamp()
    ) AS in_time
FROM cluster_agent agent JOIN system_auth ON system_auth.id = agent.system_auth_id
WHERE agent.operation_id = %(operation)s
"""
BEGIN = """
-- cluster_agent.begin
INSERT INTO cluster_agent (operation_id, runtime_id, system_auth_id)
VALUES (%(operation)s, %(runtime)s, %(system_auth)s)
"""
LOCK = """
-- cluster_agent.lock
SELECT 1 FROM cluster WHERE runtime_id = %(runtime)s FOR UPDATE
"""
END_FORMER = """
-- cluster_agent.end_former
DELETE FROM system_auth USING cluster_agent agent
WHERE system_auth.id = agent.system_auth_id AND agent.runtime_id = %(runtime)s AND agent.operation_id <> %(operation)s
"""
RENEW_AT = """
-- cluster.renew_at
UPDATE cluster SET certificate_renew_at = %(at)s, certificate_signed_by = %(signed_by)s WHERE runtime_id = %(runtime)s
"""


# Steps, the last of them first


@step("WaitForAgentToConnect", timeout=TOKEN_LIFE * (TOKENS + 1))
async def wait_for_agent(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Ask once whether the agent has called with its certificate; its former identity then ends."""
    runtime = RuntimeId(op.subject)

    async def look(tx: Tx) -> tuple[Cluster, bool, bool]:
        made = await cluster.at_work(tx, op)
        known = await tx.row(PAIRING, operation=op.id)
        if known is None:
            raise StepFailed(INTERNAL_REASON, "the identity of the agent was deleted", component=_COMPONENT)
        if known["paired"]:
            await tx.run(END_FORMER, operation=op.id, runtime=runtime)
        return made, known["paired"], known["in_time"]

    made, paired, in_time = await database.run(look)
    if paired:
        return Done()
    driver = drivers.of(made.provider)
    match await driver.observe(runtime):
        case Absent():
            raise StepFailed(INTERNAL_REASON, "the cluster is gone", component=made.provider)
        case Broken(why):
            raise StepFailed(INTERNAL_REASON, why, component=made.provider)
        case Ready(agent=agent) if agent is not None and agent.trouble == "token_refused":
            in_time = False
        case _:
            pass
    if in_time:
        return Again(driver.pace)
    if op.data.get("tokens", 0) >= TOKENS:
        raise StepFailed(TIMEOUT_REASON, f"the agent did not pair with any of {TOKENS} tokens", component=_COMPONENT)
    return Go(connect_agent)


@step("ConnectRuntimeAgent", timeout=timedelta(minutes=15))
async def connect_agent(
    op: Operation, database: Database, drivers: Drivers, authority: Authority, urls: PublicUrls, settings: Settings
) -> Outcome:
    """Give the agent its configuration with a new token. Repeated, only the last token is in force."""

    async def prepare(tx: Tx) -> tuple[Cluster, str | None]:
        # The lock: two workers, of which one lost its lease without knowing, must not make two identities.
        await tx.value(LOCK, runtime=op.subject)
        made = await cluster.at_work(tx, op)
        return made, await _token(tx, op, made, settings.tokens)

    made, token = await database.run(prepare)
    if token is not None:
        applications_ca = settings.provisioner.applications_ca_file
        configuration = AgentConfiguration(
            runtime=made.runtime,
            tenant=op.data["tenant"],
            name=op.data["name"],
            connector_url=urls.connector,
            token=token,
            sync_period=settings.provisioner.runtime_sync_period,
            plane_ca_pem=authority.roots_pem,
            applications_ca_pem=None if applications_ca is None else applications_ca.read_text(encoding="utf-8"),
        )
        await drivers.of(made.provider).connect(made.runtime, configuration)
    return Go(wait_for_agent, tokens=op.data.get("tokens", 0) + 1)


async def _token(tx: Tx, op: Operation, made: Cluster, settings: TokenSettings) -> str | None:
    """A token for the one identity of this operation; none when the agent has paired with it already."""
    life = min(settings.runtime_validity, TOKEN_LIFE)
    known = await tx.row(PAIRING, operation=op.id)
    if known is None:
        system_auth, token = await pairing.begin_for_runtime(tx, made.tenant, made.runtime, life=life, asked_with=None)
        await tx.run(BEGIN, operation=op.id, runtime=made.runtime, system_auth=system_auth)
        return token
    if known["paired"]:
        return None
    return await one_time_token.issue(tx, SystemAuthId(known["system_auth_id"]), purpose=Purpose.RUNTIME, life=life)


SYNC_PATIENCE: Final = timedelta(minutes=5)
"""For an agent that was started: it needs seconds. Source: ours; the original waits for an hour."""


async def wait_until_in_sync(op: Operation, database: Database, drivers: Drivers) -> Again | None:
    """None once the agent at work in the cluster has taken over what the plane has for it; else what to wait for."""
    made = await database.run(lambda tx: cluster.at_work(tx, op))
    driver = drivers.of(made.provider)
    why = "the cluster is not ready"
    match await driver.observe(made.runtime):
        case Ready(agent=agent) if agent is not None and agent.is_in_sync:
            return None
        case Ready(agent=agent):
            why = "it does not run" if agent is None else agent.error or f"it is {agent.state}"
        case Creating():
            pass
        case Absent():
            raise StepFailed(INTERNAL_REASON, "the cluster is gone", component=made.provider)
        case Broken(reason):
            raise StepFailed(INTERNAL_REASON, reason, component=made.provider)
    if op.in_step > SYNC_PATIENCE:
        raise StepFailed(TIMEOUT_REASON, f"the agent is not in sync: {why}", component=made.provider)
    return Again(driver.pace)


@step("IssueCertificate", timeout=timedelta(minutes=5))
async def issue_certificate(op: Operation, database: Database, drivers: Drivers, authority: Authority) -> Outcome:
    """Give the event endpoint its certificate. Repeated, it gets another one; the key is nowhere else."""
    again = await exchange_certificate(op, database, drivers, authority)
    return again or Go(connect_agent)


async def exchange_certificate(
    op: Operation, database: Database, drivers: Drivers, authority: Authority
) -> Again | None:
    """A new key and certificate for the event endpoint; what to wait for when the cluster cannot take it now."""
    made = await database.run(lambda tx: cluster.at_work(tx, op))
    driver = drivers.of(made.provider)
    match await driver.observe(made.runtime):
        case Ready(names=names):
            shown = await database.run(lambda tx: certificate.issue_server(tx, authority, names=names))
            await driver.identify(made.runtime, EndpointIdentity(shown.key_pem, shown.chain_pem))
            await database.run(
                lambda tx: tx.run(RENEW_AT, runtime=made.runtime, at=shown.renew_at, signed_by=shown.signed_by)
            )
            return None
        case Creating() | Absent():
            return Again(driver.pace)
        case Broken(why):
            raise StepFailed(INTERNAL_REASON, why, component=made.provider)
