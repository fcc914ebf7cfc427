"""Rules for applications, their labels, webhooks and eventing."""

from typing import Any, Final

from tests.model.model import (
    APPLICATION,
    TENANT,
    WEBHOOK,
    Application,
    Json,
    Webhook,
    by_id,
    normalized,
    paged,
)
from tests.model.play import (
    NOWHERE,
    Chance,
    Play,
    Refused,
    Who,
    forbidden,
    invalid,
    not_found,
    operation,
    owner_needed,
    page,
    page_arguments,
    untyped,
)
from tests.model.rules_catalogue import bundle_given, bundle_problems, take_bundle
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
    user_of,
    webhook,
    webhook_problems,
    without_nulls,
)

NAMES: Final = ("orders", "Orders", "mp-orders", "Parts & more", "parts", "crm")
_STATUSES: Final = ("INITIAL", "CONNECTED", "FAILED")
_CHANGED: Final = (
    *("providerName", "description", "healthCheckURL", "baseUrl", "applicationNamespace", "localTenantID"),
)


class ApplicationRules(Play):
    """Applications."""

    # Registering and changing

    def _fields(self, chance: Chance) -> Json:
        return without_nulls(
            providerName=text(chance, "SAP", "us"),
            description="x" * 2001 if chance.once_in(25) else text(chance, "a system", ""),
            healthCheckURL="nowhere" if chance.once_in(25) else text(chance, "https://up.test"),
            baseUrl=text(chance, "https://base.test", "https://base.test/"),
            applicationNamespace=text(chance, "ns"),
            integrationSystemID=self.pick(chance, self.world.integration_systems) if chance.once_in(5) else None,
            statusCondition=chance.one_of((None, None, None, *_STATUSES)),
            localTenantID=chance.one_of((None, None, None, "local-1", "local-2")),
        )

    @staticmethod
    def _application_problems(given: Json) -> dict[str, str]:
        problems = {}
        if len(given.get("description", "")) > 2000:
            problems["description"] = "the length must be no more than 2000"
        if given.get("healthCheckURL") == "nowhere":
            problems["healthCheckURL"] = "must be a valid URL"
        return problems

    def require_system(self, given: Json) -> None:
        """Refuses an integration system that is not there."""
        system = given.get("integrationSystemID")
        if system is not None and system not in self.world.integration_systems:
            raise Refused(20, f"Object not found [ID={system}; object=integrationSystem]")

    def require_name(self, tenant: str, name: str) -> None:
        """Refuses a name that the tenant has already."""
        taken = {normalized(one.fields["name"]) for one in self.world.applications.values() if one.tenant == tenant}
        if normalized(name) in taken:
            raise Refused(31, "Object name is not unique [object=application]")

    def keep_application(
        self, tenant: str, given: Json, labels: Json, answer: Json, template: str | None = None
    ) -> Application:
        """A new application with everything that was given."""
        world = self.world
        own = {**labels, "name": normalized(given["name"])}
        if "integrationSystemID" in given:
            own["integrationSystemID"] = given["integrationSystemID"]
        made = Application(
            id=answer["id"],
            tenant=tenant,
            number=world.next(),
            fields={name: given.get(name) for name in ("name", "integrationSystemID", *_CHANGED)},
            labels=own,
            status=given.get("statusCondition", "INITIAL"),
            template=template,
        )
        world.applications[made.id] = made
        world.share_with_accounts(made)
        bundles = (answer["bundles"] or {}).get("data", ())
        for entry in given.get("bundles", ()):
            found = next((one for one in bundles if one["name"] == entry["name"]), None)
            if found is not None:
                take_bundle(world, made.id, entry, found)
        for entry in given.get("webhooks", ()):
            shown = [one for one in answer["webhooks"] or () if one["applicationID"] == made.id]
            if shown:
                self.keep_webhook("applicationID", made.id, entry, shown[0]["id"])
        return made

    def keep_webhook(self, owner_kind: str, owner: str, given: Json, webhook_id: str) -> Webhook:
        """A new webhook."""
        made = Webhook(webhook_id, owner, owner_kind, self.world.next(), given, user_of(given.get("auth")))
        self.world.webhooks[made.id] = made
        return made

    @operation("registerApplication", "application:write")
    def register_application(self, chance: Chance) -> None:
        """With labels, a webhook and a bundle."""
        who = self.who(chance)
        name = chance.one_of(("", "x" * 101)) if chance.once_in(25) else chance.one_of(NAMES)
        given = {"name": name, **self._fields(chance)}
        own = labels(chance)
        if own is not None:
            given["labels"] = own
        # Only who sees its webhooks learns the id of the new one.
        if who.may("application.webhooks:read") and who.itself is None and chance.once_in(4):
            given["webhooks"] = [webhook(chance)]
        if chance.once_in(4):
            given["bundles"] = [bundle_given(chance)]

        def expected() -> Any:
            problems = self._application_problems(given) | label_keys(own)
            if not name or len(name) > 100:
                problems["name"] = "the length must be between 1 and 100" if name else "cannot be blank"
            for entry in given.get("webhooks", ()):
                problems |= webhook_problems(entry, "webhooks.0.")
            for entry in given.get("bundles", ()):
                problems |= bundle_problems(entry, "bundles.0.")
            refuse("ApplicationRegisterInput", problems)
            tenant = who.in_tenant()
            self._may_set_local_tenant(who, given)
            refuse_reserved(own)
            self.require_name(tenant, name)
            self.require_system(given)

            def then(answer: Any) -> Any:
                made = self.keep_application(tenant, given, {**(own or {}), "managed": "false"}, answer)
                return self.world.application(who, made)

            return then

        self.do(who, "registerApplication", {"in": given}, APPLICATION, expected)

    @staticmethod
    def _may_set_local_tenant(who: Who, given: Json) -> None:
        if "localTenantID" in given:
            who.need("application.local_tenant_id:write")

    @operation("updateApplication", "application:write")
    def update_application(self, chance: Chance) -> None:
        """What is given is changed; the status returns to INITIAL."""
        subject = self.pick(chance, self.world.applications)
        who = self.who(chance, near=subject)
        given = self._fields(chance)

        def expected() -> Any:
            refuse("ApplicationUpdateInput", self._application_problems(given))
            who.in_tenant()
            who.only_itself(subject)
            self._may_set_local_tenant(who, given)
            if self.world.owns(who.tenant, self.world.applications.get(subject)):
                self.require_system(given)
            one = self.own_application(who, subject)

            def then(_answer: Any) -> Any:
                one.fields |= {name: given[name] for name in _CHANGED if name in given}
                if "integrationSystemID" in given:
                    one.fields["integrationSystemID"] = given["integrationSystemID"]
                if one.fields["integrationSystemID"] is not None:
                    one.labels["integrationSystemID"] = one.fields["integrationSystemID"]
                one.labels["name"] = normalized(one.fields["name"])
                one.status = given.get("statusCondition", "INITIAL")
                return self.world.application(who, one)

            return then

        self.do(who, "updateApplication", {"id": subject, "in": given}, APPLICATION, expected)

    def own_application(self, who: Who, subject: str, *, itself: bool = True) -> Application:
        """The application, for who may change it."""
        tenant = who.in_tenant()
        if itself:
            who.only_itself(subject)
        found = self.world.applications.get(subject)
        if found is None or not self.world.sees(tenant, found):
            raise not_found("application")
        if not self.world.owns(tenant, found):
            raise owner_needed()
        return found

    def _require_no_group(self, one: Application) -> None:
        groups = sorted(group.name for group in self.world.groups_of(one.id))
        if groups:
            raise forbidden(f"System {one.fields['name']} is part of the following formations : {', '.join(groups)}")

    @operation("unregisterApplication", "application:write")
    def unregister_application(self, chance: Chance) -> None:
        """Not while it is in a group."""
        subject = self.pick(chance, self.world.applications)
        who = self.who(chance, near=subject)

        def expected() -> Any:
            one = self.own_application(who, subject)
            self._require_no_group(one)
            before = self.world.application(who, one)

            def then(_answer: Any) -> Any:
                self._forget(one.id)
                return before

            return then

        self.do(who, "unregisterApplication", {"id": subject}, APPLICATION, expected)

    def _forget(self, application: str) -> None:
        # Pairs of which others still have to be told stay behind.
        self.world.drop_application(application)

    @operation("unpairApplication", "application:write")
    def unpair_application(self, chance: Chance) -> None:
        """Not while it shares a group with a runtime."""
        subject = self.pick(chance, self.world.applications)
        who = self.who(chance, near=subject)

        def expected() -> Any:
            one = self.own_application(who, subject)
            shared = [
                (group.name, other.fields["name"])
                for group in self.world.formations.values()
                for other in self.world.runtimes.values()
                if group.pairs.get((one.id, other.id), "DELETING") not in ("DELETING", "DELETE_ERROR")
            ]
            if shared:
                formations = ", ".join(sorted({name for name, _ in shared}))
                runtimes = ", ".join(sorted({name for _, name in shared}))
                raise forbidden(
                    f"System {one.fields['name']} is still used and cannot be deleted. Unassign the system from the "
                    f"following formations first: {formations}. Then, unassign the system from the following runtimes, "
                    f"too: {runtimes}"
                )

            def then(_answer: Any) -> Any:
                self.world.auths = {key: entry for key, entry in self.world.auths.items() if entry.owner != one.id}
                one.status = "INITIAL"
                return self.world.application(who, one)

            return then

        self.do(who, "unpairApplication", {"id": subject}, APPLICATION, expected)

    def _alike(self) -> list[tuple[str, str]]:
        """Applications of one template and tenant that are reached at the same URL."""
        found = [one for one in self.world.applications.values() if one.template and one.fields["baseUrl"]]
        return [
            (one.id, other.id)
            for one in found
            for other in found
            if one is not other and all(getattr(one, name) == getattr(other, name) for name in ("template", "tenant"))
        ]

    @operation("mergeApplications", "application:write")
    def merge_applications(self, chance: Chance) -> None:
        """Two records of one system."""
        source = self.pick(chance, self.world.applications)
        destination = self.pick(chance, self.world.applications)
        alike = self._alike()
        if alike and not chance.once_in(3):
            destination, source = chance.one_of(alike)
        who = self.who(chance, near=destination)

        def expected() -> Any:
            who.in_tenant()
            who.only_itself(destination)
            who.only_itself(source)
            kept = self.own_application(who, destination)
            gone = self.own_application(who, source)
            self._require_one_system(kept, gone)
            self._require_no_group(gone)

            def then(_answer: Any) -> Any:
                self._forget(gone.id)
                for name in ("providerName", "description", "healthCheckURL", "applicationNamespace", "localTenantID"):
                    # A blank text counts as none, also when there is nothing better.
                    kept.fields[name] = kept.fields[name] or gone.fields[name]
                kept.fields["integrationSystemID"] = (
                    kept.fields["integrationSystemID"] or gone.fields["integrationSystemID"]
                )
                managed = "true" in (kept.labels.get("managed"), gone.labels.get("managed"))
                theirs = {key: value for key, value in gone.labels.items() if key != "scenarios"}
                kept.labels = {**theirs, **kept.labels}
                if managed:
                    kept.labels["managed"] = "true"
                return self.world.application(who, kept)

            return then

        arguments = {"destinationID": destination, "sourceID": source}
        self.do(who, "mergeApplications", arguments, APPLICATION, expected)

    def _require_one_system(self, kept: Application, gone: Application) -> None:
        bases = [(one.fields["baseUrl"] or "").rstrip("/") for one in (kept, gone)]
        if kept.id == gone.id:
            raise untyped(f"application {kept.id} cannot be merged with itself")
        if not bases[0] or bases[0] != bases[1]:
            raise untyped(f"base URLs of applications {kept.id} and {gone.id} are not the same, or one has none")
        template = self.world.application_templates.get(kept.template or "")
        if template is None or kept.template != gone.template:
            raise untyped(f"applications {kept.id} and {gone.id} are not of the same application template")
        if "subscriptionProviderId" in template.labels:
            raise untyped(f"app template: {template.id} has label subscriptionProviderId")
        if gone.status != "INITIAL":
            raise untyped(
                f"application {gone.id} cannot be merged, because its status is {gone.status} and not INITIAL"
            )

    # Labels

    @operation("setApplicationLabel", "application:write")
    def set_application_label(self, chance: Chance) -> None:
        """One label."""
        subject = self.pick(chance, self.world.applications)
        who = self.who(chance, near=subject)
        key, value = label_value(chance)

        def expected() -> Any:
            who.in_tenant()
            who.only_itself(subject)
            label_problem(key, value)
            one = self.own_application(who, subject)

            def then(_answer: Any) -> Any:
                one.labels[key] = value
                return {"key": key, "value": value}

            return then

        arguments = {"applicationID": subject, "key": key, "value": value}
        self.do(who, "setApplicationLabel", arguments, "key value", expected)

    @operation("deleteApplicationLabel", "application:write")
    def delete_application_label(self, chance: Chance) -> None:
        """One label."""
        subject = self.pick(chance, self.world.applications)
        who = self.who(chance, near=subject)
        known = self.world.applications.get(subject)
        key = chance.one_of(["scenarios", "tier", *(known.labels if known else ())])

        def expected() -> Any:
            who.in_tenant()
            who.only_itself(subject)
            if key == "scenarios":
                raise untyped("label with key scenarios cannot be deleted explicitly")
            if known is None or not self.world.sees(who.tenant, known):
                raise untyped(f"application with ID {subject} doesn't exist")
            if not self.world.owns(who.tenant, known):
                raise owner_needed()
            if key not in known.labels:
                raise not_found("label")
            return lambda _answer: {"key": key, "value": known.labels.pop(key)}

        self.do(who, "deleteApplicationLabel", {"applicationID": subject, "key": key}, "key value", expected)

    # Webhooks

    @operation("addWebhook", "webhook:write")
    def add_webhook(self, chance: Chance) -> None:
        """To an application, a runtime or a template of applications."""
        kind = chance.one_of(("applicationID", "runtimeID", "applicationTemplateID"))
        things: Any = {
            "applicationID": self.world.applications,
            "runtimeID": self.world.runtimes,
            "applicationTemplateID": self.world.application_templates,
        }[kind]
        owner = self.pick(chance, things)
        owners = {kind: owner}
        if chance.once_in(15):
            owners = {"applicationID": NOWHERE, "runtimeID": NOWHERE} if chance.once_in(2) else {}
        given = webhook(chance)
        who = self.who(chance, near=owner)

        def expected() -> Any:
            refuse("WebhookInput", webhook_problems(given))
            if len(owners) != 1:
                raise invalid(
                    "exactly one of applicationID, applicationTemplateID, runtimeID or formationTemplateID "
                    "should be specified"
                )
            absent = invalid("cannot add Webhook due to not existing reference entity")
            if who.itself not in (None, owner):
                raise absent
            if kind == "applicationTemplateID":
                if owner not in self.world.application_templates:
                    raise absent
            else:
                who.in_tenant()
                if not self.world.sees(who.tenant, things.get(owner)):
                    raise absent
                if not self.world.owns(who.tenant, things.get(owner)):
                    raise owner_needed()
            return lambda answer: self.world.webhook(who, self.keep_webhook(kind, owner, given, answer["id"]))

        self.do(who, "addWebhook", {**owners, "in": given}, WEBHOOK, expected)

    def own_webhook(self, who: Who, subject: str) -> Webhook:
        """The webhook, for who may change it."""
        found = self.world.webhooks.get(subject)
        if found is not None and found.owner_kind == "applicationTemplateID" and who.itself is None:
            return found
        things: Any = {**self.world.applications, **self.world.runtimes}
        owner = things.get(found.owner) if found is not None else None
        if found is None or not self.world.sees(who.tenant, owner) or who.itself not in (None, found.owner):
            who.in_tenant()
            raise not_found("webhook")
        if not self.world.owns(who.tenant, owner):
            raise owner_needed()
        return found

    def pick_webhook(self, chance: Chance) -> tuple[str, Who]:
        """A webhook and who asks about it."""
        subject = self.pick(chance, self.world.webhooks)
        known = self.world.webhooks.get(subject)
        return subject, self.who(chance, near=known.owner if known else None)

    @operation("updateWebhook", "webhook:write")
    def update_webhook(self, chance: Chance) -> None:
        """Everything but the owner."""
        subject, who = self.pick_webhook(chance)
        given = webhook(chance)

        def expected() -> Any:
            refuse("WebhookInput", webhook_problems(given))
            found = self.own_webhook(who, subject)

            def then(_answer: Any) -> Any:
                found.fields, found.user = given, user_of(given.get("auth"))
                return self.world.webhook(who, found)

            return then

        self.do(who, "updateWebhook", {"webhookID": subject, "in": given}, WEBHOOK, expected)

    @operation("deleteWebhook", "webhook:write")
    def delete_webhook(self, chance: Chance) -> None:
        """A webhook goes."""
        subject, who = self.pick_webhook(chance)

        def expected() -> Any:
            found = self.own_webhook(who, subject)

            def then(_answer: Any) -> Any:
                del self.world.webhooks[subject]
                return self.world.webhook(who, found)

            return then

        self.do(who, "deleteWebhook", {"webhookID": subject}, WEBHOOK, expected)

    # Eventing

    @operation("setDefaultEventingForApplication", "eventing:manage")
    def set_default_eventing(self, chance: Chance) -> None:
        """To a runtime of its groups."""
        application, runtime = self.pick(chance, self.world.applications), self.pick(chance, self.world.runtimes)
        who = self.who(chance, near=application)

        def expected() -> Any:
            one = self.own_application(who, application, itself=False)
            if not self.world.share(one.id, runtime):
                raise untyped(f"does not find the given runtime [ID={runtime}] assigned to the application scenarios")

            def then(_answer: Any) -> Any:
                self.world.defaults[one.id] = runtime
                return {"defaultURL": self.world.events_url(one.id)}

            return then

        arguments = {"appID": application, "runtimeID": runtime}
        self.do(who, "setDefaultEventingForApplication", arguments, "defaultURL", expected)

    @operation("deleteDefaultEventingForApplication", "eventing:manage")
    def delete_default_eventing(self, chance: Chance) -> None:
        """Back to the oldest."""
        application = self.pick(chance, self.world.applications)
        who = self.who(chance, near=application)

        def expected() -> Any:
            one = self.own_application(who, application, itself=False)
            before = self.world.events_url(one.id) if one.id in self.world.defaults else ""

            def then(_answer: Any) -> Any:
                self.world.defaults.pop(one.id, None)
                return {"defaultURL": before}

            return then

        self.do(who, "deleteDefaultEventingForApplication", {"appID": application}, "defaultURL", expected)

    # Reading

    @operation("application", "application:read")
    def application(self, chance: Chance) -> None:
        """One by its id."""
        subject = self.pick(chance, self.world.applications)
        who = self.who(chance, near=subject)

        def expected() -> Any:
            tenant = who.in_tenant()
            found = self.world.applications.get(subject)
            seen = found is not None and self.world.sees(tenant, found)
            if who.runtime is not None and not (seen and self.world.share(subject, who.runtime)):
                raise forbidden("requesting runtime should be in same scenario as the requested application resource")
            return self.world.application(who, found) if found is not None and seen else None

        self.ask(who, "application", {"id": subject}, APPLICATION, expected)

    @operation("applications", "application:read")
    def applications(self, chance: Chance) -> None:
        """All that the tenant sees; a runtime those of its groups."""
        who = self.who(chance)
        arguments = filtered_page(chance) if who.runtime is None else page_arguments(chance)
        self.list_applications(who, arguments)

    def list_applications(self, who: Who, arguments: Json) -> None:
        """What one caller sees."""

        def expected() -> Any:
            who.in_tenant()
            if who.runtime is not None:
                return self._of_runtime(who, who.runtime, arguments)
            wanted = matching(arguments.get("filter"))
            found = [one for one in self.world.visible_applications(who) if wanted(one.labels)]
            return page([self.world.application(who, one) for one in found], arguments)

        self.ask(who, "applications", arguments, paged(APPLICATION), expected)

    @operation("applicationsGlobal", "application_global:read")
    def applications_global(self, chance: Chance) -> None:
        """Of all tenants."""
        who = self.who(chance)
        arguments = filtered_page(chance)

        def expected() -> Any:
            wanted = matching(arguments.get("filter"))
            rows = []
            for one in by_id(self.world.applications):
                if wanted(one.labels):
                    tenants = [self.world.tenants[tenant] for tenant in self.world.access(one)]
                    shown = [self.world.tenant(tenant) for tenant in sorted(tenants, key=lambda entry: entry.external)]
                    rows.append({"application": {"id": one.id}, "tenants": shown})
            return page(rows, arguments)

        selection = paged(f"application {{ id }} tenants {{ {TENANT} }}")
        self.ask(who, "applicationsGlobal", arguments, selection, expected)

    @operation("applicationBySystemNumber", "application:read")
    def application_by_system_number(self, chance: Chance) -> None:
        """Nobody can set one through this API."""
        who = self.who(chance)
        self.ask(who, "applicationBySystemNumber", {"systemNumber": "1"}, APPLICATION, lambda: who.in_tenant() and None)

    def _of_local_tenant(self, who: Who, local: str) -> list[Application]:
        who.in_tenant()
        return [one for one in self.world.visible_applications(who) if one.fields.get("localTenantID") == local]

    @operation("applicationsByLocalTenantID", "application:read")
    def applications_by_local_tenant(self, chance: Chance) -> None:
        """By what they call the tenant."""
        who = self.who(chance)
        local = chance.one_of(("local-1", "local-2"))
        arguments = {"localTenantID": local, **filtered_page(chance)}

        def expected() -> Any:
            found = self._of_local_tenant(who, local)
            wanted = matching(arguments.get("filter"))
            rows = [self.world.application(who, one) for one in found if wanted(one.labels)]
            return page(rows, arguments, largest=None)

        self.ask(who, "applicationsByLocalTenantID", arguments, paged(APPLICATION), expected)

    @operation("applicationByLocalTenantIDAndAppTemplateID", "application:read")
    def application_by_local_tenant(self, chance: Chance) -> None:
        """By that and its template."""
        who = self.who(chance)
        local = chance.one_of(("local-1", "local-2"))
        template = self.pick(chance, self.world.application_templates)

        def expected() -> Any:
            found = [one for one in self._of_local_tenant(who, local) if one.template == template]
            chosen = min(found, key=lambda one: one.number, default=None)
            return None if chosen is None else self.world.application(who, chosen)

        arguments = {"localTenantID": local, "applicationTemplateID": template}
        self.ask(who, "applicationByLocalTenantIDAndAppTemplateID", arguments, APPLICATION, expected)

    @operation("applicationsForRuntime", "application:read")
    def applications_for_runtime(self, chance: Chance) -> None:
        """Those of its groups, by the names that it calls them."""
        runtime = self.pick(chance, self.world.runtimes)
        who = self.who(chance, near=runtime)
        arguments = {"runtimeID": runtime, **page_arguments(chance)}

        self.ask(
            *(who, "applicationsForRuntime", arguments, paged(APPLICATION)),
            lambda: self._of_runtime(who, runtime, arguments),
        )

    def _of_runtime(self, who: Who, runtime: str, arguments: Json) -> Json:
        tenant = who.in_tenant()
        page([], arguments, largest=None)  # wrong arguments are refused first
        ours = self.world.runtimes.get(runtime)
        if ours is None or not self.world.sees(tenant, ours) or who.runtime not in (None, runtime):
            raise invalid("runtime does not exist")
        rows = [
            {**self.world.application(who, one), "name": self.world.called(one.id, ours)}
            for one in by_id(self.world.applications)
            if self.world.sees(tenant, one) and self.world.share(one.id, runtime)
        ]
        return page(rows, arguments, largest=None)
