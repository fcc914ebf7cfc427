"""Values that rules pass, good ones and bad ones, and what the contract says of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tests.model.model import Json, contains
from tests.model.play import Chance, Refused, invalid_input, page_arguments, untyped

KEYS: Final = ("tier", "region", "legacy", "runtimeType", "applicationType", "global_subaccount_id", "isNormalized")
VALUES: Final[Sequence[Any]] = ("gold", "true", True, ["gold", "silver"], {"a": 1, "b": ["x"]}, 7, "false")
TYPES: Final = ("kyma", "shop")

# Labels


def labels(chance: Chance) -> Json | None:
    """A few labels, or none at all; rarely such that are refused."""
    if chance.once_in(2):
        return None
    given: Json = {chance.one_of(KEYS): chance.one_of(VALUES) for _ in range(chance.number(2))}
    if chance.once_in(2):
        given["applicationType"] = chance.one_of(TYPES)
    if chance.once_in(15):
        given["scenarios"] = ["mine"]
    if chance.once_in(20):
        given["no-key"] = "x"
    return given


def label_keys(given: Json | None) -> dict[str, str]:
    """What is wrong with the keys of labels, as a fact of the input."""
    if given is not None and "no-key" in given:
        return {"labels": "label key 'no-key' must be in a valid format"}
    return {}


def refuse_reserved(given: Json | None) -> None:
    """The label of the groups cannot be given."""
    if given is not None and "scenarios" in given:
        raise untyped("label with key scenarios cannot be set explicitly")


def label_value(chance: Chance) -> tuple[str, Any]:
    """One label to set; sometimes one that is refused."""
    key = chance.one_of((*KEYS, "scenarios", "", "no-key", "x" * 257) if chance.once_in(5) else KEYS)
    value = chance.one_of((*VALUES, "", [], 0, False)) if chance.once_in(5) else chance.one_of(VALUES)
    return key, value


def label_problem(key: str, value: Any) -> None:
    """Refuses what no label may be."""
    refuse_reserved({key: value})
    problems = {}
    if not key:
        problems["key"] = "cannot be blank"
    elif len(key) > 256:
        problems["key"] = "the length must be no more than 256"
    elif "-" in key:
        problems["key"] = "must be in a valid format"
    if value in ("", [], {}, None, False, 0):
        problems["value"] = "cannot be blank"
    if problems:
        raise invalid_input("LabelInput", **problems)


# Filters


Matches = Callable[[Json], bool]


def filtered_page(chance: Chance) -> Json:
    """Which part of a list, sometimes of what label filters leave of it."""
    arguments = page_arguments(chance)
    if chance.once_in(3):
        arguments["filter"] = [_filter(chance) for _ in range(1 + chance.number(1))]
    return arguments


def _filter(chance: Chance) -> Json:
    key = chance.one_of((*KEYS, "scenarios", "name", "managed"))
    if chance.once_in(3):
        return {"key": key}
    if key in ("scenarios", "runtimeType"):
        return {"key": key, "query": chance.one_of(tuple(_PATHS))}
    if key == "global_subaccount_id" and chance.once_in(2):
        return {"key": key, "query": '{"exists": false}'}
    return {"key": key, "query": chance.one_of(tuple(_QUERIES))}


_PATHS: Final = {
    '$[*] ? (@ == "one")': ["one"],
    '$[*] ? (@ == "two" || @ == "kyma")': ["two", "kyma"],
    '"one"': None,
}
_QUERIES: Final[Mapping[str, Any]] = {
    '"gold"': "gold",
    '["gold"]': ["gold"],
    '"true"': "true",
    "true": True,
    '{"a": 1}': {"a": 1},
    "7": 7,
    '"false"': "false",
    "gold": None,
}


def matching(given: list[Json] | None) -> Matches:
    """What the filters ask for, or the refusal. Source: contract/director.md §5."""
    conditions = [_matching(entry["key"], entry.get("query")) for entry in given or ()]
    return lambda found: all(condition(found) for condition in conditions)


def _matching(key: str, query: str | None) -> Matches:
    if query is None:
        return lambda found: key in found
    if query == '{"exists": false}':
        return lambda found: key not in found
    if key in ("scenarios", "runtimeType"):
        names = _PATHS[query]
        if names is None:
            wording = f'must look like $[*] ? (@ == "a" || @ == "b"), not {query}'
            raise untyped(f"the query of a filter on {key} {wording}")
        return lambda found: key in found and any(contains(found[key], one) for one in names)
    wanted = _QUERIES[query]
    if wanted is None:
        wording = f'must be a JSON literal, for example "\\"text\\"", not {query}'
        raise untyped(f"the query of a filter on {key} {wording}")
    return lambda found: key in found and contains(found[key], wanted)


# Texts


def text(chance: Chance, *values: str) -> str | None:
    """One of these, or nothing."""
    return None if chance.once_in(2) else chance.one_of(values)


def too_long(value: str | None, most: int) -> bool:
    """Whether a text is too long."""
    return value is not None and len(value) > most


def without_nulls(**fields: Any) -> Json:
    """An input object of what is given."""
    return {name: value for name, value in fields.items() if value is not None}


def basic(user: str) -> Json:
    """An AuthInput with a name and a password."""
    return {"credential": {"basic": {"username": user, "password": "open sesame"}}}


def auth(chance: Chance) -> Json | None:
    """An AuthInput, sometimes with no credential or a wrong one; or nothing."""
    if chance.once_in(2):
        return None
    if chance.once_in(15):
        return {"credential": {}}
    return basic(chance.one_of(("ada", "bob")))


def auth_problem(given: Json | None, place: str = "auth") -> dict[str, str]:
    """What is wrong with an AuthInput."""
    if given == {"credential": {}}:
        return {f"{place}.credential.credential": "exactly one credential input has to be specified"}
    return {}


def user_of(given: Json | None) -> str | None:
    """The user name in an AuthInput."""
    if given is None or not given.get("credential"):
        return None
    name: str = given["credential"]["basic"]["username"]
    return name


def refuse(kind: str, problems: Mapping[str, str]) -> None:
    """Refuses an input with these facts, if there are any."""
    if problems:
        raise Refused(22, f"Invalid data {kind} [{'; '.join(f'{key}={problems[key]}' for key in sorted(problems))}]")


# Webhooks


def webhook(chance: Chance) -> Json:
    """A WebhookInput, sometimes one that breaks a rule."""
    given = without_nulls(
        type=chance.one_of(
            ("CONFIGURATION_CHANGED", "APPLICATION_TENANT_MAPPING", "OPEN_RESOURCE_DISCOVERY", "SYSTEM_FIELD_DISCOVERY")
        ),
        url=None if chance.once_in(15) else "https://hook.test/in",
        mode=chance.one_of((None, None, "SYNC", "ASYNC_CALLBACK")),
        correlationIdKey=chance.one_of((None, "x-request")),
        timeout=chance.one_of((None, 30)),
        auth=auth(chance),
    )
    if given.get("url") is not None and chance.once_in(20):
        given["urlTemplate"] = '{"method":"POST","path":"https://hook.test/{{ .Application.ID }}"}'
    if chance.once_in(20):
        given["retryInterval"] = -1
    return given


def webhook_problems(given: Json, place: str = "") -> dict[str, str]:
    """What is wrong with one. Rules between the fields are looked at when each field is right."""
    problems = auth_problem(given.get("auth"), f"{place}auth")
    if given.get("retryInterval") == -1:
        problems[f"{place}retryInterval"] = "must be no less than 0"
    if problems:
        return problems
    if (
        given["type"] not in ("CONFIGURATION_CHANGED", "APPLICATION_TENANT_MAPPING")
        and given.get("mode") == "ASYNC_CALLBACK"
    ):
        return {f"{place}reason": f"unsupported webhook mode ASYNC_CALLBACK for type: {given['type']}"}
    if "url" not in given:
        return {f"{place}reason": "missing webhook url"}
    if "urlTemplate" in given:
        return {f"{place}reason": "cannot provide both webhook url and url template"}
    return {}
