"""The state folder: made when needed, for its owner only, and clear words when it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batches_mcp.core.errors import CallError, UsageError
from batches_mcp.core.state import StateFolder


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet"
    folder = StateFolder(root).folder("account", "spool")
    assert folder == root / "account" / "spool"
    assert [path.stat().st_mode & 0o777 for path in (root, root / "account", folder)] == [0o700] * 3


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_folder_that_was_there_keeps_its_mode(mode: int, tmp_path: Path) -> None:
    root = tmp_path / "state"
    root.mkdir()
    root.chmod(mode)
    folder = StateFolder(root).folder("account", "spool")
    assert root.stat().st_mode & 0o7777 == mode
    assert [path.stat().st_mode & 0o777 for path in (root / "account", folder)] == [0o700] * 2


def test_a_path_is_absolute_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert StateFolder(Path("state")).path == tmp_path / "state"
    assert StateFolder(Path("~/state")).path == tmp_path / "home" / "state"
    with pytest.raises(UsageError, match="--state-dir"):
        StateFolder(Path("~nobody-of-this-name/state"))


@pytest.mark.skipif(os.name != "posix", reason="a file in place of a folder is reported differently elsewhere")
def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(CallError) as caught:
        StateFolder(tmp_path / "state").folder("account")
    report = caught.value.report
    assert report.type == "state_unusable"
    assert str(tmp_path / "state") in report.message
    assert "--state-dir" in (report.next_step or "")
