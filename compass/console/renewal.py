"""Keeping somebody signed in: another token of the provider in place of one that ends, before it does.

Asked for when a request needs it, never by itself: a browser that is closed keeps nobody signed in. However many
requests come at once, one asks, and not on behalf of a browser that may go away meanwhile: a refresh token may be good
once, and its successor comes with the answer. Source: RFC 6749 §6, RFC 9700 §4.14.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from compass.console.plane import SignedOut
from compass.console.session import Renewable, Session, Sessions
from compass.console.sign_in import Provider, may_enter
from compass.errors import Code, CompassError

_log = logging.getLogger(__name__)

AGAIN_AFTER: Final = timedelta(seconds=5)
"""Between two tries while the provider is away."""


class NoMoreRights(CompassError):
    """What the provider says of a person now opens nothing in the tenant that the session looks at."""

    code = Code.UNAUTHORIZED
    message = "the groups of the account open nothing in tenant {tenant} any more"


class Renewals:
    """Those of all sessions of one process."""

    def __init__(self, sessions: Sessions, provider: Provider | None) -> None:
        self._sessions = sessions
        self._provider = provider

    async def keep(self, session: Session) -> None:
        """Have a token in the session that is good.

        Raises SignedOut when there is none for this person any more; what the provider raises when that is not known
        and the present token has ended.
        """
        has = session.renewable
        if has is None:
            return
        if has.due <= self._sessions.clock() < session.until:
            if has.asking is None:
                has.asking = asyncio.ensure_future(self._ask(session, has))
            await asyncio.shield(has.asking)
        now = self._sessions.clock()
        if session.until <= now:
            raise SignedOut()
        if has.failed is not None and has.token_until <= now:
            raise has.failed

    async def _ask(self, session: Session, has: Renewable) -> None:
        assert self._provider is not None  # noqa: S101  # somebody signed in with it
        has.failed = None
        try:
            signed = await self._provider.renew(has.signed)
            if not may_enter(signed.person, session.tenant):
                raise NoMoreRights(tenant=session.tenant)
        except CompassError as failed:
            now = self._sessions.clock()
            if failed.code == Code.OPERATION_TIMEOUT:
                has.failed, has.due = failed, now + AGAIN_AFTER.total_seconds()
            else:
                _log.warning("the session of %s is over: %s", session.person, failed)
                session.until = now
        else:
            session.token, session.signed = signed.token, signed
            session.renewable = Renewable.by(signed, seconds=signed.seconds_left, now=self._sessions.clock())
        finally:
            has.asking = None
