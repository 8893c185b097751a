"""`python -m training.soh`."""

import sys

from training.soh.command import main

sys.exit(main())
