"""What a process writes about itself: one line per record on stderr, as JSON for machines or as text for people."""

import logging
import sys
import time
from typing import Final

import orjson

from compass.settings import LogFormat, LogSettings

_NOT_OURS: Final = ("uvicorn", "asyncio", "aiohttp")
"""Libraries whose notes at the level INFO tell an operator nothing."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Never raises for what a record holds: what JSON does not know is written as text."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


def write_as(settings: LogSettings) -> None:
    """Send every record of this process to stderr in the chosen format. `auto` is text on a terminal."""
    as_text = settings.format is LogFormat.TEXT or (settings.format is LogFormat.AUTO and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s") if as_text else JsonLines()
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _NOT_OURS:
        logging.getLogger(name).setLevel(logging.WARNING)
