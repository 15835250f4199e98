"""A list of batches is cut so that following its ids meets every batch once, in either direction."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.exchange.result import encode, fits
from batches_mcp.language.model import Operation
from batches_mcp.tools.behaviors import behaviors
from batches_mcp.tools.listing import cut

SIZES = st.lists(st.sampled_from([10, 400, 5_000, 19_000]), max_size=60)


def upstream_page(batches: list[dict[str, Any]], limit: int, after: str | None, before: str | None) -> dict[str, Any]:
    """A page as the API makes it: newest first, `has_more` in the direction asked for."""
    ids = [batch["id"] for batch in batches]
    if before is not None:
        rest = batches[: ids.index(before)]
        data = rest[-limit:]
    else:
        rest = batches[ids.index(after) + 1 :] if after is not None else batches
        data = rest[:limit]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": len(rest) > len(data), "first_id": ends[0], "last_id": ends[1]}


def walk(batches: list[dict[str, Any]], limit: int, start: str | None, *, backwards: bool) -> list[str]:
    """The ids met by following a list to its end, in the order of the list."""
    met: list[str] = []
    cursor = start
    while True:
        page = upstream_page(batches, limit, None if backwards else cursor, cursor if backwards else None)
        shown = cut(page, {}, backwards=backwards)
        assert fits(encode(shown))
        ids = [batch["id"] for batch in shown["data"]]
        assert shown.get("batches_mcp", {}).get("cut", 0) == len(page["data"]) - len(ids)
        met = ids + met if backwards else met + ids
        if not shown["has_more"]:
            return met
        cursor = shown["first_id"] if backwards else shown["last_id"]


@given(sizes=SIZES, limit=st.integers(1, 50))
def test_going_on_meets_every_batch_once(sizes: list[int], limit: int) -> None:
    batches = [{"id": f"b{number}", "pad": "é" * size} for number, size in enumerate(sizes)]
    assert walk(batches, limit, None, backwards=False) == [batch["id"] for batch in batches]


@given(sizes=SIZES.filter(bool), limit=st.integers(1, 50))
def test_going_back_meets_every_newer_batch_once(sizes: list[int], limit: int) -> None:
    batches = [{"id": f"b{number}", "pad": "x" * size} for number, size in enumerate(sizes)]
    assert walk(batches, limit, batches[-1]["id"], backwards=True) == [batch["id"] for batch in batches[:-1]]


@pytest.mark.parametrize(
    "page",
    [{}, {"data": []}, {"data": None}, {"data": "x" * 50_000}, {"data": ["x" * 50_000]}, {"rows": ["x" * 50_000]}],
)
def test_what_is_no_page_is_left_as_it_is(page: dict[str, Any]) -> None:
    assert cut(page, {}, backwards=False) is page


def test_the_language_and_the_table_name_the_same_behaviors() -> None:
    [names, _] = get_args(get_type_hints(Operation)["behavior"])
    assert set(get_args(names)) == set(behaviors())
