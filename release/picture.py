"""The README's picture of a terminal, drawn from what `run` really prints against the sandbox."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from html import escape, unescape
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "run.svg"
_COLUMNS = 96
_ASKED = [
    "run", "examples/tickets.csv", "--prompt", "Summarise in one sentence: {{body}}", "--model", "claude-haiku-5-5",
    "--max-tokens", "200", "-o", "answers.csv", "--sandbox",
]  # fmt: skip
_TYPED = (
    '$ batches-mcp run examples/tickets.csv --prompt "Summarise in one sentence: {{body}}" \\\n'
    "      --model claude-haiku-5-5 --max-tokens 200 -o answers.csv --sandbox"
)
# Fonts of the reader's own system: a picture asks nobody for anything.
_FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def printed() -> str:
    """What the command prints at a terminal of no ability, in a folder of its own."""
    with TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "examples", Path(folder) / "examples")
        command = [sys.executable, "-m", "batches_mcp", *_ASKED]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=True)  # noqa: S603
    lines = [line for line in done.stderr.splitlines() if not line.startswith("batches-mcp: ")]
    return "\n".join([_TYPED, *lines]) + "\n"


def drawn(text: str) -> str:
    """The picture of a text, which it holds as its description too."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), highlight=False)
    console.print(Text(text.rstrip()))
    svg = console.export_svg(title="batches-mcp", code_format=_FORMAT, unique_id="run")
    return svg.replace("<style>", f"<desc>{escape(text)}</desc>\n<style>", 1)


def shown(svg: str) -> str:
    """The text that a picture was drawn from."""
    return unescape(svg.partition("<desc>")[2].partition("</desc>")[0])


def words(text: str) -> str:
    """A text without what differs from run to run: ids, seconds, and the tokens that answers come to."""
    return re.sub(r"msgbatch_\w+|\b[\d,.]*\d\b", "#", text)


def main() -> None:
    PICTURE.write_text(drawn(printed()), "utf-8")


if __name__ == "__main__":
    main()
