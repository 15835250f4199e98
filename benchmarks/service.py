"""`service`: two replicas of a team's service with one state, beside one bare server, and beside a folder.

Calls of 64 clients through nginx, the claim that begins each create, pages of results that another replica has fetched,
and creates whose requests are kept in the object store.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks import bulk, processes, shared
from benchmarks.claims import claims
from benchmarks.clients import Client, Outcome, Place, drive
from benchmarks.measure import Series, in_turns, ratios
from benchmarks.report import Report, Target
from benchmarks.shared import Store
from benchmarks.stub import BATCH
from benchmarks.timings import HEADER
from benchmarks.wire import CREATE, ERAS, LEGACY, RETRIEVE, Era, request
from tests.support.postgres import postgres_server
from tests.support.proxied import installed_nginx
from tests.support.servers import REQUEST

_CLIENTS = 64
_BATCH_ID = str(BATCH["id"])


def run(*, quick: bool) -> Report:
    """Measure each part with servers of its own, the ways of each in turns."""
    with (
        tempfile.TemporaryDirectory() as name,
        postgres_server(Path(name).name) as host,
        shared.object_stores(Path(name, "objects")) as stores,
    ):
        folder = Path(name)
        parts = [
            _calls(host, stores[0], folder, quick=quick),
            claims(host, folder, quick=quick),
            bulk.pages(host, stores, folder, quick=quick),
            bulk.creates(host, stores, folder, quick=quick),
        ]
    return Report(
        HEADER,
        list(chain.from_iterable(part.rows for part in parts)),
        list(chain.from_iterable(part.targets for part in parts)),
        list(chain.from_iterable(part.notes for part in parts)),
    )


def _calls(host: str, store: Store, folder: Path, *, quick: bool) -> Report:
    """64 clients that retrieve a batch of their team."""
    nginx = installed_nginx()
    if nginx is None:
        return Report(HEADER, (), (), [f"nginx is not installed: no calls of {_CLIENTS} clients."])
    slices, slice_s = (2, 2.5) if quick else (6, 10.0)
    tokens = {f"agent-{number}": secrets.token_urlsafe(32) for number in range(_CLIENTS)}
    keys = list(tokens.values())
    with (
        processes.stub() as stub,
        shared.service(nginx, stub, shared.settings(host, store), tokens, folder) as places,
    ):
        with Client(places.service, LEGACY, keys[0]) as client:
            create = {"name": CREATE, "arguments": {"requests": [REQUEST]}}
            client.call(request(LEGACY, 1, "tools/call", **create))
        found = in_turns(
            {
                "bare SDK server": partial(_driven, places.bare_directly, keys, slice_s),
                "bare SDK server behind nginx": partial(_driven, places.bare, keys, slice_s),
                "two replicas behind nginx": partial(_driven, places.service, keys, slice_s),
            },
            slices,
        )
    direct, proxied, ours = found.values()
    to_direct, to_proxied = (_rate_ratio(each, ours) for each in (direct, proxied))
    errors = [error for each in ours for error in each.errors]
    rows = [
        (
            f"{_CLIENTS} clients",
            name,
            Series.of([each.load.p50_ms for each in outcomes]).text(1),
            Series.of([each.load.p95_ms for each in outcomes]).text(1),
            f"{Series.of([each.load.calls_per_s for each in outcomes]).text(0)} calls",
            _rate_ratio(direct, outcomes).text(2),
        )
        for name, outcomes in found.items()
    ]
    targets = [
        Target(
            f"no error with {_CLIENTS} clients in {slices * slice_s:g} s",
            f"{len(errors)} in {sum(each.calls for each in ours):,} calls",
            not errors,
        ),
        Target(
            "two replicas behind nginx: at least as many calls/s as a bare server",
            f"{to_direct.text(2)}x",
            to_direct.median >= 1,
        ),
    ]
    notes = [
        f"{_CLIENTS} clients: medians of {slices} slices of {slice_s:g} s. Both through nginx: {to_proxied.text(2)}x.",
        *(f"The first error: {error}" for error in errors[:1]),
    ]
    baseline_errors = sum(len(each.errors) for each in chain(direct, proxied))
    if baseline_errors:
        notes.append(f"The bare server: {baseline_errors} errors.")
    return Report(HEADER, rows, targets, notes)


def _driven(place: Place, keys: Sequence[str], seconds: float) -> Outcome:
    """Every other client speaks the older revision."""
    clients = (Client(place, ERAS[number % 2], key) for number, key in enumerate(keys))
    return drive(clients, _retrieve, _BATCH_ID, seconds)


def _retrieve(era: Era) -> dict[str, Any]:
    return request(era, 1, "tools/call", name=RETRIEVE, arguments={"message_batch_id": _BATCH_ID})


def _rate_ratio(base: Sequence[Outcome], outcomes: Sequence[Outcome]) -> Series:
    return ratios([each.load.calls_per_s for each in outcomes], [each.load.calls_per_s for each in base])
