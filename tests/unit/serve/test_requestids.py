"""Ids that others send with a request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.serve.requestids import HARMLESS, made, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_HEX = "0123456789abcdef"


@given(
    st.text(_HEX, min_size=32, max_size=32),
    st.text(_HEX, min_size=16, max_size=16),
    st.text(_HEX, min_size=2, max_size=2),
)
def test_a_traceparent_names_its_trace_unless_an_id_is_nothing_but_zeros(trace: str, span: str, flags: str) -> None:
    expected = trace if set(trace) != {"0"} and set(span) != {"0"} else None
    assert trace_id(f"00-{trace}-{span}-{flags}") == expected


@given(st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text())))
def test_what_is_no_traceparent_names_no_trace(value: object) -> None:
    assert trace_id(value) is None


def test_traceparents_of_other_versions() -> None:
    assert trace_id(f"01-{TRACE}-{SPAN}-01-more") == TRACE
    assert trace_id(f"ff-{TRACE}-{SPAN}-01") is None
    assert trace_id(f"00-{TRACE.upper()}-{SPAN}-01") is None
    assert trace_id(f"00-{TRACE}-{SPAN}-01\n") is None


def test_an_id_that_is_made_could_be_taken_and_is_another_each_time() -> None:
    ids = {made() for _ in range(100)}
    assert len(ids) == 100
    assert all(HARMLESS.fullmatch(each) for each in ids)
