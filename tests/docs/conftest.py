"""Keeps the test that runs `make test` out of `make test`."""

import os

# It would never end: the clone's tests would clone again. `make proof` sets the variable, the clone does not get it.
collect_ignore = [] if os.environ.get("COMPASS_PROOF") else ["test_fresh_clone.py"]
