"""Webhooks: where applications and runtimes want to be told of changes, and in what form.

A webhook belongs to one application, runtime, template of applications or template of groups. With a plain `url` it
gets CloudEvents; with templates, whatever they make of the data. Every call is signed with the webhook's own secret
(Standard Webhooks), which whoever may change the webhook can read. Source: contract/director.md §16; the secret is
ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import NotOwner, Reach, application_refusal, runtime_refusal
from compass.commands import command
from compass.delivery.enqueue import hurry
from compass.delivery.signature import new_secret
from compass.director import auth, webhook_template
from compass.director.auth import NewAuth
from compass.errors import CompassError, InvalidData, NotFound
from compass.ids import TenantId, WebhookId, new_id
from compass.inputs import Length, Matches, input_from, web_address
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import Filling, Hole, One, Page, Query, Read, timestamp
from compass.settings import LandscapeSettings
from compass.vault import Vault

CONFIGURATION_CHANGED: Final = "CONFIGURATION_CHANGED"
FORMATION_LIFECYCLE: Final = "FORMATION_LIFECYCLE"
_TOLD_OF_GROUPS: Final = frozenset({CONFIGURATION_CHANGED, "APPLICATION_TENANT_MAPPING", FORMATION_LIFECYCLE})
_ASYNCHRONOUS_BY_NATURE: Final = frozenset({"REGISTER_APPLICATION", "UNREGISTER_APPLICATION"})
_HEADER_NAME: Final = Matches(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_LONGEST_TEMPLATE: Final = Length(0, 65536)
# Whoever listens to a template decides about the groups of everybody who uses it: more than a program that has
# webhooks of its own may do.
_CHANGES_FORMATION_TEMPLATES: Final = "formation_template:write"
# Likewise of who listens to a template of applications: it is told of what all tenants make from it.
_CHANGES_APPLICATION_TEMPLATES: Final = "application_template:write"
_EVERYBODY: Final = "everybody"
_NO_GROUPS: Final = "-"

# Inputs


def _not_negative(value: int, /) -> str | None:
    return None if value >= 0 else "must be no less than 0"


@dataclass(frozen=True)
class NewWebhook:
    """Where to call, how, and how to sign in there."""

    type: str
    url: Annotated[str | None, Length(0, 256), web_address] = None
    auth: NewAuth | None = None
    mode: str | None = None
    version: str | None = None
    correlation_id_key: Annotated[str | None, _HEADER_NAME] = None
    retry_interval: Annotated[int | None, _not_negative] = None
    timeout: Annotated[int | None, _not_negative] = None
    url_template: Annotated[str | None, _LONGEST_TEMPLATE] = None
    input_template: Annotated[str | None, _LONGEST_TEMPLATE] = None
    header_template: Annotated[str | None, _LONGEST_TEMPLATE] = None
    output_template: Annotated[str | None, _LONGEST_TEMPLATE] = None
    status_template: Annotated[str | None, _LONGEST_TEMPLATE] = None

    def problems(self) -> dict[str, str]:
        """Rules between the fields; templates are tried out."""
        reason = self._problem()
        return {} if reason is None else {"reason": reason}

    def _problem(self) -> str | None:
        match (self.type in _TOLD_OF_GROUPS, self.mode):
            case (True, "ASYNC"):
                return f"unsupported webhook mode ASYNC for type: {self.type}"
            case (False, "ASYNC_CALLBACK"):
                return f"unsupported webhook mode ASYNC_CALLBACK for type: {self.type}"
            case (_, "ASYNC") if self.status_template is None:
                return "missing webhook status template"
        if self.url is None and self.url_template is None:
            return "missing webhook url"
        if self.url is not None and self.url_template is not None:
            return "cannot provide both webhook url and url template"
        if self.type in _ASYNCHRONOUS_BY_NATURE and self.output_template is None:
            return f"outputTemplate is required for type: {self.type}"
        return webhook_template.try_out(
            self.type,
            url_template=self.url_template,
            input_template=self.input_template,
            header_template=self.header_template,
            output_template=self.output_template,
            status_template=self.status_template,
        )

    def columns(self) -> dict[str, Any]:
        """The fields that are stored as they are."""
        return {name: value for name, value in vars(self).items() if name not in ("auth", "version")}


def stood_for(given: Sequence[NewWebhook], landscape: LandscapeSettings) -> list[NewWebhook]:
    """The webhooks with those that a `version` stands for in place of each that has one.

    They are called at its URL and signed in at as it says. Raises InvalidData, also when there are none for a version.
    """
    found: list[NewWebhook] = []
    for one in given:
        if one.version is None:
            found.append(one)
            continue
        if one.url is None or one.mode is None:
            raise InvalidData(reason="a webhook with a version needs a url and a mode")
        mapped = landscape.mapped_webhooks(one.mode, one.version)
        if mapped is None:
            raise InvalidData(
                reason=f"there are no tenant mapping webhooks of mode {one.mode} and version {one.version}"
            )
        for entry in mapped:
            where = "urlTemplate" if "urlTemplate" in entry else "url"
            told = {"mode": one.mode, **entry, where: entry.get(where, "%s").replace("%s", one.url)}
            new: NewWebhook = input_from(NewWebhook, "WebhookInput", told)
            found.append(replace(new, auth=one.auth))
    return found


# Events


@dataclass(frozen=True)
class WebhooksChanged(Event):
    """A webhook was added, changed or removed."""

    webhook: WebhookId


# How it is read


def _own_secret(filling: Filling, payload: str) -> str | None:
    webhook, owner, group_template_of, sealed = payload.split(" ")
    # An application sees the other applications of its tenant, and must not be able to sign as the plane to them.
    if itself.only(filling.caller) not in (None, owner):
        return None
    # Whoever uses a template of groups sees it; signing to those who listen is for who may change it.
    if group_template_of != _NO_GROUPS and (
        _CHANGES_FORMATION_TEMPLATES not in filling.caller.scopes
        or group_template_of not in (_EVERYBODY, filling.caller.tenant)
    ):
        return None
    return signing_secret(filling.parts[Vault], webhook, sealed)


def signing_secret(vault: Vault, webhook: str, sealed: str) -> str:
    """The secret that signs a webhook's calls. Raises SealBroken."""
    return vault.open(f"webhook-signing/{webhook}", sealed).decode()


