"""Every broken file in `invalid/` is answered with exactly the diagnostics that stand beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batches_mcp import language
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import CapabilityError
from tests.corpus.codes import codes
from tests.support.golden import assert_golden

HERE = Path(__file__).parent
FILES = sorted((HERE / "invalid").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_broken_file_gets_its_diagnostics(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    problems = language.check(Path(file.name))
    assert_golden(file.with_suffix(".expected"), "".join(f"{problem.text()}\n" for problem in problems))
    assert any(problem.severity is Severity.ERROR for problem in problems)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_broken_file_does_not_load(file: Path) -> None:
    with pytest.raises(CapabilityError) as caught:
        language.read(file)
    assert caught.value.diagnostics == language.check(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_diagnostics_point_into_the_file_and_stay_on_one_line(file: Path) -> None:
    lines = file.read_bytes().decode("utf-8", "replace").split("\n")
    for problem in language.check(file):
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.col <= len(lines[problem.line - 1]) + 1
        assert "\n" not in problem.text()
        assert len(problem.message) + len(problem.hint) < 500


def test_every_expectation_has_its_file() -> None:
    assert {path.stem for path in (HERE / "invalid").glob("*.expected")} == {file.stem for file in FILES}


def test_every_diagnostic_of_the_source_occurs() -> None:
    expected = "".join(path.read_text("utf-8") for path in HERE.glob("*/*.expected"))
    occurring = set(re.findall(r"\.yaml:\d+:\d+: ([a-z0-9-]+): ", expected))
    assert codes() - occurring == set()


def test_there_are_diagnostics_to_look_for() -> None:
    assert {"tab", "unknown-key", "path-variable", "jsonpath", "default-header"} <= codes()
