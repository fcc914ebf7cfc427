"""The two kinds of definitions of an application: what they are called, and where."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Kind:
    """One of the two kinds of definitions: what it is called, and where."""

    word: str
    command: str
    page: str
    """Where the console shows those of an application."""
    member: str
    """Of `Application` and of `Bundle`."""
    listing: str
    """The document that lists them."""
    document: str
    """What the names of its other documents end with."""
    type: str
    """Of its specifications, unless they are XML."""
    xml_type: str

    def type_of(self, form: str) -> str:
        """The type of a specification in that format."""
        return self.xml_type if form == "XML" else self.type


API: Final = Kind(
    word="API",
    command="compass api",
    page="apis",
    member="apiDefinition",
    listing="Apis",
    document="Api",
    type="OPEN_API",
    xml_type="ODATA",
)
EVENT: Final = Kind(
    word="event definition",
    command="compass event",
    page="events",
    member="eventDefinition",
    listing="EventDefinitions",
    document="EventDefinition",
    type="ASYNC_API",
    xml_type="ASYNC_API",
)
