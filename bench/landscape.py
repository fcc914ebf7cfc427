# ruff: noqa: E501
# Tables of data, and statements: wrapping them hides their shape.
"""A large landscape, made by set-based SQL in seconds: rows as the commands would have written them.

Ids are digests of what a row is, `id_of("application", 3, 17)`, so that nobody has to look them up.
"""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Final

from compass.ids import RuntimeId, TenantId
from compass.postgres.pool import Database


@dataclass(frozen=True)
class Size:
    """How much there is of everything."""

    tenants: int = 20
    applications: int = 500
    """Per tenant."""
    bundles: int = 2
    """Per application."""
    apis: int = 5
    """Per bundle; half a kilobyte of specification each."""
    groups: tuple[int, ...] = (5, 50)
    """Applications per group, each with one runtime, in every tenant."""
    large_groups: tuple[int, ...] = (200,)
    """The same in the first tenant only."""


def id_of(kind: str, *numbers: int) -> str:
    """The id of a row."""
    text = " ".join([kind, *map(str, numbers)])
    return str(uuid.UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()))


def tenant_id(number: int) -> TenantId:
    """The id of a tenant, counted from 1."""
    return TenantId(id_of("tenant", number))


def runtime_of_group(tenant: int, group: int) -> RuntimeId:
    """The runtime in a tenant's group of so many applications."""
    return RuntimeId(id_of("runtime", tenant, group))


