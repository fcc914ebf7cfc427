"""What a landscape is read and changed through: a plane that is asked by the names of documents."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

Json = dict[str, Any]

PAGE_SIZE: Final = 200
"""What every list of the plane admits."""


class Conversation(Protocol):
    """One plane, spoken to as one caller, with the documents of all clients."""

    def ask(self, name: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The answer to the document of that name, without the name of its one operation. Raises CompassError."""

    def all(self, name: str, variables: Mapping[str, Any] | None = None, *, inside: str | None = None) -> list[Json]:
        """The objects of a list, whole; `inside` is the member of the answer that is the list. Raises CompassError."""
