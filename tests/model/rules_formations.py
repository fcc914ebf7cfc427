"""Rules for groups, with their templates, constraints, subaccounts and label definitions, and runtime contexts."""

import json
from typing import Any, Final

from compass.access.caller import Consumer
from tests.model.model import (
    CONTEXT,
    FORMATION,
    FORMATION_TEMPLATE,
    Constraint,
    Context,
    Formation,
    Json,
    Runtime,
    Template,
    as_text,
    by_id,
    in_order,
    paged,
)
from tests.model.play import (
    ADMINISTRATOR,
    Chance,
    Play,
    Refused,
    Who,
    forbidden,
    invalid_input,
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
    without_nulls,
)

NAMES: Final = ("one", "two", "three")
_DEFAULT: Final = "Side-by-Side Extensibility with Kyma"
_KINDS: Final = ("APPLICATION", "APPLICATION", "RUNTIME", "RUNTIME", "RUNTIME_CONTEXT", "TENANT")
_REFERRED: Final = "The record cannot be deleted because another record refers to it"
_PATTERN: Final = r"^[A-Za-z0-9]([-_A-Za-z0-9\s]*[A-Za-z0-9])$"
_CONSTRAINT: Final = (
    "id name description constraintType targetOperation operator resourceType resourceSubtype inputTemplate "
    "constraintScope priority"
)
_ASSIGNED: Final = "scenarioName selector { key value }"


