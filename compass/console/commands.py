"""What a page asked the plane, for whoever wants to do it without the page: as a command line, and as GraphQL.

A document that has a command of its own is told by it; any other can be sent by `compass graphql`. Whatever looks like
a secret is left out of both.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from compass.client.protocol import Document, Endpoint
from compass.console.plane import document

Variables = Mapping[str, Any]
_SECRET: Final = re.compile(r"secret|password|token|credential|private|authorization|cookie", re.IGNORECASE)
LEFT_OUT: Final = "…"
"""Instead of a secret."""


@dataclass(frozen=True)
class Copy:
    """One thing that was asked."""

    command: str
    """For a shell."""
    text: str
    """The GraphQL document."""
    variables: str
    """Its variables, as JSON."""


def _status(_: Variables) -> list[str]:
    return ["status"]


def _topology(_: Variables) -> list[str]:
    return ["topology"]


def _with(*words: str) -> Callable[[Variables], list[str]]:
    """A command whose words in braces are variables."""

    def made(given: Variables) -> list[str]:
        return [str(given[word[1:-1]]) if word.startswith("{") else word for word in words]

    return made


def _unless_narrowed(*words: str) -> Callable[[Variables], list[str] | None]:
    """A list; the command can neither search nor filter as the page does."""

    def made(given: Variables) -> list[str] | None:
        if any(given[name] for name in given if name not in ("first", "after", "orderBy")):
            return None
        return [*words, *_sorted(given)]

    return made


def _sorted(given: Variables) -> list[str]:
    order = given.get("orderBy")
    return ["--sort", str(order).lower().replace("_", "-")] if order else []


def _define(noun: str, verb: str) -> Callable[[Variables], list[str] | None]:
    """Adding or updating a definition; its text comes on standard input. None for what only the API can say."""

    def made(given: Variables) -> list[str] | None:
        new = given["in"]
        version, spec = new.get("version") or {}, new.get("spec") or {}
        source = spec.get("fetchRequest") or {}
        if "auth" in source or any(version.get(name) for name in ("deprecated", "deprecatedSince", "forRemoval")):
            return None
        said = {
            "--bundle": given.get("bundle") if verb == "add" else None,
            "--url": new.get("targetURL") if noun == "api" else None,
            "--description": new.get("description"),
            "--group": new.get("group"),
            "--version": version.get("value"),
            "--spec-url": source.get("url"),
            "--spec": "-" if "data" in spec else None,
        }
        flags = [word for flag, value in said.items() if value for word in (flag, str(value))]
        return [
            noun,
            verb,
            str(new["name"] if verb == "add" else given["id"]),
            "--app",
            str(given["application"]),
            *flags,
        ]

    return made


def _certificates(given: Variables) -> list[str]:
    states = [word for state in given.get("state") or () for word in ("--state", str(state).lower())]
    return ["cert", "list", *states]


def _deliveries(given: Variables) -> list[str]:
    webhook = [str(given["webhook"])] if given.get("webhook") else []
    state = ["--state", str(given["state"]).lower()] if given.get("state") else []
    flags = {f"--{name}": given.get(name) for name in ("type", "since", "until")}
    others = [word for flag, value in flags.items() if value for word in (flag, str(value))]
    return ["webhook", "deliveries", *webhook, *state, *others]


def _search(given: Variables) -> list[str]:
    return ["api", "search", *([str(given["search"])] if given.get("search") else [])]


def _requests(given: Variables) -> list[str] | None:
    if given.get("condition") not in (None, "PENDING"):
        return None
    application = ["--app", str(given["application"])] if given.get("application") else []
    return ["access", "list", *application, *(["--pending"] if given.get("condition") else [])]


def _effects(given: Variables) -> list[str]:
    removed = ["--remove"] if given["change"] == "UNASSIGN" else []
    return ["group", "preview", str(given["group"]), str(given["subaccount"]["value"]), *removed]


def _tenants(given: Variables) -> list[str]:
    return ["tenant", "list", *([str(given["term"])] if given.get("term") else [])]


def _register(*words: str, flags: Mapping[str, str]) -> Callable[[Variables], list[str]]:
    def made(given: Variables) -> list[str]:
        new = given["in"]
        said = [word for name, flag in flags.items() if new.get(name) for word in (flag, str(new[name]))]
        return [*words, str(new["name"]), *said]

    return made


def _member(verb: str) -> Callable[[Variables], list[str] | None]:
    flags = {"APPLICATION": "--app", "RUNTIME": "--runtime"}

    def made(given: Variables) -> list[str] | None:
        if given["type"] == "TENANT":
            return ["group", "rule", verb, str(given["group"]), str(given["id"]), "--yes"]
        flag = flags.get(str(given["type"]))
        return ["group", verb, str(given["group"]), flag, str(given["id"])] if flag else None

    return made


def _label(noun: str) -> Callable[[Variables], list[str]]:
    def made(given: Variables) -> list[str]:
        value = given["value"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return [noun, "label", str(given["id"]), f"{given['key']}={text}"]

    return made


def _unlabel(noun: str) -> Callable[[Variables], list[str]]:
    return lambda given: [noun, "label", str(given["id"]), f"{given['key']}-"]


def _revoke(given: Variables) -> list[str] | None:
    reason = ["--reason", str(given["reason"])] if given.get("reason") else []
    return ["cert", "revoke", str(given["fingerprint"]), *reason] if given.get("fingerprint") else None


def _change(noun: str, flags: Mapping[str, str]) -> Callable[[Variables], list[str] | None]:
    def made(given: Variables) -> list[str] | None:
        said = [word for name, flag in flags.items() if name in given["in"] for word in (flag, given["in"][name] or "")]
        return [noun, "edit", str(given["id"]), *said] if said else None

    return made


COMMANDS: Final[Mapping[str, Callable[[Variables], list[str] | None]]] = {
    "ApplicationsOverview": _status,
    "RuntimesOverview": _status,
    "CertificatesOverview": _with("cert", "list", "--state", "expiring"),
    "DeliveriesOverview": _with("webhook", "deliveries", "--state", "dead"),
    "TopologyApplications": _topology,
    "TopologyRuntimes": _topology,
    "TopologyGroups": _topology,
    "Applications": _unless_narrowed("app", "list"),
    "Application": _with("app", "get", "{id}"),
    "ApiDefinition": _with("api", "get", "{id}", "--app", "{application}"),
    "EventDefinition": _with("event", "get", "{id}", "--app", "{application}"),
    "ApiRevisions": _with("api", "revisions", "{id}", "--app", "{application}"),
    "EventRevisions": _with("event", "revisions", "{id}", "--app", "{application}"),
    "OfferedOperations": _search,
    **{
        f"{change}{document}{more}": _define(noun, verb)
        for document, noun in (("Api", "api"), ("EventDefinition", "event"))
        for change, more, verb in (
            ("Add", "ToApplication", "add"),
            ("Add", "ToBundle", "add"),
            ("Update", "", "update"),
            ("Update", "ForApplication", "update"),
        )
    },
    "DeleteApi": _with("api", "delete", "{id}", "--app", "{application}", "--yes"),
    "DeleteEventDefinition": _with("event", "delete", "{id}", "--app", "{application}", "--yes"),
    "RefetchApi": _with("api", "refetch", "{id}", "--app", "{application}"),
    "RefetchEvent": _with("event", "refetch", "{id}", "--app", "{application}"),
    "Runtimes": _unless_narrowed("runtime", "list"),
    "Runtime": _with("runtime", "get", "{id}"),
    "RuntimeStatus": _with("runtime", "status", "{id}"),
    "Groups": lambda given: ["group", "list", *_sorted(given)],
    "Group": _with("group", "get", "{id}"),
    "Certificates": _certificates,
    "WebhookDeliveries": _deliveries,
    "WebhookDelivery": _with("webhook", "delivery", "{id}"),
    "TestWebhook": _with("webhook", "test", "{id}", "--wait"),
    "PauseWebhook": _with("webhook", "pause", "{id}"),
    "ResumeWebhook": _with("webhook", "resume", "{id}"),
    "DeleteWebhook": _with("webhook", "delete", "{id}", "--yes"),
    "AccessRequests": _requests,
    "GroupRule": _with("group", "rule", "list", "{group}"),
    "GroupRuleEffects": _effects,
    "Tenants": _tenants,
    "Tenant": _with("tenant", "get", "{id}"),
    "LabelDefinitions": _with("label-def", "list"),
    "LabelDefinition": _with("label-def", "get", "{key}"),
    "Templates": _with("template", "list"),
    "Template": _with("template", "get", "{id}"),
    "DeleteTemplate": _with("template", "delete", "{id}", "--yes"),
    "IntegrationSystems": _with("integration", "list"),
    "IntegrationSystemSecrets": _with("integration", "get", "{id}"),
    "RegisterIntegrationSystem": _register("integration", "create", flags={"description": "--description"}),
    "UnregisterIntegrationSystem": _with("integration", "delete", "{id}", "--yes"),
    "MakeIntegrationSystemSecret": _with("integration", "credentials", "{id}"),
    "SignedIn": _with("whoami"),
    "System": _with("server", "support-bundle"),
    "Viewer": _with("whoami"),
    "RegisterApplication": _register(
        "app", "create", flags={"providerName": "--provider", "description": "--description"}
    ),
    "UpdateApplication": _change(
        "app",
        {
            "providerName": "--provider",
            "description": "--description",
            "baseUrl": "--base-url",
            "healthCheckURL": "--health-check-url",
        },
    ),
    "UnregisterApplication": _with("app", "delete", "{id}", "--yes"),
    "UnpairApplication": _with("app", "unpair", "{id}", "--yes"),
    "TokenForApplication": _with("app", "connect", "{id}"),
    "SetApplicationLabel": _label("app"),
    "DeleteApplicationLabel": _unlabel("app"),
    "RegisterRuntime": _register("runtime", "register", flags={"description": "--description"}),
    "UnregisterRuntime": _with("runtime", "delete", "{id}", "--yes"),
    "DeprovisionRuntime": _with("runtime", "deprovision", "{id}", "--yes"),
    "ReconnectRuntime": _with("runtime", "reconnect", "{id}"),
    "TokenForRuntime": _with("runtime", "connect", "{id}"),
    "SetRuntimeLabel": _label("runtime"),
    "DeleteRuntimeLabel": _unlabel("runtime"),
    "VoidApplicationClient": _with("token", "revoke", "{id}"),
    "VoidRuntimeClient": _with("token", "revoke", "{id}"),
    "CreateGroup": _with("group", "create", "{name}"),
    "DeleteGroup": _with("group", "delete", "{name}", "--yes"),
    "ResyncGroup": _with("group", "resync", "{id}"),
    "Assign": _member("add"),
    "Unassign": _member("remove"),
    "ResendDelivery": _with("webhook", "resend", "{id}"),
    "RecoverDeliveries": _with("webhook", "recover", "{webhook}", "--since", "{since}"),
    "RevokeCertificate": _revoke,
    "Webhooks": lambda given: None if given.get("id") or given.get("owner") else ["webhook", "list"],
    "VoidIntegrationSystemClient": _with("token", "revoke", "{id}"),
}
"""The command that does what the document of that name does, without `compass`; None where it cannot say all of it."""


def arguments(name: str, variables: Variables) -> list[str]:
    """The command line, without `compass`. Raises DocumentUnknown."""
    known = COMMANDS.get(name)
    made = known(without_secrets(variables)) if known is not None else None
    return made if made is not None else by_graphql(document(name), variables)


def by_graphql(asked: Document, variables: Variables) -> list[str]:
    """The command line that sends the document itself."""
    chosen = [] if asked.endpoint is Endpoint.DIRECTOR else ["--api", str(asked.endpoint)]
    shown = without_secrets({name: value for name, value in variables.items() if value is not None})
    pairs = [
        word for name, value in shown.items() for word in ("--var", f"{name}={json.dumps(value, ensure_ascii=False)}")
    ]
    return ["graphql", *chosen, "-q", " ".join(plain(asked.text).split()), *pairs]


def line(words: Iterable[str], *, tenant: str = "") -> str:
    """The command line for a shell; in another tenant than the terminal's, it names it."""
    return shell(["compass", *words, *(["--tenant", tenant] if tenant else [])])


