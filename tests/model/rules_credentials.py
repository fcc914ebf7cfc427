"""Rules for the ways in which applications, runtimes and integration systems are known, and for deliveries."""

from datetime import datetime, timedelta
from typing import Any, Final
from unittest.mock import ANY

from tests.model.model import SYSTEM_AUTH, Json, Owned, SystemAuth, paged
from tests.model.play import (
    NOWHERE,
    Chance,
    Play,
    Who,
    invalid,
    not_found,
    operation,
    owner_needed,
    page,
    page_arguments,
    untyped,
)
from tests.model.rules_applications import ApplicationRules
from tests.model.values import auth, auth_problem, refuse, user_of

_TOKEN: Final = "token connectorURL used expiresAt createdAt usedAt raw rawEncoded type"
_MADE: Final = (
    "id type tenantId referenceObjectId auth { certCommonName credential { "
    "__typename ... on OAuthCredentialData { clientId clientSecret url } } }"
)
_WORDS: Final = {"APPLICATION": "Application", "RUNTIME": "Runtime"}
_LONGEST_SECONDS: Final = {"APPLICATION": 300, "RUNTIME": 3600}


def _life(token: Json) -> timedelta:
    return datetime.fromisoformat(token["expiresAt"]) - datetime.fromisoformat(token["createdAt"])


