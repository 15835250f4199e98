"""Turns at the upstream: whose is next, who is turned away, and that none is lost."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from anyio.abc import TaskGroup

from batches_mcp.core.context import CallContext, enter
from batches_mcp.core.errors import UpstreamUnreachable
from batches_mcp.exchange.queue import FairQueue

pytestmark = pytest.mark.anyio


class Crowd:
    """Callers that want turns; `begun` names those that had one, in this order, `refused` those that got none."""

    def __init__(self, tasks: TaskGroup, most: int, most_waiting: int = 1000, wait_s: float = 60.0) -> None:
        self.queue = FairQueue("calls", most, most_waiting, wait_s)
        self.begun: list[str] = []
        self.refused: list[str] = []
        self.failures: list[UpstreamUnreachable] = []
        self.turned_away = anyio.Event()
        self._tasks = tasks
        self._go: dict[str, anyio.Event] = {}

    async def come(self, name: str, caller: str) -> Callable[[], None]:
        """One comes, and has its turn or waits for it when this returns; what is returned makes it give up."""
        self._go[name] = anyio.Event()
        scope = anyio.CancelScope()

        async def one() -> None:
            enter(CallContext(name, team=caller))
            with scope:
                try:
                    async with self.queue.turn():
                        self.begun.append(name)
                        await self._go[name].wait()
                except UpstreamUnreachable as error:
                    self.refused.append(name)
                    self.turned_away.set()
                    self.failures.append(error)

        self._tasks.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        return scope.cancel

    async def end(self, name: str) -> None:
        """The one with this name ends its turn."""
        self._go[name].set()
        await anyio.wait_all_tasks_blocked()


async def test_callers_are_served_in_turn_and_each_ones_calls_in_order() -> None:
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(tasks, 1)
        for name in ("a1", "a2", "a3", "a4", "b1", "c1", "c2"):
            await crowd.come(name, name[0])
        for name in ("a1", "a2", "b1", "c1", "a3", "c2", "a4"):
            assert crowd.begun[-1] == name
            await crowd.end(name)
        assert crowd.queue.waiting == 0


async def test_the_single_call_of_another_caller_waits_for_one_of_two_hundred() -> None:
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(tasks, 8)
        for number in range(200):
            await crowd.come(f"many-{number}", "many")
        assert len(crowd.begun) == 6
        for number in range(3):
            await crowd.come(f"one-{number}", "one")
        assert crowd.begun[6:] == ["one-0", "one-1"]
        await crowd.end("many-0")
        assert crowd.begun[8:] == ["many-6"]
        await crowd.end("many-1")
        assert crowd.begun[9:] == ["one-2"]
        tasks.cancel_scope.cancel()


async def test_a_caller_without_a_name_may_have_all_turns() -> None:
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(tasks, 8)
        for number in range(9):
            await crowd.come(str(number), "")
        assert len(crowd.begun) == 8
        tasks.cancel_scope.cancel()


async def test_beyond_the_queues_length_the_last_of_the_longest_makes_room() -> None:
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(tasks, 1, most_waiting=3)
        for name in ("a0", "a1", "a2", "a3", "b1", "a4"):
            await crowd.come(name, name[0])
        assert crowd.refused == ["a3", "a4"]
        await crowd.come("b2", "b")
        await crowd.come("c1", "c")
        assert crowd.refused == ["a3", "a4", "b2", "a2"]
        [report] = {each.report for each in crowd.failures}
        assert (report.type, report.retry_after_s) == ("server_busy", 5.0)
        assert report.message == "this server is busy: 1 calls are under way, and 3 more wait. Nothing was sent."
        assert not any(each.maybe_accepted for each in crowd.failures)
        tasks.cancel_scope.cancel()


async def test_nobody_waits_for_longer_than_the_limit() -> None:
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(tasks, 1, wait_s=0.0)
        await crowd.come("a", "a")
        await crowd.come("b", "b")
        await crowd.turned_away.wait()
        assert crowd.refused == ["b"]
        assert "no turn came within 0 s" in crowd.failures[0].report.message
        await crowd.end("a")
        await crowd.come("c", "c")
        assert crowd.begun == ["a", "c"]
        tasks.cancel_scope.cancel()


async def test_who_gives_up_leaves_its_place_and_loses_no_turn() -> None:
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(tasks, 1)
        await crowd.come("a", "a")
        leave = await crowd.come("b", "b")
        await crowd.come("c", "c")
        leave()
        await anyio.wait_all_tasks_blocked()
        assert crowd.queue.waiting == 1
        leave_late = await crowd.come("d", "d")
        # Given up just as its turn comes.
        crowd._go["a"].set()
        await crowd.end("c")
        leave_late()
        await anyio.wait_all_tasks_blocked()
        await crowd.come("e", "e")
        assert crowd.begun == ["a", "c", "d", "e"]
        tasks.cancel_scope.cancel()


async def test_a_turn_that_is_given_to_one_that_is_canceled_goes_to_the_next() -> None:
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(tasks, 1)
        await crowd.come("a", "a")
        leave = await crowd.come("b", "b")
        await crowd.come("c", "c")
        crowd._go["a"].set()
        # `a` ends and gives its turn to `b`, which is canceled before it can run.
        await anyio.lowlevel.checkpoint()
        leave()
        await anyio.wait_all_tasks_blocked()
        assert crowd.begun[-1] == "c"
        tasks.cancel_scope.cancel()


async def test_a_queue_that_is_closed_sends_all_away_that_have_no_turn() -> None:
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(tasks, 1)
        for name in ("a", "b", "c"):
            await crowd.come(name, name)
        crowd.queue.close()
        await anyio.wait_all_tasks_blocked()
        await crowd.come("d", "d")
        assert crowd.refused == ["b", "c", "d"]
        assert {each.report.type for each in crowd.failures} == {"shutting_down"}
        tasks.cancel_scope.cancel()
