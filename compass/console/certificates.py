"""Certificates: what the plane's authority signed for clients, and ending it."""

from collections.abc import Mapping
from typing import Any, Final

from compass.console.http import Answer, attachment
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone
from compass.console.visit import View, Visit, together

STATES: Final = ("VALID", "EXPIRING", "REVOKED", "EXPIRED")
MOST_NAMED: Final = 200
"""Owners of each kind that are told by their names; those of larger tenants by their ids."""
_NONE: Final[Mapping[str, Any]] = {"applications": {"data": ()}, "runtimes": {"data": ()}}


async def index(visit: Visit) -> Page:
    """A page of the inventory."""
    state = visit.query("state") if visit.query("state") in STATES else ""
    found, applications, runtimes = await together(
        visit.ask(
            "Certificates", state=[state] if state else None, first=PAGE_SIZE, after=visit.query("after") or None
        ),
        visit.see("ApplicationNames", first=MOST_NAMED),
        visit.see("RuntimeNames", first=MOST_NAMED),
    )
    owners = [*(applications or _NONE)["applications"]["data"], *(runtimes or _NONE)["runtimes"]["data"]]
    data = {
        "found": (found or {})["certificates"],
        "states": STATES,
        "state": state,
        "names": {one["id"]: one["name"] for one in owners},
    }
    return Page("certificates.html", "Certificates", data, live="certificates", poll_seconds=15, section="certificates")


async def chain(visit: Visit) -> Answer:
    """One with the certificate that issued it, as a file. Raises Gone."""
    held = (await visit.ask("CertificateChains", client=visit["client"]))["certificates"]["data"]
    for one in held:
        if one["serial"] == visit["serial"]:
            return attachment(one["chain"], "application/x-pem-file", f"{one['serial'][:16]}.pem")
    raise Gone(what="certificate")


async def revoke(visit: Visit) -> Answer:
    """End one, with those that were renewed from it or that it was renewed from."""
    asked = await visit.ask(
        "RevokeCertificate", fingerprint=visit.form("fingerprint"), reason=visit.form("reason") or None
    )
    amount = asked["revokeCertificates"]
    return visit.done(f"{amount} certificate{'' if amount == 1 else 's'} revoked", "/certificates?state=REVOKED")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/certificates"): index,
    ("GET", "/certificates/{client}/{serial}/chain.pem"): chain,
    ("POST", "/certificates/revoke"): revoke,
}