_RECENT: Final = (
    "(SELECT delivery.id, delivery.state, delivery.sequence FROM delivery WHERE delivery.receiver = {t}.id "
    "AND delivery.tenant_id = {tenant} ORDER BY delivery.sequence DESC LIMIT 100) AS recent"
)


def _in(state: str) -> str:
    return f"count(*) FILTER (WHERE recent.state = '{state}')"


WEBHOOK_HEALTH = Read(
    "WebhookHealth",
    table="delivery",
    fields={
        "delivered": "delivered",
        "dead": "dead",
        "pending": "pending",
        "recent": "recent",
        "lastAttemptAt": timestamp("started_at"),
        "lastStatus": "status",
        "lastError": "error",
    },
)
_HEALTH: Final = f"""(
    SELECT counted.*, attempt.started_at, attempt.status, attempt.error
    FROM (
        SELECT {_in("DELIVERED")} AS delivered, {_in("DEAD")} AS dead, {_in("PENDING")} AS pending,
            coalesce(json_agg(recent.state ORDER BY recent.sequence), '[]') AS recent, array_agg(recent.id) AS ids
        FROM {_RECENT}
    ) AS counted
    LEFT JOIN LATERAL (
        SELECT * FROM delivery_attempt
        WHERE delivery_id = ANY (counted.ids) ORDER BY started_at DESC, number DESC LIMIT 1
    ) AS attempt ON true
) {{c}}"""
WEBHOOK = Read(
    "Webhook",
    table="webhook",
    fields={
        "id": "id",
        "applicationID": "application_id",
        "applicationTemplateID": "application_template_id",
        "runtimeID": "runtime_id",
        "integrationSystemID": "integration_system_id",
        "formationTemplateID": "formation_template_id",
        "type": "type",
        "mode": "mode",
        "correlationIdKey": "correlation_id_key",
        "retryInterval": "retry_interval",
        "timeout": "timeout",
        "url": "url",
        "auth": auth.shown("webhook", "auth_sealed"),
        "urlTemplate": "url_template",
        "inputTemplate": "input_template",
        "headerTemplate": "header_template",
        "outputTemplate": "output_template",
        "statusTemplate": "status_template",
        "createdAt": timestamp("created_at"),
        "pausedSince": timestamp("paused_at"),
        "ownerName": (
            "coalesce((SELECT owner.name FROM application owner WHERE owner.id = {t}.application_id), "
            "(SELECT owner.name FROM runtime owner WHERE owner.id = {t}.runtime_id))"
        ),
        "signingSecret": Hole(
            "{t}.id || ' ' || coalesce({t}.application_id, {t}.runtime_id, {t}.id) || ' ' || "
            f"coalesce((SELECT coalesce(groups.tenant_id::text, '{_EVERYBODY}') FROM formation_template groups"
            f" WHERE groups.id = {{t}}.formation_template_id), '{_NO_GROUPS}') || ' ' || {{t}}.signing_secret_sealed",
            _own_secret,
        ),
        "health": One("WebhookHealth", on="true", source=_HEALTH),
    },
    sanitized={"auth": "webhooks.auth:read", "signingSecret": "webhook:write"},
)
READS = (WEBHOOK, WEBHOOK_HEALTH)


