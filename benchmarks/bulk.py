"""What is in bulk, in an object store beside a folder: pages of results, and the requests of creates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from string import ascii_lowercase

from benchmarks import processes, shared
from benchmarks.create import create_from, timed_create, write_requests
from benchmarks.measure import in_turns, percentile, ratios, timed
from benchmarks.processes import SUBJECT
from benchmarks.report import Report, Target
from benchmarks.results import call_results, later_pages
from benchmarks.shared import Store
from benchmarks.timings import HEADER, timed_rows
from benchmarks.wire import StdioWire
from tests.support.states import STATE_DIR

_MOST_PAGE_MS = 20.0
_LEAST_CREATE = 0.5
_TEXT_CHARS = 1_530
_FOLDER = "folder"


def pages(host: str, stores: Sequence[Store], folder: Path, *, quick: bool) -> Report:
    """Pages of results that another server has fetched: the first one, with an empty cache, and those after it."""
    rows, rounds, later_rounds = (10_000, 2, 1) if quick else (100_000, 7, 2)
    with processes.outlet(rows) as port, ExitStack() as stack:
        upstream = processes.upstream_environment(port)
        own = stack.enter_context(_server(folder / "pages", upstream))
        wires, first = {_FOLDER: own}, {f"{_FOLDER}, from the API": partial(_first_page, own, folder / "pages", ())}
        for number, store in enumerate(stores):
            common = upstream | shared.settings(host, store)
            elsewhere, cache = folder / f"fetched-{number}", folder / f"pages-{number}"
            with _server(elsewhere, common) as other:
                _fetch(other)
            wire = wires[store.name] = stack.enter_context(_server(cache, common))
            first[store.name] = partial(_first_page, wire, cache, _spools(elsewhere))
        in_turns(first, 1)  # loads what a first call needs
        cold = in_turns(first, rounds)
        _fetch(own)
        turns = in_turns({name: partial(later_pages, wire, rows) for name, wire in wires.items()}, later_rounds)
        megabytes = sum(path.stat().st_size for path in folder.glob("pages/*/spool/*.jsonl")) / 1e6
    cached = {name: list(chain.from_iterable(found)) for name, found in turns.items()}
    table = [
        *timed_rows("20 results, nothing cached", cold, _pages_per_s),
        *timed_rows("20 results, cached", cached, _pages_per_s),
    ]
    targets = []
    for store in stores:
        p95_ms = percentile(cached[store.name], 0.95)
        targets.append(
            Target(
                f"a cached page from {store.name}: p95 under {_MOST_PAGE_MS:g} ms",
                f"{p95_ms:.1f} ms",
                p95_ms < _MOST_PAGE_MS,
            )
        )
    notes = [f"Pages: of {rows:,} results, {megabytes:.0f} MB, which a replica brings from the store as a whole."]
    return Report(HEADER, table, targets, notes)


def creates(host: str, stores: Sequence[Store], folder: Path, *, quick: bool) -> Report:
    """Creates of one file, whose requests are kept before they are sent."""
    path = folder / "requests.jsonl"
    write_requests(path, 10_000 if quick else 100_000, _texts())
    with processes.sink() as port, ExitStack() as stack:
        upstream = processes.upstream_environment(port)
        places: dict[str, Mapping[str, str]] = {_FOLDER: upstream}
        places |= {store.name: upstream | shared.settings(host, store) for store in stores}
        contenders = {}
        for number, (name, environment) in enumerate(places.items()):
            state = folder / f"creates-{number}"
            wire = stack.enter_context(_server(state, environment, "--root", str(folder)))
            create_from(wire, path, dry_run=True)
            create = partial(create_from, wire, path, allow_duplicate=True)
            contenders[name] = partial(timed_create, create, state)
        samples = in_turns(contenders, 2 if quick else 5)
    megabytes = path.stat().st_size / 1e6
    packed = sum(each.stat().st_size for each in folder.glob("creates-0/*/kept/*")) / 1e6
    taken_ms = {name: [1000 * taken_s for taken_s in taken] for name, taken in samples.items()}
    targets = []
    for store in stores:
        found = ratios(samples[_FOLDER], samples[store.name])
        targets.append(
            Target(
                f"a create with its copy in {store.name}: at least {_LEAST_CREATE:g}x of the folder",
                f"{found.text(2)}x",
                found.median >= _LEAST_CREATE,
            )
        )
    table = timed_rows(f"create, {megabytes:.0f} MB", taken_ms, lambda ms: f"{1000 * megabytes / ms:,.0f} MB")
    note = (
        f"Creates: of random words, {packed:.0f} MB when compressed. A copy that goes to a store is compressed before "
        "the create is sent, one in a folder afterwards."
    )
    return Report(HEADER, table, targets, [note])


@contextmanager
def _server(state: Path, environment: Mapping[str, str], *flags: str) -> Iterator[StdioWire]:
    with processes.python([*SUBJECT.stdio, *flags], {**environment, STATE_DIR: str(state)}) as running:
        yield StdioWire(running.process)


def _fetch(wire: StdioWire) -> None:
    """Let a server fetch all results, and share them."""
    while "file" not in call_results(wire, as_file="jsonl"):
        pass


def _spools(state: Path) -> tuple[str, ...]:
    return tuple(path.name for path in state.glob("*/spool/*.jsonl"))


def _first_page(wire: StdioWire, state: Path, expected: tuple[str, ...]) -> float:
    """Milliseconds of a first page, for which the spool that another server has shared is to be used, if any."""
    for path in state.glob("*/spool/*"):
        path.unlink()
    taken_ms = 1000 * timed(lambda: call_results(wire))
    if expected and _spools(state) != expected:
        raise ValueError("the results did not come from the object store")
    return taken_ms


def _pages_per_s(median_ms: float) -> str:
    return f"{1000 / median_ms:,.1f} pages"


def _texts() -> Iterator[str]:
    """Texts that can be compressed about as well as ordinary ones."""
    chance = Random(1)  # noqa: S311 - text, nothing secret
    words = ["".join(chance.choices(ascii_lowercase, k=chance.randint(2, 9))) for _ in range(5_000)]
    text = " ".join(chance.choices(words, [1 / rank for rank in range(1, 5_001)], k=400_000))
    while True:
        start = chance.randrange(len(text) - _TEXT_CHARS)
        yield text[start : start + _TEXT_CHARS]
