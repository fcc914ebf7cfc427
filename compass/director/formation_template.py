"""Formation templates: what kinds of applications and runtimes a group may hold.

A template without a tenant serves every tenant; a tenant's own is seen by it and by the tenants below it. One template
is there from the beginning and admits everything. Source: contract/director.md §15.
"""

from dataclasses import dataclass
from typing import Any, Final

from compass.errors import NotFound
from compass.ids import FormationTemplateId, TenantId
from compass.postgres.pool import Tx
from compass.reads import labels
from compass.reads.plan import Many, One, Page, Query, Read, timestamp

DEFAULT: Final = "Side-by-Side Extensibility with Kyma"
"""The template of a group that names none."""
_ANY: Final = "ANY"

# How it is read

FORMATION_TEMPLATE = Read(
    "FormationTemplate",
    table="formation_template",
    fields={
        "id": "id",
        "name": "name",
        "applicationTypes": "application_types",
        "runtimeTypes": "runtime_types",
        "runtimeTypeDisplayName": "runtime_type_display_name",
        "runtimeArtifactKind": "runtime_artifact_kind",
        "webhooks": Many("Webhook", on="{c}.formation_template_id = {t}.id", order="{c}.created_at, {c}.id"),
        "leadingProductIDs": "leading_product_ids",
        "supportsReset": "supports_reset",
        "discoveryConsumers": "discovery_consumers",
        "labels": labels.shown("formation_template_label", "formation_template_id"),
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
    },
    sanitized={"webhooks": "formation_template.webhooks:read"},
)
READS = (FORMATION_TEMPLATE,)

_VISIBLE: Final = "({c}.tenant_id IS NULL OR {c}.tenant_id IN (SELECT tenant_and_ancestors_v1({tenant})))"

QUERIES = (
    Query(
        "formationTemplates",
        scope="formation_template:read",
        tenant=False,
        read=Page(
            "FormationTemplate",
            on=_VISIBLE,
            order="{c}.id",
            filtered=labels.matching("formation_template_label", "formation_template_id"),
        ),
    ),
    Query(
        "formationTemplate",
        scope="formation_template:read",
        tenant=False,
        read=One("FormationTemplate", on="{c}.id = {arg:id}::uuid AND " + _VISIBLE),
        absent=lambda _: NotFound(object="formationTemplate"),
    ),
)

# For groups

FIND = """
-- formation_template.find
SELECT id FROM formation_template
WHERE name = %(name)s AND (tenant_id IS NULL OR tenant_id IN (SELECT tenant_and_ancestors_v1(%(tenant)s)))
ORDER BY tenant_id IS NULL
LIMIT 1
"""


@dataclass(frozen=True)
class Admission:
    """Whom groups of a template admit."""

    template: str
    application_types: list[str]
    runtime_types: list[str]

    def admits_any(self, types: list[str]) -> bool:
        """Whether the list admits every type, and objects without one."""
        return _ANY in types


async def find(tx: Tx, tenant: TenantId, name: str) -> FormationTemplateId:
    """The template of that name, the tenant's own before one for all. Raises NotFound."""
    found: Any = await tx.value(FIND, tenant=tenant, name=name)
    if found is None:
        raise NotFound(object="formationTemplate")
    return FormationTemplateId(found)
