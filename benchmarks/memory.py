"""`memory`: whether a server's memory stays flat over many forwarded calls."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import processes
from benchmarks.load import put_load
from benchmarks.processes import CONTENDERS, SUBJECT, Contender
from benchmarks.report import Report, Target
from benchmarks.wire import MODERN, StdioWire

_WARM_UP = 500
_IN_FLIGHT = 16
_MOST_GROWTH_MB = 5.0
_STEPS = 4


def run(*, quick: bool) -> Report:
    """Read what Linux says of the process, before, on the way, and after."""
    calls = 2_000 if quick else 10_000
    rows, targets = [], []
    with processes.stub() as stub_port:
        for contender in CONTENDERS:
            resident, peak = _resident_mb(contender, stub_port, calls)
            growth = resident[-1] - resident[0]
            steps = [f"{each:.1f}" for each in resident]
            rows.append((contender.name, *steps, f"{growth:+.1f}", f"{peak:.1f}"))
            if contender is SUBJECT:
                text = f"growth over {calls:,} calls at most {_MOST_GROWTH_MB:g} MB"
                targets.append(Target(text, f"{growth:+.1f} MB", growth <= _MOST_GROWTH_MB))
    after = [f"after {calls * step // _STEPS:,}" for step in range(1, _STEPS + 1)]
    header = ("server", f"MB after {_WARM_UP} calls", *after, "growth", "peak")
    note = f"Resident memory over stdio ({MODERN}), {_IN_FLIGHT} calls in flight; the first {_WARM_UP} calls warm up."
    return Report(header, rows, targets, [note])


def _resident_mb(contender: Contender, stub_port: int, calls: int) -> tuple[list[float], float]:
    """Resident memory after the warm-up and after each part of the calls; and its peak."""
    with processes.python(contender.stdio, processes.upstream_environment(stub_port)) as running:
        wire = StdioWire(running.process)
        put_load(wire, MODERN, _WARM_UP, _IN_FLIGHT)
        resident = [status_mb(running.process.pid, "VmRSS")]
        for _ in range(_STEPS):
            put_load(wire, MODERN, calls // _STEPS, _IN_FLIGHT)
            resident.append(status_mb(running.process.pid, "VmRSS"))
        return resident, status_mb(running.process.pid, "VmHWM")


def status_mb(pid: int, name: str) -> float:
    """What Linux says of a process's memory: `VmRSS` resident, `VmHWM` at its peak."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {name} in the status of a process")
    return int(found[1]) / 1024
