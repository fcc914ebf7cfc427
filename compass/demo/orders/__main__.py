"""`python -m compass.demo.orders --folder DIR`: the sample Application as a process of its own."""

import argparse
import asyncio
import logging
import sys
from datetime import timedelta
from pathlib import Path

from compass.demo.orders.application import PortTaken, Settings, run


def main() -> int:
    """Serve until asked to stop. Exit codes: 0 stopped, 1 the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m compass.demo.orders", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where orders, keys and certificates are kept")
    parser.add_argument("--port", type=int, default=0, help="of the first start; remembered (default: any free one)")
    parser.add_argument("--poll-seconds", type=float, default=5.0, help="how often the Director is asked for changes")
    parser.add_argument("--end-with-stdin", action="store_true", help="stop when standard input ends")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    every = timedelta(seconds=given.poll_seconds)
    try:
        asyncio.run(run(Settings(given.folder, given.port, every, given.end_with_stdin)))
    except PortTaken as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
