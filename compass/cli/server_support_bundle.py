"""`compass server support-bundle`: how a plane is, as one file for whoever helps."""

import json
import platform
from datetime import UTC, datetime

from compass.cli.output import emit, say
from compass.cli.speaking import HERE, Where, speaking
from compass.cli.version import VERSION
from compass.client.support_bundle import MOST_DELIVERIES, bundle


def support_bundle(*, where: Where = HERE) -> None:
    """Print how the plane is, as JSON without secrets: its parts, settings, and what it could not deliver.

    For example:

        compass server support-bundle > bundle.json

    Of addresses only the host is in it, and no answer of a receiver. Read it all the same before you pass it on.

    Exit codes: 0 printed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        made = bundle(
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            made_with={"compass": VERSION, "python": platform.python_version(), "system": platform.platform()},
            who=plane.ask("SignedIn"),
            system=plane.ask("System"),
            failed=plane.ask("WebhookDeliveries", {"first": MOST_DELIVERIES, "state": "DEAD"}),
        )
    emit(json.dumps(made, indent=2, ensure_ascii=False))
    say("read it before you pass it on")
