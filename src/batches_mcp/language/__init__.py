"""Reading a capability file: `source` (YAML) -> `load` (shape) -> `link` (names) -> `verify` (schemas, paths)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from batches_mcp.core.diagnostics import Diagnostic, has_errors
from batches_mcp.core.errors import CapabilityError
from batches_mcp.language import source
from batches_mcp.language.defaults import known_origins
from batches_mcp.language.link import Linked, link
from batches_mcp.language.load import load
from batches_mcp.language.local import read_local
from batches_mcp.language.nodes import ParsedFile
from batches_mcp.language.parts import settled


def read(path: Path, *, trusted: bool = False) -> Linked:
    """Read a capability file; `trusted` skips the slow checks that only a foreign file needs.

    Raises:
        UnreadableFile: it cannot be opened or read.
        CapabilityError: it has errors; every problem found is listed.
    """
    found = linked(source.read(path), trusted=trusted)
    if has_errors(found.problems):
        raise CapabilityError(found.problems)
    return found


def check(path: Path) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with a capability file, in the order of its lines.

    Raises:
        UnreadableFile: it cannot be opened or read.
    """
    try:
        return linked(source.read(path)).problems
    except CapabilityError as error:
        return error.diagnostics


def linked(parsed: ParsedFile, *, trusted: bool = False) -> Linked:
    """What a parsed file means, and in its `problems` everything that is wrong with it."""
    loaded = load(parsed)
    local = read_local(loaded.document, parsed.file)
    found = link(loaded.document, parsed.file, local.texts, known_origins())
    problems = [*loaded.problems, *local.problems, *found.problems]
    if not trusted:
        from batches_mcp.language.verify import verify  # imports slow libraries where the file needs them

        problems += verify(loaded.document, parsed.file)
    if any(each.code == "unsupported" and not each.part for each in loaded.problems):
        # What is called may be in what is not supported: an import, or an aggregate.
        problems = [each for each in problems if each.code != "call-target"]
    found, problems = settled(found, problems)
    return replace(found, values=local.values, problems=tuple(sorted(set(problems))))
