"""`batches-mcp schema` as an editor uses it: saved beside a file, found by the file's first line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from batches_mcp.language.source import parse
from tests.e2e.test_cli import run

PAGE = Path(__file__).parents[2] / "docs" / "capability.md"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The documented example, with the schema saved as the page says."""
    [text] = re.findall(r"<!-- example -->\n```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    file = tmp_path / "shop.yaml"
    file.write_text(text, "utf-8")
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    (tmp_path / "capability.schema.json").write_text(out, "utf-8")
    return file


def in_an_editor(file: Path) -> list[str]:
    """What is wrong with a file by the schema that its first line names, as the YAML language server reads it."""
    modeline = re.match(r"#\s*yaml-language-server:\s*\$schema=(\S+)", file.read_text("utf-8"))
    assert modeline is not None
    schema = json.loads((file.parent / modeline[1]).read_text("utf-8"))
    value = parse(file.read_bytes(), file.name).root.plain()
    return [error.json_path for error in Draft202012Validator(schema).iter_errors(value)]


def test_the_example_is_checked_by_the_schema_it_names(example: Path) -> None:
    assert in_an_editor(example) == []


def test_a_mistake_is_seen_at_its_place(example: Path) -> None:
    example.write_text(example.read_text("utf-8").replace("baseUri:", "baseUrl:"), "utf-8")
    assert set(in_an_editor(example)) == {"$.capability.consumes[0]"}