def _number(owner: str) -> str:
    """How many there are of applications or runtimes.

    They are joined, where the page looks each one up until it is full. Conditions are cases: of an OR the planner would
    expect few rows, and look all of them up.
    """

    def narrowed(column: str, wanted: str) -> str:
        return f"CASE WHEN {wanted} IS NULL THEN true ELSE hook.{column} = {wanted} END"

    return (
        f"(SELECT count(*) FROM webhook hook JOIN {owner}_tenant access ON access.{owner}_id = hook.{owner}_id "
        f"AND access.tenant_id = {{tenant}} WHERE {narrowed('id', '{arg:id}::uuid')} "
        f"AND {narrowed(f'{owner}_id', '{arg:ownerID}::uuid')} AND {narrowed(f'{owner}_id', '{itself}')})"
    )


QUERIES = (
    Query(
        "webhooks",
        # The rarer of the two that it takes elsewhere: who may see those of runtimes may see those of applications, or
        # is a runtime and sees its own.
        scope="runtime.webhooks:read",
        read=Page(
            "Webhook",
            on=(
                "({arg:id}::uuid IS NULL OR {c}.id = {arg:id}::uuid) "
                "AND ({arg:ownerID}::uuid IS NULL OR {arg:ownerID}::uuid IN ({c}.application_id, {c}.runtime_id)) "
                "AND ({itself} IS NULL OR {itself} IN ({c}.application_id, {c}.runtime_id)) "
                # As values, not with EXISTS: of that the planner would read all of a tenant's access first.
                "AND coalesce((SELECT access.tenant_id FROM application_tenant access "
                "WHERE access.tenant_id = {tenant} AND access.application_id = {c}.application_id), "
                "(SELECT access.tenant_id FROM runtime_tenant access "
                "WHERE access.tenant_id = {tenant} AND access.runtime_id = {c}.runtime_id)) IS NOT NULL"
            ),
            order="{c}.created_at DESC, {c}.id",
            count=f"({_number('application')} + {_number('runtime')})",
        ),
    ),
)

# Commands

