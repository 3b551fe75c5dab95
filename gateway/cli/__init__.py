"""The command line: `gatepost`. One of several faces of the functions in `gateway.operate`; it holds no logic.

Promises: what a command needs is imported when it runs, so that every command starts fast; `--json` on all that
print; exit status 0 for done, 1 for not done (the reason on standard error), 2 for a wrong call, 78 from `run` where
starting again does not help before an operator has acted.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys


def main() -> None:
    """Run the `gatepost` command."""
    # Messages are freed by count of references; collecting every 700 objects would walk those in the lanes again and
    # again. It would walk what a command imports, too, some 50,000 objects. A thousand messages that a source has under
    # way are 25,000 objects, which are gone before so many more have been made.
    gc.set_threshold(100_000, 20, 50)
    # At its end the interpreter would walk all that was imported twice more, a quarter of a short command's time, to
    # free what the system frees at once.
    atexit.register(gc.freeze)
    # Making the methods of all dataclasses that are imported takes a quarter of a short command's time.
    from gateway.late_methods import install

    install()
    # There is no plugin of pydantic's here, and to look for one it reads the metadata of every distribution there is.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if "sync" in sys.argv:
        from gateway.cli import quick

        quick.run(sys.argv[1:])
    from gateway.cli.app import app
    from gateway.cli.commands import OWN_GROUPS

    if sys.argv[1:] and sys.argv[1] in OWN_GROUPS:
        app.registered_commands.clear()  # to look at all that the others take is time for nothing
    app()
