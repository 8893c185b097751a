"""`python -m cellpulse`: the command line."""

from cellpulse.cli import main

main()