_COLUMNS: Final = """
    type, mode, correlation_id_key, retry_interval, timeout, url, url_template, input_template, header_template,
    output_template, status_template, auth_sealed
"""
_GIVEN: Final = """
    jsonb_to_recordset(%(webhooks)s) AS given (
        id uuid, type text, mode text, correlation_id_key text, retry_interval integer, timeout integer, url text,
        url_template text, input_template text, header_template text, output_template text, status_template text,
        auth_sealed text, signing_secret_sealed text
    )
"""
ADD_TO_APPLICATION = f"""
-- webhook.add_to_application
INSERT INTO webhook (application_id, id, signing_secret_sealed, {_COLUMNS})
SELECT access.application_id, given.id, given.signing_secret_sealed, {_COLUMNS}
FROM application_tenant access, {_GIVEN}
WHERE access.application_id = %(owner)s AND access.tenant_id = %(tenant)s AND access.owner
"""
ADD_TO_RUNTIME = f"""
-- webhook.add_to_runtime
INSERT INTO webhook (runtime_id, id, signing_secret_sealed, {_COLUMNS})
SELECT access.runtime_id, given.id, given.signing_secret_sealed, {_COLUMNS}
FROM runtime_tenant access, {_GIVEN}
WHERE access.runtime_id = %(owner)s AND access.tenant_id = %(tenant)s AND access.owner
"""
# Templates belong to no tenant; programs that speak for themselves never get here for one.
ADD_TO_APPLICATION_TEMPLATE = f"""
-- webhook.add_to_application_template
INSERT INTO webhook (application_template_id, id, signing_secret_sealed, {_COLUMNS})
SELECT template.id, given.id, given.signing_secret_sealed, {_COLUMNS}
FROM application_template template, {_GIVEN}
WHERE template.id = %(owner)s
"""
ADD_TO_FORMATION_TEMPLATE = f"""
-- webhook.add_to_formation_template
INSERT INTO webhook (formation_template_id, id, signing_secret_sealed, {_COLUMNS})
SELECT template.id, given.id, given.signing_secret_sealed, {_COLUMNS}
FROM formation_template template, {_GIVEN}
WHERE template.id = %(owner)s AND (template.tenant_id IS NULL OR template.tenant_id = %(tenant)s)
"""
SEES_FORMATION_TEMPLATE = """
-- webhook.sees_formation_template
SELECT EXISTS (
    SELECT FROM formation_template
    WHERE id = %(owner)s AND tenant_id IN (SELECT tenant_and_ancestors_v1(%(tenant)s::uuid))
)
"""
DELETE_OF_APPLICATION_TEMPLATE = """
-- webhook.delete_of_application_template
DELETE FROM webhook WHERE application_template_id = %(owner)s RETURNING id
"""
OWNER = """
-- webhook.owner
SELECT webhook.application_id, webhook.runtime_id, webhook.formation_template_id, webhook.application_template_id,
    webhook.application_template_id IS NOT NULL OR coalesce(
        application.owner, runtime.owner, formation.tenant_id IS NULL OR formation.tenant_id = %(tenant)s
    ) AS may_change
FROM webhook
LEFT JOIN application_tenant application
    ON application.application_id = webhook.application_id AND application.tenant_id = %(tenant)s
LEFT JOIN runtime_tenant runtime ON runtime.runtime_id = webhook.runtime_id AND runtime.tenant_id = %(tenant)s
LEFT JOIN formation_template formation ON formation.id = webhook.formation_template_id
    AND (formation.tenant_id IS NULL OR formation.tenant_id IN (SELECT tenant_and_ancestors_v1(%(tenant)s::uuid)))
WHERE webhook.id = %(webhook)s
    AND (
        application.tenant_id IS NOT NULL OR runtime.tenant_id IS NOT NULL
        OR webhook.application_template_id IS NOT NULL OR formation.id IS NOT NULL
    )
    AND (%(itself)s::uuid IS NULL OR %(itself)s IN (webhook.application_id, webhook.runtime_id))
FOR UPDATE OF webhook
"""
UPDATE = """
-- webhook.update
UPDATE webhook SET
    type = %(type)s, mode = %(mode)s, correlation_id_key = %(correlation_id_key)s, retry_interval = %(retry_interval)s,
    timeout = %(timeout)s, url = %(url)s, url_template = %(url_template)s, input_template = %(input_template)s,
    header_template = %(header_template)s, output_template = %(output_template)s, status_template = %(status_template)s,
    auth_sealed = %(auth_sealed)s
WHERE id = %(webhook)s
"""
DELETE = """
-- webhook.delete
DELETE FROM webhook WHERE id = %(webhook)s
"""


