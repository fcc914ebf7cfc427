"""What the other side runs to pair, as text; that it pairs: tests/cli/test_recipes_run.py."""

import json
import re
from typing import Any

import yaml

from compass.client.recipe import Offer, Show, recipe

OFFER = Offer(
    name="Shop & CRM", connector_url="https://plane.example/connector/graphql", token="t0k3n", pin="p", anchor="PEM\n"
)


def test_a_container_has_its_own_network_when_the_plane_is_elsewhere() -> None:
    assert "--network" not in recipe(OFFER, Show.DOCKER)


def test_a_job_may_write_its_own_secret_and_nothing_else() -> None:
    manifest = documents(recipe(OFFER, Show.KUBERNETES))

    kept, given, account, role, binding, job = manifest.values()
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["compass-shop-crm"], "verbs": ["patch"]}
    ]
    assert {one["metadata"]["name"] for one in (kept, account, role, binding)} == {"compass-shop-crm"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "compass-shop-crm"}]
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "compass-shop-crm"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["volumes"][0]["secret"]["secretName"] == given["metadata"]["name"] == job["metadata"]["name"]
    assert "t0k3n" not in json.dumps(job)
    assert re.fullmatch(r"compass-shop-crm-[0-9a-f]{8}", job["metadata"]["name"])


def test_another_token_is_another_job_and_the_same_secret() -> None:
    first = documents(recipe(OFFER, Show.KUBERNETES))
    second = documents(recipe(Offer(**{**vars(OFFER), "token": "other"}), Show.KUBERNETES))

    assert first["Secret", 0] == second["Secret", 0]
    assert first["Job", 5]["metadata"]["name"] != second["Job", 5]["metadata"]["name"]


def documents(text: str) -> dict[tuple[str, int], dict[str, Any]]:
    """The objects of a manifest that is fed to kubectl, by kind and place."""
    fed = re.fullmatch(r"kubectl apply -f - <<'END'\n(.*)END\n?", text, re.DOTALL)
    assert fed is not None
    return {(each["kind"], place): each for place, each in enumerate(yaml.safe_load_all(fed[1]))}
