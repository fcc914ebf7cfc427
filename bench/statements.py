# ruff: noqa: E501
# Tables of data, and statements: wrapping them hides their shape.
"""The same answers by hand: the best statement for each of three queries that we can write.

Nothing general: every field is where it is asked for, totals come with the rows, and what needs no subquery has none.
"""

LEAN = """
query ($first: Int!) {
  applications(first: $first) {
    data {
      id name systemNumber localTenantID baseUrl providerName description integrationSystemID applicationTemplateID
      healthCheckURL applicationNamespace createdAt updatedAt deletedAt systemStatus error labels
      status { condition timestamp }
    }
  }
}
"""
LEAN_SQL = """
-- bench.lean
SELECT json_build_object('applications', json_build_object('data', coalesce(json_agg(json_build_object(
    'id', a.id, 'name', a.name, 'systemNumber', a.system_number, 'localTenantID', a.local_tenant_id, 'baseUrl', a.base_url,
    'providerName', a.provider_name, 'description', a.description, 'integrationSystemID', a.integration_system_id,
    'applicationTemplateID', a.application_template_id, 'healthCheckURL', a.health_check_url,
    'applicationNamespace', a.application_namespace,
    'createdAt', to_char(a.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    'updatedAt', to_char(a.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    'deletedAt', to_char(a.deleted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    'systemStatus', a.system_status, 'error', a.error,
    'labels', (SELECT coalesce(json_object_agg(l.key, l.value), '{}') FROM application_label l WHERE l.application_id = a.id),
    'status', json_build_object(
        'condition', a.status_condition,
        'timestamp', to_char(a.status_timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
)), '[]')))
FROM (
    SELECT a.* FROM application_tenant s JOIN application a ON a.id = s.application_id
    WHERE s.tenant_id = $1::uuid ORDER BY s.application_id LIMIT $2::bigint
) a
"""

_NESTED = "data { %s } pageInfo { startCursor endCursor hasNextPage } totalCount"
_API = "id name description targetURL group version { value deprecated } created_at spec { id data format type }"
_EVENT = "id name description group version { value deprecated } createdAt spec { id data format type }"
_DOCUMENT = "id title displayName description format kind data createdAt"
_BUNDLE = (
    "id name description createdAt "
    f"apiDefinitions(first: 100) {{ {_NESTED % _API} }} "
    f"eventDefinitions(first: 100) {{ {_NESTED % _EVENT} }} "
    f"documents(first: 100) {{ {_NESTED % _DOCUMENT} }}"
)
_APPLICATION = (
    "id name providerName description healthCheckURL baseUrl labels status { condition timestamp } createdAt "
    "webhooks { id type mode url inputTemplate createdAt } "
    f"bundles(first: 100) {{ {_NESTED % _BUNDLE} }}"
)
FULL = f"query ($first: Int!) {{ applications(first: $first) {{ {_NESTED % _APPLICATION} }} }}"


def _page(row: str, rows: str) -> str:
    """A nested page; `rows` gives each row's `place` and the `total`. The totals are small here: counted in one pass."""
    return f"""(
        SELECT json_build_object(
            'data', coalesce(json_agg({row}) FILTER (WHERE place <= 100), '[]'),
            'pageInfo', json_build_object(
                'startCursor', '',
                'endCursor', CASE WHEN count(*) > 100 THEN 'RHBLdEo0ajlqRHExMDA=' ELSE '' END,
                'hasNextPage', count(*) > 100),
            'totalCount', coalesce(max(total), 0)
        ) FROM ({rows} LIMIT 101) x)"""


_TIME = "to_char(x.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
_WINDOW = "row_number() OVER (ORDER BY {0}.id) AS place, count(*) OVER () AS total"
_VERSION = """CASE WHEN x.version_value IS NOT NULL THEN
    json_build_object('value', x.version_value, 'deprecated', x.version_deprecated) END"""
_SPEC = """CASE WHEN x.spec_id IS NOT NULL THEN
    json_build_object('id', x.spec_id, 'data', x.data, 'format', x.format, 'type', x.type) END"""
