"""`python -m compass` is the same as `compass`."""

from compass.cli.main import main

main()
