"""A connection status in a person's words."""

from typing import Any

from compass.client import standing


def axis(health: str = "OK", state: str = "PAIRED", reason: str | None = None) -> dict[str, Any]:
    return {"health": health, "state": state, "reason": reason, "since": None, "until": None}


def connection(health: str, **axes: Any) -> dict[str, Any]:
    return {
        "health": health,
        "lastSeen": None,
        "agent": None,
        "paired": axis(),
        "certificate": axis(state="VALID", reason="ends in 89 d"),
        "inSync": axis(state="IN_SYNC"),
        "heartbeat": axis(state="ALIVE", reason="2 s ago"),
        **axes,
    }


SILENT = connection(
    "BAD",
    inSync=axis("WARNING", "UNKNOWN", "its agent is silent; it had revision 14"),
    heartbeat=axis("BAD", "MISSING", "no heartbeat for 12 s"),
)


def test_nothing_is_said_of_what_is_well() -> None:
    well = connection("OK")

    assert standing.troubles(well) == []
    assert standing.sentence(well) == "✓ ok"
    assert standing.shown(well["certificate"]) == "✓ valid (ends in 89 d)"
    assert standing.shown(well["paired"]) == "✓ paired"


def test_the_worst_is_said_first_with_what_to_check() -> None:
    (worst,) = standing.troubles(SILENT)

    assert (worst.axis, worst.state, worst.health, worst.why) == (
        "heartbeat",
        "MISSING",
        "BAD",
        "no heartbeat for 12 s",
    )
    words = " ".join(worst.check)
    for each in ("clock", "DNS", "8444", "the certificate: ends in 89 d", "compass doctor", "compass agent status"):
        assert each in words
    assert standing.sentence(SILENT) == "✗ bad: no heartbeat for 12 s"


def test_what_explains_the_others_comes_first_of_equals() -> None:
    revoked = connection(
        "BAD",
        certificate=axis("BAD", "REVOKED", "revoked: laptop lost"),
        heartbeat=axis("BAD", "MISSING", "no heartbeat for 3 min"),
    )

    assert [trouble.axis for trouble in standing.troubles(revoked)] == ["certificate", "heartbeat"]
    assert standing.sentence(revoked) == "✗ bad: certificate: revoked: laptop lost"
    assert standing.troubles(revoked)[0].check == ("a new one-time token pairs it anew",)


def test_what_is_waited_for_is_no_trouble_and_is_said() -> None:
    waiting = connection("WAITING", paired=axis("WAITING", "UNPAIRED", "no one-time token was made for it yet"))

    assert standing.troubles(waiting) == []
    assert standing.sentence(waiting) == "· waiting: no one-time token was made for it yet"
    assert standing.sentence(connection("WAITING", inSync=axis("WAITING", "PENDING"))) == "· waiting: on its way"


def test_an_application_has_no_heartbeat_and_who_may_not_see_it_sees_nothing() -> None:
    assert standing.sentence(connection("OK", heartbeat=None)) == "✓ ok"
    assert standing.shown(None) == ""
    assert (standing.sentence(None), standing.troubles(None)) == ("", [])


def test_every_kind_of_trouble_has_something_to_check_or_is_explained_by_another() -> None:
    for name, state in (
        ("paired", "UNPAIRED"),
        ("certificate", "EXPIRING"),
        ("certificate", "EXPIRED"),
        ("certificate", "RETIRING"),
        ("certificate", "UNTRUSTED"),
        ("inSync", "FAILED"),
        ("inSync", "BEHIND"),
    ):
        (trouble,) = standing.troubles(connection("BAD", **{name: axis("BAD", state)}))
        assert trouble.check
        assert trouble.why.removeprefix("certificate: ") == standing.word(state)
