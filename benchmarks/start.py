"""`start`: from launching the process to the first answer to `tools/list`, and to the first call, over stdio.

The first call is measured as well because what a server puts off until then is not saved, only paid later.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.measure import Series, in_turns, ratios
from benchmarks.processes import BARE, CONTENDERS, SUBJECT, Contender
from benchmarks.report import Report, Target
from benchmarks.wire import ERAS, Era, StdioWire, request, result_of, retrieve

# Heavy, and needed by no listing of tools. What the bare server imports as well is the SDK's own.
_UNWANTED = ("rich", "jsonschema", "jsonpath", "uvicorn", "genai_prices", "msgspec", "batches_mcp.sandbox")

_GOAL = 1.16

# Less than a model takes to choose a call.
_PAUSE_S = 1.0
_MOST_LATER_MS = 30.0

_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \| +(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Start:
    """Milliseconds since the launch."""

    listed_ms: float
    called_ms: float


def run(*, quick: bool) -> Report:
    """Time the starts, and look at what is imported on the way."""
    rounds = 5 if quick else 21
    rows: list[tuple[str, ...]] = []
    targets: list[Target] = []
    with processes.stub() as stub_port:
        environment = processes.upstream_environment(stub_port)
        for era in ERAS:
            contenders = {each.name: partial(_start, each, era, environment) for each in CONTENDERS}
            in_turns(contenders, 1)  # writes bytecode, fills the page cache
            starts = in_turns(contenders, rounds)
            for name, own in starts.items():
                cells = []
                for moment in (_listed, _called):
                    ratio = ratios(moment(starts[BARE.name]), moment(own))
                    cells += [Series.of(moment(own)).text(0), ratio.text(2)]
                rows.append((name, era, *cells))
            found = ratios(_listed(starts[BARE.name]), _listed(starts[SUBJECT.name])).median
            targets.append(Target(f"{era}: listing no slower than bare", f"{found:.2f}x", found >= 1))
            targets.append(Target(f"{era}: goal, listing {_GOAL}x as fast", f"{found:.2f}x", found >= _GOAL))
        calls = [_calls_after_a_pause(environment) for _ in range(rounds)]
        first, second = (Series.of(each) for each in zip(*calls, strict=True))
        later = Series.of([one - two for one, two in calls])
        target = f"first call after a pause: at most {_MOST_LATER_MS:g} ms longer than the second"
        targets.append(Target(target, f"{later.text(1)} ms", later.median <= _MOST_LATER_MS))
        notes = [f"Medians of {rounds} launches, with their range; x is as fast as bare, pair by pair."]
        notes.append(
            f"{_PAUSE_S:g} s after the list, the first call of {SUBJECT.name} takes {first.text(1)} ms, and the second "
            f"{second.text(1)} ms."
        )
        notes += _imports(environment)
    header = ("server", "revision", "ms to the first list", "x", "ms to the first call's answer", "x")
    return Report(header, rows, targets, notes)


def _listed(starts: Sequence[_Start]) -> list[float]:
    return [each.listed_ms for each in starts]


def _called(starts: Sequence[_Start]) -> list[float]:
    return [each.called_ms for each in starts]


def _start(contender: Contender, era: Era, environment: dict[str, str]) -> _Start:
    with processes.python(contender.stdio, environment) as running:
        wire = StdioWire(running.process)
        _first_list(wire, era)
        listed_s = time.perf_counter()
        wire.send(retrieve(era, 2))
        result_of(wire.receive())
        called_s = time.perf_counter()
    return _Start(1000 * (listed_s - running.started_s), 1000 * (called_s - running.started_s))


def _calls_after_a_pause(environment: dict[str, str]) -> tuple[float, float]:
    """Milliseconds of the first and of the second call, when the list is some time ago."""
    with processes.python(SUBJECT.stdio, environment) as running:
        wire = StdioWire(running.process)
        _first_list(wire, ERAS[0])
        time.sleep(_PAUSE_S)
        taken_ms = []
        for number in (2, 3):
            started_s = time.perf_counter()
            wire.send(retrieve(ERAS[0], number))
            result_of(wire.receive())
            taken_ms.append(1000 * (time.perf_counter() - started_s))
    return taken_ms[0], taken_ms[1]


def _first_list(wire: StdioWire, era: Era) -> list[dict[str, Any]]:
    wire.handshake(era)
    wire.send(request(era, 1, "tools/list"))
    tools: list[dict[str, Any]] = result_of(wire.receive())["tools"]
    if len(tools) != 6:
        raise ValueError(f"expected six tools, found {len(tools)}")
    return tools


def _imports(environment: dict[str, str]) -> list[str]:
    """What the subject imports beyond the bare server, and whether both list the same tools."""
    (bare, bare_tools), (own, own_tools) = (_traced(each, environment) for each in CONTENDERS)
    extra = {name: micros for name, micros in own.items() if name not in bare}
    unwanted = sorted(name for name in extra if any(name == each or name.startswith(f"{each}.") for each in _UNWANTED))
    groups: dict[str, int] = {}
    for name, micros in extra.items():
        groups[name.partition(".")[0]] = groups.get(name.partition(".")[0], 0) + micros
    largest = sorted(groups, key=lambda name: -groups[name])[:8]
    total_ms = sum(extra.values()) / 1000
    notes = [
        f"Modules imported that should not be: {', '.join(unwanted) or 'none'}.",
        f"Imported beyond the bare server: {len(extra)} modules, {total_ms:.0f} ms as `-X importtime` counts "
        "(which slows imports down): " + ", ".join(f"{name} {groups[name] / 1000:.1f} ms" for name in largest) + ".",
    ]
    if bare_tools != own_tools:
        notes.append("The servers list different tools: `bare_tools.json` is out of date.")
    return notes


def _traced(contender: Contender, environment: dict[str, str]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """The modules imported up to the first list, with their own microseconds; and the list."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "imports.txt")
        with processes.python(["-X", "importtime", *contender.stdio], environment, trace) as running:
            tools = _first_list(StdioWire(running.process), ERAS[0])
        return {name: int(micros) for micros, name in _IMPORT.findall(trace.read_text("utf-8"))}, tools
