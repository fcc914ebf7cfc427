"""What the audit log is told of a call: who, what, and the object, all without secrets.

What is secret follows from the schema: its type, or its place in an input type. What the log says of the object itself
is read as the API reads it, so a field that only the process can fill in, such as credentials, is never part of it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from compass.access.caller import Caller
from compass.api.schema import Surface
from compass.audit.record import IF_CHANGED, NO_IMAGE, Done, Log, recording
from compass.commands import Accepted, Noted
from compass.postgres.pool import Tx
from compass.reads.document import Schema
from compass.reads.plan import Field, Object, Read

TAKEN_OUT: Final = "(taken out)"
"""What stands in a record for a value that is, or may hold, a secret."""
SECRET_TYPES: Final = frozenset(
    {"JSON", "HttpHeaders", "HttpHeadersSerialized", "QueryParams", "QueryParamsSerialized"}
)
"""What users exchange in these is theirs: credentials, more often than not."""
SECRET_FIELDS: Final = frozenset(
    {
        "BasicCredentialDataInput.password",
        "OAuthCredentialDataInput.clientSecret",
        "CertificateOAuthCredentialDataInput.certificate",
        "OneTimeTokenInput.token",
        "OneTimeTokenInput.raw",
        "OneTimeTokenInput.rawEncoded",
        # Placeholders stand for passwords, too; templates are sealed for the same reason.
        "TemplateValueInput.value",
        "ApplicationFromTemplateInput.placeholdersPayload",
        # Headers and bodies of calls, with whatever the receiver wants to see in them.
        "WebhookInput.headerTemplate",
        "WebhookInput.inputTemplate",
        "Webhook.headerTemplate",
        "Webhook.inputTemplate",
        "ConfigEntryInput.value",
        "Query.systemAuthByToken.token",
        "Mutation.subscribeTenant.subscriptionPayload",
        "Mutation.unsubscribeTenant.subscriptionPayload",
    }
)
"""Fields of input and object types, and arguments of operations."""
_ADDRESS: Final = re.compile(r"url(template)?$", re.IGNORECASE)
_PASSWORD: Final = re.compile(r"//[^/@\s\"]*@")
_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]*")
_OF_THE_READER: Final = re.compile(r"\{(tenant|runtime|itself|top:\w+|lent:\w+)\}")
_ELSEWHERE: Final = re.compile(r"\bSELECT\b|_v\d+\(")
"""What has to be looked up in other rows. It belongs to them, and every mutation would pay for the look."""
_ARGUMENT: Final = re.compile(r"\{arg:\w+\}")
_LARGE: Final = frozenset({"CLOB"})
"""Left out of what is said of an object: documents, of any size."""


class Audited:
    """Records the calls of one surface."""

    def __init__(self, offered: Surface, log: Log) -> None:
        self._offered = offered
        self._log = log
        self._images = {
            read.type: recording(image)
            for read in offered.reads.values()
            if isinstance(read, Read) and (image := image_of(offered.schema, read)) is not None
        }

    async def done(
        self, tx: Tx, caller: Caller, mutation: str, given: Mapping[str, Any], result: Any, noted: Noted
    ) -> None:
        """Record what a call did, in its transaction. One statement, and none for a query that changed nothing."""
        kind = "Mutation" if mutation in self._offered.schema.fields("Mutation") else "Query"
        if kind == "Query" and noted.system_auth is None:
            return
        type_name = self._offered.schema.type_of(kind, mutation)
        object_id = _object(self._offered, mutation, type_name, given, result)
        has_image = object_id is not None and type_name in self._images
        await self._log.record(
            tx,
            Done(
                operation=mutation,
                who=caller.as_recorded(),
                tenant=caller.tenant,
                request_id=caller.request_id,
                arguments=without_secrets(self._offered.schema, kind, mutation, given),
                object_type=type_name if object_id is not None else None,
                object_id=object_id,
                result=noted.result or (result if object_id is None and isinstance(result, bool | int | str) else None),
                system_auth=noted.system_auth,
            ),
            statement=self._images[type_name] if has_image else NO_IMAGE,
        )

    async def refused(self, tx: Tx, caller: Caller, mutation: str, given: Mapping[str, Any], refusal: object) -> None:
        """Record a call that was refused, if it changed something all the same. One statement."""
        kind = "Mutation" if mutation in self._offered.schema.fields("Mutation") else "Query"
        await self._log.record(
            tx,
            Done(
                operation=mutation,
                who=caller.as_recorded(),
                tenant=caller.tenant,
                request_id=caller.request_id,
                arguments=without_secrets(self._offered.schema, kind, mutation, given),
                refused=type(refusal).__name__,
            ),
            statement=IF_CHANGED,
        )


def _object(offered: Surface, mutation: str, type_name: str, given: Mapping[str, Any], result: Any) -> str | None:
    """The id of the object that the call was about, where the answer is about one."""
    command = offered.commands[mutation]
    if command.reply_before:
        return str(next(iter(given.values())))
    match result:
        case Accepted():
            # `registerApplication` in mode ASYNC: the operation's place says which.
            return str(given["id"]) if "id" in given else None
        case str() if not offered.schema.is_scalar(type_name):
            return result
        case Mapping() if isinstance(result.get("id"), str):
            return str(result["id"])
        case _:
            return None


def without_secrets(schema: Schema, kind: str, mutation: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call as they may be kept."""
    types = schema.argument_types(kind, mutation)
    return {
        name: _kept(schema, f"{kind}.{mutation}.{name}", name, types[name], value)
        for name, value in given.items()
        if value is not None
    }


