"""docs/capability.md is true: its example loads, and every diagnostic has a section whose examples get it and do not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from batches_mcp import language
from batches_mcp.cli import cli
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import CapabilityError
from batches_mcp.language.source import parse
from tests.corpus.codes import codes

PAGE = (Path(__file__).parents[2] / "docs" / "capability.md").read_text("utf-8")
EXAMPLE = re.search(r"<!-- example -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)[1]  # type: ignore[index]
SECTION = re.compile(
    r"### `([a-z0-9-]+)`\n\n(.*?)\n\nGets it:\n\n```yaml\n(.*?)```\n\nDoes not:\n\n```yaml\n(.*?)```", re.DOTALL
)
SECTIONS = {code: (text, bad, good) for code, text, bad, good in SECTION.findall(PAGE)}
# Problems of YAML itself, which are of a text and not of its values.
OF_YAML = {
    "alias",
    "duplicate-key",
    "key-not-text",
    "not-utf-8",
    "not-yaml",
    "several-documents",
    "tab",
    "tag",
    "too-large",
}


def test_every_diagnostic_has_its_section_and_they_are_in_order() -> None:
    headings = re.findall(r"^### `([a-z0-9-]+)`$", PAGE.partition("## Diagnostics")[2], re.MULTILINE)
    assert headings == sorted(codes())
    assert set(SECTIONS) == set(headings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets.yaml").write_text("tenant: t-1\n", "utf-8")
    return tmp_path


Found = dict[str, Severity]


def found(content: bytes, folder: Path) -> Found:
    file = folder / "capability.yaml"
    file.write_bytes(content)
    return {problem.code: problem.severity for problem in language.check(file)}


def of_yaml(content: bytes) -> Found:
    try:
        problems = parse(content, "f.yaml").problems
    except CapabilityError as error:
        problems = error.diagnostics
    return {problem.code: problem.severity for problem in problems}


def merged(example: Any, lines: Any) -> Any:
    """The example with what the lines say added to it, or in the place of what it says."""
    if isinstance(example, dict) and isinstance(lines, dict) and lines:
        return example | {key: merged(example.get(key), value) for key, value in lines.items()}
    if isinstance(example, list) and isinstance(lines, list) and lines:
        longest = max(len(example), len(lines))
        both = zip(example + [None] * longest, lines + [None] * longest, strict=False)
        return [old if new is None else merged(old, new) for old, new in list(both)[:longest]]
    return lines


def codes_of(code: str, text: str, folder: Path, encoding: str = "utf-8") -> Found:
    if code in OF_YAML:
        return of_yaml(text.encode(encoding))
    lines = parse(text.encode(), "lines.yaml").root.plain()
    if code == "file":
        lines = {"binds": [None, *lines["binds"]]}  # a bind of its own beside the example's
    whole = merged(parse(EXAMPLE.encode(), "example.yaml").root.plain(), lines)
    return found(json.dumps(whole, ensure_ascii=False).encode(), folder)


@pytest.mark.parametrize("code", SECTIONS)
def test_the_first_example_of_a_section_gets_its_diagnostic_and_no_other(code: str, folder: Path) -> None:
    text, bad, _ = SECTIONS[code]
    severity = Severity.WARNING if text.startswith("A warning: ") else Severity.ERROR
    assert codes_of(code, bad, folder, "latin-1" if code == "not-utf-8" else "utf-8") == {code: severity}


@pytest.mark.parametrize("code", SECTIONS)
def test_the_second_example_gets_none(code: str, folder: Path) -> None:
    assert codes_of(code, SECTIONS[code][2], folder) == {}


def test_the_example_is_a_good_file(folder: Path) -> None:
    assert found(EXAMPLE.encode(), folder) == {}


def test_the_example_is_explained_as_the_page_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    (folder / "shop.yaml").write_text(EXAMPLE, "utf-8")
    said = CliRunner().invoke(cli, ["explain", "add-item", "--capability", str(folder / "shop.yaml")])
    expected = re.search(r"<!-- explained -->\n```\n(.*?)```", PAGE, re.DOTALL)
    assert expected is not None
    assert said.stdout == expected[1]


def test_links_within_the_page_lead_to_headings() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert target in anchors, target
