"""What a server offers when it is told to serve less."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from batches_mcp import language
from batches_mcp.core.errors import UsageError
from batches_mcp.core.server_plan import ServerPlan
from batches_mcp.core.settings import BatchSettings
from batches_mcp.language.compile import compile_server
from batches_mcp.language.offer import Choice, offer
from batches_mcp.tools.behaviors import behaviors, contributions
from tests.support.servers import CAPABILITY, CREATE, LIST, RESULTS, RETRIEVE, ROOT
from tests.unit.plans import tool_plan


def plan(*, files: bool = True) -> ServerPlan:
    settings = BatchSettings((ROOT,) if files else ())
    return compile_server(language.read(CAPABILITY), contributions=contributions(behaviors(settings)))


def prompts(served: ServerPlan) -> list[str]:
    return [each.name for each in served.prompts]


def resources(served: ServerPlan) -> list[str]:
    return [each.template for each in served.resources]


ALL = ["submit-batch-from-file", "check-on-batches", "retry-failures"]
STATE, ROWS = "batch://{message_batch_id}", "batch://{message_batch_id}/results"


@pytest.mark.parametrize(
    ("read_only", "only", "exclude", "left"),
    [
        (False, [], [], ALL),
        (True, [], [], ["check-on-batches"]),
        (False, [], [CREATE], ["check-on-batches"]),
        (False, [], [LIST], ["retry-failures"]),
        (False, [], [RESULTS], ["submit-batch-from-file", "check-on-batches"]),
        (False, [CREATE, LIST], [], ["submit-batch-from-file", "check-on-batches"]),
        # Its name begins that of the results' tool, which is another.
        (False, [LIST, RETRIEVE], [], ["check-on-batches"]),
        (False, [RESULTS], [], []),
    ],
)
def test_a_prompt_is_there_with_every_tool_that_it_names(
    read_only: bool, only: Collection[str], exclude: Collection[str], left: list[str]
) -> None:
    assert prompts(offer(plan(), None, Choice(read_only, only, exclude)).server) == left


def test_a_prompt_is_there_with_every_argument_that_it_names() -> None:
    assert prompts(offer(plan(files=False)).server) == ["check-on-batches", "retry-failures"]


@pytest.mark.parametrize(
    ("only", "exclude", "left"),
    [
        ([], [], [STATE, ROWS]),
        ([], [RESULTS], [STATE]),
        ([], [RETRIEVE], [ROWS]),
        ([LIST], [], []),
        ([RESULTS], [], [ROWS]),
    ],
)
def test_a_resource_is_there_with_the_tool_that_reads_the_same(
    only: Collection[str], exclude: Collection[str], left: list[str]
) -> None:
    assert resources(offer(plan(), None, Choice(only=only, exclude=exclude)).server) == left


def test_reading_resources_changes_nothing_and_stays() -> None:
    assert resources(offer(plan(), None, Choice(read_only=True)).server) == [STATE, ROWS]


def test_a_resource_that_no_tool_reads_stays() -> None:
    file = ROOT / "tests" / "corpus" / "valid" / "resources.yaml"
    compiled = compile_server(language.read(file))
    served = offer(compiled).server
    assert resources(served) == ["shop://items", "shop://items/{id}", "shop://pages/{number}/items"]


def test_no_tool_is_no_server() -> None:
    with pytest.raises(UsageError, match="leave no tool to serve"):
        offer(plan(), None, Choice(only=[LIST], exclude=[LIST]))


TOOLS = (
    tool_plan("list-items", read_only=True),
    tool_plan("create-item"),
    tool_plan("get-item", read_only=True),
    tool_plan("delete-item"),
)


def small() -> ServerPlan:
    return ServerPlan("s", "S", "", None, TOOLS, frozenset(), frozenset())


@pytest.mark.parametrize(
    ("read_only", "only", "exclude", "names"),
    [
        (False, [], [], ["list-items", "create-item", "get-item", "delete-item"]),
        (True, [], [], ["list-items", "get-item"]),
        (False, ["get-item", "list-items"], [], ["list-items", "get-item"]),
        (False, [], ["create-item"], ["list-items", "get-item", "delete-item"]),
        (True, ["get-item", "delete-item"], [], ["get-item"]),
        (False, ["get-item", "delete-item"], ["get-item"], ["delete-item"]),
        (True, ["list-items", "get-item"], ["list-items"], ["get-item"]),
    ],
)
def test_the_list_is_narrowed_in_its_order(
    read_only: bool, only: list[str], exclude: list[str], names: list[str]
) -> None:
    assert [tool.name for tool in offer(small(), None, Choice(read_only, only, exclude)).server.tools] == names


@pytest.mark.parametrize(
    ("only", "exclude", "message"),
    [
        (["get-itm"], [], "--tools: there is no tool called get-itm; did you mean `get-item`?"),
        ([], ["xyz"], "--exclude: there is no tool called xyz; known here: `list-items`, `create-item`"),
    ],
)
def test_an_unknown_name_is_refused(only: list[str], exclude: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        offer(small(), None, Choice(only=only, exclude=exclude))
    assert str(caught.value).startswith(message)


def test_no_tool_left_is_refused() -> None:
    with pytest.raises(UsageError, match="leave no tool to serve"):
        offer(small(), None, Choice(read_only=True, only=["delete-item"]))
