"""`forward`: what one forwarded call costs, over stdio and over Streamable HTTP, with one and with 16 in flight."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks import processes
from benchmarks.load import Load, put_load
from benchmarks.measure import Series, in_turns, ratios
from benchmarks.processes import BARE, CONTENDERS, SUBJECT, Contender
from benchmarks.report import Report, Target
from benchmarks.wire import CREATE, ERAS, Era, HttpWire, StdioWire, Wire, request, result_of
from tests.support.states import STATE_DIR

_MANY = 16
_WARM_UP = 300
_SLICES = 4
_SLICE_S = 3.0
# With a batch of its own our server has a ledger, at which it looks with every call.
_BATCH = {
    "requests": [
        {
            "custom_id": "a",
            "params": {
                "model": "claude-haiku-5-5",
                "max_tokens": 1,
                "messages": [{"role": "user", "content": "Say a word."}],
            },
        }
    ],
}


def run(*, quick: bool) -> Report:
    """Measure each transport and revision with processes of its own, in slices that take turns."""
    rounds, calls = (1, 150) if quick else (3, 400)
    rows: list[tuple[str, ...]] = []
    targets: list[Target] = []
    with processes.stub() as stub_port:
        for transport, opened in (("stdio", _over_stdio), ("HTTP", _over_http)):
            for era in ERAS:
                found: dict[int, dict[str, list[Load]]] = {1: {}, _MANY: {}}
                for _ in range(rounds):
                    _round(partial(opened, stub_port, era), era, calls, found)
                for in_flight, loads in found.items():
                    rows += [_row(f"{transport} {era}", in_flight, name, loads) for name in loads]
                    targets += _targets(f"{transport} {era}, {in_flight} in flight", loads)
        direct = asyncio.run(_stub_calls_per_s(stub_port, 500 if quick else 5000))
    header = ("transport, revision", "in flight", "server", "p50 ms", "x", "p95 ms", "calls/s", "x")
    notes = [
        f"Medians of {rounds * _SLICES} slices of {calls} calls (at most {_SLICE_S:g} s), with their range.",
        f"The stub alone, asked directly over {_MANY} connections: {direct:,.0f} answers/s.",
    ]
    return Report(header, rows, targets, notes)


def _round(
    opened: Callable[[Contender], Iterator[Wire]], era: Era, calls: int, found: dict[int, dict[str, list[Load]]]
) -> None:
    """Fresh processes of all contenders, side by side; one works while the others wait."""
    with ExitStack() as stack:
        wires = {each.name: stack.enter_context(contextmanager(opened)(each)) for each in CONTENDERS}
        wires[SUBJECT.name].send(request(era, 0, "tools/call", name=CREATE, arguments=_BATCH))
        result_of(wires[SUBJECT.name].receive())
        for wire in wires.values():
            put_load(wire, era, _WARM_UP, _MANY)
        for in_flight, loads in found.items():
            slices = {name: partial(put_load, wire, era, calls, in_flight, _SLICE_S) for name, wire in wires.items()}
            for name, measured in in_turns(slices, _SLICES).items():
                loads.setdefault(name, []).extend(measured)


def _over_stdio(stub_port: int, era: Era, contender: Contender) -> Iterator[Wire]:
    with (
        tempfile.TemporaryDirectory() as state,
        processes.python(contender.stdio, {**processes.upstream_environment(stub_port), STATE_DIR: state}) as running,
    ):
        wire = StdioWire(running.process)
        wire.handshake(era)
        yield wire


def _over_http(stub_port: int, era: Era, contender: Contender) -> Iterator[Wire]:
    with (
        tempfile.TemporaryDirectory() as state,
        processes.http_server(contender, stub_port, **{STATE_DIR: state}) as port,
        HttpWire(port, era) as wire,
    ):
        yield wire


def _p50_ratio(loads: dict[str, list[Load]], name: str) -> Series:
    return ratios([each.p50_ms for each in loads[BARE.name]], [each.p50_ms for each in loads[name]])


def _rate_ratio(loads: dict[str, list[Load]], name: str) -> Series:
    return ratios([each.calls_per_s for each in loads[name]], [each.calls_per_s for each in loads[BARE.name]])


def _row(transport: str, in_flight: int, name: str, loads: dict[str, list[Load]]) -> tuple[str, ...]:
    return (
        transport,
        str(in_flight),
        name,
        Series.of([each.p50_ms for each in loads[name]]).text(2),
        _p50_ratio(loads, name).text(2),
        Series.of([each.p95_ms for each in loads[name]]).text(2),
        Series.of([each.calls_per_s for each in loads[name]]).text(0),
        _rate_ratio(loads, name).text(2),
    )


def _targets(where: str, loads: dict[str, list[Load]]) -> Iterator[Target]:
    p50, rate = _p50_ratio(loads, SUBJECT.name).median, _rate_ratio(loads, SUBJECT.name).median
    yield Target(f"{where}: p50 and calls/s at least 0.95x", f"{p50:.2f}x, {rate:.2f}x", min(p50, rate) >= 0.95)


async def _stub_calls_per_s(port: int, calls: int) -> float:
    """Whether the stub is the limit: plain GETs, as many in flight as at most elsewhere."""

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(calls // _MANY):
            writer.write(b"GET /v1/messages/batches/x HTTP/1.1\r\nHost: stub\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        writer.close()
        await writer.wait_closed()

    begun_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_MANY):
            tasks.create_task(ask())
    return calls // _MANY * _MANY / (time.perf_counter() - begun_s)
