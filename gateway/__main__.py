"""`python -m gateway`: the same as the command `gatepost`."""

from gateway.cli import main

main()
