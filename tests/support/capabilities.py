"""Capability files to begin with, and what is done to them: mutations of their values and of their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from batches_mcp.language.source import parse
from tests.support.values import keys_of

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / "capability.yaml",
    *sorted((ROOT / "tests" / "corpus" / "seed").glob("*.yaml")),
    *sorted((ROOT / "tests" / "corpus" / "valid").glob("*.yaml")),
]
CONTENTS = [file.read_bytes() for file in FILES]
TREES = [parse(content, "f.yaml").root.plain() for content in CONTENTS]

# Texts that mean something somewhere in a file, and values that are wrong nearly everywhere.
WORDS = [
    "", " ", "{{", "}}", "{{x}}", "{{env.X}}", "{x}", "/{x}/{y}", "tools.x", "$this.a.b", "$.", "$[", "$..a[?@.b==1]",
    "https://[", "https://api.example.com", "http://x", "https://u:p@h", "//", "/", "?", "#", "GET", "POST", "get",
    "path", "query", "header", "cookie", "body", "object", "array", "string", "mcp", "rest", "apikey", "bearer", "basic",
    "oauth2", "name", "value", "message_batch_id", "message-batch-id", "\n", "é", "\u200b", "😀", "x" * 300, "Host",
]  # fmt: skip
scalars = (
    st.sampled_from(WORDS)
    | st.text(max_size=20)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)


keys = st.sampled_from(sorted({key for tree in TREES for key in keys_of(tree)})) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(keys, children, max_size=3),
    max_leaves=6,
)
HOSTILE = settings(
    deadline=timedelta(seconds=2),
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def mutated_trees(draw: st.DrawFn) -> bytes:
    """A good file with one to four of its values removed, replaced, renamed, doubled or moved."""
    tree = json.loads(json.dumps(draw(st.sampled_from(TREES))))
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(tree))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["remove", "replace", "rename", "double", "move"])):
            case "remove":
                del container[key]
            case "rename" if isinstance(container, dict):
                container[draw(keys)] = container.pop(key)
            case "double" if isinstance(container, list):
                container.append(container[key])
            case "move":
                container[key] = json.loads(json.dumps(draw(st.sampled_from(places))[0]))
            case _:
                container[key] = draw(values)
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "replace")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


@st.composite
def mutated_bytes(draw: st.DrawFn) -> bytes:
    """A good file with one to four stretches of it overwritten, removed or doubled."""
    content = draw(st.sampled_from(CONTENTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        middle = draw(
            st.binary(max_size=6)
            | st.sampled_from([b"", b"\t", b"\n", b": ", b"- ", b"&a ", b"*a", b"{", b"]", b"'", b"{{", b"<<: *a\n"])
            | st.just(content[start:end] * 2)
        )
        content = content[:start] + middle + content[end:]
    return content
