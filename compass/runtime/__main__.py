"""`python -m compass.runtime --folder DIR`."""

import sys

from compass.runtime.process import main

sys.exit(main())
