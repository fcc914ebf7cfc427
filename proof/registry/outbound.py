"""The proof `outbound`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "outbound",
    ("I10", "A20", "A21", "A22"),
    "nobody has the plane call an address that it may not call, or read more than it can hold",
    ("tests/outbound",),
    (
        Bug(
            "addresses inside others are not looked at",
            "compass/outbound/addresses.py",
            "    destinations: list[Address] = [*carried] if address in _MAPPED else [address, *carried]",
            "    destinations: list[Address] = [*carried] if address in _MAPPED else [address]",
            ("tests/outbound/test_addresses.py",),
        ),
        Bug(
            "private addresses can be called",
            "compass/outbound/addresses.py",
            '    "10.0.0.0/8": "private",\n',
            "",
            ("tests/outbound/test_addresses.py",),
        ),
        Bug(
            "redirects are followed (original)",
            "compass/outbound/door.py",
            "                    allow_redirects=False,",
            "                    allow_redirects=True,",
            ("tests/outbound/test_door.py",),
        ),
        Bug(
            "addresses are checked when a name is looked up and not when it is called",
            "compass/outbound/door.py",
            "            if not permitted(address, self._settings.allowed_networks):",
            "            if not address.packed and not permitted(address, self._settings.allowed_networks):",
            ("tests/outbound/test_door.py",),
        ),
        Bug(
            "a body is read to its end, whatever its size (original)",
            "compass/outbound/body.py",
            "        if self._received > self._max_bytes:",
            "        if self._received > self._max_bytes * 1_000_000:",
            ("tests/outbound/test_body.py",),
        ),
        Bug(
            "what a compressed body grows to is not looked at",
            "compass/outbound/body.py",
            "min(self._max_bytes, max(_RATIO_COUNTS_FROM_BYTES, self._max_ratio * consumed))",
            "max(self._max_bytes, consumed) * 1_000_000",
            ("tests/outbound/test_body.py",),
        ),
    ),
    {
        "test_no_url_leads_to_a_forbidden_address": 4 * 2_000,
        "test_a_name_that_changes_its_mind_after_the_check_gains_nothing": 200,
    },
)
