"""The whole Director against a model of it in plain Python: many operations by many callers, every answer compared.

Several tenants, some above others; administrators, integration systems, applications, runtimes, a technical client with
few scopes, strangers of other tenants, callers without a tenant, and the plane's own components. Every operation of the
schema has a rule: it draws a caller and arguments, the model says what the answer must be, data or code and text, and
what is different from then on. A refusal announces nothing; in the end everything is read back.

A failure prints the steps, each with the number that decides about it, and what was asked and answered. The same
runs again: `MODEL_SEED=<as printed> pytest tests/model/test_model.py`. One run alone: put what is printed last,
`@reproduce_failure(…)`, above `class Director`. `COMPASS_PROOF=1` plays twenty thousand operations and more, by a seed
that nobody has seen.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test

from tests.model.play import RULES, Play, Settled, Stage
from tests.model.rules_catalogue import CatalogueRules
from tests.model.rules_credentials import CredentialRules, DeliveryRules
from tests.model.rules_formations import FormationRules, TemplateRules
from tests.model.rules_runtimes import RuntimeRules, SmallRules
from tests.model.rules_templates import ApplicationTemplateRules
from tests.model.rules_tenants import TenantRules

PROOF: Final = bool(os.environ.get("COMPASS_PROOF"))
REPLAYED: Final = os.environ.get("MODEL_SEED")
RUNS, AT_LEAST = (200, 20_000) if PROOF else (14, 1_000)
STEPS: Final = 100

NO_RULE: Final[dict[str, str]] = {
    "automaticScenarioAssignmentEffects": "is what happens: tests/director/test_automatic_scenario_assignment.py",
    "auditRecords": "what it reads is counted after every step; tests/director/test_audit_record.py",
    "credentialRequests": "lists what `instanceAuths` of bundles do; tests/director/test_credential_request.py",
    "offeredOperations": "found a while after a change: tests/director/test_offered_operation.py",
    "pairings": "the model pairs nobody; tests/director/test_pairing_state.py",
    "resynchronizeFormationAssignment": "nothing is delivered here; tests/director/test_pair_resynchronization.py",
    "setApplicationAppliedFields": "it changes nothing of the application: tests/director/test_applied_field.py",
    "setRuntimeAppliedFields": "as `setApplicationAppliedFields`",
    "searchApplications": "lists what `applications` does, found by words; tests/director/test_search.py",
    "signedIn": "whoever asks; tests/director/test_viewer.py",
    "system": "the plane itself, of which the model knows nothing; tests/director/test_system_status.py",
    "searchRuntimes": "lists what `runtimes` does, found by words; tests/director/test_search.py",
    "pauseWebhook": "nothing is delivered here; tests/director/test_webhook_pause.py",
    "resumeWebhook": "as `pauseWebhook`",
    "testWebhook": "nothing is delivered here; tests/director/test_webhook_trial.py",
    "webhooks": "lists what `webhooks` of applications and runtimes do; tests/director/test_webhook.py",
    "webhookPreview": "it reads nothing; tests/director/test_webhook_trial.py",
}
"""Operations of the schema without a rule, and why."""
RARE: Final = 8
"""Operations that a long run may have seen refused only."""
NEVER_ANSWERED: Final = frozenset(
    {
        "operation",  # the plane aggregates nothing, so there is none
        "scheduleOperation",  # not offered, as the next two
        "subscribeTenant",
        "unsubscribeTenant",
        "resendWebhookDelivery",  # nothing is relayed here, so nothing was ever given up
    }
)


class Director(
    ApplicationTemplateRules,
    DeliveryRules,
    CredentialRules,
    FormationRules,
    TemplateRules,
    RuntimeRules,
    CatalogueRules,
    TenantRules,
    SmallRules,
):
    """All rules together."""

    @initialize(number=st.integers(0, 2**20))
    def begin(self, number: int) -> None:
        """A small landscape, made by the rules themselves."""
        chance = Settled(number)
        for times, step in (
            (5, self.write_tenant),
            (1, self.register_integration_system),
            (2, self.create_application_template),
            (2, self.register_from_template),
            (3, self.register_application),
            (2, self.register_runtime),
            (2, self.add_bundle),
            (4, self.add_tenant_access),
            (3, self.create_formation),
            (7, self.assign_formation),
            (2, self.add_webhook),
            (2, self.request_credentials),
            (2, self.token_for_application),
            (1, self.credentials_for_integration_system),
            (1, self.add_event_to_bundle),
            (1, self.add_api_to_application),
            (1, self.add_event_to_application),
            (1, self.add_document),
            (1, self.add_dependency),
            (1, self.register_context),
            (1, self.create_template),
            (1, self.create_constraint),
            (1, self.create_mapping),
        ):
            for _ in range(times):
                self.until_answered(step, chance)

    def teardown(self) -> None:
        """Everything is read back, unless the run has failed already."""
        for who in self.administrators() if self.is_sound else ():
            self.list_applications(who, {})
            self.list_runtimes(who, {})
            self.list_formations(who, {})


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    """The Director on a database of its own."""
    opened = Stage(dsn, tmp_path)
    yield opened
    opened.close()


@pytest.mark.timeout(3600)
def test_every_answer_is_that_of_the_model(stage: Stage, record_property: Any) -> None:
    number = int(REPLAYED) if REPLAYED else secrets.randbelow(2**32) if PROOF else 1
    print(f"MODEL_SEED={number}")  # noqa: T201  # shown when the test fails
    Play.stage = stage
    Play.asked = 0
    Play.used.clear()

    run_state_machine_as_test(
        seed(number)(Director),
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            database=None,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )

    record_property("cases", Play.asked)
    assert Play.asked >= AT_LEAST
    if PROOF:
        # Some are rarely allowed, and a run does not use all rules; the others have all succeeded.
        never = {name for name in RULES if not Play.used.get(name)}
        assert never >= NEVER_ANSWERED
        assert len(never - NEVER_ANSWERED) <= RARE, sorted(never)


def test_every_operation_of_the_schema_has_a_rule(stage: Stage) -> None:
    schema = stage.offered.schema
    offered = {*schema.fields("Query"), *schema.fields("Mutation")}

    assert sorted(RULES.keys() - offered) == []
    assert sorted(offered - RULES.keys() - NO_RULE.keys()) == []
    assert sorted(NO_RULE.keys() & RULES.keys()) == []
    assert RULES.keys() >= NEVER_ANSWERED
