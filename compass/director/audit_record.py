"""Audit records, as administrators read them: who changed what of the tenant, newest first.

What was done in no tenant is nobody's: operators read it with `compass audit export`. The original has nothing of this.
"""

from compass.reads.plan import Page, Query, Read, timestamp

# How it is read

AUDIT_RECORD = Read(
    "AuditRecord",
    table="audit_record",
    fields={
        "id": "id",
        "happenedAt": timestamp("happened_at"),
        "operation": "operation",
        "objectType": "{t}.body ->> 'objectType'",
        "objectID": "object_id",
        "requestID": "coalesce({t}.body ->> 'requestID', '')",
        "consumer": "coalesce({t}.body -> 'who' ->> 'consumer', '')",
        "consumerID": "coalesce({t}.body -> 'who' ->> 'consumerID', '')",
        "flow": "coalesce({t}.body -> 'who' ->> 'flow', '')",
        "systemAuthID": "coalesce({t}.body -> 'who' ->> 'systemAuth', {t}.body ->> 'systemAuth')",
        "certificate": "{t}.body -> 'who' ->> 'certificate'",
        "refused": "{t}.body ->> 'refused'",
        "arguments": "coalesce({t}.body -> 'arguments', '{}'::json)::text",
        "before": "{t}.before::text",
        "after": "{t}.after::text",
        "isSealed": "NOT EXISTS (SELECT FROM audit_unsealed WHERE audit_unsealed.record_id = {t}.id)",
    },
)
READS = (AUDIT_RECORD,)
QUERIES = (
    Query(
        "auditRecords",
        scope="audit:read",
        read=Page(
            "AuditRecord",
            on=(
                "{c}.tenant_id = {tenant} "
                "AND ({arg:operation}::text IS NULL OR {c}.operation = {arg:operation}::text) "
                "AND ({arg:objectID}::text IS NULL OR {c}.object_id = {arg:objectID}::text) "
                "AND ({arg:consumerID}::text IS NULL "
                "OR {c}.body -> 'who' ->> 'consumerID' = {arg:consumerID}::text) "
                # Not `IS NULL OR`: so the index by time is read from there on, whatever is given.
                "AND {c}.happened_at >= coalesce({time:since}::timestamptz, '-infinity') "
                "AND {c}.happened_at < coalesce({time:until}::timestamptz, 'infinity')"
            ),
            order="{c}.happened_at DESC, {c}.id DESC",
        ),
    ),
)
