# ruff: noqa: E501
# Documents and statements stand on one line, as they are sent.
"""No read of a request looks at a whole large table, and no page costs more because the landscape is larger."""

import time

import pytest

from bench.landscape import id_of, runtime_of_group, tenant_id
from bench.reads import administrator
from compass.access import authenticate
from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.client.protocol import document
from compass.director import change
from compass.outbox import feed, relay
from tests.plans.conftest import BIG, Planner

ADMIN = administrator(tenant_id(1))
AGENT = Caller(
    Consumer.RUNTIME, runtime_of_group(1, 200), Flow.CERTIFICATE, BY_CONSUMER[Consumer.RUNTIME], tenant_id(1)
)
APPLICATION = Caller(
    Consumer.APPLICATION, id_of("application", 1, 7), Flow.CERTIFICATE, BY_CONSUMER[Consumer.APPLICATION], tenant_id(1)
)
WHOLE = """
  data {
    id name labels status { condition } webhooks { id auth { accessStrategy } } eventingConfiguration { defaultURL }
    auths { id auth { certCommonName } }
    bundles {
      data {
        id instanceAuths { id }
        apiDefinitions { data { id spec { data fetchRequest { url } } } totalCount }
        eventDefinitions { data { id spec { data } } totalCount }
        documents { data { id fetchRequest { url } } totalCount }
      }
      totalCount pageInfo { hasNextPage endCursor }
    }
  }
  pageInfo { hasNextPage endCursor startCursor } totalCount
"""


@pytest.mark.parametrize(
    ("caller", "text"),
    [
        (ADMIN, f"{{ applications(first: 50) {{ {WHOLE} }} }}"),
        (ADMIN, f'{{ applications(first: 50, after: "MTAw") {{ {WHOLE} }} }}'),
        (ADMIN, "{ applications { totalCount } }"),
        (
            ADMIN,
            "query ($id: ID!) { application(id: $id) { name bundle(id: $id) { id } apiDefinition(id: $id) { id } } }",
        ),
        (
            ADMIN,
            "query ($id: ID!) { application(id: $id) { applicationTemplate { id webhooks { id } } webhooks { id } } }",
        ),
        (ADMIN, '{ applicationBySystemNumber(systemNumber: "7") { id } }'),
        (ADMIN, '{ applicationsByLocalTenantID(localTenantID: "x") { data { id } totalCount } }'),
        (
            ADMIN,
            '{ applicationsByLocalTenantID(localTenantID: "x", filter: [{key: "managed"}]) { data { id } totalCount } }',
        ),
        (
            ADMIN,
            """query ($id: ID!) {
              applicationByLocalTenantIDAndAppTemplateID(localTenantID: "x", applicationTemplateID: $id) { id }
            }""",
        ),
        (ADMIN, "{ applicationsGlobal(first: 50) { data { application { id } tenants { id } } } }"),
        (AGENT, '{ applicationBySystemNumber(systemNumber: "7") { id } }'),
        (AGENT, '{ applicationsByLocalTenantID(localTenantID: "x") { data { id } totalCount } }'),
        (ADMIN, "query ($id: ID!) { runtime(id: $id) { name labels auths { id } } }"),
        (ADMIN, "{ runtimes(first: 50) { data { connection { health lastSeen inSync { reason } } } } }"),
        (ADMIN, "{ applications(first: 50) { data { connection { health lastSeen inSync { reason } } } } }"),
        (ADMIN, "query ($id: ID!) { apisForApplication(appID: $id) { data { id } totalCount } }"),
        (ADMIN, "query ($id: ID!) { eventsForApplication(appID: $id) { data { id } totalCount } }"),
        (ADMIN, "query ($id: ID!) { bundleInstanceAuth(id: $id) { id } bundleByInstanceAuth(authID: $id) { id } }"),
        (ADMIN, "query ($id: ID!) { formation(id: $id) { id } }"),
        (ADMIN, "{ formations { data { id status { condition } formationAssignments { totalCount } } } }"),
        (ADMIN, "query ($id: ID!) { applicationsForRuntime(runtimeID: $id) { data { id name } totalCount } }"),
        (AGENT, f"{{ applications(first: 50) {{ {WHOLE} }} }}"),
        (AGENT, "query ($id: ID!) { application(id: $id) { name } }"),
        (APPLICATION, "query ($id: ID!) { application(id: $id) { name auths { id } } }"),
        (
            ADMIN,
            '{ applications(filter: [{key: "department", query: "\\"department-7\\""}]) { data { id } totalCount } }',
        ),
        (
            ADMIN,
            '{ applications(filter: [{key: "department", query: "\\"department-7\\""}, {key: "managed"}]) { totalCount } }',
        ),
        (
            ADMIN,
            '{ applications(filter: [{key: "scenarios", query: "$[*] ? (@ == \\"one\\")"}]) { data { id } totalCount } }',
        ),
    ],
)
async def test_a_read_uses_indexes(planner: Planner, caller: Caller, text: str) -> None:
    variables = {"id": caller.consumer_id if caller is not ADMIN else id_of("application", 1, 7)}
    if "applicationsForRuntime" in text or "runtime(" in text:
        variables["id"] = runtime_of_group(1, 50)
    if caller is AGENT:
        variables["id"] = id_of("application", 1, 7)
    if "formation(" in text:
        variables["id"] = await planner.a_formation()

    explained = await planner.document(caller, text, **variables)

    assert explained.scanned & BIG == set()


async def test_the_agents_own_query_uses_indexes(planner: Planner) -> None:
    text = document("RuntimeConfiguration").text

    explained = await planner.document(AGENT, text, runtime=AGENT.consumer_id, first=200, nested=200)

    assert explained.scanned & BIG == set()


@pytest.mark.parametrize("sql", [authenticate.SYSTEM_AUTH, authenticate.ACCOUNT])
async def test_a_caller_is_looked_up_by_index(planner: Planner, sql: str) -> None:
    explained = await planner.statement(sql)

    assert explained.scanned & BIG == set()


async def test_the_next_event_is_found_among_a_hundred_thousand_that_are_done(planner: Planner) -> None:
    explained = await planner.statement(relay.NEXT)

    assert explained.scanned == set()
    assert explained.indexes == {"outbox_event_to_relay"}


@pytest.mark.parametrize("sql", [feed.READ, feed.BEGIN])
async def test_the_change_feed_reads_in_its_order(planner: Planner, sql: str) -> None:
    explained = await planner.statement(sql)

    assert "outbox_event" not in explained.scanned
    assert explained.indexes == {"outbox_event_in_order"}


async def test_who_is_told_of_a_change_is_found_by_index(planner: Planner) -> None:
    explained = await planner.statement(change.ADDRESS)

    assert explained.scanned & BIG == set()


async def test_a_selective_label_filter_costs_what_it_finds(planner: Planner) -> None:
    text = '{ applications(filter: [{key: "department", query: "\\"department-7\\""}]) { data { id } totalCount } }'
    await planner.document(ADMIN, text)
    began = time.perf_counter()
    await planner.document(ADMIN, text)

    # Fifty of five thousand in the tenant, of a thousand with the label in all tenants.
    assert time.perf_counter() - began < 0.5
