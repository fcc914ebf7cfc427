"""Rules for tenants, their tree, and access that is granted."""

import copy
from collections.abc import Sequence
from typing import Any, Final

from tests.model.model import TENANT, Owned, Tenant, World
from tests.model.play import (
    NOWHERE,
    Chance,
    Play,
    Refused,
    forbidden,
    invalid,
    not_found,
    operation,
    page,
    page_arguments,
    untyped,
)
from tests.model.values import label_problem, label_value

_TYPES: Final = (
    *("account", "subaccount", "customer", "cost-object", "folder", "unknown", "organization", "resource-group"),
)
_USUAL_TYPES: Final = ("account", "cost-object", "cost-object", "customer", "subaccount")
_EXTERNAL: Final = ("alpha", "beta", "gamma", "delta", "007")
_NO_TYPE: Final = "tenant type planet is not one of " + ", ".join(sorted(_TYPES))
_REFERRED: Final = "The record cannot be deleted because another record refers to it"

Tenants = dict[str, Tenant]


class TenantRules(Play):
    """Tenants and access."""

    @operation("writeTenant", "tenant:write")
    def write_tenant(self, chance: Chance) -> None:
        """Add a tenant, or bring it up to date."""
        who = self.who(chance)
        given = self._tenant_given(chance)

        def expected() -> Any:
            planned = _Planned(self.world.tenants)
            key = planned.write([given])[0]

            def then(answer: Any) -> Any:
                known = self.world.tenants
                planned.commit(self.world, {key: answer})
                return key if key in known else answer

            return then

        self.do(who, "writeTenant", {"in": given}, "", expected)

    @operation("writeTenants", "tenant:write")
    def write_tenants(self, chance: Chance) -> None:
        """Several at once, in any order."""
        who = self.who(chance)
        given = [self._tenant_given(chance) for _ in range(chance.number(2))]

        def expected() -> Any:
            planned = _Planned(self.world.tenants)
            keys = planned.write(given)

            def then(answer: Any) -> Any:
                known = self.world.tenants
                names = dict(zip(keys, answer, strict=True))
                planned.commit(self.world, names)
                return [key if key in known else names[key] for key in keys]

            return then

        self.do(who, "writeTenants", {"in": given}, "", expected)

    @operation("updateTenant", "tenant:write")
    def update_tenant(self, chance: Chance) -> None:
        """Change one by its internal id."""
        who = self.who(chance)
        subject = self.pick(chance, self.world.tenants)
        given = self._tenant_given(chance)

        def expected() -> Any:
            planned = _Planned(self.world.tenants)
            planned.change(subject, given)

            def then(_answer: Any) -> Any:
                planned.commit(self.world, {})
                return self.world.tenant(self.world.tenants[subject])

            return then

        self.do(who, "updateTenant", {"id": subject, "in": given}, TENANT, expected)

    @operation("deleteTenants", "tenant:write")
    def delete_tenants(self, chance: Chance) -> None:
        """Remove tenants with all that is below them."""
        who = self.who(chance)
        known = [one.external for one in self.world.tenants.values()]
        # Not all of them: most of what comes after would be refused.
        given = [chance.one_of([*known, "nobody"])] if len(known) > 2 and not chance.once_in(3) else ["nobody"]
        if len(self._below(given)) == len(known) and not chance.once_in(10):
            given = ["nobody", "nobody else"]

        def expected() -> Any:
            gone = self._below(given)
            templates = {key for key, one in self.world.formation_templates.items() if one.tenant in gone}
            if any(one.template in templates and one.tenant not in gone for one in self.world.formations.values()):
                raise forbidden(_REFERRED, "tenant")

            def then(_answer: Any) -> Any:
                self._drop(gone, templates)
                return len(given)

            return then

        self.do(who, "deleteTenants", {"in": given}, "", expected)

    def _below(self, external: Sequence[str]) -> set[str]:
        tenants = self.world.tenants
        waiting = [one.id for one in tenants.values() if one.external in external]
        found = set[str]()
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                if tenants[one].type != "cost-object":
                    waiting.extend(below.id for below in tenants.values() if one in below.parents)
        return found

    def _drop(self, gone: set[str], templates: set[str]) -> None:
        world = self.world
        leaving = {one.id for one in (*world.applications.values(), *world.runtimes.values()) if one.tenant in gone}
        leaving |= {one.id for one in world.contexts.values() if one.runtime in leaving}
        left = {
            member
            for formation in world.formations.values()
            if formation.tenant in gone
            for member in formation.members()
            if formation.kinds[member] == "APPLICATION"
        }
        world.formations = {key: one for key, one in world.formations.items() if one.tenant not in gone}
        for formation in world.formations.values():
            formation.pairs = {pair: state for pair, state in formation.pairs.items() if not leaving & {*pair}}
            if formation.subaccount in gone:
                formation.subaccount, formation.caused = None, set()
        world.settle(left)
        for template in templates:
            del world.formation_templates[template]
        for application in [one.id for one in world.applications.values() if one.tenant in gone]:
            world.drop_application(application)
        for runtime in [one.id for one in world.runtimes.values() if one.tenant in gone]:
            world.drop_runtime(runtime)
        for context in world.contexts:
            world.relabel(context)
        for constraint in world.constraints.values():
            constraint.templates -= templates
        for thing in (*world.applications.values(), *world.runtimes.values()):
            thing.grants = {tenant: owner for tenant, owner in thing.grants.items() if tenant not in gone}
            world.relabel(thing.id)
        world.auths = {key: one for key, one in world.auths.items() if one.tenant not in gone}
        world.credentials = {key: one for key, one in world.credentials.items() if one.tenant not in gone}
        world.tenants = {key: one for key, one in world.tenants.items() if key not in gone}
        for tenant in world.tenants.values():
            tenant.parents -= gone
        world.drop_orphans()

    @operation("setTenantLabel", "tenant:write")
    def set_tenant_label(self, chance: Chance) -> None:
        """By internal or external id."""
        who = self.who(chance)
        subject = self.pick(chance, self.world.tenants)
        if subject in self.world.tenants and chance.once_in(2):
            subject = self.world.tenants[subject].external
        key, value = label_value(chance)

        def expected() -> Any:
            label_problem(key, value)
            found = self._named(subject)
            if found is None:
                raise not_found("tenant")

            def then(_answer: Any) -> Any:
                found.labels[key] = value
                return {"key": key, "value": value}

            return then

        self.do(who, "setTenantLabel", {"tenantID": subject, "key": key, "value": value}, "key value", expected)

    def _named(self, subject: str) -> Tenant | None:
        tenants = self.world.tenants
        return tenants.get(subject) or next((one for one in tenants.values() if one.external == subject), None)

    @operation("tenants", "tenant:read")
    def tenants(self, chance: Chance) -> None:
        """All tenants, by name."""
        who = self.who(chance)
        arguments = page_arguments(chance)
        if chance.once_in(3):
            arguments["searchTerm"] = chance.one_of(("a", "ALPHA", "beta", "nothing at all", "%"))

        def expected() -> Any:
            term = arguments.get("searchTerm", "").lower()
            found = [
                one
                for one in sorted(self.world.tenants.values(), key=lambda one: (one.name, one.id))
                if term in one.name.lower() or term in one.external.lower() or term in one.id
            ]
            return page([self.world.tenant(one) for one in found], arguments, usual=500, largest=None)

        selection = f"data {{ {TENANT} }} totalCount pageInfo {{ startCursor endCursor hasNextPage }}"
        self.ask(who, "tenants", arguments, selection, expected)

    @operation("tenantByExternalID", "tenant:read")
    def tenant_by_external_id(self, chance: Chance) -> None:
        """One by what clients call it."""
        who = self.who(chance)
        subject = chance.one_of(("alpha", "beta", "gamma", "delta", "7", "007", "nobody"))

        def expected() -> Any:
            found = next((one for one in self.world.tenants.values() if one.external == subject), None)
            if found is None:
                raise not_found("tenant")
            return self.world.tenant(found)

        self.ask(who, "tenantByExternalID", {"id": subject}, TENANT, expected)

    @operation("tenantByInternalID", "ory_internal")
    def tenant_by_internal_id(self, chance: Chance) -> None:
        """One by its internal id."""
        who = self.who(chance, "component", "component", "administrator")
        subject = self.pick(chance, self.world.tenants)

        def expected() -> Any:
            if subject not in self.world.tenants:
                raise not_found("tenant")
            return self.world.tenant(self.world.tenants[subject])

        self.ask(who, "tenantByInternalID", {"id": subject}, TENANT, expected)

    @operation("rootTenants", "tenant:read")
    def root_tenants(self, chance: Chance) -> None:
        """The highest ancestors."""
        who = self.who(chance)
        subject = chance.one_of(("alpha", "beta", "gamma", "delta", "7", "nobody"))

        def expected() -> Any:
            found = next((one for one in self.world.tenants.values() if one.external == subject), None)
            if found is None:
                raise not_found("tenant")
            roots = [self.world.tenants[one] for one in self.world.up(found.id)]
            roots = sorted((one for one in roots if not one.parents), key=lambda one: (one.name, one.id))
            return [self.world.tenant(one) for one in roots]

        self.ask(who, "rootTenants", {"externalTenant": subject}, TENANT, expected)

    @operation("tenantByLowestOwnerForResource", "ory_internal")
    def tenant_by_lowest_owner(self, chance: Chance) -> None:
        """Whose an object is."""
        who = self.who(chance, "component", "component", "administrator")
        kind = chance.one_of(("application", "runtime", "bundle"))
        kinds: dict[str, Any] = {"application": self.world.applications, "runtime": self.world.runtimes}
        things = kinds.get(kind, {})
        subject = self.pick(chance, things)

        def expected() -> Any:
            if kind == "bundle":
                raise Refused(22, ANY_REASON)
            thing: Owned | None = things.get(subject)
            if thing is None:
                raise not_found(kind)
            owners = {tenant for tenant, owner in self.world.access(thing).items() if owner}
            lowest = [one for one in owners if not any(one in self.world.tenants[below].parents for below in owners)]
            return min(lowest, key=lambda one: (one in thing.grants, one)) if lowest else None

        self.ask(who, "tenantByLowestOwnerForResource", {"id": subject, "resource": kind}, "", expected)

    @operation("addTenantAccess", "tenant_access:write")
    def add_tenant_access(self, chance: Chance) -> None:
        """Show a tenant what another one registered."""
        who = self.who(chance)
        kind, subject = self._resource(chance)
        external = self._external(chance)
        owner = chance.once_in(2)
        given = {"tenantID": external, "resourceType": kind, "resourceID": subject, "owner": owner}

        def expected() -> Any:
            tenant = self._active(external)
            thing = self._thing(kind, subject)
            if thing is None:
                raise forbidden("The referenced entity does not exists", "tenantAccess")

            def then(_answer: Any) -> Any:
                thing.grants[tenant] = thing.grants.get(tenant, False) or owner
                return {**given, "owner": self.world.access(thing)[tenant]}

            return then

        self.do(who, "addTenantAccess", {"in": given}, "tenantID resourceType resourceID owner", expected)

    @operation("removeTenantAccess", "tenant_access:write")
    def remove_tenant_access(self, chance: Chance) -> None:
        """Take it back."""
        who = self.who(chance)
        kind, subject = self._resource(chance)
        external = self._external(chance)
        granted = self._granted()
        if granted and not chance.once_in(3):
            kind, subject, external = chance.one_of(granted)
        given = {"tenantID": external, "resourceID": subject, "resourceType": kind}

        def expected() -> Any:
            tenant = self._active(external)
            thing = self._thing(kind, subject)
            if thing is None or not self.world.sees(tenant, thing):
                raise not_found("tenantAccess")
            if tenant not in thing.grants:
                raise forbidden("the access was not granted: it comes from what the tenant or one below it has")
            before = self.world.access(thing)[tenant]

            def then(_answer: Any) -> Any:
                del thing.grants[tenant]
                return {**given, "owner": before}

            return then

        self.do(who, "removeTenantAccess", given, "tenantID resourceType resourceID owner", expected)

    def _granted(self) -> list[tuple[str, str, str]]:
        """What was granted to whom."""
        tenants = self.world.tenants
        return [
            (kind, thing.id, tenants[tenant].external)
            for kind, things in (("APPLICATION", self.world.applications), ("RUNTIME", self.world.runtimes))
            for thing in things.values()
            for tenant in thing.grants
        ]

    def _resource(self, chance: Chance) -> tuple[str, str]:
        kind = chance.one_of(("APPLICATION", "RUNTIME"))
        return kind, self.pick(chance, self.world.applications if kind == "APPLICATION" else self.world.runtimes)

    def _thing(self, kind: str, subject: str) -> Owned | None:
        found: Owned | None = (
            self.world.applications.get(subject) if kind == "APPLICATION" else self.world.runtimes.get(subject)
        )
        return found

    def _external(self, chance: Chance) -> str:
        known = [one.external for one in self.world.tenants.values()]
        return "nobody" if not known or chance.once_in(12) else chance.one_of(known)

    def _active(self, external: str) -> str:
        found = next((one.id for one in self.world.tenants.values() if one.external == external), None)
        if found is None:
            raise not_found("tenant")
        return found

    def _tenant_given(self, chance: Chance) -> dict[str, Any]:
        external = chance.one_of(_EXTERNAL)
        given: dict[str, Any] = {
            "name": chance.one_of((external, "a tenant", "another")),
            "externalTenant": external,
            "type": "planet" if chance.once_in(15) else chance.one_of((*_TYPES, *_USUAL_TYPES)),
            "provider": chance.one_of(("test", "compass")),
        }
        known = [one.external for one in self.world.tenants.values()]
        if known and not chance.once_in(3):
            some = [chance.one_of([*sorted(known), "nobody", "007"]) for _ in range(1 + chance.number(1))]
            if chance.once_in(3):
                some.append(chance.one_of(list(self.world.tenants)))
            given["parents"] = some
        if chance.once_in(3):
            given["region"] = chance.one_of(("eu", "us"))
        if chance.once_in(5):
            given |= {"subdomain": "sub", "licenseType": "TEST", "customerId": "0042"}
        return given


