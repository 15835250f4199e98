"""What a server offers when it is told to serve less."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from batches_mcp import language
from batches_mcp.core.errors import UsageError
from batches_mcp.core.plan import ServerPlan
from batches_mcp.core.settings import BatchSettings
from batches_mcp.language.compile import compile_server
from batches_mcp.language.narrow import narrow
from batches_mcp.tools.behaviors import behaviors, contributions
from tests.support.servers import CAPABILITY, CREATE, LIST, RESULTS, RETRIEVE, ROOT


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
    assert prompts(narrow(plan(), read_only=read_only, only=only, exclude=exclude)) == left


def test_a_prompt_is_there_with_every_argument_that_it_names() -> None:
    assert prompts(narrow(plan(files=False))) == ["check-on-batches", "retry-failures"]


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
    assert resources(narrow(plan(), only=only, exclude=exclude)) == left


def test_reading_resources_changes_nothing_and_stays() -> None:
    assert resources(narrow(plan(), read_only=True)) == [STATE, ROWS]


def test_a_resource_that_no_tool_reads_stays() -> None:
    file = ROOT / "tests" / "corpus" / "valid" / "resources.yaml"
    compiled = compile_server(language.read(file))
    served = narrow(compiled)
    assert resources(served) == ["shop://items", "shop://items/{id}", "shop://pages/{number}/items"]


def test_no_tool_is_no_server() -> None:
    with pytest.raises(UsageError, match="leave no tool to serve"):
        narrow(plan(), only=[LIST], exclude=[LIST])
