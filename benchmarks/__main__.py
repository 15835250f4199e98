"""Runs benchmarks by name, all by default; `--write` puts the figures into BENCHMARKS.md."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from benchmarks import cluster, create, forward, memory, rest, results, run, service, start, threads
from benchmarks.processes import ProcessFailed
from benchmarks.report import circumstances, write_section

_BENCHMARKS = {
    "start": start.run,
    "forward": forward.run,
    "memory": memory.run,
    "create": create.run,
    "results": results.run,
    "run": run.run,
    "rest": rest.run,
    "threads": threads.run,
    "service": service.run,
    "cluster": cluster.run,
}


def main() -> int:
    """Exit code 0 when everything could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    parser.add_argument("--write", action="store_true", help="put the figures into BENCHMARKS.md")
    options = parser.parse_args()
    unknown = set(options.names) - set(_BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(_BENCHMARKS)}")
    # A terminated run ends its processes as an interrupted one does.
    signal.signal(signal.SIGTERM, _terminated)
    for name in options.names or _BENCHMARKS:
        print(f"\n## {name}\n", flush=True)
        try:
            report = _BENCHMARKS[name](quick=options.quick)
        except ProcessFailed as error:
            print(error, file=sys.stderr)
            return 1
        command = f"python -m benchmarks {name}{' --quick' if options.quick else ''}"
        text = f"{circumstances(command)}\n\n{report.markdown()}"
        print(text, flush=True)
        if options.write:
            write_section(name, text)
    return 0


def _terminated(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)


if __name__ == "__main__":
    sys.exit(main())
