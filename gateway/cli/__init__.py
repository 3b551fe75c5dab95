"""The command line: `gatepost`. One of several faces of the functions in `gateway.operate`; it holds no logic.

Promises: what a command needs is imported when it runs, so that every command starts fast; `--json` on all that
print; exit status 0 for done, 1 for not done (the reason on standard error), 2 for a wrong call, 78 from `run` where
starting again does not help before an operator has acted.
"""

from __future__ import annotations


def main() -> None:
    """Run the `gatepost` command."""
    from gateway.cli.app import app

    app()
