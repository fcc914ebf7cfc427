from pathlib import Path

import pytest

from compass.agent.fetch import ChangedWhileReading, RuntimeUnknown, fetch
from compass.client.graphql import ClientCertificate, Plane, Trust
from tests.agent.plane import RUNTIME, FakePlane, api, application, bundle


def spoken_to(plane: FakePlane, folder: Path) -> Plane:
    certificate = ClientCertificate(*plane.authority.write_client(folder, "client-1"))
    return Plane(plane.mtls_url, trust=Trust.to(plane.authority.pem), credentials=certificate)


async def test_every_page_of_every_list_is_followed(plane: FakePlane, tmp_path: Path) -> None:
    apis = [api(f"i{number}", f"api {number}", "https://x.example") for number in range(5)]
    events = [{"id": f"e{number}", "name": f"event {number}"} for number in range(4)]
    bundles = [bundle(f"b{number}", f"bundle {number}", apis=list(apis), events=list(events)) for number in range(3)]
    plane.applications = [application(f"a{number}", f"app-{number}", *bundles) for number in range(5)]
    async with spoken_to(plane, tmp_path) as asked:
        fetched = await fetch(asked, RUNTIME, page_size=2)
    assert [one["id"] for one in fetched.applications] == ["a0", "a1", "a2", "a3", "a4"]
    for one in fetched.applications:
        assert [held["id"] for held in one["bundles"]["data"]] == ["b0", "b1", "b2"]
        for held in one["bundles"]["data"]:
            assert [found["id"] for found in held["apiDefinitions"]["data"]] == [f"i{n}" for n in range(5)]
            assert [found["id"] for found in held["eventDefinitions"]["data"]] == [f"e{n}" for n in range(4)]


async def test_a_configuration_that_fits_a_page_takes_one_call(plane: FakePlane, tmp_path: Path) -> None:
    plane.applications = [application(f"a{number}", f"app-{number}") for number in range(5)]
    async with spoken_to(plane, tmp_path) as asked:
        await fetch(asked, RUNTIME)
    assert plane.calls == ["RuntimeConfiguration"]


async def test_an_application_leaving_between_two_pages_hides_no_other(plane: FakePlane, tmp_path: Path) -> None:
    plane.applications = [application(f"a{number}", f"app-{number}") for number in range(5)]

    def leave_once() -> None:
        plane.on_page = lambda: None
        del plane.applications[0]

    plane.on_page = leave_once
    async with spoken_to(plane, tmp_path) as asked:
        fetched = await fetch(asked, RUNTIME, page_size=2)
    assert [one["id"] for one in fetched.applications] == ["a1", "a2", "a3", "a4"]


async def test_an_application_coming_between_two_pages_is_there_once(plane: FakePlane, tmp_path: Path) -> None:
    plane.applications = [application(f"a{number}", f"app-{number}") for number in range(1, 6)]

    def join_once() -> None:
        plane.on_page = lambda: None
        plane.applications.insert(0, application("a0", "app-0"))

    plane.on_page = join_once
    async with spoken_to(plane, tmp_path) as asked:
        fetched = await fetch(asked, RUNTIME, page_size=2)
    assert [one["id"] for one in fetched.applications] == ["a0", "a1", "a2", "a3", "a4", "a5"]


async def test_one_leaving_while_another_comes_hides_no_known_application(plane: FakePlane, tmp_path: Path) -> None:
    plane.applications = [application(f"a{number}", f"app-{number}") for number in range(5)]
    known = [f"a{number}" for number in range(5)]

    def swap_once() -> None:
        plane.on_page = lambda: None
        del plane.applications[0]
        plane.applications.append(application("a9", "app-9"))

    plane.on_page = swap_once
    async with spoken_to(plane, tmp_path) as asked:
        fetched = await fetch(asked, RUNTIME, known=known, page_size=2)
    assert [one["id"] for one in fetched.applications] == ["a1", "a2", "a3", "a4", "a9"]


async def test_applications_that_never_stop_changing_are_not_taken_over(plane: FakePlane, tmp_path: Path) -> None:
    plane.applications = [application(f"a{number:03}", f"app-{number}") for number in range(50)]

    def leave() -> None:
        del plane.applications[0]

    plane.on_page = leave
    async with spoken_to(plane, tmp_path) as asked:
        with pytest.raises(ChangedWhileReading):
            await fetch(asked, RUNTIME, page_size=10)


async def test_a_runtime_the_plane_does_not_know_is_an_error_and_no_empty_configuration(
    plane: FakePlane, tmp_path: Path
) -> None:
    async with spoken_to(plane, tmp_path) as asked:
        with pytest.raises(RuntimeUnknown):
            await fetch(asked, "00000000-0000-0000-0000-000000000000")
