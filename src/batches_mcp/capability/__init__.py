"""Reading a capability file: `source` (YAML) -> `load` (shape) -> `link` (names) -> `verify` (schemas, paths)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from batches_mcp.capability import source
from batches_mcp.capability.diagnostics import Diagnostic, has_errors
from batches_mcp.capability.link import Linked, link
from batches_mcp.capability.load import load
from batches_mcp.capability.local import read_local
from batches_mcp.errors import CapabilityError


def read(path: Path, *, trusted: bool = False) -> Linked:
    """Read a capability file; `trusted` skips the slow checks that only a foreign file needs.

    Raises:
        UnreadableFile: it cannot be opened or read.
        CapabilityError: it has errors; every problem found is listed.
    """
    linked = _link(source.read(path), trusted=trusted)
    if has_errors(linked.problems):
        raise CapabilityError(linked.problems)
    return linked


def check(path: Path) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with a capability file, in the order of its lines.

    Raises:
        UnreadableFile: it cannot be opened or read.
    """
    try:
        return _link(source.read(path), trusted=False).problems
    except CapabilityError as error:
        return error.diagnostics


def _link(parsed: source.Source, *, trusted: bool) -> Linked:
    loaded = load(parsed)
    local = read_local(loaded.document, parsed.file)
    linked = link(loaded.document, parsed.file, local.texts)
    problems = [*loaded.problems, *local.problems, *linked.problems]
    if not trusted:
        from batches_mcp.capability.verify import verify  # imports slow libraries where the file needs them

        problems += verify(loaded.document, parsed.file)
    return replace(linked, values=local.values, problems=tuple(sorted(set(problems))))
