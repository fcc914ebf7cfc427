"""Rules for what applications offer: bundles, definitions, documents, dependencies, and credentials for bundles."""

from collections.abc import Callable
from typing import Any, Final
from unittest.mock import ANY

from tests.model.model import (
    API,
    BUNDLE,
    DEPENDENCY,
    DOCUMENT,
    EVENT,
    INSTANCE_AUTH,
    SPEC,
    Credentials,
    Json,
    Part,
    World,
    by_id,
    credential,
    paged,
)
from tests.model.play import (
    Chance,
    Play,
    Refused,
    Who,
    forbidden,
    invalid,
    not_found,
    not_unique,
    operation,
    owner_needed,
    page,
    page_arguments,
    untyped,
)
from tests.model.values import auth, auth_problem, basic, refuse, text, user_of, without_nulls

_SCHEMA: Final = '{"type": "object", "required": ["user"]}'
_CHOSEN: Final = ("aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002")
_LONG: Final = "x" * 101
_UNUSED: Final = (
    "UNUSED",
    "PendingDeletion",
    "Credentials for given Bundle Instance Auth are ready for being deleted by Application or Integration System.",
)
_PROVIDED: Final = ("SUCCEEDED", "CredentialsProvided", "Credentials were provided.")
_NOT_PROVIDED: Final = ("PENDING", "CredentialsNotProvided", "Credentials were not yet provided.")

# Inputs


def _name(chance: Chance) -> str:
    return chance.one_of(("", _LONG, "näme")) if chance.once_in(20) else chance.one_of(("one", "two", "three"))


def name_problem(name: str, place: str = "name", most: int = 100) -> dict[str, str]:
    """What is wrong with the name of something in the catalogue."""
    if not name:
        return {place: "cannot be blank"}
    if len(name) > most:
        return {place: f"the length must be between 1 and {most}"}
    return {} if name.isascii() else {place: "must be in a valid format"}


def _spec(chance: Chance, kind: str) -> Json | None:
    if chance.once_in(2):
        return None
    given: Json = {"type": kind, "format": "XML" if chance.once_in(15) else chance.one_of(("JSON", "YAML"))}
    if chance.once_in(3):
        # A mode that is not supported: the fetch fails without anybody being asked.
        given["fetchRequest"] = {"url": "http://127.0.0.1:1/spec", "mode": "BUNDLE"}
    if "fetchRequest" not in given or chance.once_in(8):
        given["data"] = chance.one_of(("{}", "openapi: 3"))
    return given


def _spec_problems(given: Json | None, place: str = "spec") -> dict[str, str]:
    if given is None:
        return {}
    problems = {}
    if given["format"] == "XML":
        wording = f"XML is not a valid spec format for spec type {given['type']}"
        problems[f"{place}.Rule.MatchingTypeAndFormat"] = wording
    if ("data" in given) == ("fetchRequest" in given):
        problems[f"{place}.Rule.DataOrFetchRequest"] = "Only one of Data or Fetch Request must be passed"
    return problems


def _kept_spec(given: Json | None, answered: Json | None) -> Json | None:
    if given is None:
        return None
    fetch = given.get("fetchRequest")
    return {
        "id": (answered or {}).get("id"),
        "data": given.get("data"),
        "type": given["type"],
        "format": given["format"],
        "fetchRequest": fetch and {"url": fetch["url"], "mode": fetch["mode"], "status": {"condition": "FAILED"}},
    }


def _version(chance: Chance) -> Json | None:
    if chance.once_in(2):
        return None
    return {"value": "one" if chance.once_in(12) else "1.2.3", "deprecated": True, "forRemoval": False}


def _version_problems(given: Json | None, place: str = "version") -> dict[str, str]:
    return {f"{place}.value": "must be in a valid format"} if given is not None and given["value"] == "one" else {}


def api_given(chance: Chance) -> Json:
    """An APIDefinitionInput."""
    return without_nulls(
        name=_name(chance),
        targetURL="no url" if chance.once_in(20) else chance.one_of(("https://api.test/v1", "http://other.test:8/x")),
        description=text(chance, "an API"),
        group=text(chance, "g1", "g2"),
        spec=_spec(chance, "OPEN_API"),
        version=_version(chance),
    )


