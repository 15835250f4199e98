"""The codes of the diagnostics, read off the source."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "batches_mcp" / "language"


def codes() -> set[str]:
    """What the source gives to `problems.error`, `problems.warning` and the decoder's own `error` as a code."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"error", "warning"}:
                code = node.args[1]
                if not (isinstance(code, ast.Name) and code.id == "code"):
                    assert isinstance(code, ast.Constant), f"{path.name}:{node.lineno}: a code is a plain text"
                    assert isinstance(code.value, str)
                    found.add(code.value)
    return found
