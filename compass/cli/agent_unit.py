"""A systemd unit for an agent: as much of the system kept from it as it can do without."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Unit:
    """One agent, as systemd knows it."""

    name: str
    program: str
    """The Python that runs it."""
    folder: Path
    is_of_user: bool
    """Whether the person's own systemd runs it, instead of the machine's."""

    @property
    def file(self) -> Path:
        """Where systemd looks for it."""
        folder = Path.home() / ".config/systemd/user" if self.is_of_user else Path("/etc/systemd/system")
        return folder / f"{self.name}.service"

    @property
    def text(self) -> str:
        """What the file says."""
        own = _USER if self.is_of_user else _SYSTEM.format(state=self.folder.name)
        return _UNIT.format(
            folder=_escaped(self.folder),
            program=_escaped(Path(self.program)),
            own=own,
            wanted_by="default.target" if self.is_of_user else "multi-user.target",
        )


def _escaped(path: Path) -> str:
    """A path as an argument: `%` begins a specifier and `$` a variable."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'


_UNIT: Final = """\
[Unit]
Description=Runtime Agent of Compass
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={program} -m compass agent run --folder {folder}
Restart=on-failure
RestartSec=5s
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
{own}
[Install]
WantedBy={wanted_by}
"""

_USER: Final = ""
"""A person's systemd may not set up the namespaces that the rest needs."""

_SYSTEM: Final = """\
DynamicUser=yes
StateDirectory={state}
StateDirectoryMode=0700
CapabilityBoundingSet=
PrivateDevices=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
"""
"""DynamicUser brings ProtectSystem=strict, PrivateTmp and RemoveIPC with it."""
