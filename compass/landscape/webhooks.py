"""Webhooks of an object, as files know them."""

from typing import Final

from compass.landscape.conversation import Json

KEPT: Final = (
    "type", "url", "mode", "correlationIdKey", "retryInterval", "timeout", "urlTemplate", "inputTemplate",
    "headerTemplate", "outputTemplate", "statusTemplate",
)  # fmt: skip
"""What an update has to say again, because it replaces everything."""


def owned(row: Json, kind: str) -> list[Json]:
    """The webhooks of an application or runtime that are its own, not its template's, with `owner` beside them."""
    key = f"{kind}ID"
    return [
        {**webhook, "owner": f"{kind} {row['name']}"} for webhook in row["webhooks"] or [] if webhook[key] == row["id"]
    ]
