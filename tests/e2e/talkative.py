"""The command `compass`, writing down everything that it and every library have to say."""

import logging

from compass import log
from compass.cli.main import main
from compass.settings import LogSettings

quiet = log.write_as


def everything(settings: LogSettings) -> None:
    """As the plane does, down to the level DEBUG."""
    quiet(settings)
    for logger in (None, *log._NOT_OURS):
        logging.getLogger(logger).setLevel(logging.DEBUG)


log.write_as = everything

if __name__ == "__main__":
    main()