def event_given(chance: Chance) -> Json:
    """An EventDefinitionInput."""
    return without_nulls(
        name=_name(chance),
        description=text(chance, "events"),
        group=text(chance, "g1"),
        spec=_spec(chance, "ASYNC_API"),
        version=_version(chance),
    )


def document_given(chance: Chance) -> Json:
    """A DocumentInput."""
    return without_nulls(
        title="" if chance.once_in(20) else chance.one_of(("read me", "manual")),
        displayName="Read me",
        description="about it",
        format="MARKDOWN",
        kind=text(chance, "prose"),
        data=text(chance, "# Read me"),
    )


def definition_problems(given: Json, place: str = "") -> dict[str, str]:
    """What is wrong with an API or event definition."""
    problems = name_problem(given["name"], f"{place}name")
    if given.get("targetURL") == "no url":
        problems[f"{place}targetURL"] = "must be a valid URL"
    problems |= _spec_problems(given.get("spec"), f"{place}spec")
    return problems | _version_problems(given.get("version"), f"{place}version")


def _document_problems(given: Json, place: str = "") -> dict[str, str]:
    return {} if given["title"] else {f"{place}title": "cannot be blank"}


def bundle_given(chance: Chance) -> Json:
    """A BundleCreateInput; what is in it can be told apart by name."""
    return without_nulls(
        name=_name(chance),
        description=text(chance, "a bundle"),
        instanceAuthRequestInputSchema=chance.one_of((None, None, _SCHEMA)),
        defaultInstanceAuth=auth(chance),
        apiDefinitions=[api_given(chance)] if chance.once_in(2) else None,
        eventDefinitions=[event_given(chance)] if chance.once_in(4) else None,
        documents=[document_given(chance)] if chance.once_in(4) else None,
        correlationIDs=["c:1"] if chance.once_in(4) else None,
    )


def bundle_problems(given: Json, place: str = "") -> dict[str, str]:
    """What is wrong with a bundle."""
    problems = name_problem(given["name"], f"{place}name")
    problems |= auth_problem(given.get("defaultInstanceAuth"), f"{place}defaultInstanceAuth")
    for kind in ("apiDefinitions", "eventDefinitions"):
        for number, part in enumerate(given.get(kind, ())):
            problems |= definition_problems(part, f"{place}{kind}.{number}.")
    for number, part in enumerate(given.get("documents", ())):
        problems |= _document_problems(part, f"{place}documents.{number}.")
    return problems


# What becomes of them


def definition(application: str, bundle: str | None, given: Json, answered: Json) -> Part:
    """A definition as it is kept."""
    version = given.get("version")
    fields = {name: given.get(name) for name in ("name", "description", "targetURL", "group")}
    fields["version"] = version and {"deprecatedSince": None, **version}
    return Part(answered["id"], application, bundle, fields, _kept_spec(given.get("spec"), answered.get("spec")))


def reach(world: World, application: str, given: Json) -> None:
    """The first API of a bundle says where an application without a base URL is reached."""
    fields = world.applications[application].fields
    if not fields.get("baseUrl"):
        fields["baseUrl"] = "/".join(given["targetURL"].split("/")[:3])


def take_bundle(world: World, application: str, given: Json, answered: Json) -> None:
    """Keep a new bundle with everything in it; the ids are those of the answer."""
    fields = {
        name: given.get(name) for name in ("name", "description", "instanceAuthRequestInputSchema", "correlationIDs")
    }
    bundle = Part(answered["id"], application, None, fields, user=user_of(given.get("defaultInstanceAuth")))
    world.bundles[bundle.id] = bundle
    bundle.fields["hasDefault"] = given.get("defaultInstanceAuth") is not None
    for kind, parts in (("apiDefinitions", world.apis), ("eventDefinitions", world.events)):
        for entry, made in zip(given.get(kind, ()), answered[kind]["data"], strict=False):
            parts[made["id"]] = definition(application, bundle.id, entry, made)
    for entry, made in zip(given.get("documents", ()), answered["documents"]["data"], strict=False):
        world.documents[made["id"]] = Part(made["id"], application, bundle.id, entry)
    for entry in given.get("apiDefinitions", ())[:1]:
        reach(world, application, entry)


