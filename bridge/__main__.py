"""The process that `cellpulse bridge` becomes; see `entry`."""

from bridge.entry import main

main()
