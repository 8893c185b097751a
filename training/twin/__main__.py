"""`python -m training.twin`."""

from training.twin.command import main

main()
