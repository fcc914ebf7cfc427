from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from compass.agent.anchors import Anchors, AuthoritiesUnusable, is_signed_by
from compass.agent.pair import named
from compass.client.trusted import Trusted
from tests.agent.plane import Authority

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OLD, NEW, OTHER = Authority("Old"), Authority("New"), Authority("Of an operator")
BOTH = Trusted("2", OLD.pem + NEW.pem, OLD.pem + NEW.pem)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As pairing with a plane of one authority leaves it."""
    (tmp_path / "identities" / "x").mkdir(parents=True)
    (tmp_path / "current").symlink_to("identities/x")
    (tmp_path / "current" / "ca.crt").write_text(OLD.pem)
    (tmp_path / "ca.crt").symlink_to("current/ca.crt")
    (tmp_path / "plane_ca.pem").write_text(OLD.pem)
    return tmp_path


def test_nothing_is_known_before_the_plane_said_something(folder: Path) -> None:
    assert Anchors.read(folder) is None


def test_what_the_plane_trusts_is_trusted_by_both_its_users(folder: Path) -> None:
    taken = Anchors.take_over(folder, BOTH, now=NOW)
    assert taken == Anchors.read(folder) == Anchors("2", BOTH.roots, BOTH.issuing, NOW)
    assert (folder / "plane_ca.pem").read_text() == OLD.pem + NEW.pem
    assert (folder / "ca.crt").read_text() == OLD.pem + NEW.pem
    assert (folder / "ca.crt").is_symlink()


def test_what_the_plane_trusts_no_more_goes_and_what_an_operator_added_stays(folder: Path) -> None:
    (folder / "plane_ca.pem").write_text(OLD.pem + OTHER.pem)
    for told in (Trusted("1", OLD.pem, OLD.pem), BOTH, Trusted("3", NEW.pem, NEW.pem)):
        Anchors.take_over(folder, told, now=NOW)
    assert (folder / "plane_ca.pem").read_text() == NEW.pem + OTHER.pem
    assert (folder / "ca.crt").read_text() == NEW.pem


def test_a_runtime_that_trusts_the_system_goes_on_doing_so(folder: Path) -> None:
    (folder / "plane_ca.pem").unlink()
    Anchors.take_over(folder, BOTH, now=NOW)
    assert not (folder / "plane_ca.pem").exists()
    assert Anchors.read(folder) is not None


@pytest.mark.parametrize("undone", ["ca.crt", "plane_ca.pem"])
def test_what_was_interrupted_or_undone_is_not_taken_for_done(folder: Path, undone: str) -> None:
    Anchors.take_over(folder, BOTH, now=NOW)
    (folder.resolve() / ("current/ca.crt" if undone == "ca.crt" else undone)).write_text(OLD.pem)
    assert Anchors.read(folder) is None
    assert Anchors.take_over(folder, BOTH, now=NOW) == Anchors.read(folder)


@pytest.mark.parametrize(("roots", "issuing"), [("no PEM", OLD.pem), (OLD.pem, "no PEM"), ("", OLD.pem)])
def test_what_is_no_certificate_leaves_everything_as_it_was(folder: Path, roots: str, issuing: str) -> None:
    with pytest.raises(AuthoritiesUnusable):
        Anchors.take_over(folder, Trusted("9", roots, issuing), now=NOW)
    assert (folder / "plane_ca.pem").read_text() == (folder / "ca.crt").read_text() == OLD.pem
    assert Anchors.read(folder) is None


def certified_by(folder: Path, authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = authority.client(key.public_key(), named("CN=me"), timedelta(days=1))
    (folder / "client.crt").write_bytes(leaf.public_bytes(Encoding.PEM))


def test_a_new_authority_asks_for_a_renewal_whose_moment_is_spread_over_the_fleet(folder: Path) -> None:
    certified_by(folder, OLD)
    period = timedelta(seconds=2)  # so within a minute
    before = Anchors.take_over(folder, BOTH, now=NOW)
    assert not before.renewal_due(folder, now=NOW + timedelta(days=9), jitter=0.0, period=period)
    now = Anchors.take_over(folder, Trusted("3", OLD.pem + NEW.pem, NEW.pem + OLD.pem), now=NOW)
    due = [
        sum(now.renewal_due(folder, now=NOW + timedelta(seconds=t), jitter=n / 100, period=period) for n in range(100))
        for t in (0, 15, 30, 60)
    ]
    assert due == [1, 26, 51, 100]
    # However long the period is, it is over in ten minutes.
    assert now.renewal_due(folder, now=NOW + timedelta(minutes=10), jitter=1.0, period=timedelta(hours=1))
    certified_by(folder, NEW)
    assert not now.renewal_due(folder, now=NOW + timedelta(days=9), jitter=0.0, period=period)


def test_whose_certificate_it_is_shows_in_its_signature(folder: Path) -> None:
    certified_by(folder, OLD)
    assert is_signed_by(folder, NEW.pem + OLD.pem)
    assert not is_signed_by(folder, NEW.pem + OTHER.pem)