def shell(words: Iterable[str]) -> str:
    """Words as a shell takes them."""
    return shlex.join(words)


def is_secret(name: str) -> bool:
    """Whether what is called like this is nobody's business."""
    return _SECRET.search(name) is not None


def copies(asked: Sequence[tuple[str, Variables]], *, tenant: str = "") -> list[Copy]:
    """What was asked."""
    made = [(arguments(name, variables), name, variables) for name, variables in asked]
    return [
        Copy(
            line(words, tenant=tenant),
            plain(document(name).text).strip(),
            json.dumps(without_secrets(variables), indent=2, ensure_ascii=False) if variables else "",
        )
        # Those that have a command of their own come first.
        for words, name, variables in sorted(made, key=lambda one: one[0][0] == "graphql")
    ]


def once(asked: Sequence[tuple[str, Variables]]) -> list[tuple[str, Variables]]:
    """The same without what was asked again, in parts or for other objects."""
    return list(reversed(dict(reversed(asked)).items()))


def plain(text: str) -> str:
    """A document without the line that names its endpoint."""
    return re.sub(r"\A#[^\n]*\n", "", text)


def without_secrets(value: Any) -> Any:
    """The same, and wherever a name says that there is a secret, a mark."""
    match value:
        case Mapping():
            return {
                name: LEFT_OUT if is_secret(name) and item is not None else without_secrets(item)
                for name, item in value.items()
            }
        case list() | tuple():
            return [without_secrets(item) for item in value]
        case _:
            return value
