"""Which delivery the same content finds."""

from __future__ import annotations

from batches_mcp.work.in_progress import Deliveries, Delivery

KEY = ("account", None, "content")


def test_a_delivery_that_has_ended_takes_no_newer_one_of_its_content_with_it() -> None:
    deliveries, first, second = Deliveries(), Delivery(1, None), Delivery(1, None)
    deliveries.add(KEY, first)
    deliveries.remove(KEY, first)
    assert deliveries.find(KEY) is None
    deliveries.add(KEY, second)
    deliveries.remove(KEY, first)
    assert deliveries.find(KEY) is second


def test_one_whose_end_is_not_written_down_stays_to_be_found() -> None:
    deliveries, delivery = Deliveries(), Delivery(1, None, recorded=False)
    deliveries.add(KEY, delivery)
    deliveries.remove(KEY, delivery)
    assert deliveries.find(KEY) is delivery