class FormationRules(Play):
    """Groups."""

    def _tenant_of_group(self, chance: Chance) -> tuple[str, Who]:
        """The name of a group, and who asks about it: mostly of its tenant."""
        if self.world.formations and not chance.once_in(6):
            formation = chance.one_of(list(self.world.formations.values()))
            who = self.who(chance)
            if who.tenant is not None and who.itself is None and not chance.once_in(5):
                home = self.world.tenants[formation.tenant]
                who = Who(who.kind, who.consumer, who.id, who.scopes, home.id, home.external, who.flow)
            return formation.name, who
        return chance.one_of(NAMES), self.who(chance)

    def _group(self, who: Who, name: str) -> Formation:
        tenant = who.in_tenant()
        for one in self.world.formations.values():
            if one.tenant == tenant and one.name == name:
                return one
        raise not_found("formations")

    def _check_name(self, name: str) -> None:
        if not name:
            refuse("FormationInput", {"name": "cannot be blank"})
        if name == "-no-":
            refuse("FormationInput", {"name": "must be in a valid format"})

    def _require_state(self, who: Who, state: str | None) -> None:
        if state is not None:
            who.need("formation.state:write")
            if state not in ("READY", "DRAFT"):
                raise forbidden(f"a formation cannot be created in state {state}, only in READY or DRAFT")

    def _templates_named(self, tenant: str, name: str) -> list[str]:
        """Those that a group may be of: the tenant's own or an ancestor's before those for everybody."""
        up = self.world.up(tenant)
        named = [one for one in self.world.formation_templates.values() if one.fields["name"] == name]
        own = [one.id for one in named if one.tenant in up]
        return own or [one.id for one in named if one.tenant is None]

    def _add_group(self, tenant: str, name: str, answer: Json, state: str = "READY") -> Formation:
        made = Formation(answer["id"], tenant, name, answer["formationTemplateId"], state)
        self.world.formations[made.id] = made
        return made

    @operation("createFormation", "formation:write")
    def create_formation(self, chance: Chance) -> None:
        """Of the default template when none is named."""
        who = self.who(chance)
        templates = [_DEFAULT, *(one.fields["name"] for one in self.world.formation_templates.values()), "no template"]
        given = without_nulls(
            name=chance.one_of(("", "-no-")) if chance.once_in(15) else chance.one_of(NAMES),
            templateName=chance.one_of(sorted({*templates})) if chance.once_in(2) else None,
            state=chance.one_of((None, None, None, "DRAFT", "READY", "INITIAL")),
        )

        def expected() -> Any:
            self._check_name(given["name"])
            tenant = who.in_tenant()
            self._require_state(who, given.get("state"))
            possible = self._templates_named(tenant, given.get("templateName", _DEFAULT))
            if not possible:
                raise not_found("formationTemplate")
            if any(one.tenant == tenant and one.name == given["name"] for one in self.world.formations.values()):
                raise not_unique("formations")

            def then(answer: Any) -> Any:
                made = self._add_group(tenant, given["name"], answer, given.get("state", "READY"))
                if made.template not in possible:
                    made.template = possible[0]
                return self.world.formation(made)

            return then

        self.do(who, "createFormation", {"formation": given}, FORMATION, expected)

    def _require_empty(self, one: Formation) -> None:
        if one.members() or one.subaccount is not None:
            why = "it is not empty" if one.subaccount is None else "there is still a subaccount part of it"
            raise untyped(f'cannot delete formation with ID "{one.id}", because {why}')

    @operation("deleteFormation", "formation:write")
    def delete_formation(self, chance: Chance) -> None:
        """Not while somebody is in it."""
        name, who = self._tenant_of_group(chance)
        empty = [one for one in self.world.formations.values() if not one.members() and one.subaccount is None]
        if empty and chance.once_in(2):
            one = chance.one_of(empty)
            home = self.world.tenants[one.tenant]
            name, who = (
                one.name,
                Who("administrator", Consumer.STATIC_USER, "admin", ADMINISTRATOR, home.id, home.external),
            )

        def expected() -> Any:
            one = self._group(who, name)
            self._require_empty(one)

            def then(_answer: Any) -> Any:
                del self.world.formations[one.id]
                one.pairs = {}  # of those that left and are still to be told, nothing is said any more
                return self.world.formation(one)

            return then

        self.do(who, "deleteFormation", {"formation": {"name": name}}, FORMATION, expected)

    # Participants

    def _participant(self, chance: Chance, tenant: str | None = None) -> tuple[str, str]:
        """A kind and an object of that kind, mostly one that the tenant owns."""
        kind = chance.one_of(_KINDS)
        if kind == "TENANT":
            return kind, chance.one_of([*(one.external for one in self.world.tenants.values()), "nobody"])
        things: Any = {
            "APPLICATION": self.world.applications,
            "RUNTIME": self.world.runtimes,
            "RUNTIME_CONTEXT": self.world.contexts,
        }[kind]
        if kind in ("APPLICATION", "RUNTIME") and tenant is not None and not chance.once_in(4):
            things = {key: one for key, one in things.items() if self.world.owns(tenant, one)} or things
        return kind, self.pick(chance, things)

    def _own_participant(self, tenant: str, kind: str, subject: str) -> Any:
        """The application, or the runtime of the object, for a tenant that owns it."""
        context = self.world.contexts.get(subject)
        holder = subject if context is None else context.runtime
        things: Any = self.world.applications if kind == "APPLICATION" else self.world.runtimes
        found = things.get(holder) if (kind == "RUNTIME_CONTEXT") == (context is not None) else None
        if found is None or not self.world.sees(tenant, found):
            raise not_found({"RUNTIME_CONTEXT": "runtimeContext"}.get(kind, kind.lower()))
        if not self.world.owns(tenant, found):
            raise owner_needed()
        return found

    def _require_admitted(self, one: Formation, kind: str, thing: Any) -> None:
        template = self.world.formation_templates[one.template].fields
        label = "applicationType" if kind == "APPLICATION" else "runtimeType"
        types = template.get(f"{label}s") or []
        if not types:
            raise untyped(
                f'Formation {one.name} of type {template["name"]} does not support resources of type "{kind}"'
            )
        if "ANY" in types:
            return
        value = as_text(thing.labels.get(label))
        if value is None:
            raise not_found("label")
        if value not in types:
            allowed = json.dumps(types, separators=(",", ":"))
            raise forbidden(
                f'unsupported {label} "{value}" for formation template "{template["name"]}", allowing only {allowed}'
            )

    @operation("assignFormation", "formation:write")
    def assign_formation(self, chance: Chance) -> None:
        """Whoever its template admits."""
        name, who = self._tenant_of_group(chance)
        kind, subject = self._participant(chance, who.tenant)

        def expected() -> Any:
            tenant = who.in_tenant()
            if kind == "TENANT":
                return self._assign_subaccount(who, tenant, subject, name)
            one = self._group(who, name)
            thing = self._own_participant(tenant, kind, subject)
            self._require_admitted(one, kind, thing)

            def then(_answer: Any) -> Any:
                if not self.world.join(one, {subject: kind}) and kind != "APPLICATION":
                    one.caused.discard(subject)
                return self.world.formation(one)

            return then

        arguments = {"objectID": subject, "objectType": kind, "formation": {"name": name}}
        self.do(who, "assignFormation", arguments, FORMATION, expected)

    def _assign_subaccount(self, who: Who, tenant: str, external: str, name: str) -> Any:
        found = next((one.id for one in self.world.tenants.values() if one.external == external), None)
        if found is None or tenant not in self.world.up(found):
            raise not_found("tenant")
        one = self._group(who, name)
        if one.subaccount is not None:
            raise forbidden("a given scenario already has an assignment")

        def then(_answer: Any) -> Any:
            one.subaccount = found
            covered: dict[str, str] = {}
            for runtime in self.world.runtimes.values():
                if one in self.world.covering(runtime):
                    contexts = [one.id for one in self.world.contexts.values() if one.runtime == runtime.id]
                    covered |= dict.fromkeys(contexts, "RUNTIME_CONTEXT") if contexts else {runtime.id: "RUNTIME"}
            self.world.join(one, covered, caused=True)
            return self.world.formation(one)

        return then

    def _unassign(self, one: Formation, kind: str, subject: str) -> Any:
        if kind == "TENANT":
            subaccount = self.world.tenants.get(one.subaccount or "")
            if subaccount is None or subaccount.external != subject:
                raise not_found("automaticScenarioAssigment")
        else:
            self._own_participant(one.tenant, kind, subject)

        def then(_answer: Any) -> Any:
            if kind == "TENANT":
                self.world.leave(one, [*one.caused])
                one.subaccount, one.caused = None, set()
            elif kind != "APPLICATION" and self._is_held(one, subject):
                one.caused.add(subject)
            else:
                self.world.leave(one, [subject])
            return self.world.formation(one)

        return then

    def _is_held(self, one: Formation, subject: str) -> bool:
        """Whether a participant stays one when nobody assigns it any more."""
        context = self.world.contexts.get(subject)
        runtime: Runtime | None = self.world.runtimes.get(subject if context is None else context.runtime)
        if runtime is None or subject not in one.members() or one not in self.world.covering(runtime):
            return False
        return context is not None or not self.world.of_runtime(subject)

    @operation("unassignFormation", "formation:write")
    def unassign_formation(self, chance: Chance) -> None:
        """Safe to repeat."""
        name, who = self._tenant_of_group(chance)
        kind, subject = self._member(chance, name, who)
        self.do(
            *(who, "unassignFormation", {"objectID": subject, "objectType": kind, "formation": {"name": name}}),
            FORMATION,
            lambda: self._unassign(self._group(who, name), kind, subject),
        )

    def _member(self, chance: Chance, name: str, who: Who) -> tuple[str, str]:
        """Mostly somebody who is in the group."""
        for one in self.world.formations.values():
            if one.name == name and one.tenant == who.tenant and not chance.once_in(4):
                members = [(one.kinds[member], member) for member in one.members()]
                if one.subaccount is not None:
                    members.append(("TENANT", self.world.tenants[one.subaccount].external))
                if members:
                    return chance.one_of(members)
        return self._participant(chance)

    @operation("unassignFormationGlobal", "formation:global_write")
    def unassign_formation_global(self, chance: Chance) -> None:
        """From a group of any tenant."""
        who = self.who(chance)
        subject = self.pick(chance, self.world.formations)
        one = self.world.formations.get(subject)
        member = self._participant(chance)
        if one is not None and one.members() and not chance.once_in(3):
            chosen = chance.one_of(one.members())
            member = one.kinds[chosen], chosen
        kind, participant = member

        def expected() -> Any:
            if one is None:
                raise not_found("formations")
            return self._unassign(one, kind, participant)

        arguments = {"objectID": participant, "objectType": kind, "formation": subject}
        self.do(who, "unassignFormationGlobal", arguments, FORMATION, expected)

    def _group_by_id(self, who: Who, subject: str) -> Formation:
        found = self.world.formations.get(subject)
        if found is None or found.tenant != who.in_tenant():
            who.in_tenant()
            raise not_found("formations")
        return found

    def _pick_group(self, chance: Chance) -> tuple[str, Who]:
        name, who = self._tenant_of_group(chance)
        found = [key for key, one in self.world.formations.items() if one.name == name and one.tenant == who.tenant]
        return found[0] if found else self.pick(chance, self.world.formations), who

    @operation("finalizeDraftFormation", "formation:write")
    def finalize_draft(self, chance: Chance) -> None:
        """Let a draft begin."""
        subject, who = self._pick_group(chance)

        def expected() -> Any:
            one = self._group_by_id(who, subject)
            if one.state != "DRAFT":
                raise untyped(f'formation with ID "{one.id}" is in state {one.state}; only a DRAFT can be finalized')

            def then(_answer: Any) -> Any:
                one.state = "READY"
                return self.world.formation(one)

            return then

        self.do(who, "finalizeDraftFormation", {"formationID": subject}, FORMATION, expected)

    @operation("resynchronizeFormationNotifications", "formation:write")
    def resynchronize(self, chance: Chance) -> None:
        """Tell again; with a reset, everybody."""
        subject, who = self._pick_group(chance)
        arguments = {"formationID": subject, **({"reset": True} if chance.once_in(2) else {})}

        def expected() -> Any:
            one = self._group_by_id(who, subject)
            if one.state == "DRAFT":
                raise untyped(f'formation with ID "{one.id}" is in state DRAFT; finalize it first')
            template = self.world.formation_templates[one.template].fields
            if "reset" in arguments and not template["supportsReset"]:
                raise forbidden(f'formation template "{template["name"]}" does not support resetting')

            def then(_answer: Any) -> Any:
                if "reset" in arguments:
                    begun = [pair for pair, state in one.pairs.items() if state not in ("DELETING", "DELETE_ERROR")]
                    one.pairs |= dict.fromkeys(begun, "INITIAL")
                return self.world.formation(one)

            return then

        self.do(who, "resynchronizeFormationNotifications", arguments, FORMATION, expected)

    # Reading

    @operation("formation", "formation:read")
    def formation(self, chance: Chance) -> None:
        """One by its id."""
        subject, who = self._pick_group(chance)
        self.ask(
            *(who, "formation", {"id": subject}, FORMATION),
            lambda: self.world.formation(self._group_by_id(who, subject)),
        )

    @operation("formationByName", "formation:read")
    def formation_by_name(self, chance: Chance) -> None:
        """One by its name."""
        name, who = self._tenant_of_group(chance)
        self.ask(
            *(who, "formationByName", {"name": name}, FORMATION),
            lambda: self.world.formation(self._group(who, name)),
        )

    @operation("formations", "formation:read")
    def formations(self, chance: Chance) -> None:
        """Those of the tenant."""
        self.list_formations(self.who(chance), page_arguments(chance))

    def list_formations(self, who: Who, arguments: Json) -> None:
        """What one caller sees."""

        def expected() -> Any:
            tenant = who.in_tenant()
            rows = [self.world.formation(one) for one in by_id(self.world.formations) if one.tenant == tenant]
            return page(rows, arguments)

        self.ask(who, "formations", arguments, paged(FORMATION), expected)

    @operation("formationsForObject", "formation:global_read")
    def formations_for_object(self, chance: Chance) -> None:
        """Those of all tenants that somebody is in."""
        who = self.who(chance)
        _, subject = self._participant(chance)
        self.ask(
            *(who, "formationsForObject", {"objectID": subject}, FORMATION),
            lambda: [self.world.formation(one) for one in self.world.groups_of(subject)],
        )

    # Subaccounts

    def _assigned(self, one: Formation) -> Json:
        external = self.world.tenants[one.subaccount or ""].external
        return {"scenarioName": one.name, "selector": {"key": "global_subaccount_id", "value": external}}

    def _with_subaccount(self, tenant: str) -> list[Formation]:
        """By name: their own ids, by which they are listed, are shown nowhere."""
        found = [one for one in self.world.formations.values() if one.tenant == tenant and one.subaccount is not None]
        return sorted(found, key=lambda one: one.name)

    @operation("automaticScenarioAssignments", "automatic_scenario_assignment:read")
    def assignments(self, chance: Chance) -> None:
        """The subaccounts of the tenant's groups."""
        who = self.who(chance)
        self.ask(
            *(who, "automaticScenarioAssignments", {}, paged(_ASSIGNED)),
            lambda: page([self._assigned(one) for one in self._with_subaccount(who.in_tenant())], {}),
        )

    @operation("automaticScenarioAssignmentForScenario", "automatic_scenario_assignment:read")
    def assignment_for_scenario(self, chance: Chance) -> None:
        """The subaccount of a group."""
        name, who = self._tenant_of_group(chance)

        def expected() -> Any:
            found = [one for one in self._with_subaccount(who.in_tenant()) if one.name == name]
            if not found:
                raise not_found("automaticScenarioAssigment")
            return self._assigned(found[0])

        self.ask(who, "automaticScenarioAssignmentForScenario", {"scenarioName": name}, _ASSIGNED, expected)

    @operation("automaticScenarioAssignmentsForSelector", "automatic_scenario_assignment:read")
    def assignments_for_selector(self, chance: Chance) -> None:
        """The groups of a subaccount."""
        who = self.who(chance)
        key = "tier" if chance.once_in(8) else "global_subaccount_id"
        value = "" if chance.once_in(10) else chance.one_of(("alpha", "beta", "gamma", "delta"))

        def expected() -> Any:
            tenant = who.in_tenant()
            problems = {} if key != "tier" else {"key": "must be a valid value"}
            if not value:
                problems["value"] = "cannot be blank"
            refuse("LabelSelectorInput", problems)
            rows = [self._assigned(one) for one in self._with_subaccount(tenant)]
            return [one for one in rows if one["selector"]["value"] == value]

        arguments = {"selector": {"key": key, "value": value}}
        self.ask(who, "automaticScenarioAssignmentsForSelector", arguments, _ASSIGNED, expected)

    # Runtime contexts

    @staticmethod
    def _context(chance: Chance) -> Json:
        key = chance.one_of(("", "no key", "x" * 513)) if chance.once_in(10) else chance.one_of(("tenant", "zone"))
        return {"key": key, "value": chance.one_of(("a", "b"))}

    @staticmethod
    def _check_context(given: Json) -> None:
        wording = {"": "cannot be blank", "no key": "must be in a valid format"}
        if len(given["key"]) > 512:
            refuse("RuntimeContextInput", {"key": "the length must be between 1 and 512"})
        refuse("RuntimeContextInput", {"key": wording[given["key"]]} if given["key"] in wording else {})

    @operation("registerRuntimeContext", "runtime:write")
    def register_context(self, chance: Chance) -> None:
        """In the groups of its runtime's subaccounts it takes the runtime's place."""
        runtime = self.pick(chance, self.world.runtimes)
        who = self.who(chance, near=runtime)
        given = self._context(chance)

        def expected() -> Any:
            self._check_context(given)
            tenant = who.in_tenant()
            who.only_itself(runtime)
            found = self._own_participant(tenant, "RUNTIME", runtime)

            def then(answer: Any) -> Any:
                made = Context(answer["id"], runtime, given)
                self.world.contexts[made.id] = made
                for formation in self.world.covering(found):
                    self.world.leave(formation, [runtime])
                    self.world.join(formation, {made.id: "RUNTIME_CONTEXT"}, caused=True)
                return self.world.context(made)

            return then

        self.do(who, "registerRuntimeContext", {"runtimeID": runtime, "in": given}, CONTEXT, expected)

    def _own_context(self, who: Who, subject: str) -> Context:
        tenant = who.in_tenant()
        found = self.world.contexts.get(subject)
        runtime = self.world.runtimes[found.runtime] if found is not None else None
        if found is None or not self.world.sees(tenant, runtime) or who.itself not in (None, found.runtime):
            raise owner_needed() if who.itself is not None else not_found("runtimeContext")
        if not self.world.owns(tenant, runtime):
            raise owner_needed()
        return found

    def _pick_context(self, chance: Chance) -> tuple[str, Who]:
        subject = self.pick(chance, self.world.contexts)
        known = self.world.contexts.get(subject)
        return subject, self.who(chance, near=known.runtime if known else None)

    @operation("updateRuntimeContext", "runtime:write")
    def update_context(self, chance: Chance) -> None:
        """Its key and value."""
        subject, who = self._pick_context(chance)
        given = self._context(chance)

        def expected() -> Any:
            self._check_context(given)
            found = self._own_context(who, subject)

            def then(_answer: Any) -> Any:
                found.fields = given
                return self.world.context(found)

            return then

        self.do(who, "updateRuntimeContext", {"id": subject, "in": given}, CONTEXT, expected)

    @operation("unregisterRuntimeContext", "runtime:write")
    def unregister_context(self, chance: Chance) -> None:
        """It leaves its groups."""
        subject, who = self._pick_context(chance)

        def expected() -> Any:
            found = self._own_context(who, subject)
            before = {**self.world.context(found), "labels": {**found.labels}}

            def then(_answer: Any) -> Any:
                for formation in self.world.formations.values():
                    formation.pairs = {pair: state for pair, state in formation.pairs.items() if subject not in pair}
                    formation.caused.discard(subject)
                del self.world.contexts[subject]
                return before

            return then

        self.do(who, "unregisterRuntimeContext", {"id": subject}, CONTEXT, expected)

    # Label definitions

    @staticmethod
    def _schema(names: list[str]) -> str:
        items = {"enum": names, "type": "string", "pattern": _PATTERN, "maxLength": 128}
        return json.dumps({"type": "array", "items": items, "minItems": 1, "uniqueItems": True})

    def _groups_of(self, tenant: str) -> list[str]:
        return sorted(one.name for one in self.world.formations.values() if one.tenant == tenant)

    def _definition(self, chance: Chance) -> tuple[Json, list[str]]:
        names = [name for name in NAMES if not chance.once_in(3)] or ["one"]
        key = "tier" if chance.once_in(12) else "scenarios"
        return {"key": key, "schema": self._schema(names)}, names

    @staticmethod
    def _check_definition(given: Json) -> None:
        refuse("LabelDefinitionInput", {"key": "must be a valid value"} if given["key"] == "tier" else {})

    def _define(self, tenant: str, wanted: list[str]) -> Any:
        """Create and remove groups until there are these. Their ids are learned by reading them."""
        for one in list(self.world.formations.values()):
            if one.tenant == tenant and one.name not in wanted:
                del self.world.formations[one.id]
        before = self._groups_of(tenant)
        for name in wanted:
            if name not in before:
                home = self.world.tenants[tenant]
                reader = self.who(Chance(0), "homeless")
                reader = Who("reader", reader.consumer, "reader", reader.scopes, tenant, home.external)
                text = "query($name: String!) { formationByName(name: $name) { id formationTemplateId } }"
                answer = self.stage.answer(reader, text, {"name": name})["data"]["formationByName"]
                made = self._add_group(tenant, name, answer)
                assert made.template in self._templates_named(tenant, _DEFAULT)
        return {"key": "scenarios", "schema": self._schema(self._groups_of(tenant))}

    @operation("createLabelDefinition", "label_definition:write")
    def create_label_definition(self, chance: Chance) -> None:
        """The tenant's first groups."""
        who = self.who(chance)
        given, names = self._definition(chance)

        def expected() -> Any:
            self._check_definition(given)
            tenant = who.in_tenant()
            if self._groups_of(tenant):
                raise not_unique("labelDefinition")
            return lambda _answer: self._define(tenant, names)

        self.do(who, "createLabelDefinition", {"in": given}, "key schema", expected)

    @operation("updateLabelDefinition", "label_definition:write")
    def update_label_definition(self, chance: Chance) -> None:
        """Which groups there are."""
        _, who = self._tenant_of_group(chance)
        given, names = self._definition(chance)

        def expected() -> Any:
            self._check_definition(given)
            tenant = who.in_tenant()
            if not self._groups_of(tenant):
                raise not_found("labelDefinition")
            for name in self._groups_of(tenant):
                if name not in names:
                    self._require_empty(self._group(who, name))
            return lambda _answer: self._define(tenant, names)

        self.do(who, "updateLabelDefinition", {"in": given}, "key schema", expected)

    @operation("labelDefinition", "label_definition:read")
    def label_definition(self, chance: Chance) -> None:
        """There is one while the tenant has a group."""
        _, who = self._tenant_of_group(chance)
        key = chance.one_of(("scenarios", "scenarios", "tier"))

        def expected() -> Any:
            names = self._groups_of(who.in_tenant())
            return {"key": key, "schema": self._schema(names)} if names and key == "scenarios" else None

        self.ask(who, "labelDefinition", {"key": key}, "key schema", expected)

    @operation("labelDefinitions", "label_definition:read")
    def label_definitions(self, chance: Chance) -> None:
        """One at most."""
        _, who = self._tenant_of_group(chance)

        def expected() -> Any:
            names = self._groups_of(who.in_tenant())
            return [{"key": "scenarios", "schema": self._schema(names)}] if names else []

        self.ask(who, "labelDefinitions", {}, "key schema", expected)


