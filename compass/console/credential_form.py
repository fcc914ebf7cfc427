"""Credentials as people type them into a form: none, a name and a password, or an OAuth client."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from compass.console.visit import Visit

KINDS: Final = {"basic": "User name and password", "oauth": "OAuth client"}
_NEEDED: Final[Mapping[str, Mapping[str, str]]] = {
    "basic": {"username": "Type a user name", "password": "Type a password"},
    "oauth": {
        "clientId": "Type the id of the client",
        "clientSecret": "Type the secret of the client",
        "tokenURL": "Type where tokens are to be had: https://…",
    },
}


def typed(visit: Visit) -> dict[str, Any] | None:
    """What was typed, as the API's `AuthInput`; None for none."""
    match visit.form("signs_in"):
        case "basic":
            # Not stripped: spaces around may be part of it.
            password = visit.request.form.get("password", "")
            return {"credential": {"basic": {"username": visit.form("username"), "password": password}}}
        case "oauth":
            client = {
                "clientId": visit.form("clientId"),
                "clientSecret": visit.request.form.get("clientSecret", ""),
                "url": visit.form("tokenURL"),
            }
            return {"credential": {"oauth": client}}
        case _:
            return None


def faults(visit: Visit) -> dict[str, str]:
    """What to type in the fields with which the credentials could not be used. The plane keeps whatever it is given."""
    found = {name: text for name, text in _NEEDED.get(visit.form("signs_in"), {}).items() if not visit.form(name)}
    url = visit.form("tokenURL")
    if visit.form("signs_in") == "oauth" and url and not is_address(url):
        found["tokenURL"] = _NEEDED["oauth"]["tokenURL"]
    return found


def is_address(text: str) -> bool:
    """Whether something can be asked for there: http or https, and a host."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
