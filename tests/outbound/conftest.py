from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from compass.outbound.door import Door, DoorSettings
from compass.outbound.resolver import Resolver

from .hostile import Authority


class Opens(Protocol):
    """Opens a door that is closed after the test; settings by keyword."""

    async def __call__(self, resolver: Resolver | None = None, /, **settings: object) -> Door: ...


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority("the authority the door trusts")


@pytest_asyncio.fixture
async def opens(tmp_path: Path, authority: Authority) -> AsyncIterator[Opens]:
    """Doors that may reach 127.0.0.1, and no other address that is not public."""
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    doors: list[Door] = []
    usual = DoorSettings(
        allowed_networks=(ip_network("127.0.0.1/32"),),
        ca_file=tmp_path / "ca.pem",
        connect_timeout=timedelta(seconds=1),
        total_timeout=timedelta(seconds=5),
        failure_step=timedelta(0),
    )

    async def open_(resolver: Resolver | None = None, /, **settings: object) -> Door:
        door = Door(replace(usual, **settings), resolver=resolver)  # type: ignore[arg-type]  # names are checked by replace
        doors.append(await door.__aenter__())
        return door

    yield open_
    for door in doors:
        await door.__aexit__()
