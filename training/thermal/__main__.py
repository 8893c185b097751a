"""`python -m training.thermal`."""

from training.thermal.command import main

main()