@command("addWebhook", scope="webhook:write", reach=Reach.ABOVE)
async def add(
    tx: Tx,
    caller: Caller,
    application: str | None,
    application_template: str | None,
    runtime: str | None,
    formation_template: str | None,
    new: NewWebhook,
    *,
    vault: Vault,
) -> WebhookId:
    """Add a webhook to an application, a runtime or a template of either kind, with a signing secret of its own.

    An application and a runtime add to themselves only; adding to a template needs the scope to change it, too.
    Raises InvalidData (not one owner, no such owner), Unauthorized, InsufficientScopes. Emits WebhooksChanged.
    """
    owners = [owner for owner in (application, application_template, runtime, formation_template) if owner is not None]
    if len(owners) != 1:
        raise InvalidData(
            reason="exactly one of applicationID, applicationTemplateID, runtimeID or formationTemplateID "
            "should be specified"
        )
    # To an application or a runtime, everybody but itself is as absent as somebody of another tenant.
    if itself.only(caller) not in (None, owners[0].lower()):
        raise _no_owner(NotFound())
    if application_template is not None:
        caller.require(_CHANGES_APPLICATION_TEMPLATES)
        added = await add_to_application_template(tx, vault, application_template, (new,))
        await append(tx, WebhooksChanged(caller.tenant, added[0]))
        return added[0]
    if formation_template is not None:
        caller.require(_CHANGES_FORMATION_TEMPLATES)
        tenant_if_any = caller.in_tenant() if caller.external_tenant else caller.tenant
        added = await add_to_formation_template(tx, vault, tenant_if_any, formation_template, (new,))
        await append(tx, WebhooksChanged(tenant_if_any, added[0]))
        return added[0]
    tenant = caller.in_tenant()
    if application is not None:
        added = await add_to_application(tx, vault, tenant, application, (new,))
    else:
        added = await add_to_runtime(tx, vault, tenant, owners[0], (new,))
    await append(tx, WebhooksChanged(tenant, added[0]))
    return added[0]


async def add_to_application(
    tx: Tx, vault: Vault, tenant: TenantId, application: str, new: Sequence[NewWebhook]
) -> list[WebhookId]:
    """Add webhooks to an application. One statement. Raises InvalidData (no such application), Unauthorized."""
    ids, rows = _rows(vault, new)
    if not await tx.run(ADD_TO_APPLICATION, owner=application, tenant=tenant, webhooks=rows):
        raise _no_owner(await application_refusal(tx, tenant, application))
    return ids


async def add_to_runtime(
    tx: Tx, vault: Vault, tenant: TenantId, runtime: str, new: Sequence[NewWebhook]
) -> list[WebhookId]:
    """Add webhooks to a runtime. One statement. Raises InvalidData (no such runtime), Unauthorized."""
    ids, rows = _rows(vault, new)
    if not await tx.run(ADD_TO_RUNTIME, owner=runtime, tenant=tenant, webhooks=rows):
        raise _no_owner(await runtime_refusal(tx, tenant, runtime))
    return ids


async def add_to_application_template(
    tx: Tx, vault: Vault, template: str, new: Sequence[NewWebhook]
) -> list[WebhookId]:
    """Add webhooks to a template of applications. One statement. Raises InvalidData (no such template)."""
    ids, rows = _rows(vault, new)
    if not await tx.run(ADD_TO_APPLICATION_TEMPLATE, owner=template, webhooks=rows):
        raise _no_owner(NotFound())
    return ids


