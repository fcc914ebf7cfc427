"""Rules for templates of applications, and applications made from them."""

import hashlib
from typing import Any, Final

from tests.model.model import APPLICATION, APPLICATION_TEMPLATE, Json, Template, by_id, paged
from tests.model.play import (
    Chance,
    Who,
    not_found,
    operation,
    page,
    untyped,
)
from tests.model.rules_applications import ApplicationRules
from tests.model.values import (
    filtered_page,
    labels,
    matching,
    refuse,
    refuse_reserved,
    text,
    webhook,
    webhook_problems,
    without_nulls,
)

_NAMES: Final = ("shop", "crm", "Shop & more")
_DISPLAYED: Final = {"name": "display-name", "description": "how it is called", "jsonPath": "$.name", "optional": False}
_REGION: Final = {"name": "place", "description": None, "jsonPath": "$.place", "optional": True}


class ApplicationTemplateRules(ApplicationRules):
    """Templates of applications. They belong to no tenant."""

    # Forms

    def _template_given(self, chance: Chance) -> Json:
        form: Json = without_nulls(
            name=chance.one_of(("app {{display-name}}", "{{display-name}}")),
            providerName="SAP" if chance.once_in(12) else text(chance, "us"),
            baseUrl=text(chance, "https://base.test"),
            labels={"tier": "gold", "region": "{{place}}"},
        )
        if chance.once_in(4):
            form["labels"]["applicationType"] = "shop"
        given = without_nulls(
            name="" if chance.once_in(20) else chance.one_of(_NAMES),
            description=text(chance, "a form"),
            applicationInput=form,
            placeholders=[_DISPLAYED, _REGION],
            accessLevel="GLOBAL",
            applicationNamespace=text(chance, "ns"),
            webhooks=[webhook(chance)] if chance.once_in(3) else None,
        )
        if chance.once_in(12):
            given["placeholders"] = [_DISPLAYED]
        return given

    @staticmethod
    def _template_labels(chance: Chance) -> Json | None:
        own = labels(chance)
        if own is not None:
            own.pop("no-key", None)
            own.pop("global_subaccount_id", None)
            if "region" in own:
                own["region"] = chance.one_of(("eu", "us"))
            if chance.once_in(12):
                own["subscriptionProviderId"] = "x"
        return own

    @staticmethod
    def _check_template(kind: str, given: Json) -> None:
        problems = {}
        if not given["name"]:
            problems["name"] = "cannot be blank"
        for entry in given.get("webhooks", ()):
            problems |= webhook_problems(entry, "webhooks.0.")
        refuse(kind, problems)
        if given["placeholders"] == [_DISPLAYED]:
            refuse(kind, {"placeholders": "placeholder place is used in applicationInput and not defined"})

    @staticmethod
    def _require_convention(given: Json) -> None:
        if given["applicationInput"].get("providerName") == "SAP":
            raise untyped(
                f'application template name "{given["name"]}" does not comply with the following naming convention: '
                '"SAP <product name>"'
            )

    def _require_free_region(self, name: str, region: str | None, but: str | None = None) -> None:
        for one in self.world.application_templates.values():
            if one.fields["name"] == name and one.fields["region"] == region and one.id != but:
                shown = "<nil>" if region is None else region
                raise untyped(f'application template with name "{name}" and region {shown} already exists')

    @staticmethod
    def _template_fields(given: Json, region: str | None) -> Json:
        return {
            "region": region,
            **{name: given.get(name) for name in ("name", "description", "accessLevel", "applicationNamespace")},
        }

    def _keep_template_webhooks(self, template: str, given: Json, answer: Json) -> None:
        for entry, made in zip(given.get("webhooks", ()), answer["webhooks"] or (), strict=False):
            self.keep_webhook("applicationTemplateID", template, entry, made["id"])

    @staticmethod
    def _form_of(given: Json) -> Json:
        form: Json = {**given["applicationInput"]}
        form["labels"] = {"applicationType": given["name"], **form["labels"]}
        return form

    def _writer(self, chance: Chance) -> Who:
        """Somebody who is shown the webhooks of a template, and so learns their ids."""
        who = self.who(chance)
        return who if who.may("application_template.webhooks:read") else self.who(chance, "administrator")

    @operation("createApplicationTemplate", "application_template:write")
    def create_application_template(self, chance: Chance) -> None:
        """A form with placeholders."""
        who = self._writer(chance)
        given = self._template_given(chance)
        own = self._template_labels(chance)
        if own is not None:
            given["labels"] = own

        def expected() -> Any:
            self._check_template("ApplicationTemplateInput", given)
            refuse_reserved(own)
            self._require_convention(given)
            region = (own or {}).get("region")
            self._require_free_region(given["name"], region)

            def then(answer: Any) -> Any:
                fields = self._template_fields(given, region)
                made = Template(
                    answer["id"], None, fields, {**(own or {})}, given["placeholders"], self._form_of(given)
                )
                self.world.application_templates[made.id] = made
                self._keep_template_webhooks(made.id, given, answer)
                return self.world.application_template(who, made)

            return then

        self.do(who, "createApplicationTemplate", {"in": given}, APPLICATION_TEMPLATE, expected)

    @operation("updateApplicationTemplate", "application_template:write")
    def update_application_template(self, chance: Chance) -> None:
        """Applications of the former name's type become ones of the new name's."""
        subject = self.pick(chance, self.world.application_templates)
        who = self._writer(chance)
        given = self._template_given(chance)
        own = self._template_labels(chance)
        if own is not None:
            given["labels"] = own
        arguments = {"id": subject, "in": given, **({"override": True} if chance.once_in(3) else {})}

        def expected() -> Any:
            self._check_template("ApplicationTemplateUpdateInput", given)
            if own is not None:
                who.need("application_template.labels:write")
            refuse_reserved(own)
            self._require_convention(given)
            one = self.world.application_templates.get(subject)
            if one is None:
                raise not_found("applicationTemplate")
            region = own["region"] if own is not None and "region" in own else one.fields["region"]
            self._require_free_region(given["name"], region, but=subject)

            def then(answer: Any) -> Any:
                self._rename_type(one, given["name"])
                one.fields, one.placeholders = self._template_fields(given, region), given["placeholders"]
                one.labels |= own or {}
                one.input = self._form_of(given)
                if "override" in arguments or "webhooks" in given:
                    world = self.world
                    world.webhooks = {key: hook for key, hook in world.webhooks.items() if hook.owner != one.id}
                    self._keep_template_webhooks(one.id, given, answer)
                return self.world.application_template(who, one)

            return then

        self.do(who, "updateApplicationTemplate", arguments, APPLICATION_TEMPLATE, expected)

    def _rename_type(self, one: Template, name: str) -> None:
        before = one.fields["name"]
        for application in self.world.applications.values():
            if application.template == one.id and application.labels.get("applicationType") == before:
                application.labels["applicationType"] = name

    @operation("deleteApplicationTemplate", "application_template:write")
    def delete_application_template(self, chance: Chance) -> None:
        """Its applications stay."""
        subject = self.pick(chance, self.world.application_templates)
        who = self.who(chance)

        def expected() -> Any:
            one = self.world.application_templates.get(subject)
            if one is None:
                raise not_found("applicationTemplate")
            before = self.world.application_template(who, one)

            def then(_answer: Any) -> Any:
                del self.world.application_templates[subject]
                for application in self.world.applications.values():
                    application.template = None if application.template == subject else application.template
                self.world.drop_orphans()
                return before

            return then

        self.do(who, "deleteApplicationTemplate", {"id": subject}, APPLICATION_TEMPLATE, expected)

    @operation("applicationTemplate", "application_template:read")
    def application_template(self, chance: Chance) -> None:
        """One by its id."""
        subject = self.pick(chance, self.world.application_templates)
        who = self.who(chance)

        def expected() -> Any:
            if subject not in self.world.application_templates:
                raise not_found("applicationTemplate")
            return self.world.application_template(who, self.world.application_templates[subject])

        self.ask(who, "applicationTemplate", {"id": subject}, APPLICATION_TEMPLATE, expected)

    @operation("applicationTemplates", "application_template:read")
    def application_templates(self, chance: Chance) -> None:
        """All of them."""
        who = self.who(chance)
        arguments = filtered_page(chance)

        def expected() -> Any:
            wanted = matching(arguments.get("filter"))
            found = [one for one in by_id(self.world.application_templates) if wanted(one.labels)]
            return page([self.world.application_template(who, one) for one in found], arguments)

        self.ask(who, "applicationTemplates", arguments, paged(APPLICATION_TEMPLATE), expected)

    # Applications

    @operation("registerApplicationFromTemplate", "application:write")
    def register_from_template(self, chance: Chance) -> None:
        """A form that is filled in, with values or from a payload."""
        who = self.who(chance)
        known = [one.fields["name"] for one in self.world.application_templates.values()]
        name = chance.one_of(["no template", *known] if chance.once_in(8) else known or ["no template"])
        called, place = chance.one_of(("orders", "Parts & more", "crm")), text(chance, "eu")
        given: Json = {"templateName": name}
        chosen = [one.id for one in self.world.application_templates.values() if one.fields["name"] == name]
        if chosen and chance.once_in(2):
            given["id"] = chance.one_of(chosen)
        match chance.number(9):
            case 0:
                given["values"] = [{"placeholder": "place", "value": "eu"}]
            case 1:
                pass
            case 2 | 3:
                payload = {"name": called} if place is None else {"name": called, "place": place}
                given["placeholdersPayload"] = str(payload).replace("'", '"')
            case _:
                given["values"] = [{"placeholder": "display-name", "value": called}]
                if place is not None:
                    given["values"].append({"placeholder": "place", "value": place})
        own = chance.one_of((None, None, {"tier": "silver"}, {"managed": "true"}, {"scenarios": ["x"]}))
        if own is not None:
            given["labels"] = own

        def expected() -> Any:
            if "values" not in given and "placeholdersPayload" not in given:
                wording = "exactly one of values and placeholdersPayload has to be specified"
                refuse("ApplicationFromTemplateInput", {"reason": wording})
            tenant = who.in_tenant()
            template = self._chosen(who, given)
            if given.get("values") == [{"placeholder": "place", "value": "eu"}]:
                raise untyped("required placeholder not provided: display-name")
            form = self._filled(template.input, called, place)
            everything = {"managed": "false", **form["labels"], **(own or {})}
            refuse_reserved(everything)
            self.require_name(tenant, form["name"])

            def then(answer: Any) -> Any:
                made = self.keep_application(tenant, form, everything, answer, template.id)
                return self.world.application(who, made)

            return then

        self.do(who, "registerApplicationFromTemplate", {"in": given}, APPLICATION, expected)

    def _chosen(self, who: Who, given: Json) -> Template:
        found = [
            one
            for one in by_id(self.world.application_templates)
            if one.fields["name"] == given["templateName"] and given.get("id") in (None, one.id)
        ]
        if not found:
            consumer = hashlib.sha256(who.id.encode()).hexdigest()
            raise untyped(
                f'application template with name "{given["templateName"]}" and consumer id '
                f"REDACTED_{consumer} not found"
            )
        found.sort(key=lambda one: (one.fields["region"] is not None, one.id))
        if found[0].fields["region"] is not None and len(found) > 1:
            raise untyped(
                f'application template with name "{given["templateName"]}" is there for several regions; '
                "name one by its id"
            )
        chosen: Template = found[0]
        return chosen

    @staticmethod
    def _filled(form: Json, called: str, place: str | None) -> Json:
        """With the values in their places; a label that is nothing but an empty optional one is left out."""
        filled = {**form, "name": form["name"].replace("{{display-name}}", called)}
        filled["labels"] = {
            key: place if value == "{{place}}" else value
            for key, value in form["labels"].items()
            if value != "{{place}}" or place is not None
        }
        return filled
