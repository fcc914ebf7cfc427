"""Accounts: the administrators of the plane, each an OAuth client whose secret was shown once."""

import secrets
from typing import Final

from compass.access.tokens import digest
from compass.audit.record import Done
from compass.postgres.pool import Tx

ADMINISTRATOR: Final = "admin"

ADD = """
-- account.add
INSERT INTO account (name, secret_digest) VALUES (%(name)s, %(digest)s) ON CONFLICT (name) DO NOTHING RETURNING name
"""
REPLACE = """
-- account.replace
INSERT INTO account (name, secret_digest) VALUES (%(name)s, %(digest)s)
ON CONFLICT (name) DO UPDATE SET secret_digest = excluded.secret_digest
"""


async def first(tx: Tx) -> str | None:
    """The administrator's secret, on the first start only; None when the administrator is there already."""
    secret = secrets.token_urlsafe(32)
    added = await tx.value(ADD, name=ADMINISTRATOR, digest=digest(secret))
    return secret if added else None


async def replaced(tx: Tx) -> str:
    """A new secret for the administrator; the old one stops working, tokens got with it end within the hour."""
    secret = secrets.token_urlsafe(32)
    await tx.run(REPLACE, name=ADMINISTRATOR, digest=digest(secret))
    return secret


def made() -> Done:
    """What is recorded of the administrator's first secret, or a new one."""
    return Done(
        operation="replaceAccountSecret",
        who={"consumer": "Operator", "consumerID": "", "flow": "Local"},
        tenant=None,
        request_id="",
        arguments={},
        object_type="Account",
        object_id=ADMINISTRATOR,
    )
