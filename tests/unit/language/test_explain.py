"""What is said of a tool is what its plan does, and never a secret's value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from batches_mcp import language
from batches_mcp.cli import cli
from batches_mcp.language.compile import compile_server
from batches_mcp.language.explain import explain
from tests.support.capabilities import FILES

CORPUS = Path(__file__).parents[2] / "corpus"
ROOT = Path(__file__).parents[3]


def explained(file: str, tool: str) -> dict[str, object]:
    server = compile_server(language.read(CORPUS / "valid" / f"{file}.yaml"))
    return explain(server, next(each for each in server.tools if each.name == tool))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_input_goes_somewhere_unless_check_says_otherwise(file: Path) -> None:
    linked = language.read(file)
    unused = any(problem.code in {"unused-input", "unused-with"} for problem in linked.problems)
    server = compile_server(linked)
    for tool in server.tools:
        found = explain(server, tool)
        json.dumps(found, allow_nan=False)
        assert unused or all(each["goes_to"] for each in found["inputs"])
        assert set(found["variables"]) <= server.binds.keys()


def test_a_request_of_many_places() -> None:
    found = explained("environment", "add-item")
    assert found["request"] == "POST https://api.example.com/v1/{shop.SHOP_TENANT}/items"
    assert [(each["in"], each["name"], each["value"]) for each in found["sent"]] == [  # type: ignore[attr-defined]
        ("path", "SHOP_TENANT", "{{shop.SHOP_TENANT}}"),
        ("header", "X-Region", "eu-{{shop.SHOP_REGION}}"),
        ("cookie", "trace", "{{shop.SHOP_REGION}}"),
        ("body", "tenant", "{{shop.SHOP_TENANT}}"),
        ("body", "name", "{{name}}"),
        ("header", "Authorization", "Bearer {{shop.SHOP_TOKEN}}"),
    ]
    assert found["variables"]["SHOP_TOKEN"] == {"bind": "shop.SHOP_TOKEN", "secret": True}  # type: ignore[index]


@pytest.mark.parametrize(
    ("file", "tool", "sent"),
    [
        ("body-form", "add-item", ["mode = payment", "items[0][name] = {{name}}", "items[0][price] = {{price}} EUR", "count = 1", "gift = false"]),
        ("body-text", "add-item", [" = name,price\n{{name}},{{price}}\n"]),
        ("body-json-text-data", "add-item", [" = {{item}}"]),
        ("body-template", "ping", []),
        ("dialect", "example-update-item", [" = {{body}}"]),
    ],
)  # fmt: skip
def test_bodies(file: str, tool: str, sent: list[str]) -> None:
    found = explained(file, tool)
    body = [each for each in found["sent"] if each["in"] == "body"]  # type: ignore[attr-defined]
    assert [f"{each['name']} = {each['value']}" for each in body] == sent


@pytest.mark.parametrize(
    ("file", "tool", "answer"),
    [
        ("jsonl", "list-items", ["the rows of the upstream's JSONL that fit, as `rows` and `has_more`"]),
        ("cookies", "list-items", ["the upstream's JSON as it is"]),
        (
            "outputs-nested",
            "list-items",
            [
                (
                    "for each item of $.data[*]: from the item: {id = $.id, owner = from $.owner: {name = $.name}, "
                    "tags = for each item of $.tags: the item, source = the fixed string 'shop'}"
                ),
                "$.count",
                "the fixed boolean False",
            ],
        ),
    ],
)
def test_answers(file: str, tool: str, answer: list[str]) -> None:
    assert explained(file, tool)["answer"] == answer


def test_the_packaged_tools_are_explained_with_what_their_behaviours_add() -> None:
    said = CliRunner().invoke(cli, ["explain", "anthropic-create-message-batch", "--json"])
    found = json.loads(said.stdout)
    assert found["behavior"] == "submit"
    assert not found["repeatable"]
    goes = {each["name"]: each["goes_to"] for each in found["inputs"]}
    assert goes["requests"] == ["body requests"]
    assert goes["betas"] == ["header anthropic-beta"]
    assert goes["dry_run"] == ["behavior submit"]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_no_value_of_a_variable_is_shown(flags: list[str]) -> None:
    key = "sk-ant-" + "k" * 20
    command = ["explain", "anthropic-list-message-batches", *flags]
    said = CliRunner().invoke(cli, command, env={"ANTHROPIC_API_KEY": key, "ANTHROPIC_VERSION": "2030-01-01"})
    assert said.exit_code == 0
    assert key not in said.output
    assert "2030-01-01" not in said.output
    assert "env.ANTHROPIC_API_KEY" in said.output


@pytest.mark.parametrize("name", ["secrets.yaml", "secrets.json"])
def test_no_value_of_a_file_is_shown(name: str) -> None:
    file = CORPUS / "valid" / f"binds-{name.partition('.')[2]}.yaml"
    said = CliRunner().invoke(cli, ["explain", "list-items", "--capability", str(file)])
    assert "vault.SHOP_KEY" in said.output
    assert "from-" not in said.output