_STEPS: Final = (
    """
    -- bench.tenants
    INSERT INTO tenant (id, external_id, name, type, provider)
    SELECT md5('tenant ' || t)::uuid, 'tenant-' || t, 'Tenant ' || t, 'account', 'bench'
    FROM generate_series(1, %(tenants)s::int) AS t
    """,
    """
    -- bench.applications
    INSERT INTO application (
        id, tenant_id, name, provider_name, description, health_check_url, base_url, system_number, status_condition
    )
    SELECT md5('application ' || t || ' ' || a)::uuid, md5('tenant ' || t)::uuid, 'Application ' || a, 'Provider ' || a %% 7,
        'What the application number ' || a || ' is for, in a sentence or two, as people write it.',
        'https://app-' || a || '.example.com/healthz', 'https://app-' || a || '.example.com', (1000 + a)::text, 'CONNECTED'
    FROM generate_series(1, %(tenants)s::int) AS t, generate_series(1, %(applications)s::int) AS a
    """,
    """
    -- bench.application_tenants
    INSERT INTO application_tenant (tenant_id, application_id, owner) SELECT tenant_id, id, true FROM application
    """,
    """
    -- bench.application_labels
    INSERT INTO application_label (application_id, key, value)
    SELECT application.id, label.key, label.value
    FROM application, LATERAL (VALUES
        ('managed', '"false"'::jsonb), ('name', to_jsonb(application.normalized_name)),
        ('department', to_jsonb('department-' || application.system_number::int %% 100))
    ) AS label(key, value)
    """,
    """
    -- bench.webhooks
    INSERT INTO webhook (application_id, type, mode, url, input_template, signing_secret_sealed)
    SELECT application.id, wanted.type, 'SYNC', application.base_url || '/hooks', '{}', 'sealed'
    FROM application, LATERAL (VALUES ('CONFIGURATION_CHANGED'), ('APPLICATION_TENANT_MAPPING')) AS wanted(type)
    WHERE %(apis)s::int > 0
    """,
    """
    -- bench.bundles
    INSERT INTO bundle (id, application_id, name, description)
    SELECT md5('bundle ' || application.id || ' ' || b)::uuid, application.id, 'Bundle ' || b, 'What belongs together'
    FROM application, generate_series(1, %(bundles)s::int) AS b
    """,
    """
    -- bench.apis
    INSERT INTO api_definition (id, application_id, bundle_id, name, description, target_url, api_group, version_value)
    SELECT md5('api ' || bundle.id || ' ' || n)::uuid, bundle.application_id, bundle.id, 'API ' || n,
        'Reads and writes the things of kind ' || n, 'https://api.example.com/v1/things-' || n, 'group-' || n %% 3, '1.0.' || n
    FROM bundle, generate_series(1, %(apis)s::int) AS n
    """,
    """
    -- bench.events
    INSERT INTO event_definition (id, application_id, bundle_id, name, description, version_value)
    SELECT md5('event ' || id)::uuid, application_id, id, 'Thing changed', 'Sent when a thing changed', '1.0.0'
    FROM bundle WHERE %(apis)s::int > 0
    """,
    """
    -- bench.documents
    INSERT INTO document (id, application_id, bundle_id, title, display_name, description, format, kind, data)
    SELECT md5('document ' || id)::uuid, application_id, id, 'Guide', 'The guide', 'How to use it', 'MARKDOWN', 'guide',
        repeat('A line of the guide, with "quotes" in it.' || chr(10), 5)
    FROM bundle WHERE %(apis)s::int > 0
    """,
    """
    -- bench.specs
    INSERT INTO spec (api_definition_id, type, format, data)
    SELECT id, 'OPEN_API', 'JSON',
        '{"openapi": "3.0.0", "info": {"title": "' || name || '", "version": "1"}, "paths": {' || repeat('"/things": {"get": {}}, ', 22) || '}}'
    FROM api_definition
    """,
    """
    -- bench.event_specs
    INSERT INTO spec (event_definition_id, type, format, data)
    SELECT id, 'ASYNC_API', 'YAML', repeat('asyncapi: 2.0.0' || chr(10), 30) FROM event_definition
    """,
    """
    -- bench.runtimes
    INSERT INTO runtime (id, tenant_id, name, description, status_condition)
    SELECT md5('runtime ' || t || ' ' || g)::uuid, md5('tenant ' || t)::uuid, 'runtime-' || g, 'Uses ' || g, 'CONNECTED'
    FROM generate_series(1, %(tenants)s::int) AS t, unnest(%(groups)s::int[]) AS g
    UNION ALL
    SELECT md5('runtime 1 ' || g)::uuid, md5('tenant 1')::uuid, 'runtime-' || g, 'Uses ' || g, 'CONNECTED'
    FROM unnest(%(large_groups)s::int[]) AS g
    """,
    """
    -- bench.runtime_tenants
    INSERT INTO runtime_tenant (tenant_id, runtime_id, owner) SELECT tenant_id, id, true FROM runtime
    """,
    """
    -- bench.runtime_labels
    INSERT INTO runtime_label (runtime_id, key, value)
    SELECT runtime.id, label.key, label.value
    FROM runtime, LATERAL (VALUES
        ('isNormalized', '"true"'::jsonb), ('runtime_eventServiceUrl', '"https://gateway.example.com"'::jsonb)
    ) AS label(key, value)
    """,
    """
    -- bench.formations
    INSERT INTO formation (id, tenant_id, formation_template_id, name, state)
    SELECT md5('formation ' || runtime.id)::uuid, runtime.tenant_id, (SELECT id FROM formation_template LIMIT 1), runtime.name, 'READY'
    FROM runtime
    """,
    """
    -- bench.formation_assignments
    WITH member AS (
        SELECT md5('formation ' || runtime.id)::uuid AS formation_id, runtime.id, 'RUNTIME' AS type FROM runtime
        UNION ALL
        SELECT md5('formation ' || runtime.id)::uuid, md5('application ' || t || ' ' || a)::uuid, 'APPLICATION'
        FROM generate_series(1, %(tenants)s::int) AS t
        JOIN runtime ON runtime.tenant_id = md5('tenant ' || t)::uuid,
        LATERAL generate_series(1, substring(runtime.name FROM 9)::int) AS a
    )
    INSERT INTO formation_assignment (formation_id, source, source_type, target, target_type, state)
    SELECT source.formation_id, source.id, source.type, target.id, target.type, 'READY'
    FROM member source JOIN member target ON target.formation_id = source.formation_id
    """,
    """
    -- bench.system_auths
    INSERT INTO system_auth (id, tenant_id, application_id, cert_common_name)
    SELECT md5('system_auth ' || id)::uuid, tenant_id, id, md5('system_auth ' || id)::uuid::text FROM application
    """,
    """
    -- bench.runtime_system_auths
    INSERT INTO system_auth (id, tenant_id, runtime_id, cert_common_name)
    SELECT md5('system_auth ' || id)::uuid, tenant_id, id, md5('system_auth ' || id)::uuid::text FROM runtime
    """,
    """
    -- bench.relayed_events
    INSERT INTO outbox_event (tenant_id, name, facts, relayed_at)
    SELECT tenant_id, 'ApplicationRegistered', jsonb_build_object('application', id), now() FROM application
    """,
)


async def seed(database: Database, size: Size) -> None:
    """Fill an empty, migrated database, and let the planner know what is in it."""
    parameters = {
        "tenants": size.tenants,
        "applications": size.applications,
        "bundles": size.bundles,
        "apis": size.apis,
        "groups": list(size.groups),
        "large_groups": list(size.large_groups),
    }
    async with database.transaction() as tx:
        await tx.run("-- bench.patience\nSET LOCAL statement_timeout = '10min'")
        for step in _STEPS:
            await tx.run(step.replace("%%", "%"), **parameters)
    async with database.transaction() as tx:
        await tx.run("-- bench.patience\nSET LOCAL statement_timeout = '10min'")
        await tx.run("-- bench.analyze\nANALYZE")
