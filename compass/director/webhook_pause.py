"""Webhooks that are not called for a while. Ours: the original knows only removing one, which loses what it is owed.

While a webhook is paused, what it is to be told is owed as ever and waits, in its order, and so do the groups for which
an answer counts. Resumed, it is told all of it at once. A call that is under way when it is paused is finished.
"""

from typing import Final

from compass.access.caller import Caller
from compass.access.tenancy import Reach
from compass.commands import command
from compass.delivery.enqueue import hurry
from compass.director import webhook
from compass.director.webhook import WebhooksChanged
from compass.ids import WebhookId
from compass.outbox.append import append
from compass.postgres.pool import Tx

PAUSE: Final = """
-- webhook_pause.pause
UPDATE webhook SET paused_at = now() WHERE id = %(webhook)s AND paused_at IS NULL
"""
RESUME: Final = """
-- webhook_pause.resume
UPDATE webhook SET paused_at = NULL WHERE id = %(webhook)s AND paused_at IS NOT NULL
"""


@command("pauseWebhook", scope="webhook:write", reach=Reach.ABOVE)
async def pause(tx: Tx, caller: Caller, of: WebhookId) -> WebhookId:
    """Call a webhook no more until it is resumed; one that is paused stays so, since when it was.

    Raises NotFound, Unauthorized. Emits WebhooksChanged when it was not paused.
    """
    await webhook.lock(tx, caller, of)
    if await tx.run(PAUSE, webhook=of):
        await append(tx, WebhooksChanged(caller.tenant, of))
    return of


@command("resumeWebhook", scope="webhook:write", reach=Reach.ABOVE)
async def resume(tx: Tx, caller: Caller, of: WebhookId) -> WebhookId:
    """Call a webhook again, at once with what waits for it. One that is not paused is left alone.

    Raises NotFound, Unauthorized. Emits WebhooksChanged when it was paused.
    """
    await webhook.lock(tx, caller, of)
    if await tx.run(RESUME, webhook=of):
        await hurry(tx, [of])
        await append(tx, WebhooksChanged(caller.tenant, of))
    return of
