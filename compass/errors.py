"""Every way the plane refuses, as a class with a stable code.

A subclass states the code and a sentence; the instance carries the facts. The wire text is the sentence
followed by the facts in brackets, sorted by key, because clients of the original Director match on exactly
that form. Source: contract/director.md §1.4.
"""

import math
import uuid
from collections.abc import Iterable
from enum import IntEnum
from string import Formatter
from typing import ClassVar


class Code(IntEnum):
    """The stable number of an error, sent as `extensions.error_code`. Source: contract/director.md §1.4."""

    INTERNAL = 10
    NOT_FOUND = 20
    NOT_UNIQUE = 21
    INVALID_DATA = 22
    INSUFFICIENT_SCOPES = 23
    TENANT_REQUIRED = 24
    TENANT_NOT_FOUND = 25
    UNAUTHORIZED = 26
    INVALID_OPERATION = 27
    OPERATION_TIMEOUT = 28
    EMPTY_DATA = 29
    INCONSISTENT_DATA = 30
    NOT_UNIQUE_NAME = 31
    CONCURRENT_OPERATION = 32
    INVALID_STATUS_CONDITION = 33
    CANNOT_UPDATE_OBJECT_IN_MANY_BUNDLES = 34
    CONCURRENT_UPDATE = 35

    @property
    def wire_name(self) -> str:
        """The name sent as `extensions.error`."""
        return {Code.INTERNAL: "InternalError"}.get(self, self.name.title().replace("_", ""))


class CompassError(Exception):
    """A refusal a caller can understand. Raised in the domain, translated once per edge."""

    code: ClassVar[Code]
    message: ClassVar[str]
    """The sentence; `{name}` is filled from the facts of that name, which then do not appear in brackets."""
    retryable: ClassVar[bool] = False
    """True when the same call may succeed later without anybody changing anything."""

    def __init__(self, **facts: str) -> None:
        self.facts = facts
        super().__init__(self.wire_text())

    def wire_text(self) -> str:
        """The sentence and its facts as clients read them: `Object not found [object=application]`."""
        sentence = self.message.format_map(self.facts)
        told = {name for _, name, _, _ in Formatter().parse(self.message)}
        shown = {key: value for key, value in sorted(self.facts.items()) if key not in told}
        if not shown:
            return sentence
        return f"{sentence} [{'; '.join(f'{key}={value}' for key, value in shown.items())}]"


def presentable(error: Exception) -> str:
    """What may be shown of an error: our own sentences; of others the class alone, their text may hold secrets."""
    return error.wire_text() if isinstance(error, CompassError) else type(error).__name__


class NotFound(CompassError):
    """The object does not exist, or is not visible to the caller: the two are never told apart."""

    code = Code.NOT_FOUND
    message = "Object not found"


class NotUnique(CompassError):
    """Another object already holds what must be unique."""

    code = Code.NOT_UNIQUE
    message = "Object is not unique"


class NameTaken(CompassError):
    """Another visible object of the kind already has that name."""

    code = Code.NOT_UNIQUE_NAME
    message = "Object name is not unique"


class InvalidData(CompassError):
    """The input breaks a rule; `reason` says which."""

    code = Code.INVALID_DATA
    message = "Invalid data"


class InvalidInput(CompassError):
    """An input object breaks one rule or more, one fact per field. Source: contract/director.md §1.5."""

    code = Code.INVALID_DATA
    message = "Invalid data {input_type}"


class InsufficientScopes(CompassError):
    """The caller lacks a scope that the operation requires."""

    code = Code.INSUFFICIENT_SCOPES
    message = "insufficient scopes provided"

    def __init__(self, held: Iterable[str], required: str) -> None:
        super().__init__(actual=";".join(sorted(held)), required=required)


class TenantRequired(CompassError):
    """The operation works inside a tenant and the caller named none."""

    code = Code.TENANT_REQUIRED
    message = "Tenant is required"


class TenantNotFound(CompassError):
    """The `Tenant` header names no active tenant the caller may use."""

    code = Code.TENANT_NOT_FOUND
    message = "Tenant not found"


class Unauthorized(CompassError):
    """The caller is not who it claims to be, or may not touch this object."""

    code = Code.UNAUTHORIZED
    message = "Unauthorized"


class InvalidOperation(CompassError):
    """The object's present state forbids the operation; `reason` says what to do first."""

    code = Code.INVALID_OPERATION
    message = "The operation is not allowed"


class Refused(CompassError):
    """A refusal that the original raised without a code; clients match on the sentence inside `reason`.

    Pass the sentence as `why`. Source: contract/director.md §1.4, "untyped error".
    """

    code = Code.INTERNAL
    message = "Internal Server Error"

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(errorID=str(uuid.uuid4()))

    def wire_text(self) -> str:
        """The sentence in the original's envelope for errors without a code."""
        return f"{self.message} [errorID={self.facts['errorID']}, reason: {self.why}]"


class EmptyData(CompassError):
    """Something that the object must have was left out, and only the database noticed."""

    code = Code.EMPTY_DATA
    message = "Some required data was left out"


class InconsistentData(CompassError):
    """A value is outside of what the object may have, and only the database noticed."""

    code = Code.INCONSISTENT_DATA
    message = "Inconsistent or out-of-range data"


class TooManyRequests(CompassError):
    """Whoever asks has asked for more than its share; nothing was done. It may come back after a while."""

    code = Code.OPERATION_TIMEOUT
    message = "too many requests from {whom}; nothing was done, try again in {seconds} s"
    retryable = True

    def __init__(self, whom: str, *, after_seconds: float) -> None:
        self.after_seconds = after_seconds
        super().__init__(whom=whom, seconds=str(max(1, math.ceil(after_seconds))))


class OperationTimedOut(CompassError):
    """The work took longer than the plane allows one request; nothing was changed."""

    code = Code.OPERATION_TIMEOUT
    message = "operation has timed out"
    retryable = True


class Unavailable(CompassError):
    """The database cannot be reached right now; nothing was changed."""

    code = Code.OPERATION_TIMEOUT
    message = "the plane cannot reach its database; nothing was changed, try again in a moment"
    retryable = True
