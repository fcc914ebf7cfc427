"""Rules for runtimes and their labels, integration systems, certificate subject mappings, and the small domains."""

import re
from typing import Any, Final

from tests.model.model import INTEGRATION_SYSTEM, RUNTIME, Json, Runtime, by_id, paged
from tests.model.play import (
    NOWHERE,
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
from tests.model.values import (
    filtered_page,
    label_keys,
    label_problem,
    label_value,
    labels,
    matching,
    refuse,
    refuse_reserved,
    text,
    without_nulls,
)

_OWN: Final = re.compile(r".*_defaultEventing$|^xsappnameCMPClone$|^runtimeType$|^CMPSaaSAppName$")
_URL: Final = "runtime_eventServiceUrl"
_SUBACCOUNT: Final = "global_subaccount_id"
_MAPPING: Final = "id subject consumerType internalConsumerID tenantAccessLevels"


class RuntimeRules(Play):
    """Runtimes."""

    def _runtime_given(self, chance: Chance) -> Json:
        own = labels(chance)
        if not chance.once_in(3):
            own = {**(own or {}), _URL: chance.one_of(("https://events.test/in", "https://other.test:9/x?y"))}
        elif own is not None:
            own[_URL] = chance.one_of(("no url", 7))
        if own is not None and chance.once_in(8):
            own["x_defaultEventing"] = "true"
        if own is not None and _SUBACCOUNT in own and not chance.once_in(4):
            own[_SUBACCOUNT] = chance.one_of(("alpha", ["beta"], "gamma"))
        return without_nulls(
            name=chance.one_of(("", "no spaces please", "x" * 257)) if chance.once_in(20) else text_of(chance),
            description=text(chance, "a cluster"),
            labels=own,
            statusCondition=chance.one_of((None, None, "CONNECTED", "PROVISIONING")),
            applicationNamespace=text(chance, "ns"),
        )

    @staticmethod
    def _runtime_problems(given: Json) -> dict[str, str]:
        problems = label_keys(given.get("labels"))
        name = given["name"]
        if not name:
            problems["name"] = "cannot be blank"
        elif len(name) > 256:
            problems["name"] = "the length must be between 1 and 256"
        elif " " in name:
            problems["name"] = "must be in a valid format"
        return problems

    @operation("registerRuntime", "runtime:write")
    def register_runtime(self, chance: Chance) -> None:
        """With labels."""
        who = self.who(chance)
        given = self._runtime_given(chance)

        def expected() -> Any:
            refuse("RuntimeRegisterInput", self._runtime_problems(given))
            who.in_tenant()
            refuse_reserved(given.get("labels"))
            tenant = self._place_of(who, given.get("labels") or {})

            def then(answer: Any) -> Any:
                own = {"isNormalized": "true", **_changeable(given.get("labels"))}
                fields = {name: given.get(name) for name in ("name", "description", "applicationNamespace")}
                if who.kind == "integration system":
                    own["runtimeType"] = "kyma"
                    if "region" in self.world.tenants[tenant].labels:
                        own["region"] = self.world.tenants[tenant].labels["region"]
                    fields["applicationNamespace"] = "sap.kyma"
                status = given.get("statusCondition", "INITIAL")
                made = Runtime(answer["id"], tenant, self.world.next(), fields, own, status)
                self.world.runtimes[made.id] = made
                for formation in self.world.covering(made):
                    self.world.join(formation, {made.id: "RUNTIME"}, caused=True)
                return self.world.runtime(who, made)

            return then

        self.do(who, "registerRuntime", {"in": given}, RUNTIME, expected)

    def _place_of(self, who: Who, given: Json) -> str:
        """The tenant that a new runtime belongs to. Source: contract/director.md §7."""
        tenant = who.in_tenant()
        if _SUBACCOUNT not in given:
            return tenant
        named = given[_SUBACCOUNT]
        if isinstance(named, list) and len(named) == 1:
            named = named[0]
        if not isinstance(named, str):
            raise invalid(f"label {_SUBACCOUNT} must be a text or a list of one")
        for one in self.world.tenants.values():
            if one.external == named and (one.id == tenant or tenant in one.parents):
                return one.id
        raise forbidden(f"Tenant provided in {_SUBACCOUNT} label should be child of the caller tenant")

    @operation("updateRuntime", "runtime:write")
    def update_runtime(self, chance: Chance) -> None:
        """Labels are replaced as a whole."""
        subject = self.pick(chance, self.world.runtimes)
        who = self.who(chance, near=subject)
        given = self._runtime_given(chance)

        def expected() -> Any:
            refuse("RuntimeUpdateInput", self._runtime_problems(given))
            who.in_tenant()
            who.only_itself(subject)
            refuse_reserved(given.get("labels"))
            one = self._own_runtime(who, subject)

            def then(_answer: Any) -> Any:
                for name in ("name", "description", "applicationNamespace"):
                    one.fields[name] = given.get(name, one.fields[name])
                kept = {key: value for key, value in one.labels.items() if key == "scenarios" or _OWN.match(key)}
                one.labels = {"isNormalized": "true", **_changeable(given.get("labels")), **kept}
                one.status = given.get("statusCondition", "INITIAL")
                return self.world.runtime(who, one)

            return then

        self.do(who, "updateRuntime", {"id": subject, "in": given}, RUNTIME, expected)

    def _own_runtime(self, who: Who, subject: str) -> Runtime:
        tenant = who.in_tenant()
        who.only_itself(subject)
        found = self.world.runtimes.get(subject)
        if found is None or not self.world.sees(tenant, found):
            raise not_found("runtime")
        if not self.world.owns(tenant, found):
            raise owner_needed()
        return found

    @operation("unregisterRuntime", "runtime:write")
    def unregister_runtime(self, chance: Chance) -> None:
        """It leaves its groups, and its credentials become unused."""
        subject = self.pick(chance, self.world.runtimes)
        if len(self.world.runtimes) < 2 and not chance.once_in(3):
            subject = NOWHERE
        who = self.who(chance, near=subject)

        def expected() -> Any:
            one = self._own_runtime(who, subject)
            before = self.world.runtime(who, one)

            def then(_answer: Any) -> Any:
                shared = [key for key in self.world.applications if self.world.share(key, one.id)]
                leaving = {one.id, *self.world.of_runtime(one.id)}
                for formation in self.world.formations.values():
                    formation.pairs = {pair: state for pair, state in formation.pairs.items() if not leaving & {*pair}}
                    formation.caused -= leaving
                for held in self.world.credentials.values():
                    if held.runtime == one.id:
                        held.runtime, held.status = None, UNUSED
                self.world.drop_runtime(one.id)
                self.world.settle(shared)
                return before

            return then

        self.do(who, "unregisterRuntime", {"id": subject}, RUNTIME, expected)

    @operation("setRuntimeLabel", "runtime:write")
    def set_runtime_label(self, chance: Chance) -> None:
        """Not the plane's own."""
        subject = self.pick(chance, self.world.runtimes)
        who = self.who(chance, near=subject)
        key, value = label_value(chance)
        if chance.once_in(3):
            key, value = _URL, chance.one_of(("https://events.test/in", "https://third.test"))

        def expected() -> Any:
            who.in_tenant()
            who.only_itself(subject)
            label_problem(key, value)
            if _OWN.match(key):
                raise invalid(f"could not set unmodifiable label with key {key}")
            one = self.world.runtimes.get(subject)
            if one is None or not self.world.sees(who.tenant, one):
                raise untyped(f"Runtime with ID {subject} doesn't exist")
            if not self.world.owns(who.tenant, one):
                raise owner_needed()

            def then(_answer: Any) -> Any:
                one.labels[key] = value
                return {"key": key, "value": value}

            return then

        arguments = {"runtimeID": subject, "key": key, "value": value}
        self.do(who, "setRuntimeLabel", arguments, "key value", expected)

    @operation("deleteRuntimeLabel", "runtime:write")
    def delete_runtime_label(self, chance: Chance) -> None:
        """Not the plane's own."""
        subject = self.pick(chance, self.world.runtimes)
        who = self.who(chance, near=subject)
        known = self.world.runtimes.get(subject)
        key = chance.one_of(["scenarios", "tier", "runtimeType", *(known.labels if known else ())])

        def expected() -> Any:
            who.in_tenant()
            who.only_itself(subject)
            if key == "scenarios":
                raise untyped("label with key scenarios cannot be deleted explicitly")
            if _OWN.match(key):
                raise invalid(f"could not delete unmodifiable label with key {key}")
            if known is None or not self.world.sees(who.tenant, known):
                raise untyped(f"Runtime with ID {subject} doesn't exist")
            if not self.world.owns(who.tenant, known):
                raise owner_needed()
            if key not in known.labels:
                raise not_found("label")
            return lambda _answer: {"key": key, "value": known.labels.pop(key)}

        self.do(who, "deleteRuntimeLabel", {"runtimeID": subject, "key": key}, "key value", expected)

    @operation("runtime", "runtime:read")
    def runtime(self, chance: Chance) -> None:
        """One by its id."""
        subject = self.pick(chance, self.world.runtimes)
        who = self.who(chance, near=subject)

        def expected() -> Any:
            found = self.world.runtimes.get(subject)
            seen = self.world.sees(who.in_tenant(), found)
            return self.world.runtime(who, found) if found is not None and seen else None

        self.ask(who, "runtime", {"id": subject}, RUNTIME, expected)

    @operation("runtimes", "runtime:read")
    def runtimes(self, chance: Chance) -> None:
        """All that the tenant sees."""
        who = self.who(chance)
        arguments = filtered_page(chance)
        self.list_runtimes(who, arguments)

    def list_runtimes(self, who: Who, arguments: Json) -> None:
        """What one caller sees."""

        def expected() -> Any:
            who.in_tenant()
            wanted = matching(arguments.get("filter"))
            found = [one for one in self.world.visible_runtimes(who) if wanted(one.labels)]
            return page([self.world.runtime(who, one) for one in found], arguments)

        self.ask(who, "runtimes", arguments, paged(RUNTIME), expected)


def text_of(chance: Chance) -> str:
    """The name of a runtime; they need not be unique."""
    return chance.one_of(("kyma-1", "kyma-2", "edge.local"))


def _changeable(given: Json | None) -> Json:
    return {key: value for key, value in (given or {}).items() if not _OWN.match(key)}


UNUSED: Final = (
    "UNUSED",
    "PendingDeletion",
    "Credentials for given Bundle Instance Auth are ready for being deleted by Application or Integration System.",
)


class SmallRules(Play):
    """Integration systems, certificate subject mappings, the viewer, and what is never there."""

    @operation("registerIntegrationSystem", "integration_system:write")
    def register_integration_system(self, chance: Chance) -> None:
        """A new one."""
        who = self.who(chance)
        given = self._system(chance)

        def expected() -> Any:
            self._check_system(given)

            def then(answer: Any) -> Any:
                self.world.integration_systems[answer["id"]] = {
                    "name": given["name"],
                    "description": given.get("description"),
                }
                return self.world.integration_system(who, answer["id"])

            return then

        self.do(who, "registerIntegrationSystem", {"in": given}, INTEGRATION_SYSTEM, expected)

    @staticmethod
    def _system(chance: Chance) -> Json:
        name = (
            chance.one_of(("", "9lives", "X" * 37, "No")) if chance.once_in(8) else chance.one_of(("bridge", "hub.eu"))
        )
        return without_nulls(name=name, description=text(chance, "a bridge"))

    @staticmethod
    def _check_system(given: Json) -> None:
        name = given["name"]
        if not name:
            refuse("IntegrationSystemInput", {"name": "cannot be blank"})
        if len(name) > 36:
            refuse("IntegrationSystemInput", {"name": "the length must be between 1 and 36"})
        if name in ("9lives", "No"):
            refuse("IntegrationSystemInput", {"name": "must be in a valid format"})

    @operation("updateIntegrationSystem", "integration_system:write")
    def update_integration_system(self, chance: Chance) -> None:
        """Replace it."""
        subject = self.pick(chance, self.world.integration_systems)
        who = self.who(chance)
        given = self._system(chance)

        def expected() -> Any:
            self._check_system(given)
            if subject not in self.world.integration_systems:
                raise not_found("integrationSystem")

            def then(_answer: Any) -> Any:
                fields = {"name": given["name"], "description": given.get("description")}
                self.world.integration_systems[subject] = fields
                return self.world.integration_system(who, subject)

            return then

        self.do(who, "updateIntegrationSystem", {"id": subject, "in": given}, INTEGRATION_SYSTEM, expected)

    @operation("unregisterIntegrationSystem", "integration_system:write")
    def unregister_integration_system(self, chance: Chance) -> None:
        """Not while an application refers to it."""
        subject = self.pick(chance, self.world.integration_systems)
        who = self.who(chance)

        def expected() -> Any:
            if any(one.fields["integrationSystemID"] == subject for one in self.world.applications.values()):
                reason = "The record cannot be deleted because another record refers to it"
                raise forbidden(reason, "integrationSystem")
            if subject not in self.world.integration_systems:
                raise not_found("integrationSystem")
            before = self.world.integration_system(who, subject)

            def then(_answer: Any) -> Any:
                del self.world.integration_systems[subject]
                self.world.drop_orphans()
                return before

            return then

        self.do(who, "unregisterIntegrationSystem", {"id": subject}, INTEGRATION_SYSTEM, expected)

    @operation("integrationSystem", "integration_system:read")
    def integration_system(self, chance: Chance) -> None:
        """One by its id."""
        subject = self.pick(chance, self.world.integration_systems)
        who = self.who(chance)

        def expected() -> Any:
            known = subject in self.world.integration_systems
            return self.world.integration_system(who, subject) if known else None

        self.ask(who, "integrationSystem", {"id": subject}, INTEGRATION_SYSTEM, expected)

    @operation("integrationSystems", "integration_system:read")
    def integration_systems(self, chance: Chance) -> None:
        """All of them."""
        who = self.who(chance)
        arguments = page_arguments(chance)
        rows = sorted(self.world.integration_systems)
        self.ask(
            *(who, "integrationSystems", arguments, paged(INTEGRATION_SYSTEM)),
            lambda: page([self.world.integration_system(who, one) for one in rows], arguments),
        )

    # Certificate subject mappings

    @staticmethod
    def _mapping(chance: Chance) -> Json:
        subject = chance.one_of(
            ("C=DE, L=X, O=Org, OU=B, OU=A, CN=one", "CN=one,OU=A,OU=B,O=Org,L=X,C=DE", "CN=two,OU=A,O=Org,L=X,C=DE")
        )
        return without_nulls(
            subject="CN=alone" if chance.once_in(12) else subject,
            consumerType="Martian" if chance.once_in(12) else chance.one_of(("Runtime", "Formation Viewer")),
            internalConsumerID=text(chance, "me"),
            tenantAccessLevels=chance.one_of(([], ["planet"])) if chance.once_in(12) else ["account", "global"],
        )

    @staticmethod
    def _kept_mapping(given: Json) -> Json:
        problems = {}
        if given["subject"] == "CN=alone":
            problems["subject"] = (
                "must have exactly one CN, O, L and C and at least one OU, each with a value, and nothing else"
            )
        if given["consumerType"] == "Martian":
            problems["consumerType"] = "must be a valid value"
        if given["tenantAccessLevels"] != ["account", "global"]:
            problems["tenantAccessLevels"] = (
                "must be a valid value" if given["tenantAccessLevels"] else "cannot be blank"
            )
        refuse("CertificateSubjectMappingInput", problems)
        parts = sorted(part.strip() for part in given["subject"].split(","))
        ordered = [part for kind in ("CN=", "OU=", "O=", "L=", "C=") for part in parts if part.startswith(kind)]
        return {"internalConsumerID": None, **given, "subject": ", ".join(ordered)}

    def _require_free_subject(self, kept: Json, but: str | None = None) -> None:
        if any(one["subject"] == kept["subject"] and key != but for key, one in self.world.mappings.items()):
            raise not_unique("certSubjectMapping")

    @operation("createCertificateSubjectMapping", "certificate_subject_mapping:write")
    def create_mapping(self, chance: Chance) -> None:
        """A subject is mapped once, in whatever order it is written."""
        who = self.who(chance)
        given = self._mapping(chance)

        def expected() -> Any:
            kept = self._kept_mapping(given)
            self._require_free_subject(kept)

            def then(answer: Any) -> Any:
                self.world.mappings[answer["id"]] = {"id": answer["id"], **kept}
                return self.world.mappings[answer["id"]]

            return then

        self.do(who, "createCertificateSubjectMapping", {"in": given}, _MAPPING, expected)

    @operation("updateCertificateSubjectMapping", "certificate_subject_mapping:write")
    def update_mapping(self, chance: Chance) -> None:
        """Replace it."""
        who = self.who(chance)
        subject = self.pick(chance, self.world.mappings)
        given = self._mapping(chance)

        def expected() -> Any:
            kept = self._kept_mapping(given)
            if subject not in self.world.mappings:
                raise not_found("certSubjectMapping")
            self._require_free_subject(kept, but=subject)

            def then(_answer: Any) -> Any:
                self.world.mappings[subject] = {"id": subject, **kept}
                return self.world.mappings[subject]

            return then

        self.do(who, "updateCertificateSubjectMapping", {"id": subject, "in": given}, _MAPPING, expected)

    @operation("deleteCertificateSubjectMapping", "certificate_subject_mapping:write")
    def delete_mapping(self, chance: Chance) -> None:
        """It goes."""
        who = self.who(chance)
        subject = self.pick(chance, self.world.mappings)

        def expected() -> Any:
            if subject not in self.world.mappings:
                raise not_found("certSubjectMapping")
            return lambda _answer: self.world.mappings.pop(subject)

        self.do(who, "deleteCertificateSubjectMapping", {"id": subject}, _MAPPING, expected)

    @operation("certificateSubjectMapping", "certificate_subject_mapping:read")
    def mapping(self, chance: Chance) -> None:
        """One by its id."""
        who = self.who(chance)
        subject = self.pick(chance, self.world.mappings)

        def expected() -> Any:
            if subject not in self.world.mappings:
                raise not_found("certSubjectMapping")
            return self.world.mappings[subject]

        self.ask(who, "certificateSubjectMapping", {"id": subject}, _MAPPING, expected)

    @operation("certificateSubjectMappings", "certificate_subject_mapping:read")
    def mappings(self, chance: Chance) -> None:
        """All of them."""
        who = self.who(chance)
        arguments = page_arguments(chance)
        rows = by_id(self.world.mappings)
        self.ask(
            *(who, "certificateSubjectMappings", arguments, paged(_MAPPING)),
            lambda: page(rows, arguments, usual=300, largest=300),
        )

    # Small domains

    @operation("viewer", "")
    def viewer(self, chance: Chance) -> None:
        """Whom the plane takes the caller for."""
        who = self.who(chance)
        kind = "USER" if who.consumer == "Static User" else who.consumer.upper().replace(" ", "_")
        self.ask(who, "viewer", {}, "id type", lambda: {"id": who.id, "type": kind})

    @operation("healthChecks", "health_checks:read")
    def health_checks(self, chance: Chance) -> None:
        """There are none."""
        self.ask(self.who(chance), "healthChecks", {}, paged("type"), lambda: page([], {}))

    @operation("operation", "operation:read")
    def no_operation(self, chance: Chance) -> None:
        """There is none."""

        def expected() -> Any:
            raise not_found("operation")

        self.ask(self.who(chance), "operation", {"id": NOWHERE}, "id", expected)

    def _not_offered(self, chance: Chance, name: str, needs: str, arguments: Json, selection: str) -> None:
        def expected() -> Any:
            raise forbidden(f"{name} is not offered by this plane: it needs {needs}")

        self.do(self.who(chance), name, arguments, selection, expected)

    @operation("scheduleOperation", "operation:schedule")
    def schedule_operation(self, chance: Chance) -> None:
        """Not offered."""
        needs = "an aggregator of Open Resource Discovery"
        self._not_offered(chance, "scheduleOperation", needs, {"operationID": NOWHERE}, "id")

    @operation("subscribeTenant", "tenant_subscription:write")
    def subscribe_tenant(self, chance: Chance) -> None:
        """Not offered."""
        self._not_offered(
            chance, "subscribeTenant", "a subscription service", {**_SUBSCRIPTION, "subscriptionAppName": "x"}, ""
        )

    @operation("unsubscribeTenant", "tenant_subscription:write")
    def unsubscribe_tenant(self, chance: Chance) -> None:
        """Not offered."""
        self._not_offered(chance, "unsubscribeTenant", "a subscription service", _SUBSCRIPTION, "")


_SUBSCRIPTION: Final = {
    "providerID": "x",
    "subaccountID": "x",
    "providerSubaccountID": "x",
    "consumerTenantID": "x",
    "region": "x",
    "subscriptionPayload": "{}",
}
__all__ = ["Refused", "RuntimeRules", "SmallRules"]