async def add_to_formation_template(
    tx: Tx, vault: Vault, tenant: TenantId | None, template: str, new: Sequence[NewWebhook]
) -> list[WebhookId]:
    """Add webhooks to a template of groups, one for everybody or the tenant's own. One statement.

    Raises InvalidData (no such template), Unauthorized (an ancestor's).
    """
    ids, rows = _rows(vault, new)
    if not await tx.run(ADD_TO_FORMATION_TEMPLATE, owner=template, tenant=tenant, webhooks=rows):
        sees = await tx.value(SEES_FORMATION_TEMPLATE, owner=template, tenant=tenant)
        raise _no_owner(NotOwner() if sees else NotFound())
    return ids


async def replace_of_application_template(tx: Tx, vault: Vault, template: str, new: Sequence[NewWebhook]) -> None:
    """Give a template other webhooks, or none; what the former were still to be told is cancelled."""
    removed = [WebhookId(row["id"]) for row in await tx.rows(DELETE_OF_APPLICATION_TEMPLATE, owner=template)]
    if removed:
        await hurry(tx, removed)
    if new:
        await add_to_application_template(tx, vault, template, new)


@command("updateWebhook", scope="webhook:write", reach=Reach.ABOVE)
async def update(tx: Tx, caller: Caller, webhook: WebhookId, changes: NewWebhook, *, vault: Vault) -> WebhookId:
    """Replace everything but the owner and the signing secret; what waits for a plain URL goes to the new one at once.

    Raises NotFound, Unauthorized. Emits WebhooksChanged.
    """
    await lock(tx, caller, webhook)
    await tx.run(UPDATE, webhook=webhook, auth_sealed=_sealed(vault, webhook, changes), **changes.columns())
    await hurry(tx, [webhook])
    await append(tx, WebhooksChanged(caller.tenant, webhook))
    return webhook


@command("deleteWebhook", scope="webhook:write", reach=Reach.ABOVE, reply_before=True)
async def delete(tx: Tx, caller: Caller, webhook: WebhookId) -> None:
    """Remove a webhook; what it was still to be told is cancelled.

    Raises NotFound, Unauthorized. Emits WebhooksChanged.
    """
    await lock(tx, caller, webhook)
    await tx.run(DELETE, webhook=webhook)
    await hurry(tx, [webhook])
    await append(tx, WebhooksChanged(caller.tenant, webhook))


def _rows(vault: Vault, new: Sequence[NewWebhook]) -> tuple[list[WebhookId], list[dict[str, Any]]]:
    ids = [WebhookId(new_id()) for _ in new]
    rows = [
        {
            **entry.columns(),
            "id": webhook,
            "auth_sealed": _sealed(vault, webhook, entry),
            "signing_secret_sealed": vault.seal(f"webhook-signing/{webhook}", new_secret().encode()),
        }
        for webhook, entry in zip(ids, new, strict=True)
    ]
    return ids, rows


def _no_owner(refusal: CompassError) -> CompassError:
    if isinstance(refusal, NotFound):
        return InvalidData(reason="cannot add Webhook due to not existing reference entity")
    return refusal


async def lock(tx: Tx, caller: Caller, webhook: WebhookId) -> None:
    """Hold a webhook that the caller may change. Raises NotFound, Unauthorized, InsufficientScopes."""
    row = await tx.row(OWNER, webhook=webhook, tenant=caller.tenant, itself=itself.only(caller))
    if row is None:
        caller.in_tenant()  # only what belongs to no tenant is found without one
        raise NotFound(object="webhook")
    if row["formation_template_id"] is not None:
        caller.require(_CHANGES_FORMATION_TEMPLATES)
        if not row["may_change"]:
            raise NotOwner()
    elif row["application_template_id"] is not None:
        caller.require(_CHANGES_APPLICATION_TEMPLATES)
    elif not row["may_change"]:
        tenant = caller.in_tenant()
        if row["application_id"] is not None:
            raise await application_refusal(tx, tenant, row["application_id"])
        raise await runtime_refusal(tx, tenant, row["runtime_id"])


def _sealed(vault: Vault, webhook: str, given: NewWebhook) -> str | None:
    return None if given.auth is None else given.auth.sealed(vault, f"webhook/{webhook}")