class _Planned:
    """What a tree of tenants becomes; new ones are called by their external ids until they have their own."""

    def __init__(self, tenants: Tenants) -> None:
        self.tenants = copy.deepcopy(tenants)
        self.dropped = set[str]()
        self.added = set[str]()

    def write(self, given: Sequence[dict[str, Any]]) -> list[str]:
        """Add or update some, and answer what they are called. Of two entries for one tenant the last counts."""
        last = {self._checked(entry): entry for entry in given}
        keys = {}
        for external, entry in last.items():
            found = next((one for one in self.tenants.values() if one.external == external), None)
            if found is None:
                found = Tenant(f"new {external}", external, entry["name"], entry["type"], entry["provider"])
                self.tenants[found.id] = found
            found.name = entry["name"]
            keys[external] = found.id
        self._place({keys[external]: entry for external, entry in last.items()})
        return [keys[self._checked(entry)] for entry in given]

    def change(self, subject: str, given: dict[str, Any]) -> None:
        """Change a known one."""
        external = self._checked(given)
        found = self.tenants.get(subject)
        if found is None:
            raise not_found("tenant")
        if any(one.external == external and one is not found for one in self.tenants.values()):
            raise Refused(21, "Object is not unique [object=tenant]")
        found.external, found.name = external, given["name"]
        found.type, found.provider = given["type"], given["provider"]
        self._place({subject: given})

    def _checked(self, given: dict[str, Any]) -> str:
        if given["type"] not in _TYPES:
            raise invalid(_NO_TYPE)
        external: str = given["externalTenant"]
        return external.lstrip("0") or "0" if given["type"] == "customer" else external

    def _place(self, written: dict[str, dict[str, Any]]) -> None:
        looped = set[str]()
        for key, given in written.items():
            parents = given.get("parents", ())
            customers = [parent.lstrip("0") or "0" for parent in parents]
            wanted = {
                one.id
                for one in self.tenants.values()
                if one.external in parents
                or one.id in parents
                or (one.type == "customer" and one.external in customers)
            }
            tenant = self.tenants[key]
            if tenant.parents - wanted:
                self.dropped.add(key)
            if wanted - tenant.parents - {key}:
                self.added.add(key)
            if key in wanted:
                looped.add(key)
            tenant.parents = wanted - {key}
            names = {
                "subdomain": "subdomain",
                "region": "region",
                "licenseType": "licensetype",
                "customerId": "customerId",
            }
            tenant.labels |= {key: given[name] for name, key in names.items() if name in given}
        looped |= {key for key in self.added if self._is_above(key)}
        if looped:
            external = min(self.tenants[key].external for key in looped)
            raise invalid(f"tenant {external} cannot be its own ancestor")

    def _is_above(self, tenant: str) -> bool:
        found, waiting = set[str](), [*self.tenants[tenant].parents]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(self.tenants[one].parents)
        return tenant in found

    def commit(self, world: World, names: dict[str, str]) -> None:
        """Make it so, with new ones called as they are called now."""
        renamed = {}
        for one in self.tenants.values():
            one.id = names.get(one.id, one.id) if one.id.startswith("new ") else one.id
            one.parents = {names[up] if up.startswith("new ") else up for up in one.parents}
            renamed[one.id] = one
        world.tenants = renamed
        world.forget_beside(names.get(key, key) for key in self.dropped)
        world.share_with_new(names.get(key, key) for key in self.added)


ANY_REASON: Final = "Invalid data [reason=resource must be one of application, runtime]"
__all__ = ["NOWHERE", "TenantRules", "untyped"]
