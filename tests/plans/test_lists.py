"""A page of any list, whatever it is filtered by, reads what it shows and not all there is."""

from importlib import resources

import pytest

from bench import lists
from compass.reads.document import Schema
from tests.plans.conftest import Planner

NAMES = [each.field.partition("(")[0] for each in lists.LISTS]
RARE = '[{key: "rare", query: "\\"value-7\\""}]'
FILTERS = {
    **{f"applications by {name}": ("applications(", given) for name, (given, _) in lists.FILTERS.items()},
    "applications by several values": (
        "applications(",
        '[{key: "rare", query: "\\"value-7\\""}, {key: "common", query: "\\"yes\\""}, {key: "common"}]',
    ),
    "applications by one of several groups": (
        "applications(",
        '[{key: "scenarios", query: "$[*] ? (@ == \\"group-2\\" || @ == \\"group-3\\")"}]',
    ),
    "applications of no subaccount": (
        "applications(",
        '[{key: "global_subaccount_id", query: "{\\"exists\\": false}"}]',
    ),
    "all applications": ("applicationsGlobal(", RARE),
    "applications of a local tenant": ('applicationsByLocalTenantID(localTenantID: "shared", ', RARE),
    "runtimes": ("runtimes(", RARE),
    "application templates": ("applicationTemplates(", RARE),
    "formation templates": ("formationTemplates(", RARE),
}


def test_every_list_with_pages_is_looked_at() -> None:
    sdl = resources.files("compass.director").joinpath("schema.graphql").read_text()
    paged = {name for name, field in Schema(sdl).fields("Query").items() if "first" in field.args}

    # The first is always empty; the searches look for parts of words, in every row of the tenant; who would join a
    # group is worked out for all of a subaccount before it is put in order.
    others = {
        "healthChecks",
        "searchApplications",
        "searchRuntimes",
        "offeredOperations",
        "automaticScenarioAssignmentEffects",
    }
    assert paged - others == set(NAMES)


@pytest.mark.parametrize("after", ["", ', after: "MTAwMA=="'], ids=["first", "later"])
@pytest.mark.parametrize("each", lists.LISTS, ids=NAMES)
async def test_a_page_reads_no_large_table_to_the_end(many: Planner, each: lists.List, after: str) -> None:
    document = lists.document(each, 50, "").replace("first: 50", f"first: 50{after}")

    explained = await many.document(lists.everybody(), document)

    assert explained.scanned & await many.large_tables(50_000) == set()


@pytest.mark.parametrize(("listed", "given"), FILTERS.values(), ids=FILTERS)
async def test_a_filtered_page_reads_no_large_table_to_the_end(many: Planner, listed: str, given: str) -> None:
    node = "application { id }" if listed.startswith("applicationsGlobal") else "id"
    document = f"{{ {listed}first: 50, filter: {given}) {{ data {{ {node} }} pageInfo {{ hasNextPage }} }} }}"

    explained = await many.document(lists.everybody(), document)

    assert explained.scanned & await many.large_tables(50_000) == set()