_APIS = _page(
    f"""json_build_object('id', x.id, 'name', x.name, 'description', x.description, 'targetURL', x.target_url,
        'group', x.api_group, 'version', {_VERSION}, 'created_at', {_TIME}, 'spec', {_SPEC})""",
    f"""SELECT d.*, s.id AS spec_id, s.data, s.format, s.type, {_WINDOW.format("d")}
        FROM api_definition d LEFT JOIN spec s ON s.api_definition_id = d.id WHERE d.bundle_id = b.id ORDER BY d.id""",
)
_EVENTS = _page(
    f"""json_build_object('id', x.id, 'name', x.name, 'description', x.description,
        'group', x.event_group, 'version', {_VERSION}, 'createdAt', {_TIME}, 'spec', {_SPEC})""",
    f"""SELECT d.*, s.id AS spec_id, s.data, s.format, s.type, {_WINDOW.format("d")}
        FROM event_definition d LEFT JOIN spec s ON s.event_definition_id = d.id WHERE d.bundle_id = b.id ORDER BY d.id""",
)
_DOCUMENTS = _page(
    f"""json_build_object('id', x.id, 'title', x.title, 'displayName', x.display_name, 'description', x.description,
        'format', x.format, 'kind', x.kind, 'data', x.data, 'createdAt', {_TIME})""",
    f"SELECT d.*, {_WINDOW.format('d')} FROM document d WHERE d.bundle_id = b.id ORDER BY d.id",
)
_BUNDLES = _page(
    f"""json_build_object('id', b.id, 'name', b.name, 'description', b.description,
        'createdAt', {_TIME.replace("x.", "b.")}, 'apiDefinitions', {_APIS}, 'eventDefinitions', {_EVENTS},
        'documents', {_DOCUMENTS})""",
    f"SELECT k.*, {_WINDOW.format('k')} FROM bundle k WHERE k.application_id = a.id ORDER BY k.id",
).removesuffix(" x)") + " b)"  # fmt: skip
FULL_SQL = f"""
-- bench.full
SELECT json_build_object('applications', (
    SELECT json_build_object(
        'data', coalesce(json_agg(json_build_object(
            'id', a.id, 'name', a.name, 'providerName', a.provider_name, 'description', a.description,
            'healthCheckURL', a.health_check_url, 'baseUrl', a.base_url,
            'labels', (SELECT coalesce(json_object_agg(l.key, l.value), '{{}}') FROM application_label l WHERE l.application_id = a.id),
            'status', json_build_object(
                'condition', a.status_condition, 'timestamp', {_TIME.replace("x.created_at", "a.status_timestamp")}),
            'createdAt', {_TIME.replace("x.", "a.")},
            'webhooks', (SELECT coalesce(json_agg(json_build_object(
                    'id', w.id, 'type', w.type, 'mode', w.mode, 'url', w.url, 'inputTemplate', w.input_template,
                    'createdAt', {_TIME.replace("x.", "w.")}) ORDER BY w.created_at, w.id), '[]')
                FROM webhook w WHERE w.application_id = a.id),
            'bundles', {_BUNDLES}
        )) FILTER (WHERE a.place <= $2::bigint), '[]'),
        'pageInfo', json_build_object(
            'startCursor', '', 'endCursor', CASE WHEN count(*) > $2::bigint THEN $3::text ELSE '' END,
            'hasNextPage', count(*) > $2::bigint),
        'totalCount', (SELECT coalesce(sum(amount), 0)::bigint FROM tenant_count
            WHERE tenant_id = $1::uuid AND kind = 'application_tenant'))
    FROM (
        SELECT a.*, row_number() OVER (ORDER BY s.application_id) AS place
        FROM application_tenant s JOIN application a ON a.id = s.application_id
        WHERE s.tenant_id = $1::uuid ORDER BY s.application_id LIMIT $2::bigint + 1
    ) a
))
"""
