"""`python -m tests.soak`: the soak at any scale, or one episode of it again."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from tests.soak.episode import play
from tests.soak.scale import PER_EPISODE, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", default="0", help="of the one episode, or of the first of many")
    parser.add_argument("--creates", type=int, default=60, help=f"in episodes of {PER_EPISODE} when they are more")
    parser.add_argument("--keep", type=Path, help="a folder for what the processes of one episode leave, and its log")
    parser.add_argument("--at-once", type=int, default=1, help="how many episodes are played at a time")
    arguments = parser.parse_args()
    logging.basicConfig(level=os.environ.get("SOAK_LOG", "ERROR"))
    if arguments.creates > PER_EPISODE:
        return 1 if soak(arguments.seed, arguments.creates, arguments.at_once) else 0
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
    result = play(arguments.seed, arguments.creates, arguments.keep)
    if arguments.keep:
        (arguments.keep / "log.txt").write_text("\n".join(sorted([*result.log, *result.told])) + "\n")
    print(result.words())
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
