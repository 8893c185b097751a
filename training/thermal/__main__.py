"""`python -m training.thermal`."""

import sys

from training.thermal.command import main

sys.exit(main())