class CredentialRules(Play):
    """System auths, tokens and client credentials."""

    def _subject(self, chance: Chance, kind: str) -> tuple[str, Who, Owned | None]:
        things: Any = self.world.applications if kind == "APPLICATION" else self.world.runtimes
        subject = self.pick(chance, things)
        return subject, self.who(chance, near=subject), things.get(subject)

    def _keep_auth(self, kind: str, owner: str, tenant: str | None, **known: Any) -> SystemAuth:
        made = SystemAuth(known.pop("id"), kind, owner, tenant, self.world.next(), **known)
        self.world.auths[made.id] = made
        return made

    def _require_owned(self, tenant: str, kind: str, thing: Owned | None) -> None:
        if not self.world.sees(tenant, thing):
            raise not_found(kind.lower())
        if not self.world.owns(tenant, thing):
            raise owner_needed()

    # One-time tokens

    def _request_token(self, chance: Chance, kind: str) -> None:
        subject, who, thing = self._subject(chance, kind)
        held = None
        if self.world.auths and chance.once_in(3):
            held = chance.one_of(list(self.world.auths))
        arguments: Json = {"id": subject, **({} if held is None else {"systemAuthID": held})}
        word, longest = _WORDS[kind], _LONGEST_SECONDS[kind]
        seconds = None
        if chance.once_in(2):
            seconds = chance.one_of([0, 29, 30, 31, longest - 1, longest, longest + 1])
            arguments["validForSeconds"] = seconds

        def expected() -> Any:
            tenant = who.in_tenant()
            who.only_itself(subject)
            if seconds is not None and not 30 <= seconds <= longest:
                raise invalid(
                    f"validForSeconds must be between 30 and {longest}: the plane's setting "
                    f"tokens.{kind.lower()}_validity lets no one-time token live longer"
                )
            if held is None:
                self._require_owned(tenant, kind, thing)
            elif self.world.auths[held].owner != subject or not self.world.owns(tenant, thing):
                if not self.world.sees(tenant, thing):
                    raise not_found(kind.lower())
                raise not_found("systemAuth")

            def then(answer: Any) -> Any:
                known = self.world.auths[held] if held is not None else self._new_auth_of_token(who, kind, subject)
                known.token = "fresh"
                self.world.tokens = {text: one for text, one in self.world.tokens.items() if one != known.id}
                self.world.tokens[answer["token"]] = known.id
                assert _life(answer) == timedelta(seconds=longest if seconds is None else seconds)
                return {
                    **dict.fromkeys(("token", "connectorURL", "expiresAt", "createdAt", "raw", "rawEncoded"), ANY),
                    "usedAt": "0001-01-01T00:00:00Z",
                    "used": False,
                    "type": word,
                }

            return then

        self.do(who, f"requestOneTimeTokenFor{word}", arguments, _TOKEN, expected)

    def _new_auth_of_token(self, who: Who, kind: str, owner: str) -> SystemAuth:
        """The answer does not say which system auth it is about: whoever may see them all is asked."""
        noun = kind.lower()
        text = f"query($id: ID!) {{ result: {noun}(id: $id) {{ auths {{ id }} }} }}"
        home = self.world.tenants[who.tenant or ""]
        reader = self.who(Chance(0), "homeless")
        reader = Who("reader", reader.consumer, "reader", reader.scopes, home.id, home.external)
        answer = self.stage.answer(reader, text, {"id": owner})
        ids = [one["id"] for one in answer["data"]["result"]["auths"]]
        new = [one for one in ids if one not in self.world.auths]
        assert len(new) == 1, f"one token is one new system auth, not {new}"
        return self._keep_auth(kind, owner, who.tenant, id=new[0])

    @operation("requestOneTimeTokenForApplication", "application:write")
    def token_for_application(self, chance: Chance) -> None:
        """Each makes a new system auth, or replaces the token of one."""
        self._request_token(chance, "APPLICATION")

    @operation("requestOneTimeTokenForRuntime", "runtime:write")
    def token_for_runtime(self, chance: Chance) -> None:
        """The same for a runtime."""
        self._request_token(chance, "RUNTIME")

    # Client credentials

    @staticmethod
    def _made(one: SystemAuth) -> Json:
        credential = {"__typename": "OAuthCredentialData", "clientId": one.id, "clientSecret": ANY, "url": ANY}
        return {
            "id": one.id,
            "type": one.kind,
            "tenantId": one.tenant,
            "referenceObjectId": one.owner,
            "auth": {"certCommonName": "", "credential": credential},
        }

    def _request_credentials(self, chance: Chance, kind: str) -> None:
        subject, who, thing = self._subject(chance, kind)
        word = _WORDS[kind]

        def expected() -> Any:
            tenant = who.in_tenant()
            who.only_itself(subject)
            if not self.world.sees(tenant, thing):
                raise untyped(f"{word} with ID '{subject}' not found")
            if not self.world.owns(tenant, thing):
                raise owner_needed()

            def then(answer: Any) -> Any:
                return self._made(self._keep_auth(kind, subject, tenant, id=answer["id"], has_secret=True))

            return then

        self.do(who, f"requestClientCredentialsFor{word}", {"id": subject}, _MADE, expected)

    @operation("requestClientCredentialsForApplication", "application:write")
    def credentials_for_application(self, chance: Chance) -> None:
        """Shown once."""
        self._request_credentials(chance, "APPLICATION")

    @operation("requestClientCredentialsForRuntime", "runtime:write")
    def credentials_for_runtime(self, chance: Chance) -> None:
        """Shown once."""
        self._request_credentials(chance, "RUNTIME")

    @operation("requestClientCredentialsForIntegrationSystem", "integration_system:write")
    def credentials_for_integration_system(self, chance: Chance) -> None:
        """Shown once."""
        subject = self.pick(chance, self.world.integration_systems)
        who = self.who(chance)

        def expected() -> Any:
            if subject not in self.world.integration_systems:
                raise untyped(f"Integration System with ID '{subject}' not found")

            def then(answer: Any) -> Any:
                made = self._keep_auth("INTEGRATION_SYSTEM", subject, None, id=answer["id"], has_secret=True)
                return self._made(made)

            return then

        self.do(who, "requestClientCredentialsForIntegrationSystem", {"id": subject}, _MADE, expected)

    # System auths

    def _delete_auth(self, chance: Chance, kind: str, name: str) -> None:
        suited = {key: one for key, one in self.world.auths.items() if one.kind == kind}
        subject = self.pick(chance, self.world.auths if chance.once_in(4) else suited)
        one = suited.get(subject)
        who = self.who(chance, near=one.owner if one else None)

        def expected() -> Any:
            if kind != "INTEGRATION_SYSTEM":
                tenant = who.in_tenant()
                things: Any = self.world.applications if kind == "APPLICATION" else self.world.runtimes
                if one is None or not self.world.owns(tenant, things[one.owner]) or who.itself not in (None, one.owner):
                    raise not_found("systemAuth")
            if one is None:
                raise not_found("systemAuth")
            before = self.world.system_auth(who, one)

            def then(_answer: Any) -> Any:
                del self.world.auths[subject]
                self.world.tokens = {text: held for text, held in self.world.tokens.items() if held != subject}
                return before

            return then

        self.do(who, name, {"authID": subject}, SYSTEM_AUTH, expected)

    @operation("deleteSystemAuthForApplication", "application:write")
    def delete_auth_of_application(self, chance: Chance) -> None:
        """Of that kind only."""
        self._delete_auth(chance, "APPLICATION", "deleteSystemAuthForApplication")

    @operation("deleteSystemAuthForRuntime", "runtime:write")
    def delete_auth_of_runtime(self, chance: Chance) -> None:
        """Of that kind only."""
        self._delete_auth(chance, "RUNTIME", "deleteSystemAuthForRuntime")

    @operation("deleteSystemAuthForIntegrationSystem", "integration_system:write")
    def delete_auth_of_integration_system(self, chance: Chance) -> None:
        """Of that kind only."""
        self._delete_auth(chance, "INTEGRATION_SYSTEM", "deleteSystemAuthForIntegrationSystem")

    def _component(self, chance: Chance) -> Who:
        return self.who(chance, "component", "component", "component", "administrator")

    @operation("systemAuth", "ory_internal")
    def system_auth(self, chance: Chance) -> None:
        """One by its id."""
        who = self._component(chance)
        subject = self.pick(chance, self.world.auths)

        def expected() -> Any:
            if subject not in self.world.auths:
                raise not_found("systemAuth")
            return self.world.system_auth(who, self.world.auths[subject])

        self.ask(who, "systemAuth", {"id": subject}, SYSTEM_AUTH, expected)

    @operation("systemAuthByToken", "ory_internal")
    def system_auth_by_token(self, chance: Chance) -> None:
        """Whose a token is, while it is good."""
        who = self._component(chance)
        token = chance.one_of(["no token", *self.world.tokens])

        def expected() -> Any:
            one = self.world.auths.get(self.world.tokens.get(token, ""))
            if one is None or one.token is None:
                raise not_found("systemAuth")
            if one.token == "used":
                raise untyped(f"One Time Token for system auth id {one.id} has been used")
            return self.world.system_auth(who, one)

        self.ask(who, "systemAuthByToken", {"token": token}, SYSTEM_AUTH, expected)

    @operation("updateSystemAuth", "ory_internal")
    def update_system_auth(self, chance: Chance) -> None:
        """Its token becomes void."""
        who = self._component(chance)
        subject = self.pick(chance, self.world.auths)
        given = auth(chance) or {"certCommonName": "cn"}

        def expected() -> Any:
            refuse("AuthInput", {key.removeprefix("auth."): fact for key, fact in auth_problem(given).items()})
            one = self.world.auths.get(subject)
            if one is None:
                raise not_found("systemAuth")

            def then(_answer: Any) -> Any:
                one.kept = {"user": user_of(given)}
                one.name = given.get("certCommonName", "")
                one.token = None
                return self.world.system_auth(who, one)

            return then

        self.do(who, "updateSystemAuth", {"authID": subject, "in": given}, SYSTEM_AUTH, expected)

    @operation("invalidateSystemAuthOneTimeToken", "ory_internal")
    def invalidate_token(self, chance: Chance) -> None:
        """It counts as used."""
        who = self._component(chance)
        subject = self.pick(chance, self.world.auths)

        def expected() -> Any:
            one = self.world.auths.get(subject)
            if one is None:
                raise not_found("systemAuth")
            if one.token is None:
                raise untyped(f"System Auth with ID {subject} has no One Time Token")

            def then(_answer: Any) -> Any:
                one.token = "used"
                return self.world.system_auth(who, one)

            return then

        self.do(who, "invalidateSystemAuthOneTimeToken", {"authID": subject}, SYSTEM_AUTH, expected)