def _kept(schema: Schema, place: str, name: str, type_name: str, value: Any) -> Any:
    if value is None:
        return None
    if type_name in SECRET_TYPES or place in SECRET_FIELDS:
        return TAKEN_OUT
    if isinstance(value, list | tuple):
        return [_kept(schema, place, name, type_name, entry) for entry in value]
    if schema.is_input(type_name) and isinstance(value, Mapping):
        fields = schema.input_fields(type_name)
        return {
            field: _kept(schema, f"{type_name}.{field}", field, fields[field], inner)
            for field, inner in value.items()
            if inner is not None
        }
    if isinstance(value, str) and _ADDRESS.search(name):
        return _PASSWORD.sub("//", value.partition("?")[0])
    return value


def image_of(schema: Schema, read: Read) -> str | None:
    """The SELECT of an object's own fields by `%(object)s`; None for a type whose rows have no id."""
    if "id" not in read.fields:
        return None
    columns = ", ".join(f'{sql} AS "{name}"' for name, sql in _columns(schema, read.type, read.fields))
    return f"SELECT {columns} FROM {read.table} t WHERE t.id = %(object)s::uuid"


def _columns(schema: Schema, type_name: str, fields: Mapping[str, Field]) -> list[tuple[str, str]]:
    columns = []
    for name, how in fields.items():
        field_type = schema.type_of(type_name, name)
        if field_type in SECRET_TYPES | _LARGE or f"{type_name}.{name}" in SECRET_FIELDS:
            continue
        match how:
            case str() if _OF_THE_READER.search(how) or (name != "labels" and _ELSEWHERE.search(how)):
                continue
            case str():
                sql = f"t.{how}" if _IDENTIFIER.fullmatch(how) else _ARGUMENT.sub("NULL", how.replace("{t}", "t"))
                if _ADDRESS.search(name):
                    sql = f"regexp_replace(split_part({sql}, '?', 1), '//[^/@[:space:]]*@', '//')"
                columns.append((name, sql))
            case Object():
                inner = _columns(schema, field_type, how.fields)
                if not inner:
                    continue
                built = ", ".join(f"'{key}', {sql}" for key, sql in inner)
                present = how.present.replace("{t}", "t")
                columns.append((name, f"CASE WHEN {present} THEN json_build_object({built}) END"))
            case _:
                pass  # other rows have records of their own; what the process fills in is secret
    return columns
