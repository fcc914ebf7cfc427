"""The flags that `serve`, `up`, `migrate` and `doctor` share, and what they turn into."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.settings import Settings, load


@Parameter(name="*")
@dataclass(frozen=True)
class PlaneFlags:
    """How the plane is configured for this one run; everything else comes from environment, file and defaults."""

    config: Path | None = None
    """The file to read instead of the usual `compass.toml`."""
    data_folder: Path | None = None
    """Where the plane keeps its data."""
    host: str | None = None
    """The address to listen on."""
    token_port: int | None = None
    """The port for tokens and people."""
    mtls_port: int | None = None
    """The port for paired clients."""
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = ()
    """Any other setting, as section.name=value; `compass config show` lists them."""

    def settings(self) -> Settings:
        """The settings with these flags on top. Raises SettingRefused, CommandFailed."""
        return load(flags=dict(self._given()), file=self.config)

    def _given(self) -> Iterator[tuple[str, object]]:
        for pair in self.set_:
            key, equals, value = pair.partition("=")
            if not equals:
                raise CommandFailed(f"--set {pair!r} is not section.name=value", exit_code=Exit.USAGE)
            yield key.strip(), value
        named = {
            "data_folder": self.data_folder,
            "listen.host": self.host,
            "listen.token_port": self.token_port,
            "listen.mtls_port": self.mtls_port,
        }
        yield from ((key, value) for key, value in named.items() if value is not None)


NO_FLAGS = PlaneFlags()
