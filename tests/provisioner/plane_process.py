"""A whole plane as a process: python plane_process.py FOLDER DSN TOKEN_PORT MTLS_PORT. Prints what there is to know."""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

from compass.app import Started, serve
from compass.settings import DatabaseSettings, ListenSettings, ProvisionerSettings, Settings


def told(started: Started) -> None:
    """One line, for the test."""
    shown = {name: value for name, value in vars(started).items() if not callable(value)}
    sys.stdout.write(json.dumps(shown) + "\n")
    sys.stdout.flush()


def main(folder: str, dsn: str, token_port: str, mtls_port: str) -> None:
    """Serve until killed."""
    settings = Settings(
        data_folder=Path(folder),
        database=DatabaseSettings(dsn=dsn),
        listen=ListenSettings(token_port=int(token_port), mtls_port=int(mtls_port)),
        provisioner=ProvisionerSettings(runtime_sync_period=timedelta(seconds=0.5)),
    )
    asyncio.run(serve(settings, ready=told))


if __name__ == "__main__":
    main(*sys.argv[1:])
