"""`python -m tests.fuzz --seconds 60`, or `--inputs 1000000 --target mhs`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--seconds", type=float, default=60.0, help="how long, all targets in turns")
    much.add_argument("--inputs", type=int, help="how many for each target")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="one or more; else all", default=[])
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same inputs")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    targets = [TARGETS[name] for name in asked.target or TARGETS]
    seconds = None if asked.inputs is not None else asked.seconds
    return fuzz(targets, asked.seed, seconds=seconds, inputs=asked.inputs)


if __name__ == "__main__":
    sys.exit(main())
