"""Certificate subject mappings through the Director's API."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

FIELDS = "id subject consumerType internalConsumerID tenantAccessLevels createdAt updatedAt"
CREATE = f"""mutation ($in: CertificateSubjectMappingInput!) {{
  result: createCertificateSubjectMapping(in: $in) {{ {FIELDS} }} }}"""
UPDATE = f"""mutation ($id: ID!, $in: CertificateSubjectMappingInput!) {{
  result: updateCertificateSubjectMapping(id: $id, in: $in) {{ {FIELDS} }} }}"""
DELETE = f"mutation ($id: ID!) {{ result: deleteCertificateSubjectMapping(id: $id) {{ {FIELDS} }} }}"
ONE = f"query ($id: ID!) {{ result: certificateSubjectMapping(id: $id) {{ {FIELDS} }} }}"
ALL = f"""query ($first: Int, $after: PageCursor) {{ result: certificateSubjectMappings(first: $first, after: $after) {{
  data {{ {FIELDS} }} totalCount pageInfo {{ startCursor endCursor hasNextPage }} }} }}"""
SUBJECT = "CN=broker, OU=a, OU=b, O=Example, L=Walldorf, C=DE"
GIVEN = {"subject": SUBJECT, "consumerType": "Integration System", "tenantAccessLevels": ["account", "subaccount"]}
UNKNOWN = ("8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid", "")

Announced = Callable[[], Awaitable[Sequence[str]]]


async def create(director: Any, **more: Any) -> Any:
    return (await director.data(CREATE, **{"in": {**GIVEN, **more}}))["result"]


async def test_a_mapping_belongs_to_no_tenant_and_is_shown_as_it_was_given(director: Any, announced: Announced) -> None:
    tenantless = replace(director.caller, tenant=None, external_tenant=None)

    made = (await director.data(CREATE, caller=tenantless, **{"in": {**GIVEN, "internalConsumerID": "x"}}))["result"]

    assert made == GIVEN | {
        "id": made["id"],
        "internalConsumerID": "x",
        "createdAt": made["createdAt"],
        "updatedAt": None,
    }
    assert made["createdAt"].endswith("Z")
    assert (await director.data(ONE, caller=director.other, id=made["id"]))["result"] == made
    assert await announced() == ["CertificateSubjectMappingsChanged"]


@pytest.mark.parametrize(
    "written",
    [
        "C=DE,L=Walldorf,O=Example,OU=b,OU=a,CN=broker",
        "  ou=b , cn=broker,  OU = a,o=Example, C=DE, L=Walldorf ",
    ],
)
async def test_a_subject_is_kept_in_one_order_and_mapped_once(director: Any, written: str) -> None:
    made = await create(director, subject=written)
    other = await create(director, subject=SUBJECT.replace("broker", "other"))

    assert made["subject"] == SUBJECT
    taken = await director.refusal(CREATE, **{"in": GIVEN})
    assert taken["message"] == "Object is not unique [object=certSubjectMapping]"
    assert taken["extensions"] == {"error": "NotUnique", "error_code": 21}
    taken = await director.refusal(UPDATE, id=other["id"], **{"in": {**GIVEN, "subject": written}})
    assert taken["message"] == "Object is not unique [object=certSubjectMapping]"


async def test_a_comma_in_a_value_separates_nothing(director: Any) -> None:
    made = await create(director, subject=r"CN=a\, b, OU=o, O=Example\, Inc., L=l, C=DE")

    assert made["subject"] == r"CN=a\, b, OU=o, O=Example\, Inc., L=l, C=DE"


async def test_an_update_replaces_everything_and_is_dated(director: Any, announced: Announced) -> None:
    made = await create(director, internalConsumerID="x")
    changes = {"subject": SUBJECT.replace("DE", "FR"), "consumerType": "Super Admin", "tenantAccessLevels": ["global"]}

    changed = (await director.data(UPDATE, id=made["id"], **{"in": changes}))["result"]

    assert changed == {
        **changes,
        "id": made["id"],
        "internalConsumerID": None,
        "createdAt": made["createdAt"],
        "updatedAt": changed["updatedAt"],
    }
    assert changed["updatedAt"] >= made["createdAt"]
    # The same once more: its own subject is not taken.
    assert (await director.data(UPDATE, id=made["id"], **{"in": changes}))["result"]["subject"] == changes["subject"]
    assert await announced() == ["CertificateSubjectMappingsChanged"] * 3


async def test_a_deleted_mapping_is_answered_once_more_and_gone(director: Any, announced: Announced) -> None:
    made = await create(director)

    assert (await director.data(DELETE, id=made["id"]))["result"] == made

    assert await announced() == ["CertificateSubjectMappingsChanged"] * 2
    for document, given in ((ONE, {}), (DELETE, {}), (UPDATE, {"in": GIVEN})):
        for unknown in (made["id"], *UNKNOWN):
            error = await director.refusal(document, id=unknown, **given)
            assert error["message"] == "Object not found [object=certSubjectMapping]"
            assert error["extensions"] == {"error": "NotFound", "error_code": 20}


async def test_mappings_come_a_page_at_a_time_of_at_most_three_hundred(director: Any) -> None:
    ids = sorted([(await create(director, subject=SUBJECT.replace("broker", f"n{n}")))["id"] for n in range(3)])

    page = (await director.data(ALL, first=2))["result"]
    rest = (await director.data(ALL, first=300, after=page["pageInfo"]["endCursor"]))["result"]
    default = (await director.data("{ certificateSubjectMappings { data { id } } }"))["certificateSubjectMappings"]

    assert [one["id"] for one in (*page["data"], *rest["data"])] == ids
    assert [one["id"] for one in default["data"]] == ids
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (3, True, False)
    for first in (0, 301):
        error = await director.refusal(ALL, first=first)
        assert error["message"] == "Invalid data [reason=page size must be between 1 and 300]"


WHOLE = "must have exactly one CN, O, L and C and at least one OU, each with a value, and nothing else"


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"subject": ""}, "subject=cannot be blank"),
        ({"subject": "x" * 2001}, "subject=the length must be between 1 and 2000"),
        ({"subject": "CN=a, OU=b, O=c, L=d"}, f"subject={WHOLE}"),
        ({"subject": "CN=a, O=c, L=d, C=e, ST=f"}, f"subject={WHOLE}"),
        ({"subject": "CN=a, OU=b, O=c, L=d, C=e, ST=f"}, f"subject={WHOLE}"),
        ({"subject": "CN=a, CN=b, OU=b, O=c, L=d, C=e"}, f"subject={WHOLE}"),
        ({"subject": "CN=, OU=b, O=c, L=d, C=e"}, f"subject={WHOLE}"),
        ({"subject": "CN=a, OU=b, O=c, L=d, C=e,"}, f"subject={WHOLE}"),
        ({"subject": "," * 2000}, f"subject={WHOLE}"),
        ({"consumerType": "Somebody"}, "consumerType=must be a valid value"),
        ({"consumerType": "Internal Component"}, "consumerType=must be a valid value"),
        ({"tenantAccessLevels": []}, "tenantAccessLevels=cannot be blank"),
        ({"tenantAccessLevels": ["account", "unknown"]}, "tenantAccessLevels=must be a valid value"),
        ({"internalConsumerID": "x" * 257}, "internalConsumerID=the length must be no more than 256"),
    ],
)
async def test_a_mapping_that_breaks_a_rule_is_refused(director: Any, given: dict[str, Any], fact: str) -> None:
    made = await create(director, subject=SUBJECT.replace("broker", "known"))

    for document, more in ((CREATE, {}), (UPDATE, {"id": made["id"]})):
        error = await director.refusal(document, **more, **{"in": {**GIVEN, **given}})
        assert error["message"] == f"Invalid data CertificateSubjectMappingInput [{fact}]"
        assert error["extensions"]["error_code"] == 22


async def test_mappings_need_scopes_of_their_own(director: Any) -> None:
    made = await create(director)
    area = "certificate_subject_mapping"
    caller = replace(director.caller, scopes=director.caller.scopes - {f"{area}:read", f"{area}:write"})

    for document, given, scope in (
        (CREATE, {"in": GIVEN}, "write"),
        (UPDATE, {"id": made["id"], "in": GIVEN}, "write"),
        (DELETE, {"id": made["id"]}, "write"),
        (ONE, {"id": made["id"]}, "read"),
        (ALL, {}, "read"),
    ):
        error = await director.refusal(document, caller=caller, **given)
        assert error["extensions"]["error_code"] == 23
        assert error["message"].endswith(f"required={area}:{scope}]")
