"""The whole of Cellpulse with one command: `python run_dashboard.py`.

The same as `cellpulse demo`; see `python run_dashboard.py --help`.
"""

import sys

from cellpulse.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "demo")
    main()
