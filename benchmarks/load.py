"""Keeping a number of calls in flight, and what that says of a server."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.measure import percentile
from benchmarks.wire import Era, Wire, result_of, retrieve


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of calls came to."""

    p50_ms: float
    p95_ms: float
    calls_per_s: float


def put_load(wire: Wire, era: Era, calls: int, in_flight: int, most_s: float = 60.0) -> Load:
    """Make `calls` calls of `retrieve`, or as many as `most_s` allows, sending the next as soon as one is answered."""
    sent_s: dict[int, float] = {}
    taken_ms: list[float] = []
    begun_s = time.perf_counter()
    number = 0
    while True:
        while len(sent_s) < in_flight and number < calls and time.perf_counter() < begun_s + most_s:
            number += 1
            sent_s[number] = time.perf_counter()
            wire.send(retrieve(era, number))
        if not sent_s:
            break
        answer = wire.receive()
        taken_ms.append(1000 * (time.perf_counter() - sent_s.pop(answer["id"])))
        if result_of(answer)["structuredContent"]["type"] != "message_batch":
            raise ValueError("the answer is not the batch")
    seconds = time.perf_counter() - begun_s
    return Load(percentile(taken_ms, 0.5), percentile(taken_ms, 0.95), number / seconds)
