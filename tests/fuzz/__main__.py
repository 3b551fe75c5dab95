"""`python -m tests.fuzz --each 600`, or `--seconds 60` for all in turns, or `--inputs 1000000 --target mhs`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from fnmatch import fnmatchcase

from tests.fuzz.campaign import campaign, run_one
from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--each", type=float, help="seconds of CPU time for each target, in a process of its own")
    much.add_argument("--seconds", type=float, default=60.0, help="how long, all targets in turns")
    much.add_argument("--inputs", type=int, help="how many for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes at once, for --each")
    parser.add_argument("--target", action="append", help="one or more, or patterns such as drop-*; else all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same inputs")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        return run_one(asked.one, asked.seed, asked.seconds)
    patterns = asked.target or ["*"]
    names = list(dict.fromkeys(name for pattern in patterns for name in TARGETS if fnmatchcase(name, pattern)))
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in TARGETS)]
    if unknown:
        parser.error(f"no target is called {', '.join(unknown)}; there are {', '.join(sorted(TARGETS))}")
    print(f"seed {asked.seed}", flush=True)
    if asked.each is not None:
        return campaign(names, asked.seed, asked.each, asked.jobs)
    seconds = None if asked.inputs is not None else asked.seconds
    return fuzz([TARGETS[name] for name in names], asked.seed, seconds=seconds, inputs=asked.inputs)


if __name__ == "__main__":
    sys.exit(main())