class DeliveryRules(ApplicationRules):
    """Deliveries. Nothing relays events here, so none is ever owed; what is refused is refused all the same."""

    @operation("webhookDeliveries", "application.webhooks:read")
    def deliveries(self, chance: Chance) -> None:
        """There are none."""
        subject, who = self.pick_webhook(chance)
        arguments = {"webhookID": subject, **page_arguments(chance)}

        def expected() -> Any:
            who.in_tenant()
            return page([], arguments)

        self.ask(who, "webhookDeliveries", arguments, paged("id state"), expected)

    @operation("resendWebhookDelivery", "webhook:write")
    def resend(self, chance: Chance) -> None:
        """There is none."""
        who = self.who(chance)

        def expected() -> Any:
            who.in_tenant()
            raise not_found("webhookDelivery")

        self.do(who, "resendWebhookDelivery", {"id": NOWHERE}, "id", expected)

    @operation("recoverWebhookDeliveries", "webhook:write")
    def recover(self, chance: Chance) -> None:
        """There are none."""
        subject, who = self.pick_webhook(chance)
        since = "yesterday" if chance.once_in(6) else "2026-11-23T08:00:00Z"

        def expected() -> Any:
            if since == "yesterday":
                raise invalid("since must be a point in time such as 2026-11-23T08:00:00Z")
            self.own_webhook(who, subject)
            who.in_tenant()
            return lambda _answer: 0

        self.do(who, "recoverWebhookDeliveries", {"webhookID": subject, "since": since}, "", expected)