class TemplateRules(Play):
    """Templates of groups, and constraints."""

    @staticmethod
    def _form(chance: Chance) -> Json:
        about_runtimes = chance.once_in(2)
        given = without_nulls(
            name="" if chance.once_in(15) else chance.one_of(("plain", "shops", "mixed")),
            applicationTypes=[] if chance.once_in(15) else chance.one_of((["ANY"], ["shop"], ["shop", "true"])),
            runtimeTypes=["kyma"] if about_runtimes else None,
            runtimeTypeDisplayName="Kyma" if about_runtimes else None,
            runtimeArtifactKind="SUBSCRIPTION" if about_runtimes else None,
            leadingProductIDs=chance.one_of((None, ["p"])),
            supportsReset=chance.one_of((None, True)),
            discoveryConsumers=chance.one_of((None, None, ["shop"])),
        )
        if chance.once_in(15):
            given["runtimeTypeDisplayName"] = "Kyma"
        return given

    @staticmethod
    def _check_form(kind: str, given: Json) -> None:
        problems = {}
        if not given["name"]:
            problems["name"] = "cannot be blank"
        if not given["applicationTypes"]:
            problems["applicationTypes"] = "cannot be blank"
        problems |= label_keys(given.get("labels"))
        refuse(kind, problems)
        if "runtimeTypeDisplayName" in given and "runtimeTypes" not in given:
            refuse(
                kind,
                {"reason": "runtimeTypes, runtimeTypeDisplayName, runtimeArtifactKind: either all of them or none"},
            )
        if not {*given.get("discoveryConsumers", ())} <= {*given["applicationTypes"], *given.get("runtimeTypes", ())}:
            refuse(kind, {"discoveryConsumers": "must be among applicationTypes and runtimeTypes"})

    @staticmethod
    def _tenant_if_any(who: Who) -> str | None:
        return who.in_tenant() if who.external is not None else who.tenant

    def _require_free_name(self, name: str, tenant: str | None, but: str | None = None) -> None:
        for one in self.world.formation_templates.values():
            if one.fields["name"] == name and one.tenant == tenant and one.id != but:
                raise not_unique("formationTemplate")

    @operation("createFormationTemplate", "formation_template:write")
    def create_template(self, chance: Chance) -> None:
        """The tenant's own, or everybody's."""
        who = self.who(chance)
        given = self._form(chance)
        own = labels(chance)
        if own is not None:
            given["labels"] = own

        def expected() -> Any:
            self._check_form("FormationTemplateRegisterInput", given)
            tenant = self._tenant_if_any(who)
            refuse_reserved(own)
            self._require_free_name(given["name"], tenant)

            def then(answer: Any) -> Any:
                made = Template(answer["id"], tenant, {"supportsReset": False, **given}, own or {})
                self.world.formation_templates[made.id] = made
                return self.world.formation_template(who, made)

            return then

        self.do(who, "createFormationTemplate", {"in": given}, FORMATION_TEMPLATE, expected)

    def own_template(self, who: Who, subject: str) -> Template:
        """The template, for who may change it."""
        tenant = self._tenant_if_any(who)
        found = self.world.formation_templates.get(subject)
        if found is None or not self._sees(tenant, found):
            raise not_found("formationTemplate")
        if found.tenant not in (None, tenant):
            raise owner_needed()
        return found

    def _sees(self, tenant: str | None, one: Template) -> bool:
        return one.tenant is None or (tenant is not None and one.tenant in self.world.up(tenant))

    def _refuse_default(self, one: Template) -> None:
        if one.id == self.stage.default_template:
            raise forbidden("the default template can be neither renamed nor deleted", "formationTemplate")

    @operation("updateFormationTemplate", "formation_template:write")
    def update_template(self, chance: Chance) -> None:
        """Everything but labels and webhooks."""
        subject = self.pick(chance, self.world.formation_templates)
        who = self.who(chance)
        given = self._form(chance)

        def expected() -> Any:
            self._check_form("FormationTemplateUpdateInput", given)
            one = self.own_template(who, subject)
            self._refuse_default(one)  # no name that is given is the default template's
            self._require_free_name(given["name"], one.tenant, but=one.id)

            def then(_answer: Any) -> Any:
                one.fields = {"supportsReset": False, **given}
                return self.world.formation_template(who, one)

            return then

        self.do(who, "updateFormationTemplate", {"id": subject, "in": given}, FORMATION_TEMPLATE, expected)

    @operation("deleteFormationTemplate", "formation_template:write")
    def delete_template(self, chance: Chance) -> None:
        """Not while it has groups."""
        subject = self.pick(chance, self.world.formation_templates)
        who = self.who(chance)

        def expected() -> Any:
            one = self.own_template(who, subject)
            self._refuse_default(one)
            if any(group.template == one.id for group in self.world.formations.values()):
                raise forbidden(_REFERRED, "formationTemplate")
            before = self.world.formation_template(who, one)

            def then(_answer: Any) -> Any:
                del self.world.formation_templates[one.id]
                for constraint in self.world.constraints.values():
                    constraint.templates.discard(one.id)
                self.world.drop_orphans()
                return before

            return then

        self.do(who, "deleteFormationTemplate", {"id": subject}, FORMATION_TEMPLATE, expected)

    @operation("setFormationTemplateLabel", "formation_template:write")
    def set_template_label(self, chance: Chance) -> None:
        """One label."""
        subject = self.pick(chance, self.world.formation_templates)
        who = self.who(chance)
        key, value = label_value(chance)

        def expected() -> Any:
            label_problem(key, value)
            one = self.own_template(who, subject)

            def then(_answer: Any) -> Any:
                one.labels[key] = value
                return {"key": key, "value": value}

            return then

        arguments = {"formationTemplateID": subject, "in": {"key": key, "value": value}}
        self.do(who, "setFormationTemplateLabel", arguments, "key value", expected)

    @operation("deleteFormationTemplateLabel", "formation_template:write")
    def delete_template_label(self, chance: Chance) -> None:
        """One label."""
        subject = self.pick(chance, self.world.formation_templates)
        labelled = [one.id for one in self.world.formation_templates.values() if one.labels]
        if labelled and chance.once_in(2):
            subject = chance.one_of(labelled)
        who = self.who(chance)
        known = self.world.formation_templates.get(subject)
        key = chance.one_of(["scenarios", "tier", *(known.labels if known else ())])

        def expected() -> Any:
            if key == "scenarios":
                raise untyped("label with key scenarios cannot be deleted explicitly")
            one = self.own_template(who, subject)
            if key not in one.labels:
                raise not_found("label")
            return lambda _answer: {"key": key, "value": one.labels.pop(key)}

        arguments = {"formationTemplateID": subject, "key": key}
        self.do(who, "deleteFormationTemplateLabel", arguments, "key value", expected)

    @operation("formationTemplate", "formation_template:read")
    def template(self, chance: Chance) -> None:
        """One by its id."""
        subject = self.pick(chance, self.world.formation_templates)
        who = self.who(chance)

        def expected() -> Any:
            found = self.world.formation_templates.get(subject)
            if found is None or not self._sees(who.tenant, found):
                raise not_found("formationTemplate")
            return self.world.formation_template(who, found)

        self.ask(who, "formationTemplate", {"id": subject}, FORMATION_TEMPLATE, expected)

    @operation("formationTemplates", "formation_template:read")
    def templates(self, chance: Chance) -> None:
        """Everybody's, the tenant's own and its ancestors'."""
        who = self.who(chance)
        arguments = filtered_page(chance)

        def expected() -> Any:
            wanted = matching(arguments.get("filter"))
            found = [one for one in by_id(self.world.formation_templates) if self._sees(who.tenant, one)]
            rows = [self.world.formation_template(who, one) for one in found if wanted(one.labels)]
            return page(rows, arguments)

        self.ask(who, "formationTemplates", arguments, paged(FORMATION_TEMPLATE), expected)

    @operation("formationTemplatesByName", "formation_template:read")
    def templates_by_name(self, chance: Chance) -> None:
        """Of one name."""
        who = self.who(chance)
        name = chance.one_of(("plain", "shops", _DEFAULT))
        arguments = {"name": name, **page_arguments(chance)}

        def expected() -> Any:
            found = [one for one in by_id(self.world.formation_templates) if one.fields["name"] == name]
            rows = [self.world.formation_template(who, one) for one in found if self._sees(who.tenant, one)]
            return page(rows, arguments)

        self.ask(who, "formationTemplatesByName", arguments, paged(FORMATION_TEMPLATE), expected)

    # Constraints. They are for the user interface, so that none is enforced: what they enforce is tested elsewhere.

    @operation("createFormationConstraint", "formation_constraint:write")
    def create_constraint(self, chance: Chance) -> None:
        """A rule."""
        who = self.who(chance)
        given = without_nulls(
            name="" if chance.once_in(15) else chance.one_of(("c1", "c2", "c3")),
            description=chance.one_of((None, "a rule")),
            constraintType="UI",
            targetOperation="ASSIGN_FORMATION",
            operator="NoOperator" if chance.once_in(15) else "IsNotAssignedToAnyFormationOfType",
            resourceType="APPLICATION",
            resourceSubtype="ANY",
            inputTemplate="{{ end" if chance.once_in(15) else "{}",
            constraintScope=chance.one_of(("GLOBAL", "FORMATION_TYPE")),
            priority=chance.one_of((None, 3, -1)),
        )

        def expected() -> Any:
            problems = {}
            if not given["name"]:
                problems["name"] = "cannot be blank"
            if given["operator"] == "NoOperator":
                problems["operator"] = "must be a valid value"
            refuse("FormationConstraintInput", problems)
            if given["inputTemplate"] != "{}":
                raise Refused(22, ANY_TEXT)
            if any(one.fields["name"] == given["name"] for one in self.world.constraints.values()):
                raise not_unique("formationConstraint")

            def then(answer: Any) -> Any:
                fields = {"description": "", "priority": 0, **given}
                made = Constraint(answer["id"], self.world.next(), fields)
                self.world.constraints[made.id] = made
                return self._constraint(made)

            return then

        self.do(who, "createFormationConstraint", {"formationConstraint": given}, _CONSTRAINT, expected)

    @staticmethod
    def _constraint(one: Constraint) -> Json:
        return {"id": one.id, **one.fields}

    def _known_constraint(self, subject: str) -> Constraint:
        if subject not in self.world.constraints:
            raise not_found("formationConstraint")
        return self.world.constraints[subject]

    @operation("updateFormationConstraint", "formation_constraint:write")
    def update_constraint(self, chance: Chance) -> None:
        """Its template, priority and description."""
        who = self.who(chance)
        subject = self.pick(chance, self.world.constraints)
        given = without_nulls(
            inputTemplate="{{ end" if chance.once_in(10) else chance.one_of(("{}", '{"a": 1}')),
            priority=chance.one_of((None, 5)),
            description=chance.one_of((None, "changed")),
        )

        def expected() -> Any:
            one = self._known_constraint(subject)
            if given["inputTemplate"] == "{{ end":
                raise Refused(22, ANY_TEXT)

            def then(_answer: Any) -> Any:
                one.fields |= given
                return self._constraint(one)

            return then

        self.do(who, "updateFormationConstraint", {"id": subject, "in": given}, _CONSTRAINT, expected)

    @operation("deleteFormationConstraint", "formation_constraint:write")
    def delete_constraint(self, chance: Chance) -> None:
        """Not while it is attached."""
        who = self.who(chance)
        subject = self.pick(chance, self.world.constraints)

        def expected() -> Any:
            one = self._known_constraint(subject)
            if one.templates:
                known = [self.world.formation_templates[key] for key in sorted(one.templates)]
                seen = [template.id for template in known if self._sees(who.tenant, template)]
                others = f" and {len(known) - len(seen)} of other tenants" if len(seen) < len(known) else ""
                raise untyped(
                    f'cannot delete Formation Constraint with ID "{subject}" because it is used by Formation Templates '
                    f"with IDs [{', '.join(seen)}]{others}"
                )

            def then(_answer: Any) -> Any:
                return self._constraint(self.world.constraints.pop(subject))

            return then

        self.do(who, "deleteFormationConstraint", {"id": subject}, _CONSTRAINT, expected)

    def _reference(self, chance: Chance) -> tuple[Who, Json]:
        constraint = self.pick(chance, self.world.constraints)
        template = self.pick(chance, self.world.formation_templates)
        return self.who(chance), {"constraintID": constraint, "formationTemplateID": template}

    @operation("attachConstraintToFormationTemplate", "formation_constraint:write")
    def attach_constraint(self, chance: Chance) -> None:
        """Safe to repeat."""
        who, given = self._reference(chance)

        def expected() -> Any:
            template = self.own_template(who, given["formationTemplateID"])
            one = self._known_constraint(given["constraintID"])

            def then(_answer: Any) -> Any:
                one.templates.add(template.id)
                return given

            return then

        selection = "constraintID formationTemplateID"
        self.do(who, "attachConstraintToFormationTemplate", given, selection, expected)

    @operation("detachConstraintFromFormationTemplate", "formation_constraint:write")
    def detach_constraint(self, chance: Chance) -> None:
        """What is attached."""
        who, given = self._reference(chance)
        attached = [
            (one.id, template)
            for one in self.world.constraints.values()
            for template in self.world.formation_templates
            if template in one.templates
        ]
        if attached and not chance.once_in(3):
            constraint, of = chance.one_of(attached)
            given = {"constraintID": constraint, "formationTemplateID": of}

        def expected() -> Any:
            template = self.own_template(who, given["formationTemplateID"])
            one = self._known_constraint(given["constraintID"])
            if template.id not in one.templates:
                raise not_found("formationConstraint")

            def then(_answer: Any) -> Any:
                one.templates.discard(template.id)
                return given

            return then

        selection = "constraintID formationTemplateID"
        self.do(who, "detachConstraintFromFormationTemplate", given, selection, expected)

    def _by_priority(self) -> list[Constraint]:
        return sorted(in_order(self.world.constraints), key=lambda one: -one.fields["priority"])

    @operation("formationConstraints", "formation_constraint:read")
    def constraints(self, chance: Chance) -> None:
        """The higher priority first, then the older."""
        rows = [self._constraint(one) for one in self._by_priority()]
        self.ask(self.who(chance), "formationConstraints", {}, _CONSTRAINT, lambda: rows)

    @operation("formationConstraint", "formation_constraint:read")
    def constraint(self, chance: Chance) -> None:
        """One by its id."""
        subject = self.pick(chance, self.world.constraints)
        self.ask(
            *(self.who(chance), "formationConstraint", {"id": subject}, _CONSTRAINT),
            lambda: self._constraint(self._known_constraint(subject)),
        )

    @operation("formationConstraintsByFormationType", "formation_constraint:read")
    def constraints_by_type(self, chance: Chance) -> None:
        """Those of a template, and those for all."""
        template = self.pick(chance, self.world.formation_templates)
        who = self.who(chance)

        def expected() -> Any:
            known = self.world.formation_templates.get(template)
            seen = known is not None and self._sees(who.tenant, known)
            return [
                self._constraint(one)
                for one in self._by_priority()
                if one.fields["constraintScope"] == "GLOBAL" or (seen and template in one.templates)
            ]

        arguments = {"formationTemplateID": template}
        self.ask(who, "formationConstraintsByFormationType", arguments, _CONSTRAINT, expected)


class _AnyText:
    """Equal to every text: the contract does not give this one."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    __hash__ = None  # type: ignore[assignment]


ANY_TEXT: Final = _AnyText()
__all__ = ["FormationRules", "TemplateRules", "invalid_input"]
