"""Lists of named entries and maps by name say the same: a file compiles to the same plan in every mixture of forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batches_mcp import language
from batches_mcp.core.server_plan import ServerPlan
from batches_mcp.language.compile import compile_server
from batches_mcp.language.source import parse
from tests.support.capabilities import FILES

# Where a list of named entries may be a map by name, below `capability`; `prompts` and `arguments` as well.
NAMED = {"resources", "operations", "inputParameters", "tools", "prompts", "arguments"}
# What is the author's own below these keys.
OPAQUE = {"x-schema", "x-output-schema", "body", "outputParameters", "with", "headers", "keys"}


def in_form(value: Any, as_map: Callable[[], bool], key: str = "") -> Any:
    """The same file with each list of named entries as a map or as a list, as `as_map` decides each time."""
    if key in OPAQUE:
        return value
    if key in NAMED and isinstance(value, list | dict):
        entries = [{"name": name, **entry} for name, entry in value.items()] if isinstance(value, dict) else value
        entries = [in_form(entry, as_map) for entry in entries]
        names = [entry.get("name") for entry in entries]
        # A map has no place for an entry without a name, nor for a second one of the same name.
        if as_map() and None not in names and len(set(names)) == len(names):
            return {entry["name"]: {k: v for k, v in entry.items() if k != "name"} for entry in entries}
        return entries
    if isinstance(value, dict):
        return {name: in_form(entry, as_map, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [in_form(entry, as_map) for entry in value]
    return value


def spelled(tree: dict[str, Any], *, later: bool) -> dict[str, Any]:
    """The same file in the spellings of the earlier or the later versions, at its top."""
    tree["ikanos" if later else "naftiko"] = tree.pop("naftiko", tree.pop("ikanos", ""))
    if info := tree.get("info"):
        info["display" if later else "label"] = info.pop("label", info.pop("display", ""))
    return tree


def compiled(content: bytes, beside: Path) -> ServerPlan:
    source = parse(content, str(beside))
    linked = language.linked(source)
    assert not [problem for problem in linked.problems if problem.severity == "error"]
    return compile_server(linked)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("as_map", [True, False], ids=["maps", "lists"])
def test_a_file_in_one_form_compiles_to_the_same_plan(file: Path, as_map: bool) -> None:
    tree = parse(file.read_bytes(), file.name).root.plain()
    converted = spelled(in_form(tree, lambda: as_map), later=as_map)
    assert compiled(json.dumps(converted, ensure_ascii=False).encode(), file) == compiled(file.read_bytes(), file)


@settings(max_examples=150)
@given(st.data())
def test_forms_may_be_mixed(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(FILES))
    tree = parse(file.read_bytes(), file.name).root.plain()
    mixed = spelled(in_form(tree, lambda: data.draw(st.booleans())), later=data.draw(st.booleans()))
    assert compiled(json.dumps(mixed, ensure_ascii=False).encode(), file) == compiled(file.read_bytes(), file)


def test_a_conversion_changes_something() -> None:
    tree = parse(FILES[0].read_bytes(), "f.yaml").root.plain()
    assert isinstance(in_form(tree, lambda: True)["capability"]["exposes"][1]["tools"], dict)
    assert isinstance(in_form(in_form(tree, lambda: True), lambda: False)["capability"]["exposes"][1]["tools"], list)