class CatalogueRules(Play):
    """What applications offer."""

    def may_change(self, who: Who, part: Part | None, absent: Refused) -> Part:
        """The part, for who may change it."""
        tenant = who.in_tenant()
        if part is None:
            raise absent
        application = self.world.applications[part.application]
        if not self.world.sees(tenant, application) or who.application not in (None, application.id):
            raise absent
        if not self.world.owns(tenant, application):
            raise owner_needed()
        return part

    def may_extend(self, who: Who, application: str | None, kind: str, absent: Refused | None = None) -> None:
        """Whether the caller may add to an application; `absent` is said of what is in a bundle that is not there."""
        tenant = who.in_tenant()
        no_access = Refused(
            26,
            f"Unauthorized [reason=Tenant {tenant} does not have access to the parent of the currently created {kind}: "
            "it is not there, or another tenant owns it]",
        )
        found = self.world.applications.get(application or "")
        if found is None or not self.world.sees(tenant, found) or who.application not in (None, found.id):
            raise absent or no_access
        if not self.world.owns(tenant, found):
            raise no_access

    def _near(self, chance: Chance, part: Part | None) -> Who:
        return self.who(chance, near=part.application if part else None)

    def _pick_part(self, chance: Chance, parts: dict[str, Part]) -> tuple[str, Part | None]:
        subject = self.pick(chance, parts)
        return subject, parts.get(subject)

    # Bundles

    @operation("addBundle", "application:write")
    def add_bundle(self, chance: Chance) -> None:
        """With everything in it."""
        application = self.pick(chance, self.world.applications)
        who = self.who(chance, near=application)
        given = bundle_given(chance)

        def expected() -> Any:
            refuse("BundleCreateInput", bundle_problems(given))
            self.may_extend(who, application, "bundle")

            def then(answer: Any) -> Any:
                take_bundle(self.world, application, given, answer)
                return self.world.bundle(who, self.world.bundles[answer["id"]])

            return then

        self.do(who, "addBundle", {"applicationID": application, "in": given}, BUNDLE, expected)

    @operation("updateBundle", "application:write")
    def update_bundle(self, chance: Chance) -> None:
        """Its own fields; what is left out becomes empty."""
        subject, part = self._pick_part(chance, self.world.bundles)
        who = self._near(chance, part)
        given = without_nulls(
            name=_name(chance),
            description=text(chance, "another"),
            instanceAuthRequestInputSchema=chance.one_of((None, _SCHEMA)),
            defaultInstanceAuth=auth(chance),
        )

        def expected() -> Any:
            refuse(
                "BundleUpdateInput",
                name_problem(given["name"]) | auth_problem(given.get("defaultInstanceAuth"), "defaultInstanceAuth"),
            )
            found = self.may_change(who, part, not_found("bundle"))

            def then(_answer: Any) -> Any:
                found.fields |= {
                    name: given.get(name) for name in ("name", "description", "instanceAuthRequestInputSchema")
                }
                found.fields["hasDefault"] = "defaultInstanceAuth" in given
                found.user = user_of(given.get("defaultInstanceAuth"))
                return self.world.bundle(who, found)

            return then

        self.do(who, "updateBundle", {"id": subject, "in": given}, BUNDLE, expected)

    @operation("deleteBundle", "application:write")
    def delete_bundle(self, chance: Chance) -> None:
        """With everything in it."""
        subject, part = self._pick_part(chance, self.world.bundles)
        self._delete(chance, "deleteBundle", "bundle", subject, part, BUNDLE, self.world.bundle, self.world.drop_bundle)

    def _delete(
        self,
        chance: Chance,
        name: str,
        kind: str,
        subject: str,
        part: Part | None,
        selection: str,
        shown: Callable[[Who, Part], Json],
        drop: Callable[[str], Any],
    ) -> None:
        who = self._near(chance, part)

        def expected() -> Any:
            before = shown(who, self.may_change(who, part, not_found(kind)))

            def then(_answer: Any) -> Any:
                drop(subject)
                return before

            return then

        self.do(who, name, {"id": subject}, selection, expected)

    # Definitions

    def _add_to_bundle(self, chance: Chance, name: str, event: bool) -> None:  # which of two twins
        bundle, part = self._pick_part(chance, self.world.bundles)
        who = self._near(chance, part)
        given = event_given(chance) if event else api_given(chance)
        word, kind, parts = self._twin(event)
        input_type = "EventDefinitionInput" if event else "APIDefinitionInput"
        missing = "Event Definition to not existing Bundle" if event else "API to not existing bundle"

        def expected() -> Any:
            refuse(input_type, definition_problems(given))
            self.may_extend(who, part.application if part else None, word, invalid(f"cannot add {missing}"))
            if part is None:
                raise AssertionError("may_extend has refused it")

            def then(answer: Any) -> Any:
                parts[answer["id"]] = definition(part.application, bundle, given, answer)
                if not event:
                    reach(self.world, part.application, given)
                return kind(who, parts[answer["id"]])

            return then

        self.do(who, name, {"bundleID": bundle, "in": given}, EVENT if event else API, expected)

    def _twin(self, event: bool) -> tuple[str, Callable[[Who, Part], Json], dict[str, Part]]:  # as above
        if event:
            return "eventDefinition", self.world.event, self.world.events
        return "api", self.world.api, self.world.apis

    def _add_to_application(self, chance: Chance, name: str, event: bool) -> None:  # as above
        application = self.pick(chance, self.world.applications)
        who = self.who(chance, near=application)
        given = event_given(chance) if event else api_given(chance)
        word, kind, parts = self._twin(event)

        def expected() -> Any:
            refuse("EventDefinitionInput" if event else "APIDefinitionInput", definition_problems(given))
            self.may_extend(who, application, word)

            def then(answer: Any) -> Any:
                parts[answer["id"]] = definition(application, None, given, answer)
                return kind(who, parts[answer["id"]])

            return then

        self.do(who, name, {"appID": application, "in": given}, EVENT if event else API, expected)

    def _update_definition(self, chance: Chance, name: str, event: bool, bundled: bool) -> None:  # as above
        word, kind, parts = self._twin(event)
        suited = {key: part for key, part in parts.items() if (part.bundle is not None) == bundled}
        subject, _ = self._pick_part(chance, parts if chance.once_in(4) else suited)
        part = parts.get(subject)
        who = self._near(chance, part)
        given = event_given(chance) if event else api_given(chance)

        def expected() -> Any:
            refuse("EventDefinitionInput" if event else "APIDefinitionInput", definition_problems(given))
            found = self.may_change(who, suited.get(subject), not_found(word))

            def then(answer: Any) -> Any:
                changed = definition(found.application, found.bundle, given, answer)
                if "spec" in given:
                    found.spec = changed.spec
                found.fields = changed.fields
                return kind(who, found)

            return then

        self.do(who, name, {"id": subject, "in": given}, EVENT if event else API, expected)

    def _refetch(self, chance: Chance, name: str, event: bool) -> None:  # as above
        _, _, parts = self._twin(event)
        subject, part = self._pick_part(chance, parts)
        who = self._near(chance, part)
        noun, argument, scope = ("Event", "eventID", "event_spec") if event else ("API", "apiID", "api_spec")

        def expected() -> Any:
            absent = untyped(f'spec for {noun} with id "{subject}" not found')
            found = self.may_change(who, part if part is not None and part.spec is not None else None, absent)
            return lambda _answer: self.world.spec(who, found, scope)

        self.do(who, name, {argument: subject}, SPEC, expected)

    @operation("addAPIDefinitionToBundle", "application:write")
    def add_api_to_bundle(self, chance: Chance) -> None:
        """An API in a bundle."""
        self._add_to_bundle(chance, "addAPIDefinitionToBundle", event=False)

    @operation("addEventDefinitionToBundle", "application:write")
    def add_event_to_bundle(self, chance: Chance) -> None:
        """An event definition in a bundle."""
        self._add_to_bundle(chance, "addEventDefinitionToBundle", event=True)

    @operation("addAPIDefinitionToApplication", "application:write")
    def add_api_to_application(self, chance: Chance) -> None:
        """An API in no bundle."""
        self._add_to_application(chance, "addAPIDefinitionToApplication", event=False)

    @operation("addEventDefinitionToApplication", "application:write")
    def add_event_to_application(self, chance: Chance) -> None:
        """An event definition in no bundle."""
        self._add_to_application(chance, "addEventDefinitionToApplication", event=True)

    @operation("updateAPIDefinition", "application:write")
    def update_api(self, chance: Chance) -> None:
        """An API in a bundle."""
        self._update_definition(chance, "updateAPIDefinition", event=False, bundled=True)

    @operation("updateAPIDefinitionForApplication", "application:write")
    def update_api_of_application(self, chance: Chance) -> None:
        """An API in no bundle."""
        self._update_definition(chance, "updateAPIDefinitionForApplication", event=False, bundled=False)

    @operation("updateEventDefinition", "application:write")
    def update_event(self, chance: Chance) -> None:
        """An event definition in a bundle."""
        self._update_definition(chance, "updateEventDefinition", event=True, bundled=True)

    @operation("updateEventDefinitionForApplication", "application:write")
    def update_event_of_application(self, chance: Chance) -> None:
        """An event definition in no bundle."""
        self._update_definition(chance, "updateEventDefinitionForApplication", event=True, bundled=False)

    @operation("refetchAPISpec", "application:write")
    def refetch_api_spec(self, chance: Chance) -> None:
        """Fetch it again."""
        self._refetch(chance, "refetchAPISpec", event=False)

    @operation("refetchEventDefinitionSpec", "application:write")
    def refetch_event_spec(self, chance: Chance) -> None:
        """Fetch it again."""
        self._refetch(chance, "refetchEventDefinitionSpec", event=True)

    @operation("deleteAPIDefinition", "application:write")
    def delete_api(self, chance: Chance) -> None:
        """In a bundle or not."""
        subject, part = self._pick_part(chance, self.world.apis)
        self._delete(chance, "deleteAPIDefinition", "api", subject, part, API, self.world.api, self.world.apis.pop)

    @operation("deleteEventDefinition", "application:write")
    def delete_event(self, chance: Chance) -> None:
        """In a bundle or not."""
        subject, part = self._pick_part(chance, self.world.events)
        self._delete(
            *(chance, "deleteEventDefinition", "eventDefinition", subject, part, EVENT),
            *(self.world.event, self.world.events.pop),
        )

    # Documents and dependencies

    @operation("addDocumentToBundle", "application:write")
    def add_document(self, chance: Chance) -> None:
        """Prose about a bundle."""
        bundle, part = self._pick_part(chance, self.world.bundles)
        who = self._near(chance, part)
        given = document_given(chance)

        def expected() -> Any:
            refuse("DocumentInput", _document_problems(given))
            absent = invalid("cannot add Document to not existing Bundle")
            self.may_extend(who, part.application if part else None, "document", absent)
            if part is None:
                raise AssertionError("may_extend has refused it")

            def then(answer: Any) -> Any:
                made = Part(answer["id"], part.application, bundle, given)
                self.world.documents[made.id] = made
                return self.world.document(made)

            return then

        self.do(who, "addDocumentToBundle", {"bundleID": bundle, "in": given}, DOCUMENT, expected)

    @operation("deleteDocument", "application:write")
    def delete_document(self, chance: Chance) -> None:
        """A document goes."""
        subject, part = self._pick_part(chance, self.world.documents)
        self._delete(
            *(chance, "deleteDocument", "document", subject, part, DOCUMENT),
            lambda _who, one: self.world.document(one),
            self.world.documents.pop,
        )

    @operation("addIntegrationDependencyToApplication", "application:write")
    def add_dependency(self, chance: Chance) -> None:
        """What an application needs."""
        application = self.pick(chance, self.world.applications)
        who = self.who(chance, near=application)
        given = without_nulls(
            name="" if chance.once_in(15) else chance.one_of(("orders", "parts")),
            ordID="sap.x:dep:1",
            description=text(chance, "needed"),
            mandatory=chance.one_of((None, True)),
            labels=chance.one_of((None, {"tier": "gold"})),
            aspects=[{"name": "read", "apiResources": [{"ordId": "sap.x:api:1"}]}] if chance.once_in(2) else None,
        )

        def expected() -> Any:
            refuse("IntegrationDependencyInput", name_problem(given["name"], most=256))
            self.may_extend(who, application, "integrationDependency")

            def then(answer: Any) -> Any:
                fields = {**given, "labels": given.get("labels") or {}}
                fields["aspects"] = [
                    {"name": aspect["name"], "apis": [one["ordId"] for one in aspect["apiResources"]]}
                    for aspect in given.get("aspects", ())
                ]
                made = Part(answer["id"], application, None, fields)
                self.world.dependencies[made.id] = made
                return self.world.dependency(made)

            return then

        arguments = {"appID": application, "in": given}
        self.do(who, "addIntegrationDependencyToApplication", arguments, DEPENDENCY, expected)

    @operation("deleteIntegrationDependency", "application:write")
    def delete_dependency(self, chance: Chance) -> None:
        """A dependency goes."""
        subject, part = self._pick_part(chance, self.world.dependencies)
        self._delete(
            *(chance, "deleteIntegrationDependency", "integrationDependency", subject, part, DEPENDENCY),
            lambda _who, one: self.world.dependency(one),
            self.world.dependencies.pop,
        )

    # Lists

    @operation("apisForApplication", "application:read")
    def apis_for_application(self, chance: Chance) -> None:
        """Those of one application."""
        self._of_application(chance, "apisForApplication", API, self.world.apis, self.world.api)

    @operation("eventsForApplication", "application:read")
    def events_for_application(self, chance: Chance) -> None:
        """Those of one application."""
        self._of_application(chance, "eventsForApplication", EVENT, self.world.events, self.world.event)

    def _of_application(
        self, chance: Chance, name: str, selection: str, parts: dict[str, Part], shown: Callable[[Who, Part], Json]
    ) -> None:
        application = self.pick(chance, self.world.applications)
        who = self.who(chance, near=application)
        arguments = {"appID": application, **page_arguments(chance)}

        def expected() -> Any:
            who.in_tenant()
            found = self.world.applications.get(application)
            seen = self.world.sees(who.tenant, found) and (
                who.runtime is None or self.world.share(application, who.runtime)
            )
            rows = [shown(who, one) for one in by_id(parts) if seen and one.application == application]
            return page(rows, arguments)

        self.ask(who, name, arguments, paged(selection), expected)

    # Credentials for bundles

    def _sees_bundle(self, who: Who, bundle: str) -> bool:
        part = self.world.bundles.get(bundle)
        return part is not None and self.world.sees(who.tenant, self.world.applications[part.application])

    @operation("requestBundleInstanceAuthCreation", "runtime:write")
    def request_credentials(self, chance: Chance) -> None:
        """A runtime asks."""
        bundle, part = self._pick_part(chance, self.world.bundles)
        kinds = ("runtime", "runtime", "administrator", "application", "foreigner", "integration system")
        who = self.who(chance, *kinds, near=part.application if part else None)
        given = without_nulls(
            id="no-id" if chance.once_in(15) else chance.one_of((None, None, None, *_CHOSEN)),
            context=chance.one_of((None, '{"a":1}')),
            inputParams=chance.one_of((None, '{"user":"ada"}', '{"other":1}')),
        )

        def expected() -> Any:
            refuse(
                "BundleInstanceAuthRequestInput", {"id": "must be a valid UUID"} if given.get("id") == "no-id" else {}
            )
            tenant = who.in_tenant()
            if part is None or not self._sees_bundle(who, bundle):
                raise not_found("bundle")
            self._require_group(who, part.application)
            self._require_parameters(part, given.get("inputParams"), asked=True)
            if given.get("id") in self.world.credentials:
                raise not_unique("bundleInstanceAuth")

            def then(answer: Any) -> Any:
                status = _PROVIDED if part.fields["hasDefault"] else _NOT_PROVIDED
                made = Credentials(
                    given.get("id", answer["id"]),
                    bundle,
                    tenant,
                    who.runtime,
                    self.world.next(),
                    given,
                    part.user,
                    status,
                )
                made.fields["hasAuth"] = part.fields["hasDefault"]
                self.world.credentials[made.id] = made
                return self.world.instance_auth(made)

            return then

        arguments = {"bundleID": bundle, "in": dict(given)}
        self.do(who, "requestBundleInstanceAuthCreation", arguments, INSTANCE_AUTH, expected)

    def _require_group(self, who: Who, application: str) -> None:
        if who.runtime is not None and not self.world.share(application, who.runtime):
            raise forbidden("requesting runtime should be in same scenario as the requested application resource")

    def _require_parameters(self, part: Part, parameters: str | None, *, asked: bool) -> None:
        if part.fields["instanceAuthRequestInputSchema"] is None:
            return
        if parameters is None:
            if asked:
                raise invalid(
                    "json schema for input parameters was defined for the bundle but no input parameters were provided"
                )
            return
        if "user" not in parameters:
            raise Refused(10, ANY)

    @operation("createBundleInstanceAuth", "bundle_instance_auth:write")
    def create_credentials(self, chance: Chance) -> None:
        """An application gives some unasked."""
        bundle, part = self._pick_part(chance, self.world.bundles)
        who = self._near(chance, part)
        given = without_nulls(
            auth=basic("eve"),
            inputParams=chance.one_of((None, '{"user":"ada"}', '{"other":1}')),
            runtimeID=None if chance.once_in(12) else self.pick(chance, self.world.runtimes),
        )

        def expected() -> Any:
            if "runtimeID" not in given:
                wording = "exactly one of runtimeID and runtimeContextID must be given"
                refuse("BundleInstanceAuthCreateInput", {"runtimeID": wording})
            tenant = who.in_tenant()
            self.may_extend(who, part.application if part else None, "bundleInstanceAuth", not_found("bundle"))
            if part is None:
                raise AssertionError("may_extend has refused it")
            runtime = self.world.runtimes.get(given["runtimeID"])
            if not self.world.sees(tenant, runtime):
                raise not_found("runtime")
            self._require_parameters(part, given.get("inputParams"), asked=False)

            def then(answer: Any) -> Any:
                fields = {"inputParams": given.get("inputParams")}
                made = Credentials(
                    *(answer["id"], bundle, tenant, given["runtimeID"], self.world.next(), fields, "eve", _PROVIDED)
                )
                self.world.credentials[made.id] = made
                return self.world.instance_auth(made)

            return then

        self.do(who, "createBundleInstanceAuth", {"bundleID": bundle, "in": given}, INSTANCE_AUTH, expected)

    def _pick_credentials(self, chance: Chance) -> tuple[str, Credentials | None, str | None]:
        subject = self.pick(chance, self.world.credentials)
        found = self.world.credentials.get(subject)
        return subject, found, self.world.bundles[found.bundle].application if found else None

    def _own_credentials(self, who: Who, found: Credentials | None) -> Credentials:
        self.may_change(who, self.world.bundles[found.bundle] if found else None, not_found("bundleInstanceAuth"))
        if found is None:
            raise AssertionError("may_change has refused it")
        return found

    @operation("updateBundleInstanceAuth", "bundle_instance_auth:write")
    def update_credentials(self, chance: Chance) -> None:
        """Change what is given."""
        subject, found, application = self._pick_credentials(chance)
        who = self.who(chance, near=application)
        bundle = found.bundle if found is not None and not chance.once_in(6) else self.pick(chance, self.world.bundles)
        given = without_nulls(
            context=chance.one_of((None, '{"b":2}')),
            inputParams=chance.one_of((None, '{"user":"ada"}', '{"other":1}')),
            auth=auth(chance),
        )

        def expected() -> Any:
            refuse("BundleInstanceAuthUpdateInput", auth_problem(given.get("auth")))
            own = self._own_credentials(who, found)
            if own.bundle != bundle:
                raise not_found("bundleInstanceAuth")
            if "inputParams" in given:
                self._require_parameters(self.world.bundles[bundle], given["inputParams"], asked=False)

            def then(_answer: Any) -> Any:
                own.fields |= {name: given[name] for name in ("context", "inputParams") if name in given}
                if "auth" in given:
                    own.user = user_of(given["auth"])
                    own.status = own.status if own.status[0] == "UNUSED" else _PROVIDED
                return self.world.instance_auth(own)

            return then

        arguments = {"id": subject, "bundleID": bundle, "in": given}
        self.do(who, "updateBundleInstanceAuth", arguments, INSTANCE_AUTH, expected)

    @operation("setBundleInstanceAuth", "application:write")
    def set_credentials(self, chance: Chance) -> None:
        """Answer a request, once."""
        subject, found, application = self._pick_credentials(chance)
        who = self.who(chance, near=application)
        failed = chance.once_in(3)
        given = without_nulls(
            auth=basic("ada") if not failed or chance.once_in(10) else None,
            status={"condition": "FAILED", "message": "no", "reason": "NotNow"} if failed else None,
        )
        if chance.once_in(12):
            given.pop("auth", None)

        def expected() -> Any:
            if failed and "auth" in given:
                wording = "cannot be given together with the status condition FAILED"
                refuse("BundleInstanceAuthSetInput", {"auth": wording})
            if not failed and "auth" not in given:
                wording = "must be given unless the status condition is FAILED"
                refuse("BundleInstanceAuthSetInput", {"auth": wording})
            own = self._own_credentials(who, found)
            if own.status[0] != "PENDING":
                raise forbidden("auth can be set only on BundleInstanceAuths in PENDING state")

            def then(_answer: Any) -> Any:
                own.status = ("FAILED", "NotNow", "no") if failed else _PROVIDED
                own.user = user_of(given.get("auth")) or own.user
                return self.world.instance_auth(own)

            return then

        self.do(who, "setBundleInstanceAuth", {"authID": subject, "in": given}, INSTANCE_AUTH, expected)

    @operation("requestBundleInstanceAuthDeletion", "runtime:write")
    def request_deletion(self, chance: Chance) -> None:
        """A runtime gives some back."""
        subject, found, application = self._pick_credentials(chance)
        near = found.runtime if found is not None and found.runtime is not None else application
        who = self.who(chance, "runtime", "runtime", "administrator", "application", "foreigner", near=near)

        def expected() -> Any:
            tenant = who.in_tenant()
            if found is None or application is None:
                raise not_found("bundleInstanceAuth")
            thing = self.world.applications[application]
            known = found.tenant == tenant or self.world.sees(tenant, thing)
            if not known or who.runtime not in (None, found.runtime):
                raise not_found("bundleInstanceAuth")
            self._require_group(who, application)
            if found.tenant != tenant and not self.world.owns(tenant, thing):
                raise owner_needed()
            bundle = self.world.bundles[found.bundle]

            def then(_answer: Any) -> Any:
                if bundle.fields["hasDefault"]:
                    del self.world.credentials[subject]
                else:
                    found.status = _UNUSED
                return self.world.instance_auth(found)

            return then

        self.do(who, "requestBundleInstanceAuthDeletion", {"authID": subject}, INSTANCE_AUTH, expected)

    @operation("deleteBundleInstanceAuth", "application:write")
    def delete_credentials(self, chance: Chance) -> None:
        """An application takes some away."""
        subject, found, application = self._pick_credentials(chance)
        who = self.who(chance, near=application)

        def expected() -> Any:
            own = self._own_credentials(who, found)

            def then(_answer: Any) -> Any:
                del self.world.credentials[subject]
                return self.world.instance_auth(own)

            return then

        self.do(who, "deleteBundleInstanceAuth", {"authID": subject}, INSTANCE_AUTH, expected)

    @operation("bundleInstanceAuth", "application:read")
    def read_credentials(self, chance: Chance) -> None:
        """One by its id."""
        subject, found, application = self._pick_credentials(chance)
        who = self.who(chance, near=application)

        def expected() -> Any:
            tenant = who.in_tenant()
            if found is None or application is None:
                return None
            seen = found.tenant == tenant or self.world.sees(tenant, self.world.applications[application])
            theirs = who.runtime not in (None, found.runtime) or who.application not in (None, application)
            return self.world.instance_auth(found) if seen and not theirs else None

        self.ask(who, "bundleInstanceAuth", {"id": subject}, INSTANCE_AUTH, expected)

    @operation("bundleByInstanceAuth", "application:read")
    def bundle_by_credentials(self, chance: Chance) -> None:
        """The bundle that some are for."""
        subject, found, application = self._pick_credentials(chance)
        who = self.who(chance, near=application)

        def expected() -> Any:
            tenant = who.in_tenant()
            if (
                found is None
                or application is None
                or not self.world.sees(tenant, self.world.applications[application])
            ):
                return None
            if who.runtime is not None and (
                found.runtime != who.runtime or not self.world.share(application, who.runtime)
            ):
                return None
            return self.world.bundle(who, self.world.bundles[found.bundle])

        self.ask(who, "bundleByInstanceAuth", {"authID": subject}, BUNDLE, expected)


__all__ = ["CatalogueRules", "bundle_given", "bundle_problems", "credential", "take_bundle"]
