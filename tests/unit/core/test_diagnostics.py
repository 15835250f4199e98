"""How a problem is written, and what is suggested."""

from __future__ import annotations

import pytest

from batches_mcp.core.diagnostics import Diagnostic, Mark, Problems, Severity, did_you_mean, has_errors, quote

ERROR = Diagnostic("f.yaml", 3, 7, "code", Severity.ERROR, "what is wrong", "what to do")
WARNING = Diagnostic("f.yaml", 3, 7, "code", Severity.WARNING, "what is odd")


def test_a_diagnostic_is_one_line_that_editors_can_follow() -> None:
    assert ERROR.text() == "f.yaml:3:7: code: what is wrong; what to do"
    assert WARNING.text() == "f.yaml:3:7: code: warning: what is odd"


def test_a_diagnostic_is_data_too() -> None:
    assert ERROR.data() == {
        "file": "f.yaml",
        "line": 3,
        "col": 7,
        "code": "code",
        "severity": "error",
        "message": "what is wrong",
        "hint": "what to do",
    }


def test_diagnostics_are_sorted_by_place() -> None:
    later = Diagnostic("f.yaml", 12, 1, "a", Severity.ERROR, "m")
    earlier = Diagnostic("f.yaml", 3, 2, "z", Severity.ERROR, "m")
    assert sorted([later, ERROR, earlier]) == [earlier, ERROR, later]


def test_problems_collect_both_severities() -> None:
    problems = Problems("f.yaml")
    problems.warning(Mark(3, 7), "code", "what is odd")
    assert not has_errors(problems.found)
    problems.error(Mark(3, 7), "code", "what is wrong", "what to do")
    assert has_errors(problems.found)
    assert problems.found == [WARNING, ERROR]


@pytest.mark.parametrize(
    ("name", "quoted"), [("a", "`a`"), ("a\nb\x1b", "`a b\\x1b`"), ("x" * 100, f"`{'x' * 79}…`"), (5, "`5`")]
)
def test_a_name_is_quoted_on_one_line(name: object, quoted: str) -> None:
    assert quote(name) == quoted


@pytest.mark.parametrize(
    ("wrong", "known", "hint"),
    [
        ("pathh", ["path", "name"], "did you mean `path`?"),
        ("BASEURI", ["baseUri"], "did you mean `baseUri`?"),
        ("xyz", ["path", "name"], "known here: `path`, `name`"),
        ("xyz", [f"name{number}" for number in range(13)], ""),
        ("xyz", [], ""),
    ],
)
def test_the_nearest_name_is_suggested(wrong: str, known: list[str], hint: str) -> None:
    assert did_you_mean(wrong, known) == hint
