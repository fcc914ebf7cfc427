"""The unit that systemd runs an agent by."""

from pathlib import Path

from compass.cli.agent_unit import Unit


def test_what_systemd_reads_otherwise_is_escaped() -> None:
    unit = Unit("a", "/usr/bin/python3", Path('/var/lib/100% "$x"'), is_of_user=True)

    assert 'ExecStart="/usr/bin/python3" -m compass agent run --folder "/var/lib/100%% \\"$$x\\""\n' in unit.text


def test_a_person_and_the_machine_keep_their_units_apart(home: Path) -> None:
    of_user = Unit("a", "python", Path("/x"), is_of_user=True)
    of_machine = Unit("a", "python", Path("/var/lib/a"), is_of_user=False)

    assert of_user.file == home / ".config/systemd/user/a.service"
    assert of_machine.file == Path("/etc/systemd/system/a.service")
    assert "DynamicUser" not in of_user.text
    assert "CapabilityBoundingSet=\n" in of_machine.text
