"""Where the navigation, the palette and the keys lead: said once."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Place:
    """A page that everybody finds."""

    name: str
    """Its section, and its symbol in `static/icons.svg`."""
    path: str
    text: str
    key: str
    """Typed after `g`; one letter, of one place only."""


@dataclass(frozen=True)
class Area:
    """Places that belong together."""

    text: str
    places: tuple[Place, ...]


NAVIGATION: Final = (
    Area(
        "",
        (
            Place("overview", "/", "Overview", "o"),
            Place("topology", "/topology", "Topology", "t"),
        ),
    ),
    Area(
        "Landscape",
        (
            Place("applications", "/applications", "Applications", "a"),
            Place("runtimes", "/runtimes", "Runtimes", "r"),
            Place("groups", "/groups", "Groups", "g"),
            Place("catalogue", "/catalogue", "Catalogue", "e"),
        ),
    ),
    Area(
        "Definitions",
        (
            Place("labels", "/label-definitions", "Labels", "l"),
            Place("templates", "/templates", "Templates", "m"),
        ),
    ),
    Area(
        "Operations",
        (
            Place("certificates", "/certificates", "Certificates", "c"),
            Place("webhooks", "/webhooks", "Webhooks", "w"),
            Place("deliveries", "/deliveries", "Deliveries", "d"),
            Place("access", "/access", "Access requests", "q"),
            Place("activity", "/activity", "Activity", "y"),
        ),
    ),
    Area(
        "Administration",
        (
            Place("integrations", "/integrations", "Integrations", "i"),
            Place("tenants", "/tenants", "Tenants and access", "n"),
            Place("system", "/system", "System", "s"),
            Place("explorer", "/explorer", "API explorer", "x"),
        ),
    ),
)
"""In the order in which they are shown; an area without a place is not."""


def place_of(path: str) -> Place | None:
    """The place that a page of that path belongs to."""
    begin = f"/{path.lstrip('/').partition('/')[0]}"
    return next((place for area in NAVIGATION for place in area.places if place.path == begin), None)
