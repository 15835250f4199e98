"""Results as text: printed, and written into BENCHMARKS.md between markers."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "BENCHMARKS.md"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be, and whether it is."""

    text: str
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        blocks = [table(self.header, self.rows)]
        if self.targets:
            verdicts = [(each.text, each.found, "met" if each.met else "**missed**") for each in self.targets]
            blocks.append(table(("target", "found", ""), verdicts))
        blocks += [f"- {note}" for note in self.notes]
        return "\n\n".join(blocks)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is also readable as it stands."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def circumstances(command: str) -> str:
    """When, how and on what the figures were taken; names no host and no path."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    packages = ", ".join(f"{name} {version(name)}" for name in ("batches-mcp", "mcp", "httpx2", "pydantic"))
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{today}, `{command}`: {machine}; {packages}."


def write_section(name: str, text: str) -> None:
    """Replace what stands between the benchmark's markers in BENCHMARKS.md.

    Raises:
        ValueError: the page has no such markers.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = PAGE.read_text("utf-8")
    section = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not section.search(page):
        raise ValueError(f"{PAGE.name} has no section between {begin} and {end}")
    PAGE.write_text(section.sub(lambda _: f"{begin}\n{text}\n{end}", page), "utf-8")
