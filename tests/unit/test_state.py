"""The state folder: made when needed, for its owner only, and clear words when it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batches_mcp.errors import CallError
from batches_mcp.state import StateFolder


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet"
    folder = StateFolder(root).folder("account", "spool")
    assert folder == root / "account" / "spool"
    assert [path.stat().st_mode & 0o777 for path in (root, root / "account", folder)] == [0o700] * 3


def test_a_folder_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(0o755)
    StateFolder(tmp_path / "state").folder("account")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix", reason="a file in place of a folder is reported differently elsewhere")
def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(CallError) as caught:
        StateFolder(tmp_path / "state").folder("account")
    report = caught.value.report
    assert report.type == "state_unusable"
    assert str(tmp_path / "state") in report.message
    assert "--state-dir" in (report.next_step or "")
