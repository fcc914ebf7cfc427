"""Documents of clients that call bundles packages."""

from importlib import resources
from typing import Any

import orjson
import pytest

from compass.api.old_names import OldNames
from compass.api.request import Endpoint
from compass.api.schema import Surface
from compass.postgres.pool import Database
from compass.reads.document import Schema

SDL = resources.files("compass.director").joinpath("schema.graphql").read_text()


@pytest.fixture(scope="module")
def old_names() -> OldNames:
    return OldNames(Schema(SDL))


OLD_AND_NEW = {
    "fields": (
        '{ application(id: "packages") { packages(first: 1) { id } package(id: "p") { id } } }',
        '{ application(id: "packages") { packages: bundles(first: 1) { id } package: bundle(id: "p") { id } } }',
    ),
    "an alias": (
        "{ application(id: 1) { mine: packages { totalCount } } }",
        "{ application(id: 1) { mine: bundles { totalCount } } }",
    ),
    "types, arguments and what the client named": (
        """mutation ($packageID: ID!, $in: PackageInstanceAuthRequestInput!) {
          result: requestPackageInstanceAuthCreation(packageID: $packageID, in: $in) { ...packageAuth }
        } fragment packageAuth on PackageInstanceAuth { id package: context }""",
        """mutation ($packageID: ID!, $in: BundleInstanceAuthRequestInput!) {
          result: requestBundleInstanceAuthCreation(bundleID: $packageID, in: $in) { ...packageAuth }
        } fragment packageAuth on BundleInstanceAuth { id package: context }""",
    ),
    "keys of inputs": (
        """mutation { registerApplication(in: {
          name: "packages", labels: {packages: {package: 1}},
          packages: [{name: "package", documents: [{title: "packages: [{}]"}]}]
        }) { id } } # packages""",
        """mutation { registerApplication(in: {
          name: "packages", labels: {packages: {package: 1}},
          bundles: [{name: "package", documents: [{title: "packages: [{}]"}]}]
        }) { id } } # packages""",
    ),
    "texts in blocks": (
        'mutation { setRuntimeLabel(runtimeID: 1, key: "k", value: """{ packages }""") { key } } { package: packages }',
        'mutation { setRuntimeLabel(runtimeID: 1, key: "k", value: """{ packages }""") { key } } { package: bundles }',
    ),
}


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW.values(), ids=OLD_AND_NEW.keys())
def test_names_are_rewritten_and_nothing_else(old_names: OldNames, old: str, new: str) -> None:
    assert old_names.rewritten(old, {})[0] == new


def test_the_keys_of_variables_are_rewritten_where_they_are_those_of_an_input(old_names: OldNames) -> None:
    text = """mutation ($in: ApplicationRegisterInput!, $package: ID) {
      registerApplication(in: $in) { packages { totalCount } } }"""
    given = {
        "name": "packages",
        "labels": {"packages": ["package"]},
        "packages": [{"name": "package"}],
        "odd": {"package": 1},
    }

    _, variables = old_names.rewritten(text, {"in": given, "package": "packages", "undeclared": {"packages": 1}})

    assert variables == {
        "in": {
            "name": "packages",
            "labels": {"packages": ["package"]},
            "bundles": [{"name": "package"}],
            "odd": {"package": 1},
        },
        "package": "packages",
        "undeclared": {"packages": 1},
    }
    assert "packages" in given


@pytest.mark.parametrize(
    "text",
    [
        "{ viewer { id } }",
        '{ application(id: "package") { name } }',
        """mutation ($in: IntegrationDependencyInput!) {
          addIntegrationDependencyToApplication(appID: 1, in: $in) { partOfPackage } }""",
        """query package($packages: ID!) { package: application(id: $packages) { ...package } }
        fragment package on Application { id }""",
        "{ application(id: 1) { packages ",
        "{ packages " + "{ packages " * 3000,
        "{ packages(a: " + "[" * 5000,
        "{ " + "packages " * 30_000 + "}",
    ],
)
def test_what_has_no_old_names_or_cannot_be_parsed_is_left_as_it_is(old_names: OldNames, text: str) -> None:
    variables = {"in": {"packages": 1}}
    assert old_names.rewritten(text, variables) == (text, variables)


def test_what_was_rewritten_is_kept_up_to_a_bound() -> None:
    names = OldNames(Schema("type Query { bundles: Int }"))
    for number in range(1_001):
        assert names.rewritten(f"{{ a{number}: packages }}", {})[0] == f"{{ a{number}: bundles }}"
    names.rewritten("{ packages }" + " " * 64_000, {})

    assert len(names._known) == 1_000


def test_deep_variables_cost_nothing(old_names: OldNames) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    document = "mutation ($in: ApplicationRegisterInput!) { registerApplication(in: $in) { packages { totalCount } } }"
    text, variables = old_names.rewritten(document, {"in": deep})

    assert "bundles" in text
    assert len(variables["in"]) == 1


def test_a_name_that_is_in_use_keeps_its_meaning() -> None:
    both = OldNames(Schema("type Query { bundle: String package: String bundles: Int }"))

    assert both.rewritten("{ package packages }", {})[0] == "{ package packages: bundles }"


async def test_an_unknown_old_name_is_refused_like_any_other(database: Database) -> None:
    endpoint = Endpoint(Surface(Schema("type Query { bundles: Int }"), {}, {}, {}, {}), database)

    answer = await endpoint.answer(None, "{ packages { id } packagers }")  # type: ignore[arg-type]  # refused before

    assert answer.status == 422
    assert b"packagers" in answer.body or b"bundles" in answer.body
    assert orjson.loads(answer.body)["data"] is None
