"""docs/guarantees.md names for each promise a test that holds it, and that test is there."""

from __future__ import annotations

import re

import pytest

from tests.support.servers import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| promise"))]
TESTS: dict[str, str] = {}
for path in (ROOT / "tests").rglob("test_*.py"):
    TESTS[path.name] = TESTS.get(path.name, "") + path.read_text("utf-8")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:50])
def test_a_promise_is_held_by_a_test(row: str) -> None:
    named = re.findall(r"`([^`]+)`", row.split("|")[3])
    assert named
    file = ""
    for each in named:
        own_file, _, name = each.rpartition("/")[2].partition("::") if ".py" in each else (file, "", each.lstrip(":"))
        file = own_file
        assert file in TESTS, each
        for part in filter(None, name.split("::")):
            assert re.search(rf"\b(?:def|class) {part}\b", TESTS[file]), each
